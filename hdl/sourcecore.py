"""The source system without its lines."""

from types import SimpleNamespace

from amaranth import *
from amaranth.lib.wiring import Out, connect, flipped

from firmware_model.wire import Counter, Role, SetWord, Type

from .chain import ChainProcessor
from .clerk import Clerk
from .counters import Tally
from .dispatcher import Dispatcher
from .interfaces import SourceState
from .liaison import Liaison
from .line import PayloadJoin
from .mutations import Mutation, lacks
from .orderwalker import OrderWalker
from .poller import Poller
from .resync import Resync
from .sequencer import Sequencer, StatusFilter
from .slotwriter import SlotWriter
from .system import Core
from .volumes import Reconnects, VolumeMap
from .writeset import SinkRouter

__all__ = ["SourceCore"]

# How often each can happen between two visits of the counters' scan, at most 192 clocks with
# four links: walks count a track in 2 or 3 clocks, cuts and clears take at least 16 each, and a
# link needs at least 15 for a descriptor. What counts clocks counts one a clock. A frame to be
# rejected lasts longer than all of them: one or two of each link.
_TALLIES = {
    Counter.CHAINS: Tally(),
    Counter.COMMANDS: Tally(pending=8),
    Counter.COLLISIONS: Tally(),
    Counter.RECONNECTS: Tally(pending=8),
    Counter.GROUPS: Tally(pending=4),
    Counter.GROUP_TRACKS: Tally(pending=8),
    Counter.GROUPS_DONE: Tally(pending=4),
    Counter.POLLS: Tally(pending=4),
    Counter.GROUP_RESENDS: Tally(pending=5),
    Counter.REJECTED: Tally(amount=4, pending=5),
    Counter.DISPATCHES: Tally(pending=4),
    Counter.DISPATCH_CLOCKS: Tally(pending=8),
    Counter.RESYNCS: Tally(pending=4),
    Counter.RESYNC_TRACKS: Tally(pending=5),
    Counter.LOOKUPS: Tally(pending=8),
    Counter.LOOKUP_CLOCKS: Tally(pending=8),
}

# With more, up to eight, at most 288 clocks; only what counts clocks can get that far.
_TALLIES_OF_MANY = _TALLIES | {Counter.DISPATCH_CLOCKS: Tally(pending=9)}

# A clerk has none of the faults of the machines that it stands for.
_OF_MACHINES = {
    Mutation.PACKET_NOT_SET, Mutation.RECONNECT_WRONG_GROUP, Mutation.RESENT_GROUP_GROWS,
    Mutation.STATUS_NOT_MATCHED, Mutation.STAGING_NOT_RESERVED, Mutation.LOSS_NOT_REWOUND,
    Mutation.LOST_TARGET_BEGUN, Mutation.RESYNCED_EARLY, Mutation.SCAN_SKIPS_TRACKS,
    Mutation.STATUS_REWINDS,
}

# A source that restarts has nothing in flight: the target is told to start over. See Recovery.
_KEPT = {SetWord.EPOCH, SetWord.VOLUMES, SetWord.CHAINS_LOW, SetWord.CHAINS_HIGH}


class SourceCore(Core):
    """Takes the host's chains, mirrors them over the links, and serves reads.

    Parameters
    ----------
    geometry : Geometry
    channel : bool
        Whether the register window ``CHANNEL`` leads to a channel emulator.
    mutation : Mutation or None
        Deliberate fault of a test build; with shared lines none of what mirrors the sets.
    lines : str
        See :class:`.system.Core`.

    Members
    -------
    Those of :class:`.system.Core`, and

    destaging : Out(sets)
        Sets whose destage is wanted.
    disconnected : Out(8)
        Volumes disconnected now.
    fault : Out(1)
        An invariant was broken; see :class:`.sequencer.Sequencer`.
    """

    def __init__(self, geometry, *, channel=True, mutation=None, lines="each"):
        if lines == "shared" and mutation in _OF_MACHINES:
            raise ValueError(f"mutation {Mutation(mutation).name} is not in a source with shared "
                             "lines: its clerk has none")
        super().__init__(
            geometry, Role.SOURCE, state=SourceState(geometry), slots=geometry.source_slots,
            kept=_KEPT, tallies=_TALLIES if geometry.links <= 4 else _TALLIES_OF_MANY,
            channel=channel, mutation=mutation, lines=lines, members={
                "destaging": Out(geometry.sets),
                "disconnected": Out(8),
                "fault": Out(1),
            })

    @property
    def _life(self):
        """Never 0, another one after each reset."""
        return (self.generation + 1)[:16]

    def furnish(self, m, parts):
        g = self.geometry
        m.submodules.router = router = SinkRouter([Type.CHAIN, Type.WRITE])
        m.submodules.writer = writer = SlotWriter(g)
        m.submodules.chain = chain = ChainProcessor(g, mutation=self.mutation)
        m.submodules.volumes = volumes = VolumeMap(g)
        m.submodules.reconnects = reconnects = Reconnects(g)
        m.submodules.poller = poller = Poller()
        m.submodules.status = status = StatusFilter(g)
        mirror = self._employ_clerk if self._lines == "shared" else self._build_machines
        started = Signal()              # some link has, a clock ago
        mirror = mirror(m, registers=parts.registers, chain=chain, started=started)
        walkers = self._provide_payloads(m)
        free_list, host_port, registers = parts.free_list, parts.host_port, parts.registers

        # -- slots: free list -> writer -> chain -> free list ---------------------------------
        connect(m, free_list.pop, writer.slots)
        connect(m, chain.free, parts.freed)
        m.d.comb += [
            chain.slot.eq(writer.slot),
            chain.slot_valid.eq(writer.slot_valid),
            writer.take.eq(chain.take),
            chain.free_level.eq(free_list.level),
        ]

        # -- host ---------------------------------------------------------------------------
        connect(m, flipped(self.host.sink), router.sink)
        connect(m, router.outputs[0], chain.sink)
        connect(m, router.outputs[1], writer.sink)
        connect(m, host_port.chain_events, chain.events)
        connect(m, chain.status, host_port.status)
        connect(m, reconnects.descriptors, host_port.reconnects)
        connect(m, registers.volume_set, volumes.bus)
        m.d.comb += [
            chain.new_session.eq(self.host.started),
            registers.disconnected.eq(reconnects.disconnected),
            registers.credit.eq(mirror.credit),
        ]

        # -- collision, destage, reconnect ----------------------------------------------------
        m.d.comb += [
            volumes.chain_open.eq(chain.chain_open),
            reconnects.now.eq(registers.clock),
            reconnects.disconnect.eq(chain.disconnect),
            reconnects.disconnect_volume.eq(chain.disconnect_volume),
            poller.tick.eq(registers.poll_tick),
            poller.interval.eq(registers.poll_interval),
            mirror.destage.eq(registers.destage
                              | Mux(chain.destage.valid, 1 << chain.destage.set, 0)),
            mirror.poll.eq(poller.due),
            self.destaging.eq(mirror.destaging),
            self.disconnected.eq(reconnects.disconnected),
            self.fault.eq(mirror.fault),
        ]

        # A clock later: it is decided on what the metadata show, and the lock is held meanwhile;
        # and links come to such conclusions late in a clock.
        m.d.sync += [
            reconnects.reconnect.eq(mirror.reconnect),
            reconnects.reconnect_index.eq(mirror.reconnect_index),
            mirror.link_lost.eq(Cat(link.flushed for link in self.links).any()),
            started.eq(Cat(link.started for link in self.links).any()),
        ]

        # -- links --------------------------------------------------------------------------
        connect(m, status.status, mirror.status)
        m.d.comb += [
            registers.life.eq(self._life),
            mirror.life.eq(self._life),
            mirror.slow_tick.eq(registers.slow_tick),
            mirror.group_timeout.eq(registers.group_timeout),
            mirror.use.eq(volumes.use | parts.warm.replicate(g.sets)),
            chain.finish.eq(parts.finish),
            parts.finished.eq(chain.finished),
            *(getattr(part, name).eq(getattr(mirror, name))
              for part in (volumes, parts.pages) for name in ("running", "resyncing", "used")),
        ]
        renewing = lacks(self.mutation, Mutation.OLD_SESSIONS_KEPT)
        for n, link in enumerate(self.links):
            connect(m, flipped(link.events), status.events[n])
            m.d.comb += [
                link.sink.ready.eq(1),      # commit status has no payload
                link.renew.eq(mirror.lost & renewing),
            ]

        # -- counters -----------------------------------------------------------------------
        add = parts.counters.add
        m.d.comb += [
            add.chains.eq(chain.committed),
            add.commands.eq(chain.command),
            add.collisions.eq(chain.collision),
            add.reconnects.eq(mirror.reconnect),
            add.groups.eq(mirror.group),
            add.group_tracks.eq(mirror.group_track),
            add.groups_done.eq(mirror.group_done),
            add.polls.eq(mirror.polled),
            add.group_resends.eq(mirror.resent),
            add.rejected.eq(sum(status.rejected, start=mirror.rejected)),
            add.dispatches.eq(mirror.dispatched),
            add.dispatch_clocks.eq(mirror.walking),
            add.resyncs.eq(mirror.resynced),
            add.resync_tracks.eq(mirror.resync_track),
            add.lookups.eq(chain.lookup),
            add.lookup_clocks.eq(chain.looking_up),
        ]
        lockers = [chain.meta, *mirror.lockers, volumes.meta,
                   *(walker.meta for walker in walkers)]
        return lockers, [writer.memory], [walker.memory for walker in walkers]

    def _build_machines(self, m, *, registers, chain, started):
        """What mirrors the sets: four machines, each on its own.

        Returns their inputs, outputs and counts as those of a :class:`.clerk.Clerk`, and who of
        them needs the metadata.
        """
        g = self.geometry
        m.submodules.sequencer = sequencer = Sequencer(g, mutation=self.mutation)
        m.submodules.resync = resync = Resync(g, mutation=self.mutation)
        m.submodules.liaison = liaison = Liaison(g)
        m.submodules.dispatcher = dispatcher = Dispatcher(g)
        connect(m, liaison.frames, dispatcher.control)
        destage = Signal(g.sets)
        m.d.comb += [
            sequencer.destage.eq(destage | resync.destage),
            dispatcher.notice.eq(sequencer.notice),
            dispatcher.running.eq(sequencer.running),
            liaison.life.eq(sequencer.life),
            liaison.request.eq(sequencer.request),
            liaison.resyncing.eq(sequencer.resyncing),
            liaison.ask.eq(Mux(started, ~0, resync.ask)),
            liaison.forget.eq(sequencer.lost),
            resync.start.eq(sequencer.scan),
            resync.chain_open.eq(chain.chain_open),
            resync.tick.eq(registers.poll_tick),
        ]
        for n, link in enumerate(self.links):
            connect(m, flipped(link.submit), dispatcher.submit[n])
            m.d.comb += [
                dispatcher.up[n].eq(link.up),
                dispatcher.room[n].eq(link.room),
                dispatcher.word[n].eq(link.word),
                link.submitted.eq(dispatcher.submitted[n]),
            ]
        same = ("status", "poll", "slow_tick", "group_timeout", "link_lost", "life", "use",
                "running", "resyncing", "used", "lost", "reconnect", "reconnect_index", "credit",
                "destaging", "fault", "group", "group_track", "polled", "group_done", "resent",
                "rejected", "resynced")
        return SimpleNamespace(
            **{name: getattr(sequencer, name) for name in same}, destage=destage,
            dispatched=dispatcher.dispatched, walking=sequencer.walking | dispatcher.walking,
            resync_track=resync.track,
            lockers=[sequencer.meta, liaison.meta, resync.meta, dispatcher.meta])

    def _employ_clerk(self, m, *, registers, chain, started):
        """The same by one processor; its frames are read word by word."""
        m.submodules.clerk = clerk = Clerk(self.geometry)
        m.d.comb += [
            clerk.tick.eq(registers.poll_tick),
            clerk.chain_open.eq(chain.chain_open),
            clerk.link_started.eq(started),
            # All lines show the same: they are one engine's.
            clerk.asks.eq(self.links[0].asks),
            clerk.word.eq(self.links[0].word),
        ]
        for n, link in enumerate(self.links):
            m.d.comb += [
                link.submit.valid.eq(clerk.offered[n] & link.up),
                link.submitted.eq(clerk.said),
                clerk.up[n].eq(link.up),
                clerk.room[n].eq(link.room),
                clerk.taken[n].eq(link.submit.valid & link.submit.ready),
            ]
        clerk.lockers = [clerk.meta]
        return clerk

    def _provide_payloads(self, m):
        """A walker for each link, or one for all of them if their lines are shared."""
        ports = [flipped(link.payload) for link in self.links]
        if self._lines == "shared":
            m.submodules.payloads = join = PayloadJoin(len(ports))
            for n, port in enumerate(ports):
                connect(m, port, join.lines[n])
            ports = [join.provider]
        walkers = [OrderWalker(self.geometry) for _ in ports]
        for n, (port, walker) in enumerate(zip(ports, walkers, strict=True)):
            m.submodules[f"walker_{n}"] = walker
            connect(m, port, walker.payload)
        return walkers
