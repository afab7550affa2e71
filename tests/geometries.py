"""Sizes that tests of several folders share, because each size is a build of the gateware."""

from boards.simulated import DEFAULT

# What users have, with images that are read forty times in a test.
BOARD = DEFAULT.replace(tracks_per_volume=16)
