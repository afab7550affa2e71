"""Geometries small enough to be proved."""

from firmware_model.geometry import Geometry

__all__ = ["PAIRS", "TINY"]

# The smallest there is, but for two of everything that must be told apart.
TINY = Geometry(volumes=1, tracks_per_volume=2, track_bytes=16, sets=1, links=1, chain_limit=2,
                spare_slots=4, staging_slots=4, groups_in_flight=2, window=4, volumes_per_set=1,
                clock_hz=1_000_000, host_baud=100_000, link_baud=100_000)

# Two volumes of two tracks in two sets, chains of up to three commands.
PAIRS = TINY.replace(volumes=2, sets=2, chain_limit=3, spare_slots=5)
