"""One session with a board: requests and answers, hello, geometry.

Everything happens inside calls, in the caller's thread: there is no queue drained behind its
back and no callback at a bad time. All waiting is :meth:`Transport.read`, so the same library
serves a serial port, a pty, a socket and a simulation with its own time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from firmware_model import wire
from firmware_model.geometry import MIN_CLOCKS_A_BIT, Geometry, GeometryError

from .errors import (
    NoAnswer,
    NotABoard,
    ProtocolError,
    WrongRole,
    WrongVersion,
)
from .linkpeer import LinkPeer
from .registers import Registers, Window, refused
from .transport import Transport

log = logging.getLogger("farside.session")

HELLO_SECONDS = 3.0     # a simulated board may need a second to come to its first hello
SILENCE_SECONDS = 20.0  # a line that owes an answer resends long before; then it is dead
PROBE_SECONDS = 1.0     # far above any answer's delay, so that it costs nothing on a healthy line
SLICE = 0.02            # how long other sessions wait for their turn (see ``beside``)
LONGEST_READ = 0.25     # how long ``at_rest`` waits for its turn
TAGS = 1 << 16

# What answers what.
ANSWERS = {wire.Type.REG_READ: wire.Type.REG_DATA, wire.Type.REG_WRITE: wire.Type.REG_STATUS,
           wire.Type.READ: wire.Type.READ_DATA}


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


class Session(Registers):
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
    chores : list of callable
        Called every now and then while the line is served; none may wait or raise.
    sessions_lost : int
        How often the line has started anew.
    life : int
        The source's, as its register said when it was read last.

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
        self.chores: list[Callable[[], None]] = []
        self.sessions_lost = 0
        self.life = 0
        self.peer = self.make_peer()
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

    def make_peer(self) -> LinkPeer:
        """Our end of the line."""
        return LinkPeer(wire.Role.HOST, ordered=True)

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
        for chore in self.chores:
            chore()
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
            self._check_answer(request, frame)
            request.got.append(frame)
            request.error = frame.fields["code"]
        else:
            if not self.take_frame(frame, now):
                log.warning("%s: unexpected %s %s", self.name, frame.type.name, frame.fields)
            return
        if request.done:
            del self._requests[tag]
            self.answered_request()

    def _check_answer(self, request: Request, frame: wire.Frame) -> None:
        """Raise ProtocolError unless ``frame`` can answer ``request``."""
        wrong = frame.type != ANSWERS.get(request.type)
        if frame.type == wire.Type.REG_DATA and not frame.fields["code"] and not wrong:
            wrong = len(frame.payload) != 4 * request.fields["count"]
        if wrong:
            raise ProtocolError(
                f"{self.name} answers {request.type.name} {request.fields} with "
                f"{frame.type.name} and {len(frame.payload)} bytes")

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
            raise refused(self.name, what, request.error)
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
        values = self.registers(wire.Reg.MAGIC, wire.Reg.LIFE + 1)
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
            return min(round(clock * 256 / max(divisor, 1)),
                       clock // MIN_CLOCKS_A_BIT)

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
        self.life = values[wire.Reg.LIFE]
        return geometry, role

    # -- registers -------------------------------------------------------------------------

    def ask_windows(self, windows: Sequence[Window]) -> list[list[Request]]:
        """Send the requests that read ``windows`` and return at once; :func:`values_of_window`
        has the values when all of a window's are done."""
        return [[self.ask(wire.Type.REG_READ, address=at,
                          count=min(wire.MAX_REGISTERS, address + count - at))
                 for at in range(address, address + count, wire.MAX_REGISTERS)]
                for address, count in windows]

    def read_windows(self, windows: Sequence[Window]) -> list[list[int]]:
        asked = self.ask_windows(windows)
        for (address, _), requests in zip(windows, asked, strict=True):
            for request in requests:
                self.complete(request, f"registers from 0x{address:04x}")
        return [values_of_window(requests) for requests in asked]

    def set_registers(self, values: Sequence[tuple[int, int]]) -> None:
        requests = [(address, value, self.ask(wire.Type.REG_WRITE, address=address, value=value))
                    for address, value in values]
        for address, value, request in requests:
            self.complete(request, f"register 0x{address:04x} = {value}")


def values_of(frame: wire.Frame) -> tuple[int, ...]:
    """Register values of a REG_DATA frame."""
    return tuple(int.from_bytes(frame.payload[i:i + 4], "little")
                 for i in range(0, len(frame.payload), 4))


def values_of_window(requests: Sequence[Request]) -> list[int]:
    """Register values of the answered requests of one window."""
    return [value for request in requests for value in values_of(request.got[0])]
