"""The target storage system, untimed: staging, order packets, commit engine, commit status.

Frames arrive in any order over any link. A track's data waits in a slot of its own, marked
staged; the order packet threads the group's tracks into a list; when the group that is next in
sequence is whole, it commits chain by chain (I6).

Tables, pages and slots survive a reset (``warm``) or do not. What is staged is dropped by a reset
and by a new life of the source: it is sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from . import wire
from .geometry import Geometry
from .hostport import HostPort
from .mutations import Mutation
from .source import EPOCH_MASK, SEQUENCE_MASK, OrderLink
from .wire import Code, Counter, ReadFlag, Reg, Role, SetWord, TargetFlag, Type

NOTHING = TargetFlag(0)


@dataclass
class TargetTrack:
    """The visible slot of a track, and the staged one while a group waits to commit."""

    slot: int
    staged: int | None = None


@dataclass
class StagedGroup:
    """Record of a group: ``count`` is 0 until its order packet is here."""

    gseq: int
    head: int = 0
    count: int = 0
    received: int = 0

    @property
    def whole(self) -> bool:
        return self.count > 0 and self.received == self.count


@dataclass
class TargetPage:
    """State of a set here. ``at``, ``left`` and ``again`` are the commit engine's place in its
    group; ``part`` chains of group DONE + 1 are visible, and if the group had to be sent again,
    ``again`` of them are put in once more before anything new."""

    done: int = 0
    epoch: int = 0
    chains: int = 0
    part: int = 0
    flags: TargetFlag = NOTHING
    status_due: bool = False
    groups: dict[int, StagedGroup] = field(default_factory=dict)
    at: int = 0
    left: int = 0
    again: int = 0

    @property
    def following(self) -> bool:
        return bool(self.flags & TargetFlag.FOLLOWING)

    @property
    def inconsistent(self) -> bool:
        return bool(self.flags & TargetFlag.INCONSISTENT)


@dataclass
class Commit:
    """A chain whose commit has begun: written before its first swap, cleared after its last, kept
    over a reset."""

    set: int
    at: int
    left: int


class Target(HostPort):
    """Target storage system. Moves: :meth:`receive`, :meth:`commit_chain`, :meth:`take_status`.

    Parameters as for :class:`firmware_model.source.Source`; ``on_commit(set, number)`` is called
    after each chain that becomes visible here.
    """

    role = Role.TARGET

    def __init__(self, geometry: Geometry, *, mutations: Collection[Mutation] = (),
                 on_commit: Callable[[int, int], None] | None = None) -> None:
        super().__init__(geometry)
        self.mutations = frozenset(mutations)
        self.on_commit = on_commit
        self.generation = 0
        self._power_up()

    def _power_up(self) -> None:
        """State of a target whose memory holds nothing."""
        g = self.geometry
        self.life = 0
        self.committing: Commit | None = None
        # Sets of volumes, as DATA frames said, in this life of the source and since a reset.
        self.set_of: dict[int, int] = {}
        self.slots = [bytes(g.track_bytes)] * g.target_slots
        self.tracks: dict[int, TargetTrack] = {}
        self.links: dict[int, OrderLink] = {}
        slot = 0
        for volume in range(g.volumes):
            for track in range(g.tracks_per_volume):
                self.tracks[g.index(volume, track)] = TargetTrack(slot)
                self.links[g.index(volume, track)] = OrderLink()
                slot += 1
        self.free = deque(range(slot, g.target_slots))
        self.pages = [TargetPage() for _ in range(g.sets)]
        self._reset_port()

    def _reset_port(self) -> None:
        self.answers.clear()
        self.counters.clear()
        for tally in self.link_counters:
            tally.clear()
        self.registers = {Reg.HOLD: 0}

    # -- starting again ----------------------------------------------------------------------

    def restart(self, *, warm: bool) -> None:
        """A reset, with the memory kept or lost. A chain whose commit it interrupted is finished
        first: nothing is served before."""
        self.generation = (self.generation + 1) & 0xFF
        if not warm:
            self._power_up()
            return
        self._reset_port()
        self.set_of.clear()
        self._finish_commit()
        self._drop_staged()
        self.count(Counter.RECOVERIES)

    def _finish_commit(self) -> None:
        commit = self.committing
        self.committing = None
        if commit is None:
            return
        page = self.pages[commit.set]
        if Mutation.COMMIT_NOT_FINISHED not in self.mutations:
            page.at, page.left = self._swap_chain(commit.at, commit.left)
            self._count_chain(commit.set)

    def _drop_staged(self) -> None:
        """One walk over the table: whatever is staged goes, the records of groups with it, and
        the free list is made anew."""
        for state in self.tracks.values():
            state.staged = None
        taken = {state.slot for state in self.tracks.values()}
        self.free = deque(s for s in range(self.geometry.target_slots) if s not in taken)
        for page in self.pages:
            page.groups.clear()
            page.at = page.left = 0
            page.again = page.part
            if Mutation.CHAINS_COUNTED_TWICE in self.mutations:
                page.again = 0

    def say_status(self) -> None:
        """Commit status of every set is due: a link came up, or took along what it carried."""
        for page in self.pages:
            page.status_due = True

    # -- the source's life -------------------------------------------------------------------

    def new_sessions(self) -> None:
        """To be replaced by whoever has the links: all of them begin new sessions."""

    def on_prefix(self, set_: int) -> None:
        """To be replaced by whoever wants to know that a set's image is a prefix from now on."""

    def _ask(self, page: TargetPage, fields: dict[str, int]) -> None:
        """ASK: a source that we do not follow yet begins a new life here."""
        if fields["life"] != self.life:
            self._follow(fields["life"])
        fresh = not page.flags & TargetFlag.ASKED
        ahead = (fields["epoch"] - page.epoch) & EPOCH_MASK
        if not page.following and (fresh or 0 < ahead <= EPOCH_MASK // 2):
            page.epoch = fields["epoch"]
            page.flags |= TargetFlag.ASKED

    def _follow(self, life: int) -> None:
        """A new life of the source. What the old one left is no prefix of the new one's chains,
        and volumes may have been in other sets: so what holds for one set holds for all."""
        kept = NOTHING
        for page in self.pages:
            kept |= page.flags & TargetFlag.INCONSISTENT
        if self.life:
            kept |= TargetFlag.WRITTEN
        for page in self.pages:
            page.flags = kept
            page.part = 0
        self._drop_staged()
        self.set_of.clear()
        old, self.life = self.life, life
        if old and Mutation.OLD_SESSIONS_KEPT not in self.mutations:
            self.new_sessions()
        self.say_status()

    def _begin(self, set_: int, type_: Type, fields: dict[str, int]) -> None:
        """BEGIN and RESYNC, for the epoch that follows the one asked about."""
        page = self.pages[set_]
        expected = (page.epoch + 1) & EPOCH_MASK
        if (page.following or not page.flags & TargetFlag.ASKED or fields["epoch"] != expected
                or (type_ is Type.BEGIN and page.flags & TargetFlag.WRITTEN)):
            return
        page.epoch, page.done, page.chains = expected, fields["gseq"], fields["chains"]
        page.part = page.again = 0
        page.flags = TargetFlag.FOLLOWING | TargetFlag.WRITTEN | TargetFlag.ASKED
        if type_ is Type.BEGIN:
            self.on_prefix(set_)
        elif Mutation.RESYNC_NOT_MARKED not in self.mutations:
            page.flags |= TargetFlag.INCONSISTENT

    def _resynced(self, set_: int, epoch: int) -> None:
        page = self.pages[set_]
        if page.following and epoch == page.epoch and page.inconsistent:
            page.flags &= ~TargetFlag.INCONSISTENT
            self.on_prefix(set_)

    # -- receiver ----------------------------------------------------------------------------

    def receive(self, type_: Type, fields: dict[str, int], payload: bytes) -> None:
        """A frame that arrived with a good CRC, from whichever link."""
        set_ = fields["set"]
        if set_ >= self.geometry.sets:
            self.count(Counter.REJECTED)
            return
        page = self.pages[set_]
        if type_ in (Type.ASK, Type.BEGIN, Type.RESYNC, Type.RESYNCED):
            page.status_due = True
            if type_ is Type.ASK:
                self._ask(page, fields)
            elif type_ is Type.RESYNCED:
                self._resynced(set_, fields["epoch"])
            else:
                self._begin(set_, type_, fields)
            return
        if type_ not in (Type.DATA, Type.ORDER):
            self.count(Counter.REJECTED)
            return
        if fields["epoch"] != page.epoch or not page.following:
            self.count(Counter.REJECTED)
            return
        ahead = (fields["gseq"] - page.done) & SEQUENCE_MASK
        if Mutation.SEQUENCE_NOT_CHECKED not in self.mutations:
            if ahead == 0 or ahead > SEQUENCE_MASK // 2:    # committed: say so once more
                page.status_due = True
                self.count(Counter.DUPLICATES)
                return
            if ahead > self.geometry.groups_in_flight:
                self.count(Counter.REJECTED)
                return
        gseq = fields["gseq"]
        if type_ is Type.DATA:
            self._data(page, gseq, fields, payload)
        else:
            self._order(page, gseq, fields, payload)

    def _group(self, page: TargetPage, gseq: int) -> StagedGroup:
        return page.groups.setdefault(gseq, StagedGroup(gseq))

    def _exists(self, volume: int, track: int) -> bool:
        return volume < self.geometry.volumes and track < self.geometry.tracks_per_volume

    def _data(self, page: TargetPage, gseq: int, fields: dict[str, int], payload: bytes) -> None:
        volume, track = fields["volume"], fields["track"]
        if not self._exists(volume, track) or len(payload) != self.geometry.track_bytes:
            self.count(Counter.REJECTED)
            return
        state = self.tracks[self.geometry.index(volume, track)]
        group = self._group(page, gseq)
        # A whole group needs nothing more. Without this check a frame sent again while the group
        # commits chain by chain would stage a track that has just become visible: the count
        # would never match again, and the leftover would hide the track's next version.
        if state.staged is not None or group.whole:
            self.count(Counter.DUPLICATES)
            if Mutation.DUPLICATE_COUNTED in self.mutations and not group.whole:
                group.received += 1
            return
        if not self.free:               # never, if the source reserves what it sends
            self.count(Counter.REJECTED)
            return
        state.staged = self.free.popleft()
        self.slots[state.staged] = payload
        self.set_of[volume] = fields["set"]
        group.received += 1

    def _order(self, page: TargetPage, gseq: int, fields: dict[str, int], payload: bytes) -> None:
        group = self._group(page, gseq)
        if group.count:
            self.count(Counter.DUPLICATES)
            return
        count = fields["count"]
        if not count or len(payload) != count * wire.ENTRY_BYTES:
            self.count(Counter.REJECTED)
            return
        entries = wire.entries(payload)
        if not all(self._exists(volume, track) for volume, track, _ in entries):
            self.count(Counter.REJECTED)
            return
        order = [(self.geometry.index(v, t), end) for v, t, end in entries]
        for (index, end), (after, _) in zip(order, order[1:] + order[:1], strict=True):
            self.links[index] = OrderLink(after, end)
        group.head, group.count = order[0][0], count

    # -- commit engine -----------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """HOLD is set: commits pause at the next chain boundary."""
        return self.registers[Reg.HOLD] != 0

    def _next_group(self, page: TargetPage) -> StagedGroup | None:
        if Mutation.SEQUENCE_NOT_CHECKED in self.mutations:
            whole = [g for g in page.groups.values() if g.whole]
            return whole[-1] if whole else None
        group = page.groups.get((page.done + 1) & SEQUENCE_MASK)
        return group if group is not None and group.whole else None

    def can_commit(self, set_: int) -> bool:
        return not self.held and self._next_group(self.pages[set_]) is not None

    def commit_chain(self, set_: int) -> None:
        """Make the next chain of the next group visible, all of it at once.
        Requires :meth:`can_commit`."""
        page = self.pages[set_]
        group = self._next_group(page)
        assert group is not None
        if not page.left:
            page.at, page.left = group.head, group.count
        page.at, page.left = self._swap_chain(page.at, page.left)
        self._count_chain(set_)

    def begin_commit(self, set_: int, swaps: int) -> None:
        """The next chain's commit, as far as ``swaps`` slots swapped in: where a reset may strike.
        Requires :meth:`can_commit`."""
        page = self.pages[set_]
        group = self._next_group(page)
        assert group is not None
        if not page.left:
            page.at, page.left = group.head, group.count
        self.committing = Commit(set_, page.at, page.left)
        self._swap_chain(page.at, page.left, swaps)

    def next_chain_length(self, set_: int) -> int:
        """Tracks of the chain that the set would commit next; 0 for none."""
        page = self.pages[set_]
        group = self._next_group(page) if self.can_commit(set_) else None
        if group is None:
            return 0
        at, left = (page.at, page.left) if page.left else (group.head, group.count)
        length = 0
        while left:
            length += 1
            left -= 1
            if self.links[at].end_of_chain:
                break
            at = self.links[at].next
        return length

    def _swap_chain(self, at: int, left: int, swaps: int | None = None) -> tuple[int, int]:
        """Swap the slots of one chain in (or only ``swaps`` of them); where the next begins, and
        how many tracks of the group are left. What is in already is left as it is."""
        while left and swaps != 0:
            state, link = self.tracks[at], self.links[at]
            if state.staged is not None:
                self.free.append(state.slot)
                state.slot, state.staged = state.staged, None
            left -= 1
            at = link.next
            if swaps is not None:
                swaps -= 1
            if link.end_of_chain:
                break
        return at, left

    def _count_chain(self, set_: int) -> None:
        """A chain is in: count it, unless it had been visible before its group was sent again."""
        page = self.pages[set_]
        group = self._next_group(page)
        assert group is not None
        seen = page.again > 0
        if seen:
            page.again -= 1
        else:
            page.part += 1
            page.chains += 1
            self.count(Counter.CHAINS)
        if not page.left:
            del page.groups[group.gseq]
            page.done = group.gseq
            page.part = page.again = 0
            page.status_due = True
            self.count(Counter.GROUPS)
            self.count(Counter.GROUP_TRACKS, group.count)
        if self.on_commit is not None and not seen:
            self.on_commit(set_, page.chains)

    def take_status(self, set_: int) -> dict[str, int]:
        """Fields of the STATUS frame that is due: cumulative, so it may be lost or repeated."""
        page = self.pages[set_]
        page.status_due = False
        return {"set": set_, "epoch": page.epoch, "gseq": page.done, "flags": int(page.flags),
                "life": self.life, "generation": self.generation}

    def read_track(self, volume: int, track: int) -> bytes:
        """Last version committed here."""
        return self.slots[self.tracks[self.geometry.index(volume, track)].slot]

    def read_flags(self, volume: int) -> int:
        """Whether the volume's set, or any if nobody said which it is, is INCONSISTENT."""
        set_ = self.set_of.get(volume)
        pages = self.pages if set_ is None else [self.pages[set_]]
        return int(ReadFlag.INCONSISTENT) if any(p.inconsistent for p in pages) else 0

    # -- registers ---------------------------------------------------------------------------

    def read_special(self, address: int) -> int | None:
        if address == Reg.FREE_SLOTS:
            return len(self.free)
        if address == Reg.LIFE:
            return self.life
        if address == Reg.GENERATION:
            return self.generation
        return super().read_special(address)

    def write_special(self, address: int, value: int) -> Code | None:
        return super().write_special(address, value)

    def page_words(self, set_: int) -> dict[int, int]:
        page = self.pages[set_]
        out = {
            int(SetWord.DONE): page.done, int(SetWord.EPOCH): page.epoch,
            int(SetWord.CHAINS_LOW): page.chains & 0xFFFF,
            int(SetWord.CHAINS_HIGH): page.chains >> 16,
            int(SetWord.UNSENT): page.part, int(SetWord.FLAGS): int(page.flags),
        }
        for group in page.groups.values():
            at = SetWord.GROUP + wire.GROUP_WORDS * (group.gseq % self.geometry.groups_in_flight)
            out[at + wire.GROUP_HEAD] = group.head
            out[at + wire.GROUP_COUNT] = group.count
            out[at + wire.GROUP_RECEIVED] = group.received
        return out
