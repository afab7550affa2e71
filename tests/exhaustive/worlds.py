"""Every small program, with every fault at every event, on the reference model.

A *program* is up to three chains; each writes some of the three tracks of one of two sets, over two
links. A *schedule* says, from the state alone, what happens next. For each program and schedule the
undisturbed run is the trunk; before each of its events every fault that could strike there strikes:
a frame lost, damaged or repeated, a link cut, a time-out, a reset of either side with its memory
kept or lost, between events or in the middle of a commit. The schedule then goes on; at the end all
links are mended, and both sides must become the same. The invariants are checked after every event.

What is left out, and why that is sound:

* *States seen before.* A schedule depends on the state alone, so a run that comes to a state which
  an earlier run of the same program and schedule has left behind would end as that one did. States
  are compared by everything that decides what happens: :func:`key`.
* *Programs that are the same but for names.* Renaming the tracks of a volume, or the two sets
  together with their home links, renames whatever happens. (A resynchronisation scans tracks in the
  order of their numbers, and an arbitrary choice prefers the link with the smaller number: for
  these, one order stands for the others.)

Nothing is left out of :func:`interleavings`, which takes every event that can happen in every
state, for the smallest programs, with at most so many faults.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from firmware_model.geometry import Geometry
from firmware_model.hostport import Answer
from firmware_model.mutations import Mutation
from firmware_model.system import FAULTS, PROGRESS, RESTARTS, Event, InvariantError, Kind, System
from firmware_model.wire import Code

GEOMETRY = Geometry(volumes=2, tracks_per_volume=3, track_bytes=16, sets=2, links=2, chain_limit=3,
                    spare_slots=5, staging_slots=5, groups_in_flight=2, window=4,
                    volumes_per_set=1)
TRACKS = range(GEOMETRY.tracks_per_volume)
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(TRACKS, size)]

Chain = tuple[int, tuple[int, ...]]         # set (which is its volume), tracks
Program = tuple[Chain, ...]

STRIKES = frozenset(FAULTS - {Kind.POLL, Kind.LINK_RESTORE}) | RESTARTS
LIMIT = 2000            # events of one run: a multiple of the longest, so that a loop ends as one


def programs(chains: int) -> Iterator[Program]:
    """Programs of so many chains, one of each that differ in names only."""
    seen = set()
    for program in itertools.product(itertools.product((0, 1), SUBSETS), repeat=chains):
        name = canonical(program)
        if name not in seen:
            seen.add(name)
            yield program


def canonical(program: Program) -> Program:
    """The smallest of all renamings of a program."""
    renamings = list(itertools.permutations(TRACKS))
    return min(
        tuple((set_ ^ swap, tuple(sorted((second if set_ else first)[t] for t in tracks)))
              for set_, tracks in program)
        for swap in (0, 1) for first in renamings for second in renamings)


@dataclass
class World:
    """A system, and a host that writes a program into it, retrying what is refused."""

    program: Program
    system: System
    at: int = 0                     # chain that the host writes next
    faults: int = 0

    def fork(self) -> World:
        """An independent copy."""
        found: World = pickle.loads(pickle.dumps(self, pickle.HIGHEST_PROTOCOL))
        return found

    def can_write(self) -> bool:
        if self.at >= len(self.program):
            return False
        return not self.system.source.volumes[self.program[self.at][0]].disconnected

    def write(self) -> None:
        """The next chain, and a wish that it be sent. Refused: it stays the next."""
        volume, tracks = self.program[self.at]
        answer: Answer = self.system.write(
            [(volume, t, f"{self.at}.{t}".encode().ljust(16, b".")) for t in tracks], resume=True)
        self.system.destage(volume)
        if answer.code is Code.OK:
            self.at += 1
        self.system.source.take_answers()

    def moves(self) -> list[Event | None]:
        """What can happen without a fault; None is the host's next chain."""
        found: list[Event | None] = list(self.system.enabled_events(PROGRESS))
        if self.can_write():
            found.append(None)
        return found

    def go(self, move: Event | None) -> None:
        if move is None:
            self.write()
        else:
            self.system.let(move)
            self.system.source.take_answers()

    def strike(self, fault: Event) -> None:
        self.faults += 1
        self.system.let(fault)
        self.system.source.take_answers()

    def check_end(self) -> None:
        """Nothing can happen any more, nothing is cut: both sides are one."""
        system = self.system
        for number in range(GEOMETRY.links):
            system.restore_link(number)
        while system.pending or self.at < len(self.program) or system.enabled_events():
            before = key(self)
            system.settle(limit=LIMIT)
            if self.can_write():
                self.write()
            if before == key(self):
                raise InvariantError("I9", f"chain {self.at} is never taken")
        if system.source.image() != system.target.image():
            raise InvariantError("I7", "the two sides differ in the end")
        for mine, there in zip(system.source.pages, system.target.pages, strict=True):
            if not mine.chains == mine.acked == there.chains or there.inconsistent:
                raise InvariantError("I7", "the two sides count differently in the end")


def key(world: World) -> bytes:
    """All that decides what happens from here on, and whether it is right."""
    system = world.system
    source, target = system.source, system.target
    flights = [[[(f.frame.type, tuple(f.frame.fields.values()), f.frame.fetch(), f.heard)
                 for f in line.flights], line.cut]
               for link in system.links for line in (link.to_target, link.to_source)]
    return pickle.dumps((
        world.at, world.faults, flights,
        [(link.source_up, link.target_up) for link in system.links],
        [(t.pending, t.packet, t.waiter, source.slots[t.slot]) for t in source.tracks.values()],
        [(p.first, p.tail, p.unsent, p.next, p.sent, p.done, p.epoch, p.chains, p.acked, p.fence,
          p.destage, p.running, p.resync, p.used, p.mark, p.scan, sorted(p.due),
          [(g.gseq, g.head, g.count) for g in p.groups.values()]) for p in source.pages],
        [(link.next, link.end_of_chain) for link in source.links.values()],
        [None if w is None else (w.gseq, w.at, w.left) for w in source.walks],
        [v.disconnected for v in source.volumes], source.credit, source.life,
        [(target.slots[t.slot], None if t.staged is None else target.slots[t.staged])
         for t in target.tracks.values()],
        [(p.done, p.epoch, p.chains, p.part, int(p.flags), p.status_due, p.at, p.left, p.again,
          [(g.gseq, g.head, g.count, g.received) for g in p.groups.values()])
         for p in target.pages],
        [(link.next, link.end_of_chain) for link in target.links.values()],
        target.life, sorted(target.set_of.items())))


Schedule = Callable[[World, "list[Event | None]"], "Event | None"]


def one_by_one(world: World, moves: list[Event | None]) -> Event | None:
    """A chain is written when the one before has gone all the way."""
    return moves[0]


def all_at_once(world: World, moves: list[Event | None]) -> Event | None:
    """The host writes as long as it may; then first things first."""
    return moves[-1] if moves[-1] is None else moves[0]


def last_first(world: World, moves: list[Event | None]) -> Event | None:
    """The host writes as long as it may; then what came last goes first: frames overtake."""
    return moves[-1]


def many_in_flight(world: World, moves: list[Event | None]) -> Event | None:
    """Every chain a group of its own, cut before the host writes the next; the second link before
    the first; commits as late as possible, and each is told before the next."""
    order = (Kind.CUT, None, Kind.CONTROL, Kind.DISPATCH, Kind.ARRIVE, Kind.ARRIVE_BACK,
             Kind.STATUS, Kind.SCAN, Kind.SESSION_LOST, Kind.SESSION_UP, Kind.COMMIT)
    return min(moves, key=lambda m: (order.index(m.kind if m else None), -m.link if m else 0))


SCHEDULES: dict[str, Schedule] = {f.__name__: f for f in (
    one_by_one, all_at_once, last_first, many_in_flight)}


@dataclass
class Tally:
    """What was done."""

    programs: int = 0
    strikes: int = 0
    events: int = 0
    merged: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.programs += other.programs
        self.strikes += other.strikes
        self.events += other.events
        self.merged += other.merged
        for name, count in other.kinds.items():
            self.kinds[name] = self.kinds.get(name, 0) + count

    def said(self) -> str:
        return (f"{self.strikes} faults at every event, {self.events} events, {self.merged} runs "
                "that met another")

    def as_json(self) -> dict[str, object]:
        return {"faults": self.strikes, "events": self.events, "kinds": self.kinds}


class Violation(AssertionError):
    """Something went wrong; says in which program, schedule and fault."""


def start(program: Program, mutations: Collection[Mutation] = ()) -> World:
    return World(program, System(GEOMETRY, mutations=mutations))


def explore(program: Program, schedule: Schedule, mutations: Collection[Mutation] = ()) -> Tally:
    """The undisturbed run, and from each of its states every fault. Raises :class:`Violation`."""
    tally = Tally(programs=1)
    seen: set[bytes] = set()
    trunk = start(program, mutations)
    step, fault = 0, None

    def finish(world: World) -> None:
        """Go on as the schedule says, to the end or to where another run has been."""
        for _ in range(LIMIT):
            here = key(world)
            if here in seen:
                tally.merged += 1
                return
            seen.add(here)
            moves = world.moves()
            if not moves:
                world.check_end()
                return
            world.go(schedule(world, moves))
            tally.events += 1
        raise InvariantError("I9", f"no end after {LIMIT} events")

    try:
        for step in itertools.count():      # noqa: B007 - the violation names it
            for fault in trunk.system.enabled_events(STRIKES):
                world = trunk.fork()
                world.strike(fault)
                tally.strikes += 1
                tally.kinds[fault.kind.name] = tally.kinds.get(fault.kind.name, 0) + 1
                finish(world)
            fault = None
            moves = trunk.moves()
            if not moves:
                break
            trunk.go(schedule(trunk, moves))
        trunk.check_end()
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise Violation(f"program {program}, schedule {schedule.__name__}, event {step}, "
                        f"fault: {fault}: {error!r}") from error
    return tally


def interleavings(program: Program, faults: int, mutations: Collection[Mutation] = (),
                  strikes: Collection[Kind] = STRIKES) -> Tally:
    """Every order of events, with at most so many faults. Raises :class:`Violation`."""
    tally = Tally(programs=1)
    stack = [start(program, mutations)]
    seen = {key(stack[0])}
    try:
        while stack:
            here = stack.pop()
            moves = here.moves()
            hits = here.system.enabled_events(strikes) if here.faults < faults else []
            if not moves:
                here.fork().check_end()
            for move in [*moves, *hits]:
                world = here.fork()
                if move in hits and move is not None:
                    world.strike(move)
                    tally.strikes += 1
                else:
                    world.go(move)
                tally.events += 1
                name = key(world)
                if name in seen:
                    tally.merged += 1
                else:
                    seen.add(name)
                    stack.append(world)
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise Violation(f"program {program}, some order of events: {error!r}") from error
    return tally


__all__ = ["SCHEDULES", "Program", "Schedule", "Tally", "Violation", "World",
           "explore", "interleavings", "programs"]
