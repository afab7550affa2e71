"""A line as the system behind it sees it."""

from dataclasses import asdict, dataclass

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from firmware_model.wire import SILENCE_BITS, LinkCounter, Role

from .counters import link_tallies
from .interfaces import Descriptor, Event, PayloadPort, PayloadSink
from .link import LinkEngine
from .mutations import Mutation, checked, lacks
from .uart import DIVISOR_BITS

__all__ = ["HOST_PATIENCE_SECONDS", "Line", "LineKind", "LinePort", "PayloadJoin", "line_kind"]

# A PC answers after its scheduler, its USB frame and its serial driver's latency timer.
HOST_PATIENCE_SECONDS = 0.05


class LinePort(wiring.Signature):
    """Line side of what passes between a line and the system behind it.

    Streams, payload ports and ``renew``, ``up``, ``room``, ``flushed``, ``started`` are those of
    :class:`.link.LinkEngine`, but ``flushed`` and ``started`` may come a clock before ``up``
    changes; ``counts`` has a pulse for each event of ``wire.LinkCounter``.
    ``submitted`` is word ``word`` of what ``submit`` offers (``interfaces.descriptor_word``), in
    the clock after ``asks`` at the latest: it takes much less to choose a word of each of several
    frames, and then a frame, than to do so the other way round. A LinkEngine does not look at it.
    """

    def __init__(self):
        super().__init__({
            "events": Out(stream.Signature(Event)),
            "sink": Out(PayloadSink()),
            "submit": In(stream.Signature(Descriptor)),
            "word": Out(3),
            "asks": Out(1),
            "submitted": In(16),
            "payload": Out(PayloadPort()),
            "renew": In(1),
            "up": Out(1),
            "room": Out(1),
            "flushed": Out(1),
            "started": Out(1),
            "counts": Out(link_tallies()),
        })

    def __eq__(self, other):
        return type(self) is type(other)


@dataclass(frozen=True)
class LineKind:
    """What is special about one line; see :class:`.link.LinkEngine`."""

    ordered: bool = False
    discard_when_down: bool = False
    patience_bits: int = 0
    silence_bits: int = SILENCE_BITS


def line_kind(geometry, role, *, host):
    """What a system's host line, or a link, needs.

    The host line keeps frames in order, is patient with a PC, which may be silent for as long as
    it likes, and drops answers while no host listens. A link of the target drops commit status
    while it is down (it is due again on another link); a link of the source keeps the dispatcher
    waiting instead.
    """
    if host:
        return LineKind(ordered=True, discard_when_down=True, silence_bits=0,
                        patience_bits=int(HOST_PATIENCE_SECONDS * geometry.host_baud))
    return LineKind(discard_when_down=role is Role.TARGET)


class PayloadJoin(wiring.Component):
    """One payload provider for lines that fetch one payload at a time, as those of a LineBank do.

    All of the lines must show the same ``kind`` and ``arg`` then; one that is not fetching keeps
    ``ready`` at 0 and looks at no byte. Combinational.

    Parameters
    ----------
    lines : int
        At least 1.

    Members
    -------
    lines : In(PayloadPort()).array(lines)
    provider : Out(PayloadPort())
    """

    def __init__(self, lines):
        if not isinstance(lines, int) or lines < 1:
            raise ValueError(f"lines must be at least 1, not {lines!r}")
        super().__init__({"lines": In(PayloadPort()).array(lines), "provider": Out(PayloadPort())})

    def elaborate(self, platform):
        m = Module()
        wanted, given = self.provider, self.provider.bytes
        m.d.comb += [
            wanted.start.eq(Cat(line.start for line in self.lines).any()),
            wanted.kind.eq(self.lines[0].kind),
            wanted.arg.eq(self.lines[0].arg),
            given.ready.eq(Cat(line.bytes.ready for line in self.lines).any()),
        ]
        for line in self.lines:
            m.d.comb += [line.bytes.valid.eq(given.valid), line.bytes.payload.eq(given.payload)]
        return m


class Line(wiring.Component):
    """A LinkEngine as a system's host line or link; see :func:`line_kind`.

    Parameters
    ----------
    geometry : Geometry
    role : Role
        Of the system.
    host : bool
        The host line; otherwise a link.
    mutation : Mutation or None
        CRC_NOT_CHECKED concerns links.

    Members
    -------
    rx : In(1), tx : Out(1)
    divisor : In(24)
        Clocks a bit in 1/256.
    generation : In(8)
        Resets of this side, for the hello.
    port : Out(LinePort())
    """

    def __init__(self, geometry, role, *, host=False, mutation=None):
        self.geometry = geometry
        self._role = Role(role)
        self._host = host
        self._mutation = checked(mutation)
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "divisor": In(DIVISOR_BITS),
            "generation": In(8),
            "port": Out(LinePort()),
        })

    def _engine(self):
        g = self.geometry
        kind = line_kind(g, self._role, host=self._host)
        return LinkEngine(role=self._role, window=g.window, max_payload=g.track_bytes,
                          fingerprint=g.fingerprint, **asdict(kind),
                          check_crc=self._host or lacks(self._mutation, Mutation.CRC_NOT_CHECKED))

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self._engine()
        port = self.port
        connect(m, engine.events, flipped(port.events))
        connect(m, engine.sink, flipped(port.sink))
        connect(m, flipped(port.submit), engine.submit)
        connect(m, engine.payload, flipped(port.payload))
        strobes = {
            LinkCounter.FRAMES_SENT: engine.frame_sent,
            LinkCounter.RESENDS: engine.resent,
            LinkCounter.FRAMES_RECEIVED: engine.frame_received,
            LinkCounter.DUPLICATES: engine.duplicate,
            LinkCounter.BAD_FRAMES: engine.bad_frame,
            LinkCounter.TIMEOUTS: engine.timeout,
            LinkCounter.SESSIONS: engine.session,
            LinkCounter.ACKS_SENT: engine.ack_sent,
        }
        m.d.comb += [
            engine.rx.eq(self.rx),
            self.tx.eq(engine.tx),
            engine.divisor.eq(self.divisor),
            engine.generation.eq(self.generation),
            engine.renew.eq(port.renew),
            port.up.eq(engine.up),
            port.room.eq(engine.room),
            port.flushed.eq(engine.flushed),
            port.started.eq(engine.started),
            *(port.counts[counter.name.lower()].eq(strobe) for counter, strobe in strobes.items()),
        ]
        return m
