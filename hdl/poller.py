"""Background polling: when it is time to destage what is pending (R10)."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Poller"]


class Poller(wiring.Component):
    """Pulses ``due`` every ``interval`` ticks; never if ``interval`` is 0.

    A new interval counts from the last poll: a shorter one that is over already is due at the
    next tick.

    Members
    -------
    tick : In(1)
        Pulse every ``wire.POLL_UNIT`` clocks.
    interval : In(24)
        Register POLL_INTERVAL.
    due : Out(1)
        Pulse, in the clock of a tick.
    """

    tick: In(1)
    interval: In(24)
    due: Out(1)

    def elaborate(self, platform):
        m = Module()
        # -2 - the ticks since the last poll: so one carry chain without an inverter tells whether
        # there is one less than ``interval`` of them.
        left = Signal(24, init=(1 << 24) - 2)
        early = Signal(25)
        m.d.comb += [
            early.eq(self.interval + left),
            self.due.eq(self.tick & self.interval.any() & ~early[24]),
        ]
        with m.If(self.due | ~self.interval.any()):
            m.d.sync += left.eq(-2)
        with m.Elif(self.tick):
            m.d.sync += left.eq(left - 1)
        return m
