"""The simulated board with one engine for all lines of a system, as on small boards."""

from hdl.linebank import least_divisor
from sim.top import Board
from tests.scenarios.world import GEOMETRY

__all__ = ["SHARED", "SharedBoard"]

# The fastest lines that such a system surely keeps up with.
_CLOCKS = -(-least_divisor(GEOMETRY.links + 1, GEOMETRY.window) // 256)
SHARED = GEOMETRY.replace(host_baud=GEOMETRY.clock_hz // _CLOCKS,
                          link_baud=GEOMETRY.clock_hz // _CLOCKS)


class SharedBoard(Board):
    lines = "shared"
