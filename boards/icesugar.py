"""Muse Lab iCESugar: iCE40UP5K, 12 MHz, and a microcontroller as USB port and programmer."""

from .board import CHIPS, Board, Pins, Programmer
from .up5k import CLOCK_HZ, GEOMETRY, LINES, MOST_LINKS

# PMOD 2: rx on the upper row, tx on the lower one below it.
LINKS = tuple(Pins(rx=str(n + 1), tx=str(n + 7), connector=("pmod", 1),
                   where=f"PMOD 2 pin {n + 1} in, pin {n + 7} out") for n in range(MOST_LINKS))

# The microcontroller's serial port is software: slower than a chip made for it.
_GEOMETRY = GEOMETRY.replace(host_baud=115_200)

BOARDS = (Board(
    name="icesugar",
    title="iCESugar",
    platform="amaranth_boards.icesugar:ICESugarPlatform",
    chip=CHIPS["iCE40UP5K"],
    oscillator_hz=12_000_000,
    clock_hz={"source": CLOCK_HZ, "target": CLOCK_HZ},
    geometries={"source": _GEOMETRY, "target": _GEOMETRY},
    links=LINKS,
    lines=LINES,
    leds=(("led_g", 0, ""), ("led_r", 0, ""), ("led_b", 0, "")),
    programmer=Programmer("icesprog", "icesprog", (), ()),
    usb=((0x1D50, 0x602B),),
    notes="icesprog is not in Debian: it comes with the board's own repository.",
),)
