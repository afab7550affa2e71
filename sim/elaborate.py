"""Amaranth to Verilog, with what a waveform viewer needs to show names instead of numbers.

The only module on the way to an executable that imports Amaranth; :mod:`sim.build` imports it
when the cache has nothing to offer.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Fragment, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from firmware_model.geometry import Geometry

from .memories import cleared_memories


@dataclass(frozen=True)
class Elaborated:
    """``signals`` maps ``scope.signal`` to ``{"width": n, "names": {number: text}}``.

    Signals that are plain numbers have no ``names``. Scopes are those of the Verilog, starting
    with ``board``.
    """

    verilog: str
    signals: dict[str, Any]


def elaborate(top: str, geometry: Geometry, mutation: str | None) -> Elaborated:
    """Elaborate the class that ``top`` (``module:class``) names."""
    module, _, name = top.partition(":")
    with uncollected():
        return _elaborate(getattr(importlib.import_module(module), name)(geometry, mutation))


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection: nothing of a design can go before the design does, and to look
    again and again through its millions of objects is nearly half of the time that Amaranth takes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _elaborate(component: wiring.Component) -> Elaborated:
    fragment = Fragment.get(component, None)
    # A simulation starts with every register at its initial value, so it needs no reset; without
    # one it has a multiplexer less in front of every register, and runs faster.
    sync = ClockDomain("sync", reset_less=True)
    fragment.add_domains(sync)
    ports = {"clk": (sync.clk, PortDirection.Input), **ports_of(component)}
    with cleared_memories():        # :func:`shorten` puts their contents back
        text = verilog.convert(fragment, name="board", ports=ports, strip_internal_attrs=True)
    text = tidy(shorten(text))
    return Elaborated(text, _signals(text, _state_names(fragment, ("board",))))


def ports_of(component: wiring.Component) -> dict[str, tuple[Any, PortDirection]]:
    """The ports of ``component`` by their names in the Verilog."""
    ports = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        way = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
        ports["__".join(map(str, path))] = (value, way)
    return ports


def _state_names(fragment: Fragment, scope: tuple[str, ...]) -> dict[str, dict[int, str]]:
    """State names of every FSM below ``fragment``, by full name of its state signal.

    A ResetInserter or the like makes another fragment, which has no FSMs to show; but it
    remembers the modules that it came from.
    """
    found = {}
    made = dict(fragment.generated)
    for origin in fragment.origins or ():
        made |= getattr(origin, "_generated", {})
    for name, machine in made.items():
        decoding = getattr(machine, "decoding", None)
        if decoding:
            found[".".join((*scope, f"{name}_state"))] = dict(decoding)
    for index, (sub, name, _) in enumerate(fragment.subfragments):
        found.update(_state_names(sub, (*scope, name or f"U${index}")))
    return found


_MEMORY = re.compile(r"^(  reg (?:\[\d+:0\] )?(\\?\S+) \[(\d+):0\];\n)(?!  initial)",
                     re.MULTILINE)
_INITIAL = re.compile(r"^  initial begin\n((?:    (\\?\S+ ?)\[\d+\] = (\S+);\n)"
                      r"(?:    \2\[\d+\] = \3;\n)+)  end\n", re.MULTILINE)
_SOURCE = re.compile(r'^ *\(\* src = "[^"]*" \*\)\n', re.MULTILINE)


def shorten(text: str) -> str:
    """Half a million lines that clear memories become a loop each; machine paths go."""

    def loop(found: re.Match[str]) -> str:
        index = f"_row_{found.start()}"
        return (f"  integer {index};\n  initial for ({index} = 0; {index} < "
                f"{found[1].count(chr(10))}; {index} = {index} + 1) "
                f"{found[2]}[{index}] = {found[3]};\n")

    def clear(found: re.Match[str]) -> str:
        index = f"_row_{found.start()}"
        return (f"{found[1]}  integer {index};\n  initial for ({index} = 0; {index} <= {found[3]}; "
                f"{index} = {index} + 1) {found[2]} [{index}] = 0;\n")

    return _MEMORY.sub(clear, _INITIAL.sub(loop, _SOURCE.sub("", text)))


def tidy(text: str) -> str:
    """Unnamed signals get a name that Verilator leaves out of waveforms."""
    return re.sub(r"\\\$(\S+) ", lambda found: re.sub(r"\W", "_", f"_{found[1]}") + " ", text)


_MODULE = re.compile(r"^module (\\?\S+?) ?\(")
_INSTANCE = re.compile(r"^  (\\?\S+) +(\\?\S+) +\($")
_DECLARED = re.compile(r"^  (?:wire|reg|input|output) (?:\[(\d+):0\] )?(\\?\S+?) ?(?:=.*)?;$")
_ENUM = re.compile(r'^  \(\* enum_value_([01]+) = "(.*)" \*\)$')


def _signals(text: str, states: dict[str, dict[int, str]]) -> dict[str, Any]:
    """All named signals of the Verilog, with names of FSM states and enumeration values.

    The Verilog is taken as it comes from one known writer: one declaration a line.
    """
    modules: dict[str, tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]] = {}
    names: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("module "):
            started = _MODULE.match(line)
            assert started, line
            current = started[1].lstrip("\\")
            modules[current] = ({}, [])
        elif enum := _ENUM.match(line):
            names[str(int(enum[1], 2))] = enum[2]
        elif declared := _DECLARED.match(line):
            name = declared[2].lstrip("\\")
            if not name.startswith("_"):
                entry = modules[current][0].setdefault(
                    name, {"width": int(declared[1] or 0) + 1})
                if names:
                    entry["names"] = names
            names = {}
        elif instance := _INSTANCE.match(line):
            modules[current][1].append((instance[2].lstrip("\\"), instance[1].lstrip("\\")))
            names = {}

    found: dict[str, Any] = {}

    def walk(module: str, scope: str) -> None:
        signals, instances = modules[module]
        for name, entry in signals.items():
            full = f"{scope}.{name}"
            if full in states:
                entry = {**entry, "names": {str(n): text for n, text in states[full].items()}}
            found[full] = entry
        for name, kind in instances:
            if kind in modules:
                walk(kind, f"{scope}.{name}")

    walk("board", "board")
    return found
