"""The simulated board: the sizes `farside board` and `farside demo` take unless told otherwise."""

from firmware_model.geometry import Geometry

# 12 MHz is the clock of the smallest board we aim at. The host line is as fast as that clock
# allows with 6 clocks a bit, the links half as fast: a slow link is what the method is for.
# 256 tracks of one SQLite page each keep a whole dump under three seconds of simulation.
DEFAULT = Geometry(
    volumes=4, tracks_per_volume=64, track_bytes=512, sets=4, links=2,
    chain_limit=100, spare_slots=104, staging_slots=256, groups_in_flight=4, window=32,
    clock_hz=12_000_000, host_baud=2_000_000, link_baud=1_000_000,
)
