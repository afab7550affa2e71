"""The client library: one board behind one port.

Everything happens inside calls of the client, in the caller's thread: there is no queue drained
behind its back and no callback at a bad time. All waiting is :meth:`Transport.read`, so the
same library serves a serial port, a pty, a socket and a simulation with its own time.

    with Client.open("/dev/ttyUSB0") as board:
        board.write([(0, 17, data)])
        board.wait_settled()
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from firmware_model import wire
from firmware_model.geometry import Geometry, GeometryError

from .chains import ChainBook, State, Ticket, Write
from .channels import LinkControl
from .errors import (
    BoardError,
    NoAnswer,
    NotABoard,
    NotSettling,
    ProtocolError,
    UsageError,
    WrongRole,
    WrongVersion,
)
from .linkpeer import LinkPeer
from .stats import Disconnect, SetPage, Stats
from .transport import DEFAULT_BAUD, SerialTransport, Transport

log = logging.getLogger("farside.client")

HELLO_SECONDS = 3.0     # a simulated board may need a second to come to its first hello
SILENCE_SECONDS = 20.0  # with hellos and acknowledgements a live line is never silent so long
SETTLE_SECONDS = 60.0   # without any progress; a resend after a time-out is far below it
SLICE = 0.02            # how long other clients wait for their turn (see ``beside``)
FRAMES_AHEAD = 8        # frames on the line: 20 ms at 2 Mbaud, more than a USB adapter's pause, and
                        # not much is sent in vain when a chain is refused
READ_TRACKS = 16        # tracks of one READ: short enough to keep a hold short
READS_IN_FLIGHT = 2     # the next request waits at the board when the last answer leaves
HOLD_SLACK = 8          # a hold lasts this many times what the reads under it should take
MAX_HOLD = 0xFFFF
IDLE_PAGE_POLL = 0.005
TAGS = 1 << 16

REGISTERS = {register.name: register for register in wire.REGISTERS}


@dataclass(eq=False)
class _Request:
    """A read or register access: harmless when repeated, so a new session just sends it again."""

    type: wire.Type
    fields: dict[str, int]
    answers: int
    got: list[wire.Frame] = field(default_factory=list)
    error: int = 0

    @property
    def done(self) -> bool:
        return bool(self.error) or len(self.got) >= self.answers


class Client:
    """A session with one board.

    Parameters
    ----------
    transport : Transport
        The line; the client closes it.
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
    volume_set : list of int
        Consistency set of each volume.
    on_commit : callable
        ``on_commit(set, number, writes)`` for every chain of this client, in commit order.
    on_reconnect : callable
        ``on_reconnect(disconnect)`` for every RECONNECT.
    disconnects : list of Disconnect
        Every disconnection that has ended, with its duration in clocks.
    beside : list of Client
        Other clients that are served while this one waits, so that their lines stay alive.

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
        self.on_commit: Callable[[int, int, tuple[Write, ...]], None] = lambda *_: None
        self.on_reconnect: Callable[[Disconnect], None] = lambda _: None
        self.disconnects: list[Disconnect] = []
        self.beside: list[Client] = []
        self.sessions_lost = 0
        self._book = ChainBook([], self._commit_chain)
        self._requests: dict[int, _Request] = {}
        self._recovery: list[tuple[int, _Request]] = []
        self._open: tuple[Ticket, int] | None = None    # chain going out, its next command
        self._tag = 0
        self._peer = LinkPeer(wire.Role.HOST, ordered=True)
        self._session = self._peer.session_count
        self._heard = transport.now()
        try:
            self._hello(hello_timeout)
            self.geometry, self.role = self._read_geometry()
            self._peer.window = min(self._peer.window, self.geometry.window)
            if role is not None and self.role != role:
                raise WrongRole(f"{name} is a {self.role.name.lower()}, and this needs the "
                                f"{role.name.lower()}: give the other port")
            self.volume_set = self._read_volume_sets()
            self._book = ChainBook([page.chains for page in self.pages()], self._commit_chain)
        except BaseException:
            transport.close()
            raise

    @classmethod
    def open(cls, port: str, *, role: wire.Role | None = None,
             baud: int = DEFAULT_BAUD) -> Client:
        """Open ``port`` (device, pty or ``socket://``) and greet the board behind it."""
        return cls(SerialTransport(port, baud), name=port, role=role)

    def close(self) -> None:
        """Let the port go. Chains that are not committed are lost: see :meth:`flush`."""
        self.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # -- the line --------------------------------------------------------------------------

    def pump(self, timeout: float = 0.0) -> None:
        """Send what is due and handle what has arrived, waiting at most ``timeout`` seconds."""
        if self.beside:
            timeout = min(timeout, SLICE)
            for other in self.beside:
                other._turn(0.0)
        self._turn(timeout)

    def _turn(self, timeout: float) -> None:
        self._send_due()
        now = self.transport.now()
        until = now + timeout
        for event in (self._peer.deadline(now), self._book.next_event()):
            if event is not None:
                until = min(until, event)
        data = self.transport.read(max(0.0, until - now))
        if data:
            now = self.transport.now()
            for frame in self._peer.feed(data, now):
                self._heard = now
                self._handle(frame, now)
        self._send_due()

    def _send_due(self) -> None:
        now = self.transport.now()
        data = self._peer.poll(now)
        self._watch_session()
        if self._peer.up:
            while self._peer.unsettled < FRAMES_AHEAD and self._send_chains(now):
                pass
            data += self._peer.poll(now)
        if data:
            self.transport.write(data)

    def _watch_session(self) -> None:
        """Notice that the line has started anew, and account for what was under way."""
        if self._peer.session_count == self._session or not self._peer.up:
            return
        first, self._session = self._session == 0, self._peer.session_count
        if first:
            return
        self.sessions_lost += 1
        self._open = None
        log.warning("%s: the session has started again", self.name)
        requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            if not request.done:
                request.got.clear()
                self._send_request(request)
        self._recovery = [(set_, self._send_request(self._page_request(set_)))
                          for set_ in self._book.session_lost()]

    def _finish_recovery(self) -> None:
        if not self._recovery or not all(request.done for _, request in self._recovery):
            return
        pages, self._recovery = self._recovery, []
        self._book.recovered({set_: SetPage(set_, _values(request.got[0])).chains
                              for set_, request in pages})

    def _wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Pump until ``done()``; False once ``timeout`` seconds have passed.

        Raises NoAnswer when nothing at all has been heard for a while.
        """
        start = self._heard = max(self._heard, self.transport.now())
        while not done():
            now = self.transport.now()
            if timeout is not None and now - start >= timeout:
                return False
            if self._peer.up and not self._requests and not self._book.frames_in_flight:
                self._heard = now       # nothing is owed: the line may be silent
            if now - self._heard > SILENCE_SECONDS:
                raise NoAnswer(f"{self.name} has not answered for {SILENCE_SECONDS:.0f} s: "
                               "is the board still running?")
            self.pump(0.25 if timeout is None else min(0.25, start + timeout - now))
        return True

    def _handle(self, frame: wire.Frame, now: float) -> None:
        fields = frame.fields
        match frame.type:
            case wire.Type.CHAIN_STATUS:
                log.debug("%s: chain %d: %s", self.name, fields["tag"], fields)
                self._book.answered(fields["tag"], fields["code"], fields["detail"], now)
            case wire.Type.RECONNECT:
                notice = Disconnect(fields["volume"], fields["track"], fields["clocks"])
                self.disconnects.append(notice)
                self._book.reconnected(notice.volume)
                self.on_reconnect(notice)
            case wire.Type.REG_DATA | wire.Type.REG_STATUS | wire.Type.READ_DATA:
                self._answer(frame)
            case wire.Type.ERROR:
                self._error(frame, now)
            case _:
                log.warning("%s: unexpected %s", self.name, frame.type.name)

    def _answer(self, frame: wire.Frame) -> None:
        request = self._requests.get(frame.fields["tag"])
        if request is None:
            return
        request.got.append(frame)
        request.error = frame.fields["code"]
        if request.done:
            del self._requests[frame.fields["tag"]]
            self._finish_recovery()

    def _error(self, frame: wire.Frame, now: float) -> None:
        """The board could not act on a frame: whoever sent it fails with that code."""
        tag, code = frame.fields["tag"], frame.fields["code"]
        request = self._requests.pop(tag, None)
        if request is not None:
            request.error = code
        elif self._book.in_use(tag):
            self._book.answered(tag, code, 0, now)
        else:
            log.warning("%s: error %s for frame type 0x%02x", self.name, _code_name(code),
                        frame.fields["type"])

    def _next_tag(self) -> int:
        while True:
            self._tag = (self._tag + 1) % TAGS
            if self._tag not in self._requests and not self._book.in_use(self._tag):
                return self._tag

    def _send_request(self, request: _Request) -> _Request:
        tag = self._next_tag()
        self._requests[tag] = request
        if self._peer.up:       # else the new session will send it
            self._peer.send(request.type, b"", tag=tag, **request.fields)
        return request

    def _ask(self, type_: wire.Type, answers: int = 1, **fields: int) -> _Request:
        return self._send_request(_Request(type_, fields, answers))

    def _complete(self, request: _Request, what: str) -> list[wire.Frame]:
        self._wait(lambda: request.done)
        if request.error:
            raise BoardError(f"{self.name}: {what}: {_code_name(request.error)}", request.error)
        return request.got

    # -- hello and geometry ----------------------------------------------------------------

    def _hello(self, timeout: float) -> None:
        self._wait(lambda: self._peer.up or self._peer.mismatch is not None, timeout)
        if self._peer.up:
            return
        if self._peer.mismatch is not None:
            raise WrongVersion(
                f"{self.name} speaks protocol version {self._peer.mismatch}, these tools speak "
                f"version {wire.PROTOCOL_VERSION}: use tools and gateware of one release "
                "(git pull && make)")
        raise NotABoard(f"port {self.name} does not answer like a Farside board: "
                        + (self._peer.refusal or "is it the board's host port, at the right "
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

    def _read_volume_sets(self) -> list[int]:
        if self.role != wire.Role.SOURCE:
            return [self.geometry.initial_set(v) for v in range(self.geometry.volumes)]
        return self.registers(wire.Reg.VOLUME_SET, self.geometry.volumes)

    # -- registers and counters ------------------------------------------------------------

    def registers(self, address: int, count: int) -> list[int]:
        """``count`` registers from ``address`` on."""
        requests = []
        for at in range(address, address + count, wire.MAX_REGISTERS):
            size = min(wire.MAX_REGISTERS, address + count - at)
            requests.append((at, self._ask(wire.Type.REG_READ, address=at, count=size)))
        values: list[int] = []
        for at, request in requests:
            values += _values(self._complete(request, f"registers from 0x{at:04x}")[0])
        return values

    def reg(self, name: str) -> int:
        """The register called ``name`` in ``wire.REGISTERS``."""
        return self.registers(_register(name).address, 1)[0]

    def set_reg(self, name: str | int, value: int) -> None:
        """Write a register, by name or address."""
        address = name if isinstance(name, int) else _register(name).address
        if not 0 <= value < 1 << 32:
            raise UsageError(f"register {name}: {value} does not fit 32 bits")
        self._complete(self._ask(wire.Type.REG_WRITE, address=address, value=value),
                       f"register {name} = {value}")

    def set_registers(self, values: Sequence[tuple[int, int]]) -> None:
        """Write several (address, value) at once, without waiting in between."""
        requests = [(address, self._ask(wire.Type.REG_WRITE, address=address, value=value))
                    for address, value in values]
        for address, request in requests:
            self._complete(request, f"register 0x{address:04x}")

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
        self._check_link(link)
        values = self.registers(wire.Reg.LINK_COUNTERS + wire.LINK_COUNTER_STRIDE * link,
                                len(wire.LinkCounter))
        return {counter.name.lower(): values[counter] for counter in wire.LinkCounter}

    def _page_request(self, set_: int) -> _Request:
        address = wire.Reg.SET_PAGES + wire.SET_PAGE_WORDS * set_
        return _Request(wire.Type.REG_READ,
                        {"address": address, "count": wire.SET_PAGE_WORDS}, 1)

    def page(self, set_: int) -> SetPage:
        """The page of one set."""
        return self.pages([set_])[0]

    def pages(self, sets: Iterable[int] | None = None) -> list[SetPage]:
        """The pages of ``sets``, or of all."""
        which = list(range(self.geometry.sets) if sets is None else sets)
        for set_ in which:
            self._check_set(set_)
        requests = [(s, self._send_request(self._page_request(s))) for s in which]
        return [SetPage(s, _values(self._complete(r, f"page of set {s}")[0]))
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

    def link(self, number: int) -> LinkControl:
        """The channel emulator of one link: cut it, restore it, delay it, disturb it."""
        self._check_link(number)
        return LinkControl(self, number)

    def cut_links(self, cut: bool = True) -> None:
        """Cut all links of a simulated board in one go, or restore them."""
        controls = [self.link(number) for number in range(self.geometry.links)]
        self.set_registers([control.cut_register(cut) for control in controls])

    # -- chains ----------------------------------------------------------------------------

    def set_of(self, writes: Sequence[Write]) -> int:
        """The consistency set of a chain; raises UsageError if the board would refuse it."""
        geometry = self.geometry
        if not writes:
            raise UsageError("a chain has at least one command, this one has none")
        if len(writes) > geometry.chain_limit:
            raise UsageError(f"a chain of {len(writes)} commands exceeds the board's limit of "
                             f"{geometry.chain_limit}: write less at once")
        for volume, track, data in writes:
            self.check_place(volume, track)
            if len(data) != geometry.track_bytes:
                raise UsageError(f"{len(data)} bytes for {volume}:{track}: a track has "
                                 f"{geometry.track_bytes}")
        sets = sorted({self.volume_set[volume] for volume, _, _ in writes})
        if len(sets) > 1:
            raise UsageError(f"a chain must stay within one consistency set, this one needs "
                             f"{' and '.join(map(str, sets))}: see `farside sets`")
        return sets[0]

    def submit(self, writes: Iterable[Write], *, depth: int | None = None) -> Ticket:
        """Queue one chain of (volume, track, data) and return at once, or, with ``depth``, as
        soon as no more than ``depth`` chains are outstanding.

        The chain is committed exactly once, after all chains of its set submitted earlier.
        """
        if self.role != wire.Role.SOURCE:
            raise WrongRole(f"{self.name} is a target, and chains go to the source: "
                            "give the other port")
        writes = tuple(writes)
        ticket = Ticket(writes, self.set_of(writes))
        self._book.add(ticket)
        self.pump()
        if depth is not None:
            self._wait(lambda: self._book.outstanding <= depth)
        return ticket

    def _send_chains(self, now: float) -> bool:
        """Hand the next frame of the chains to the line; False if there is none to send.

        A chain's commands go out one by one. If the chain is refused meanwhile, the rest of it
        stays here: the board would only have swallowed it.
        """
        if self._open is None:
            ticket = self._book.next_chain(now)
            if ticket is None:
                return False
            tag = self._next_tag()
            flags = wire.Flag.RESUME if self._book.mark_sent(ticket, tag) else 0
            places = b"".join(wire.entry(volume, track) for volume, track, _ in ticket.writes)
            self._peer.send(wire.Type.CHAIN, places, tag=tag, flags=int(flags),
                            count=len(ticket.writes))
            self._open = ticket, 0
            return True
        ticket, index = self._open
        if ticket.state is not State.SENT:
            self._open = None
            return True
        self._peer.send(wire.Type.WRITE, ticket.writes[index][2], tag=ticket.tag, index=index)
        self._open = (ticket, index + 1) if index + 1 < len(ticket.writes) else None
        return True

    def _commit_chain(self, set_: int, number: int, writes: tuple[Write, ...]) -> None:
        self.on_commit(set_, number, writes)

    def wait(self, ticket: Ticket, timeout: float | None = None) -> int:
        """Wait until ``ticket`` has committed; its number. Raises what refused it."""
        if not self._wait(lambda: ticket.done, timeout):
            raise NotSettling(f"a chain of set {ticket.set} has not committed after {timeout} s: "
                              "are the links up?")
        if ticket.state is State.FAILED:
            assert ticket.error is not None
            raise ticket.error
        return ticket.number

    def write(self, writes: Iterable[Write], timeout: float | None = None) -> int:
        """Commit one chain; its number within its set."""
        return self.wait(self.submit(writes), timeout)

    def flush(self, sets: Iterable[int] | None = None, timeout: float | None = None) -> None:
        """Wait until every submitted chain (of ``sets``) has committed at the source."""
        which = range(self.geometry.sets) if sets is None else list(sets)
        if not self._wait(lambda: not any(self._book.queues[s].outstanding for s in which),
                          timeout):
            raise NotSettling(f"{self._book.outstanding} chains have not committed after "
                              f"{timeout} s: are the links up?")

    def run_dry(self, timeout: float | None = None) -> bool:
        """Wait until every submitted chain has committed or waits for a reconnect; False if
        that took longer than ``timeout`` seconds."""
        return self._wait(lambda: self._book.stalled, timeout)

    @property
    def outstanding(self) -> int:
        """Chains submitted and not yet committed."""
        return self._book.outstanding

    @property
    def refusals(self) -> dict[str, int]:
        """How many chains were refused, by code; each of them has been, or will be, retried."""
        return dict(self._book.refusals)

    def committed(self, set_: int) -> int:
        """Chains of ``set_`` that this client knows to be committed at the source."""
        return self._book.queues[set_].committed

    # -- destaging and sets ----------------------------------------------------------------

    def destage(self, sets: Iterable[int] | None = None) -> None:
        """Ask for everything unsent of ``sets`` (all by default) to be sent now."""
        which = range(self.geometry.sets) if sets is None else list(sets)
        for set_ in which:
            self._check_set(set_)
        self.set_reg("destage", sum(1 << s for s in which))

    def wait_settled(self, sets: Iterable[int] | None = None,
                     stalled: float = SETTLE_SECONDS,
                     progress: Callable[[int], None] = lambda _: None) -> None:
        """Commit everything submitted, destage ``sets`` and wait until the target has it all.

        Raises NotSettling when nothing has moved for ``stalled`` seconds. ``progress`` is called
        with the chains that the target is still behind.
        """
        which = list(range(self.geometry.sets) if sets is None else sets)
        self.flush(which, stalled)
        self.destage(which)
        last: list[tuple[int, int, int]] = []
        moved = self.transport.now()
        while True:
            pages = self.pages(which)
            progress(sum(page.chains - page.acked for page in pages))
            if all(page.settled for page in pages):
                return
            state = [(page.unsent, page.in_flight, page.acked) for page in pages]
            if state != last:
                last, moved = state, self.transport.now()
            if self.transport.now() - moved > stalled:
                behind = [page.set for page in pages if not page.settled]
                raise NotSettling(f"sets {behind} have made no progress towards the target for "
                                  f"{stalled:.0f} s: are the links up?")
            self.idle(IDLE_PAGE_POLL)

    def idle(self, seconds: float) -> None:
        """Serve the line for a while."""
        self._wait(lambda: False, seconds)

    def assign(self, volume: int, set_: int, timeout: float = SETTLE_SECONDS) -> None:
        """Move ``volume`` to consistency set ``set_``.

        Its old set is drained first: the order between its chains and those of the new set
        would be lost otherwise, so the board refuses with SET_BUSY until nothing is pending.
        """
        self.check_place(volume, 0)
        self._check_set(set_)
        if self.role != wire.Role.SOURCE:
            raise WrongRole(f"{self.name} is a target, and sets are chosen at the source: "
                            "give the other port")
        old = self.volume_set[volume]
        if old == set_:
            return
        self.flush({old, set_}, timeout)
        start = self.transport.now()
        while True:
            self.wait_settled([old], timeout)
            try:
                self.set_reg(wire.Reg.VOLUME_SET + volume, set_)
                break
            except BoardError as error:
                if error.code == wire.Code.SET_FULL:
                    raise UsageError(f"set {set_} already has {self.geometry.volumes_per_set} "
                                     "volumes: move one away first") from None
                if (error.code != wire.Code.SET_BUSY
                        or self.transport.now() - start > timeout):
                    raise
        self.volume_set[volume] = set_

    # -- reading ---------------------------------------------------------------------------

    def read(self, volume: int, track: int, count: int = 1) -> bytes:
        """``count`` consecutive tracks of one volume: their last committed versions."""
        self.check_place(volume, track)
        if count < 1 or track + count > self.geometry.tracks_per_volume:
            raise UsageError(f"{count} tracks from {volume}:{track}: the volume ends at track "
                             f"{self.geometry.tracks_per_volume - 1}")
        pieces = []
        for at in range(track, track + count, READ_TRACKS):
            pieces.append((volume, at, min(READ_TRACKS, track + count - at)))
        return b"".join(self._read_pieces(pieces, None, lambda _: None))

    def read_image(self, progress: Callable[[int], None] = lambda _: None,
                   attempts: int = 5) -> bytes:
        """All volumes, in order, as one image.

        On a target commits are held meanwhile, so that the image is the state between two
        chains; the hold is renewed with every request, and the image is read again should a
        commit have happened in spite of it. ``progress`` gets the bytes read so far.
        """
        geometry = self.geometry
        pieces = [(volume, track, min(READ_TRACKS, geometry.tracks_per_volume - track))
                  for volume in range(geometry.volumes)
                  for track in range(0, geometry.tracks_per_volume, READ_TRACKS)]
        if self.role != wire.Role.TARGET:
            return b"".join(self._read_pieces(pieces, None, progress))
        frame_bits = 10 * (geometry.track_bytes + 32)
        reads = READ_TRACKS * (READS_IN_FLIGHT + 1)
        clocks = HOLD_SLACK * reads * frame_bits * geometry.clock_hz // geometry.host_baud
        hold = min(MAX_HOLD, clocks // wire.SLOW_TICK + 2)
        for _ in range(attempts):
            try:
                self.set_reg("hold", hold)
                before = [page.chains for page in self.pages()]
                image = b"".join(self._read_pieces(pieces, hold, progress))
                if [page.chains for page in self.pages()] == before:
                    return image
            finally:
                self.set_reg("hold", 0)
            log.info("%s: a commit came in between: reading again", self.name)
        raise ProtocolError(f"{self.name} went on committing under a hold, {attempts} times")

    def _read_pieces(self, pieces: Sequence[tuple[int, int, int]], hold: int | None,
                     progress: Callable[[int], None]) -> list[bytes]:
        """Data of (volume, track, count) pieces, a few requests in flight, in order."""
        asked: list[_Request] = []
        data: list[bytes] = []
        size = 0
        for at, (volume, track, _) in enumerate(pieces):
            while len(asked) < min(at + READS_IN_FLIGHT, len(pieces)):
                if hold is not None:
                    self._ask(wire.Type.REG_WRITE, address=wire.Reg.HOLD, value=hold)
                next_volume, next_track, next_count = pieces[len(asked)]
                asked.append(self._ask(wire.Type.READ, next_count, volume=next_volume,
                                       track=next_track, count=next_count))
            for offset, frame in enumerate(self._complete(asked[at], f"read {volume}:{track}")):
                place = frame.fields["volume"], frame.fields["track"]
                if place != (volume, track + offset) \
                        or len(frame.payload) != self.geometry.track_bytes:
                    raise ProtocolError(f"{self.name} answered a read of {volume}:"
                                        f"{track + offset} with {place[0]}:{place[1]}")
                data.append(frame.payload)
                size += len(frame.payload)
            progress(size)
        return data

    # -- checks ----------------------------------------------------------------------------

    def check_place(self, volume: int, track: int) -> None:
        """Raise UsageError unless ``volume:track`` exists."""
        try:
            self.geometry.check(volume, track)
        except GeometryError as error:
            raise UsageError(f"{error} of this board: see `farside info`") from None

    def _check_set(self, set_: int) -> None:
        if not 0 <= set_ < self.geometry.sets:
            raise UsageError(f"set {set_} is outside 0..{self.geometry.sets - 1} of this board")

    def _check_link(self, number: int) -> None:
        if not 0 <= number < self.geometry.links:
            raise UsageError(
                f"link {number} is outside 0..{self.geometry.links - 1} of this board")


def _values(frame: wire.Frame) -> tuple[int, ...]:
    return tuple(int.from_bytes(frame.payload[i:i + 4], "little")
                 for i in range(0, len(frame.payload), 4))


def _register(name: str) -> wire.Register:
    try:
        return REGISTERS[name]
    except KeyError:
        raise UsageError(f"no register {name!r}: one of {', '.join(REGISTERS)}") from None


def _code_name(code: int) -> str:
    try:
        return wire.Code(code).name
    except ValueError:
        return f"code {code}"
