"""What a board is: its chip, its pins, how fast it runs, and what it holds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from firmware_model.geometry import Geometry

ROLES = ("source", "target", "both")


class BoardError(ValueError):
    """A board cannot do what it was asked; the message says what it can."""


@dataclass(frozen=True)
class Chip:
    """An FPGA, as its tools name it.

    ``pll`` says whether the clock of the design may differ from the oscillator's.
    """

    name: str
    family: str             # "ecp5" or "ice40"
    cells: int              # LUT and flip-flop pairs (ECP5: LUTs)
    block_rams: int
    block_ram_bytes: int
    spram_bytes: int = 0
    pll: bool = True


def _ecp5(name: str, cells: int, block_rams: int) -> Chip:
    return Chip(name, "ecp5", cells, block_rams, 2048)


# nextpnr's own counts. The 12F is a 25F with another name: the tools use all of it.
CHIPS = {chip.name: chip for chip in (
    _ecp5("LFE5U-12F", 24288, 56),
    _ecp5("LFE5U-25F", 24288, 56),
    _ecp5("LFE5U-45F", 43848, 108),
    _ecp5("LFE5U-85F", 83640, 208),
    _ecp5("LFE5UM-25F", 24288, 56),
    _ecp5("LFE5UM-45F", 43848, 108),
    _ecp5("LFE5UM-85F", 83640, 208),
    _ecp5("LFE5UM5G-25F", 24288, 56),
    _ecp5("LFE5UM5G-45F", 43848, 108),
    _ecp5("LFE5UM5G-85F", 83640, 208),
    Chip("iCE40UP5K", "ice40", 5280, 30, 512, spram_bytes=131072, pll=False),
    Chip("iCE40HX8K", "ice40", 7680, 32, 512, pll=False),
)}


@dataclass(frozen=True)
class Pins:
    """Two pins of one link: by package ball, or by their place on a connector."""

    rx: str
    tx: str
    connector: tuple[str, int] | None = None
    where: str = ""         # for people: what is printed on the board


@dataclass(frozen=True)
class Programmer:
    """How a bitstream gets onto the board, and the Debian package that brings the tool."""

    tool: str
    package: str
    arguments: tuple[str, ...]          # before the file's name
    permanent: tuple[str, ...] | None = None    # instead: into flash memory


@dataclass(frozen=True)
class Board:
    """One board.

    Parameters
    ----------
    name : str
        What the commands call it.
    title : str
        What is printed on the box.
    platform : str
        ``module:class`` of amaranth-boards.
    chip : Chip
    oscillator_hz : int
        Of the clock that the platform uses by default.
    clock_hz : dict of role to int
        Clock of the design.
    geometries : dict of role to Geometry
        What fits; ``links`` is the default number of links.
    links : tuple of Pins
        As many as can be wired.
    leds : tuple of (resource, number, colour or nothing)
        Link up, disconnected, destaging, fault: as many as there are, in this order.
    programmer : Programmer
    usb : tuple of (vendor, product)
        What its serial port looks like.
    extra : str
        Attribute of the platform with resources to add (a break-off section).
    hold_high : tuple of (resource, number)
        Outputs that must be high for the host port to work.
    lines : str
        "shared" where engines for "each" line do not fit; see :class:`hdl.system.System`.
    notes : str
        Anything an owner must know.
    """

    name: str
    title: str
    platform: str
    chip: Chip
    oscillator_hz: int
    clock_hz: dict[str, int]
    geometries: dict[str, Geometry]
    links: tuple[Pins, ...]
    programmer: Programmer
    leds: tuple[tuple[str, int, str], ...] = ()
    usb: tuple[tuple[int, int], ...] = ()
    extra: str = ""
    hold_high: tuple[tuple[str, int], ...] = ()
    lines: str = "each"
    notes: str = ""
    make_platform: Callable[[], Any] | None = field(default=None, compare=False)

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(role for role in ROLES if role in self.geometries)

    def geometry(self, role: str, links: int | None = None) -> Geometry:
        """Sizes of this board in ``role``, or BoardError saying what it can do."""
        if role not in self.geometries:
            raise BoardError(f"{self.name} has no role {role}: it can be {' or '.join(self.roles)}")
        geometry = self.geometries[role]
        most = 8 if role == "both" else len(self.links)
        if links is not None and not 1 <= links <= most:
            raise BoardError(f"{self.name} has pins for 1 to {most} links, not {links}"
                             if role != "both" else f"there can be 1 to 8 links, not {links}")
        changes = {"clock_hz": self.clock_hz[role]}
        if links is not None:
            changes["links"] = links
        return geometry.replace(**changes)

    def new_platform(self) -> Any:
        """A fresh platform object: Amaranth lets each be used once."""
        if self.make_platform is not None:
            return self.make_platform()
        module, _, name = self.platform.partition(":")
        platform = getattr(importlib.import_module(module), name)()
        if self.extra:
            platform.add_resources(getattr(platform, self.extra))
        return platform


# Where each board is described; ``all_boards`` imports them all, ``find`` only what it needs.
_MODULES = MappingProxyType({
    "ulx3s-12f": "ulx3s", "ulx3s-25f": "ulx3s", "ulx3s-85f": "ulx3s",
    "icepi-zero": "icepi_zero", "icebreaker": "icebreaker", "icesugar": "icesugar",
    "hx8k-evn": "hx8k_evn", "ecpix5-45f": "ecpix5",
})
NAMES = tuple(_MODULES)
GENERIC = ("generic-ecp5", "generic-ice40")


def find(name: str) -> Board:
    """The board called ``name``, or BoardError with the names there are."""
    if name not in _MODULES:
        raise BoardError(f"no board is called {name}: there are {', '.join(NAMES)}; "
                         f"{' and '.join(GENERIC)} take a file of pins")
    for board in importlib.import_module(f"boards.{_MODULES[name]}").BOARDS:
        if board.name == name:
            return board
    raise AssertionError(f"boards.{_MODULES[name]} does not describe {name}")


def all_boards() -> list[Board]:
    return [find(name) for name in NAMES]
