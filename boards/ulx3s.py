"""Radiona ULX3S: ECP5, 25 MHz, FT231X. The reference board."""

from firmware_model.geometry import Geometry

from .board import CHIPS, Board, Pins, Programmer

# GP0, GN0 and so on are pairs of neighbouring pins of the header, with ground at its ends.
LINKS = tuple(Pins(rx=f"{n}+", tx=f"{n}-", connector=("gpio", 0), where=f"GP{n} in, GN{n} out")
              for n in range(8))

# 3 Mbaud is the FT231X's limit; its divisors reach 2 Mbaud exactly.
_RATES = {"host_baud": 2_000_000, "link_baud": 1_000_000}

# 56 block RAMs of 2 KiB. Alone, a system may keep 40 of them for tracks; both together share.
_SMALL = Geometry(volumes=4, tracks_per_volume=16, chain_limit=64, spare_slots=68,
                  staging_slots=64, **_RATES)
_SMALL_BOTH = Geometry(volumes=4, tracks_per_volume=8, chain_limit=16, spare_slots=18,
                       staging_slots=16, window=16, **_RATES)
# 208 block RAMs: the sizes of the simulated board. Both systems side by side leave four of ten
# block RAMs free, so that what works together can lie together: wires are what 80 MHz fails by.
_LARGE = Geometry(**_RATES)
_LARGE_BOTH = Geometry(volumes=4, tracks_per_volume=32, chain_limit=32, spare_slots=36,
                       staging_slots=32, links=4, **_RATES)


def _ulx3s(size, one, both, clock_hz):
    return Board(
        name=f"ulx3s-{size.lower()}",
        title=f"ULX3S {size}",
        platform=f"amaranth_boards.ulx3s:ULX3S_{size}_Platform",
        chip=CHIPS[f"LFE5U-{size}"],
        oscillator_hz=25_000_000,
        clock_hz={"source": clock_hz, "target": clock_hz, "both": clock_hz},
        geometries={"source": one, "target": one, "both": both},
        links=LINKS,
        leds=tuple(("led", n, "") for n in range(4)),
        programmer=Programmer("openFPGALoader", "openfpgaloader", ("-b", "ulx3s"),
                              ("-b", "ulx3s", "-f")),
        usb=((0x0403, 0x6015),),
    )


BOARDS = (
    _ulx3s("12F", _SMALL, _SMALL_BOTH, 50_000_000),
    _ulx3s("25F", _SMALL, _SMALL_BOTH, 50_000_000),
    _ulx3s("85F", _LARGE, _LARGE_BOTH, 80_000_000),
)
