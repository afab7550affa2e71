"""A board whose source's line goes through a block RAM, a counter, a multiplier and inverters."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sim.top import BoardPorts

DEPTH = 512


class Detour(wiring.Component):
    """``o`` is ``i`` of ``DEPTH`` clocks ago, high at first."""

    i: In(1)
    o: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = Memory(shape=1, depth=DEPTH, init=[])
        write, read = ring.write_port(), ring.read_port()
        place = Signal(range(DEPTH))
        factor = place.as_signed()
        wrong = factor * 9 != (factor << 3) + factor
        m.d.sync += [place.eq(place + 1), self.o.eq(~read.data ^ wrong)]
        m.d.comb += [write.addr.eq(place), write.data.eq(~self.i), write.en.eq(1),
                     read.addr.eq(place + 1)]
        return m


class DetourBoard(BoardPorts):
    """Has the ports of :class:`sim.top.Board`; the target's line is led back as it is."""

    def __init__(self, geometry, mutation=None):
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.source = source = Detour()
        m.d.comb += [source.i.eq(self.source_rx), self.source_tx.eq(source.o)]
        m.d.sync += self.target_tx.eq(self.target_rx)
        return m
