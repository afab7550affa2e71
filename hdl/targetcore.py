"""The target system without its lines."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from firmware_model.wire import Counter, Role

from .arbiter import MemoryArbiter, RegisterArbiter
from .commit import CommitEngine
from .counters import Counters, Tally, link_tallies
from .datamem import DataMemory
from .freelist import FreeList
from .hostport import HostPort
from .interfaces import Descriptor, Event, PayloadPort, PayloadSink, RegisterPort, TargetState
from .metadata import Metadata
from .pagereader import PageReader
from .reader import Reader
from .receiver import Receiver
from .registers import Registers
from .slotwriter import SlotWriter
from .status import StatusSender

__all__ = ["TargetCore"]

# A chain takes at least 8 clocks to commit and a track 2, so some 50 tracks or a dozen chains at
# most gather between two visits of the counters' scan.
_TALLIES = {
    Counter.HOST_FRAMES: Tally(),
    Counter.HOST_BAD_FRAMES: Tally(),
    Counter.HOST_RESENDS: Tally(),
    Counter.HOST_ERRORS: Tally(),
    Counter.CHAINS: Tally(pending=6),
    Counter.COMMANDS: Tally(pending=8),
    Counter.READS: Tally(),
    Counter.GROUPS: Tally(pending=4),
    Counter.GROUP_TRACKS: Tally(pending=8),
    Counter.DUPLICATES: Tally(),
    Counter.REJECTED: Tally(),
}


class TargetCore(wiring.Component):
    """Stages what the links bring, commits it in order, and serves the host's reads.

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
    sinks : In(PayloadSink()).array(links)
    statuses : Out(stream.Signature(Descriptor)).array(links)
    links_up : In(links)
    link_counts : In(link_tallies()).array(links)
        From and to the links' LinkEngines.
    host_events, host_sink, host_submit, host_payload, host_flushed, host_counts
        From and to the host's LinkEngine.
    generation : In(8)
    channel : Out(RegisterPort())
        Only if asked for.
    ready : Out(1)
        Tables are initialised. What comes earlier waits.
    """

    def __init__(self, geometry, *, channel=False, mutation=None):
        self.geometry = geometry
        self._channel = channel
        self._mutation = mutation
        links = geometry.links
        members = {
            "events": In(stream.Signature(Event)).array(links),
            "sinks": In(PayloadSink()).array(links),
            "statuses": Out(stream.Signature(Descriptor)).array(links),
            "links_up": In(links),
            "link_counts": In(link_tallies()).array(links),
            "host_events": In(stream.Signature(Event)),
            "host_sink": In(PayloadSink()),
            "host_submit": Out(stream.Signature(Descriptor)),
            "host_payload": In(PayloadPort()),
            "host_flushed": In(1),
            "host_counts": In(link_tallies()),
            "generation": In(8),
            "ready": Out(1),
        }
        if channel:
            members["channel"] = Out(RegisterPort())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        state = TargetState(g)

        # -- the parts ----------------------------------------------------------------------
        m.submodules.data_memory = memory = DataMemory(g, g.target_slots)
        m.submodules.free_list = free_list = FreeList(g, first=g.tracks,
                                                      count=g.target_slots - g.tracks)
        m.submodules.receiver = receiver = Receiver(g)
        m.submodules.commit = commit = CommitEngine(g, mutation=self._mutation)
        m.submodules.status = status = StatusSender(g)
        m.submodules.host_port = host_port = HostPort(g, Role.TARGET)
        m.submodules.reader = reader = Reader(g, state)
        m.submodules.registers = registers = Registers(g, Role.TARGET, channel=self._channel)
        m.submodules.counters = counters = Counters(g, _TALLIES)
        m.submodules.pages = pages = PageReader(g, state)
        writers = [SlotWriter(g) for _ in range(g.links)]
        for n, writer in enumerate(writers):
            m.submodules[f"writer_{n}"] = writer

        # -- shared memories ----------------------------------------------------------------
        lockers = [receiver.meta, commit.meta, status.meta, reader.meta, pages.meta]
        m.submodules.metadata = metadata = Metadata(g, state, len(lockers))
        for port, client in zip(metadata.clients, lockers, strict=True):
            connect(m, client, port)
        fetchers = [*(writer.memory for writer in writers), receiver.memory, reader.memory]
        m.submodules.arbiter = arbiter = MemoryArbiter(len(fetchers), len(memory.port.addr))
        for port, client in zip(arbiter.clients, fetchers, strict=True):
            connect(m, client, port)
        connect(m, arbiter.port, memory.port)
        m.d.comb += self.ready.eq(metadata.ready & free_list.ready)

        # -- links --------------------------------------------------------------------------
        for n, writer in enumerate(writers):
            connect(m, wiring.flipped(self.sinks[n]), writer.sink)
            connect(m, wiring.flipped(self.events[n]), receiver.events[n])
            connect(m, wiring.flipped(self.statuses[n]), status.submit[n])
            m.d.comb += [
                receiver.slot[n].eq(writer.slot),
                receiver.slot_valid[n].eq(writer.slot_valid),
                writer.take.eq(receiver.take[n]),
            ]
        m.d.comb += [
            commit.progress.eq(receiver.progress),
            status.due[0].eq(receiver.due),
            status.due[1].eq(commit.due),
            status.links_up.eq(self.links_up),
        ]
        self._share_slots(m, free_list, writers, commit, receiver)
        m.d.comb += [free_list.pin.eq(reader.pin.valid), free_list.pin_slot.eq(reader.pin.slot)]

        # -- host ---------------------------------------------------------------------------
        connect(m, wiring.flipped(self.host_events), host_port.events)
        connect(m, wiring.flipped(self.host_submit), host_port.submit)
        connect(m, wiring.flipped(self.host_payload), reader.payload)
        m.d.comb += [
            self.host_sink.ready.eq(1),     # no request to a target carries anything of use
            host_port.flushed.eq(self.host_flushed),
        ]
        m.submodules.bus = bus = RegisterArbiter(2)
        connect(m, host_port.registers, bus.clients[0])
        connect(m, reader.registers, bus.clients[1])
        connect(m, bus.port, registers.bus)
        connect(m, registers.counters, counters.bus)
        connect(m, registers.pages, pages.bus)
        if self._channel:
            connect(m, wiring.flipped(self.channel), registers.channel)
        m.d.comb += [
            registers.generation.eq(self.generation),
            registers.free_slots.eq(free_list.level),
            registers.links_up.eq(self.links_up),
            commit.hold.eq(registers.hold),
            registers.held.eq(commit.held),
        ]

        # -- counters -----------------------------------------------------------------------
        m.d.comb += [
            counters.add.host_frames.eq(self.host_counts.frames_received),
            counters.add.host_bad_frames.eq(self.host_counts.bad_frames),
            counters.add.host_resends.eq(self.host_counts.resends),
            counters.add.host_errors.eq(host_port.refused),
            counters.add.chains.eq(commit.chain),
            counters.add.commands.eq(commit.track),
            counters.add.reads.eq(host_port.read),
            counters.add.groups.eq(commit.group),
            counters.add.group_tracks.eq(commit.track),
            counters.add.duplicates.eq(receiver.duplicate),
            counters.add.rejected.eq(receiver.rejected),
        ]
        for mine, counts in zip(counters.links, self.link_counts, strict=True):
            m.d.comb += mine.eq(counts)
        return m

    def _share_slots(self, m, free_list, writers, commit, receiver):
        """Slots go to the first writer that wants one; the commit engine's come back first.

        A writer needs one slot a frame, so the order does not matter. The commit engine holds the
        lock meanwhile, the receiver does not.
        """
        wanted = Const(1)
        for writer in writers:
            m.d.comb += [
                writer.slots.payload.eq(free_list.pop.payload),
                writer.slots.valid.eq(free_list.pop.valid & wanted),
            ]
            wanted = wanted & ~writer.slots.ready
        m.d.comb += free_list.pop.ready.eq(~wanted)

        m.d.comb += [
            free_list.push.valid.eq(commit.free.valid | receiver.free.valid),
            free_list.push.payload.eq(Mux(commit.free.valid, commit.free.payload,
                                          receiver.free.payload)),
            commit.free.ready.eq(free_list.push.ready),
            receiver.free.ready.eq(free_list.push.ready & ~commit.free.valid),
        ]
