"""One session with a board: requests and answers, hello, geometry, registers, counters.

Everything happens inside calls, in the caller's thread: there is no queue drained behind its
back and no callback at a bad time. All waiting is :meth:`Transport.read`, so the same library
serves a serial port, a pty, a socket and a simulation with its own time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from firmware_model import wire
from firmware_model.geometry import Geometry, GeometryError

from .errors import (
    BoardError,
    NoAnswer,
    NotABoard,
    ProtocolError,
    UsageError,
    WrongRole,
    WrongVersion,
)
from .linkpeer import LinkPeer
from .stats import SetPage, Stats
from .transport import Transport

log = logging.getLogger("farside.session")

HELLO_SECONDS = 3.0     # a simulated board may need a second to come to its first hello
SILENCE_SECONDS = 20.0  # a line that owes an answer resends long before; then it is dead
PROBE_SECONDS = 1.0     # far above any answer's delay, so that it costs nothing on a healthy line
SLICE = 0.02            # how long other sessions wait for their turn (see ``beside``)
LONGEST_READ = 0.25     # how long ``at_rest`` waits for its turn
TAGS = 1 << 16

REGISTERS = {register.name: register for register in wire.REGISTERS}


@dataclass(eq=False)
class Request:
    """A read or register access: harmless when repeated, so a new session just sends it again.

    ``got`` has the answers so far, ``error`` the code that ended it.
    """

    type: wire.Type
    fields: dict[str, int]
    answers: int
    got: list[wire.Frame] = field(default_factory=list)
    error: int = 0

    @property
    def done(self) -> bool:
        return bool(self.error) or len(self.got) >= self.answers


class Session:
    """Requests and answers of one line.

    Parameters
    ----------
    transport : Transport
        The line; the session closes it.
    name : str
        What messages call the line, usually the port.
    role : wire.Role or None
        Refuse a board of another role; None takes either.
    hello_timeout : float
        Seconds of the transport's clock to wait for the board's hello.

    Attributes
    ----------
    geometry : Geometry
        As the board's registers state it.
    role : wire.Role
        What the board is.
    beside : list of Session
        Other sessions that are served while this one waits, so that their lines stay alive.
    at_rest : callable
        Called between frames, at least every quarter of a second, while something is awaited:
        the place to raise from without losing an answer.
    sessions_lost : int
        How often the line has started anew.

    Raises
    ------
    NotABoard, WrongVersion, WrongRole
        By the constructor, after closing the transport.
    NoAnswer, PortLost, ProtocolError
        By any call.
    """

    def __init__(self, transport: Transport, *, name: str = "board",
                 role: wire.Role | None = None, hello_timeout: float = HELLO_SECONDS) -> None:
        self.transport = transport
        self.name = name
        self.beside: list[Session] = []
        self.at_rest: Callable[[], None] = lambda: None
        self.sessions_lost = 0
        self.peer = LinkPeer(wire.Role.HOST, ordered=True)
        self._requests: dict[int, Request] = {}
        self._tag = 0
        self._session = self.peer.session_count
        self._heard = self._probed = transport.now()
        try:
            self._hello(hello_timeout)
            self.geometry, self.role = self._read_geometry()
            self.peer.window = min(self.peer.window, self.geometry.window)
            if role is not None and self.role != role:
                raise WrongRole(f"{name} is a {self.role.name.lower()}, and this needs the "
                                f"{role.name.lower()}: give the other port")
        except BaseException:
            transport.close()
            raise

    def close(self) -> None:
        """Let the port go."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # -- what a subclass adds --------------------------------------------------------------

    def fill_line(self, now: float) -> None:
        """Hand further frames to ``self.peer``; called whenever the line is up."""

    def take_frame(self, frame: wire.Frame, now: float) -> bool:
        """Take a frame that answers no request; False if it means nothing here."""
        return False

    def session_lost(self) -> None:
        """The line has started anew: what was sent and not answered may be lost."""

    def answered_request(self) -> None:
        """A request is done."""

    def tag_in_use(self, tag: int) -> bool:
        return False

    def awaits_frames(self) -> bool:
        """Whether the board owes something besides answers to requests."""
        return False

    def next_event(self) -> float | None:
        """When :meth:`fill_line` should be called next, whatever arrives."""
        return None

    # -- the line --------------------------------------------------------------------------

    def pump(self, timeout: float = 0.0) -> None:
        """Send what is due and handle what has arrived, waiting at most ``timeout`` seconds."""
        self.at_rest()
        if self.beside:
            timeout = min(timeout, SLICE)
            for other in self.beside:
                other._turn(0.0)
        self._turn(timeout)

    def _turn(self, timeout: float) -> None:
        self._send_due()
        now = self.transport.now()
        until = now + timeout
        for event in (self.peer.deadline(now), self.next_event()):
            if event is not None:
                until = min(until, event)
        data = self.transport.read(max(0.0, until - now))
        if data:
            now = self.transport.now()
            for frame in self.peer.feed(data, now):
                self._heard = now
                self._handle(frame, now)
        self._send_due()

    def _send_due(self) -> None:
        now = self.transport.now()
        data = self.peer.poll(now)
        self._watch_session()
        if self.peer.up:
            self.fill_line(now)
            data += self.peer.poll(now)
        if data:
            self.transport.write(data)

    def _watch_session(self) -> None:
        """Notice that the line has started anew, and account for what was under way."""
        if self.peer.session_count == self._session or not self.peer.up:
            return
        first, self._session = self._session == 0, self.peer.session_count
        if first:
            return
        self.sessions_lost += 1
        log.warning("%s: the session has started again", self.name)
        requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            request.got.clear()
            self.send_request(request)
        self.session_lost()

    def wait_until(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Pump until ``done()``; False once ``timeout`` seconds have passed.

        Raises NoAnswer when an answer is owed and nothing at all has been heard for a while.
        Before that the board is asked, once a second, whether it is still in this session: if
        another program has used the port meanwhile it is not, and would never answer.
        """
        start = self._heard = max(self._heard, self.transport.now())
        while not done():
            now = self.transport.now()
            if timeout is not None and now - start >= timeout:
                return False
            if self.peer.up and not self._requests and not self.awaits_frames():
                self._heard = now       # nothing is owed: the line may be silent
            if now - self._heard > SILENCE_SECONDS:
                raise NoAnswer(f"{self.name} has not answered for {SILENCE_SECONDS:.0f} s: "
                               "is the board still running?")
            if now - max(self._heard, self._probed) > PROBE_SECONDS:
                self._probed = now
                self.peer.probe()
            self.pump(LONGEST_READ if timeout is None
                      else min(LONGEST_READ, start + timeout - now))
        return True

    def idle(self, seconds: float) -> None:
        """Serve the line for a while."""
        self.wait_until(lambda: False, seconds)

    # -- requests --------------------------------------------------------------------------

    def _handle(self, frame: wire.Frame, now: float) -> None:
        tag = frame.fields.get("tag", -1)
        request = self._requests.get(tag)
        if frame.type == wire.Type.ERROR and request is not None:
            request.error = frame.fields["code"]
        elif frame.type in (wire.Type.REG_DATA, wire.Type.REG_STATUS, wire.Type.READ_DATA):
            if request is None:
                return      # of a session that has ended
            request.got.append(frame)
            request.error = frame.fields["code"]
        else:
            if not self.take_frame(frame, now):
                log.warning("%s: unexpected %s %s", self.name, frame.type.name, frame.fields)
            return
        if request.done:
            del self._requests[tag]
            self.answered_request()

    def next_tag(self) -> int:
        """A tag that nothing under way uses."""
        while True:
            self._tag = (self._tag + 1) % TAGS
            if self._tag not in self._requests and not self.tag_in_use(self._tag):
                return self._tag

    def send_request(self, request: Request) -> Request:
        tag = self.next_tag()
        self._requests[tag] = request
        if self.peer.up:        # else the new session will send it
            self.peer.send(request.type, b"", tag=tag, **request.fields)
        return request

    def ask(self, type_: wire.Type, answers: int = 1, **fields: int) -> Request:
        """Send a request and return at once."""
        return self.send_request(Request(type_, fields, answers))

    def complete(self, request: Request, what: str) -> list[wire.Frame]:
        """Wait for a request's answers; BoardError names ``what`` if it was refused."""
        self.wait_until(lambda: request.done)
        if request.error:
            raise BoardError(f"{self.name}: {what}: {code_name(request.error)}", request.error)
        return request.got

    # -- hello and geometry ----------------------------------------------------------------

    def _hello(self, timeout: float) -> None:
        self.wait_until(lambda: self.peer.up or self.peer.mismatch is not None, timeout)
        if self.peer.up:
            return
        if self.peer.mismatch is not None:
            raise WrongVersion(
                f"{self.name} speaks protocol version {self.peer.mismatch}, these tools speak "
                f"version {wire.PROTOCOL_VERSION}: use tools and gateware of one release "
                "(git pull && make)")
        raise NotABoard(f"port {self.name} does not answer like a Farside board: "
                        + (self.peer.refusal or "is it the board's host port, at the right "
                           "--baud?"))

    def _read_geometry(self) -> tuple[Geometry, wire.Role]:
        values = self.registers(wire.Reg.MAGIC, wire.Reg.GENERATION + 1)
        if values[wire.Reg.MAGIC] != wire.MAGIC:
            raise NotABoard(f"port {self.name} does not answer like a Farside board: "
                            f"its magic register is 0x{values[wire.Reg.MAGIC]:08x}")
        if values[wire.Reg.VERSION] != wire.PROTOCOL_VERSION:
            raise WrongVersion(
                f"{self.name} speaks protocol version {values[wire.Reg.VERSION]}, these tools "
                f"speak version {wire.PROTOCOL_VERSION}: use tools and gateware of one release "
                "(git pull && make)")
        clock = values[wire.Reg.CLOCK_HZ]

        def rate(divisor: int) -> int:
            return min(round(clock * 256 / max(divisor, 1)), clock // 5)

        try:
            role = wire.Role(values[wire.Reg.ROLE])
            geometry = Geometry(
                volumes=values[wire.Reg.VOLUMES],
                tracks_per_volume=values[wire.Reg.TRACKS_PER_VOLUME],
                track_bytes=values[wire.Reg.TRACK_BYTES], sets=values[wire.Reg.SETS],
                links=values[wire.Reg.LINKS], chain_limit=values[wire.Reg.CHAIN_LIMIT],
                spare_slots=values[wire.Reg.SPARE_SLOTS],
                staging_slots=values[wire.Reg.STAGING_SLOTS],
                groups_in_flight=values[wire.Reg.GROUPS_IN_FLIGHT],
                window=values[wire.Reg.WINDOW],
                volumes_per_set=values[wire.Reg.VOLUMES_PER_SET], clock_hz=clock,
                host_baud=rate(values[wire.Reg.HOST_DIVISOR]),
                link_baud=rate(values[wire.Reg.LINK_DIVISOR]))
        except (GeometryError, ValueError) as error:
            raise ProtocolError(f"{self.name} states an impossible geometry: {error}") from None
        return geometry, role

    # -- registers and counters ------------------------------------------------------------

    def registers(self, address: int, count: int) -> list[int]:
        """``count`` registers from ``address`` on."""
        requests = []
        for at in range(address, address + count, wire.MAX_REGISTERS):
            size = min(wire.MAX_REGISTERS, address + count - at)
            requests.append((at, self.ask(wire.Type.REG_READ, address=at, count=size)))
        values: list[int] = []
        for at, request in requests:
            values += values_of(self.complete(request, f"registers from 0x{at:04x}")[0])
        return values

    def reg(self, name: str) -> int:
        """The register called ``name`` in ``wire.REGISTERS``."""
        return self.registers(_register(name).address, 1)[0]

    def set_reg(self, name: str | int, value: int) -> None:
        """Write a register, by name or address."""
        address = name if isinstance(name, int) else _register(name).address
        if not 0 <= value < 1 << 32:
            raise UsageError(f"register {name}: {value} does not fit 32 bits")
        self.complete(self.ask(wire.Type.REG_WRITE, address=address, value=value),
                       f"register {name} = {value}")

    def set_registers(self, values: Sequence[tuple[int, int]]) -> None:
        """Write several (address, value) at once, without waiting in between."""
        requests = [(address, self.ask(wire.Type.REG_WRITE, address=address, value=value))
                    for address, value in values]
        for address, request in requests:
            self.complete(request, f"register 0x{address:04x}")

    def cycles(self) -> int:
        """Clocks since reset."""
        low, high = self.registers(wire.Reg.CYCLES, 2)
        return low | high << 32

    def counters(self) -> dict[str, int]:
        """The side's counters by name (``wire.Counter``)."""
        values = self.registers(wire.Reg.COUNTERS, len(wire.Counter))
        return {counter.name.lower(): values[counter] for counter in wire.Counter}

    def link_counters(self, link: int) -> dict[str, int]:
        """Counters of one link by name (``wire.LinkCounter``)."""
        self.check_link(link)
        values = self.registers(wire.Reg.LINK_COUNTERS + wire.LINK_COUNTER_STRIDE * link,
                                len(wire.LinkCounter))
        return {counter.name.lower(): values[counter] for counter in wire.LinkCounter}

    def page_request(self, set_: int) -> Request:
        address = wire.Reg.SET_PAGES + wire.SET_PAGE_WORDS * set_
        return Request(wire.Type.REG_READ,
                        {"address": address, "count": wire.SET_PAGE_WORDS}, 1)

    def page(self, set_: int) -> SetPage:
        """The page of one set."""
        return self.pages([set_])[0]

    def pages(self, sets: Iterable[int] | None = None) -> list[SetPage]:
        """The pages of ``sets``, or of all."""
        which = list(range(self.geometry.sets) if sets is None else sets)
        for set_ in which:
            self.check_set(set_)
        requests = [(s, self.send_request(self.page_request(s))) for s in which]
        return [SetPage(s, values_of(self.complete(r, f"page of set {s}")[0]))
                for s, r in requests]

    def stats(self) -> Stats:
        """Everything the board counts."""
        up = self.reg("links_up")
        return Stats(
            role=self.role.name.lower(), cycles=self.cycles(), free_slots=self.reg("free_slots"),
            links_up=[n for n in range(self.geometry.links) if up >> n & 1],
            counters=self.counters(),
            links=[self.link_counters(n) for n in range(self.geometry.links)],
            sets=self.pages())

    # -- checks ----------------------------------------------------------------------------

    def check_set(self, set_: int) -> None:
        """Raise UsageError unless the set exists."""
        if not 0 <= set_ < self.geometry.sets:
            raise UsageError(f"set {set_} is outside 0..{self.geometry.sets - 1} of this board")

    def check_link(self, number: int) -> None:
        """Raise UsageError unless the link exists."""
        if not 0 <= number < self.geometry.links:
            raise UsageError(
                f"link {number} is outside 0..{self.geometry.links - 1} of this board")


def values_of(frame: wire.Frame) -> tuple[int, ...]:
    """Register values of a REG_DATA frame."""
    return tuple(int.from_bytes(frame.payload[i:i + 4], "little")
                 for i in range(0, len(frame.payload), 4))


def _register(name: str) -> wire.Register:
    try:
        return REGISTERS[name]
    except KeyError:
        raise UsageError(f"no register {name!r}: one of {', '.join(REGISTERS)}") from None


def code_name(code: int) -> str:
    """Name of an answer's code."""
    try:
        return wire.Code(code).name
    except ValueError:
        return f"code {code}"
