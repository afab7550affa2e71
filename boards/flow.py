"""From a board and a role to a bitstream: Amaranth, Yosys, nextpnr, packer.

Amaranth makes the netlist and the pin constraints; the tools are run from here, one by one, so
that progress can be told, every failure becomes one sentence, and nothing but the tools has to
be on the PATH.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from firmware_model.geometry import Geometry

from . import report
from .board import Board, Chip

MANIFEST = "farside.json"
REPORT = "report.json"

# nextpnr's. Of its placers, the one for the ECP5 lets all cells push each other apart, as charges
# do; the other solves for the shortest wires and moves what overlaps, by turns, and left the wires
# of the largest design a fifth slower. Of its routers, the first takes one connection after the
# other and undoes what is in its way, which may take without end where a chip is crowded; the
# second negotiates for all of them at once, and told to rip up by timing also for those that are
# late. nextpnr has the static placer since October 2023.
PLACER_OF = {"ice40": "heap", "ecp5": "static"}
ROUTER_OF = {"ice40": "router1", "ecp5": "router2"}
_ROUTING = {"router1": [], "router2": ["--tmg-ripup"]}

# What placing and routing leaves.
_PLACED = ("top.asc", "top.config", report.TIMING, "nextpnr.log")

Say = Callable[[str], None]


class FlowError(Exception):
    """A tool failed; the message says which, why, and where its log is."""


class MissingToolError(FlowError):
    """A tool is not there; the message says what to install."""


class UnfitError(FlowError):
    """The design needs more than the chip has, or is too slow; the message says by how much."""

    def __init__(self, message: str, result: report.Report) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Tools:
    """Where the tools come from: ``pypi`` (this Python's packages) or ``system`` (the PATH)."""

    origin: str = "pypi"

    def command(self, name: str) -> list[str]:
        if self.origin == "system":
            found = shutil.which(name)
            if found is None:
                package = {"yosys": "yosys", "nextpnr-ecp5": "nextpnr-ecp5",
                           "nextpnr-ice40": "nextpnr-ice40", "icepack": "fpga-icestorm",
                           "ecppack": "prjtrellis"}[name]
                raise MissingToolError(f"{name} is not on the PATH (Debian package {package})")
            return [found]
        script = Path(sys.executable).with_name(f"yowasp-{name}")
        if not script.exists():
            raise MissingToolError(f"yowasp-{name} is not installed: run `make fpga`")
        return [str(script)]

    def run(self, name: str, arguments: list[str], folder: Path, log: str) -> str:
        """Run a tool in ``folder`` (the ones from PyPI see no other); its output, also in ``log``.
        """
        command = [*self.command(name), *arguments]
        with (folder / log).open("w") as output:
            process = subprocess.Popen(command, cwd=folder, stdout=output,
                                       stderr=subprocess.STDOUT)
            try:
                process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
        text = (folder / log).read_text(errors="replace")
        if process.returncode:
            raise FlowError(f"{name} failed: {_reason(text)} (see {folder / log})")
        return text

    def first_run(self) -> bool:
        """Whether Yosys from PyPI will compile itself first, which takes a minute."""
        if self.origin != "pypi":
            return False
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        return not any(cache.glob("YoWASP/*"))


def _reason(text: str) -> str:
    errors = [line for line in text.splitlines() if "ERROR" in line]
    lines = errors or text.strip().splitlines() or ["it says nothing"]
    return re.sub(r"^.*ERROR:?\s*", "", lines[-1 if not errors else 0]).rstrip(".")


def default_folder(board: Board, role: str) -> Path:
    return Path("build") / "boards" / f"{board.name}-{role}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """amaranth-boards is written for many versions of Amaranth and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def elaborate(board: Board, role: str, geometry: Geometry, folder: Path) -> None:
    """Write the netlist ``top.il`` and the pin constraints into ``folder``."""
    from sim.memories import short_memories

    from .top import BoardTop

    platform = board.new_platform()
    with _quiet(), short_memories():
        plan = platform.prepare(BoardTop(board, role, geometry), "top", debug_verilog=False,
                                emit_src=False)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("top.il", "top.lpf", "top.pcf"):
        if name in plan.files:
            content = plan.files[name]
            if isinstance(content, str):
                content = content.encode()
            (folder / name).write_bytes(content)


# No memory of this design is read for good where it is written in the same clock: each says so,
# and `tests/gateware/test_scenarios_cocotb.py` plays with garbage in that case. Amaranth can
# only promise old data, which costs every block RAM a comparator and a second set of registers.
NO_COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"

# Yosys recodes no state machine whose register has an initial value. On every board the clock
# domain begins with a reset, which sets every state.
_RECODE_STATES = "setattr -unset init w:*fsm_state"

# Of its own accord it gives a flip-flop to each state only of machines with less than 32. The
# larger ones are where the most LUTs are one behind the other.
_SPREAD_STATES = 'setattr -set fsm_encoding "one-hot" w:*fsm_state'

# Comparing with a constant takes fewer LUTs than a carry chain has bits, and with a power of two
# no more than a look at the bits above, which only ``-fine`` sees.
_COMPARE_IN_LUTS = ("opt_expr; opt_clean; opt -nodffe -nosdff; wreduce; opt_expr -fine; "
                    "techmap -map +/cmp2lut.v -D LUT_WIDTH=9; opt_expr")

# For fewer than three flip-flops a clock enable takes more LUTs than it saves.
_FEW_ENABLES = "-dffe_min_ce_use 3"

# Where a carry is known, Yosys makes a LUT of the adder's cell and leaves it at that: as gates such
# LUTs join what is around them. And mapping once more what has been mapped, for few LUTs instead
# of few levels, finds a fiftieth to save.
_MAP_TO_LUTS = (
    "techmap -map +/ice40/latches_map.v; simplemap; "
    "abc -lut 4 -script +strash;&get,-n;&fraig,-x;&put;scorr;dc2;dch,-f;if;mfs2;"
    "strash;dch,-f;if,-a;mfs2;lutpack; "
    "ice40_wrapcarry -unwrap; techmap -map +/ice40/ff_map.v; clean; opt_lut -tech ice40")

# ABC9's third script looks for choices twice: fewer LUTs, and fewer of them one behind the other.
# And the way to a LUT takes far longer than Yosys takes for granted, 300 ps.
_MAP_FOR_SPEED = "scratchpad -copy abc9.script.flow3 abc9.script; abc9 -W 800; clean"

_SYNTHESIS = {
    "ice40": f"synth_ice40 -top {{top}}{{device}} -run begin:coarse; {_RECODE_STATES}; "
             f"{_COMPARE_IN_LUTS}; "
             f"synth_ice40 -top {{top}}{{device}} {_FEW_ENABLES} -run coarse:map_luts; "
             f"{_MAP_TO_LUTS}; synth_ice40 -top {{top}}{{device}} -run map_cells:",
    "ecp5": f"{_RECODE_STATES}; {_SPREAD_STATES}; "
            f"synth_ecp5 -top {{top}} -abc9 -run begin:map_luts; {_MAP_FOR_SPEED}; "
            "synth_ecp5 -top {top} -abc9 -run map_cells:",
}


def synthesis(chip: Chip, top: str) -> str:
    """What Yosys does to make cells of ``chip`` of the module ``top`` that it has read."""
    device = " -device u" if chip.name == "iCE40UP5K" else ""
    return f"{NO_COLLISIONS}; {_SYNTHESIS[chip.family].format(top=top, device=device)}"


def synthesise(board: Board, folder: Path, tools: Tools) -> None:
    """``top.il`` to ``top.json``."""
    script = f"read_rtlil top.il; {synthesis(board.chip, 'top')}; write_json top.json"
    tools.run("yosys", ["-q", "-p", script], folder, "yosys.log")


@dataclass(frozen=True)
class Placing:
    """With what nextpnr places and routes; it names them so."""

    seed: int
    placer: str
    router: str


def place(board: Board, geometry: Geometry, folder: Path, tools: Tools, how: Placing) -> None:
    """``top.json`` to what ``_PLACED`` names."""
    family = board.chip.family
    output = {"ice40": ["--pcf", "top.pcf", "--asc", "top.asc"],
              "ecp5": ["--lpf", "top.lpf", "--textcfg", "top.config"]}[family]
    if family == "ecp5":
        # A wire that no LED or button is on may stay without a place on the package.
        output.append("--lpf-allow-unconstrained")
    # Of an ECP5's clock more is asked for: it has a constraint of its own (boards/clock.py).
    tools.run(
        f"nextpnr-{family}",
        [*_chip_options(board), "--json", "top.json", *output, "--seed", str(how.seed),
         "--placer", how.placer, "--router", how.router, *_ROUTING[how.router],
         "--freq", f"{geometry.clock_hz / 1e6:g}", "--timing-allow-fail",
         "--report", report.TIMING, "--detailed-timing-report"],
        folder, "nextpnr.log")


def _chip_options(board: Board) -> list[str]:
    platform = board.new_platform()
    if board.chip.family == "ecp5":
        device = platform._nextpnr_device_options[platform.device]
        package = platform._nextpnr_package_options[platform.package]
        return [device, "--package", package.upper(), "--speed", str(platform.speed)]
    return [f"--{board.chip.name.removeprefix('iCE40').lower()}", "--package",
            platform.package.lower()]


def pack(board: Board, folder: Path, tools: Tools) -> Path:
    """The bitstream."""
    if board.chip.family == "ice40":
        tools.run("icepack", ["top.asc", "top.bin"], folder, "icepack.log")
        return folder / "top.bin"
    tools.run("ecppack", ["--compress", "--input", "top.config", "--bit", "top.bit"],
              folder, "ecppack.log")
    return folder / "top.bit"


def _report(board: Board, role: str, geometry: Geometry, folder: Path,
            how: Placing) -> report.Report:
    """What is in ``folder``; also kept there, for `docs/hardware.py` and whoever wants to know."""
    log = folder / "nextpnr.log"
    result = report.read(board, role, geometry, folder, log.read_text() if log.exists() else "",
                         **asdict(how))
    (folder / REPORT).write_text(json.dumps(result.as_dict(), indent=1) + "\n")
    return result


def _place_at_best(board: Board, role: str, geometry: Geometry, folder: Path, tools: Tools,
                   how: Placing, tries: int, say: Say) -> Placing:
    """Place and route, with the seeds after the first while that is too slow; the fastest, whose
    files it leaves."""
    best = how
    speed = 0.0
    files: dict[Path, bytes] = {}
    placed = [folder / name for name in _PLACED]
    for one in range(how.seed, how.seed + tries):
        say(f"{speed:.1f} MHz are too slow: placing and routing with seed {one}" if files
            else "placing and routing")
        for path in placed:
            path.unlink(missing_ok=True)
        trial = replace(how, seed=one)
        try:
            place(board, geometry, folder, tools, trial)
        except FlowError as error:
            if files:
                continue        # what fits may still not be routed from everywhere
            result = _report(board, role, geometry, folder, trial)
            if over := result.excess():
                raise UnfitError(f"{board.name} {role} with {geometry.links} links does not fit: "
                                 f"{over}", result) from error
            raise
        reached = report.max_mhz(folder)
        if reached > speed or not files:
            best, speed = trial, reached
            files = {path: path.read_bytes() for path in placed if path.exists()}
        if speed * 1e6 >= geometry.clock_hz:
            break
    for path, content in files.items():
        path.write_bytes(content)
    return best


def build(board: Board, role: str, geometry: Geometry, folder: Path, *, tools: Tools | None = None,
          tries: int, seed: int = 1, placer: str | None = None, router: str | None = None,
          say: Say = lambda text: None) -> report.Report:
    """Build a bitstream and say what became of it.

    ``placer`` and ``router`` are nextpnr's, by default the family's in ``PLACER_OF`` and
    ``ROUTER_OF``. It places with ``seed``; while that is too slow, with the next ones, at most
    ``tries`` in all, and the fastest counts. A later one that cannot be routed does not.

    Raises :class:`UnfitError` when it does not fit or is too slow (with the report), else
    :class:`FlowError`.
    """
    tools = tools or Tools()
    family = board.chip.family
    how = Placing(seed, placer or PLACER_OF[family], router or ROUTER_OF[family])

    for name in ("yosys", f"nextpnr-{family}"):
        tools.command(name)             # missing ones are named before anything is done
    if importlib.util.find_spec("amaranth_boards") is None:
        raise MissingToolError("amaranth-boards is not installed: run `make fpga`")
    shutil.rmtree(folder, ignore_errors=True)
    say("writing the netlist")
    elaborate(board, role, geometry, folder)
    say("synthesising" + (" (the first run of Yosys takes a minute longer)"
                          if tools.first_run() else ""))
    synthesise(board, folder, tools)
    how = _place_at_best(board, role, geometry, folder, tools, how, tries, say)
    result = _report(board, role, geometry, folder, how)
    say("packing")
    bitstream = pack(board, folder, tools)
    manifest = {
        "board": board.name, "role": role, "links": geometry.links,
        "fingerprint": geometry.fingerprint, "bitstream": bitstream.name,
        "sha256": hashlib.sha256(bitstream.read_bytes()).hexdigest(),
        "timing_met": result.timing_met,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    if not result.timing_met:
        raise UnfitError(
            f"{board.name} {role} with {geometry.links} links is too slow: "
            f"{result.max_mhz:.1f} MHz of {result.required_mhz:.1f} MHz, "
            f"{result.required_mhz / result.max_mhz - 1:.0%} too little", result)
    return result
