"""What the tests of the target's parts have in common: frames in, tables to look into."""

import random
from types import SimpleNamespace

from amaranth import *
from amaranth.hdl import Fragment

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.wire import SET_PAGE_WORDS, SetWord, Type
from hdl.arbiter import MemoryArbiter
from hdl.datamem import DataMemory
from hdl.freelist import FreeList
from hdl.interfaces import TargetState
from hdl.metadata import Metadata

from .streams import run
from .streams import stream_get as get
from .streams import stream_put as put

__all__ = ["SMALL", "OnPlatform", "Tables", "access", "fields_of", "get", "header_bits", "put",
           "seeded", "send", "send_data", "send_order", "simulate"]

SMALL = Geometry(volumes=2, tracks_per_volume=6, track_bytes=32, sets=2, links=2, chain_limit=6,
                 spare_slots=8, staging_slots=10, groups_in_flight=4, window=4,
                 volumes_per_set=2, clock_hz=1_000_000, host_baud=100_000, link_baud=100_000)

def simulate(dut, *benches, clocks=200_000, background=()):
    """Run until every bench has returned; fail after ``clocks``."""
    run(dut, *benches, monitors=background, limit=clocks)


def seeded(seed):
    """A generator whose seed shows in the output of a failing test."""
    print(f"seed {seed}")
    return random.Random(seed)


async def access(ctx, bus, address, value=None):
    """One access on a register bus: (code, value read)."""
    ctx.set(bus.addr, address)
    ctx.set(bus.we, value is not None)
    ctx.set(bus.wdata, value or 0)
    ctx.set(bus.req, 1)
    code, rdata = await ctx.tick().sample(bus.code, bus.rdata).until(bus.ack)
    ctx.set(bus.req, 0)
    return code, rdata


def header_bits(type_, **fields):
    """The 64 header bits of a frame, as the gateware sees them."""
    body = wire.pack(type_, 0, **fields)
    return int.from_bytes(body[wire.PREFIX_BYTES:wire.PREFIX_BYTES + wire.HEADER_BYTES], "little")


def fields_of(descriptor_or_event):
    """(type, fields) of a constant Descriptor or Event, as ``wire`` names them."""
    type_ = Type(descriptor_or_event["type"])
    left = int(descriptor_or_event["header"])
    fields = {}
    for field in wire.FRAMES[type_].fields:
        fields[field.name] = left & ((1 << 8 * field.size) - 1)
        left >>= 8 * field.size
    assert left == 0, "header bytes after the last field must be 0"
    return type_, fields


async def send(ctx, sink, events, type_, payload=b"", *, deliver=True, raw=None, **fields):
    """A frame as a LinkEngine presents it: bytes to the sink, then the event."""
    header = header_bits(type_, **fields) if raw is None else raw
    ctx.set(sink.type, type_)
    ctx.set(sink.header, header)
    for index, byte in enumerate(payload):
        ctx.set(sink.data, byte)
        ctx.set(sink.index, index)
        ctx.set(sink.valid, 1)
        await ctx.tick().until(sink.ready)
    ctx.set(sink.valid, 0)
    if deliver:
        await put(ctx, events, {"type": type_, "header": header, "length": len(payload)})


async def send_data(ctx, sink, events, group, volume, track, payload):
    set_, epoch, gseq = group
    await send(ctx, sink, events, Type.DATA, payload, set=set_, epoch=epoch, gseq=gseq,
               volume=volume, track=track)


async def send_order(ctx, sink, events, group, entries):
    set_, epoch, gseq = group
    await send(ctx, sink, events, Type.ORDER, b"".join(wire.entry(*e) for e in entries),
               set=set_, epoch=epoch, gseq=gseq, count=len(entries))


class OnPlatform(Elaboratable):
    """The component as it is where memories of so many words are made of LUTs; None: anywhere."""

    def __init__(self, dut, quick_words):
        self._dut = dut
        self._platform = None
        if quick_words is not None:
            self._platform = SimpleNamespace(quick_words=quick_words)

    def elaborate(self, platform):
        return Fragment.get(self._dut, self._platform)


class Tables(Elaboratable):
    """Metadata, free list and data memory of a target, with a port of each for the test."""

    def __init__(self, geometry, *, lockers, fetchers):
        self.geometry = geometry
        state = TargetState(geometry)
        self.metadata = Metadata(geometry, state, lockers + 1)
        self.free = FreeList(geometry, first=geometry.tracks,
                             count=geometry.target_slots - geometry.tracks)
        self.memory = DataMemory(geometry, geometry.target_slots)
        self.arbiter = MemoryArbiter(fetchers + 1, len(self.memory.port.addr))
        self.meta = self.metadata.clients[lockers]
        self.fetch = self.arbiter.clients[fetchers]

    def elaborate(self, platform):
        m = Module()
        m.submodules.metadata = self.metadata
        m.submodules.free = self.free
        m.submodules.memory = self.memory
        m.submodules.arbiter = self.arbiter
        for name in ("req", "we", "addr", "wdata"):
            m.d.comb += getattr(self.memory.port, name).eq(getattr(self.arbiter.port, name))
        m.d.comb += [self.arbiter.port.ack.eq(self.memory.port.ack),
                     self.arbiter.port.rdata.eq(self.memory.port.rdata)]
        return m

    # -- what the test does with its ports -----------------------------------------------------

    async def ready(self, ctx):
        await ctx.tick().until(self.metadata.ready & self.free.ready)

    async def lock(self, ctx):
        ctx.set(self.meta.req, 1)
        await ctx.tick().until(self.meta.gnt)

    async def unlock(self, ctx):
        ctx.set(self.meta.req, 0)
        await ctx.tick()

    async def _read(self, ctx, memory, address):
        held = ctx.get(self.meta.req)
        if not held:
            await self.lock(ctx)
        ctx.set(getattr(self.meta, f"{memory}_addr"), address)
        await ctx.tick()
        value = ctx.get(getattr(self.meta, f"{memory}_rdata"))
        if not held:
            await self.unlock(ctx)
        return value

    async def _write(self, ctx, memory, address, value):
        held = ctx.get(self.meta.req)
        if not held:
            await self.lock(ctx)
        ctx.set(getattr(self.meta, f"{memory}_addr"), address)
        ctx.set(getattr(self.meta, f"{memory}_wdata"), value)
        ctx.set(getattr(self.meta, f"{memory}_we"), 1)
        await ctx.tick()
        ctx.set(getattr(self.meta, f"{memory}_we"), 0)
        if not held:
            await self.unlock(ctx)

    async def page(self, ctx, set_, word, value=None):
        """Read, or with ``value`` write, a page word."""
        address = set_ * SET_PAGE_WORDS + word
        if value is not None:
            return await self._write(ctx, "page", address, value)
        return await self._read(ctx, "page", address)

    def record(self, gseq, word):
        """Page word of a field of a group's record."""
        return (SetWord.GROUP + wire.GROUP_WORDS * (gseq % self.geometry.groups_in_flight) + word)

    async def group(self, ctx, set_, gseq):
        """(head, count, received) of a group."""
        return tuple([await self.page(ctx, set_, self.record(gseq, word)) for word in
                      (wire.GROUP_HEAD, wire.GROUP_COUNT, wire.GROUP_RECEIVED)])

    async def state(self, ctx, index):
        return await self._read(ctx, "state", index)

    async def link(self, ctx, index):
        return await self._read(ctx, "link", index)

    async def byte(self, ctx, slot, offset, value=None):
        """Read, or with ``value`` write, a byte of the data memory."""
        ctx.set(self.fetch.addr, (slot << self.geometry.offset_bits) | offset)
        ctx.set(self.fetch.we, value is not None)
        ctx.set(self.fetch.wdata, value or 0)
        ctx.set(self.fetch.req, 1)
        rdata, = await ctx.tick().sample(self.fetch.rdata).until(self.fetch.ack)
        ctx.set(self.fetch.req, 0)
        return rdata

    async def data(self, ctx, slot):
        """All bytes of a slot."""
        return bytes([await self.byte(ctx, slot, n) for n in range(self.geometry.track_bytes)])
