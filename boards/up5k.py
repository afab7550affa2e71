"""What every iCE40UP5K holds: the sizes of a system in its SPRAM."""

from firmware_model.geometry import Geometry

# The oscillator's own clock.
CLOCK_HZ = 12_000_000

# One engine for all lines: one for each would alone take most of the chip. It serves a host line
# and three links.
LINES = "shared"
MOST_LINKS = 3

# 48 clocks a bit: with three links the engine asks for 44.1 (hdl.linebank.least_divisor).
BAUD = 250_000

# 128 KiB are 256 slots of 512 bytes. The same sizes for both roles, or the two would not accept
# each other: 128 tracks, the rest for chains at the source and for groups at the target.
GEOMETRY = Geometry(volumes=4, tracks_per_volume=32, chain_limit=100, spare_slots=104,
                    staging_slots=120, window=8, clock_hz=CLOCK_HZ, host_baud=BAUD,
                    link_baud=BAUD)
