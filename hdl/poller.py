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
        ticks = Signal(24)          # since the last poll
        following = Signal(25)
        m.d.comb += [
            following.eq(ticks + 1),
            self.due.eq(self.tick & self.interval.any() & (following >= self.interval)),
        ]
        with m.If(self.due | ~self.interval.any()):
            m.d.sync += ticks.eq(0)
        with m.Elif(self.tick):
            m.d.sync += ticks.eq(following)
        return m
