"""What every iCE40UP5K holds: the sizes of a system in its SPRAM."""

from firmware_model.geometry import Geometry

# The oscillator's own clock: six clocks a bit at 2 Mbaud, the fewest but one that a UART takes.
CLOCK_HZ = 12_000_000

# 128 KiB are 256 slots of 512 bytes. The same sizes for both roles, or the two would not accept
# each other: 128 tracks, the rest for chains at the source and for groups at the target.
GEOMETRY = Geometry(volumes=4, tracks_per_volume=32, chain_limit=100, spare_slots=104,
                    staging_slots=120, clock_hz=CLOCK_HZ, host_baud=2_000_000,
                    link_baud=1_000_000)
