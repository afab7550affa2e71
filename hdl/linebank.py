"""All lines of a system, served by one engine."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from firmware_model import wire
from firmware_model.wire import Role

from .cobs import CobsDecoder, CobsWriter
from .frame import (
    HEAD_BYTES,
    FrameReceiver,
    FrameTransmitter,
    check_max_payload,
    counted_once,
    longest_frame,
)
from .interfaces import Event, PayloadKind
from .keepalive import BEAT_BITS, check_silence
from .line import LinePort, line_kind
from .lineprogram import (
    CLEAR,
    COUNTED,
    INPUTS,
    MAX_WINDOW,
    OUTPUTS,
    SUBMITTED,
    UNIT_BITS,
    WORDS,
    line_clocks,
    line_program,
)
from .link import PATIENCE_FRAMES
from .processor import Processor
from .rings import RING_BITS, Ferry
from .session import check_fingerprint
from .timer import BitTimer
from .txwindow import INITIAL_TRIP, TRIES, check_times
from .uart import DIVISOR_BITS, MIN_DIVISOR_BITS, UartRx, UartTx

__all__ = ["LineBank", "check_shared", "least_divisor", "shared_lines"]


# A line is named by 2 bits.
MOST_LINES = 4


def check_window(window):
    """Raise ``ValueError`` unless maps of a window can be kept in a byte."""
    if window not in (4, MAX_WINDOW):
        raise ValueError(f"window {window!r} is not 4 or {MAX_WINDOW}: maps of shared lines are "
                         "kept in bytes")


def check_payload(max_payload):
    """Raise ``ValueError`` unless a ring holds a longest frame and what comes behind it."""
    check_max_payload(max_payload)
    most = 3 << (RING_BITS - 2)
    if longest_frame(max_payload) > most:
        raise ValueError(f"payloads of {max_payload} bytes make frames of "
                         f"{longest_frame(max_payload)}, more than {most}: a quarter of "
                         f"a ring of {1 << RING_BITS} bytes must be left for what comes meanwhile")


class LineBank(wiring.Component):
    """Several ends of lines in the place of as many :class:`.link.LinkEngine`.

    On the line and towards the system behind it each end does what a LinkEngine does. A frame is
    handled whole: what arrives gathers in a ring, and is looked at when its delimiter is
    there; what is sent goes into a ring at once, and from there to the line. So one frame receiver
    and one frame transmitter serve all lines, a frame at a time, and neither needs to remember
    anything in between. All decisions are made by a :class:`.processor.Processor`, whose program
    (:mod:`.lineprogram`) keeps sessions and windows in block RAM.

    ::

        UartRx \\           / ring -> CobsDecoder -> FrameReceiver -> sink, events
        UartRx -+- Ferry --+                            |
        UartTx -+          |                        Processor <- submit
        UartTx /           \\ ring <- CobsWriter <- FrameTransmitter <- payload

    Differences from a LinkEngine: windows are at most 8, since their maps are bytes. Round trips
    count in units of 256 bit times up to 16384 of them. While a payload is slow, in or out, frames
    of all lines in that direction wait, and so they do for an Event of a line that is not ordered:
    these must come or go in bounded time.

    Parameters
    ----------
    lines : list of LineKind
        1 to 4.
    role : wire.Role
    window : int
        4 or 8, the same at both ends.
    max_payload : int
        Longest payload, 0 to what a ring holds.
    fingerprint, initial_trip, tries, check_crc
        See :class:`.link.LinkEngine`. ``initial_trip`` in units of 64 bits; ``check_crc`` concerns
        lines that are not ordered.
    divisor_bits : int
        See :class:`.uart.UartRx`. Every bit less is four cells less a line.

    Members
    -------
    rx : In(lines), tx : Out(lines)
        The lines.
    divisor : In(divisor_bits).array(lines)
        Clocks a bit in 1/256.
    generation : In(8)
        Resets of this side, for the hello.
    ports : Out(LinePort()).array(lines)
    """

    def __init__(self, lines, *, role, window, max_payload, fingerprint=0,
                 initial_trip=INITIAL_TRIP, tries=TRIES, check_crc=True,
                 divisor_bits=DIVISOR_BITS):
        self.lines = list(lines)
        if not 1 <= len(self.lines) <= MOST_LINES:
            raise ValueError(f"{len(self.lines)} lines are outside 1..{MOST_LINES}: a line is "
                             "named by 2 bits")
        check_window(window)
        check_payload(max_payload)
        check_fingerprint(fingerprint)
        self._role = Role(role)
        self._window = window
        self._max_payload = max_payload
        self._check_crc = check_crc
        self._divisor_bits = divisor_bits
        state = [0] * (len(self.lines) << 7)
        for n, kind in enumerate(self.lines):
            if kind.silence_bits:
                check_silence(kind.silence_bits)
            frames = window if kind.ordered else PATIENCE_FRAMES
            bits = max(kind.patience_bits, frames * 10 * longest_frame(max_payload))
            patience = -(-bits // UNIT_BITS)
            check_times(patience, initial_trip, tries)
            constants = {
                "ordered": kind.ordered,
                "ring_mask": (1 << RING_BITS) - 1,
                # A frame may need two places more than it is long.
                "ring_most": (1 << RING_BITS) - longest_frame(max_payload) - 2,
                "patience": patience,
                "first_trip": -(-initial_trip * 64 // UNIT_BITS),
                "fingerprint": fingerprint,
                "silence": kind.silence_bits // BEAT_BITS,
                "keepalive": kind.silence_bits // BEAT_BITS // wire.KEEPALIVES_IN_SILENCE,
            }
            for name, value in constants.items():
                state[n << 7 | WORDS[name]] = int(value)
        self._program = line_program(role=self._role, window=window, tries=tries)
        self._state = state
        super().__init__({
            "rx": In(len(self.lines), init=-1),
            "tx": Out(len(self.lines), init=-1),
            "divisor": In(divisor_bits).array(len(self.lines)),
            "generation": In(8),
            "ports": Out(LinePort()).array(len(self.lines)),
        })

    def elaborate(self, platform):
        m = Module()
        count = len(self.lines)
        m.submodules.processor = processor = Processor(self._program, count, self._state)
        m.submodules.ferry = ferry = Ferry(count)
        connect(m, ferry.state, processor.state)

        def out(name):
            """The program says this now."""
            return processor.out & (processor.port == OUTPUTS[name])

        value, argument = processor.value, processor.argument

        # -- lines, and whose turn it is ---------------------------------------------------------

        turn = Signal(range(count))         # lines are served one after the other
        line = Signal(range(count))         # the one at hand
        rx_line = Signal(range(count))
        tx_line = Signal(range(count))
        here, on_rx, on_tx = (Signal(count, name=name) for name in ("here", "on_rx", "on_tx"))
        m.d.comb += [processor.line.eq(line), here.eq(1 << line), on_rx.eq(1 << rx_line),
                     on_tx.eq(1 << tx_line)]
        next_turn = Mux(turn == count - 1, 0, turn + 1)
        with m.If(out("next")):
            m.d.sync += [turn.eq(next_turn), line.eq(next_turn)]
        with m.If(out("rx_line")):
            m.d.sync += line.eq(rx_line)
        with m.If(out("tx_line")):
            m.d.sync += line.eq(tx_line)

        def on_line(name):
            return here & out(name).replicate(count)

        ready = Signal()
        with m.If(out("ready")):
            m.d.sync += ready.eq(1)
        m.d.comb += [ferry.ready.eq(ready), processor.index_we.eq(out("index"))]

        unit = self._attach_lines(m, ferry)
        cleared = {name: on_line("clear") & argument[bit].replicate(count)
                   for bit, name in enumerate(CLEAR)}
        units, wholes, renews = (Signal(count, name=name) for name in ("units", "wholes", "renews"))
        m.d.sync += [
            units.eq((units & ~cleared["UNIT"]) | unit),
            wholes.eq((wholes & ~cleared["WHOLE"]) | on_line("set_whole") | ferry.whole),
            renews.eq((renews & ~cleared["RENEW"]) | Cat(port.renew for port in self.ports)),
        ]

        # -- a frame received --------------------------------------------------------------------

        m.submodules.receiver = receiver = FrameReceiver(self._max_payload,
                                                         check_crc=self._checks_crc(on_rx))
        rx_open = Signal()
        rx_active, rx_place, decided, rx_empty = self._read_ring(m, ferry, receiver, rx_line, out,
                                                                value)
        kept = Signal()
        with m.If(out("rx_start")):
            m.d.sync += [rx_open.eq(1), rx_line.eq(line)]
        with m.If(out("rx_close")):
            m.d.sync += rx_open.eq(0)
        with m.If(out("decide")):
            m.d.sync += kept.eq(argument[0])
        frame = receiver.frame.payload
        m.d.comb += [receiver.keep.eq(kept & decided), receiver.frame.ready.eq(out("drop"))]
        for n, port in enumerate(self.ports):
            m.d.comb += [
                port.sink.valid.eq(receiver.sink.valid & on_rx[n]),
                *(getattr(port.sink, name).eq(getattr(receiver.sink, name))
                  for name in ("data", "index", "type", "header")),
            ]
            with m.If(on_rx[n]):
                m.d.comb += receiver.sink.ready.eq(port.sink.ready)
        held = self._offer_events(m, frame, on_line("event"))
        # The frame itself is the Event that waits on these lines.
        kept_here = Cat(Const(not kind.ordered, 1) for kind in self.lines)
        rx_good = receiver.frame.valid & ~(held & kept_here).any()
        passed = Signal()           # the Event has been offered
        with m.If(out("event")):
            m.d.sync += passed.eq(1)
        with m.If(out("rx_start")):
            m.d.sync += passed.eq(0)

        # -- a frame sent ------------------------------------------------------------------------

        m.submodules.transmitter = transmitter = FrameTransmitter()
        m.submodules.writer = writer = CobsWriter(1 << RING_BITS)
        connect(m, transmitter.o, writer.i)
        tx_busy, tx_done = Signal(), Signal()
        kind, arg, fetch = Signal(PayloadKind), Signal(24), Signal()
        head_byte = Signal(range(HEAD_BYTES))
        kind_bits = Value.cast(kind)
        m.d.sync += fetch.eq(out("kind"))
        # The processor looks every other clock; the stream must stand still, taken in any clock.
        speaks = processor.wants & (processor.port == OUTPUTS["head"])
        offered, head_taken = Signal(), Signal()
        m.d.sync += [
            offered.eq((offered | speaks) & ~out("head")),
            head_taken.eq((head_taken | transmitter.head.ready) & ~out("head")),
        ]
        with m.If(out("tx_start")):
            m.d.sync += [tx_busy.eq(1), tx_line.eq(line), kind_bits.eq(0), head_byte.eq(0)]
        with m.If(out("tx_close")):
            m.d.sync += [tx_busy.eq(0), tx_done.eq(0)]
        with m.If(transmitter.done):
            m.d.sync += tx_done.eq(1)
        with m.If(out("arg")):
            m.d.sync += arg[:16].eq(value)
        with m.If(out("arg_high")):
            m.d.sync += arg[16:].eq(value)
        with m.If(out("kind")):
            m.d.sync += kind_bits.eq(value)
        with m.If(transmitter.head.ready):
            m.d.sync += head_byte.eq(head_byte + 1)
        m.d.comb += [
            transmitter.head.valid.eq((speaks | offered) & ~head_taken),
            transmitter.head.payload.data.eq(value),
            transmitter.head.payload.last.eq(head_byte == HEAD_BYTES - 1),
            transmitter.head.payload.more.eq(kind_bits != 0),
            writer.has_room.eq(1),
            writer.move.eq(out("tx_start")),
            writer.place.eq(value),
            ferry.give_addr.eq(Cat(writer.addr, tx_line)),
            ferry.give_data.eq(writer.data),
            ferry.give_en.eq(writer.en),
            ferry.wake.eq(on_line("tx_close")),
        ]
        for n, port in enumerate(self.ports):
            source = port.payload
            m.d.comb += [source.start.eq(fetch & (kind_bits != 0) & on_tx[n]),
                         source.kind.eq(kind), source.arg.eq(arg)]
            with m.If(on_tx[n]):
                m.d.comb += [
                    transmitter.payload.valid.eq(source.bytes.valid),
                    transmitter.payload.payload.eq(source.bytes.payload),
                    source.bytes.ready.eq(transmitter.payload.ready),
                ]

        # -- sessions, and what the system sees of them ------------------------------------------

        up, room, taken = (Signal(count, name=name) for name in ("up", "room", "taken"))
        counts = Signal(len(COUNTED))
        m.d.comb += [taken.eq(on_line("take")),
                     counts.eq(Mux(out("count"), argument, 0))]
        m.d.sync += room.eq(room & ~taken)     # until the program says otherwise
        for name, levels in (("up", up), ("room", room)):
            with m.If(out(name)):
                m.d.sync += levels.eq(Mux(argument[0], levels | here, levels & ~here))
        for n, (port, kind_) in enumerate(zip(self.ports, self.lines, strict=True)):
            m.d.comb += [
                port.up.eq(up[n]),
                port.room.eq(room[n]),
                port.started.eq(out("up") & here[n] & argument[0]),
                port.flushed.eq(out("up") & here[n] & ~argument[0] & up[n]),
                port.submit.ready.eq(taken[n] | (~up[n] & int(kind_.discard_when_down))),
            ]
            for bit, counted in enumerate(COUNTED):
                m.d.comb += port.counts[counted].eq(counts[bit] & here[n])
            was_bad = Signal(name=f"was_bad_{n}")
            bad, good = receiver.bad & on_rx[n], receiver.frame.valid & on_rx[n]
            m.d.sync += was_bad.eq((was_bad | bad) & ~good)
            m.d.comb += port.counts.bad_frames.eq(counted_once(
                m, bad=bad, good=good, cut=rx_empty & on_rx[n] & was_bad))

        # -- what the program asks ---------------------------------------------------------------

        wants_room = Signal(count)
        m.d.comb += wants_room.eq(Cat(port.submit.valid for port in self.ports) & room & up)
        work = Signal()
        flags = {
            "first_line": line == 0,
            "work": work,
            "unit": (units & here).any(),
            "whole": (wholes & here).any(),
            "renew": (renews & here).any(),
            "submit": (wants_room & here).any(),
            "held": (held & here).any(),
            "rx_free": ~rx_open,
            "rx_head": rx_active & receiver.in_payload & ~decided,
            "rx_good": rx_good,
            "kept": kept,
            "passed": passed,
            "tx_free": ~tx_busy,
            "tx_done": tx_done,
        }
        ended = rx_open & ~rx_active    # it was no frame
        m.d.comb += work.eq(flags["rx_head"] | flags["rx_good"] | ended | tx_done)
        words = {
            "head": Cat(frame.type, frame.lseq),
            **{f"header{n}": frame.header.word_select(n, 16) for n in range(4)},
            "rx_place": rx_place, "tx_place": writer.end, "generation": self.generation,
        }
        with m.Switch(processor.select):
            for name, flag in flags.items():
                with m.Case(INPUTS[name]):
                    m.d.comb += processor.input.eq(flag)
            for name, word in words.items():
                with m.Case(INPUTS[name]):
                    m.d.comb += processor.input.eq(word)
            with m.Case(f"{SUBMITTED >> 3:05b}---"):
                m.d.comb += processor.input.eq(Array(port.submitted for port in self.ports)[line])
        # An instruction shows its port for two clocks and uses what that says in the second.
        asks = processor.select[3:] == SUBMITTED >> 3
        for port in self.ports:
            m.d.comb += [port.word.eq(processor.select[:3]), port.asks.eq(asks)]

        # -- nothing to do -----------------------------------------------------------------------

        # What a job leaves behind may be work for the next round over the lines, so one round
        # must pass in which nothing is stored.
        stay = Signal(init=1)
        waits = processor.wants & (processor.port == OUTPUTS["wait"]) & (turn == 0)
        with m.If(waits):
            m.d.sync += stay.eq(0)
        with m.If(processor.stored | out("stay")):
            m.d.sync += stay.eq(1)
        idle = ~(stay | work | units.any() | wholes.any() | renews.any() | wants_room.any())
        m.d.comb += processor.hold.eq(
            (waits & idle) | (speaks & ~head_taken & ~transmitter.head.ready))
        return m

    def _attach_lines(self, m, ferry):
        """A receiver and a transmitter a line; returns units of time."""
        unit = Signal(len(self.lines))
        for n in range(len(self.lines)):
            m.submodules[f"uart_rx_{n}"] = uart_rx = UartRx(self._divisor_bits)
            m.submodules[f"uart_tx_{n}"] = uart_tx = UartTx(self._divisor_bits)
            m.submodules[f"timer_{n}"] = timer = BitTimer(UNIT_BITS, 2)
            connect(m, uart_rx.o, ferry.rx[n])
            connect(m, ferry.tx[n], uart_tx.i)
            m.d.comb += [
                uart_rx.rx.eq(self.rx[n]),
                uart_rx.divisor.eq(self.divisor[n]),
                uart_tx.divisor.eq(self.divisor[n]),
                self.tx[n].eq(uart_tx.tx),
                ferry.cuts[n].eq(uart_rx.framing_error),
                timer.tick.eq(uart_tx.tick),
                unit[n].eq(timer.unit),
            ]
        return unit

    def _checks_crc(self, on_rx):
        ordered = Cat(Const(kind.ordered, 1) for kind in self.lines)
        return Value.cast(self._check_crc) | (on_rx & ordered).any()

    def _read_ring(self, m, ferry, receiver, rx_line, out, start):
        """From ``rx_start`` to the frame's delimiter, with a stop where the payload begins.

        Returns whether that is under way, the place of the next byte, whether the payload has been
        decided about, and, for one clock, that there is nothing before the delimiter.
        """
        m.submodules.decoder = decoder = CobsDecoder()
        connect(m, decoder.o, receiver.i)
        active, has_byte, decided, empty = Signal(), Signal(), Signal(), Signal()
        place = Signal(RING_BITS)
        m.d.comb += [
            ferry.take_addr.eq(Cat(place, rx_line)),
            ferry.take_en.eq(active & ~has_byte),
            decoder.i.payload.eq(ferry.take_data),
            decoder.i.valid.eq(has_byte & (decided | ~receiver.in_payload)),
        ]
        m.d.sync += has_byte.eq(active)
        with m.If(decoder.i.valid & decoder.i.ready):
            m.d.sync += [has_byte.eq(0), place.eq(place + 1)]
            with m.If(ferry.take_data == wire.DELIMITER):
                m.d.sync += active.eq(0)
                m.d.comb += empty.eq(~decoder.o.valid)
        with m.If(out("rx_start")):
            m.d.sync += [active.eq(1), decided.eq(0), place.eq(start)]
        with m.If(out("decide")):
            m.d.sync += decided.eq(1)
        return active, place, decided, empty

    def _offer_events(self, m, frame, offer):
        """From the frame received, or from a place of their own; lines whose Event waits."""
        waiting = Signal(len(self.lines))
        for n, (port, kind) in enumerate(zip(self.ports, self.lines, strict=True)):
            event = Signal(Event, name=f"event_{n}")
            copied = [event.type.eq(frame.type), event.header.eq(frame.header),
                      event.length.eq(frame.length)]
            if kind.ordered:
                with m.If(offer[n]):
                    m.d.sync += copied
            else:
                m.d.comb += copied
            m.d.comb += [port.events.valid.eq(waiting[n]), port.events.payload.eq(event)]
            with m.If(port.events.ready):
                m.d.sync += waiting[n].eq(0)
            with m.If(offer[n]):
                m.d.sync += waiting[n].eq(1)
        return waiting


def check_shared(geometry):
    """Raise ``ValueError`` unless a bank can serve all lines of a system."""
    if geometry.links > MOST_LINES - 1:
        raise ValueError(f"links {geometry.links} is more than {MOST_LINES - 1}: shared lines are "
                         f"{MOST_LINES} with the host line")
    check_window(geometry.window)
    check_payload(geometry.track_bytes)
    least = least_divisor(geometry.links + 1, geometry.window)
    for name in ("host_baud", "link_baud"):
        baud = getattr(geometry, name)
        if geometry.divisor(baud) < least:
            raise ValueError(
                f"{name} {baud} is more than {geometry.clock_hz * 256 // least}: with "
                f"fewer than {least / 256:.1f} clocks a bit, shared lines may be too many")


def least_divisor(lines, window):
    """Clocks a bit, in 1/256, with which a bank keeps up with all its lines at full load.

    The heaviest load are shortest frames, one after the other on every line in both directions:
    that is when the program has most to do in a bit's time. A byte asks for far less.
    """
    return -(-256 * lines * line_clocks(window) // (10 * longest_frame(0)))


def shared_lines(geometry, role, *, check_crc=True):
    """The bank of a system: its host line, then its links."""
    kinds = [line_kind(geometry, role, host=host) for host in [True] + [False] * geometry.links]
    divisors = [geometry.divisor(baud) for baud in (geometry.host_baud, geometry.link_baud)]
    return LineBank(kinds, role=role, window=geometry.window, max_payload=geometry.track_bytes,
                    fingerprint=geometry.fingerprint, check_crc=check_crc,
                    divisor_bits=max(MIN_DIVISOR_BITS, max(divisors).bit_length()))
