"""Asynchronous serial lines: 8 data bits, no parity, one stop bit, least significant bit first.

Both ends take the length of a bit as a *signal*, in clocks, as a fixed-point number with 8
fractional bits: so any baud rate is met exactly on average, and may be changed at run time.
"""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from firmware_model.geometry import DIVISOR_BITS, FRACTION_BITS, MIN_DIVISOR

__all__ = ["DIVISOR_BITS", "FRACTION_BITS", "MIN_DIVISOR", "MIN_DIVISOR_BITS",
           "UartRx", "UartTx"]

# Why MIN_DIVISOR is what it is: with four clocks a bit the receiver stands 2 % of baud offset (see
# there); with three, its one clock of doubt about the start edge would leave no more than 0.3 %.

# Fewer hold hardly more than the smallest divisor.
MIN_DIVISOR_BITS = 12


def _check(divisor_bits):
    if not isinstance(divisor_bits, int) or not MIN_DIVISOR_BITS <= divisor_bits <= 32:
        raise ValueError(f"divisor_bits {divisor_bits!r} is outside {MIN_DIVISOR_BITS}..32: the "
                         f"smallest divisor is {MIN_DIVISOR}, and no line is slower than 2**24 "
                         "clocks a bit")


class _BitClock:
    """Counts the clocks of a bit: from 1 to the whole part of ``divisor``, or from 0 when the
    fractions of the bits before have added up to one clock more.

    What is asked of the count is known when it begins, because it is asked of the one after it:
    a comparison lasts half a clock of a fast chip.
    """

    def __init__(self, m, divisor):
        self._m = m
        whole = divisor[FRACTION_BITS:]
        self.fraction = Signal(FRACTION_BITS)
        self.clocks = Signal(len(whole), init=1)
        self.is_last = Signal()     # clock of the bit
        total = Signal(FRACTION_BITS + 1)
        m.d.comb += total.eq(self.fraction + divisor[:FRACTION_BITS])
        m.d.sync += [
            self.clocks.eq(self.following),
            # Not ==: the divisor may have become less.
            self.is_last.eq(~self.is_last & (self.following >= whole)),
        ]
        with m.If(self.is_last):
            m.d.sync += [self.fraction.eq(total), self.clocks.eq(~total[FRACTION_BITS])]

    @property
    def following(self):
        """The count after this one, if the bit goes on. Not a signal: it changes at every clock,
        and would wake whatever simulates it."""
        return self.clocks + 1

    def restart(self):
        """The next clock is the first of a bit."""
        self._m.d.sync += [self.clocks.eq(1), self.fraction.eq(0), self.is_last.eq(0)]


class UartTx(wiring.Component):
    """Serial transmitter.

    The bit clock runs freely, so a byte starts up to one bit late, and bytes follow each other
    without a gap for as long as the stream stays valid: one byte every ten bits, exactly.

    Parameters
    ----------
    divisor_bits : int
        Width of ``divisor``; the lowest eight bits are the fraction.

    Members
    -------
    divisor : In(divisor_bits)
        Clocks a bit in 1/256; at least ``MIN_DIVISOR``. May change at any time, from which the
        bit on the line may come out odd.
    i : In(stream.Signature(8))
        Bytes to send; one is taken in the clock before its start bit appears.
    tick : Out(1)
        One clock at the end of each bit time, also while nothing is sent: the time base of
        everything that counts in bits.
    tx : Out(1)
        The line; high when idle.
    """

    def __init__(self, divisor_bits=DIVISOR_BITS):
        _check(divisor_bits)
        super().__init__({
            "divisor": In(divisor_bits),
            "i": In(stream.Signature(8)),
            "tick": Out(1),
            "tx": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()

        m.d.comb += self.tick.eq(_BitClock(m, self.divisor).is_last)

        # Ones follow the data into the register: the first of them is the stop bit.
        shift = Signal(8, init=0xFF)
        left = Signal(range(10))
        m.d.comb += self.i.ready.eq(self.tick & (left == 0))
        with m.If(self.tick & (left != 0)):
            m.d.sync += [self.tx.eq(shift[0]), shift.eq(Cat(shift[1:], 1)), left.eq(left - 1)]
        with m.Elif(self.tick & self.i.valid):
            m.d.sync += [self.tx.eq(0), shift.eq(self.i.payload), left.eq(9)]
        return m


class UartRx(wiring.Component):
    """Serial receiver.

    The line passes two flip-flops. A falling edge starts a byte if the line is still low in the
    middle of the start bit (a shorter pulse is a glitch and ignored); then every bit is sampled
    once, in its middle. A new start edge is accepted from the middle of the stop bit on, which is
    what allows a sender to be a few per cent fast.

    **In step with any sender.** A byte whose stop bit is low comes out as 0, with
    ``framing_error``, and the line must go high before another byte can start. So a break gives one
    such byte, not a stream; and the delimiter 0 brings a receiver into step that was at odds
    with a stream of bytes without gaps: it is low for nine bits, so wherever in it a false byte
    has its stop bit, that is low, and the next start edge is a true one. The 0 that comes out
    stands for the delimiter that was misread, hence not even the frame behind it is lost.

    **Baud offset.** The edge that starts a byte is seen up to one clock late, and the fraction of a
    clock is left out until it has grown to a whole one, up to one clock early. Let ``d`` be the
    divisor in clocks and ``h`` its half, rounded down; then any byte is read from a sender
    whose bits last

    * up to ``(h - 1) / 9 d`` longer (``h / 9 d`` if ``d`` is whole): past that, the start of the
      stop bit comes after the receiver looks for it;
    * down to ``(d - h - 1) / 10 d`` shorter: past that, the stop bit has ended.

    That is 2.2 % at least whatever ``d``; +5.5 and -2.5 % at 4 clocks a bit, +4.4 and -4.0 % at 5,
    +5.5 and -4.4 % at 16, and no receiver of 8N1 stands more than 1/18 and 1/20. Jitter of edges
    counts against the same margins: ``h`` clocks early and ``d - h - 1`` late.

    Parameters
    ----------
    divisor_bits : int
        Width of ``divisor``; the lowest eight bits are the fraction.

    Members
    -------
    divisor : In(divisor_bits)
        Clocks a bit in 1/256; at least ``MIN_DIVISOR``.
    rx : In(1)
        The line, asynchronous.
    o : Out(stream.Signature(8, always_ready=True))
        Bytes, valid for one clock each: a line cannot wait.
    framing_error : Out(1)
        With a byte that had no stop bit and comes out as 0.
    """

    def __init__(self, divisor_bits=DIVISOR_BITS):
        _check(divisor_bits)
        super().__init__({
            "divisor": In(divisor_bits),
            "rx": In(1, init=1),
            "o": Out(stream.Signature(8, always_ready=True)),
            "framing_error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)

        bit_clock = _BitClock(m, self.divisor)
        shift = Signal(8)
        count = Signal(range(10))       # bits sampled: 0 the start bit, 9 the stop bit
        now = Signal()                  # half of the bit is over
        m.d.sync += now.eq(0)
        m.d.comb += self.o.payload.eq(Mux(self.framing_error, 0, shift))

        with m.FSM():
            with m.State("WAIT FOR START"):
                # The bit clock starts with the edge.
                bit_clock.restart()
                m.d.sync += count.eq(0)
                with m.If(~line):
                    m.next = "SAMPLE BITS"
            with m.State("SAMPLE BITS"):
                m.d.sync += now.eq(bit_clock.following == self.divisor[FRACTION_BITS + 1:])
                with m.If(~now):
                    pass
                with m.Elif((count == 0) & line):
                    m.next = "WAIT FOR START"
                with m.Elif(count != 9):
                    m.d.sync += [count.eq(count + 1), shift.eq(Cat(shift[1:], line))]
                with m.Elif(line):
                    m.d.comb += self.o.valid.eq(1)
                    m.next = "WAIT FOR START"
                with m.Else():
                    m.d.comb += [self.o.valid.eq(1), self.framing_error.eq(1)]
                    m.next = "WAIT FOR IDLE"
            with m.State("WAIT FOR IDLE"):
                with m.If(line):
                    m.next = "WAIT FOR START"
        return m
