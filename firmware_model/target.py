"""The target storage system, untimed: staging, order packets, commit engine, commit status.

Frames arrive in any order over any link. A track's data waits in a slot of its own, marked
staged; the order packet threads the group's tracks into a list; when the group that is next in
sequence is whole, it commits chain by chain (I6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from . import wire
from .geometry import Geometry
from .hostport import HostPort
from .mutations import Mutation
from .source import SEQUENCE_MASK, OrderLink
from .wire import Code, Counter, Reg, Role, SetWord, Type


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
    """State of a set here. ``at`` and ``left`` are the commit engine's place in its group."""

    done: int = 0
    epoch: int = 0
    chains: int = 0
    status_due: bool = False
    groups: dict[int, StagedGroup] = field(default_factory=dict)
    at: int = 0
    left: int = 0


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
        g = geometry
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
        self.registers[Reg.HOLD] = 0

    # -- receiver ----------------------------------------------------------------------------

    def receive(self, type_: Type, fields: dict[str, int], payload: bytes) -> None:
        """A DATA or ORDER frame that arrived with a good CRC, from whichever link."""
        set_ = fields["set"]
        if type_ not in (Type.DATA, Type.ORDER) or set_ >= self.geometry.sets:
            self.count(Counter.REJECTED)
            return
        page = self.pages[set_]
        if fields["epoch"] != page.epoch:
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
            return
        state.staged = self.free.popleft()
        self.slots[state.staged] = payload
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
        while page.left:
            state, link = self.tracks[page.at], self.links[page.at]
            if state.staged is not None:        # always, unless a rule is left out
                self.free.append(state.slot)
                state.slot, state.staged = state.staged, None
            page.left -= 1
            page.at = link.next
            if link.end_of_chain:
                break
        page.chains += 1
        self.count(Counter.CHAINS)
        if not page.left:
            del page.groups[group.gseq]
            page.done = group.gseq
            page.status_due = True
            self.count(Counter.GROUPS)
            self.count(Counter.GROUP_TRACKS, group.count)
        if self.on_commit is not None:
            self.on_commit(set_, page.chains)

    def take_status(self, set_: int) -> dict[str, int]:
        """Fields of the STATUS frame that is due: cumulative, so it may be lost or repeated."""
        page = self.pages[set_]
        page.status_due = False
        return {"set": set_, "epoch": page.epoch, "gseq": page.done}

    def read_track(self, volume: int, track: int) -> bytes:
        """Last version committed here."""
        return self.slots[self.tracks[self.geometry.index(volume, track)].slot]

    # -- registers ---------------------------------------------------------------------------

    def read_special(self, address: int) -> int | None:
        if address == Reg.FREE_SLOTS:
            return len(self.free)
        return super().read_special(address)

    def write_special(self, address: int, value: int) -> Code | None:
        return super().write_special(address, value)

    def page_words(self, set_: int) -> dict[int, int]:
        page = self.pages[set_]
        out = {
            int(SetWord.DONE): page.done, int(SetWord.EPOCH): page.epoch,
            int(SetWord.CHAINS_LOW): page.chains & 0xFFFF,
            int(SetWord.CHAINS_HIGH): page.chains >> 16,
        }
        for group in page.groups.values():
            at = SetWord.GROUP + wire.GROUP_WORDS * (group.gseq % self.geometry.groups_in_flight)
            out[at + wire.GROUP_HEAD] = group.head
            out[at + wire.GROUP_COUNT] = group.count
            out[at + wire.GROUP_RECEIVED] = group.received
        return out
