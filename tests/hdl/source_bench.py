"""What the tests of the source's parts have in common: a host, links and a far side."""

from __future__ import annotations

import random

from amaranth import *
from amaranth.lib import wiring

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.wire import (
    GROUP_COUNT,
    GROUP_HEAD,
    Code,
    Flag,
    Reg,
    SetWord,
    TargetFlag,
    Type,
)
from hdl.arbiter import MemoryArbiter
from hdl.datamem import DataMemory
from hdl.freelist import FreeList
from hdl.interfaces import DESCRIPTOR_WORDS, PayloadKind, SourceState
from hdl.metadata import Metadata

from .streams import pauses, stream_get, stream_put, ticks, until
from .target_bench import Tables, access, fields_of, header_bits, seeded, send, simulate

__all__ = ["FOLLOWS", "LIFE", "SMALL", "FarSide", "Host", "LinkStandIn", "SetsRig",
           "SharedLinkStandIn", "SourceTables", "access", "fields_of", "header_bits", "pauses",
           "places", "seeded", "send", "simulate", "stream_get", "stream_put", "ticks", "until"]

# Neither volumes nor tracks are a power of two; a group is at most 8 tracks (24 of 32 bytes).
SMALL = Geometry(volumes=3, tracks_per_volume=5, track_bytes=32, sets=2, links=2, chain_limit=4,
                 spare_slots=6, staging_slots=8, groups_in_flight=2, window=4, volumes_per_set=2,
                 clock_hz=1_000_000, host_baud=100_000, link_baud=100_000)


class SourceTables(Tables):
    """Metadata, free list and data memory of a source around one component.

    The test has the last port of each. Connects ``dut.meta`` and ``dut.memory`` if they exist.
    """

    def __init__(self, dut, geometry=SMALL):
        g = self.geometry = geometry
        self.dut = dut
        self.metadata = Metadata(g, SourceState(g), 2)
        self.free = FreeList(g, first=g.tracks, count=g.spare_slots)
        self.memory = DataMemory(g, g.source_slots)
        self.arbiter = MemoryArbiter(2, len(self.memory.port.addr))
        self.meta = self.metadata.clients[1]
        self.fetch = self.arbiter.clients[1]

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.submodules.dut = self.dut
        if hasattr(self.dut, "meta"):
            wiring.connect(m, self.dut.meta, self.metadata.clients[0])
        if hasattr(self.dut, "memory"):
            wiring.connect(m, self.dut.memory, self.arbiter.clients[0])
        return m

    async def set_state(self, ctx, index, **fields):
        await self._write(ctx, "state", index, SourceState(self.geometry).const(fields))

    async def set_link(self, ctx, index, next_, end_of_chain):
        await self._write(ctx, "link", index, {"next": next_, "end_of_chain": end_of_chain})

    async def volume(self, ctx, number, value=None):
        """Read, or with ``value`` (a dict) write, a volume entry."""
        if value is not None:
            return await self._write(ctx, "volume", number, value)
        return await self._read(ctx, "volume", number)

    async def words(self, ctx, set_, *words):
        return tuple([await self.page(ctx, set_, word) for word in words])

    async def thread(self, ctx, set_, chains):
        """Lay out an order list of unsent ``chains`` (lists of track indices), all pending."""
        tracks = [t for chain in chains for t in chain]
        heads = {chain[0] for chain in chains}
        await self.lock(ctx)
        for place, t in enumerate(tracks):
            slot = (await self.state(ctx, t)).slot
            await self.set_state(ctx, t, slot=slot, pending=1)
            if place + 1 < len(tracks):
                await self.set_link(ctx, t, tracks[place + 1], tracks[place + 1] in heads)
        await self.page(ctx, set_, SetWord.FIRST, tracks[0])
        await self.page(ctx, set_, SetWord.TAIL, tracks[-1])
        await self.page(ctx, set_, SetWord.UNSENT, len(tracks))
        await self.unlock(ctx)


LIFE = 0x1234       # of the source, and the one that the target follows
FOLLOWS = TargetFlag.FOLLOWING | TargetFlag.WRITTEN | TargetFlag.ASKED


def places(*tracks):
    """Track indices of (volume, track) pairs."""
    return [SMALL.index(*place) for place in tracks]


class SetsRig(SourceTables):
    """Whoever keeps a source's sets, on real tables; counts its pulses.

    ``settle`` and ``status_settle`` are clocks for what follows a pulse, or a status.
    """

    def __init__(self, dut, geometry, pulses, *, settle, status_settle):
        super().__init__(dut, geometry)
        self.pulses = dict.fromkeys(pulses, 0)
        self.reconnected = []
        self._settle, self._status_settle = settle, status_settle

    async def watch(self, ctx):
        dut = self.dut
        async for _, _, reconnect, index, *pulses in ctx.tick().sample(
                dut.reconnect, dut.reconnect_index, *(getattr(dut, name) for name in self.pulses)):
            if reconnect:
                self.reconnected.append(self.geometry.place(index))
            for name, pulse in zip(self.pulses, pulses, strict=True):
                self.pulses[name] += pulse

    async def pulse(self, ctx, name, value=1, settle=None):
        """Pulse an input, then leave time for what follows."""
        ctx.set(getattr(self.dut, name), value)
        await ctx.tick()
        ctx.set(getattr(self.dut, name), 0)
        await ticks(ctx, self._settle if settle is None else settle)

    async def status(self, ctx, set_, gseq, epoch=0, settle=None, *, flags=FOLLOWS, life=LIFE):
        await stream_put(ctx, self.dut.status, {"set": set_, "epoch": epoch, "gseq": gseq,
                                                "flags": flags, "life": life})
        await ticks(ctx, self._status_settle if settle is None else settle)

    async def record(self, ctx, set_, gseq):
        at = SetWord.GROUP + 4 * (gseq % self.geometry.groups_in_flight)
        return await self.words(ctx, set_, at + GROUP_HEAD, at + GROUP_COUNT)

    async def flags(self, ctx, tracks):
        found = []
        for track in tracks:
            state = await self.state(ctx, track)
            found.append((state.pending, state.packet, state.waiter))
        return found


class FarSide:
    """A target in a few lines: collects frames, commits groups in turn, remembers the chains.

    ``chains[set]`` has one list of (volume, track, data) for each chain, in commit order.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.done = [0] * geometry.sets
        self.epoch = [0] * geometry.sets
        self.flags = [TargetFlag(0)] * geometry.sets
        self.life = 0
        self.data: dict[tuple[int, int], dict[tuple[int, int], bytes]] = {}
        self.order: dict[tuple[int, int], list[tuple[int, int, bool]]] = {}
        self.chains: list[list[list[tuple[int, int, bytes]]]] = [[] for _ in range(geometry.sets)]
        self.frames: list[tuple[int, Type, dict[str, int], bytes]] = []

    def receive(self, link: int, type_: Type, fields: dict[str, int], payload: bytes) -> int:
        """A frame; returns its set."""
        set_, gseq = fields["set"], fields.get("gseq", 0)
        if type_ is Type.ASK:
            self.life = fields["life"]
            if not self.flags[set_]:
                self.epoch[set_] = fields["epoch"]
                self.flags[set_] = TargetFlag.ASKED
            return set_
        if type_ in (Type.BEGIN, Type.RESYNC):
            if fields["epoch"] == self.epoch[set_] + 1:
                self.epoch[set_] += 1
                assert fields["gseq"] == self.done[set_] == 0
                self.flags[set_] |= TargetFlag.FOLLOWING | TargetFlag.WRITTEN
                if type_ is Type.RESYNC:
                    self.flags[set_] |= TargetFlag.INCONSISTENT
            return set_
        if type_ is Type.RESYNCED:
            assert fields["epoch"] == self.epoch[set_]
            self.flags[set_] &= ~TargetFlag.INCONSISTENT
            return set_
        assert self.flags[set_] & TargetFlag.FOLLOWING, "sent before the target confirmed"
        assert fields["epoch"] == self.epoch[set_]
        self.frames.append((link, type_, fields, payload))
        if (gseq - self.done[set_]) & 0xFFFF > self.geometry.groups_in_flight or \
                gseq == self.done[set_]:
            return set_                 # committed already
        if type_ is Type.DATA:
            assert len(payload) == self.geometry.track_bytes
            place = fields["volume"], fields["track"]
            self.geometry.check(*place)
            old = self.data.setdefault((set_, gseq), {}).setdefault(place, payload)
            assert old == payload, "data changed between two transmissions (I1)"
        else:
            assert type_ is Type.ORDER
            entries = wire.entries(payload)
            assert len(entries) == fields["count"] <= self.geometry.group_limit
            assert entries[-1][2], "a group is whole chains"
            old = self.order.setdefault((set_, gseq), entries)
            assert old == entries, "order changed between two transmissions (R23)"
        self._commit(set_)
        return set_

    def status(self, set_: int) -> dict[str, int]:
        """Fields of the set's STATUS."""
        return {"set": set_, "epoch": self.epoch[set_], "gseq": self.done[set_],
                "flags": int(self.flags[set_]), "life": self.life}

    def _commit(self, set_: int) -> None:
        while True:
            key = set_, (self.done[set_] + 1) & 0xFFFF
            order, data = self.order.get(key), self.data.get(key, {})
            if order is None or len(data) < len(order):
                return
            chain = []
            for volume, track, end_of_chain in order:
                chain.append((volume, track, data[volume, track]))
                if end_of_chain:
                    self.chains[set_].append(chain)
                    chain = []
            assert not chain
            del self.order[key], self.data[key]
            self.done[set_] = key[1]


class LinkStandIn:
    """A link of a SourceCore without wires: takes a descriptor, fetches its payload, and gives
    the frame to the far side, whose status comes back as an event.

    Parameters
    ----------
    core : SourceCore
    number : int
    far : FarSide
    rng : random.Random
    lose : float
        Share of statuses that do not come back. A link loses one only with its session, so
        the link is ``flushed`` before long.
    """

    def __init__(self, core, number, far, rng, *, lose=0.0):
        self.core = core
        self.number = number
        self.far = far
        self.rng = rng
        self.lose = lose
        self.up = True
        self.stopped = False            # takes nothing, though up
        self.queue: list[dict[str, int] | None] = []

    async def run(self, ctx):
        core, n = self.core, self.number
        submit, payload = core.links[n].submit, core.links[n].payload
        while True:
            ctx.set(core.links[n].up, self.up)
            ctx.set(core.links[n].room, self.up and not self.stopped)
            if not self.up or self.stopped or not ctx.get(submit.valid):
                await ctx.tick()
                continue
            for _ in range(self.rng.randrange(3)):
                await ctx.tick()
            descriptor = await self.take(ctx, submit)
            if descriptor is None:
                continue
            ctx.set(core.links[n].room, 0)
            type_, fields = fields_of(descriptor)
            received = b""
            if PayloadKind(descriptor["kind"]) != PayloadKind.NONE:
                received = await self.fetch(ctx, payload, descriptor)
            set_ = self.far.receive(n, type_, fields, received)
            lost = self.rng.random() < self.lose
            self.queue.append(None if lost else self.far.status(set_))

    async def take(self, ctx, submit):
        return await stream_get(ctx, submit)

    async def fetch(self, ctx, payload, descriptor):
        ctx.set(payload.kind, descriptor["kind"])
        ctx.set(payload.arg, descriptor["arg"])
        ctx.set(payload.start, 1)
        await ctx.tick()
        ctx.set(payload.start, 0)
        received = bytearray()
        last = False
        while not last:
            for _ in range(pauses(self.rng, 0.1, 3)):
                await ctx.tick()
            byte = await stream_get(ctx, payload.bytes)
            received.append(byte.data)
            last = byte.last
        return bytes(received)

    async def flush(self, ctx):
        """The session ends, and with it what the link had; the next one begins at once."""
        port = self.core.links[self.number]
        ctx.set(port.flushed, 1)
        await ctx.tick()
        ctx.set(port.flushed, 0)
        await self.start(ctx)

    async def start(self, ctx):
        port = self.core.links[self.number]
        ctx.set(port.started, 1)
        await ctx.tick()
        ctx.set(port.started, 0)

    async def answer(self, ctx):
        """Send the statuses, in a process of its own."""
        await ctx.tick().until(self.core.ready)
        await self.start(ctx)
        while True:
            if not self.queue:
                await ctx.tick()
                continue
            status = self.queue.pop(0)
            if status is None:
                await ticks(ctx, self.rng.randrange(300))
                await self.flush(ctx)
                continue
            await stream_put(ctx, self.core.links[self.number].events, {
                "type": Type.STATUS, "length": 0,
                "header": header_bits(Type.STATUS, **status)})


class SharedLinkStandIn(LinkStandIn):
    """The same for lines that are shared: frames are read word by word, and no two payloads are
    fetched at the same time."""

    fetching: set[object] = set()       # the cores with a payload under way

    async def take(self, ctx, submit):
        """None if the frame was taken back meanwhile."""
        ports = self.core.links
        words = []
        for number in range(len(DESCRIPTOR_WORDS)):
            for port in ports:
                ctx.set(port.asks, 1)
                ctx.set(port.word, number)
            await ctx.tick()
            words.append(ctx.get(ports[self.number].submitted))
            await ctx.tick()
            assert words[-1] == ctx.get(ports[self.number].submitted)
            for port in ports:
                ctx.set(port.asks, 0)
            await ticks(ctx, self.rng.randrange(4))
        if not ctx.get(submit.valid):
            return None
        await stream_get(ctx, submit)
        return {"type": words[0] & 0xFF, "kind": words[0] >> 8, "arg": words[5] | words[6] << 16,
                "header": sum(word << 16 * n for n, word in enumerate(words[1:5]))}

    async def fetch(self, ctx, payload, descriptor):
        while self.core in self.fetching:
            await ctx.tick()
        self.fetching.add(self.core)
        for port in self.core.links:
            ctx.set(port.payload.kind, descriptor["kind"])
            ctx.set(port.payload.arg, descriptor["arg"])
        received = await super().fetch(ctx, payload, descriptor)
        self.fetching.discard(self.core)
        return received


class Host:
    """The host of a SourceCore, on the level of frames. Answers gather in ``answers``.

    ``on_answer(type, fields)`` is called in the clock of each.
    """

    def __init__(self, core, on_answer=lambda type_, fields: None):
        self.core = core
        self.on_answer = on_answer
        self.answers: list[tuple[Type, dict[str, int]]] = []

    async def listen(self, ctx):
        while True:
            descriptor = await stream_get(ctx, self.core.host.submit)
            type_, fields = fields_of(descriptor)
            self.answers.append((type_, fields))
            self.on_answer(type_, fields)

    async def frame(self, ctx, type_, payload=b"", **fields):
        await send(ctx, self.core.host.sink, self.core.host.events, type_, payload, **fields)

    async def expect(self, ctx, type_, **fields):
        """Wait for the next answer of this type; return its fields after checking some."""
        while True:
            for n, (kind, found) in enumerate(self.answers):
                if kind is type_:
                    del self.answers[n]
                    for name, value in fields.items():
                        assert found[name] == value, (type_, name, value, found)
                    return found
            await ctx.tick()

    async def chain(self, ctx, tag, writes, *, resume=False):
        """A whole chain; ``writes`` are (volume, track, data). Returns its answer."""
        await self.frame(ctx, Type.CHAIN, b"".join(wire.entry(v, t) for v, t, _ in writes),
                         tag=tag, flags=Flag.RESUME if resume else 0, count=len(writes))
        for index, (_, _, data) in enumerate(writes):
            await self.frame(ctx, Type.WRITE, data, tag=tag, index=index)
        return await self.expect(ctx, Type.CHAIN_STATUS, tag=tag)

    async def write_register(self, ctx, address, value, code=Code.OK):
        await self.frame(ctx, Type.REG_WRITE, tag=9, address=address, value=value)
        await self.expect(ctx, Type.REG_STATUS, code=code)

    async def settle(self, ctx, set_):
        """Wait until nothing of the set is pending: reads its page over and over."""
        core = self.core
        while True:
            words = {}
            for word in (SetWord.UNSENT, SetWord.NEXT, SetWord.DONE):
                words[word] = await self.read_register(ctx, Reg.SET_PAGES + 32 * set_ + word)
            if not words[SetWord.UNSENT] and \
                    (words[SetWord.NEXT] - 1) & 0xFFFF == words[SetWord.DONE]:
                return
            await ticks(ctx, 50)
            assert not ctx.get(core.fault)

    async def read_register(self, ctx, address):
        """As the payload provider of a REG_DATA frame reads it."""
        payload = self.core.host.payload
        ctx.set(payload.kind, 4)
        ctx.set(payload.arg, address | 1 << 16)
        return int.from_bytes(await self._fetch(ctx), "little")

    async def read_track(self, ctx, volume, track):
        payload = self.core.host.payload
        ctx.set(payload.kind, 3)
        ctx.set(payload.arg, self.core.geometry.index(volume, track))
        return await self._fetch(ctx)

    async def _fetch(self, ctx):
        payload = self.core.host.payload
        ctx.set(payload.start, 1)
        await ctx.tick()
        ctx.set(payload.start, 0)
        received = bytearray()
        while True:
            byte = await stream_get(ctx, payload.bytes)
            received.append(byte.data)
            if byte.last:
                return bytes(received)


def payload_for(geometry: Geometry, rng: random.Random) -> bytes:
    return rng.randbytes(geometry.track_bytes)
