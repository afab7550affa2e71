"""Chains on their way to a source: pipelining, ordered retry, and recovery of a lost session.

No input or output happens here: :class:`ChainBook` is told what was answered and says which
chain to send next. The rules, each with its reason:

* Chains of one set are sent in the order they were submitted. Chains of different sets know
  nothing of each other.
* A chain that is refused with COLLISION, DISCONNECTED or FENCED leaves the set *fenced* at the
  board: everything behind it in the pipeline is refused too. So when a refusal arrives, nothing
  more of that set is sent until every chain in flight has been answered. The refused ones then go
  back to the front, in their order, and the oldest is sent with RESUME once its volume has
  reconnected. No chain can overtake another one.
* After a refusal the RECONNECT of the volume is awaited. A notice may be lost when a session
  restarts, hence also a slow retry.
* The first chain of every set in a session carries RESUME: the fence may stand from a session
  that is gone, and on a set without a fence RESUME does nothing.
* When a session is lost, the answers of the chains in flight may be lost with it. Chains of a
  set commit in order and at most the oldest can lift the fence, so those that did commit are the
  first ones of the set in flight, and the set's CHAINS words say how many. They count the chains
  of every program on the port, so what those chains wrote is read back before it is believed:
  each chain is committed exactly once, or the trespasser is reported.
* A resynchronisation takes chain numbers, too: those up to RESYNC_LOW, RESYNC_HIGH of the set may
  be its own. So numbers may jump that far. If a session is lost meanwhile, CHAINS only says how
  many chains in flight have committed at most, and what is read back says how many have.
"""

from __future__ import annotations

import collections
import enum
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from firmware_model import wire

from .errors import BoardError, FarsideError, ProtocolError

Write = tuple[int, int, bytes]
"""(volume, track, data) of one command."""

RETRY_SECONDS = 2.0     # far above any reconnect, so that it costs nothing on a healthy board
LONGEST_RETRY = 16.0    # it doubles up to this: links may stay cut for hours
FRAMES_IN_FLIGHT = 32   # of chains not yet answered; the line holds fewer (Client.FRAMES_AHEAD)

RETRIED = (wire.Code.COLLISION, wire.Code.DISCONNECTED, wire.Code.FENCED)


class State(enum.Enum):
    """Where a chain is."""

    WAITING = "waiting"
    SENT = "sent"
    COMMITTED = "committed"
    FAILED = "failed"


@dataclass(eq=False)
class Ticket:
    """One submitted chain.

    ``number`` is its number within its set, from 1, once ``state`` is COMMITTED; ``error`` says
    why once it is FAILED. ``refusals`` counts how often it had to be sent again.
    """

    writes: tuple[Write, ...]
    set: int
    state: State = State.WAITING
    number: int = 0
    refusals: int = 0
    error: FarsideError | None = None
    tag: int = -1
    stamp: dict[int, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.state in (State.COMMITTED, State.FAILED)

    @property
    def frames(self) -> int:
        return 1 + len(self.writes)


@dataclass(eq=False)
class SetQueue:
    """The chains of one set, oldest first: refused, then sent, then waiting."""

    set: int
    committed: int
    waiting: collections.deque[Ticket] = field(default_factory=collections.deque)
    sent: collections.deque[Ticket] = field(default_factory=collections.deque)
    refused: list[Ticket] = field(default_factory=list)
    resume: bool = True
    blocked: int | None = None          # volume whose RECONNECT is awaited
    retry_at: float = 0.0
    retry_after: float = RETRY_SECONDS

    @property
    def outstanding(self) -> int:
        return len(self.waiting) + len(self.sent) + len(self.refused)

    def settle(self) -> None:
        """Put refused chains back in front once nothing of the set is in flight."""
        if self.refused and not self.sent:
            self.waiting.extendleft(reversed(self.refused))
            self.refused.clear()
            self.resume = True


CommitHook = Callable[[int, int, tuple[Write, ...]], None]
Place = tuple[int, int]


@dataclass(frozen=True)
class Holding:
    """What the board says of a set: its ``chains``, of which those with numbers up to ``scanned``
    may be a resynchronisation's (0: none can). A source that has restarted does not know which."""

    chains: int
    scanned: int = 0


def _strangers(set_: int, last: int) -> None:
    raise ProtocolError(f"set {set_}: chain numbers up to {last} are not this program's: does "
                        "another program write to this board, or was it reset?")


class ChainBook:
    """All chains of one client.

    Parameters
    ----------
    committed : list of int
        For each set, chains committed so far.
    on_commit : callable
        ``on_commit(set, number, writes)``, called in commit order.

    Attributes
    ----------
    closed : bool
        Begin no further chain.
    on_gap : callable
        ``on_gap(set, last)``: numbers up to ``last`` were passed over. Raises ProtocolError, unless
        another is put here that finds out whether a resynchronisation took them.
    waiting : dict
        Volumes that are disconnected as far as is known here, and when that was noticed.
    """

    def __init__(self, committed: Iterable[int], on_commit: CommitHook) -> None:
        self.queues = [SetQueue(s, n) for s, n in enumerate(committed)]
        self.on_commit = on_commit
        self.on_gap: Callable[[int, int], None] = _strangers
        self.refusals: collections.Counter[str] = collections.Counter()
        self.recovering = False
        self.closed = False
        self.waiting: dict[int, float] = {}
        self._by_tag: dict[int, Ticket] = {}
        self._reconnects: collections.Counter[int] = collections.Counter()
        self._turn = 0

    @property
    def outstanding(self) -> int:
        """Chains neither committed nor failed."""
        return sum(q.outstanding for q in self.queues)

    @property
    def frames_in_flight(self) -> int:
        return sum(t.frames for t in self._by_tag.values())

    @property
    def stalled(self) -> bool:
        """Every chain that is left waits for a volume to reconnect."""
        return not self._by_tag and all(
            queue.blocked is not None for queue in self.queues if queue.outstanding)

    def add(self, ticket: Ticket) -> None:
        self.queues[ticket.set].waiting.append(ticket)

    # -- sending ---------------------------------------------------------------------------

    def next_chain(self, now: float) -> Ticket | None:
        """The next chain that may be sent, or None; sets take turns."""
        if self.recovering or self.closed:
            return None
        room = FRAMES_IN_FLIGHT - self.frames_in_flight
        for step in range(len(self.queues)):
            queue = self.queues[(self._turn + step) % len(self.queues)]
            if self._may_send(queue, now, room):
                self._turn = (queue.set + 1) % len(self.queues)
                return queue.waiting[0]
        return None

    def _may_send(self, queue: SetQueue, now: float, room: int) -> bool:
        if not queue.waiting or queue.refused:
            return False
        if self._by_tag and queue.waiting[0].frames > room:
            return False
        if queue.blocked is not None and now < queue.retry_at:
            return False
        if queue.resume and queue.sent:
            return False
        # A chain refused twice probably meets a hot track: send nothing behind it in vain.
        return not (queue.sent and queue.sent[0].refusals > 1)

    def mark_sent(self, ticket: Ticket, tag: int) -> bool:
        """``ticket`` goes out under ``tag``; True if it must carry RESUME."""
        queue = self.queues[ticket.set]
        assert queue.waiting[0] is ticket
        queue.waiting.popleft()
        queue.sent.append(ticket)
        ticket.state = State.SENT
        ticket.tag = tag
        ticket.stamp = {volume: self._reconnects[volume] for volume, _, _ in ticket.writes}
        self._by_tag[tag] = ticket
        resume, queue.resume, queue.blocked = queue.resume, False, None
        return resume

    def in_use(self, tag: int) -> bool:
        return tag in self._by_tag

    def next_event(self) -> float | None:
        """When a slow retry is due, if one is."""
        times = [q.retry_at for q in self.queues if q.blocked is not None and q.waiting]
        return min(times, default=None)

    # -- answers ---------------------------------------------------------------------------

    def answered(self, tag: int, code: int, detail: int, now: float) -> None:
        """CHAIN_STATUS arrived."""
        ticket = self._by_tag.get(tag)
        if ticket is None:
            return      # a session ended meanwhile, and the chain was accounted for otherwise
        queue = self.queues[ticket.set]
        if code == wire.Code.OK:
            self._committed(queue, ticket, detail)
            return
        del self._by_tag[tag]
        queue.sent.remove(ticket)
        self.refusals[_name(code)] += 1
        if code in RETRIED:
            self._refused(queue, ticket, code, detail >> 8 & 0xFF, now)
        else:
            ticket.error = BoardError(
                f"chain refused: {_name(code)} at command {detail & 0xFF}, "
                f"volume {detail >> 8 & 0xFF}, track {detail >> 16}", code)
            ticket.state = State.FAILED
        queue.settle()

    def _committed(self, queue: SetQueue, ticket: Ticket, number: int) -> None:
        if queue.refused or queue.sent[0] is not ticket:
            raise ProtocolError(f"set {queue.set}: chain {number} committed out of turn")
        if number <= queue.committed:
            raise ProtocolError(
                f"set {queue.set}: chain number {number} after {queue.committed}: "
                "does another program write to this board, or was it reset?")
        if number != queue.committed + 1:
            self.on_gap(queue.set, number - 1)
            queue.committed = number - 1
        queue.sent.popleft()
        del self._by_tag[ticket.tag]
        self._finish(queue, ticket)

    def _finish(self, queue: SetQueue, ticket: Ticket) -> None:
        queue.committed += 1
        for volume, _, _ in ticket.writes:
            self.waiting.pop(volume, None)
        queue.retry_after = RETRY_SECONDS
        ticket.number = queue.committed
        ticket.state = State.COMMITTED
        self.on_commit(queue.set, ticket.number, ticket.writes)

    def _refused(self, queue: SetQueue, ticket: Ticket, code: int, volume: int,
                 now: float) -> None:
        ticket.refusals += 1
        ticket.state = State.WAITING
        queue.refused.append(ticket)
        if code == wire.Code.FENCED:
            return
        if self._reconnects[volume] == ticket.stamp.get(volume, 0):
            queue.blocked = volume
            self.waiting.setdefault(volume, now)
            queue.retry_at = now + queue.retry_after
            queue.retry_after = min(2 * queue.retry_after, LONGEST_RETRY)
        # else the volume has reconnected since the chain was sent: the notice overtook the answer

    def reconnected(self, volume: int) -> None:
        """RECONNECT arrived."""
        self._reconnects[volume] += 1
        self.waiting.pop(volume, None)
        for queue in self.queues:
            if queue.blocked == volume:
                queue.blocked = None

    # -- lost sessions ---------------------------------------------------------------------

    def session_lost(self) -> list[int]:
        """The line has started again; sets whose CHAINS words must be read before going on."""
        for queue in self.queues:
            queue.resume = True
            queue.blocked = None
        unsure = [q.set for q in self.queues if q.sent]
        self.recovering = bool(unsure)
        return unsure

    def _most(self, queue: SetQueue, held: Holding) -> int:
        """How many of the chains in flight have committed at most; if no resynchronisation
        can have taken numbers, exactly."""
        news = held.chains - queue.committed
        scanned = held.scanned > queue.committed
        most = min(news, 0 if queue.refused else len(queue.sent))
        if news < 0 or (news > most and not scanned):
            raise ProtocolError(
                f"set {queue.set}: the board holds {held.chains} chains, expected between "
                f"{queue.committed} and {queue.committed + len(queue.sent)}: was it reset, or "
                "does another program write to it?")
        return most

    def claims(self, held: dict[int, Holding]) -> dict[Place, bytes]:
        """What (volume, track) must hold if as many as possible of the chains in flight have
        committed and are this client's: :meth:`recovered` wants to know what these hold."""
        claimed: dict[Place, bytes] = {}
        for set_, holding in held.items():
            queue = self.queues[set_]
            claimed |= _newest(queue, self._most(queue, holding))
        return claimed

    def recovered(self, held: dict[int, Holding], contents: dict[Place, bytes]) -> None:
        """``held`` has, for each set named by :meth:`session_lost`, what the board committed;
        ``contents`` what it has where :meth:`claims` said.

        Chains whose numbers are not known for certain get the newest ones possible.
        """
        for set_, holding in held.items():
            queue = self.queues[set_]
            count = self._count(queue, holding, contents)
            queue.committed = holding.chains - count
            for _ in range(count):
                self._finish(queue, queue.sent.popleft())
            for ticket in queue.sent:
                ticket.state = State.WAITING
            queue.refused.extend(queue.sent)
            queue.sent.clear()
            queue.settle()
            queue.resume = True
        self._by_tag.clear()
        self.recovering = False

    def _count(self, queue: SetQueue, held: Holding, contents: dict[Place, bytes]) -> int:
        """How many of the chains in flight have committed."""
        most = self._most(queue, held)
        for count in range(most, -1, -1):
            newest = _newest(queue, count)
            wrong = [place for place, data in newest.items() if contents[place] != data]
            if not wrong:
                return count
            if held.scanned <= queue.committed:
                volume, track = wrong[0]
                raise ProtocolError(
                    f"a chain was committed while the session was lost, and {volume}:{track} "
                    "does not hold what was written here: does another program write to this "
                    "board?")
        raise AssertionError("no chain at all claims nothing")


def _newest(queue: SetQueue, count: int) -> dict[Place, bytes]:
    """What the first ``count`` chains in flight leave in the tracks they write."""
    return {(volume, track): data for ticket in itertools.islice(queue.sent, count)
            for volume, track, data in ticket.writes}


def _name(code: int) -> str:
    try:
        return wire.Code(code).name
    except ValueError:
        return f"code {code}"
