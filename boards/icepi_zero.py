"""Icepi Zero: ECP5-25F on the outline of a small single-board computer, 50 MHz, FTDI."""

from firmware_model.geometry import Geometry

from .board import CHIPS, Board, Pins, Programmer

# The header's GPIO numbers as printed; neighbours on the header are rx and tx of one link.
_GPIO = ((2, 3), (17, 27), (22, 10), (9, 11))
LINKS = tuple(Pins(rx=str(rx), tx=str(tx), connector=("gpio", 0),
                   where=f"GPIO{rx} in, GPIO{tx} out") for rx, tx in _GPIO)

_RATES = {"host_baud": 2_000_000, "link_baud": 1_000_000}
_ONE = Geometry(volumes=4, tracks_per_volume=16, chain_limit=64, spare_slots=68,
                staging_slots=64, **_RATES)
_BOTH = Geometry(volumes=4, tracks_per_volume=8, chain_limit=16, spare_slots=18,
                 staging_slots=16, window=16, **_RATES)

BOARDS = (Board(
    name="icepi-zero",
    title="Icepi Zero",
    platform="amaranth_boards.icepi_zero:IcepiZero1_3Platform",
    chip=CHIPS["LFE5U-25F"],
    oscillator_hz=50_000_000,
    clock_hz={"source": 50_000_000, "target": 50_000_000, "both": 50_000_000},
    geometries={"source": _ONE, "target": _ONE, "both": _BOTH},
    links=LINKS,
    leds=tuple(("led", n, "") for n in range(4)),
    programmer=Programmer("openFPGALoader", "openfpgaloader", ("-b", "icepi-zero"),
                          ("-b", "icepi-zero", "-f")),
    usb=((0x0403, 0x6015),),
),)
