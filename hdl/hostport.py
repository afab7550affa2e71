"""Acts on the frames of the host line and answers them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import MAX_REGISTERS, Code, ReadFlag, Role, Type

from .arbiter import StreamMerge
from .interfaces import (
    Descriptor,
    Event,
    PayloadKind,
    RegisterPort,
    descriptor_word,
    header,
    header_const,
)

__all__ = ["HostPort"]

_REQUESTS = (Type.READ, Type.REG_READ, Type.REG_WRITE)      # all without payload


class HostPort(wiring.Component):
    """Serves READ, REG_READ and REG_WRITE, and lets the chains' frames through.

    Requests are served in the order of their arrival; every answer is one descriptor, READ's is one
    for each track. A READ runs on while later requests are served; only another READ waits for
    its last descriptor. Refusals change nothing:

    ===========================  ==========================================================
    READ                         BAD_VOLUME, BAD_TRACK, BAD_VALUE (count of 0, or beyond the
                                 end of the volume): one READ_DATA without payload
    REG_READ                     BAD_VALUE (count), else the code of the first register that
                                 cannot be read: REG_DATA without payload. The registers are
                                 read once to find out, and again when the frame is sent
    REG_WRITE                    the register's code, in REG_STATUS
    payload where none belongs   ERROR BAD_LENGTH
    CHAIN at a target            CHAIN_STATUS WRONG_ROLE; its WRITE frames are swallowed
    other types                  ERROR UNKNOWN_TYPE
    ===========================  ==========================================================

    ``flushed`` abandons a READ that is under way. The line must take or drop descriptors while
    it has no session, so that nothing of one session is answered in the next.

    Parameters
    ----------
    geometry : Geometry
    role : Role
        SOURCE or TARGET.

    Members
    -------
    events : In(stream.Signature(Event))
        From the host's LinkEngine.
    reading : Out(volume_bits)
        Volume of the READ under way.
    suspect : In(1)
        That volume may show what is no prefix of anything: the track submitted now is marked
        INCONSISTENT.
    flushed : In(1)
        Pulse: the host line lost its session.
    submit : Out(stream.Signature(Descriptor))
        To the host's LinkEngine.
    word : In(3), submitted : Out(16)
        A word of it; see :class:`.line.LinePort`.
    registers : Out(RegisterPort())
    chain_events : Out(stream.Signature(Event))
        CHAIN and WRITE, unchecked; source only.
    status, reconnects : In(stream.Signature(Descriptor))
        Answers to chains and RECONNECT, merged into ``submit``; source only.
    refused : Out(1)
        Pulse: an answer with a code other than OK was submitted.
    read : Out(1)
        Pulse: a track was submitted.
    """

    def __init__(self, geometry, role):
        if role not in (Role.SOURCE, Role.TARGET):
            raise ValueError(f"role must be SOURCE or TARGET, not {role!r}")
        self.geometry = geometry
        self.role = role
        members = {
            "events": In(stream.Signature(Event)),
            "reading": Out(geometry.volume_bits),
            "suspect": In(1),
            "flushed": In(1),
            "submit": Out(stream.Signature(Descriptor)),
            "word": In(3),
            "submitted": Out(16),
            "registers": Out(RegisterPort()),
            "refused": Out(1),
            "read": Out(1),
        }
        if role is Role.SOURCE:
            members |= {
                "chain_events": Out(stream.Signature(Event)),
                "status": In(stream.Signature(Descriptor)),
                "reconnects": In(stream.Signature(Descriptor)),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        answers = stream.Signature(Descriptor).create()
        tracks = stream.Signature(Descriptor).create()
        start = Signal()            # the READ at hand is sound, and ``tracks`` takes it over
        busy = Signal()             # ``tracks`` has an earlier READ to finish

        self._answer(m, answers, start, busy)
        self._read(m, tracks, start, busy)
        sources = [answers, tracks]
        if self.role is Role.SOURCE:
            sources = [self.status, self.reconnects, *sources]
        m.submodules.merge = merge = StreamMerge(len(sources), Descriptor)
        for source, port in zip(sources, merge.i, strict=True):
            m.d.comb += [port.valid.eq(source.valid), port.payload.eq(source.payload),
                         source.ready.eq(port.ready)]
        wiring.connect(m, wiring.flipped(self.submit), merge.o)
        words = Array(descriptor_word(m, source.payload, self.word) for source in sources)
        m.d.comb += self.submitted.eq(words[merge.chosen])

        passed = self.submit.valid & self.submit.ready
        refuses = Array(self._refuses(source.payload) for source in sources)
        reads = Array(source.payload.kind == PayloadKind.TRACK for source in sources)
        m.d.comb += [
            self.refused.eq(passed & refuses[merge.chosen]),
            self.read.eq(passed & reads[merge.chosen]),
        ]
        return m

    def _refuses(self, frame):
        """Tag and code have the same place in all answers; RECONNECT has other things there."""
        answer = data.View(header(Type.ERROR), frame.header)
        return (frame.type != Type.RECONNECT) & (answer.code != Code.OK)

    def _answer(self, m, answers, start, busy):
        """One request at a time; it stays in ``events`` until its answer is submitted."""
        g = self.geometry
        event = self.events.payload
        read = data.View(header(Type.READ), event.header)
        reg_read = data.View(header(Type.REG_READ), event.header)
        reg_write = data.View(header(Type.REG_WRITE), event.header)

        code = Signal(8)
        probed = Signal(range(MAX_REGISTERS + 1))
        address = Signal(16)
        after = Signal(g.track_bits + 2)    # first track after those of a READ that is sound
        # What the frame at hand is, a clock after it is offered.
        of_chain, known, empty, bad_count = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            of_chain.eq((event.type == Type.CHAIN) | (event.type == Type.WRITE)),
            known.eq(Cat(event.type == request for request in _REQUESTS).any()),
            empty.eq(event.length == 0),
            bad_count.eq((event.type == Type.REG_READ)
                         & ((reg_read.count == 0) | (reg_read.count > MAX_REGISTERS))),
            address.eq(reg_read.address + probed),
        ]
        if self.role is Role.SOURCE:
            m.d.comb += self.chain_events.payload.eq(event)
        m.d.comb += [
            after.eq(read.track[:g.track_bits] + read.count[:g.track_bits + 1]),
            self.registers.we.eq(event.type == Type.REG_WRITE),
            self.registers.addr.eq(address),
            self.registers.wdata.eq(reg_write.value),
        ]
        payload = answers.payload

        def answer(type_, **fields):
            tag = read.tag          # the first field of every request
            m.d.comb += [
                payload.type.eq(type_),
                payload.header.eq(header_const(m, type_, tag=tag, code=code, **fields)),
            ]

        with m.Switch(event.type):
            with m.Case(Type.READ):
                answer(Type.READ_DATA, volume=read.volume, track=read.track)
            with m.Case(Type.REG_READ):
                answer(Type.REG_DATA, count=reg_read.count, address=reg_read.address)
                m.d.comb += payload.arg.eq(Cat(reg_read.address, reg_read.count))
                with m.If(code == Code.OK):
                    m.d.comb += payload.kind.eq(PayloadKind.REGS)
            with m.Case(Type.REG_WRITE):
                answer(Type.REG_STATUS, address=reg_write.address)
            with m.Case(Type.CHAIN):
                answer(Type.CHAIN_STATUS)
            with m.Default():
                answer(Type.ERROR, type=event.type)
        with m.If(code == Code.BAD_LENGTH):
            answer(Type.ERROR, type=event.type)

        def refuse(why):
            m.d.sync += code.eq(why)
            m.next = "SUBMIT_ANSWER"

        with m.FSM():
            with m.State("AWAIT_REQUEST"):
                m.d.sync += [code.eq(Code.OK), probed.eq(0)]
                with m.If(self.events.valid):
                    m.next = "SORT_REQUEST"
            with m.State("SORT_REQUEST"):
                with m.If(of_chain):
                    self._chain(m, refuse)
                with m.Elif(~known):
                    refuse(Code.UNKNOWN_TYPE)
                with m.Elif(~empty):
                    refuse(Code.BAD_LENGTH)
                with m.Elif(bad_count):
                    refuse(Code.BAD_VALUE)
                with m.Elif(event.type == Type.READ):
                    m.next = "CHECK_READ"
                with m.Else():
                    m.next = "USE_REGISTER"

            with m.State("CHECK_READ"):
                with m.If(read.volume >= g.volumes):
                    refuse(Code.BAD_VOLUME)
                with m.Elif(read.track >= g.tracks_per_volume):
                    refuse(Code.BAD_TRACK)
                with m.Elif((read.count == 0) | read.count[g.track_bits + 1:].any()
                            | (after > g.tracks_per_volume)):
                    refuse(Code.BAD_VALUE)
                with m.Elif(~busy):
                    m.d.comb += start.eq(1)
                    m.next = "TAKE_REQUEST"

            with m.State("FIND_ADDRESS"):
                m.next = "USE_REGISTER"
            with m.State("USE_REGISTER"):
                m.d.comb += self.registers.req.eq(1)
                with m.If(self.registers.ack):
                    m.d.sync += [code.eq(self.registers.code), probed.eq(probed + 1)]
                    m.next = "FIND_ADDRESS"
                    with m.If(self.registers.we | (self.registers.code != Code.OK)
                              | (probed + 1 == reg_read.count)):
                        m.next = "SUBMIT_ANSWER"

            with m.State("SUBMIT_ANSWER"):
                m.d.comb += answers.valid.eq(1)
                with m.If(answers.ready):
                    m.next = "TAKE_REQUEST"
            with m.State("TAKE_REQUEST"):
                m.d.comb += self.events.ready.eq(1)
                m.next = "AWAIT_REQUEST"

    def _chain(self, m, refuse):
        """A CHAIN or WRITE frame, in the state that sorts requests."""
        if self.role is Role.SOURCE:
            m.d.comb += [
                self.chain_events.valid.eq(1),
                self.events.ready.eq(self.chain_events.ready),
            ]
            with m.If(self.chain_events.ready):
                m.next = "AWAIT_REQUEST"
        else:
            m.next = "TAKE_REQUEST"
            with m.If(self.events.payload.type == Type.CHAIN):
                refuse(Code.WRONG_ROLE)

    def _read(self, m, tracks, start, busy):
        """The tracks of one READ, one descriptor each."""
        g = self.geometry
        request = data.View(header(Type.READ), self.events.payload.header)
        tag = Signal(16)
        volume = self.reading
        track = Signal(g.track_bits)
        left = Signal(range(g.tracks_per_volume + 1))

        fields = header_const(m, Type.READ_DATA, tag=tag, volume=volume, track=track,
                              flags=Mux(self.suspect, ReadFlag.INCONSISTENT, 0))
        m.d.comb += [
            busy.eq(left != 0),
            tracks.valid.eq(busy),
            tracks.payload.type.eq(Type.READ_DATA),
            tracks.payload.header.eq(fields),
            tracks.payload.kind.eq(PayloadKind.TRACK),
            tracks.payload.arg.eq(Cat(track, volume)),
        ]
        with m.If(start):
            m.d.sync += [tag.eq(request.tag), volume.eq(request.volume), track.eq(request.track),
                         left.eq(request.count)]
        with m.Elif(tracks.valid & tracks.ready):
            m.d.sync += [track.eq(track + 1), left.eq(left - 1)]
        with m.If(self.flushed):
            m.d.sync += left.eq(0)
