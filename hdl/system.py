"""What source and target have in common: memories, host port and lines."""

from types import SimpleNamespace

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from firmware_model.wire import Counter

from .arbiter import MemoryArbiter, RegisterArbiter
from .counters import Counters, Tally
from .datamem import DataMemory
from .freelist import FreeList
from .hostport import HostPort
from .interfaces import RegisterPort, slot_shape
from .line import Line, LinePort
from .linebank import check_shared, shared_lines
from .metadata import Metadata
from .mutations import Mutation, checked, lacks
from .pagereader import PageReader
from .reader import Reader
from .registers import Registers
from .uart import DIVISOR_BITS, MIN_DIVISOR

__all__ = ["LINES", "Core", "System"]

LINES = ("each", "shared")

_TALLIES = {
    Counter.RECOVERIES: Tally(),
    Counter.HOST_FRAMES: Tally(),
    Counter.HOST_BAD_FRAMES: Tally(),
    Counter.HOST_RESENDS: Tally(),
    Counter.HOST_ERRORS: Tally(),
    Counter.READS: Tally(),
}


def _checked_lines(lines):
    if lines not in LINES:
        raise ValueError(f"lines {lines!r} is not {' or '.join(LINES)}")
    return lines


class Core(wiring.Component):
    """A storage system without its lines: the part that source and target share.

    It has the memories and whatever serves the host's requests; a subclass adds its own parts in
    :meth:`furnish`.

    Parameters
    ----------
    geometry : Geometry
    role : Role
    state : Layout
        State of one track.
    slots : int
        Slots of the cache; those beyond one a track are free after a cold start.
    kept : set of SetWord
        Words of a set's page that survive a reset.
    tallies : dict[Counter, Tally]
        Counters beyond those that both have.
    channel : bool
        Whether the register window ``CHANNEL`` leads to a channel emulator.
    mutation : Mutation or None
        Deliberate fault of a test build.
    lines : str
        "each" line has an engine of its own, or they are "shared" by one: then no two lines fetch
        a payload at the same time, and the host cannot set the links' rate.
    members : dict
        Ports that only this role has.

    Members
    -------
    host : In(LinePort())
    links : In(LinePort()).array(links)
    generation : In(8)
        Resets of this side. At the source it must differ after each, or the target does not notice.
    channel : Out(RegisterPort())
        Only if asked for.
    link_divisor : Out(24)
        What the host wants; 0 for nothing special. Only for lines "each".
    ready : Out(1)
        Tables are initialised. What comes earlier waits.
    """

    def __init__(self, geometry, role, *, state, slots, kept, tallies, channel, mutation, lines,
                 members):
        self.geometry = geometry
        self.role = role
        self._lines = _checked_lines(lines)
        self.mutation = checked(mutation)
        self._state = state
        self._slots = slots
        self._kept = kept
        self._tallies = _TALLIES | tallies
        self._channel = channel
        super().__init__({
            "host": In(LinePort()),
            "links": In(LinePort()).array(geometry.links),
            "generation": In(8),
            "ready": Out(1),
        } | ({"channel": Out(RegisterPort())} if channel else {})
          | ({"link_divisor": Out(DIVISOR_BITS)} if lines == "each" else {}) | members)

    def furnish(self, m, parts):
        """Add what this role has of its own, and connect it.

        ``parts`` are the common ones by name: ``free_list``, ``host_port``, ``reader``,
        ``registers``, ``counters``, ``pages``; ``freed``, a stream of slots to be freed;
        ``finish`` and ``finished`` of :class:`.recovery.Recovery`, for the first who needs the
        metadata; ``warm``: the tables were kept; and ``restart``: 1 for a clock, while somebody
        holds the metadata, makes all but the host's side start anew with its memories kept.

        Returns who needs the metadata, who writes the data memory and who reads it: lists of
        MetadataPort and MemoryPort.
        """
        raise NotImplementedError

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        restart = Signal()
        memory = DataMemory(g, self._slots)
        m.submodules.data_memory = ResetInserter(restart)(memory)
        free_list = FreeList(g, first=g.tracks, count=self._slots - g.tracks)
        m.submodules.free_list = ResetInserter(restart)(free_list)
        freed = stream.Signature(slot_shape(g)).flip().create()
        finish, finished, warm = Signal(), Signal(), Signal()
        m.submodules.host_port = host_port = HostPort(g, self.role)
        m.submodules.reader = reader = Reader(g, self._state)
        m.submodules.registers = registers = Registers(
            g, self.role, channel=self._channel, rate=self._lines == "each")
        m.submodules.counters = counters = Counters(g, self._tallies)
        m.submodules.pages = pages = PageReader(g, self._state)
        lockers, writers, fetchers = self.furnish(m, SimpleNamespace(
            free_list=free_list, host_port=host_port, reader=reader, registers=registers,
            counters=counters, pages=pages, freed=freed, finish=finish, finished=finished,
            restart=restart, warm=warm))

        # -- shared memories ----------------------------------------------------------------
        lockers = [*lockers, reader.meta, pages.meta]
        metadata = Metadata(g, self._state, len(lockers), slots=self._slots, kept=self._kept)
        m.submodules.metadata = ResetInserter(restart)(metadata)
        for port, client in zip(metadata.clients, lockers, strict=True):
            connect(m, client, port)
        fetchers = [*writers, *fetchers, reader.memory]
        arbiter = MemoryArbiter(len(fetchers), len(memory.port.addr), writers=len(writers))
        m.submodules.arbiter = ResetInserter(restart)(arbiter)
        for port, client in zip(arbiter.clients, fetchers, strict=True):
            connect(m, client, port)
        connect(m, arbiter.port, memory.port)
        m.d.comb += [
            free_list.pin.eq(reader.pin.valid),
            free_list.pin_slot.eq(reader.pin.slot),
            free_list.cold.eq(metadata.cold),
            free_list.warm.eq(metadata.warm),
            free_list.push.valid.eq(freed.valid | metadata.free.valid),
            free_list.push.payload.eq(Mux(metadata.ready, freed.payload, metadata.free.payload)),
            freed.ready.eq(free_list.push.ready),
            metadata.free.ready.eq(free_list.push.ready),
            finish.eq(metadata.finish),
            warm.eq(metadata.warm),
            metadata.finished.eq(finished),
            self.ready.eq(metadata.ready & free_list.ready),
        ]
        recovered = metadata.ready & metadata.warm
        was_recovered = Signal()
        m.d.sync += was_recovered.eq(was_recovered | recovered)    # a restart does not count
        m.d.comb += counters.add.recoveries.eq(recovered & ~was_recovered)

        # -- host ---------------------------------------------------------------------------
        connect(m, flipped(self.host.events), host_port.events)
        connect(m, flipped(self.host.submit), host_port.submit)
        connect(m, flipped(self.host.payload), reader.payload)
        m.submodules.bus = bus = RegisterArbiter(2, writers=1)
        connect(m, host_port.registers, bus.clients[0])
        connect(m, reader.registers, bus.clients[1])
        connect(m, bus.port, registers.bus)
        connect(m, registers.counters, counters.bus)
        connect(m, registers.pages, pages.bus)
        if self._channel:
            connect(m, flipped(self.channel), registers.channel)
        if self._lines == "each":
            m.d.comb += self.link_divisor.eq(registers.link_divisor)
        m.d.comb += [
            host_port.flushed.eq(self.host.flushed),
            host_port.word.eq(self.host.word),
            self.host.submitted.eq(host_port.submitted),
            registers.generation.eq(self.generation),
            registers.free_slots.eq(free_list.level),
            registers.links_up.eq(Cat(link.up for link in self.links)),
            counters.add.host_frames.eq(self.host.counts.frames_received),
            counters.add.host_bad_frames.eq(self.host.counts.bad_frames),
            counters.add.host_resends.eq(self.host.counts.resends),
            counters.add.host_errors.eq(host_port.refused),
            counters.add.reads.eq(host_port.read),
            counters.tick.eq(registers.slow_tick),
            counters.down.eq(~registers.links_up),
            *(mine.eq(link.counts)
              for mine, link in zip(counters.links, self.links, strict=True)),
        ]
        return m


class System(wiring.Component):
    """A whole storage system: a core and the lines to it.

    Parameters
    ----------
    core : type
        SourceCore or TargetCore.
    geometry, channel, mutation
        Handed on to it.
    lines : str
        "each" line has an engine of its own, or they are "shared" by one that is much smaller:
        see :class:`.linebank.LineBank` for what that asks of the geometry.
    members : dict
        Ports that only this role has, driven by the subclass.

    Members
    -------
    host_rx : In(1), host_tx : Out(1)
        Host line.
    host_divisor, link_divisor : In(24)
        Clocks a bit in 1/256; that of the links after reset.
    link_rate : Out(24)
        That of the links now. The host can change it where each line has an engine of its own;
        it is a clock late then.
    links : array(links) of rx : In(1), tx : Out(1)
    generation : In(8)
        Resets of this side, where it can count them.
    channel : Out(RegisterPort())
        Only if asked for.
    ready : Out(1)
        Tables are initialised.
    host_up : Out(1), links_up : Out(links)
        Lines with a session.
    """

    def __init__(self, core, geometry, *, channel, mutation, lines, members):
        if _checked_lines(lines) == "shared":
            check_shared(geometry)
        self.geometry = geometry
        self.mutation = checked(mutation)
        self._core = core
        self._channel = channel
        self._lines = lines
        pins = wiring.Signature({"rx": In(1, init=1), "tx": Out(1, init=1)})
        super().__init__({
            "host_rx": In(1, init=1),
            "host_tx": Out(1, init=1),
            "host_divisor": In(DIVISOR_BITS),
            "link_divisor": In(DIVISOR_BITS),
            "link_rate": Out(DIVISOR_BITS, init=MIN_DIVISOR),
            "links": Out(pins).array(geometry.links),
            "generation": In(8),
            "ready": Out(1),
            "host_up": Out(1),
            "links_up": Out(geometry.links),
        } | ({"channel": Out(RegisterPort())} if channel else {}) | members)

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.core = core = self._core(g, channel=self._channel, mutation=self.mutation,
                                              lines=self._lines)
        if self._lines == "each":
            m.d.sync += self.link_rate.eq(Mux(core.link_divisor.any(), core.link_divisor,
                                              self.link_divisor))
        else:
            m.d.comb += self.link_rate.eq(self.link_divisor)
        m.d.comb += [
            core.generation.eq(self.generation),
            self.ready.eq(core.ready),
            self.host_up.eq(core.host.up),
            self.links_up.eq(Cat(link.up for link in core.links)),
        ]
        if self._channel:
            connect(m, flipped(self.channel), core.channel)

        pins = [(self.host_rx, self.host_tx, self.host_divisor)]
        pins += [(link.rx, link.tx, self.link_rate) for link in self.links]
        ports = [core.host, *core.links]
        if self._lines == "shared":
            self._attach_bank(m, core.role, ports, pins)
        else:
            self._attach_lines(m, core.role, ports, pins)
        return m

    def _attach_lines(self, m, role, ports, pins):
        names = ["host_line", *(f"link_{n}" for n in range(self.geometry.links))]
        for name, port, (rx, tx, divisor) in zip(names, ports, pins, strict=True):
            line = Line(self.geometry, role, host=name == "host_line", mutation=self.mutation)
            m.submodules[name] = line
            connect(m, line.port, port)
            m.d.comb += [line.rx.eq(rx), tx.eq(line.tx), line.divisor.eq(divisor),
                         line.generation.eq(self.generation)]

    def _attach_bank(self, m, role, ports, pins):
        m.submodules.lines = bank = shared_lines(
            self.geometry, role, check_crc=lacks(self.mutation, Mutation.CRC_NOT_CHECKED))
        m.d.comb += bank.generation.eq(self.generation)
        for n, (port, (rx, tx, divisor)) in enumerate(zip(ports, pins, strict=True)):
            connect(m, bank.ports[n], port)
            m.d.comb += [bank.rx[n].eq(rx), tx.eq(bank.tx[n]), bank.divisor[n].eq(divisor)]
