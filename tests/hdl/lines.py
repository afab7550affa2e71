# amaranth: UnusedElaboratable=no
"""Link engines in simulation, and lines between them that do as they are told."""

import dataclasses

from amaranth import *
from amaranth.lib import wiring

from firmware_model import wire
from hdl.interfaces import PayloadKind, descriptor_word
from hdl.line import LineKind
from hdl.linebank import LineBank
from hdl.link import LinkEngine

from .serial import Listener, Sender
from .streams import ticks, until

CLOCKS = 4                  # a bit: the fastest line, for the shortest simulation
STROBES = ("frame_sent", "resent", "frame_received", "duplicate", "bad_frame", "timeout",
           "session", "ack_sent")


class Probe(wiring.Component):
    """Counts the pulses of an engine in gateware: a bench that samples them is ten times slower.

    ``attention`` is high while a payload byte or an event waits.
    """

    def __init__(self, engine):
        self.engine = engine
        super().__init__({name: wiring.Out(16) for name in (*STROBES, "flushed", "started")}
                         | {"attention": wiring.Out(1)})

    def elaborate(self, platform):
        m = Module()
        for name in (*STROBES, "flushed", "started"):
            with m.If(getattr(self.engine, name)):
                m.d.sync += getattr(self, name).eq(getattr(self, name) + 1)
        m.d.comb += self.attention.eq(self.engine.sink.valid | self.engine.events.valid)
        return m


_ENGINE = LinkEngine(role=wire.Role.SOURCE, window=8, max_payload=0)


class BankEngine(wiring.Component):
    """A line of a LineBank that looks like a LinkEngine, for benches that know only that.

    The bank has ``others`` lines more, which stay idle.
    """

    def __init__(self, *, ordered=False, discard_when_down=False, patience_bits=0,
                 silence_bits=wire.SILENCE_BITS, others=0,
                 **parameters):
        kind = LineKind(ordered=ordered, discard_when_down=discard_when_down,
                        patience_bits=patience_bits, silence_bits=silence_bits)
        self.bank = LineBank([kind] + [LineKind()] * others, **parameters)
        signature = _ENGINE.signature
        super().__init__(signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        port = bank.ports[0]
        m.d.comb += [
            bank.rx.eq(Cat(self.rx, Const(1).replicate(len(bank.rx) - 1))),
            self.tx.eq(bank.tx[0]),
            bank.generation.eq(self.generation),
            *(divisor.eq(self.divisor) for divisor in bank.divisor),
            port.renew.eq(self.renew),
            *(getattr(self, name).eq(getattr(port, name))
              for name in ("up", "room", "flushed", "started")),
            self.frame_sent.eq(port.counts.frames_sent),
            self.resent.eq(port.counts.resends),
            self.frame_received.eq(port.counts.frames_received),
            self.duplicate.eq(port.counts.duplicates),
            self.bad_frame.eq(port.counts.bad_frames),
            self.timeout.eq(port.counts.timeouts),
            self.session.eq(port.counts.sessions),
            self.ack_sent.eq(port.counts.acks_sent),
            port.submitted.eq(descriptor_word(m, self.submit.payload, port.word)),
        ]
        wiring.connect(m, port.events, wiring.flipped(self.events))
        wiring.connect(m, port.sink, wiring.flipped(self.sink))
        wiring.connect(m, wiring.flipped(self.submit), port.submit)
        wiring.connect(m, port.payload, wiring.flipped(self.payload))
        return m


# Who may be at the two ends of a line.
PAIRS = {
    "engines": (LinkEngine, LinkEngine),
    "banks": (BankEngine, BankEngine),
    "bank and engine": (BankEngine, LinkEngine),
}


class Pair(wiring.Component):
    """Two engines whose lines are not connected: the bench is the wire."""

    def __init__(self, engines=(LinkEngine, LinkEngine), **parameters):
        parameters = {"window": 8, "max_payload": 16, "initial_trip": 8} | parameters
        self.a = engines[0](role=wire.Role.SOURCE, **parameters)
        self.b = engines[1](role=wire.Role.TARGET, **parameters)
        self.probes = [Probe(self.a), Probe(self.b)]
        super().__init__({"reset_b": wiring.In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.a = self.a
        m.submodules.b = ResetInserter(self.reset_b)(self.b)
        m.submodules.probe_a, m.submodules.probe_b = self.probes
        m.d.comb += [self.a.divisor.eq(CLOCKS << 8), self.b.divisor.eq(CLOCKS << 8)]
        return m


class Single(wiring.Component):
    """One engine with its probe."""

    def __init__(self, engine=LinkEngine, **parameters):
        parameters = {"window": 8, "max_payload": 32, "initial_trip": 8} | parameters
        self.engine = engine(**parameters)
        self.probe = Probe(self.engine)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = self.engine
        m.submodules.probe = self.probe
        m.d.comb += self.engine.divisor.eq(CLOCKS << 8)
        return m


class Wire:
    """One direction of a line.

    ``fault(frame, byte)`` is asked at the first bit of each byte (frames counted from 0, bytes
    within the frame): return a bit number 0..7 to have that bit flipped, "drop" to have the byte
    swallowed, None to let it pass. ``cut`` silences everything. Bytes put into ``inject`` are
    put on the line when it is idle.
    """

    def __init__(self, fault=lambda frame, byte: None):
        self.fault = fault
        self.cut = False
        self.line = bytearray()     # what the sender said, whole
        self.frames = []            # its frames
        self.inject = b""
        self._foreign = Sender(CLOCKS)
        self._listener = Listener(CLOCKS)
        self._bytes = 0
        self._bit = None
        self._clock = 0

    def step(self, level):
        listener = self._listener
        was_inside = listener.inside
        listener.step(level)
        if listener.inside and not was_inside:
            self._clock = 0
            self._bit = self.fault(len(self.frames), self._bytes)
        if len(listener.data) > len(self.line):
            byte = listener.data[-1]
            self.line.append(byte)
            self._bytes += 1
            if byte == wire.DELIMITER:
                self._end_frame()
        if self.inject and not listener.inside and self._foreign.idle:
            self._foreign.send(self.inject)
            self.inject = b""
        foreign = self._foreign.step()
        place = self._clock // CLOCKS - 1
        self._clock += 1
        if self.cut or (self._bit == "drop" and place < 9):
            return 1
        if self._bit is not None and place == self._bit:
            return 1 - level
        return level & foreign

    def _end_frame(self):
        body = bytes(self.line[-self._bytes:-1])
        self._bytes = 0
        try:
            self.frames.append(wire.unpack(wire.cobs_decode(body)))
        except wire.WireError:
            self.frames.append(None)        # the sender was reset in the middle

    @property
    def frame(self):
        """Number of the frame that is on the line now, or the next one."""
        return len(self.frames)


def wires(pair, a_to_b, b_to_a):
    """Background process that carries both directions, a clock late."""
    async def carry(ctx):
        rx = [1, 1]
        async for _, _, a, b in ctx.tick().sample(pair.a.tx, pair.b.tx):
            levels = [a_to_b.step(a), b_to_a.step(b)]
            for i, port in enumerate((pair.b.rx, pair.a.rx)):
                if levels[i] != rx[i]:
                    rx[i] = levels[i]
                    ctx.set(port, levels[i])
    return carry


@dataclasses.dataclass
class End:
    """What happens at one engine: pulses counted, events with their payload collected."""

    engine: LinkEngine
    probe: Probe
    events: list = dataclasses.field(default_factory=list)
    stall: int = 0          # clocks to wait before each event and payload byte is taken

    def count(self, ctx, name):
        return ctx.get(getattr(self.probe, name))

    async def take(self, ctx):
        engine = self.engine
        payload = bytearray()
        while True:
            await until(ctx, self.probe.attention)
            await ticks(ctx, self.stall)
            if ctx.get(engine.sink.valid):
                index = ctx.get(engine.sink.index)
                if index == 0:
                    payload.clear()
                assert index == len(payload)
                payload.append(ctx.get(engine.sink.data))
                ready = engine.sink.ready
            else:
                assert ctx.get(engine.events.valid)
                event = ctx.get(engine.events.payload)
                assert event.length in (0, len(payload))
                self.events.append((event.type, event.header, bytes(payload[:event.length])))
                ready = engine.events.ready
            ctx.set(ready, 1)
            await ctx.tick()
            ctx.set(ready, 0)

    async def provide(self, ctx):
        """Payload: ``arg`` bits 0..7 give the length, bits 8.. the first byte."""
        port = self.engine.payload
        while True:
            kind, arg = await until(ctx, port.start, port.kind, port.arg)
            assert kind == PayloadKind.SLOT
            for byte, last in expected_payload(arg, marks=True):
                ctx.set(port.bytes.payload, {"data": byte, "last": last})
                ctx.set(port.bytes.valid, 1)
                await until(ctx, port.bytes.ready)
                assert ctx.get(port.arg) == arg
            ctx.set(port.bytes.valid, 0)

    @property
    def processes(self):
        return [self.take, self.provide]


def expected_payload(arg, marks=False):
    """Bytes that :meth:`End.provide` gives for ``arg``."""
    length, first = arg & 0xFF, arg >> 8
    data = bytes((first + i) & 0xFF for i in range(length))
    return [(b, i == length - 1) for i, b in enumerate(data)] if marks else data


def descriptor(number, length=0, type_=wire.Type.DATA):
    """A descriptor that is known by ``number`` in its header, with ``length`` payload bytes."""
    kind = PayloadKind.SLOT if length else PayloadKind.NONE
    return {"type": type_, "header": number * 0x0100_0000_0001 & (1 << 64) - 1, "kind": kind,
            "arg": length | (number & 0xFF) << 8}


def event(number, length=0, type_=wire.Type.DATA):
    """The event that :func:`descriptor` becomes at the other end."""
    d = descriptor(number, length, type_)
    return (d["type"], d["header"], expected_payload(d["arg"]) if length else b"")


class SerialPeer:
    """A :class:`host_tools.linkpeer.LinkPeer` on the other end of an engine's line."""

    def __init__(self, engine, peer, clocks=CLOCKS):
        self.engine = engine
        self.peer = peer
        self.listener = Listener(clocks)
        self.sender = Sender(clocks)
        self.delivered = []
        self.cut = False
        self.now = 0.0
        self._fed = 0
        self._level = 1

    async def carry(self, ctx):
        async for _, _, level in ctx.tick().sample(self.engine.tx):
            self.now += 1e-6        # the bench's clock
            self.listener.step(level)
            data = bytes(self.listener.data[self._fed:])
            self._fed += len(data)
            if data and not self.cut:
                self.delivered += self.peer.feed(data, self.now)
            if self.sender.idle:
                out = self.peer.poll(self.now)
                if out and not self.cut:
                    self.sender.send(out)
            level = self.sender.step()
            if level != self._level:
                self._level = level
                ctx.set(self.engine.rx, level)
