"""The client library: one board behind one port.

    with Client.open("/dev/ttyUSB0") as board:
        board.write([(0, 17, data)])
        board.wait_settled()
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from firmware_model import wire
from firmware_model.geometry import GeometryError

from .chains import ChainBook, Holding, State, Ticket, Write
from .errors import BoardError, Inconsistent, NotSettling, ProtocolError, UsageError, WrongRole
from .registers import page_window, refused
from .session import HELLO_SECONDS, Request, Session, values_of
from .sharing import Share
from .stats import Disconnect, SetPage
from .transport import DEFAULT_BAUD, SerialTransport, Transport

log = logging.getLogger("farside.client")

SETTLE_SECONDS = 60.0   # without any progress; a resend after a time-out is far below it
FRAMES_AHEAD = 8        # frames on the line: 20 ms at 2 Mbaud, more than a USB adapter's pause, and
                        # not much is sent in vain when a chain is refused
READ_TRACKS = 16        # tracks of one READ: short enough to keep a hold short
READS_IN_FLIGHT = 2     # the next request waits at the board when the last answer leaves
HOLD_SLACK = 8          # a hold lasts this many times what the reads under it should take
MAX_HOLD = 0xFFFF
PAGE_POLL_SECONDS = 0.005


@dataclass(eq=False)
class Recovery:
    """Finds out what has become of the chains in flight when a session was lost.

    First the pages of their sets say how many have committed; then the tracks that those wrote
    are read back, since the chains may have been another program's.
    """

    pages: dict[int, Request]
    held: dict[int, Holding] = field(default_factory=dict)
    reads: dict[tuple[int, int], Request] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Everything asked so far has been answered."""
        return all(request.done for request in (*self.pages.values(), *self.reads.values()))

    def look(self, name: str, renumbered: Container[int]) -> dict[int, Holding]:
        """What the board holds of each set; ``renumbered``: any of its chains may be a
        resynchronisation's."""
        held = {set_: _holding(name, set_, request) for set_, request in self.pages.items()}
        return {set_: Holding(one.chains, one.chains) if set_ in renumbered else one
                for set_, one in held.items()}

    def contents(self, name: str) -> dict[tuple[int, int], bytes]:
        """What was read back."""
        for (volume, track), request in self.reads.items():
            if request.error:
                raise refused(name, f"read {volume}:{track}", request.error)
        return {place: request.got[0].payload for place, request in self.reads.items()}


def _holding(name: str, set_: int, request: Request) -> Holding:
    """What the answer to a question for a set's page says."""
    if request.error:
        raise refused(name, f"page of set {set_}", request.error)
    page = SetPage(set_, values_of(request.got[0]))
    return Holding(page.chains, page.scanned)


class Client(Session):
    """A source or target: chains, reads, consistency sets, links.

    Parameters, and what is raised, as for :class:`~host_tools.session.Session`.

    Attributes
    ----------
    volume_set : list of int
        Consistency set of each volume.
    on_commit : callable
        ``on_commit(set, number, writes)`` for every chain of this client, in commit order.
    on_reconnect : callable
        ``on_reconnect(disconnect)`` for every RECONNECT.
    describe : callable
        How far the program is, for others who look (see :meth:`share`).
    read_inconsistent : bool
        The last read met a set whose resynchronisation has not finished.
    disconnects : list of Disconnect
        Every disconnection that has ended, with its duration in clocks.
    """

    def __init__(self, transport: Transport, *, name: str = "board",
                 role: wire.Role | None = None, hello_timeout: float = HELLO_SECONDS) -> None:
        self.on_commit: Callable[[int, int, tuple[Write, ...]], None] = lambda *_: None
        self.on_reconnect: Callable[[Disconnect], None] = lambda _: None
        self.disconnects: list[Disconnect] = []
        self._book = ChainBook([], self._commit_chain)
        self.read_inconsistent = False
        self._shares: list[Share] = []
        self.describe: Callable[[], str] = lambda: ""
        self._recovery: Recovery | None = None
        self._gaps: list[tuple[int, int, Request]] = []     # set, last number, its page
        self._life_asked: Request | None = None
        self._renumbered: set[int] = set()      # sets that may have got chains in a former life
        self._open: tuple[Ticket, int] | None = None    # chain going out, its next command
        super().__init__(transport, name=name, role=role, hello_timeout=hello_timeout)
        try:
            self.volume_set = self.read_volume_sets()
            self._book = ChainBook(self._read_committed(), self._commit_chain)
            self._book.on_gap = self._ask_about_gap
        except BaseException:
            transport.close()
            raise

    @classmethod
    def open(cls, port: str, *, role: wire.Role | None = None,
             baud: int = DEFAULT_BAUD) -> Self:
        """Open ``port`` (device, pty or ``socket://``) and greet the board behind it."""
        return cls(SerialTransport(port, baud), name=port, role=role)

    def share(self, port: str, program: str, *, gives_way: bool = False) -> Share:
        """Let other programs look at the board while this one holds ``port``, until it closes."""
        share = Share(self, port, program, gives_way=gives_way)
        share.note = lambda: self.describe()
        self._shares.append(share)
        return share

    def close(self) -> None:
        for share in self._shares:
            share.close()
        super().close()

    @property
    def waiting(self) -> dict[int, float]:
        """Volumes whose reconnect is awaited, and since when on the transport's clock."""
        return self._book.waiting

    def _read_committed(self) -> list[int]:
        return [page.chains for page in self.pages()]

    # -- what the session asks -------------------------------------------------------------

    def fill_line(self, now: float) -> None:
        while self.peer.unsettled < FRAMES_AHEAD and self._send_chains(now):
            pass

    def take_frame(self, frame: wire.Frame, now: float) -> bool:
        fields = frame.fields
        if frame.type == wire.Type.CHAIN_STATUS:
            log.debug("%s: chain %d: %s", self.name, fields["tag"], fields)
            self._book.answered(fields["tag"], fields["code"], fields["detail"], now)
        elif frame.type == wire.Type.RECONNECT:
            notice = Disconnect(fields["volume"], fields["track"], fields["clocks"])
            self.disconnects.append(notice)
            self._book.reconnected(notice.volume)
            self.on_reconnect(notice)
        elif frame.type == wire.Type.ERROR and self._book.in_use(fields["tag"]):
            self._book.answered(fields["tag"], fields["code"], 0, now)
        else:
            return False
        return True

    def tag_in_use(self, tag: int) -> bool:
        return self._book.in_use(tag)

    def awaits_frames(self) -> bool:
        return self._book.frames_in_flight > 0

    def next_event(self) -> float | None:
        return self._book.next_event()

    def session_lost(self) -> None:
        self._open = None
        self._gaps.clear()
        self._life_asked = self.ask(wire.Type.REG_READ, address=wire.Reg.LIFE, count=1)
        unsure = self._book.session_lost()
        self._recovery = None
        if unsure:
            windows = [page_window(set_) for set_ in unsure]
            self._recovery = Recovery({set_: requests[0] for set_, requests in zip(
                unsure, self.ask_windows(windows), strict=True)})

    def answered_request(self) -> None:
        self._watch_life()
        self._judge_gaps()
        recovery = self._recovery
        if recovery is None or not recovery.done or self._life_asked is not None:
            return
        if not recovery.reads:
            recovery.held = recovery.look(self.name, self._renumbered)
            recovery.reads = {
                (volume, track): self.ask(wire.Type.READ, volume=volume, track=track, count=1)
                for volume, track in self._book.claims(recovery.held)}
            if recovery.reads:
                return
        self._recovery = None
        self._renumbered -= recovery.held.keys()
        self._book.recovered(recovery.held, recovery.contents(self.name))

    def _watch_life(self) -> None:
        """A source that was reset and kept its memory resynchronises everything, and may have done
        so before, in a life of which its pages say nothing."""
        request = self._life_asked
        if request is None or not request.done:
            return
        self._life_asked = None
        life = values_of(request.got[0])[0] if not request.error else self.life
        if life != self.life:
            self.life = life
            self._renumbered = set(range(self.geometry.sets))

    def _ask_about_gap(self, set_: int, last: int) -> None:
        """Chain numbers up to ``last`` were passed over: were they a resynchronisation's?"""
        (request,), = self.ask_windows([page_window(set_)])
        self._gaps.append((set_, last, request))

    def _judge_gaps(self) -> None:
        gaps, self._gaps = self._gaps, []
        for set_, last, request in gaps:
            if not request.done:
                self._gaps.append((set_, last, request))
            elif set_ in self._renumbered:
                self._renumbered.discard(set_)
            elif _holding(self.name, set_, request).scanned < last:
                raise ProtocolError(
                    f"{self.name}: chain numbers of set {set_} up to {last} are not this "
                    "program's: does another program write to this board, or was it reset?")

    # -- links -----------------------------------------------------------------------------

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
            self.wait_until(lambda: self._book.outstanding <= depth)
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
            tag = self.next_tag()
            flags = wire.Flag.RESUME if self._book.mark_sent(ticket, tag) else 0
            places = b"".join(wire.entry(volume, track) for volume, track, _ in ticket.writes)
            self.peer.send(wire.Type.CHAIN, places, tag=tag, flags=int(flags),
                            count=len(ticket.writes))
            self._open = ticket, 0
            return True
        ticket, index = self._open
        if ticket.state is not State.SENT:
            self._open = None
            return True
        self.peer.send(wire.Type.WRITE, ticket.writes[index][2], tag=ticket.tag, index=index)
        self._open = (ticket, index + 1) if index + 1 < len(ticket.writes) else None
        return True

    def _commit_chain(self, set_: int, number: int, writes: tuple[Write, ...]) -> None:
        self.on_commit(set_, number, writes)

    def wait(self, ticket: Ticket, timeout: float | None = None) -> int:
        """Wait until ``ticket`` has committed; its number. Raises what refused it."""
        if not self.wait_until(lambda: ticket.done and not self._gaps, timeout):
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
        if not self.wait_until(lambda: not self._gaps and not any(
                self._book.queues[s].outstanding for s in which), timeout):
            raise NotSettling(f"{self._book.outstanding} chains have not committed after "
                              f"{timeout} s: are the links up?")

    def run_dry(self, timeout: float | None = None) -> bool:
        """Wait until every submitted chain has committed or waits for a reconnect; False if
        that took longer than ``timeout`` seconds."""
        return self.wait_until(lambda: self._book.stalled, timeout)

    def finish(self) -> None:
        """Begin no further chain, and wait until the board has answered for all that were begun:
        from then on it commits nothing more of this client."""
        self._book.closed = True
        self.wait_until(lambda: not self._book.recovering and self._open is None
                        and not self._book.frames_in_flight)

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
            self.check_set(set_)
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
            self.idle(PAGE_POLL_SECONDS)

    def assign(self, volume: int, set_: int, timeout: float = SETTLE_SECONDS) -> None:
        """Move ``volume`` to consistency set ``set_``.

        Its old set is drained first: the order between its chains and those of the new set
        would be lost otherwise, so the board refuses with SET_BUSY until nothing is pending.
        """
        self.check_place(volume, 0)
        self.check_set(set_)
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
                   attempts: int = 5, force: bool = False) -> bytes:
        """All volumes, in order, as one image.

        On a target commits are held meanwhile, so that the image is the state between two
        chains; the hold is renewed with every request, and the image is read again should a
        commit have happened in spite of it. ``progress`` gets the bytes read so far.

        Raises Inconsistent, unless ``force``, while a set of a target is being resynchronised.
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
                before = self.pages()
                self._check_consistent(before, force)
                image = b"".join(self._read_pieces(pieces, hold, progress))
                after = self.pages()
                self._check_consistent(after, force)
                if [page.chains for page in before] == [page.chains for page in after]:
                    return image
            finally:
                self.set_reg("hold", 0)
            log.info("%s: a commit came in between: reading again", self.name)
        raise ProtocolError(f"{self.name} went on committing under a hold, {attempts} times")

    def _check_consistent(self, pages: Sequence[SetPage], force: bool) -> None:
        torn = [str(page.set) for page in pages if page.inconsistent]
        if torn and not force:
            raise Inconsistent(
                f"set {', '.join(torn)} of {self.name} is being resynchronised, and its image is "
                "no state of the source until that has finished: wait, or use --force to see it "
                "as it is")

    def _read_pieces(self, pieces: Sequence[tuple[int, int, int]], hold: int | None,
                     progress: Callable[[int], None]) -> list[bytes]:
        """Data of (volume, track, count) pieces, a few requests in flight, in order."""
        asked: list[Request] = []
        data: list[bytes] = []
        self.read_inconsistent = False
        size = 0
        for at, (volume, track, _) in enumerate(pieces):
            while len(asked) < min(at + READS_IN_FLIGHT, len(pieces)):
                if hold is not None:
                    self.ask(wire.Type.REG_WRITE, address=wire.Reg.HOLD, value=hold)
                next_volume, next_track, next_count = pieces[len(asked)]
                asked.append(self.ask(wire.Type.READ, next_count, volume=next_volume,
                                       track=next_track, count=next_count))
            for offset, frame in enumerate(self.complete(asked[at], f"read {volume}:{track}")):
                place = frame.fields["volume"], frame.fields["track"]
                if place != (volume, track + offset) \
                        or len(frame.payload) != self.geometry.track_bytes:
                    raise ProtocolError(f"{self.name} answered a read of {volume}:"
                                        f"{track + offset} with {place[0]}:{place[1]}")
                self.read_inconsistent |= bool(frame.fields["flags"]
                                               & wire.ReadFlag.INCONSISTENT)
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
