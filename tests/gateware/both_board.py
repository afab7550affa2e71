"""A board that is source and target at once, with the simulated board's ports.

It is the top of such a bitstream, hub and channels included; only PLL and pins are left out. The
USB port is the line of the simulated board's source; that of its target is idle.
"""

from dataclasses import replace
from types import SimpleNamespace

from amaranth import *

from boards.board import find
from boards.top import BoardTop
from sim.top import BoardPorts
from tests.scenarios.world import GEOMETRY

__all__ = ["BOTH", "BothBoard"]

# The hub's lines inside the chip are faster than the one outside, which therefore cannot be as
# fast as a line may be.
BOTH = GEOMETRY.replace(host_baud=GEOMETRY.clock_hz // 10)


class _Pins:
    """A platform with a USB port and nothing else."""

    def __init__(self, rx, tx):
        self._uart = SimpleNamespace(rx=SimpleNamespace(i=rx), tx=SimpleNamespace(o=tx))

    def request(self, name, number):
        assert (name, number) == ("uart", 0)
        return self._uart


class _Chip(BoardTop):
    def __init__(self, board, geometry, rx, tx):
        super().__init__(board, "both", geometry)
        self._pins = _Pins(rx, tx)

    def elaborate(self, platform):
        return super().elaborate(self._pins)

    def _attach_clock(self, m):
        pass                        # the simulated board has one


class BothBoard(BoardPorts):
    """Has the ports of :class:`sim.top.Board`; divisors, and what the channels hold at the start,
    are the bitstream's own."""

    def __init__(self, geometry, mutation=None):
        self._board = replace(find("ulx3s-12f"), leds=())
        self._geometry = geometry
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.chip = _Chip(self._board, self._geometry, self.source_rx, self.source_tx)
        return m
