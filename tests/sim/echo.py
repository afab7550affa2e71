"""A stand-in for the whole board: each host line is led back to itself, a clock later.

Builds in a fraction of the time and answers exactly what it was sent, so the harness, the cache
and the waveforms can be tested without the storage systems.
"""

from amaranth import *
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from sim.top import BoardPorts


class Colour(enum.Enum, shape=1):
    RED = 0
    GREEN = 1


class Echo(BoardPorts):
    """Has the ports of :class:`sim.top.Board`."""

    def __init__(self, geometry, mutation=None):
        self.mutation = mutation
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        watcher = Watcher()
        m.submodules.watcher = ResetInserter(Const(0))(watcher)     # its states keep their names
        m.d.comb += watcher.line.eq(self.source_rx)
        m.d.sync += [self.source_tx.eq(self.source_rx), self.target_tx.eq(self.target_rx)]
        if self.mutation == "target_silent":
            m.d.sync += self.target_tx.eq(1)
        return m


class Watcher(wiring.Component):
    """Something with an FSM and an enumeration, for the waveforms."""

    line: In(1)
    colour: Out(Colour)

    def elaborate(self, platform):
        m = Module()
        with m.FSM(name="watcher"):
            with m.State("AWAIT FALL"):
                with m.If(~self.line):
                    m.d.sync += self.colour.eq(Colour.GREEN)
                    m.next = "AWAIT RISE"
            with m.State("AWAIT RISE"):
                with m.If(self.line):
                    m.d.sync += self.colour.eq(Colour.RED)
                    m.next = "AWAIT FALL"
        return m
