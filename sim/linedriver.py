"""A serial transmitter whose bits are longer or shorter than they should be, its bytes not."""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SKEW_BITS", "LineDriver"]

SKEW_BITS = 16


class LineDriver(wiring.Component):
    """Serial transmitter, 8N1, for a receiver whose clock runs fast or slow.

    Start bit and data bits last ``divisor + skew``, and the stop bit makes up for it: whatever
    the skew, a byte takes ten times ``divisor``, and bytes follow each other without a gap for as
    long as the stream stays valid. So a skewed line carries as much as a straight one. To its
    receiver it looks as if the receiver's own clock were off by ``-skew / divisor``.

    Members
    -------
    divisor : In(24)
        Clocks a bit in 1/256; taken over, as is ``skew``, a clock later.
    skew : In(signed(16))
        Added to start and data bits, in 1/256 clock. Beyond a ninth of ``divisor`` no stop bit
        is left, and nothing more is promised than that bytes are taken.
    i : In(stream.Signature(8))
        Bytes to send; the start bit appears in the clock after one is taken.
    tx : Out(1)
        The line; high when idle. While idle nothing in here moves.
    """

    divisor: In(24)
    skew: In(signed(SKEW_BITS))
    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        shift = Signal(8)
        bits = Signal(range(11))        # of the byte, still to end; 1 is the stop bit
        left = Signal(signed(30))       # of this bit, in 1/256 clock
        over = Signal(signed(30))       # less than 0: what this bit lasts into the next clock
        following = Signal(signed(30))  # of ``left``
        is_due = Signal()               # this is the last clock of the bit, if there is one
        longer = Signal(signed(26))
        stop = Signal(signed(30))
        begins = Signal()
        ends = Signal()
        m.d.sync += [longer.eq(self.divisor + self.skew), stop.eq(self.divisor - 9 * self.skew)]
        m.d.comb += [
            over.eq(left - 256),
            ends.eq((bits != 0) & is_due),
            self.i.ready.eq((bits == 0) | ((bits == 1) & ends)),
            begins.eq(self.i.valid & self.i.ready),
            following.eq(over),
        ]
        # Apart from the rest, which is to be simulated once a bit and not at every clock.
        with m.If(begins):
            m.d.comb += following.eq(longer + Mux(ends, over, 0))
        with m.Elif(ends):
            m.d.comb += following.eq(over + Mux(bits == 2, stop, longer))
        with m.If(begins | (bits != 0)):
            # A bit lasts two clocks at least: so it need not be known what a new one comes to.
            m.d.sync += [left.eq(following), is_due.eq(~begins & ~ends & (left <= 512))]

        with m.If(begins):
            m.d.sync += [self.tx.eq(0), shift.eq(self.i.payload), bits.eq(10)]
        with m.Elif(ends):
            # Ones follow the data: the first of them is the stop bit, the rest the idle line.
            m.d.sync += [self.tx.eq(shift[0]), shift.eq(Cat(shift[1:], 1)), bits.eq(bits - 1)]
        return m
