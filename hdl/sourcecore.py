"""The source system without its lines."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from firmware_model.wire import Counter, Role, Type

from .arbiter import MemoryArbiter, RegisterArbiter
from .chain import ChainProcessor
from .counters import Counters, Tally, link_tallies
from .datamem import DataMemory
from .dispatcher import Dispatcher
from .freelist import FreeList
from .hostport import HostPort
from .interfaces import Descriptor, Event, PayloadPort, PayloadSink, RegisterPort, SourceState
from .metadata import Metadata
from .mutations import checked
from .orderwalker import OrderWalker
from .pagereader import PageReader
from .poller import Poller
from .reader import Reader
from .registers import Registers
from .sequencer import Sequencer, StatusFilter
from .slotwriter import SlotWriter
from .volumes import STAMP_BITS, Reconnects, VolumeMap
from .writeset import SinkRouter

__all__ = ["SourceCore"]

# How often each can happen between two visits of the counters' scan, at most 192 clocks with
# eight links: walks count a track in 2 or 3 clocks, cuts and clears take at least 16 each, and a
# link needs at least 15 for a descriptor. What counts clocks counts one a clock.
_TALLIES = {
    Counter.HOST_FRAMES: Tally(),
    Counter.HOST_BAD_FRAMES: Tally(),
    Counter.HOST_RESENDS: Tally(),
    Counter.HOST_ERRORS: Tally(),
    Counter.CHAINS: Tally(),
    Counter.COMMANDS: Tally(pending=8),
    Counter.COLLISIONS: Tally(),
    Counter.RECONNECTS: Tally(pending=8),
    Counter.READS: Tally(),
    Counter.GROUPS: Tally(pending=4),
    Counter.GROUP_TRACKS: Tally(pending=8),
    Counter.GROUPS_DONE: Tally(pending=4),
    Counter.POLLS: Tally(pending=4),
    Counter.GROUP_RESENDS: Tally(pending=5),
    Counter.REJECTED: Tally(amount=4, pending=8),
    Counter.DISPATCHES: Tally(pending=4),
    Counter.DISPATCH_CLOCKS: Tally(pending=8),
    Counter.LOOKUPS: Tally(pending=8),
    Counter.LOOKUP_CLOCKS: Tally(pending=8),
}


class SourceCore(wiring.Component):
    """Takes the host's chains, mirrors them over the links, and serves reads.

    Parameters
    ----------
    geometry : Geometry
    channel : bool
        Whether the register window ``CHANNEL`` leads to a channel emulator.
    mutation : Mutation or None
        Deliberate fault of a test build.

    Members
    -------
    events : In(stream.Signature(Event)).array(links)
    submits : Out(stream.Signature(Descriptor)).array(links)
    payloads : In(PayloadPort()).array(links)
    links_up, links_room, links_flushed : In(links)
    link_counts : In(link_tallies()).array(links)
        From and to the links' LinkEngines.
    host_events, host_sink, host_submit, host_payload, host_flushed, host_started, host_counts
        From and to the host's LinkEngine.
    generation : In(8)
    channel : Out(RegisterPort())
        Only if asked for.
    ready : Out(1)
        Tables are initialised. What comes earlier waits.
    destaging : Out(sets)
        Sets whose destage is wanted.
    disconnected : Out(8)
        Volumes disconnected now.
    fault : Out(1)
        An invariant was broken; see :class:`.sequencer.Sequencer`.
    """

    def __init__(self, geometry, *, channel=True, mutation=None):
        self.geometry = geometry
        self._channel = channel
        self._mutation = checked(mutation)
        links = geometry.links
        members = {
            "events": In(stream.Signature(Event)).array(links),
            "submits": Out(stream.Signature(Descriptor)).array(links),
            "payloads": In(PayloadPort()).array(links),
            "links_up": In(links),
            "links_room": In(links),
            "links_flushed": In(links),
            "link_counts": In(link_tallies()).array(links),
            "host_events": In(stream.Signature(Event)),
            "host_sink": In(PayloadSink()),
            "host_submit": Out(stream.Signature(Descriptor)),
            "host_payload": In(PayloadPort()),
            "host_flushed": In(1),
            "host_started": In(1),
            "host_counts": In(link_tallies()),
            "generation": In(8),
            "ready": Out(1),
            "destaging": Out(geometry.sets),
            "disconnected": Out(8),
            "fault": Out(1),
        }
        if channel:
            members["channel"] = Out(RegisterPort())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        state = SourceState(g)

        # -- the parts ----------------------------------------------------------------------
        m.submodules.data_memory = memory = DataMemory(g, g.source_slots)
        m.submodules.free_list = free_list = FreeList(g, first=g.tracks, count=g.spare_slots)
        m.submodules.host_port = host_port = HostPort(g, Role.SOURCE)
        m.submodules.reader = reader = Reader(g, state)
        m.submodules.router = router = SinkRouter([Type.CHAIN, Type.WRITE])
        m.submodules.writer = writer = SlotWriter(g)
        m.submodules.chain = chain = ChainProcessor(g, mutation=self._mutation)
        m.submodules.volumes = volumes = VolumeMap(g)
        m.submodules.reconnects = reconnects = Reconnects(g)
        m.submodules.poller = poller = Poller()
        m.submodules.status = status = StatusFilter(g)
        m.submodules.sequencer = sequencer = Sequencer(g, mutation=self._mutation)
        m.submodules.dispatcher = dispatcher = Dispatcher(g)
        m.submodules.registers = registers = Registers(g, Role.SOURCE, channel=self._channel)
        m.submodules.counters = counters = Counters(g, _TALLIES)
        m.submodules.pages = pages = PageReader(g, state)
        walkers = [OrderWalker(g) for _ in range(g.links)]
        for n, walker in enumerate(walkers):
            m.submodules[f"walker_{n}"] = walker

        # -- shared memories ----------------------------------------------------------------
        lockers = [chain.meta, sequencer.meta, dispatcher.meta, volumes.meta, reader.meta,
                   pages.meta, *(walker.meta for walker in walkers)]
        m.submodules.metadata = metadata = Metadata(g, state, len(lockers))
        for port, client in zip(metadata.clients, lockers, strict=True):
            connect(m, client, port)
        fetchers = [writer.memory, reader.memory, *(walker.memory for walker in walkers)]
        m.submodules.arbiter = arbiter = MemoryArbiter(len(fetchers), len(memory.port.addr))
        for port, client in zip(arbiter.clients, fetchers, strict=True):
            connect(m, client, port)
        connect(m, arbiter.port, memory.port)
        m.d.comb += self.ready.eq(metadata.ready & free_list.ready)

        # -- slots: free list -> writer -> chain -> free list ---------------------------------
        connect(m, free_list.pop, writer.slots)
        connect(m, chain.free, free_list.push)
        m.d.comb += [
            chain.slot.eq(writer.slot),
            chain.slot_valid.eq(writer.slot_valid),
            writer.take.eq(chain.take),
            chain.free_level.eq(free_list.level),
            free_list.pin.eq(reader.pin.valid),
            free_list.pin_slot.eq(reader.pin.slot),
        ]

        # -- host ---------------------------------------------------------------------------
        connect(m, wiring.flipped(self.host_events), host_port.events)
        connect(m, wiring.flipped(self.host_submit), host_port.submit)
        connect(m, wiring.flipped(self.host_payload), reader.payload)
        connect(m, wiring.flipped(self.host_sink), router.sink)
        connect(m, router.outputs[0], chain.sink)
        connect(m, router.outputs[1], writer.sink)
        connect(m, host_port.chain_events, chain.events)
        connect(m, chain.status, host_port.status)
        connect(m, reconnects.descriptors, host_port.reconnects)
        m.d.comb += [
            host_port.flushed.eq(self.host_flushed),
            chain.new_session.eq(self.host_started),
        ]

        # -- collision, destage, reconnect ----------------------------------------------------
        clock = Signal(STAMP_BITS)
        m.d.sync += clock.eq(clock + 1)
        m.d.comb += [
            volumes.chain_open.eq(chain.chain_open),
            reconnects.now.eq(clock),
            reconnects.disconnect.eq(chain.disconnect),
            reconnects.disconnect_volume.eq(chain.disconnect_volume),
            reconnects.reconnect.eq(sequencer.reconnect),
            reconnects.reconnect_index.eq(sequencer.reconnect_index),
            poller.tick.eq(registers.poll_tick),
            poller.interval.eq(registers.poll_interval),
            sequencer.destage.eq(registers.destage
                                 | Mux(chain.destage.valid, 1 << chain.destage.set, 0)),
            sequencer.poll.eq(poller.due),
            sequencer.slow_tick.eq(registers.slow_tick),
            sequencer.group_timeout.eq(registers.group_timeout),
            sequencer.link_lost.eq(self.links_flushed.any()),
            dispatcher.notice.eq(sequencer.notice),
            self.destaging.eq(sequencer.destaging),
            self.disconnected.eq(reconnects.disconnected),
            self.fault.eq(sequencer.fault),
        ]

        # -- links --------------------------------------------------------------------------
        connect(m, status.status, sequencer.status)
        m.d.comb += [dispatcher.up.eq(self.links_up), dispatcher.room.eq(self.links_room)]
        for n, walker in enumerate(walkers):
            connect(m, wiring.flipped(self.events[n]), status.events[n])
            connect(m, wiring.flipped(self.submits[n]), dispatcher.submit[n])
            connect(m, wiring.flipped(self.payloads[n]), walker.payload)

        self._registers(m, registers, host_port, reader, counters, pages, volumes)
        m.d.comb += [
            registers.free_slots.eq(free_list.level),
            registers.disconnected.eq(reconnects.disconnected),
            registers.credit.eq(sequencer.credit),
        ]

        # -- counters -----------------------------------------------------------------------
        m.d.comb += [
            counters.add.host_frames.eq(self.host_counts.frames_received),
            counters.add.host_bad_frames.eq(self.host_counts.bad_frames),
            counters.add.host_resends.eq(self.host_counts.resends),
            counters.add.host_errors.eq(host_port.refused),
            counters.add.chains.eq(chain.committed),
            counters.add.commands.eq(chain.command),
            counters.add.collisions.eq(chain.collision),
            counters.add.reconnects.eq(sequencer.reconnect),
            counters.add.reads.eq(host_port.read),
            counters.add.groups.eq(sequencer.group),
            counters.add.group_tracks.eq(sequencer.group_track),
            counters.add.groups_done.eq(sequencer.group_done),
            counters.add.polls.eq(sequencer.polled),
            counters.add.group_resends.eq(sequencer.resent),
            counters.add.rejected.eq(sum(status.rejected, start=sequencer.rejected)),
            counters.add.dispatches.eq(dispatcher.dispatched),
            counters.add.dispatch_clocks.eq(sequencer.walking | dispatcher.walking),
            counters.add.lookups.eq(chain.lookup),
            counters.add.lookup_clocks.eq(chain.looking_up),
        ]
        for mine, counts in zip(counters.links, self.link_counts, strict=True):
            m.d.comb += mine.eq(counts)
        return m

    def _registers(self, m, registers, host_port, reader, counters, pages, volumes):
        m.submodules.bus = bus = RegisterArbiter(2)
        connect(m, host_port.registers, bus.clients[0])
        connect(m, reader.registers, bus.clients[1])
        connect(m, bus.port, registers.bus)
        connect(m, registers.counters, counters.bus)
        connect(m, registers.pages, pages.bus)
        connect(m, registers.volume_set, volumes.bus)
        if self._channel:
            connect(m, wiring.flipped(self.channel), registers.channel)
        m.d.comb += [
            registers.generation.eq(self.generation),
            registers.links_up.eq(self.links_up),
        ]
