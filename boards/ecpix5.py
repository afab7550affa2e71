"""LambdaConcept ECPIX-5: ECP5-45F, 100 MHz, FT2232H."""

from firmware_model.geometry import Geometry

from .board import CHIPS, Board, Pins, Programmer

# PMOD 0 and 1: rx on the upper row, tx on the lower one below it.
LINKS = tuple(Pins(rx=str(n % 4 + 1), tx=str(n % 4 + 7), connector=("pmod", n // 4),
                   where=f"PMOD {n // 4} pin {n % 4 + 1} in, pin {n % 4 + 7} out")
              for n in range(8))

_RATES = {"host_baud": 2_000_000, "link_baud": 1_000_000}
# 108 block RAMs of 2 KiB.
_ONE = Geometry(volumes=4, tracks_per_volume=32, chain_limit=100, spare_slots=104,
                staging_slots=104, **_RATES)
_BOTH = Geometry(volumes=4, tracks_per_volume=16, chain_limit=64, spare_slots=68,
                 staging_slots=64, **_RATES)

BOARDS = (Board(
    name="ecpix5-45f",
    title="ECPIX-5 45F",
    platform="amaranth_boards.ecpix5:ECPIX545Platform",
    chip=CHIPS["LFE5UM5G-45F"],
    oscillator_hz=100_000_000,
    clock_hz={"source": 50_000_000, "target": 50_000_000, "both": 50_000_000},
    geometries={"source": _ONE, "target": _ONE, "both": _BOTH},
    links=LINKS,
    leds=tuple(("rgb_led", n, "g") for n in range(4)),
    programmer=Programmer("openFPGALoader", "openfpgaloader", ("-b", "ecpix5"),
                          ("-b", "ecpix5", "-f")),
    usb=((0x0403, 0x6010),),
),)
