"""What really happened at the source: chains in commit order, assignments, acknowledgements.

The history answers one question fast: *which prefixes of a set leave this content in this
track?* For that it keeps, for each track, the version that every chain left there, found again by
a hash of the content; a content that occurs several times stands for several prefixes.

Assignments divide the history into *spans* with a fixed volume to set map. A volume may leave a
set only when that set has nothing pending, so within a span each track depends on one set alone,
and the sets can be judged one by one.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .geometry import Geometry

Interval = tuple[int, int]      # prefixes, first and last


class HistoryError(ValueError):
    """An event that cannot follow the ones before it; the message says why."""


@dataclass(frozen=True)
class Write:
    """One command of a chain."""

    volume: int
    track: int
    data: bytes


@dataclass(frozen=True)
class Chain:
    """A committed chain; ``number`` counts from 1 within its set."""

    set: int
    number: int
    writes: tuple[Write, ...]

    @property
    def size(self) -> int:
        """Bytes that the chain's commands wrote."""
        return sum(len(write.data) for write in self.writes)


@dataclass(frozen=True)
class Assignment:
    """A volume moved to a set."""

    volume: int
    set: int


@dataclass(frozen=True)
class Resync:
    """Chain numbers up to ``number`` of ``set`` went to a resynchronisation: they stand for chains
    that change nothing."""

    set: int
    number: int


@dataclass(frozen=True)
class Acknowledgement:
    """The source knows that the target has committed chains up to ``number`` of ``set``."""

    set: int
    number: int


HistoryEvent = Chain | Assignment | Acknowledgement | Resync


def digest(data: bytes) -> bytes:
    """Short name of a content; 128 bits, so that an accident is out of the question."""
    return hashlib.blake2b(data, digest_size=16).digest()


@dataclass
class Tenure:
    """Versions of one track while its volume stays in one set. ``numbers[i]`` is the chain that
    left ``digests[i]``; entry 0 is what the track held when the volume joined."""

    set: int
    base: bytes
    numbers: list[int] = field(default_factory=list)
    places: dict[bytes, list[int]] = field(default_factory=dict)
    latest: bytes = b""

    def __post_init__(self) -> None:
        self.numbers = [-1]
        self.places = {self.base: [0]}
        self.latest = self.base

    def add(self, number: int, content: bytes) -> None:
        """Chain ``number`` leaves ``content``; within a chain the last write wins."""
        if self.numbers[-1] == number:
            places = self.places[self.latest]
            places.pop()
            if not places:
                del self.places[self.latest]
        else:
            self.numbers.append(number)
        self.places.setdefault(content, []).append(len(self.numbers) - 1)
        self.latest = content

    def matches(self, content: bytes, low: int, high: int) -> list[Interval]:
        """Prefixes within ``low..high`` that leave ``content`` in the track."""
        found: list[Interval] = []
        for place in self.places.get(content, ()):
            first = max(low, self.numbers[place])
            last = high
            if place + 1 < len(self.numbers):
                last = min(high, self.numbers[place + 1] - 1)
            if first > last:
                continue
            if found and found[-1][1] + 1 == first:     # a chain that changed nothing here
                first = found.pop()[0]
            found.append((first, last))
        return found


@dataclass
class Span:
    """Time between two assignments: ``low`` and ``high`` bound each set's prefix (``high`` of the
    last span is still growing), ``tenures`` says which tenure of each volume is the current."""

    assignment: list[int]
    low: list[int]
    high: list[int] | None
    tenures: list[int]


class History:
    """Committed chains of both storage systems' common past.

    Parameters
    ----------
    geometry : Geometry
    image : bytes, optional
        All volumes, in order, before the first chain; all zero unless given.
    assignment : sequence of int, optional
        Set of each volume at the start; as after a reset unless given.
    numbers : mapping of set to int, optional
        Chains that each set had committed before this history began.
    """

    def __init__(self, geometry: Geometry, *, image: bytes | None = None,
                 assignment: Sequence[int] | None = None,
                 numbers: Mapping[int, int] | None = None) -> None:
        self.geometry = geometry
        if image is None:
            image = bytes(geometry.image_bytes)
        if len(image) != geometry.image_bytes:
            raise HistoryError(f"initial image has {len(image)} bytes, the geometry has "
                               f"{geometry.image_bytes}")
        if assignment is None:
            assignment = [geometry.initial_set(v) for v in range(geometry.volumes)]
        if len(assignment) != geometry.volumes or not all(
                0 <= s < geometry.sets for s in assignment):
            raise HistoryError(f"assignment {list(assignment)} does not give each of "
                               f"{geometry.volumes} volumes one of {geometry.sets} sets")
        self.initial_image = image
        self.initial_assignment = tuple(assignment)
        self.first = [(numbers or {}).get(s, 0) for s in range(geometry.sets)]
        self.events: list[HistoryEvent] = []
        self.assignment = list(assignment)
        self.acknowledged = list(self.first)
        self._newest = list(self.first)
        self._chains: list[list[Chain]] = [[] for _ in range(geometry.sets)]
        self._bytes: list[list[int]] = [[0] for _ in range(geometry.sets)]
        size = geometry.track_bytes
        names: dict[bytes, bytes] = {}
        self._tenures: list[list[Tenure]] = []
        for at in range(geometry.tracks):
            content = image[at * size:(at + 1) * size]
            name = names.setdefault(content, digest(content))
            set_ = assignment[at // geometry.tracks_per_volume]
            self._tenures.append([Tenure(set_, name)])
        self.spans = [Span(list(assignment), list(self.first), None, [0] * geometry.volumes)]

    # -- recording ---------------------------------------------------------------------------

    def commit(self, set_: int, writes: Iterable[tuple[int, int, bytes] | Write],
               number: int | None = None) -> Chain:
        """A chain committed at the source. ``number`` must be the next of its set if given."""
        g = self.geometry
        if not 0 <= set_ < g.sets:
            raise HistoryError(f"set {set_} is outside 0..{g.sets - 1}")
        expected = self.committed(set_) + 1
        if number is None:
            number = expected
        if number != expected:
            raise HistoryError(f"chain {number} of set {set_} does not follow chain "
                               f"{expected - 1}")
        chain = Chain(set_, number, tuple(
            w if isinstance(w, Write) else Write(w[0], w[1], bytes(w[2])) for w in writes))
        if not chain.writes:
            raise HistoryError(f"chain {number} of set {set_} writes nothing")
        for write in chain.writes:
            g.check(write.volume, write.track)
            if len(write.data) != g.track_bytes:
                raise HistoryError(f"chain {number} of set {set_}: {len(write.data)} bytes for "
                                   f"{write.volume}:{write.track}, a track has {g.track_bytes}")
            if self.assignment[write.volume] != set_:
                raise HistoryError(f"chain {number} of set {set_} writes volume {write.volume} "
                                   f"of set {self.assignment[write.volume]}")
        for write in chain.writes:
            self._tenures[g.linear(write.volume, write.track)][-1].add(number, digest(write.data))
        self._newest[set_] = number
        self._chains[set_].append(chain)
        self._bytes[set_].append(self._bytes[set_][-1] + chain.size)
        self.events.append(chain)
        return chain

    def advance(self, set_: int, number: int) -> None:
        """A resynchronisation took the chain numbers up to ``number``. Smaller numbers change
        nothing."""
        if not 0 <= set_ < self.geometry.sets:
            raise HistoryError(f"set {set_} is outside 0..{self.geometry.sets - 1}")
        if number > self._newest[set_]:
            self._newest[set_] = number
            self.events.append(Resync(set_, number))

    def assign(self, volume: int, set_: int) -> None:
        """A volume moved to another set, which means that everything of its old set had been
        committed at the target, and the source knew."""
        g = self.geometry
        g.check(volume, 0)
        if not 0 <= set_ < g.sets:
            raise HistoryError(f"set {set_} is outside 0..{g.sets - 1}")
        old = self.assignment[volume]
        if old == set_:
            return
        self.acknowledge(old, self.committed(old))
        counts = [self.committed(s) for s in range(g.sets)]
        span = self.spans[-1]
        low = list(span.low)
        low[old] = counts[old]
        self.assignment[volume] = set_
        for at in range(volume * g.tracks_per_volume, (volume + 1) * g.tracks_per_volume):
            self._tenures[at].append(Tenure(set_, self._tenures[at][-1].latest))
        tenures = list(span.tenures)
        tenures[volume] += 1
        span.high = counts
        self.spans.append(Span(list(self.assignment), low, None, tenures))
        self.events.append(Assignment(volume, set_))

    def acknowledge(self, set_: int, number: int) -> None:
        """Low-water mark: the target has committed up to ``number``. Older marks change
        nothing."""
        if number > self.committed(set_):
            raise HistoryError(f"chain {number} of set {set_} acknowledged, but only "
                               f"{self.committed(set_)} committed")
        if number > self.acknowledged[set_]:
            self.acknowledged[set_] = number
            self.events.append(Acknowledgement(set_, number))

    # -- asking ------------------------------------------------------------------------------

    def committed(self, set_: int) -> int:
        """Number of the set's newest chain."""
        return self._newest[set_]

    def chains(self, set_: int, first: int | None = None, last: int | None = None) -> list[Chain]:
        """Chains ``first..last`` of a set, all of them by default."""
        low = 0 if first is None else self._count(set_, first - 1)
        high = len(self._chains[set_]) if last is None else self._count(set_, last)
        return self._chains[set_][low:high]

    def _count(self, set_: int, prefix: int) -> int:
        """Chains of the set with numbers up to ``prefix``."""
        return bisect.bisect_right(self._chains[set_], prefix, key=lambda c: c.number)

    def bytes_after(self, set_: int, prefix: int) -> int:
        """Bytes written by the set's chains after ``prefix``."""
        sums = self._bytes[set_]
        return sums[-1] - sums[self._count(set_, prefix)]

    def matches(self, span: Span, linear: int, content: bytes, low: int,
                high: int) -> list[Interval]:
        """Prefixes of the track's set within ``low..high`` that leave ``content`` (a digest) in
        the track at position ``linear`` during ``span``."""
        volume = linear // self.geometry.tracks_per_volume
        return self._tenures[linear][span.tenures[volume]].matches(content, low, high)

    def image(self, prefixes: Mapping[int, int] | None = None) -> bytes:
        """All volumes after the given prefix of each set (the newest by default). Exact as long
        as no volume moved after one of the prefixes."""
        g = self.geometry
        out = bytearray(self.initial_image)
        prefixes = prefixes or {}
        for event in self.events:
            if not isinstance(event, Chain):
                continue
            if event.number > prefixes.get(event.set, self.committed(event.set)):
                continue
            for write in event.writes:
                at = g.linear(write.volume, write.track) * g.track_bytes
                out[at:at + g.track_bytes] = write.data
        return bytes(out)


def intersect(left: Sequence[Interval], right: Sequence[Interval]) -> list[Interval]:
    """Prefixes that are in both lists of intervals; lists are ascending and disjoint."""
    out = []
    starts = [low for low, _ in right]
    for low, high in left:
        at = max(0, bisect.bisect_right(starts, low) - 1)
        while at < len(right) and right[at][0] <= high:
            first, last = max(low, right[at][0]), min(high, right[at][1])
            if first <= last:
                out.append((first, last))
            at += 1
    return out
