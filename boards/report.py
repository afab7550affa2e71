"""What became of a design: how much of the chip it takes, how fast it is, and why not faster."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firmware_model.geometry import Geometry

from .board import Board

# nextpnr's names of what a chip has.
_CELLS = {"ice40": "ICESTORM_LC", "ecp5": "TRELLIS_COMB"}
_BLOCK_RAMS = {"ice40": "ICESTORM_RAM", "ecp5": "DP16KD"}
_SPRAMS = {"ice40": "ICESTORM_SPRAM", "ecp5": ""}


@dataclass(frozen=True)
class Use:
    used: int
    available: int

    @property
    def share(self) -> float:
        return self.used / self.available if self.available else 0.0

    def __str__(self) -> str:
        return f"{self.used} of {self.available} ({self.share:.0%})"


@dataclass(frozen=True)
class Path_:
    """One critical path: from one component to another."""

    start: str
    end: str
    nanoseconds: float
    through: tuple[str, ...] = ()

    def __str__(self) -> str:
        way = " -> ".join(_runs([self.start, *self.through, self.end]))
        return f"{self.nanoseconds:.1f} ns  {way}"


@dataclass(frozen=True)
class Part:
    """What one component takes of the chip, as the cells' names say after synthesis."""

    name: str
    luts: int
    flip_flops: int
    carries: int
    block_rams: int


@dataclass(frozen=True)
class Report:
    board: str
    role: str
    links: int
    cells: Use
    block_rams: Use
    sprams: Use
    required_mhz: float
    max_mhz: float
    paths: tuple[Path_, ...] = ()
    parts: tuple[Part, ...] = field(default=(), repr=False)

    @property
    def timing_met(self) -> bool:
        return self.max_mhz >= self.required_mhz

    def excess(self) -> str:
        """By how much the chip is too small, or nothing."""
        over = [f"{use.used} {name} of {use.available}, {use.used - use.available} too many"
                for name, use in (("logic cells", self.cells), ("block RAMs", self.block_rams),
                                  ("SPRAMs", self.sprams)) if use.used > use.available]
        return "; ".join(over)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "timing_met": self.timing_met}


def _runs(names: list[str]) -> list[str]:
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def component(cell: str) -> str:
    """The component a cell belongs to: its name without what synthesis added.

    ``source.core.chain.count_SB_DFFE_Q_D_SB_LUT4_O_3`` is in ``source.core.chain``.
    """
    path = re.sub(r"\$\d+(?=\.|$)", "", cell.lstrip("\\")).split(".")[:-1]
    return ".".join(part for part in path if part and not part.startswith("$")) or "top"


def _utilisation(log: str) -> dict[str, Use]:
    """From nextpnr's table, which it prints before it finds out that a design does not fit."""
    found = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log, re.MULTILINE)
    return {name: Use(int(used), int(available)) for name, used, available in found}


def parts(netlist: Path, depth: int = 3) -> tuple[Part, ...]:
    """The cells of a synthesised netlist by component, the largest first."""
    modules = json.loads(netlist.read_text())["modules"]
    top = next(module for module in modules.values() if module.get("attributes", {}).get("top"))
    counts: dict[str, Counter[str]] = {}
    for name, cell in top["cells"].items():
        owner = ".".join(component(name).split(".")[:depth])
        counts.setdefault(owner, Counter())[_kind(cell["type"])] += 1
    found = [Part(name, count["lut"], count["ff"], count["carry"], count["ram"])
             for name, count in counts.items()]
    return tuple(sorted(found, key=lambda part: (-part.luts, part.name)))


def _kind(cell_type: str) -> str:
    if cell_type in ("SB_LUT4", "LUT4"):
        return "lut"
    if cell_type.startswith("SB_DFF") or cell_type == "TRELLIS_FF":
        return "ff"
    if cell_type in ("SB_CARRY", "CCU2C"):
        return "carry"
    if cell_type.startswith("SB_RAM40") or cell_type in ("DP16KD", "PDPW16KD"):
        return "ram"
    return "other"


def _paths(timing: dict[str, Any], count: int = 3) -> list[Path_]:
    """The slowest ways from register to register, each into another component.

    nextpnr describes one path a clock step by step; of the others it says how late they are and
    which cell the last of them comes from.
    """
    found = []
    for path in timing.get("critical_paths", []):
        steps = path["path"]
        if not steps or "<async>" in (path["from"], path["to"]):
            continue
        owners = [component(step["from"]["cell"]) for step in steps]
        found.append(Path_(owners[0], component(steps[-1]["to"]["cell"]),
                           sum(step["delay"] for step in steps), tuple(owners[1:])))
    found.sort(key=lambda path: -path.nanoseconds)
    ends = [(max(end["delay"]), component(net["driver"]), component(end["cell"]))
            for net in timing.get("detailed_net_timings", [])
            for end in net["endpoints"] if end["event"] != "async"]
    for late, driver, owner in sorted(ends, key=lambda end: -end[0]):
        if len(found) >= count:
            break
        if all(path.end != owner for path in found):
            found.append(Path_("...", owner, late, (driver,)))
    return found[:count]


def read(board: Board, role: str, geometry: Geometry, folder: Path, log: str) -> Report:
    """The report of the build in ``folder``; what is not known (yet) is 0."""
    uses = _utilisation(log)
    family = board.chip.family
    chip = board.chip
    timing_file = folder / "top.report.json"
    timing = json.loads(timing_file.read_text()) if timing_file.exists() else {}
    speeds = [clock["achieved"] for clock in timing.get("fmax", {}).values()]
    netlist = folder / "top.json"
    return Report(
        board=board.name, role=role, links=geometry.links,
        cells=uses.get(_CELLS[family], Use(0, chip.cells)),
        block_rams=uses.get(_BLOCK_RAMS[family], Use(0, chip.block_rams)),
        sprams=uses.get(_SPRAMS[family], Use(0, 0)),
        required_mhz=geometry.clock_hz / 1e6, max_mhz=min(speeds, default=0.0),
        paths=tuple(_paths(timing)),
        parts=parts(netlist) if netlist.exists() else (),
    )
