"""What became of a design: how much of the chip it takes, how fast it is, and why not faster."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firmware_model.geometry import Geometry

from .board import Board

TIMING = "top.report.json"      # of a build's files, nextpnr's report

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
    seed: int
    placer: str
    router: str
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


def _cells_of(netlist: Path) -> dict[str, Any]:
    """The cells of a synthesised netlist by name; none if there is no netlist."""
    if not netlist.exists():
        return {}
    modules = json.loads(netlist.read_text())["modules"]
    top = next(module for module in modules.values() if module.get("attributes", {}).get("top"))
    return dict(top["cells"])


def parts(cells: dict[str, Any], depth: int = 3) -> tuple[Part, ...]:
    """The cells of a synthesised netlist by component, the largest first."""
    counts: dict[str, Counter[str]] = {}
    for name, cell in cells.items():
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


# Inputs that an output follows within the clock; a cell of another type begins a way.
_FOLLOWED = {
    "LUT4": "ABCD", "PFUMX": ("ALUT", "BLUT", "C0"), "L6MUX21": ("D0", "D1", "SD"),
    "CCU2C": ("CIN", "A0", "B0", "C0", "D0", "A1", "B1", "C1", "D1"), "TRELLIS_DPR16X4": ("RAD",),
    "SB_LUT4": ("I0", "I1", "I2", "I3"), "SB_CARRY": ("CI", "I0", "I1"),
}
# How long a cell takes, in LUTs with the wire to them. A chain of carries is quick.
_LUTS_LONG = {"CCU2C": 0.1, "SB_CARRY": 0.1, "PFUMX": 0.2, "L6MUX21": 0.2}
_BLOCK_RAM_LONG = 4.0


class _Ways:
    """Ways through a synthesised netlist, which must have no loops without a register."""

    def __init__(self, cells: dict[str, Any]) -> None:
        self._cells = cells
        self._drivers = {bit: name for name, cell in cells.items()
                         for port, bits in cell.get("connections", {}).items()
                         if cell.get("port_directions", {}).get(port) == "output"
                         for bit in bits}
        self._known: dict[str, tuple[float, str | None]] = {}

    def _before(self, name: str) -> list[str]:
        cell = self._cells[name]
        bits = [bit for port in _FOLLOWED.get(cell["type"], ())
                for bit in cell["connections"].get(port, ())]
        return list({self._drivers[bit]: None for bit in bits if bit in self._drivers})

    def to(self, name: str) -> list[str]:
        """Cells of the longest way that ends with the cell ``name``, which is the last of them;
        none if there is no such cell."""
        if name not in self._cells:
            return []
        waiting = [name]
        while waiting:
            here = waiting[-1]
            before = self._before(here)
            missing = [] if here in self._known else [one for one in before
                                                      if one not in self._known]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            kind = self._cells[here]["type"]
            own = _BLOCK_RAM_LONG if _kind(kind) == "ram" else _LUTS_LONG.get(kind, 1.0)
            worst = max(before, key=lambda one: self._known[one][0], default=None)
            self._known[here] = (own + (self._known[worst][0] if worst else 0.0), worst)
        way: list[str] = []
        step: str | None = name
        while step is not None:
            way.append(step)
            step = self._known[step][1]
        return way[::-1]


def _netlist_name(cell: str) -> str:
    """What a cell was called before nextpnr packed it."""
    return re.sub(r"(_LC|_COMB|_DFFLC|\$CCU2_COMB[01]|\$nextpnr_\w+)+$", "", cell)


def _paths(timing: dict[str, Any], cells: dict[str, Any], count: int = 3) -> list[Path_]:
    """The slowest ways from register to register of the slowest clock, each into another component.

    nextpnr describes one path a clock step by step. Of the others it only says how late they are
    and which cell comes last: the way to that is the longest one through the netlist ``cells``.
    """
    fmax = timing.get("fmax", {})
    if not fmax:
        return []
    clock = "posedge " + min(fmax, key=lambda name: fmax[name]["achieved"])
    found = []
    for path in timing.get("critical_paths", []):
        if path["path"] and path["from"] == path["to"] == clock:
            steps = path["path"]
            owners = [component(step["from"]["cell"]) for step in steps]
            found.append(Path_(owners[0], component(steps[-1]["to"]["cell"]),
                               sum(step["delay"] for step in steps), tuple(owners[1:])))
    longest = max((path.nanoseconds for path in found), default=math.inf)
    ways = _Ways(cells)
    for late, driver, owner in sorted(_ends(timing, clock), key=lambda end: -end[0]):
        if len(found) >= count:
            break
        if late <= longest and all(path.end != owner for path in found):
            way = [component(cell) for cell in ways.to(_netlist_name(driver))] or ["..."]
            found.append(Path_(way[0], owner, late, (*way[1:], component(driver))))
    return found


def _ends(timing: dict[str, Any], clock: str) -> Iterator[tuple[float, str, str]]:
    """Where ways of ``clock`` end: how late, by which driver, in which component.

    An endpoint is told once for each clock that its ways begin with, and of these only the first
    is named, for the whole net. Ways from another clock are the longer ones: all that crosses does
    so once, at the start, and from far away.
    """
    for net in timing.get("detailed_net_timings", []):
        told: dict[tuple[str, str], list[float]] = defaultdict(list)
        for end in net["endpoints"]:
            if end["event"] == clock:
                told[end["cell"], end["port"]].append(max(end["delay"]))
        for (cell, _), delays in told.items():
            if len(delays) > 1 or net["event"] == clock:
                yield min(delays), net["driver"], component(cell)


def _timing_of(folder: Path) -> dict[str, Any]:
    found = folder / TIMING
    return dict(json.loads(found.read_text())) if found.exists() else {}


def _slowest(timing: dict[str, Any]) -> float:
    fmax = timing.get("fmax", {})
    return min((float(clock["achieved"]) for clock in fmax.values()), default=0.0)


def max_mhz(folder: Path) -> float:
    """The frequency that the slowest clock of the build in ``folder`` can have; 0 if unknown."""
    return _slowest(_timing_of(folder))


def read(board: Board, role: str, geometry: Geometry, folder: Path, log: str, *, seed: int,
         placer: str, router: str) -> Report:
    """The report of the build in ``folder``; what is not known (yet) is 0."""
    uses = _utilisation(log)
    family = board.chip.family
    chip = board.chip
    timing = _timing_of(folder)
    netlist = _cells_of(folder / "top.json")
    return Report(
        board=board.name, role=role, links=geometry.links,
        cells=uses.get(_CELLS[family], Use(0, chip.cells)),
        block_rams=uses.get(_BLOCK_RAMS[family], Use(0, chip.block_rams)),
        sprams=uses.get(_SPRAMS[family], Use(0, 0)),
        required_mhz=geometry.clock_hz / 1e6, max_mhz=_slowest(timing),
        seed=seed, placer=placer, router=router,
        paths=tuple(_paths(timing, netlist)),
        parts=parts(netlist),
    )
