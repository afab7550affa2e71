"""The channel emulator: what lies between two ends of a link, made of gateware.

One emulator serves cocotb, the simulated board and a real board wired to itself. It works on
whole bytes: a UART takes them off one line, they are damaged, lost, inserted or repeated by chance,
wait in a delay line, and another UART puts them on the next line, which may also be skewed, cut
or stuck. Units, chances and the generator are defined in :mod:`firmware_model.channel`, whose
``ByteChannel`` predicts the output byte for byte.
"""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import channel as model
from firmware_model.wire import ChannelFault, LineFault
from hdl.interfaces import RegisterPort
from hdl.uart import UartRx

from .channelregisters import ChannelEvents, ChannelPage, ChannelSettings
from .channeltime import Flapper, Ticker
from .delayline import DELAY_BITS, DelayLine
from .impairment import CHANCES, Impairment
from .linedriver import SKEW_BITS, LineDriver

__all__ = ["DELAY_BITS", "Channel", "ChannelDirection", "ChannelSettings"]

FIFO_BYTES = 4          # ticks are a little shorter than bytes; the delay line has the rest


class ChannelDirection(wiring.Component):
    """One direction of a channel: UART, impairment, delay line, UART.

    With a delay of 0 a byte is out one to two byte times after it went in. A cut drops what is
    inside and what arrives; the byte on the line is finished, then the line idles. A line that is
    stuck is so at once, in the middle of a byte, and what is sent meanwhile is lost.

    Members
    -------
    rx, tx : In(1), Out(1)
        The lines, idle high.
    divisor : In(24)
        Clocks a bit in 1/256, of both lines.
    skew : In(signed(16))
        See :class:`~sim.linedriver.LineDriver`.
    tick, delay
        See :class:`~sim.delayline.DelayLine`.
    cut, stuck_low, stuck_high : In(1)
        Faults of the whole line.
    possible, chance_at, chance, burst_bytes, seed, reseed
        See :class:`~sim.impairment.Impairment`.
    events : Out(ChannelEvents)
        What happened; pulses. FLAPS is not used.
    taken : Out(1)
        Pulses with every byte that arrives.
    """

    def __init__(self, depth, link, direction):
        self.depth = depth
        self.link = link
        self.direction = direction
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "divisor": In(24),
            "skew": In(signed(SKEW_BITS)), "tick": In(1), "delay": In(range(depth)),
            "cut": In(1), "stuck_low": In(1), "stuck_high": In(1),
            "possible": In(len(CHANCES)), "chance_at": Out(range(len(CHANCES))),
            "chance": In(32), "burst_bytes": In(8), "seed": In(32), "reseed": In(1),
            "events": Out(ChannelEvents), "taken": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart_rx = uart_rx = UartRx()
        m.submodules.impairment = impairment = Impairment(self.link, self.direction)
        m.submodules.delay_line = delay_line = DelayLine(self.depth)
        m.submodules.waiting = waiting = fifo.SyncFIFO(width=8, depth=FIFO_BYTES)
        m.submodules.line = line = LineDriver()

        wiring.connect(m, uart_rx.o, impairment.i)
        wiring.connect(m, impairment.o, delay_line.i)
        m.d.comb += [
            uart_rx.rx.eq(self.rx),
            uart_rx.divisor.eq(self.divisor),
            self.taken.eq(uart_rx.o.valid),

            impairment.possible.eq(self.possible),
            self.chance_at.eq(impairment.chance_at),
            impairment.chance.eq(self.chance),
            impairment.burst_bytes.eq(self.burst_bytes),
            impairment.seed.eq(self.seed),
            impairment.reseed.eq(self.reseed),

            delay_line.tick.eq(self.tick),
            delay_line.delay.eq(self.delay),
            delay_line.clear.eq(self.cut),
            delay_line.room.eq(waiting.w_rdy),
            delay_line.dry.eq(waiting.w_level == 0),

            waiting.w_en.eq(delay_line.o.valid),
            waiting.w_data.eq(delay_line.o.payload),
            # A cut takes back even the byte that is being offered to the transmitter: the one
            # place where a stream's valid falls untaken, as it does when a cable is cut.
            line.i.valid.eq(waiting.r_rdy & ~self.cut),
            line.i.payload.eq(waiting.r_data),
            waiting.r_en.eq(line.i.ready | self.cut),
            line.divisor.eq(self.divisor),
            line.skew.eq(self.skew),
            self.tx.eq((line.tx | self.stuck_high) & ~self.stuck_low),

            self.events.frames_lost.eq(impairment.happened.frame_lost),
            self.events.bytes_lost.eq(impairment.happened.byte_lost),
            self.events.bytes_inserted.eq(impairment.happened.inserted),
            self.events.bursts.eq(impairment.happened.burst),
            self.events.errors.eq(impairment.happened.error),
            self.events.frames_repeated.eq(delay_line.repeated),
            self.events.overruns.eq(delay_line.overrun),
        ]
        return m


class Channel(wiring.Component):
    """The channel emulator of one link, both directions.

    Parameters
    ----------
    link : int
        Number of the link; makes its random numbers differ from those of other links.
    depth : int
        Ticks each delay line can hold, a power of two. A tick of memory is nine bits: 16384 of
        them in both directions are 36 KiB.

    Members
    -------
    source_rx, source_tx : In(1), Out(1)
        From and to the source, idle high.
    target_rx, target_tx : In(1), Out(1)
        From and to the target, idle high.
    divisor : In(24)
        Clocks a bit of the link in 1/256.
    initial : In(ChannelSettings())
        See :class:`~sim.channelregisters.ChannelPage`.
    registers : In(RegisterPort())
        ``wire.Channel``; see :class:`~sim.channelregisters.ChannelPage`.
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
        m.submodules.page = page = ChannelPage(self.depth)
        m.submodules.ticker = ticker = Ticker()
        m.submodules.flapper = flapper = Flapper()
        m.submodules.to_target = to_target = ChannelDirection(
            self.depth, self.link, model.SOURCE_TO_TARGET)
        m.submodules.to_source = to_source = ChannelDirection(
            self.depth, self.link, model.TARGET_TO_SOURCE)

        wiring.connect(m, wiring.flipped(self.registers), page.bus)
        live = page.live
        m.d.comb += [
            page.initial.eq(self.initial),
            ticker.divisor.eq(self.divisor),
            flapper.tick.eq(ticker.tick),
            flapper.up.eq(live.flap_up),
            flapper.down.eq(live.flap_down),
            flapper.restart.eq(page.reflap),
            to_target.rx.eq(self.source_rx),
            self.target_tx.eq(to_target.tx),
            to_source.rx.eq(self.target_rx),
            self.source_tx.eq(to_source.tx),
        ]
        for number, direction in enumerate((to_target, to_source)):
            def concerns(fault, number=number):
                return live.directions[2 * fault + number]

            # Settings have time: they come from the page, which may lie far away on the chip.
            m.d.sync += [
                direction.delay.eq(Mux(concerns(ChannelFault.DELAY), live.delay, 0)),
                direction.skew.eq(Mux(concerns(ChannelFault.SKEW), live.skew, 0)),
                direction.possible.eq(
                    page.possible & Cat(concerns(fault) for fault in CHANCES)),
            ]
            m.d.comb += [
                direction.divisor.eq(self.divisor),
                direction.tick.eq(ticker.tick),
                direction.cut.eq(live.control[2 * LineFault.CUT + number]
                                 | (flapper.cut & concerns(ChannelFault.FLAP))),
                direction.stuck_low.eq(live.control[2 * LineFault.STUCK_LOW + number]),
                direction.stuck_high.eq(live.control[2 * LineFault.STUCK_HIGH + number]),
                page.chance_at[number].eq(direction.chance_at),
                direction.chance.eq(page.chance[number]),
                direction.burst_bytes.eq(live.burst_bytes),
                direction.seed.eq(live.seed),
                direction.reseed.eq(page.reseed),
                page.events[number].eq(direction.events),
            ]
        m.d.comb += page.events[0].flaps.eq(flapper.fell)
        m.d.sync += self.activity.eq(self.activity + to_target.taken + to_source.taken)
        return m
