"""What a line says next."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire

from .frame import HEAD_BYTES, HeadByte
from .interfaces import PayloadKind
from .txwindow import ARG_PLACE, ENTRY_PLACES, KIND_PLACE

__all__ = ["Speaker"]


class Speaker(wiring.Component):
    """Chooses the next frame, and gives its head to the frame transmitter.

    A hello goes before an acknowledgement, that before an entry of the transmit window. An
    entry's kind and argument are read first, so that its payload is under way while the head
    is sent.

    Hello and acknowledgement are sent straight from the registers they describe, without a copy.
    Those must stand still meanwhile: ``control`` says so, and while ``hold`` is set neither is
    begun.

    Members
    -------
    say_hello, say_ack : In(1)
        Wanted; levels.
    hold : In(1)
        Do not begin a hello or acknowledgement now.
    greeting : In(64)
        Header of the hello.
    base, map, peer : In(8), In(32), In(8)
        Of the acknowledgement.
    hello_said, ack_said : Out(1)
        One clock, when begun.
    control : Out(1)
        A hello or acknowledgement is being read.
    offer, pick, granted, lseq, reading, read_lseq, read_place, read_data
        See :class:`.txwindow.TransmitWindow`.
    start, kind, arg : Out(1), Out(PayloadKind), Out(24)
        Of the ``PayloadPort``, whose bytes go to the frame transmitter directly. ``kind`` and
        ``arg`` stand until the next entry.
    head : Out(stream.Signature(HeadByte))
        To the frame transmitter.
    done : In(1)
        The frame transmitter has finished the frame.
    """

    say_hello: In(1)
    say_ack: In(1)
    hold: In(1)
    greeting: In(64)
    base: In(8)
    map: In(32)
    peer: In(8)
    hello_said: Out(1)
    ack_said: Out(1)
    control: Out(1)
    offer: In(1)
    pick: Out(1)
    granted: In(1)
    lseq: In(8)
    reading: Out(1)
    read_lseq: Out(8)
    read_place: Out(range(ENTRY_PLACES))
    read_data: In(8)
    start: Out(1)
    kind: Out(PayloadKind)
    arg: Out(24)
    head: Out(stream.Signature(HeadByte))
    done: In(1)

    def elaborate(self, platform):
        m = Module()

        place = Signal(range(ENTRY_PLACES))     # byte of the head, or of the entry's tail part
        is_hello = Signal()
        is_last = Signal()
        found = Signal(8)               # comes out of a block RAM: half a clock has gone
        entry = self.reading
        head = self.head.payload
        hello = Cat(C(wire.Type.HELLO, 8), C(0, 8), self.greeting)
        ack = Cat(C(wire.Type.ACK, 8), self.base, self.map, self.peer)
        m.d.comb += [
            self.read_place.eq(place),
            is_last.eq(place == HEAD_BYTES - 1),
            head.last.eq(is_last),
            head.more.eq(entry & (Value.cast(self.kind) != PayloadKind.NONE.value)),
        ]
        with m.If(~entry):
            m.d.comb += found.eq(Mux(is_hello, hello, ack).word_select(place, 8))
        with m.Elif(place == 1):
            m.d.comb += found.eq(self.read_lseq)
        with m.Else():
            m.d.comb += found.eq(self.read_data)

        with m.FSM():
            with m.State("CHOOSE FRAME"):
                m.d.sync += [place.eq(0), is_hello.eq(self.say_hello)]
                with m.If(self.say_hello & ~self.hold):
                    m.d.comb += self.hello_said.eq(1)
                    m.d.sync += self.control.eq(1)
                    m.next = "ADDRESS BYTE"
                with m.Elif(self.say_ack & ~self.hold):
                    m.d.comb += self.ack_said.eq(1)
                    m.d.sync += self.control.eq(1)
                    m.next = "ADDRESS BYTE"
                with m.Elif(self.offer & ~self.say_hello & ~self.say_ack):
                    m.next = "PICK ENTRY"
            with m.State("PICK ENTRY"):
                m.d.comb += self.pick.eq(1)
                m.d.sync += place.eq(KIND_PLACE)
                with m.If(self.granted):
                    m.d.sync += [self.read_lseq.eq(self.lseq), self.reading.eq(1)]
                    m.next = "READ PAYLOAD"
                with m.Elif(~self.offer):
                    m.next = "CHOOSE FRAME"
            with m.State("READ PAYLOAD"):
                # Kind, then the argument's bytes, lowest first, each a clock after its address.
                m.d.sync += place.eq(place + 1)
                with m.If(place == KIND_PLACE + 1):
                    m.d.sync += Value.cast(self.kind).eq(self.read_data)
                with m.If(place > ARG_PLACE):
                    m.d.sync += self.arg.eq(Cat(self.arg[8:], self.read_data))
                with m.If(place == ARG_PLACE + 3):
                    m.d.sync += place.eq(0)
                    m.next = "START PAYLOAD"
            with m.State("START PAYLOAD"):
                m.d.comb += self.start.eq(head.more)
                m.next = "FETCH BYTE"
            with m.State("ADDRESS BYTE"):
                m.next = "FETCH BYTE"
            with m.State("FETCH BYTE"):
                m.d.sync += head.data.eq(found)
                m.next = "OFFER BYTE"
            with m.State("OFFER BYTE"):
                m.d.comb += self.head.valid.eq(1)
                with m.If(self.head.ready):
                    m.d.sync += place.eq(place + 1)
                    m.next = "ADDRESS BYTE"
                with m.If(self.head.ready & is_last):
                    m.d.sync += [self.control.eq(0), self.reading.eq(0)]
                    m.next = "WAIT FOR END"
            with m.State("WAIT FOR END"):
                with m.If(self.done):
                    m.next = "CHOOSE FRAME"
        return m
