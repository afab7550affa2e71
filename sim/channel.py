"""The channel emulator: what lies between two ends of a link, made of gateware.

One emulator serves cocotb, the simulated board and a real board wired to itself. It works on
whole bytes: a UART takes them off one line, they are damaged or lost by chance, wait in a delay
line, and another UART puts them on the next line. Units, chances and the generator are defined in
:mod:`firmware_model.channel`, whose ``ByteChannel`` predicts the output byte for byte.
"""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import channel as model
from firmware_model import wire
from hdl.interfaces import RegisterPort
from hdl.uart import UartRx, UartTx

__all__ = ["Channel", "ChannelSettings", "DelayLine", "Impairment"]

DELAY_BITS = 16
FIFO_BYTES = 16         # a few bytes of slack where the far clock is a little slower


def ChannelSettings():
    """What the registers of a channel hold when it leaves reset."""
    return data.StructLayout({"control": 2, "delay": DELAY_BITS, "byte_error": 32,
                              "frame_loss": 32, "seed": 32})


class Ticker(wiring.Component):
    """Divides time into ticks of ``wire.CHANNEL_TICK_BITS`` bit times.

    A tick is shorter than a byte, so no two bytes of one line ever arrive in the same tick.

    Members
    -------
    divisor : In(24)
        Clocks a bit in 1/256.
    tick : Out(1)
        High for one clock a tick. The fraction of a clock is carried over: no drift.
    """

    divisor: In(24)
    tick: Out(1)

    def elaborate(self, platform):
        m = Module()
        left = Signal(signed(30))       # rest of this tick, in 1/256 clock
        period = Signal(28)
        m.d.comb += period.eq(self.divisor * wire.CHANNEL_TICK_BITS)
        m.d.sync += left.eq(left - model.DIVISOR_UNIT)
        with m.If(left <= 0):
            m.d.comb += self.tick.eq(1)
            m.d.sync += left.eq(left + period - model.DIVISOR_UNIT)
        return m


class Impairment(wiring.Component):
    """Loses whole frames and flips single bits by chance.

    Three numbers are drawn for every byte, one a clock; so a byte leaves three clocks after it
    was taken, unless its frame is lost. Equal seeds and equal bytes give equal results.

    Parameters
    ----------
    link, direction : int
        Make the generators of one board differ under one seed.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
        Bytes before; at least six clocks apart, and none while ``o`` is held up.
    o : Out(stream.Signature(8))
        Bytes after.
    byte_error, frame_loss : In(32)
        Chances; 0 is never, all ones is always.
    seed : In(32)
        Loaded into the generator while ``reseed`` is high. Do so while no byte is under way.
    error, lost : Out(1)
        Pulse when a bit is flipped, and at the first byte of a lost frame.
    """

    i: In(stream.Signature(8, always_ready=True))
    o: Out(stream.Signature(8))
    byte_error: In(32)
    frame_loss: In(32)
    seed: In(32)
    reseed: In(1)
    error: Out(1)
    lost: Out(1)

    def __init__(self, link=0, direction=model.SOURCE_TO_TARGET):
        self._salt = model.salt(link, direction)
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        state = Signal(32, init=1)
        byte = Signal(8)
        at_start = Signal(init=1)       # the next byte is the first of its frame
        swallowing = Signal()

        def draw():
            shifted = Signal(32, name="after_13")
            shifted2 = Signal(32, name="after_17")
            m.d.comb += shifted.eq(state ^ (state << 13)[:32])
            m.d.comb += shifted2.eq(shifted ^ (shifted >> 17))
            m.d.sync += state.eq(shifted2 ^ (shifted2 << 5)[:32])

        is_delimiter = byte == wire.DELIMITER
        with m.FSM(name="impairment"):
            with m.State("TAKE BYTE"):
                m.d.sync += byte.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "DECIDE LOSS"
            with m.State("DECIDE LOSS"):
                draw()
                with m.If(at_start & ~is_delimiter & (state <= self.frame_loss)):
                    m.d.sync += swallowing.eq(1)
                    m.d.comb += self.lost.eq(1)
                m.next = "DECIDE ERROR"
            with m.State("DECIDE ERROR"):
                draw()
                m.d.sync += at_start.eq(is_delimiter)
                m.next = "KEEP BYTE"
                with m.If(swallowing):
                    m.next = "DROP BYTE"
                with m.Elif(state <= self.byte_error):
                    m.next = "FLIP BIT"
            with m.State("FLIP BIT"):
                draw()
                m.d.comb += self.error.eq(1)
                m.d.sync += byte.eq(byte ^ (1 << state[:3]))
                m.next = "GIVE BYTE"
            with m.State("KEEP BYTE"):
                draw()
                m.next = "GIVE BYTE"
            with m.State("DROP BYTE"):
                draw()
                with m.If(is_delimiter):
                    m.d.sync += swallowing.eq(0)
                m.next = "TAKE BYTE"
            with m.State("GIVE BYTE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "TAKE BYTE"
        m.d.comb += self.o.payload.eq(byte)

        with m.If(self.reseed):
            start = self.seed ^ self._salt
            m.d.sync += state.eq(Mux(start == 0, 1, start))
        return m


class DelayLine(wiring.Component):
    """Holds every byte for a number of ticks.

    A circular memory is written once a tick, with a byte or a gap, and read ``delay`` ticks
    behind. A byte leaves exactly ``delay`` ticks (and two clocks) after the tick that took it,
    which is the first tick after it was offered.

    ``delay`` may change at any time. Made longer, what is inside just comes out later. Made
    shorter, what would now have to be out already is lost. Nothing is ever reordered, repeated
    or invented: only the last ``held`` ticks are still inside, whatever ``delay`` says.

    Parameters
    ----------
    depth : int
        Ticks of memory, a power of two; ``delay`` must stay below it.

    Members
    -------
    i : In(stream.Signature(8))
        Ready whenever no byte waits for its tick.
    o : Out(stream.Signature(8, always_ready=True))
        Valid for one clock a byte.
    tick : In(1)
        Time passes; at least four clocks apart.
    delay : In
        In ticks.
    clear : In(1)
        While high everything inside and everything offered is lost.
    """

    def __init__(self, depth):
        if not 2 <= depth <= 1 << DELAY_BITS or depth & (depth - 1):
            raise ValueError(f"depth {depth} is not a power of two in 2..{1 << DELAY_BITS}: "
                             "the place in the memory wraps, and DELAY is 16 bits")
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8, always_ready=True)),
            "tick": In(1),
            "delay": In(range(depth)),
            "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        entry = data.StructLayout({"byte": 8, "valid": 1})
        m.submodules.line = line = memory.Memory(shape=entry, depth=self.depth, init=[])
        # Reading comes one clock after writing, never with it: no rule for both is needed.
        write, read = line.write_port(), line.read_port()

        arrived = Signal(entry)
        place = Signal(range(self.depth))   # where the next tick is written
        held = Signal(range(self.depth))    # ticks behind it that have not come out yet

        m.d.comb += self.i.ready.eq(~arrived.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [arrived.byte.eq(self.i.payload), arrived.valid.eq(1)]

        m.d.comb += [
            write.addr.eq(place),
            write.data.eq(arrived),
            read.addr.eq((place - self.delay)[:len(place)]),
            self.o.payload.eq(read.data.byte),
        ]
        with m.FSM(name="delay_line"):
            with m.State("AWAIT TICK"):
                with m.If(self.tick):
                    m.d.comb += write.en.eq(1)
                    # A byte that is offered in this very clock waits for the next tick.
                    m.d.sync += arrived.valid.eq(self.i.valid & self.i.ready)
                    m.next = "LOOK BACK"
            with m.State("LOOK BACK"):
                m.d.comb += read.en.eq(1)
                m.d.sync += place.eq(place + 1)
                with m.If(held >= self.delay):
                    m.d.sync += held.eq(self.delay)
                    m.next = "LET OUT"
                with m.Else():
                    m.d.sync += held.eq(held + 1)
                    m.next = "AWAIT TICK"
            with m.State("LET OUT"):
                m.d.comb += self.o.valid.eq(read.data.valid)
                m.next = "AWAIT TICK"

        with m.If(self.clear):
            m.d.comb += self.o.valid.eq(0)
            m.d.sync += [arrived.valid.eq(0), held.eq(0)]
        return m


class ChannelDirection(wiring.Component):
    """One direction of a channel: UART, impairment, delay line, UART.

    With a delay of 0 a byte is out one to two byte times after it went in. A cut drops what is
    inside and what arrives; the byte on the line is finished, then the line idles. A byte that
    finds the output FIFO full is lost; that takes a sender whose clock is faster than ours.

    Members
    -------
    rx, tx : In(1), Out(1)
        The lines, idle high.
    divisor : In(24)
        Clocks a bit in 1/256, of both lines.
    tick, delay, cut
        See :class:`DelayLine`.
    byte_error, frame_loss, seed, reseed, error, lost
        See :class:`Impairment`.
    taken : Out(1)
        Pulses with every byte that arrives.
    """

    def __init__(self, depth, link, direction):
        self.depth = depth
        self.link = link
        self.direction = direction
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "divisor": In(24),
            "tick": In(1), "delay": In(range(depth)), "cut": In(1),
            "byte_error": In(32), "frame_loss": In(32), "seed": In(32), "reseed": In(1),
            "error": Out(1), "lost": Out(1), "taken": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart_rx = uart_rx = UartRx()
        m.submodules.impairment = impairment = Impairment(self.link, self.direction)
        m.submodules.delay_line = delay_line = DelayLine(self.depth)
        m.submodules.waiting = waiting = fifo.SyncFIFO(width=8, depth=FIFO_BYTES)
        m.submodules.uart_tx = uart_tx = UartTx()

        # A tick is shorter than a byte, so the delay line always has room for the next byte, and
        # the impairment is done with the last.
        wiring.connect(m, uart_rx.o, impairment.i)
        wiring.connect(m, impairment.o, delay_line.i)
        m.d.comb += [
            uart_rx.rx.eq(self.rx),
            uart_rx.divisor.eq(self.divisor),
            uart_tx.divisor.eq(self.divisor),
            self.tx.eq(uart_tx.tx),

            impairment.byte_error.eq(self.byte_error),
            impairment.frame_loss.eq(self.frame_loss),
            impairment.seed.eq(self.seed),
            impairment.reseed.eq(self.reseed),
            self.error.eq(impairment.error),
            self.lost.eq(impairment.lost),
            self.taken.eq(uart_rx.o.valid),

            delay_line.tick.eq(self.tick),
            delay_line.delay.eq(self.delay),
            delay_line.clear.eq(self.cut),

            waiting.w_en.eq(delay_line.o.valid),
            waiting.w_data.eq(delay_line.o.payload),
            # A cut takes back even the byte that is being offered to the transmitter: the one
            # place where a stream's valid falls untaken, as it does when a cable is cut.
            uart_tx.i.valid.eq(waiting.r_rdy & ~self.cut),
            uart_tx.i.payload.eq(waiting.r_data),
            waiting.r_en.eq(uart_tx.i.ready | self.cut),
        ]
        return m


class Channel(wiring.Component):
    """The channel emulator of one link, both directions.

    Registers (``wire.Channel``) are answered in the clock after the request. Writing one that is
    read only answers READ_ONLY, a DELAY that the line cannot hold or unknown CONTROL bits
    BAD_VALUE, an address beyond them BAD_REGISTER; none of these changes anything.

    Parameters
    ----------
    link : int
        Number of the link; makes its random numbers differ from those of other links.
    depth : int
        Ticks each delay line can hold, a power of two.

    Members
    -------
    source_rx, source_tx : In(1), Out(1)
        From and to the source, idle high.
    target_rx, target_tx : In(1), Out(1)
        From and to the target, idle high.
    divisor : In(24)
        Clocks a bit of the link in 1/256.
    initial : In(ChannelSettings())
        Taken over in the first two clocks after reset.
    registers : In(RegisterPort())
        The low four bits of ``addr`` count.
    activity : Out(8)
        Counts bytes that arrive from either side, wrapping: shows whether the link is in use.
    """

    def __init__(self, link=0, depth=model.DEFAULT_DEPTH):
        self.link = link
        self.depth = depth
        super().__init__({
            "source_rx": In(1, init=1), "source_tx": Out(1, init=1),
            "target_rx": In(1, init=1), "target_tx": Out(1, init=1),
            "divisor": In(24),
            "initial": In(ChannelSettings()),
            "registers": In(RegisterPort()),
            "activity": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.ticker = ticker = Ticker()
        m.submodules.to_target = to_target = ChannelDirection(
            self.depth, self.link, model.SOURCE_TO_TARGET)
        m.submodules.to_source = to_source = ChannelDirection(
            self.depth, self.link, model.TARGET_TO_SOURCE)

        now = Signal(ChannelSettings())
        started = Signal(2)
        reseed = Signal()
        errors = Signal(32)
        lost = Signal(32)

        m.d.comb += [
            ticker.divisor.eq(self.divisor),
            to_target.rx.eq(self.source_rx),
            self.target_tx.eq(to_target.tx),
            to_source.rx.eq(self.target_rx),
            self.source_tx.eq(to_source.tx),
        ]
        for number, direction in enumerate((to_target, to_source)):
            m.d.comb += [
                direction.divisor.eq(self.divisor),
                direction.tick.eq(ticker.tick),
                direction.delay.eq(now.delay),
                direction.cut.eq(now.control[number]),
                direction.byte_error.eq(now.byte_error),
                direction.frame_loss.eq(now.frame_loss),
                direction.seed.eq(now.seed),
                direction.reseed.eq(reseed),
            ]

        m.d.sync += [
            started.eq(Cat(1, started[0])),
            reseed.eq(~started[1]),
            errors.eq(errors + to_target.error + to_source.error),
            lost.eq(lost + to_target.lost + to_source.lost),
            self.activity.eq(self.activity + to_target.taken + to_source.taken),
        ]
        self._answer(m, now, reseed, errors, lost)
        with m.If(~started[1]):
            m.d.sync += now.eq(self.initial)
            with m.If(self.initial.delay >= self.depth):
                m.d.sync += now.delay.eq(self.depth - 1)
        return m

    def _answer(self, m, now, reseed, errors, lost):
        """The register window."""
        port = self.registers
        offset = port.addr[:4]
        readable = {
            wire.Channel.CONTROL: now.control, wire.Channel.DELAY: now.delay,
            wire.Channel.BYTE_ERROR: now.byte_error, wire.Channel.FRAME_LOSS: now.frame_loss,
            wire.Channel.SEED: now.seed, wire.Channel.ERRORS: errors, wire.Channel.LOST: lost,
            wire.Channel.MAX_DELAY: C(self.depth - 1, 32),
        }
        bounds = {wire.Channel.CONTROL: 3, wire.Channel.DELAY: self.depth - 1}
        read_only = (wire.Channel.ERRORS, wire.Channel.LOST, wire.Channel.MAX_DELAY)

        with m.Switch(offset):
            for register, value in readable.items():
                with m.Case(register):
                    m.d.comb += port.rdata.eq(value)
                    if register in read_only:
                        with m.If(port.we):
                            m.d.comb += port.code.eq(wire.Code.READ_ONLY)
                    if register in bounds:
                        with m.If(port.we & (port.wdata > bounds[register])):
                            m.d.comb += port.code.eq(wire.Code.BAD_VALUE)
            with m.Default():
                m.d.comb += port.code.eq(wire.Code.BAD_REGISTER)

        m.d.sync += port.ack.eq(port.req & ~port.ack)
        with m.If(port.req & port.ack & port.we & (port.code == wire.Code.OK)):
            with m.Switch(offset):
                for register, value in readable.items():
                    if register not in read_only:
                        with m.Case(register):
                            m.d.sync += value.eq(port.wdata)
            m.d.sync += reseed.eq(offset == wire.Channel.SEED)
