"""Judges what the tables of both systems say, in the very clock in which they change.

At the source every chain must be the oldest that the host has sent and that has not committed yet,
whole (I2), and the tables must be those of the design (I3, I4). The target, as long as it claims to
follow a set, must show what the source showed after as many chains: not older than acknowledged,
not newer than committed (I7). A set that is INCONSISTENT may show what it had before and what the
source had there, track by track, until it says that it is whole.

Lives and epochs are those of docs/restarting.md. The source's own image at each of its commits is
the truth about the target; what the host has written is the truth about the source.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field

from firmware_model import wire
from firmware_model.geometry import Geometry
from sim.native import Pages, Side, Snapshot

from ..chains import Write

__all__ = ["Oracle", "Violation"]

Writes = tuple[Write, ...]
FOLLOWING, INCONSISTENT = wire.TargetFlag.FOLLOWING, wire.TargetFlag.INCONSISTENT
WORDS = 0x10000     # set words count modulo this


class Violation(Exception):
    """Something that must never be; the message says what, and at which clock."""


@dataclass
class Life:
    """What the source has shown between two of its starts.

    ``images[set][n]`` is the source's whole image when ``n`` chains of the set had committed. For
    a volume that joined the set at ``joined[volume][0]`` chains, ``joined[volume][1]`` is what it
    held then.
    """

    images: list[dict[int, bytes]]
    sets: list[int]                     # of each volume
    joined: dict[int, tuple[int, bytes]] = field(default_factory=dict)


@dataclass
class Sent:
    """A chain that the host has sent. One that its host has ``forgotten`` may commit or not."""

    writes: Writes
    forgotten: bool = False
    number: int = 0         # once committed


class Oracle:
    """Holds the truth about a board, and each look at it against that.

    Parameters
    ----------
    geometry : Geometry

    Attributes
    ----------
    counts : Counter
        What has been seen: ``looks``, ``rewinds`` (sets that the target followed anew).
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.counts: collections.Counter[str] = collections.Counter()
        blank = bytes(geometry.image_bytes)
        self.source = blank             # as of the last look
        self.target = blank
        self.life = 1
        self.lives = {1: self._new_life(blank, [0] * geometry.sets)}
        self._chains = [0] * geometry.sets
        self._slots = self._first_slots()
        self._begun: set[int] = set()
        self._pages: Pages | None = None            # of the source, at the last look
        self._seen: Pages | None = None             # of the target
        self._torn: dict[int, bytes] = {}           # image when a set became INCONSISTENT
        self._sent: list[collections.deque[Sent]] = [
            collections.deque() for _ in range(geometry.sets)]
        self._committed: list[collections.deque[Sent]] = [
            collections.deque() for _ in range(geometry.sets)]

    def _first_slots(self) -> tuple[int, ...]:
        """Of each track index after a cold start; see hdl/recovery.py."""
        g = self.geometry
        places = [g.place(index) for index in range(1 << g.track_index_bits)]
        return tuple(g.linear(volume, track)
                     if volume < g.volumes and track < g.tracks_per_volume else 0
                     for volume, track in places)

    def _new_life(self, image: bytes, chains: list[int], sets: list[int] | None = None) -> Life:
        if sets is None:
            sets = [self.geometry.initial_set(v) for v in range(self.geometry.volumes)]
        return Life([{number: image} for number in chains], sets)

    # -- what the host does ------------------------------------------------------------------

    def sent(self, set_: int, writes: Writes) -> None:
        """The host is about to send a chain; those of a set commit in this order."""
        self._sent[set_].append(Sent(writes))

    def told(self, set_: int, number: int, writes: Writes) -> None:
        """The host believes that a chain has committed under ``number``."""
        committed = self._committed[set_]
        while committed and committed[0].forgotten:
            committed.popleft()
        if not committed or committed[0].writes != writes:
            raise Violation(f"the host was told that chain {number} of set {set_} committed, and "
                            "the source has no such chain")
        chain = committed.popleft()
        # After a lost session the host can only bound it: see ChainBook.recovered.
        if number < chain.number:
            raise Violation(f"the host was told number {number} for chain {chain.number} of set "
                            f"{set_}")

    def forget(self) -> None:
        """The host goes away, and does not know any more what it has sent."""
        for chains in (*self._sent, *self._committed):
            for chain in chains:
                chain.forgotten = True

    def assigned(self, sets: Sequence[int]) -> None:
        """This is the set of each volume now; no chain is on its way to one that has moved."""
        life = self.lives[self.life]
        for volume, set_ in enumerate(sets):
            if set_ != life.sets[volume]:
                life.sets[volume] = set_
                life.joined[volume] = self._chains[set_], self._part(self.source, volume)
                self.counts["moves"] += 1

    # -- restarts ----------------------------------------------------------------------------

    def restart(self, side: Side, lost: bool) -> None:
        """A system has been reset, and everything logged before has been looked at."""
        blank = bytes(self.geometry.image_bytes)
        if side is Side.TARGET:
            if lost:
                self.target = blank
                self._torn.clear()
            return
        life = self.lives[self.life]
        self.life = self.life % 0x100 + 1       # as SourceCore makes it of the generation
        if lost:
            self.source, self._chains = blank, [0] * self.geometry.sets
            self._slots = self._first_slots()
        self.lives[self.life] = self._new_life(self.source, self._chains,
                                               None if lost else list(life.sets))
        self._pages = None

    # -- looks -------------------------------------------------------------------------------

    def look(self, snapshot: Snapshot, *, ready: bool = True) -> None:
        """``ready``: the source has its tables in order, as far as they survived a reset."""
        self.counts["looks"] += 1
        source, target = snapshot.pages(Side.SOURCE), snapshot.pages(Side.TARGET)
        chains = [source.chains(s) for s in range(self.geometry.sets)]
        if chains != self._chains:
            self._look_at_source(snapshot, chains)
        if ready and (self._pages is None or self._moved(source)):
            self._check_tables(snapshot, source)
            self._check_cleared(snapshot.clock, source, target)
        self._pages = source
        if self._seen is None or self._news(target):
            self.look_at_target(snapshot.clock, snapshot.image(Side.TARGET), source, target)

    def _moved(self, source: Pages) -> bool:
        """Whether one of the words has changed that are written when all else is in order."""
        assert self._pages is not None
        return any(source.word(s, word) != self._pages.word(s, word)
                   for s in range(self.geometry.sets)
                   for word in (wire.SetWord.CHAINS_LOW, wire.SetWord.NEXT, wire.SetWord.DONE))

    def _news(self, target: Pages) -> bool:
        assert self._seen is not None
        return any(target.chains(s) != self._seen.chains(s)
                   or target.flags(s) != self._seen.flags(s) for s in range(self.geometry.sets))

    # -- the source --------------------------------------------------------------------------

    def _look_at_source(self, snapshot: Snapshot, chains: list[int]) -> None:
        """A chain has committed: one that the host sent, or one of a resynchronisation, which
        changes nothing."""
        grown = [s for s, count in enumerate(chains) if count != self._chains[s]]
        image, slots = snapshot.image(Side.SOURCE), snapshot.slots()
        what = f"clock {snapshot.clock}: the source"
        if len(grown) != 1 or chains[grown[0]] != self._chains[grown[0]] + 1:
            raise Violation(f"{what} went from chains {self._chains} to {chains}")
        set_, = grown
        self._chains = chains
        places = [self.geometry.place(index) for index, (old, new)
                  in enumerate(zip(self._slots, slots, strict=False)) if old != new]
        self._slots = slots
        what += f" after chain {chains[set_]} of set {set_}"
        if places:
            self.source = self._commit(set_, chains[set_], set(places), image, what)
        self.compare(image, self.source, what)
        self.lives[self.life].images[set_][chains[set_]] = image

    def _commit(self, set_: int, number: int, places: set[tuple[int, int]], image: bytes,
                what: str) -> bytes:
        """The image after the host's next chain, which has to be the one that wrote ``places``."""
        queue = self._sent[set_]
        while queue:
            chain = queue.popleft()
            written = self._written(chain.writes)
            same = places == {(volume, track) for volume, track, _ in chain.writes}
            if same and (written == image or not chain.forgotten):
                chain.number = number
                self._committed[set_].append(chain)
                return written
            if not chain.forgotten:
                raise Violation(f"{what}: it wrote {sorted(places)}, the host's next chain "
                                f"{[(v, t) for v, t, _ in chain.writes]}")
        raise Violation(f"{what}: it wrote {sorted(places)}, which no host has sent")

    def _written(self, writes: Writes) -> bytes:
        image = bytearray(self.source)
        size = self.geometry.track_bytes
        for volume, track, data in writes:
            at = self.geometry.linear(volume, track) * size
            image[at:at + size] = data
        return bytes(image)

    def _check_tables(self, snapshot: Snapshot, pages: Pages) -> None:
        """I3 and I4, and that a volume is disconnected as long as a track is waited for."""
        what = f"clock {snapshot.clock}: the source's tables"
        links, volumes = snapshot.links(), snapshot.volumes()
        in_group: set[int] = set()
        unsent: set[int] = set()
        for set_ in range(self.geometry.sets):
            for head, count in self._groups(pages, set_, what):
                self._walk(head, count, links, in_group, f"{what}: a group of set {set_}")
            self._walk(pages.word(set_, wire.SetWord.FIRST), pages.word(set_, wire.SetWord.UNSENT),
                       links, unsent, f"{what}: what is unsent of set {set_}")
        if len(in_group) > self.geometry.staging_slots:
            raise Violation(f"{what}: {len(in_group)} tracks are in groups, and the target has room"
                            f" for {self.geometry.staging_slots}")
        if in_group & unsent:
            raise Violation(f"{what}: a track is in a group and unsent, too")
        for index, track in enumerate(snapshot.tracks()):
            if track.pending != (index in in_group or index in unsent):
                raise Violation(f"{what}: commitment pending of {self._name(index)} is "
                                f"{track.pending}, the lists say otherwise")
            if track.packet != (index in in_group):
                raise Violation(f"{what}: packet pending of {self._name(index)} is {track.packet},"
                                " the groups say otherwise")
            if track.waiter and not volumes[self.geometry.place(index)[0]][1]:
                raise Violation(f"{what}: the volume of {self._name(index)} is connected before "
                                "the track has committed")

    def _groups(self, pages: Pages, set_: int, what: str) -> list[tuple[int, int]]:
        """Head and count of the groups in flight."""
        done = pages.word(set_, wire.SetWord.DONE)
        out = (pages.word(set_, wire.SetWord.NEXT) - 1 - done) % WORDS
        if out > self.geometry.groups_in_flight:
            raise Violation(f"{what}: {out} groups of set {set_} are in flight")
        records = [wire.SetWord.GROUP + wire.GROUP_WORDS * ((done + 1 + n)
                   % self.geometry.groups_in_flight) for n in range(out)]
        return [(pages.word(set_, record + wire.GROUP_HEAD),
                 pages.word(set_, record + wire.GROUP_COUNT)) for record in records]

    def _walk(self, index: int, count: int, links: list[tuple[int, bool]], found: set[int],
              what: str) -> None:
        for _ in range(count):
            if index in found or index >= len(links):
                raise Violation(f"{what} has {self._name(index)} twice" if index < len(links)
                                else f"{what} has track index {index}")
            found.add(index)
            index = links[index][0]

    def _check_cleared(self, clock: int, source: Pages, target: Pages) -> None:
        """What the source has cleared had committed at the target."""
        if target.life != self.life:
            return
        for set_ in range(self.geometry.sets):
            done = source.word(set_, wire.SetWord.DONE)
            if not (self._same_epoch(source, target, set_) and self._pages is not None
                    and done != self._pages.word(set_, wire.SetWord.DONE)):
                continue
            if (target.word(set_, wire.SetWord.DONE) - done) % WORDS >= WORDS // 2:
                raise Violation(f"clock {clock}: the source has cleared group {done} of set "
                                f"{set_}, which has not committed")

    @staticmethod
    def _same_epoch(source: Pages, target: Pages, set_: int) -> bool:
        return bool(target.flags(set_) & FOLLOWING) and (
            source.word(set_, wire.SetWord.EPOCH) == target.word(set_, wire.SetWord.EPOCH))

    # -- the target --------------------------------------------------------------------------

    def look_at_target(self, clock: int, image: bytes, source: Pages, target: Pages) -> None:
        """Judge ``image``, the target's in a clock in which no chain is half visible there."""
        sets = range(self.geometry.sets)
        life = self.lives.get(target.life)
        followed = [s for s in sets if life is not None and target.flags(s) & FOLLOWING]
        for set_ in followed:
            assert life is not None
            self._judge(clock, set_, life, source, target, image)
        judged = {v for v in range(self.geometry.volumes)
                  if life is not None and life.sets[v] in followed}
        for volume in range(self.geometry.volumes):
            if volume not in judged and self._part(image, volume) != self._part(self.target,
                                                                                volume):
                raise Violation(f"clock {clock}: volume {volume} changed at the target, which does "
                                "not follow its set")
        self.target = image
        self._seen = target

    def _judge(self, clock: int, set_: int, life: Life, source: Pages, target: Pages,
               image: bytes) -> None:
        """The target follows this set."""
        count = target.chains(set_)
        what = f"clock {clock}: set {set_} of the target, with {count} chains,"
        before = self._seen
        anew = before is None or before.life != target.life or not self._same_epoch(
            before, target, set_) or not before.flags(set_) & FOLLOWING
        if anew:
            self.counts["rewinds"] += set_ in self._begun
            self._begun.add(set_)
            self._torn.pop(set_, None)
            if target.flags(set_) & INCONSISTENT:
                self._torn[set_] = image
        elif count not in (before.chains(set_), before.chains(set_) + 1):   # type: ignore[union-attr]
            raise Violation(f"{what} had {before.chains(set_)} before")     # type: ignore[union-attr]
        truth = life.images[set_].get(count)
        if truth is None:
            raise Violation(f"{what} has what the source never committed")
        if (life is self.lives[self.life] and self._same_epoch(source, target, set_)
                and source.acked(set_) > count):
            raise Violation(f"{what} is older than the source believes: {source.acked(set_)}")
        torn = self._torn.get(set_) if target.flags(set_) & INCONSISTENT else None
        for volume in range(self.geometry.volumes):
            if life.sets[volume] != set_:
                continue
            joined, content = life.joined.get(volume, (-1, b""))
            if count > joined:
                content = self._part(truth, volume)
            self._compare_volume(what, volume, self._part(image, volume), content,
                                 None if torn is None else self._part(torn, volume))

    def _compare_volume(self, what: str, volume: int, found: bytes, truth: bytes,
                        torn: bytes | None) -> None:
        if found == truth:
            return
        size = self.geometry.track_bytes
        wrong = [track for track in range(self.geometry.tracks_per_volume)
                 if found[track * size:(track + 1) * size]
                 not in (truth[track * size:(track + 1) * size],
                         None if torn is None else torn[track * size:(track + 1) * size])]
        if wrong:
            raise Violation(f"{what} is wrong in " + _named([(volume, t) for t in wrong]))

    # -- the end -----------------------------------------------------------------------------

    def all_told(self) -> bool:
        """Nothing that the host has sent and remembers waits for a commit."""
        return all(chain.forgotten for chains in self._sent for chain in chains)

    def unheard(self) -> int:
        """Chains that have committed and that their host was never told of."""
        return sum(not chain.forgotten for chains in self._committed for chain in chains)

    def compare(self, image: bytes, expected: bytes, what: str) -> None:
        if image == expected:
            return
        size, tracks = self.geometry.track_bytes, self.geometry.tracks_per_volume
        raise Violation(f"{what}: wrong in " + _named([
            divmod(n, tracks) for n in range(self.geometry.tracks)
            if image[n * size:(n + 1) * size] != expected[n * size:(n + 1) * size]]))

    def _part(self, image: bytes, volume: int) -> bytes:
        size = self.geometry.track_bytes * self.geometry.tracks_per_volume
        return image[volume * size:(volume + 1) * size]

    def _name(self, index: int) -> str:
        volume, track = self.geometry.place(index)
        return f"{volume}:{track}"


def _named(places: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{v}:{t}" for v, t in places[:4]) + (", ..." if len(places) > 4 else "")
