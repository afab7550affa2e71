"""Lattice iCE40HX8K breakout board: 12 MHz, FT2232H, 16 KiB of block RAM and no other."""

from firmware_model.geometry import Geometry

from .board import CHIPS, Board, Pins, Programmer

# Header J3, first column of the silkscreen's table.
_J3 = ((3, 4), (5, 6), (9, 10), (11, 12))
LINKS = tuple(Pins(rx=str(rx), tx=str(tx), connector=("j", 3),
                   where=f"J3 pin {rx} in, pin {tx} out") for rx, tx in _J3)

# Of 32 block RAMs of 512 bytes the lines and tables take about half: 8 KiB are left for
# tracks, so they are small here.
_GEOMETRY = Geometry(volumes=2, tracks_per_volume=32, track_bytes=64, chain_limit=16,
                     spare_slots=20, staging_slots=24, window=16,
                     host_baud=2_000_000, link_baud=1_000_000)

BOARDS = (Board(
    name="hx8k-evn",
    title="iCE40HX8K breakout",
    platform="amaranth_boards.ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform",
    chip=CHIPS["iCE40HX8K"],
    oscillator_hz=12_000_000,
    clock_hz={"source": 12_000_000, "target": 12_000_000},
    geometries={"source": _GEOMETRY, "target": _GEOMETRY},
    links=LINKS,
    leds=tuple(("led", n, "") for n in range(4)),
    # -S writes the chip's own memory (jumpers J6 and J7 in that position), nothing the flash.
    programmer=Programmer("iceprog", "fpga-icestorm", ("-S",), ()),
    usb=((0x0403, 0x6010),),
),)
