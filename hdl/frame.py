"""Frames: ``type | lseq | header[8] | payload | crc32``, before and after COBS.

Both directions work bit by bit inside a byte: a byte lasts at least 40 clocks on the line, and
what is shifted needs one logic cell a bit where what is selected needs several.
"""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire

from .cobs import DecodedByte
from .crc import Crc32
from .interfaces import LENGTH_BITS, LineByte, PayloadByte, PayloadSink

__all__ = ["HEAD_BYTES", "FrameReceiver", "FrameTransmitter", "HeadByte", "Received",
           "check_max_payload", "counted_once", "holds_entries"]

HEAD_BYTES = wire.PREFIX_BYTES + wire.HEADER_BYTES

# One byte of type, lseq and header; with ``last``, ``more`` says that a payload follows.
HeadByte = data.StructLayout({"data": 8, "last": 1, "more": 1})

# A frame that arrived whole with a good CRC.
Received = data.StructLayout({
    "type": 8,
    "lseq": 8,
    "header": 64,
    "length": LENGTH_BITS,
})


def check_max_payload(max_payload):
    """Raise ``ValueError`` unless payloads of ``max_payload`` bytes can be counted."""
    if not isinstance(max_payload, int) or not 0 <= max_payload <= 4096:
        raise ValueError(f"max_payload {max_payload!r} is outside 0..4096: lengths are "
                         f"{LENGTH_BITS} bits")


def longest_frame(max_payload):
    """Line bytes of a frame of ``max_payload`` bytes: with COBS at its worst, and delimiter."""
    body = wire.PREFIX_BYTES + wire.HEADER_BYTES + max_payload + wire.CRC_BYTES
    return body + -(-body // 254) + 1


def holds_entries(length, count):
    """Whether ``length`` bytes are ``count`` entries of write set or order packet.

    ``length`` has to be wide enough for three times the largest ``count``.
    """
    # Three times is once and twice. Whether two numbers have a given sum is told bit by bit: that
    # and they say what is carried into each bit, and out of the one below. So no carry runs.
    twice, width = count << 1, len(length)
    into = count ^ twice ^ length
    out_of = (count & twice) | ((count | twice) & ~length)
    return into[:width] == (out_of << 1)[:width]


def counted_once(m, *, bad, good, cut):
    """``bad``, but once for a frame that bytes without a stop bit have cut into pieces.

    Such a byte counts as delimiter (hdl/uart.py): it ends the frame that it is in, and what is
    behind it fails as another one. ``bad``, ``good``: a frame of the line ends so.
    ``cut``, in that clock or before the next end: it was bad, and such a byte is what ended it.
    """
    is_rest = Signal()
    m.d.sync += is_rest.eq((is_rest & ~(bad | good)) | cut)
    return bad & ~is_rest


class FrameTransmitter(wiring.Component):
    """Joins head and payload and appends the CRC.

    Takes all head bytes, then, if the last of them said ``more``, payload bytes up to ``last``,
    then emits four CRC bytes. A frame once begun is always finished. Eleven clocks a byte; the
    first only takes it into a register, since a payload comes from afar.

    Members
    -------
    head : In(stream.Signature(HeadByte))
        Type, lseq and header.
    payload : In(stream.Signature(PayloadByte))
        Taken only while a frame wants payload.
    o : Out(stream.Signature(LineByte))
        The frame, for the COBS encoder.
    done : Out(1)
        One clock when the last CRC byte has been taken.
    """

    head: In(stream.Signature(HeadByte))
    payload: In(stream.Signature(PayloadByte))
    o: Out(stream.Signature(LineByte))
    done: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()

        in_payload = Signal()
        in_crc = Signal()
        place = Signal(2)           # CRC byte
        bit = Signal(3)
        found = Signal(8)
        byte = Signal(8)            # the one at hand, as far as it is not in the CRC
        offers = Signal()

        with m.If(in_crc):
            m.d.comb += [offers.eq(1), found.eq(~crc.value[:8])]
        with m.Elif(in_payload):
            m.d.comb += [offers.eq(self.payload.valid), found.eq(self.payload.payload.data)]
        with m.Else():
            m.d.comb += [offers.eq(self.head.valid), found.eq(self.head.payload.data)]
        m.d.comb += [
            self.o.payload.data.eq(byte),
            self.o.payload.last.eq(in_crc & (place == wire.CRC_BYTES - 1)),
            crc.bit.eq(byte[0]),
            crc.drain.eq(in_crc),
        ]

        def go_on():
            """The byte is sent and in the CRC: let go of it and find the next one."""
            with m.If(in_crc):
                m.d.sync += place.eq(place + 1)
                with m.If(self.o.payload.last):
                    m.d.comb += [self.done.eq(1), crc.clear.eq(1)]
                    m.d.sync += in_crc.eq(0)
            with m.Elif(in_payload):
                m.d.comb += self.payload.ready.eq(1)
                with m.If(self.payload.payload.last):
                    m.d.sync += [in_payload.eq(0), in_crc.eq(1)]
            with m.Else():
                m.d.comb += self.head.ready.eq(1)
                with m.If(self.head.payload.last):
                    m.d.sync += [in_payload.eq(self.head.payload.more),
                                 in_crc.eq(~self.head.payload.more)]

        with m.FSM():
            with m.State("FIND BYTE"):
                m.d.sync += byte.eq(found)
                with m.If(offers):
                    m.next = "OFFER BYTE"
            with m.State("OFFER BYTE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "SHIFT BITS"
            with m.State("SHIFT BITS"):
                m.d.comb += crc.shift.eq(1)
                m.d.sync += [bit.eq(bit + 1), byte.eq(byte[1:])]
                with m.If(bit == 7):
                    go_on()
                    m.next = "FIND BYTE"
        return m


class FrameReceiver(wiring.Component):
    """Checks frames, keeps their head, passes their payload on.

    The last four bytes of a frame are its CRC, which is known only at its end: so every byte
    waits in a delay line of four. Bytes leaving it fill the head, then are payload, offered to
    ``sink`` if ``keep`` is set. At the end a good frame is offered at ``frame``, and nothing
    more of the line is taken until it has been taken. Any other frame ends with one ``bad``:
    broken COBS, fewer bytes than head and CRC, wrong CRC. Eleven clocks a byte when the sink is
    ready; the first only takes what comes into registers, since it comes out of a block RAM.

    A good frame with more than ``max_payload`` bytes of payload is offered too, with
    ``max_payload + 1`` as its length (the excess does not reach the sink): who sent it must be
    told, or an ordered line would see it again for ever.

    Parameters
    ----------
    max_payload : int
        Longest payload accepted, 0..4096 (``PayloadSink`` counts no further).
    check_crc : bool or Value
        False only for mutation tests.

    Members
    -------
    i : In(stream.Signature(DecodedByte))
        From the COBS decoder.
    sink : Out(PayloadSink())
        Payload while it arrives.
    keep : In(1)
        Offer the payload of the frame whose head is at ``frame.payload`` to the sink, from the
        next clock on. A frame that will not become an Event need not cost the sink anything.
    frame : Out(stream.Signature(Received))
        Good frames. ``type``, ``lseq`` and ``header`` are already valid while the payload
        arrives (and mean nothing yet).
    in_payload : Out(1)
        The head of a frame is complete, what follows is payload or its end.
    bad : Out(1)
        One clock for each frame dropped.
    """

    def __init__(self, max_payload, *, check_crc=True):
        check_max_payload(max_payload)
        self._max_payload = max_payload
        self._check_crc = check_crc
        super().__init__({
            "i": In(stream.Signature(DecodedByte)),
            "sink": Out(PayloadSink()),
            "keep": In(1),
            "frame": Out(stream.Signature(Received)),
            "in_payload": Out(1),
            "bad": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()

        delay = Signal(8 * wire.CRC_BYTES)
        head = Signal(8 * HEAD_BYTES)
        seen = Signal(range(HEAD_BYTES + wire.CRC_BYTES + 1))   # saturates: from then on payload
        too_long = self._max_payload + 1
        length = Signal(range(too_long + 1))    # stays there
        bit = Signal(3)
        in_payload = Signal()
        good = Signal()
        wants_sink = Signal()
        byte = Signal(8)
        sound = Signal()
        frame = self.frame.payload
        m.d.comb += [
            crc.bit.eq(byte[0]),
            in_payload.eq(seen == HEAD_BYTES + wire.CRC_BYTES),
            good.eq(in_payload & ((crc.value == wire.CRC_RESIDUE) | ~Value.cast(self._check_crc))
                    & ~self.i.payload.bad),
            self.in_payload.eq(in_payload),
            Cat(frame.type, frame.lseq, frame.header).eq(head),
            frame.length.eq(length),
            self.sink.data.eq(delay[:8]),
            self.sink.index.eq(length),
            self.sink.type.eq(frame.type),
            self.sink.header.eq(frame.header),
        ]
        # Head and length stand while a byte is looked at.
        m.d.sync += wants_sink.eq(in_payload & self.keep & (length < self._max_payload))

        def start_over():
            m.d.comb += [self.i.ready.eq(1), crc.clear.eq(1)]
            m.d.sync += [seen.eq(0), length.eq(0)]

        with m.FSM():
            with m.State("LOOK"):
                m.d.sync += [byte.eq(self.i.payload.data), sound.eq(good)]
                with m.If(self.i.valid):
                    m.next = "OFFER PAYLOAD"
                    with m.If(self.i.payload.end):
                        m.next = "JUDGE FRAME"
            with m.State("JUDGE FRAME"):
                m.d.comb += [self.frame.valid.eq(sound), self.bad.eq(~sound)]
                with m.If(self.frame.ready | ~sound):
                    start_over()
                    m.next = "LOOK"
            with m.State("OFFER PAYLOAD"):
                m.d.comb += self.sink.valid.eq(wants_sink)
                with m.If(self.sink.ready | ~wants_sink):
                    m.next = "SHIFT BITS"
            with m.State("SHIFT BITS"):
                m.d.comb += crc.shift.eq(1)
                m.d.sync += [bit.eq(bit + 1), byte.eq(byte[1:]),
                             delay.eq(Cat(delay[1:], byte[0]))]
                with m.If(~in_payload):
                    m.d.sync += head.eq(Cat(head[1:], delay[0]))
                with m.If(bit == 7):
                    m.d.comb += self.i.ready.eq(1)
                    with m.If(~in_payload):
                        m.d.sync += seen.eq(seen + 1)
                    with m.Elif(length != too_long):
                        m.d.sync += length.eq(length + 1)
                    m.next = "LOOK"
        return m
