"""A board nobody listed, from a small TOML file: no code.

::

    name = "my-board"
    chip = "LFE5U-25F"          # see boards.board.CHIPS
    package = "BG256"           # ECP5: BG256, MG285, BG381, BG554, BG756; iCE40: SG48, CT256, ...
    speed = 6                   # ECP5 only
    oscillator = "25MHz"        # frequency and pin of the clock
    clock_pin = "P6"
    clock = "50MHz"             # of the design; may be left out
    host = { rx = "A1", tx = "A2", baud = "1Mbaud" }
    links = [ { rx = "B1", tx = "B2" }, { rx = "B3", tx = "B4" } ]
    link_baud = "1Mbaud"
    leds = ["C1", "C2"]         # may be left out
    leds_active_low = true
    flash = "openFPGALoader -c ft232"       # may be left out

    [geometry]                  # may be left out, as may every line of it
    volumes = 4
    tracks_per_volume = 16
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from firmware_model.geometry import Geometry, GeometryError

from .board import CHIPS, Board, BoardError, Chip, Pins, Programmer, find

_KNOWN = {"name", "chip", "package", "speed", "oscillator", "clock_pin", "clock", "host", "links",
          "link_baud", "leds", "leds_active_low", "flash", "geometry"}
_UNITS = (("MHz", 1e6), ("kHz", 1e3), ("Hz", 1.0), ("Mbaud", 1e6), ("kbaud", 1e3), ("baud", 1.0))


def _number(key: str, value: Any) -> int:
    """A frequency or rate: a number, or a number with a unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    for unit, factor in _UNITS:
        if isinstance(value, str) and value.endswith(unit):
            try:
                return round(float(value.removesuffix(unit)) * factor)
            except ValueError:
                break
    raise BoardError(f"{key} is {value!r}: a number with MHz, kHz or Hz (or Mbaud, kbaud, baud) "
                     "is wanted")


def _text(table: dict[str, Any], key: str, where: str = "") -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise BoardError(f"{where}{key} is missing, or no text")
    return value


def _line(table: Any, where: str) -> Pins:
    if not isinstance(table, dict):
        raise BoardError(f"{where} must be a table with rx and tx")
    rx, tx = _text(table, "rx", where + "."), _text(table, "tx", where + ".")
    return Pins(rx, tx, None, f"{rx} in, {tx} out")


def read(path: Path, family: str) -> Board:
    """The board that the file describes; BoardError says what is wrong with it."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise BoardError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BoardError(f"{path} is not TOML: {error}") from None
    try:
        return _board(table, family)
    except (BoardError, GeometryError) as error:
        raise BoardError(f"{path}: {error}") from None


def _board(table: dict[str, Any], family: str) -> Board:
    unknown = sorted(set(table) - _KNOWN)
    if unknown:
        raise BoardError(f"{unknown[0]} means nothing here: there are {', '.join(sorted(_KNOWN))}")
    chip = CHIPS.get(_text(table, "chip"))
    if chip is None or chip.family != family:
        fit = ", ".join(name for name, one in CHIPS.items() if one.family == family)
        raise BoardError(f"chip {table['chip']} is not one of {fit}")
    oscillator = _number("oscillator", table.get("oscillator"))
    clock = _number("clock", table.get("clock", oscillator))
    if clock != oscillator and not chip.pll:
        raise BoardError(f"clock {clock} Hz is not the oscillator's {oscillator} Hz: on iCE40 the "
                         "design runs at that")
    host = _line(table.get("host"), "host")
    lines = table.get("links", [])
    if not isinstance(lines, list) or not 1 <= len(lines) <= 8:
        raise BoardError("links must be a list of 1 to 8 tables with rx and tx")
    links = tuple(_line(line, f"links[{n}]") for n, line in enumerate(lines))
    leds = table.get("leds", [])
    if not isinstance(leds, list) or not all(isinstance(led, str) for led in leds):
        raise BoardError("leds must be a list of pins")

    roles = ("source", "target", "both") if family == "ecp5" else ("source", "target")
    rates = {"clock_hz": clock, "links": len(links),
             "host_baud": _number("host.baud", table["host"].get("baud", 1_000_000)),
             "link_baud": _number("link_baud", table.get("link_baud", 1_000_000))}
    geometries = {role: _geometry(table, chip, role).replace(**rates) for role in roles}
    name = _text(table, "name")
    tool, *arguments = str(table.get("flash", "openFPGALoader")).split()
    return Board(
        name=name, title=name, platform="", chip=chip, oscillator_hz=oscillator,
        clock_hz=dict.fromkeys(roles, clock), geometries=geometries,
        links=links, leds=tuple(("led", n, "") for n in range(len(leds))),
        programmer=Programmer(tool, tool.lower(), tuple(arguments)),
        make_platform=lambda: _platform(table, chip.name, family, oscillator, host, leds))


def _geometry(table: dict[str, Any], chip: Chip, role: str) -> Geometry:
    """What fits the smallest chip of its kind, changed as the file says."""
    fitting = find({"iCE40UP5K": "icebreaker", "iCE40HX8K": "hx8k-evn"}.get(
        chip.name, "icepi-zero")).geometries[role]

    given = table.get("geometry", {})
    names = {one.name for one in dataclasses.fields(Geometry)} - {
        "clock_hz", "host_baud", "link_baud", "links"}
    unknown = sorted(set(given) - names)
    if unknown:
        raise BoardError(f"geometry.{unknown[0]} means nothing here: there are "
                         f"{', '.join(sorted(names))}")
    return fitting.replace(**given)


def _platform(table: dict[str, Any], device: str, family: str, oscillator: int, host: Pins,
              leds: list[str]) -> Any:
    from amaranth.build import Attrs, Clock, Resource, Subsignal
    from amaranth.build import Pins as PinsOf
    from amaranth.build import PinsN as PinsOfN
    from amaranth.vendor import LatticeECP5Platform, LatticeICE40Platform

    attributes = {"IO_TYPE": "LVCMOS33"} if family == "ecp5" else {"IO_STANDARD": "SB_LVCMOS"}
    base = LatticeECP5Platform if family == "ecp5" else LatticeICE40Platform
    led_pins = PinsOfN if table.get("leds_active_low") else PinsOf
    members = {
        "device": device,
        "package": _text(table, "package"),
        "speed": str(table.get("speed", 6)),
        "default_clk": "clk",
        "connectors": [],
        "resources": [
            Resource("clk", 0, PinsOf(_text(table, "clock_pin"), dir="i"), Clock(oscillator),
                     Attrs(**attributes)),
            Resource("uart", 0, Subsignal("rx", PinsOf(host.rx, dir="i")),
                     Subsignal("tx", PinsOf(host.tx, dir="o")), Attrs(**attributes)),
            *(Resource("led", n, led_pins(pin, dir="o"), Attrs(**attributes))
              for n, pin in enumerate(leds)),
        ],
    }
    return type("GenericPlatform", (base,), members)()
