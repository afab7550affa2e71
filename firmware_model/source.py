"""The source storage system, untimed: table, consistency sets, Fig. 4 and Fig. 5.

Every method is one indivisible change, the same change that the gateware makes while it holds
the metadata lock. Who calls which method when is decided outside (:mod:`firmware_model.system`),
so any interleaving can be tried. Nothing here keeps a second copy of a track: data lies in one
slot, and frames towards the target read that slot when they are sent (I1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from . import wire
from .geometry import Geometry
from .hostport import Answer, HostPort
from .mutations import Mutation
from .wire import Code, Counter, Flag, Reg, Role, SetWord, SourceFlag, TargetFlag, Type

SEQUENCE_MASK = 0xFFFF      # group sequence numbers are 16 bits on the wire
EPOCH_MASK = 0xFF
NO_MARK = 0xFFFFFFFF        # RESYNC_LOW and RESYNC_HIGH while the scan goes on


@dataclass
class TrackState:
    """One row of the table of Fig. 3 (the column for the set is the volume's)."""

    slot: int
    pending: bool = False
    packet: bool = False
    waiter: bool = False


@dataclass
class OrderLink:
    """Successor of a track in its set's order list, and whether a chain ends between them."""

    next: int = 0
    end_of_chain: bool = False


@dataclass
class Group:
    """Record of a consistency group in flight: its tracks are ``count`` links from ``head``."""

    gseq: int
    head: int
    count: int


@dataclass
class SetPage:
    """State of a consistency set; the words are those of ``wire.SetWord``."""

    volumes: int = 0
    first: int = 0
    tail: int = 0
    unsent: int = 0
    next: int = wire.FIRST_GROUP
    sent: int = 0
    done: int = 0
    epoch: int = 0
    chains: int = 0
    acked: int = 0
    fence: bool = False
    destage: bool = False
    polled: bool = False
    running: bool = False
    resync: bool = False
    used: bool = False
    mark: int = 0               # chain number that ends the resynchronisation
    scan: int | None = None     # place of its scan, in tracks of all volumes
    due: set[Type] = field(default_factory=set)     # control frames to send
    groups: dict[int, Group] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        """Groups cut and not yet acknowledged."""
        return (self.next - 1 - self.done) & SEQUENCE_MASK

    @property
    def undispatched(self) -> int:
        """Groups cut and not yet handed to the links."""
        return (self.next - 1 - self.sent) & SEQUENCE_MASK

    @property
    def pending(self) -> bool:
        """Whether anything of the set is not known to be committed at the target."""
        return self.unsent > 0 or self.in_flight > 0


@dataclass
class VolumeState:
    """Volume to set map entry, and the disconnect of Fig. 4."""

    set: int
    disconnected: bool = False
    since: int = 0


@dataclass
class OpenChain:
    """The one chain whose WRITE frames are arriving; its data lies in private slots."""

    tag: int
    set: int
    entries: list[tuple[int, int]]
    slots: list[int]


@dataclass
class Walk:
    """The dispatcher's place in the group it is handing to the links."""

    gseq: int
    at: int
    left: int


@dataclass(frozen=True)
class Outgoing:
    """A frame for a link. ``fetch`` reads the payload anew each time the frame is sent."""

    type: Type
    fields: dict[str, int]
    fetch: Callable[[], bytes]

    @property
    def name(self) -> str:
        return f"{self.type.name}{tuple(self.fields.values())}"

    def frozen(self) -> Outgoing:
        """The frame with the payload that it has now."""
        return Outgoing(self.type, self.fields, partial(bytes, self.fetch()))


Committed = Callable[[int, int, list[tuple[int, int, bytes]]], None]


class Source(HostPort):
    """Source storage system.

    Parameters
    ----------
    geometry : Geometry
    mutations : collection of Mutation
        Rules left out on purpose.
    on_commit : callable(set, number, [(volume, track, data), ...]), optional
        Called for each chain that commits here, in commit order.

    life : int
        Number of this life, 1..65535; a restart begins another one.

    Host frames go in through :meth:`HostPort.host`; answers, RECONNECT notices included, are
    taken from :attr:`HostPort.answers`. The sequencer's moves are :meth:`poll`, :meth:`cut`,
    :meth:`next_frame`, :meth:`status` and :meth:`rewind`; what the target must be told first goes
    out by :meth:`next_control`, and a resynchronisation moves by :meth:`scan_next`.
    """

    role = Role.SOURCE

    def __init__(self, geometry: Geometry, *, mutations: Collection[Mutation] = (),
                 on_commit: Committed | None = None, life: int = 1) -> None:
        super().__init__(geometry)
        self.mutations = frozenset(mutations)
        self.on_commit = on_commit
        self._power_up(life)

    def _power_up(self, life: int) -> None:
        """State of a source whose memory holds nothing."""
        g = self.geometry
        self.life = life
        self.slots = [bytes(g.track_bytes)] * g.source_slots
        self.tracks: dict[int, TrackState] = {}
        self.links: dict[int, OrderLink] = {}
        slot = 0
        for volume in range(g.volumes):
            for track in range(g.tracks_per_volume):
                self.tracks[g.index(volume, track)] = TrackState(slot)
                self.links[g.index(volume, track)] = OrderLink()
                slot += 1
        self.free = deque(range(slot, g.source_slots))
        self.volumes = [VolumeState(g.initial_set(v)) for v in range(g.volumes)]
        self.pages = [SetPage() for _ in range(g.sets)]
        for state in self.volumes:
            self.pages[state.set].volumes += 1
        self.credit = g.staging_slots
        self.open: OpenChain | None = None
        self.committing: OpenChain | None = None    # survives a reset, for _finish_commit
        self.refused_tag: int | None = None
        self.reset_after: int | None = None     # swaps after which a reset interrupts a commit
        self.walks: list[Walk | None] = [None] * g.sets
        self.clock = 0              # counts events; stands for clocks in RECONNECT
        self.walk_steps = 0         # tracks visited by sequencer walks (I10)
        self.answers.clear()
        self.counters.clear()
        for tally in self.link_counters:
            tally.clear()
        self.registers.clear()

    # -- starting again ----------------------------------------------------------------------

    def restart(self, life: int, *, warm: bool) -> None:
        """A reset. With the memory kept (``warm``) the last committed version of every track and
        the numbers of the chains are still there; what was pending, and for whom, is forgotten:
        the target will be resynchronised. With the memory lost everything is blank."""
        if not warm:
            self._power_up(life)
            return
        self._finish_commit()
        slots, tracks, volumes = self.slots, self.tracks, self.volumes
        pages = self.pages
        self._power_up(life)
        self.slots = slots
        for index, state in tracks.items():
            self.tracks[index] = TrackState(state.slot)
        taken = {state.slot for state in self.tracks.values()}
        self.free = deque(s for s in range(self.geometry.source_slots) if s not in taken)
        for page in self.pages:
            page.volumes = 0
        for volume, old in enumerate(volumes):
            self.volumes[volume] = VolumeState(old.set)
            self.pages[old.set].volumes += 1
        for page, kept in zip(self.pages, pages, strict=True):
            page.chains = page.acked = kept.chains
            page.epoch = kept.epoch
            page.used = True
        self.count(Counter.RECOVERIES)

    def _finish_commit(self) -> None:
        """A reset struck while a commit was swapping slots in: put them all in. What is in
        already is put in again, which changes nothing."""
        chain = self.committing
        self.committing = None
        if chain is None:
            return
        for (volume, track), slot in zip(chain.entries, chain.slots, strict=True):
            self.tracks[self.geometry.index(volume, track)].slot = slot
        page = self.pages[chain.set]
        page.chains += 1
        self._tell_committed(chain, page.chains)

    # -- the target's state ------------------------------------------------------------------

    def link_came_up(self) -> None:
        """A new session on some link: ask where the target is."""
        for page in self.pages:
            page.due.add(Type.ASK)

    def link_went_down(self) -> None:
        """What the link took along goes again; whoever waits for an answer asks again."""
        for set_, page in enumerate(self.pages):
            if Mutation.LOSS_NOT_REWOUND not in self.mutations:
                self.rewind(set_)
            if not page.running:
                page.due.add(Type.ASK)

    def next_control(self, set_: int) -> Outgoing | None:
        """The control frame that is due, or None; it is due no more."""
        page = self.pages[set_]
        if not page.due:
            return None
        type_ = min(page.due)
        page.due.remove(type_)
        fields = {"set": set_, "epoch": page.epoch}
        if type_ is Type.ASK:
            fields["life"] = self.life
        elif type_ in (Type.BEGIN, Type.RESYNC):
            fields |= {"gseq": page.done, "chains": page.acked}
        return Outgoing(type_, fields, bytes)

    def status(self, set_: int, epoch: int, gseq: int, flags: int, life: int) -> bool:
        """STATUS: where the target is with a set. True if it acknowledged something new."""
        if not 0 <= set_ < self.geometry.sets:
            self.count(Counter.REJECTED)
            return False
        page = self.pages[set_]
        if life != self.life or not flags & (TargetFlag.FOLLOWING | TargetFlag.ASKED):
            page.due.add(Type.ASK)
            return False
        if flags & TargetFlag.FOLLOWING:
            if epoch != page.epoch:
                return False
            page.running = True
            new = self.acknowledge(set_, epoch, gseq)
            self._end_resync(page, flags)
            return new
        ahead = (epoch - page.epoch) & EPOCH_MASK
        if page.running:
            if ahead == 0:
                self._lost_target()
        elif ahead == 0:
            self._begin(set_, flags)
        elif ahead == EPOCH_MASK:
            page.due.add(Type.RESYNC if page.resync else Type.BEGIN)
        else:
            page.due.add(Type.ASK)
        return False

    def _lost_target(self) -> None:
        """The target has lost its memory, of all sets: nothing that it said before counts. New
        sessions on all links end whatever is still under way."""
        for page in self.pages:
            page.running = False
            page.due = {Type.ASK}
        if Mutation.OLD_SESSIONS_KEPT not in self.mutations:
            self.new_sessions()

    def new_sessions(self) -> None:
        """To be replaced by whoever has the links: all of them begin new sessions."""

    def _begin(self, set_: int, flags: int) -> None:
        """The next epoch; from a blank image if the target is blank and has nothing to have, else
        with everything sent again."""
        page = self.pages[set_]
        page.epoch = (page.epoch + 1) & EPOCH_MASK
        page.sent = page.done
        self.walks[set_] = None
        blank = not flags & TargetFlag.WRITTEN and not page.used
        if blank or Mutation.LOST_TARGET_BEGUN in self.mutations:
            page.due.add(Type.BEGIN)
            return
        page.due.add(Type.RESYNC)
        page.resync = True
        page.scan = 0
        page.mark = NO_MARK

    def _end_resync(self, page: SetPage, flags: int) -> None:
        """RESYNCED once the last track that the scan put in has committed at the target."""
        early = Mutation.RESYNCED_EARLY in self.mutations
        if not page.resync or (page.acked < page.mark and not early):
            return
        if flags & TargetFlag.INCONSISTENT:
            page.due.add(Type.RESYNCED)
        elif page.scan is None:
            page.resync = False
            self.count(Counter.RESYNCS)

    def can_scan(self, set_: int) -> bool:
        """Whether the scan of this set may take another track: it leaves room for the host."""
        page = self.pages[set_]
        return (page.resync and page.scan is not None
                and page.unsent < self.geometry.chain_limit)

    def scan_next(self, set_: int) -> None:
        """The resynchronisation looks at one more track: if it is not pending it becomes so, as a
        chain of its own. A pending one goes anyway. Requires :meth:`can_scan`."""
        page = self.pages[set_]
        assert page.scan is not None
        g = self.geometry
        while page.scan < g.tracks:
            volume, track = divmod(page.scan, g.tracks_per_volume)
            page.scan += 1
            if self.volumes[volume].set != set_:
                page.scan = (volume + 1) * g.tracks_per_volume
                continue
            if Mutation.SCAN_SKIPS_TRACKS in self.mutations and track == 1:
                continue
            state = self.tracks[g.index(volume, track)]
            if state.pending:
                return
            self._append(page, g.index(volume, track), first_of_chain=True)
            state.pending = True
            page.chains += 1
            self.count(Counter.RESYNC_TRACKS)
            return
        page.scan = None
        page.mark = page.chains
        page.due.add(Type.ASK)      # everything may have been acknowledged already

    # -- Fig. 4: the host port ---------------------------------------------------------------

    def host_session(self) -> None:
        """A new session on the host line: an open chain is aborted, silently."""
        if self.open is not None:
            self._drop_open()
        self.refused_tag = None

    def host_chain(self, tag: int, flags: int, count: int, payload: bytes) -> None:
        """CHAIN: check the whole write set; then either open the chain or refuse it whole."""
        if self.open is not None:
            self._fail_open(Code.CHAIN_ABORTED)
        self.refused_tag = None
        code, set_, detail = self._judge(flags, count, payload)
        if code is not Code.OK:
            self.refused_tag = tag
            self._chain_status(tag, code, set_, detail)
            return
        entries = self._entries(payload)
        self.open = OpenChain(tag, set_, entries, [])

    def _entries(self, payload: bytes) -> list[tuple[int, int]]:
        """(volume byte, track) of each entry. A write set has no end of chain bit: the whole
        byte is the volume."""
        return [(payload[i], payload[i + 1] | payload[i + 2] << 8)
                for i in range(0, len(payload), wire.ENTRY_BYTES)]

    def _judge(self, flags: int, count: int, payload: bytes) -> tuple[Code, int, int]:
        """The first fault of a write set in the order of docs/architecture.md: code, set and
        detail. Code OK means that the chain may be opened; a collision has been acted upon."""
        g = self.geometry
        if len(payload) != count * wire.ENTRY_BYTES:
            return Code.BAD_LENGTH, 0, 0
        if count == 0:
            return Code.CHAIN_EMPTY, 0, 0
        if count > g.chain_limit + (Mutation.LIMIT_NOT_CHECKED in self.mutations):
            return Code.CHAIN_TOO_LONG, 0, 0
        entries = self._entries(payload)

        def detail(index: int) -> int:
            volume, track = entries[index]
            return index | volume << 8 | track << 16

        for index, (volume, _) in enumerate(entries):
            if volume >= g.volumes:
                return Code.BAD_VOLUME, 0, detail(index)
        for index, (_, track) in enumerate(entries):
            if track >= g.tracks_per_volume:
                return Code.BAD_TRACK, 0, detail(index)
        self.count(Counter.LOOKUPS, count)
        set_ = self.volumes[entries[0][0]].set
        for index, (volume, _) in enumerate(entries):
            if (self.volumes[volume].set != set_
                    and Mutation.SPAN_NOT_CHECKED not in self.mutations):
                return Code.SPANS_SETS, set_, detail(index)
        if len(self.free) < count:
            return Code.NO_SLOTS, set_, 0
        page = self.pages[set_]
        if page.fence and not flags & Flag.RESUME:
            return Code.FENCED, set_, 0
        page.fence = False
        for index, (volume, _) in enumerate(entries):
            if self.volumes[volume].disconnected:
                page.fence = True
                return Code.DISCONNECTED, set_, detail(index)
        for index, (volume, track) in enumerate(entries):
            if self.tracks[g.index(volume, track)].pending:
                page.fence = True
                self._collide(volume, track)
                return Code.COLLISION, set_, detail(index)
        return Code.OK, set_, 0

    def _collide(self, volume: int, track: int) -> None:
        """Disconnect the volume until this track is clear; ask for a destage if nobody did."""
        state = self.tracks[self.geometry.index(volume, track)]
        state.waiter = not (state.packet and Mutation.UPDATE_LOST in self.mutations)
        self.volumes[volume].disconnected = True
        self.volumes[volume].since = self.clock
        self.count(Counter.COLLISIONS)
        if not state.packet:
            self.request_destage(self.volumes[volume].set)

    def host_write(self, tag: int, index: int, payload: bytes) -> None:
        """WRITE: data of one command into a free slot; the last one commits the chain."""
        if self.open is None or self.open.tag != tag:
            if tag == self.refused_tag:
                return
            if self.open is not None:
                self._fail_open(Code.CHAIN_ABORTED)
            self.error(tag, Code.UNEXPECTED_WRITE, Type.WRITE)
            return
        if len(payload) != self.geometry.track_bytes:
            self._fail_open(Code.BAD_LENGTH)
            return
        if index != len(self.open.slots):
            self._fail_open(Code.UNEXPECTED_WRITE)
            return
        slot = self.free.popleft()
        self.slots[slot] = payload
        self.open.slots.append(slot)
        if len(self.open.slots) == len(self.open.entries):
            if self.reset_after is not None:
                self.begin_commit(self.reset_after)
                return
            self._commit()

    def _drop_open(self) -> OpenChain:
        """Give the private slots back; nothing else was touched (I2)."""
        chain = self.open
        assert chain is not None
        self.free.extend(chain.slots)
        self.open = None
        return chain

    def _fail_open(self, code: Code) -> None:
        if Mutation.ABORT_COMMITS in self.mutations and self.open and self.open.slots:
            self._commit()
            return
        chain = self._drop_open()
        self.refused_tag = chain.tag
        self._chain_status(chain.tag, code, chain.set, 0)

    def _chain_status(self, tag: int, code: Code, set_: int, detail: int) -> None:
        if code is not Code.OK:
            self.count(Counter.HOST_ERRORS)
        self.answer(Type.CHAIN_STATUS, tag=tag, code=code, set=set_, detail=detail)

    def begin_commit(self, swaps: int) -> None:
        """The open chain's commit, as far as ``swaps`` slots swapped in: where a reset may
        strike. Requires that all its data is here."""
        self.committing = self.open
        assert self.committing is not None
        chain = self.committing
        for (volume, track), slot in list(zip(chain.entries, chain.slots, strict=True))[:swaps]:
            self.tracks[self.geometry.index(volume, track)].slot = slot

    def _commit(self) -> None:
        """Swap every private slot in and thread the tracks onto the set's order list: one
        indivisible pass (I2)."""
        chain = self.open
        assert chain is not None
        self.open = None
        page = self.pages[chain.set]
        own: set[int] = set()
        for (volume, track), slot in zip(chain.entries, chain.slots, strict=False):
            index = self.geometry.index(volume, track)
            state = self.tracks[index]
            if index in own and Mutation.FIRST_WRITE_WINS in self.mutations:
                self.free.append(slot)
                continue
            old, state.slot = state.slot, slot
            self.free.append(old)
            if index in own:            # written twice by this chain: the last write wins
                continue
            self._append(page, index, first_of_chain=not own)
            own.add(index)
            if Mutation.PENDING_NOT_SET not in self.mutations:
                state.pending = True
        page.chains += 1
        self.count(Counter.CHAINS)
        self.count(Counter.COMMANDS, len(chain.entries))
        self._chain_status(chain.tag, Code.OK, chain.set, page.chains & 0xFFFFFFFF)
        self._tell_committed(chain, page.chains)

    def _tell_committed(self, chain: OpenChain, number: int) -> None:
        if self.on_commit is not None:
            writes = [(v, t, self.slots[s])
                      for (v, t), s in zip(chain.entries, chain.slots, strict=False)]
            self.on_commit(chain.set, number, writes)

    def _append(self, page: SetPage, index: int, *, first_of_chain: bool) -> None:
        """Newest of the order list. The former tail learns its successor only while it is
        itself unsent: a tail already sent may by now belong to another set's list."""
        if page.unsent:
            self.links[page.tail] = OrderLink(index, first_of_chain)
        else:
            page.first = index
        page.tail = index
        page.unsent += 1

    def read_track(self, volume: int, track: int) -> bytes:
        """Last committed version. Never blocked, whatever is pending or disconnected."""
        return self.slots[self.tracks[self.geometry.index(volume, track)].slot]

    # -- Fig. 5: the sequencer ---------------------------------------------------------------

    def request_destage(self, set_: int) -> None:
        """Everything unsent of the set is to go as soon as groups and credit allow."""
        if self.pages[set_].unsent:
            self.pages[set_].destage = True

    def poll(self, set_: int) -> None:
        """The background poll of this set is due: one cut, if there is anything unsent."""
        if self.pages[set_].unsent:
            self.pages[set_].polled = True

    def can_cut(self, set_: int) -> bool:
        """Whether a group of this set is wanted, allowed, and sure of target staging."""
        page = self.pages[set_]
        return ((page.destage or page.polled or page.resync) and page.unsent > 0
                and page.in_flight < self.geometry.groups_in_flight
                and self._budget() >= self.geometry.chain_limit)

    def _budget(self) -> int:
        if Mutation.STAGING_NOT_RESERVED in self.mutations:
            return self.geometry.group_limit
        return min(self.geometry.group_limit, self.credit)

    def cut(self, set_: int) -> Group:
        """Cut whole chains off the head of the unsent list into a new group; packet pending is
        set here, before anything is sent. Requires :meth:`can_cut`."""
        page = self.pages[set_]
        budget = self._budget()
        group = Group(page.next, page.first, 0)
        at = page.first
        while True:
            if Mutation.PACKET_NOT_SET not in self.mutations:
                self.tracks[at].packet = True
            if Mutation.SLOT_FREED_WHILE_PENDING in self.mutations:
                self.free.appendleft(self.tracks[at].slot)
            group.count += 1
            self.walk_steps += 1
            link = self.links[at]
            if group.count == page.unsent:
                break
            if link.end_of_chain and budget - group.count < self.geometry.chain_limit:
                break
            if group.count == budget:       # only a broken list gets here
                break
            at = link.next
        page.first = self.links[at].next
        page.unsent -= group.count
        page.groups[group.gseq] = group
        page.next = (page.next + 1) & SEQUENCE_MASK
        self.credit -= group.count
        self.count(Counter.GROUPS)
        self.count(Counter.GROUP_TRACKS, group.count)
        if page.polled and not page.destage:
            self.count(Counter.POLLS)
        page.polled = False
        if not page.unsent:
            page.destage = False
        return group

    def dispatchable(self, set_: int) -> Type | None:
        """Type of the frame that :meth:`next_frame` would hand out: DATA, ORDER or None."""
        page = self.pages[set_]
        if not page.undispatched or not page.running:
            return None
        walk = self.walks[set_]
        if walk is None:
            return Type.DATA
        return Type.DATA if walk.left else Type.ORDER

    def next_frame(self, set_: int) -> Outgoing:
        """Next frame of group SENT + 1: its tracks one by one, then its order packet."""
        page = self.pages[set_]
        walk = self.walks[set_]
        if walk is None:
            group = page.groups[(page.sent + 1) & SEQUENCE_MASK]
            walk = self.walks[set_] = Walk(group.gseq, group.head, group.count)
        fields = {"set": set_, "epoch": page.epoch, "gseq": walk.gseq}
        if walk.left:
            index = walk.at
            slot = self.tracks[index].slot
            volume, track = self.geometry.place(index)
            walk.at = self.links[index].next
            walk.left -= 1
            self.walk_steps += 1
            self.count(Counter.DISPATCHES)
            return Outgoing(Type.DATA, fields | {"volume": volume, "track": track},
                            partial(self._slot_payload, slot))
        group = page.groups[walk.gseq]
        page.sent = walk.gseq
        self.walks[set_] = None
        return Outgoing(Type.ORDER, fields | {"count": group.count},
                        partial(self.order_payload, group))

    def _slot_payload(self, slot: int) -> bytes:
        return self.slots[slot]

    def order_payload(self, group: Group) -> bytes:
        """The order packet: the group's part of the order list; the last entry always ends a
        chain, since a group is whole chains."""
        payload = bytearray()
        at = group.head
        for left in range(group.count, 0, -1):
            volume, track = self.geometry.place(at)
            link = self.links[at]
            end = left == 1 or link.end_of_chain
            if Mutation.END_OF_CHAIN_DROPPED in self.mutations:
                end = left == 1
            payload += wire.entry(volume, track, end)
            at = link.next
        return bytes(payload)

    def acknowledge(self, set_: int, epoch: int, gseq: int) -> bool:
        """Every group of the set up to ``gseq`` has committed at the target. Clears them; False
        if that is old, unknown or of another epoch."""
        page = self.pages[set_]
        steps = (gseq - page.done) & SEQUENCE_MASK
        if epoch != page.epoch or not 0 < steps <= page.in_flight:
            return False
        if Mutation.STATUS_NOT_MATCHED in self.mutations:
            steps = page.in_flight
        for _ in range(steps):
            page.done = (page.done + 1) & SEQUENCE_MASK
            self._clear(set_, page.groups.pop(page.done))
        if (page.sent - page.done) & SEQUENCE_MASK > page.in_flight:    # cleared unsent (rewound)
            page.sent = page.done
        walk = self.walks[set_]
        if walk is not None and walk.gseq != (page.sent + 1) & SEQUENCE_MASK:
            self.walks[set_] = None
        page.used = True
        if Mutation.STATUS_REWINDS in self.mutations:
            self.rewind(set_)
        return True

    def _clear(self, set_: int, group: Group) -> None:
        """Drop the pending flags of a committed group and reconnect whoever waited for it."""
        page = self.pages[set_]
        at = group.head
        for left in range(group.count, 0, -1):
            state, link = self.tracks[at], self.links[at]
            if left == 1 or link.end_of_chain:
                page.acked += 1
            if state.waiter:
                self._reconnect(at)
            state.pending = state.packet = state.waiter = False
            self.walk_steps += 1
            at = link.next
        self.credit += group.count
        self.count(Counter.GROUPS_DONE)
        if Mutation.RECONNECT_WRONG_GROUP in self.mutations:
            for index, state in self.tracks.items():
                if state.waiter and self.volumes[self.geometry.place(index)[0]].set == set_:
                    state.waiter = False
                    self._reconnect(index)

    def _reconnect(self, index: int) -> None:
        volume, track = self.geometry.place(index)
        state = self.volumes[volume]
        state.disconnected = False
        self.count(Counter.RECONNECTS)
        self.answer(Type.RECONNECT, volume=volume, track=track,
                    clocks=(self.clock - state.since) & 0xFFFFFFFF)

    def rewind(self, set_: int) -> None:
        """Send every uncleared group again, verbatim: after a time-out (R23) or a lost link."""
        page = self.pages[set_]
        if page.sent == page.done and self.walks[set_] is None:
            return
        page.sent = page.done
        self.walks[set_] = None
        self.count(Counter.GROUP_RESENDS)
        if Mutation.RESENT_GROUP_GROWS in self.mutations and page.unsent and page.in_flight:
            group = page.groups[(page.next - 1) & SEQUENCE_MASK]
            last = group.head
            for _ in range(group.count - 1):
                last = self.links[last].next
            self.links[last] = OrderLink(page.first, True)
            at = page.first
            for _ in range(page.unsent):
                self.tracks[at].packet = True
                at = self.links[at].next
            group.count += page.unsent
            self.credit -= page.unsent
            page.unsent = 0

    # -- registers ---------------------------------------------------------------------------

    def assign(self, volume: int, set_: int) -> Code:
        """Move a volume to another set (claims 74, 77); refused while its old set has anything
        pending, since the order between the two sets would be lost."""
        if not 0 <= set_ < self.geometry.sets:
            return Code.BAD_VALUE
        state = self.volumes[volume]
        if state.set == set_:
            return Code.OK
        if (self.open is not None or self.pages[state.set].pending
                or not self._alike(self.pages[state.set], self.pages[set_])):
            return Code.SET_BUSY
        if self.pages[set_].volumes >= self.geometry.volumes_per_set:
            return Code.SET_FULL
        self.pages[state.set].volumes -= 1
        self.pages[set_].volumes += 1
        self.pages[set_].used |= self.pages[state.set].used
        state.set = set_
        if self.on_assign is not None:
            self.on_assign(volume, set_)
        return Code.OK

    @staticmethod
    def _alike(old: SetPage, new: SetPage) -> bool:
        """Whether the target has both sets, or neither, and so nothing of a moved volume can be
        left out of a resynchronisation."""
        if old.resync or new.resync:
            return False
        return (old.running and new.running) or not (old.running or new.running or old.used)

    on_assign: Callable[[int, int], None] | None = None

    def read_special(self, address: int) -> int | None:
        g = self.geometry
        if address == Reg.FREE_SLOTS:
            return len(self.free)
        if address == Reg.LIFE:
            return self.life
        if address == Reg.CREDIT:
            return self.credit
        if address == Reg.DISCONNECTED:
            return sum(v.disconnected for v in self.volumes)
        if address == Reg.DESTAGE:
            return sum(1 << s for s, page in enumerate(self.pages) if page.destage)
        if Reg.VOLUME_SET <= address < Reg.VOLUME_SET + g.volumes:
            return self.volumes[address - Reg.VOLUME_SET].set
        return super().read_special(address)

    def write_special(self, address: int, value: int) -> Code | None:
        g = self.geometry
        if address == Reg.DESTAGE:
            if value >> g.sets:
                return Code.BAD_VALUE
            for set_ in range(g.sets):
                if value >> set_ & 1:
                    self.request_destage(set_)
            return Code.OK
        if Reg.VOLUME_SET <= address < Reg.VOLUME_SET + g.volumes:
            return self.assign(address - Reg.VOLUME_SET, value)
        return super().write_special(address, value)

    def page_words(self, set_: int) -> dict[int, int]:
        page = self.pages[set_]
        words = {
            SetWord.FIRST: page.first, SetWord.TAIL: page.tail, SetWord.UNSENT: page.unsent,
            SetWord.NEXT: page.next, SetWord.SENT: page.sent, SetWord.DONE: page.done,
            SetWord.EPOCH: page.epoch, SetWord.VOLUMES: page.volumes,
            SetWord.CHAINS_LOW: page.chains & 0xFFFF, SetWord.CHAINS_HIGH: page.chains >> 16,
            SetWord.ACKED_LOW: page.acked & 0xFFFF, SetWord.ACKED_HIGH: page.acked >> 16,
            SetWord.FLAGS: (SourceFlag.RUNNING * page.running | SourceFlag.RESYNC * page.resync
                            | SourceFlag.USED * page.used),
            SetWord.RESYNC_LOW: page.mark & 0xFFFF, SetWord.RESYNC_HIGH: page.mark >> 16,
        }
        out: dict[int, int] = {int(k): v for k, v in words.items()}
        for group in page.groups.values():
            at = SetWord.GROUP + wire.GROUP_WORDS * (group.gseq % self.geometry.groups_in_flight)
            out[at + wire.GROUP_HEAD] = group.head
            out[at + wire.GROUP_COUNT] = group.count
        return out


__all__ = ["Answer", "Group", "OpenChain", "OrderLink", "Outgoing", "SetPage", "Source",
           "TrackState", "VolumeState", "Walk"]
