"""One end of one line."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire

from .cobs import CobsDecoder, CobsEncoder
from .frame import (
    FrameReceiver,
    FrameTransmitter,
    check_max_payload,
    counted_once,
    longest_frame,
)
from .interfaces import Descriptor, Event, PayloadPort, PayloadSink
from .keepalive import BEAT_BITS, Keepalive, check_silence
from .rxwindow import ReceiveWindow, check_window
from .session import Session, check_fingerprint
from .speaker import Speaker
from .streams import ByteFifo, StreamRegister
from .timer import BitTimer
from .txwindow import INITIAL_TRIP, TRIES, TransmitWindow, check_times
from .uart import DIVISOR_BITS, UartRx, UartTx

__all__ = ["HELLO_UNITS", "UNIT_BITS", "LinkEngine"]

# Everything that waits counts bit times, so it suits every baud rate. In units of 64:
UNIT_BITS = 64

# A hello is 170 bits on the line; one in 1024 bits leaves both directions mostly free.
HELLO_UNITS = BEAT_BITS // UNIT_BITS

# A frame may wait behind one longest frame in each direction, and lasts one itself, as does its
# acknowledgement's predecessor: this much may be added to a round trip measured on an idle line.
# A PC is different: it hands a whole window of frames to its serial driver, and its next
# acknowledgement waits behind them; so the host port (``ordered``) waits for ``window`` frames.
PATIENCE_FRAMES = 4


class LinkEngine(wiring.Component):
    """Delivers frames over a serial line, or says that it cannot.

    While a session is up, every submitted frame reaches the other side's ``events`` exactly
    once (with ``ordered`` also in turn), however many frames the line breaks or swallows. When
    the session falls, what was not acknowledged may or may not have arrived, and is forgotten
    here, with ``flushed``: whoever needs it sends it again. Nothing that comes in, however
    malformed, stops the engine or becomes an Event without a good CRC.

    ::

        rx  UartRx -> ByteFifo -> CobsDecoder -> FrameReceiver -> sink
                                                      |
                              Session  <--------------+--> ReceiveWindow -> events
                                 |                    +--> TransmitWindow <- submit
                                 +-> Speaker <------------------+
        tx  UartTx <- CobsEncoder <- FrameTransmitter <- Speaker, payload

    Line use: frames follow each other without a gap as long as descriptors and payload keep
    coming, a byte of payload in 32 clocks on average at 4 clocks a bit, the fastest line.

    Supported round trips: in a new session 262144 bit times (0.26 seconds at 1 Mbaud, a million
    clocks at 4 clocks a bit) and 16 times the patience for longest frames; once measured, a round
    trip may grow to 32 times what it was, up to 8.4 million bit times. A longer one ends the
    session. See :class:`.txwindow.TransmitWindow`.

    Silence: both ends of a session say something every ``wire.KEEPALIVE_BITS``, if only an
    acknowledgement. So a line that is cut is noticed by both ends after ``silence_bits`` without a
    good frame, whether or not there was anything to deliver, or sooner by time-outs. A delay
    of any length does no harm, but one that grows by ``silence_bits`` at once does.

    The receive queue holds 511 line bytes (20,000 clocks at 4 clocks a bit): so long may the
    sink or the taker of an Event hold the engine up before line bytes are lost; that costs the
    frame they belong to, which is sent again.

    Parameters
    ----------
    role : wire.Role
        Who we are, for the hello. A line between two ends of one role does not come up.
    window : int
        Unacknowledged frames in each direction: 4, 8, 16 or 32, the same at both ends.
    max_payload : int
        Longest payload, 0..4096; longer ones are dropped as bad.
    ordered : bool
        Accept frames only in turn (host port). What comes out of turn is dropped, and comes
        again after the sender's time-out.
    fingerprint : int
        Of the geometry; 0 matches any.
    discard_when_down : bool
        Take and drop descriptors while no session is up, so that nobody waits for a host that
        went away. Otherwise ``submit`` waits.
    patience_bits : int
        Least constant part of the time-out, in bit times: for an other end that is slow now and
        then. The time of four longest frames (``window`` of them with ``ordered``) counts if
        that is longer.
    silence_bits : int
        Bit times without a good frame that end a session, a power of two of at least 32 beats. 0:
        the session of a silent other end stays up, and this one says nothing unasked (the host
        line).
    initial_trip, tries : int
        See :class:`.txwindow.TransmitWindow`.
    check_crc : bool or Value
        False only for mutation tests.

    Members
    -------
    rx : In(1)
        Line in, asynchronous.
    tx : Out(1)
        Line out.
    divisor : In(24)
        Clocks a bit in 1/256, at least ``uart.MIN_DIVISOR``.
    generation : In(16)
        Resets of this side, for the hello.
    submit : In(stream.Signature(Descriptor))
        Frames to send. Taken only when everything taken before is on its way to the line.
    room : Out(1)
        ``submit`` would be taken now. Does not depend on ``submit.valid``: for those who choose
        among lines. It falls before a frame is taken, and without one only when the session ends
        (a clock after ``up``), or for a moment.
    payload : Out(PayloadPort())
        Called for each transmission of a frame whose kind is not NONE. It must keep up with the
        line on average.
    events : Out(stream.Signature(Event))
        Frames received.
    sink : Out(PayloadSink())
        Their payload, before the Event. Payload of a frame that cannot become an Event because
        no session is up, or (``ordered``) because it is out of turn, is not offered.
    renew : In(1)
        One clock: end the session, and begin another, as soon as neither changes what the other
        says (at most a hundred clocks or so).
    up : Out(1)
        A session is up.
    flushed : Out(1)
        The first clock in which ``up`` is low: the session has ended, the transmit window is
        dropped. Until ``up``, ``submit.ready`` is low (but see ``discard_when_down``).
    started : Out(1)
        The first clock in which ``up`` is high: a session has come up.
    mismatch : Out(1)
        The other side's last hello has another version, role or geometry.
    frame_sent, resent, frame_received, duplicate, bad_frame, timeout, session, ack_sent : Out(1)
        One clock for each count of the ``wire.LinkCounter`` of that name. ``duplicate`` also
        counts frames out of window or (``ordered``) out of turn. ``bad_frame`` is one for each
        frame that fails, also if a byte without a stop bit has cut it in two. A byte that
        belongs to no frame is not counted.
    """

    def __init__(self, *, role, window, max_payload, ordered=False, fingerprint=0,
                 discard_when_down=False, patience_bits=0, silence_bits=wire.SILENCE_BITS,
                 initial_trip=INITIAL_TRIP, tries=TRIES, check_crc=True):
        check_window(window)
        check_max_payload(max_payload)
        check_fingerprint(fingerprint)
        if silence_bits:
            check_silence(silence_bits)
        if patience_bits < 0:
            raise ValueError(f"patience_bits {patience_bits} is negative")
        frames = window if ordered else PATIENCE_FRAMES
        patience_bits = max(patience_bits, frames * 10 * longest_frame(max_payload))
        patience = -(-patience_bits // UNIT_BITS)
        check_times(patience, initial_trip, tries)
        self._role = wire.Role(role)
        self._window = window
        self._max_payload = max_payload
        self._ordered = ordered
        self._fingerprint = fingerprint
        self._discard_when_down = discard_when_down
        self._check_crc = check_crc
        self._silence_bits = silence_bits
        self._times = {"patience": patience, "initial_trip": initial_trip, "tries": tries}
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "divisor": In(DIVISOR_BITS),
            "generation": In(16),
            "submit": In(stream.Signature(Descriptor)),
            "room": Out(1),
            "payload": Out(PayloadPort()),
            "events": Out(stream.Signature(Event)),
            "sink": Out(PayloadSink()),
            "renew": In(1),
            "up": Out(1),
            "flushed": Out(1),
            "started": Out(1),
            "mismatch": Out(1),
            "frame_sent": Out(1),
            "resent": Out(1),
            "frame_received": Out(1),
            "duplicate": Out(1),
            "bad_frame": Out(1),
            "timeout": Out(1),
            "session": Out(1),
            "ack_sent": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        connect = wiring.connect

        m.submodules.session = session = Session(role=self._role, fingerprint=self._fingerprint)
        # The session's end and beginning become known a clock later, when ``up`` says so too: they
        # concern half of the chip, and are found out last.
        fallen, risen, restart = Signal(), Signal(), Signal()
        tx_window = TransmitWindow(window=self._window, **self._times)
        rx_window = ReceiveWindow(window=self._window, ordered=self._ordered)
        m.submodules.tx_window = ResetInserter(restart)(tx_window)
        m.submodules.rx_window = ResetInserter(restart)(rx_window)

        # -- line in -----------------------------------------------------------------------

        m.submodules.uart_rx = uart_rx = UartRx()
        m.submodules.fifo = fifo = ByteFifo()
        m.submodules.byte_in = byte_in = StreamRegister(8)
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.receiver = receiver = FrameReceiver(
            self._max_payload, check_crc=self._check_crc)
        connect(m, uart_rx.o, fifo.i)
        connect(m, fifo.o, byte_in.i)
        connect(m, byte_in.o, decoder.i)
        connect(m, decoder.o, receiver.i)
        connect(m, receiver.sink, wiring.flipped(self.sink))
        m.d.comb += [
            uart_rx.rx.eq(self.rx),
            uart_rx.divisor.eq(self.divisor),
        ]
        broken = Signal()           # a byte without a stop bit ends what is being received
        ended = receiver.bad | receiver.frame.valid
        m.d.sync += broken.eq((broken & ~ended) | uart_rx.framing_error)
        m.d.comb += self.bad_frame.eq(counted_once(
            m, bad=receiver.bad, good=receiver.frame.valid, cut=receiver.bad & broken))

        # -- line out ----------------------------------------------------------------------

        m.submodules.speaker = speaker = Speaker()
        m.submodules.transmitter = transmitter = FrameTransmitter()
        m.submodules.encoder = encoder = CobsEncoder()
        m.submodules.byte_out = byte_out = StreamRegister(8)
        m.submodules.uart_tx = uart_tx = UartTx()
        connect(m, speaker.head, transmitter.head)
        connect(m, transmitter.payload, wiring.flipped(self.payload.bytes))
        connect(m, transmitter.o, encoder.i)
        connect(m, encoder.o, byte_out.i)
        connect(m, byte_out.o, uart_tx.i)
        m.d.comb += [
            self.payload.start.eq(speaker.start),
            self.payload.kind.eq(speaker.kind),
            self.payload.arg.eq(speaker.arg),
            speaker.done.eq(transmitter.done),
            self.tx.eq(uart_tx.tx),
            uart_tx.divisor.eq(self.divisor),
        ]

        # -- time --------------------------------------------------------------------------

        m.submodules.timer = timer = BitTimer(UNIT_BITS, HELLO_UNITS)
        m.d.sync += timer.tick.eq(uart_tx.tick)

        # -- received frames ---------------------------------------------------------------
        # Session and receive window are what hello and acknowledgement are sent from, so only
        # one of reader (``speaker.control``) and writer (``changing``) goes on at a time; the
        # writer has the right of way, since it is done in less than a hundred clocks.

        frame = receiver.frame.payload
        sequenced = Signal()
        changing = Signal()
        events = stream.Signature(Event).create()
        busy = C(0)                 # an earlier Event waits: this frame cannot become one
        say_hello = Signal(init=1)
        renewing = Signal()
        lost = Signal()             # nothing has been heard for too long
        say_ack = Signal()
        # Type and header of a frame stand for long before the frame is offered.
        is_ack, is_hello = Signal(), Signal()
        m.d.sync += [
            sequenced.eq(frame.type >= wire.FIRST_SEQUENCED),
            is_ack.eq(frame.type == wire.Type.ACK),
            is_hello.eq(frame.type == wire.Type.HELLO),
        ]
        m.d.comb += [
            receiver.keep.eq(session.up & sequenced),
            session.hello.eq(frame.header),
            session.generation.eq(self.generation),
            # A window that has given up does so until it is emptied.
            session.dead.eq(((tx_window.dead & ~fallen) | renewing)
                            & ~speaker.control & ~changing),
            rx_window.lseq.eq(frame.lseq),
            tx_window.ack.payload.base.eq(frame.lseq),
            tx_window.ack.payload.map.eq(frame.header),
            events.payload.type.eq(frame.type),
            events.payload.header.eq(frame.header),
            events.payload.length.eq(frame.length),
        ]
        if self._ordered:
            busy = self._hold_event(m, events, receiver.in_payload)
            m.d.comb += receiver.keep.eq(session.up & sequenced & ~busy
                                         & (frame.lseq == rx_window.base))
        else:
            wiring.connect(m, events, wiring.flipped(self.events))

        ours = Signal()             # the acknowledgement is about this session
        names_us = Signal()
        ack_spec = wire.FRAMES[wire.Type.ACK]
        m.d.sync += names_us.eq(frame.header.word_select(ack_spec.offset("session"), 8)
                                == session.my)
        m.d.comb += ours.eq(session.up & names_us)

        # A frame is let go of while the next one is waited for.
        m.d.sync += receiver.frame.ready.eq(0)

        def drop():
            m.d.sync += receiver.frame.ready.eq(1)

        with m.FSM():
            with m.State("WAIT FOR FRAME"):
                with m.If(receiver.frame.valid & ~receiver.frame.ready):
                    m.next = "SORT FRAME"
            with m.State("SORT FRAME"):
                m.d.comb += changing.eq(~is_ack)
                with m.If(is_ack):
                    m.d.comb += tx_window.ack.valid.eq(ours)
                    with m.If(tx_window.ack.ready | ~ours):
                        drop()
                        m.next = "WAIT FOR FRAME"
                with m.Elif(is_hello):
                    with m.If(~speaker.control):
                        m.next = "HEAR HELLO"
                with m.Elif(sequenced & session.up):
                    with m.If(~speaker.control):
                        m.d.comb += rx_window.look.eq(1)
                        m.next = "LOOK UP NUMBER"
                with m.Else():
                    drop()
                    m.next = "WAIT FOR FRAME"
            with m.State("HEAR HELLO"):
                m.d.comb += [changing.eq(1), session.heard.eq(1)]
                drop()
                m.next = "WAIT FOR FRAME"
            with m.State("LOOK UP NUMBER"):
                m.d.comb += changing.eq(1)
                with m.If(rx_window.busy):
                    pass
                with m.Elif(rx_window.new & ~busy):
                    m.next = "OFFER EVENT"
                with m.Else():
                    m.d.comb += self.duplicate.eq(1)
                    m.d.sync += say_ack.eq(1)
                    drop()
                    m.next = "WAIT FOR FRAME"
            with m.State("OFFER EVENT"):
                m.d.comb += events.valid.eq(1)
                with m.If(events.ready):
                    m.next = "MARK NUMBER"
            with m.State("MARK NUMBER"):
                m.d.comb += changing.eq(1)
                with m.If(~speaker.control):
                    m.d.comb += rx_window.mark.eq(1)
                    m.next = "LET GO"
            with m.State("LET GO"):
                m.d.comb += changing.eq(1)
                with m.If(~rx_window.busy):
                    m.d.comb += self.frame_received.eq(1)
                    m.d.sync += say_ack.eq(1)
                    drop()
                    m.next = "WAIT FOR FRAME"

        m.d.sync += renewing.eq((renewing & ~session.dead) | self.renew | lost)

        # -- session -----------------------------------------------------------------------

        m.d.sync += [
            fallen.eq(session.fallen),
            risen.eq(session.risen),
            restart.eq(session.risen | session.fallen),
        ]
        m.d.comb += [
            self.up.eq(session.up),
            self.flushed.eq(fallen),
            self.started.eq(risen),
            self.mismatch.eq(session.mismatch),
            self.session.eq(risen),
        ]
        with m.If(speaker.hello_said):
            m.d.sync += say_hello.eq(0)
        with m.If(session.answer | (~session.up & timer.beat)):
            m.d.sync += say_hello.eq(1)
        if self._silence_bits:
            m.submodules.keepalive = keepalive = Keepalive(self._silence_bits)
            m.d.comb += [
                keepalive.beat.eq(timer.beat),
                keepalive.up.eq(session.up),
                keepalive.said.eq(speaker.hello_said | speaker.ack_said | tx_window.granted),
                keepalive.heard.eq(receiver.frame.valid),
                lost.eq(keepalive.lost),
            ]
            with m.If(keepalive.speak):
                m.d.sync += say_ack.eq(1)
        with m.If(speaker.ack_said | ~session.up):
            m.d.sync += say_ack.eq(0)

        # -- what to say -------------------------------------------------------------------

        connect(m, wiring.flipped(self.submit), tx_window.submit)
        if self._discard_when_down:
            with m.If(~session.up):
                m.d.comb += self.submit.ready.eq(1)
        m.d.comb += [
            tx_window.open.eq(session.up),
            self.room.eq(tx_window.room),
            tx_window.unit.eq(timer.unit),
            speaker.offer.eq(tx_window.offer),
            tx_window.pick.eq(speaker.pick),
            speaker.granted.eq(tx_window.granted),
            speaker.lseq.eq(tx_window.lseq),
            tx_window.reading.eq(speaker.reading),
            tx_window.read_lseq.eq(speaker.read_lseq),
            tx_window.read_place.eq(speaker.read_place),
            speaker.read_data.eq(tx_window.read_data),
            speaker.say_hello.eq(say_hello),
            speaker.say_ack.eq(say_ack & session.up),
            speaker.hold.eq(changing),
            speaker.greeting.eq(session.greeting),
            speaker.base.eq(rx_window.base),
            speaker.map.eq(rx_window.map),
            speaker.peer.eq(session.peer),
            self.frame_sent.eq(tx_window.granted & ~tx_window.again),
            self.resent.eq(tx_window.granted & tx_window.again),
            self.timeout.eq(tx_window.timeout),
            self.ack_sent.eq(speaker.ack_said),
        ]
        return m

    def _hold_event(self, m, events, in_payload):
        """Put a register between ``events`` and the taker; returns when it is taken already.

        A host port's taker may itself wait for room in the transmit window, which only an
        acknowledgement makes. So an Event that waits must not keep the line from being read: it
        moves aside, and what cannot be taken meanwhile is out of turn and comes again. A payload
        is kept or not as a whole, since an Event may be taken while the next one arrives.
        """
        held = Signal(Event)
        holding = Signal()
        missed = Signal()
        m.d.comb += [
            self.events.valid.eq(holding),
            self.events.payload.eq(held),
            events.ready.eq(~holding),
        ]
        with m.If(self.events.ready):
            m.d.sync += holding.eq(0)
        with m.If(events.valid & events.ready):
            m.d.sync += [holding.eq(1), held.eq(events.payload)]
        m.d.sync += missed.eq(in_payload & (missed | holding))
        return holding | missed
