"""The channel emulator's clocks: ticks of the delay line, and flapping."""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model import channel as model
from firmware_model import wire

__all__ = ["Flapper", "Ticker"]


class Ticker(wiring.Component):
    """Divides time into ticks of ``wire.CHANNEL_TICK_BITS`` bit times.

    A tick is shorter than a byte, so no two bytes of one line ever arrive in the same tick.

    Members
    -------
    divisor : In(24)
        Clocks a bit in 1/256; taken over a clock later.
    tick : Out(1)
        High for one clock a tick. The fraction of a clock is carried over: no drift.
    """

    divisor: In(24)
    tick: Out(1)

    def elaborate(self, platform):
        m = Module()
        # Rest of this tick, in 1/256 clock. The first ends when ``period`` is known.
        left = Signal(signed(30), init=model.DIVISOR_UNIT)
        period = Signal(signed(29))     # and less by the clock in which it begins
        # Adders: a multiplier lies far away on the chip.
        many = sum(self.divisor << n for n in range(wire.CHANNEL_TICK_BITS.bit_length())
                   if wire.CHANNEL_TICK_BITS >> n & 1)
        m.d.sync += [
            period.eq(many - model.DIVISOR_UNIT),
            left.eq(left - model.DIVISOR_UNIT),
        ]
        # A register, so that the many who wait for it do not all look at ``left`` every clock.
        m.d.sync += self.tick.eq(left <= 0)
        with m.If(left <= 0):
            m.d.sync += left.eq(left + period)
        return m


class Flapper(wiring.Component):
    """Says when a flapping link is cut.

    Times are in units of ``wire.CHANNEL_FLAP_TICKS`` ticks, and begin anew with ``restart``: up
    first, then down, and so on. With 0 for either the link stays up.

    Members
    -------
    tick : In(1)
        From :class:`Ticker`.
    up, down : In(16)
        How long the link is whole and how long it is cut.
    restart : In(1)
        Begin with a whole link; high when ``up`` or ``down`` may have changed.
    cut : Out(1)
        The link is cut.
    fell : Out(1)
        Pulses whenever ``cut`` rises.
    """

    tick: In(1)
    up: In(16)
    down: In(16)
    restart: In(1)
    cut: Out(1)
    fell: Out(1)

    def elaborate(self, platform):
        m = Module()
        flaps = Signal()
        ticks = Signal(range(wire.CHANNEL_FLAP_TICKS), init=wire.CHANNEL_FLAP_TICKS - 1)
        units = Signal(16, init=1)      # of this phase, this one included
        m.d.comb += flaps.eq((self.up != 0) & (self.down != 0))
        with m.If(self.restart | ~flaps):
            m.d.sync += [ticks.eq(ticks.init), units.eq(1), self.cut.eq(0)]
        with m.Elif(~self.tick):
            pass
        with m.Elif(ticks != 0):
            m.d.sync += ticks.eq(ticks - 1)
        with m.Else():
            m.d.sync += [ticks.eq(ticks.init), units.eq(units + 1)]
            with m.If(units == Mux(self.cut, self.down, self.up)):
                m.d.comb += self.fell.eq(~self.cut)
                m.d.sync += [units.eq(1), self.cut.eq(~self.cut)]
        return m
