"""Source, links and target as one untimed machine that moves by explicit events.

Whatever real time would decide is an event that the caller picks: which frame arrives, is lost,
damaged or repeated, when a poll is due, when a time-out strikes, when a link is cut. So a test (or
Hypothesis) can try every interleaving, and a run is repeatable to the last bit.

    system = System(Geometry(...))
    system.write([(0, 1, data)])            # the host's side, at once
    for event in system.enabled_events():   # what could happen next
        ...
    system.step(event)                      # let it happen; the invariants are checked
    system.settle()                         # or: run until nothing is pending

Either side may be reset, with its memory kept (warm) or lost (cold), at any event: between two, or
in the middle of a chain's commit. The invariants then say that a set of the target is an exact
prefix of what the source of the life that it follows has committed, or says INCONSISTENT.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from . import wire
from .geometry import Geometry
from .history import History
from .hostport import Answer
from .link import Line, Link
from .mutations import Mutation
from .oracle import Verdict, judge
from .source import SEQUENCE_MASK, Outgoing, Source
from .target import Target
from .wire import Counter, LinkCounter, Reg, Type

Command = tuple[int, int, bytes]


class Kind(enum.Enum):
    """What an event is; the fields of :class:`Event` that it uses are in brackets."""

    CUT = "cut a group"                             # [set]
    DISPATCH = "hand a frame to a link"             # [set, link]
    ARRIVE = "a frame reaches the target"           # [link, place]
    ARRIVE_BACK = "a frame reaches the source"      # [link, place]
    COMMIT = "a chain becomes visible"              # [set]
    STATUS = "commit status goes out"               # [set]
    CONTROL = "the target is asked or told"         # [set]
    SCAN = "a resynchronisation looks at a track"   # [set]
    SESSION_UP = "a link comes up"                  # [link]
    SESSION_LOST = "a cut link is noticed"          # [link]
    POLL = "the background poll is due"             # [set]
    TIMEOUT = "no commit status for too long"       # [set]
    LOSE = "a frame is lost"                        # [link, place]
    LOSE_BACK = "a status frame is lost"            # [link, place]
    CORRUPT = "a frame is damaged"                  # [link, place]
    DUPLICATE = "a frame arrives twice"             # [link, place]
    LINK_CUT = "a link is cut"                      # [link]
    LINK_RESTORE = "a link is restored"             # [link]
    TARGET_WARM = "the target is reset"             # [set, place: in the middle of its commit]
    TARGET_COLD = "the target loses its memory"
    SOURCE_WARM = "the source is reset"
    SOURCE_COLD = "the source loses its memory"


PROGRESS = frozenset({Kind.CUT, Kind.DISPATCH, Kind.ARRIVE, Kind.ARRIVE_BACK, Kind.COMMIT,
                      Kind.STATUS, Kind.CONTROL, Kind.SCAN, Kind.SESSION_UP, Kind.SESSION_LOST})
RESTARTS = frozenset({Kind.TARGET_WARM, Kind.TARGET_COLD, Kind.SOURCE_WARM, Kind.SOURCE_COLD})
FAULTS = frozenset(Kind) - PROGRESS - RESTARTS
OF_SETS = frozenset({Kind.CUT, Kind.DISPATCH, Kind.COMMIT, Kind.STATUS, Kind.CONTROL, Kind.SCAN,
                     Kind.POLL, Kind.TIMEOUT})
HANDSHAKE = frozenset({Kind.CONTROL, Kind.ARRIVE, Kind.ARRIVE_BACK, Kind.STATUS})


class Event(NamedTuple):
    """One thing that can happen; ``place`` is a position among the frames in flight."""

    kind: Kind
    set: int = -1
    link: int = -1
    place: int = -1

    def __str__(self) -> str:
        parts = [f"{name} {value}" for name, value in
                 (("set", self.set), ("link", self.link), ("place", self.place)) if value >= 0]
        return f"{self.kind.value} ({', '.join(parts)})"


class InvariantError(AssertionError):
    """An invariant I1..I10 does not hold; the message names it, and the track or group."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class NotEnabled(ValueError):
    """The event cannot happen in this state."""


class System:
    """Both storage systems and the links between them.

    Parameters
    ----------
    geometry : Geometry
    mutations : collection of Mutation
        Rules left out on purpose, to see that the tests notice.
    checked : bool
        Check every invariant after every event (I1-I7 cost time in the order of all tracks).
    started : bool
        Let the two meet first: links have just come up, and the target follows the source.

    ``history`` records the truth: every chain as it commits at the source, every assignment,
    every acknowledgement. A source that loses its memory begins another one.
    """

    def __init__(self, geometry: Geometry, *, mutations: Collection[Mutation] = (),
                 checked: bool = True, started: bool = True) -> None:
        self.geometry = geometry
        self.mutations = frozenset(mutations)
        self.checked = checked
        self.history = History(geometry)
        self.source = Source(geometry, mutations=mutations, on_commit=self._source_committed)
        self.source.on_assign = self._assigned
        self.source.new_sessions = self._source_begins_anew     # type: ignore[method-assign]
        self.target = Target(geometry, mutations=mutations, on_commit=self._target_committed)
        self.target.new_sessions = self._target_begins_anew     # type: ignore[method-assign]
        self.target.on_prefix = self._becomes_prefix            # type: ignore[method-assign]
        self.links = [Link(geometry.window) for _ in range(geometry.links)]
        self.commit_listeners: list[Callable[[int, int], None]] = []
        self.events = 0
        self._truth = [bytes(geometry.track_bytes)] * geometry.tracks
        self._mirror = list(self._truth)        # what the target ought to show
        self._mirrored = [0] * geometry.sets    # chains of each set that it ought to show
        self._histories = {self.source.life: self.history}
        self._followed = 0                      # life that the target follows
        self._assignment = list(self.history.assignment)    # as in that life
        self._waiting: dict[int, int] = {}      # volume to the track it waits for, at last check
        self._next_tag = 0
        self.source.link_came_up()
        self.target.say_status()
        if started:
            while events := self.enabled_events(HANDSHAKE):
                self._happen(events[0])

    # -- bookkeeping of the truth ------------------------------------------------------------

    def _source_committed(self, set_: int, number: int, writes: list[Command]) -> None:
        self.history.commit(set_, writes, number=number)
        for volume, track, data in writes:
            self._truth[self.geometry.linear(volume, track)] = data

    def _assigned(self, volume: int, set_: int) -> None:
        self.history.assign(volume, set_)
        if self._followed == self.source.life:
            self._assignment[volume] = set_

    def _target_committed(self, set_: int, number: int) -> None:
        history = self._histories[self._followed]
        if not self.target.pages[set_].inconsistent:
            for chain in history.chains(set_, self._mirrored[set_] + 1, number):
                for write in chain.writes:
                    self._mirror[self.geometry.linear(write.volume, write.track)] = write.data
        self._mirrored[set_] = number
        for listener in self.commit_listeners:
            listener(set_, number)

    def _becomes_prefix(self, set_: int) -> None:
        """The target has taken BEGIN or RESYNCED: from now on it ought to show just that."""
        number = self.target.pages[set_].chains
        history = self._histories[self.target.life]
        image = history.image({set_: number})
        g = self.geometry
        for volume, own in enumerate(self._assignment):
            if own != set_:
                continue
            for track in range(g.tracks_per_volume):
                at = g.linear(volume, track)
                self._mirror[at] = image[at * g.track_bytes:(at + 1) * g.track_bytes]
        self._mirrored[set_] = number

    def target_history(self) -> History:
        """Of the life of the source that the target follows."""
        return self._histories[self._followed or self.source.life]

    def target_verdict(self) -> Verdict:
        """Judge the target, set by set, by the history of the source that it follows. Sets that
        say INCONSISTENT, or that have not begun in its life, are left out."""
        verdict = judge(self.target_history(), self.target.image(), {})
        return Verdict(tuple(
            v for v in verdict.sets if self.target.pages[v.set].following
            and not self.target.pages[v.set].inconsistent))

    def _source_begins_anew(self) -> None:
        for link in self.links:
            link.end_source()

    def _target_begins_anew(self) -> None:
        for link in self.links:
            link.end_target()

    # -- the host ----------------------------------------------------------------------------

    def submit(self, commands: Sequence[Command], *, resume: bool = False,
               tag: int | None = None) -> int:
        """Send a CHAIN and its WRITE frames; the tag under which the answer will come."""
        if tag is None:
            tag = self._next_tag = (self._next_tag + 1) & 0xFFFF
        payload = b"".join(bytes([v]) + t.to_bytes(2, "little") for v, t, _ in commands)
        self.source.host(Type.CHAIN, payload, tag=tag, count=len(commands) & 0xFF,
                         flags=int(resume))
        for index, (_, _, data) in enumerate(commands):
            self.source.host(Type.WRITE, data, tag=tag, index=index & 0xFF)
        self._after()
        return tag

    def write(self, commands: Sequence[Command], *, resume: bool = False) -> Answer:
        """Submit a chain and return its CHAIN_STATUS; other answers stay where they are."""
        tag = self.submit(commands, resume=resume)
        for answer in self.source.answers:
            if answer.type is Type.CHAIN_STATUS and answer.fields["tag"] == tag:
                self.source.answers.remove(answer)
                return answer
        raise AssertionError(f"chain {tag} was not answered")

    def assign(self, volume: int, set_: int) -> wire.Code:
        """Write the volume to set map."""
        code = self.source.write_register(Reg.VOLUME_SET + volume, set_)
        self._after()
        return code

    def poll(self, set_: int) -> None:
        """The background poll of a set is due."""
        self.step(Event(Kind.POLL, set=set_))

    def destage(self, set_: int) -> None:
        """The host asks for a destage."""
        self.source.request_destage(set_)

    def hold(self, held: bool) -> None:
        """Hold the target's commits at the next chain boundary, or let go."""
        self.target.write_register(Reg.HOLD, int(held))

    # -- events ------------------------------------------------------------------------------

    def enabled_events(self, kinds: Collection[Kind] = PROGRESS) -> list[Event]:
        """Every event of the given kinds that can happen now, in a fixed order."""
        found: list[Event] = []
        g = self.geometry
        for kind in Kind:
            if kind not in kinds:
                continue
            for set_ in range(g.sets) if kind in OF_SETS else ():
                if kind is Kind.DISPATCH:
                    found += [Event(kind, set_, link) for link in self._dispatch_links(set_)]
                elif self._set_enabled(kind, set_):
                    found.append(Event(kind, set_))
            for number, link in enumerate(self.links) if kind not in OF_SETS else ():
                if self._link_enabled(kind, link):
                    found.append(Event(kind, link=number))
                line = self._line(kind, link)
                if line is None or not link.listening(line) or line.cut:
                    continue
                found += [Event(kind, link=number, place=place)
                          for place in range(len(line.flights))]
            if kind in RESTARTS:
                found.append(Event(kind))
            if kind is Kind.TARGET_WARM:
                found += [Event(kind, set_, place=swaps) for set_ in range(g.sets)
                          for swaps in range(self.target.next_chain_length(set_) + 1)
                          if self.target.can_commit(set_)]
        return found

    def _set_enabled(self, kind: Kind, set_: int) -> bool:
        if kind is Kind.CUT:
            return self.source.can_cut(set_)
        if kind is Kind.COMMIT:
            return self.target.can_commit(set_)
        if kind is Kind.STATUS:
            return (self.target.pages[set_].status_due
                    and self._home(set_, lambda link: link.to_source) is not None)
        if kind is Kind.CONTROL:
            return (bool(self.source.pages[set_].due)
                    and self._home(set_, lambda link: link.to_target) is not None)
        if kind is Kind.SCAN:
            return self.source.can_scan(set_)
        page = self.source.pages[set_]
        if kind is Kind.POLL:
            return page.unsent > 0 and not page.polled
        if kind is Kind.TIMEOUT:
            return page.in_flight > 0 and not page.undispatched
        return False

    def _link_enabled(self, kind: Kind, link: Link) -> bool:
        cut = link.to_target.cut or link.to_source.cut
        return ((kind is Kind.SESSION_LOST and link.broken)
                or (kind is Kind.SESSION_UP and not (link.source_up or link.target_up or cut))
                or (kind is Kind.LINK_CUT and not cut)
                or (kind is Kind.LINK_RESTORE and cut))

    def _line(self, kind: Kind, link: Link) -> Line | None:
        """The direction that a frame event is about."""
        if kind in (Kind.ARRIVE, Kind.LOSE, Kind.CORRUPT, Kind.DUPLICATE):
            return link.to_target
        if kind in (Kind.ARRIVE_BACK, Kind.LOSE_BACK):
            return link.to_source
        return None

    def _home(self, set_: int, line: Callable[[Link], Line]) -> int | None:
        """The set's own link, or the next one that is up and has room."""
        for offset in range(self.geometry.links):
            number = (set_ + offset) % self.geometry.links
            link = self.links[number]
            if link.sending(line(link)):
                return number if link.room(line(link)) else None
        return None

    def _dispatch_links(self, set_: int) -> list[int]:
        """Links that could take the set's next frame: any for a track, one for its packet."""
        type_ = self.source.dispatchable(set_)
        if type_ is None:
            return []
        if type_ is Type.ORDER:
            home = self._home(set_, lambda link: link.to_target)
            return [] if home is None else [home]
        return [n for n, link in enumerate(self.links) if link.room(link.to_target)]

    def step(self, event: Event) -> None:
        """Let one event happen; :class:`NotEnabled` if it cannot. Then check the invariants."""
        if event not in self.enabled_events({event.kind}):
            raise NotEnabled(f"{event} cannot happen now")
        self.let(event)

    def let(self, event: Event) -> None:
        """As :meth:`step`, for an event that is known to be enabled."""
        self._happen(event)
        self._after()

    def _after(self) -> None:
        self.events += 1
        self.source.clock += 1
        if self.checked:
            self.check()

    def _happen(self, event: Event) -> None:
        kind, set_ = event.kind, event.set
        if kind is Kind.CUT:
            self.source.cut(set_)
        elif kind is Kind.DISPATCH:
            link = self.links[event.link]
            link.send(link.to_target, self.source.next_frame(set_))
            self._count(event.link, source=LinkCounter.FRAMES_SENT)
        elif kind is Kind.COMMIT:
            self.target.commit_chain(set_)
        elif kind is Kind.STATUS:
            self._send_status(set_)
        elif kind is Kind.CONTROL:
            self._send_control(set_)
        elif kind is Kind.SCAN:
            self.source.scan_next(set_)
            self.history.advance(set_, self.source.pages[set_].chains)
        elif kind in (Kind.TARGET_WARM, Kind.TARGET_COLD):
            if set_ >= 0:
                self.target.begin_commit(set_, event.place)
            self.restart_target(warm=kind is Kind.TARGET_WARM)
        elif kind in (Kind.SOURCE_WARM, Kind.SOURCE_COLD):
            self.restart_source(warm=kind is Kind.SOURCE_WARM)
        elif kind is Kind.POLL:
            self.source.poll(set_)
        elif kind is Kind.TIMEOUT:
            self.source.rewind(set_)
        else:
            self._happen_on_link(event)

    def _happen_on_link(self, event: Event) -> None:
        kind, number, place = event.kind, event.link, event.place
        link = self.links[number]
        if kind is Kind.ARRIVE:
            link.arrive(link.to_target, place, self._to_target)
            self._count(number, target=LinkCounter.FRAMES_RECEIVED)
        elif kind is Kind.ARRIVE_BACK:
            link.arrive(link.to_source, place, self._to_source)
            self._count(number, source=LinkCounter.FRAMES_RECEIVED)
        elif kind is Kind.LOSE:
            link.lose(link.to_target, place)
            self._count(number, source=LinkCounter.RESENDS)
        elif kind is Kind.LOSE_BACK:
            link.lose(link.to_source, place)
            self._count(number, target=LinkCounter.RESENDS)
        elif kind is Kind.CORRUPT:
            self._corrupt(number, place)
        elif kind is Kind.DUPLICATE:
            flight = link.to_target.flights[place]
            self._to_target(flight.frame, flight.frame.fetch())
        elif kind is Kind.SESSION_LOST:
            link.down()
            self.source.link_went_down()
            self.target.say_status()
        elif kind is Kind.SESSION_UP:
            link.establish()
            self.source.link_came_up()
            self.target.say_status()
            self._count(number, source=LinkCounter.SESSIONS, target=LinkCounter.SESSIONS)
        elif kind is Kind.LINK_CUT:
            self.cut_link(number)
        elif kind is Kind.LINK_RESTORE:
            self.restore_link(number)

    def _count(self, link: int, source: LinkCounter | None = None,
               target: LinkCounter | None = None) -> None:
        if source is not None:
            self.source.link_counters[link][source] += 1
        if target is not None:
            self.target.link_counters[link][target] += 1

    def _send_status(self, set_: int) -> None:
        number = self._home(set_, lambda link: link.to_source)
        assert number is not None
        link = self.links[number]
        fields = self.target.take_status(set_)
        link.send(link.to_source, Outgoing(Type.STATUS, fields, bytes))
        self._count(number, target=LinkCounter.FRAMES_SENT)

    def _send_control(self, set_: int) -> None:
        number = self._home(set_, lambda link: link.to_target)
        frame = self.source.next_control(set_)
        assert number is not None
        assert frame is not None
        self.links[number].send(self.links[number].to_target, frame)
        self._count(number, source=LinkCounter.FRAMES_SENT)

    def _corrupt(self, number: int, place: int) -> None:
        """A bit of the frame's payload flips on the way. Its CRC tells, unless nobody looks."""
        link = self.links[number]
        flight = link.to_target.flights[place]
        self._count(number, target=LinkCounter.BAD_FRAMES)
        if Mutation.CRC_NOT_CHECKED not in self.mutations:
            link.lose(link.to_target, place)
            self._count(number, source=LinkCounter.RESENDS)
            return
        payload = bytearray(flight.frame.fetch() or b"\0")      # nothing to damage: the padding
        payload[self.events % len(payload)] ^= 1 << self.events % 7
        link.to_target.flights.remove(flight)
        if not flight.heard:
            self._to_target(flight.frame, bytes(payload))

    def _to_target(self, frame: Outgoing, payload: bytes) -> None:
        self.target.receive(frame.type, frame.fields, payload)
        if self.target.life != self._followed:
            self._followed = self.target.life
            self._assignment = [v.set for v in self.source.volumes]

    def _to_source(self, frame: Outgoing, payload: bytes) -> None:
        fields = frame.fields
        if self.source.status(*(fields[f] for f in ("set", "epoch", "gseq", "flags", "life"))):
            self.history.acknowledge(fields["set"], self.source.pages[fields["set"]].acked)

    # -- faults by name ----------------------------------------------------------------------

    def cut_link(self, number: int, *, to_target: bool = True, to_source: bool = True) -> None:
        """Cut one or both directions. Frames that are in flight that way no longer arrive; that
        the session is lost is an event of its own."""
        link = self.links[number]
        link.to_target.cut |= to_target
        link.to_source.cut |= to_source

    def restore_link(self, number: int) -> None:
        """Mend both directions; a lost session comes up again by an event."""
        link = self.links[number]
        link.to_target.cut = link.to_source.cut = False

    def restart_target(self, *, warm: bool) -> None:
        """Reset the target; its memory is kept or lost."""
        self.target.restart(warm=warm)
        self._target_begins_anew()
        if not warm:
            self._followed = 0
            self._mirror = [bytes(self.geometry.track_bytes)] * self.geometry.tracks
            self._mirrored = [0] * self.geometry.sets

    def restart_source(self, *, warm: bool) -> None:
        """Reset the source; its memory is kept or lost. Another life begins."""
        self._source_begins_anew()      # first: what is under way keeps what it was sent with
        life = self.source.life % 0xFFFF + 1
        self.source.restart(life, warm=warm)
        self._waiting.clear()
        if not warm:
            self.history = History(self.geometry)
            self._truth = [bytes(self.geometry.track_bytes)] * self.geometry.tracks
        self._histories[life] = self.history

    def write_and_reset(self, commands: Sequence[Command], swaps: int) -> None:
        """Write a chain, and reset the source (memory kept) after ``swaps`` of its commit's
        swaps. The chain must be one that is accepted."""
        self.source.reset_after = swaps
        self.source.host(Type.CHAIN, b"".join(wire.entry(v, t) for v, t, _ in commands),
                         tag=0, count=len(commands), flags=1)
        for index, (_, _, data) in enumerate(commands):
            self.source.host(Type.WRITE, data, tag=0, index=index)
        assert self.source.committing is not None, "the chain was refused"
        self.restart_source(warm=True)
        self._after()

    # -- running -----------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether the source has anything that is not known to be committed at the target."""
        return any(page.pending or page.resync or not page.running for page in self.source.pages)

    def run(self, *, choose: random.Random | None = None, limit: int = 1_000_000,
            until: Callable[[], bool] = lambda: False) -> bool:
        """Let progress events happen until none is left (returns False) or ``until()`` is true
        (returns True). ``choose`` picks among them; without it, the first is taken."""
        for _ in range(limit):
            if until():
                return True
            events = self.enabled_events()
            if not events:
                return until()
            self._happen(events[0] if choose is None else choose.choice(events))
            self._after()
        raise InvariantError("I9", f"no end after {limit} events: "
                                   f"{[str(e) for e in self.enabled_events()][:4]}")

    def settle(self, *, choose: random.Random | None = None, limit: int = 1_000_000) -> None:
        """Destage every set and run until nothing is pending. Requires one link that is not cut
        and commits that are not held; raises InvariantError (I9) if progress stops."""
        self.run(choose=choose, limit=limit)        # a reset may not have been noticed yet
        while self.pending:
            for set_ in range(self.geometry.sets):
                self.source.request_destage(set_)
            before = self._progress()
            self.run(choose=choose, limit=limit)
            if self.pending and before == self._progress():
                raise InvariantError("I9", f"sets {self._stuck()} are pending and nothing moves")

    def _progress(self) -> tuple[object, ...]:
        pages = self.source.pages
        return tuple((p.unsent, p.next, p.sent, p.done, p.running, p.scan, p.mark, p.resync)
                     for p in pages)

    def _stuck(self) -> list[int]:
        return [s for s, page in enumerate(self.source.pages)
                if page.pending or page.resync or not page.running]

    # -- invariants --------------------------------------------------------------------------

    def check(self) -> None:
        """Raise :class:`InvariantError` for the first invariant that does not hold.

        I1-I7 are looked at here; I8 and I9 show in :meth:`settle`, I10 in the counts of
        ``source.walk_steps``.
        """
        in_list = self._check_order_lists()
        self._check_table(in_list)
        self._check_slots()
        self._check_target()

    def _place(self, index: int) -> str:
        volume, track = self.geometry.place(index)
        return f"track {volume}:{track}"

    def _check_order_lists(self) -> dict[int, int]:
        """Walk every list. Each track may be met once only (I3); maps track index to set."""
        in_list: dict[int, int] = {}

        def walk(set_: int, at: int, count: int, what: str) -> None:
            for _ in range(count):
                if at in in_list:
                    raise InvariantError("I3", f"{self._place(at)} is twice in an order list "
                                               f"(set {set_}, {what})")
                in_list[at] = set_
                at = self.source.links[at].next
                if self.source.geometry.place(at)[0] >= self.geometry.volumes:
                    return

        for set_, page in enumerate(self.source.pages):
            for group in page.groups.values():
                walk(set_, group.head, group.count, f"group {group.gseq}")
                at = group.head
                for _ in range(group.count):
                    if not self.source.tracks[at].packet:
                        raise InvariantError("I3", f"{self._place(at)} is in group {group.gseq} "
                                                   f"of set {set_} but not packet pending")
                    at = self.source.links[at].next
            walk(set_, page.first, page.unsent, "unsent")
            distance = (page.sent - page.done) & SEQUENCE_MASK
            if distance > page.in_flight:
                raise InvariantError("I6", f"set {set_}: group {page.sent} sent, but only "
                                           f"{page.done} done and {page.next} next")
        return in_list

    def _check_table(self, in_list: Mapping[int, int]) -> None:
        waiting: dict[int, int] = {}
        for index, state in self.source.tracks.items():
            volume, track = self.geometry.place(index)
            if state.packet and not state.pending:
                raise InvariantError("I4", f"{self._place(index)} is packet pending only")
            if state.pending != (index in in_list):
                raise InvariantError("I1", f"{self._place(index)} pending is {state.pending}, in "
                                           f"an order list is {index in in_list}")
            if index in in_list and self.source.volumes[volume].set != in_list[index]:
                raise InvariantError("I3", f"{self._place(index)} is in the list of set "
                                           f"{in_list[index]}, not of its own")
            truth = self._truth[self.geometry.linear(volume, track)]
            if self.source.slots[state.slot] != truth:
                raise InvariantError("I1" if state.pending else "I2",
                                     f"{self._place(index)} does not hold what was committed")
            if state.waiter:
                waiting[volume] = index
                if not state.pending:
                    raise InvariantError("I9", f"{self._place(index)} has a waiter but is clear")
        for volume, entry in enumerate(self.source.volumes):
            if entry.disconnected != (volume in waiting):
                raise InvariantError("I9", f"volume {volume} disconnected is "
                                           f"{entry.disconnected}, but a track waiting is "
                                           f"{volume in waiting}")
        for volume, index in self._waiting.items():
            if volume not in waiting and self.source.tracks[index].pending:
                raise InvariantError("I1", f"volume {volume} reconnected, but "
                                           f"{self._place(index)} is still pending")
        self._waiting = waiting

    def _check_slots(self) -> None:
        source, target = self.source, self.target
        used = [s.slot for s in source.tracks.values()] + list(source.free)
        if source.open is not None:
            used += source.open.slots
        if sorted(used) != list(range(self.geometry.source_slots)):
            raise InvariantError("I1", "a source slot is lost or in two places")
        staged = [s.staged for s in target.tracks.values() if s.staged is not None]
        used = [s.slot for s in target.tracks.values()] + list(target.free) + staged
        if sorted(used) != list(range(self.geometry.target_slots)):
            raise InvariantError("I6", "a target slot is lost or in two places")
        if len(staged) > self.geometry.staging_slots:
            raise InvariantError("I6", f"{len(staged)} tracks staged, more than were reserved")
        reserved = sum(g.count for p in source.pages for g in p.groups.values())
        if reserved + source.credit != self.geometry.staging_slots or source.credit < 0:
            raise InvariantError("I6", f"{reserved} reserved and {source.credit} credit")

    def _check_target(self) -> None:
        for set_, page in enumerate(self.target.pages):
            mine = self.source.pages[set_]
            if not page.following or self.target.life != self.source.life:
                continue
            if page.chains > mine.chains:
                raise InvariantError("I7", f"set {set_} is newer at the target: {page.chains} "
                                           f"chains against {mine.chains}")
            if page.chains < mine.acked:
                raise InvariantError("I7", f"set {set_} is older at the target than it said")
            if mine.running and page.epoch != mine.epoch:
                raise InvariantError("I6", f"set {set_} has two epochs")
        torn = {s for s, page in enumerate(self.target.pages) if page.inconsistent}
        for volume, set_ in enumerate(self._assignment):
            if set_ in torn and not self.target.read_flags(volume):
                raise InvariantError("I7", f"volume {volume} is torn, and its reads do not say so")
        for index, state in self.target.tracks.items():
            volume, track = self.geometry.place(index)
            if self._assignment[volume] in torn:
                continue
            if self.target.slots[state.slot] != self._mirror[self.geometry.linear(volume, track)]:
                set_ = self._assignment[volume]
                raise InvariantError("I7", f"{self._place(index)} at the target is not what chain "
                                           f"{self.target.pages[set_].chains} of set {set_} left")

    # -- for comparison ----------------------------------------------------------------------

    def counters(self) -> dict[str, dict[str, int]]:
        """Counters of both sides by name."""
        return {side.role.name.lower(): {c.name.lower(): side.counters[c] for c in Counter}
                for side in (self.source, self.target)}
