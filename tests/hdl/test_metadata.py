# amaranth: UnusedElaboratable=no
"""The metadata: contents after reset, and a lock that is exclusive and fair."""

import pytest
from amaranth import *

from firmware_model.geometry import Geometry
from firmware_model.wire import SET_PAGE_WORDS, SetWord
from hdl.interfaces import SourceState, TargetState
from hdl.metadata import Metadata, group_record, page
from hdl.recovery import MAGIC, MAGIC_ADDRESS

from .source_bench import SMALL, pauses, seeded, simulate, ticks, until
from .target_bench import OnPlatform


async def lock(ctx, port):
    ctx.set(port.req, 1)
    await until(ctx, port.gnt)


async def unlock(ctx, port):
    ctx.set(port.req, 0)
    await ctx.tick()


async def read(ctx, port, memory, address):
    ctx.set(getattr(port, f"{memory}_addr"), address)
    await ctx.tick()
    return ctx.get(getattr(port, f"{memory}_rdata"))


async def write(ctx, port, memory, address, value):
    ctx.set(getattr(port, f"{memory}_addr"), address)
    ctx.set(getattr(port, f"{memory}_wdata"), value)
    ctx.set(getattr(port, f"{memory}_we"), 1)
    await ctx.tick()
    ctx.set(getattr(port, f"{memory}_we"), 0)


@pytest.mark.parametrize("quick_words", [0, 256])
@pytest.mark.parametrize("state", [SourceState, TargetState])
@pytest.mark.parametrize("geometry", [
    SMALL,
    Geometry(volumes=1, tracks_per_volume=1, track_bytes=16, sets=1, links=1, chain_limit=1,
             spare_slots=4, staging_slots=2, volumes_per_set=1),
    Geometry(volumes=5, tracks_per_volume=4, track_bytes=16, sets=3, links=1, chain_limit=1,
             spare_slots=4, staging_slots=2, volumes_per_set=2),
])
def test_contents_after_reset(geometry, state, quick_words):
    g = geometry
    dut = Metadata(g, state(g), 1)
    port = dut.clients[0]

    async def bench(ctx):
        ctx.set(port.req, 1)
        await ctx.tick().until(port.gnt)
        assert ctx.get(dut.ready)
        slot = 0
        for volume in range(g.volumes):
            entry = await read(ctx, port, "volume", volume)
            assert (entry.set, entry.disconnected) == (g.initial_set(volume), 0)
            for track in range(g.tracks_per_volume):
                found = await read(ctx, port, "state", g.index(volume, track))
                assert found.slot == slot
                assert found == state(g).const({"slot": slot})
                slot += 1
        for set_ in range(g.sets):
            expected = {SetWord.NEXT: 1, SetWord.VOLUMES: sum(
                g.initial_set(v) == set_ for v in range(g.volumes))}
            if set_ == 0:
                expected[MAGIC_ADDRESS] = MAGIC
            for word in range(SET_PAGE_WORDS):
                value = await read(ctx, port, "page", set_ * SET_PAGE_WORDS + word)
                assert value == expected.get(word, 0), (set_, word)

    simulate(OnPlatform(dut, quick_words), bench)


def test_page_addresses():
    g = SMALL
    gseq = Signal(16)
    set_ = Signal(g.set_bits)
    m = Module()
    plain, record = Signal(16), Signal(16)
    m.d.comb += [plain.eq(page(set_, SetWord.DONE)), record.eq(group_record(g, set_, gseq, 1))]
    m.d.sync += Signal().eq(1)

    async def bench(ctx):
        for s in range(2):
            for n in (0, 1, 2, 65535):
                ctx.set(set_, s)
                ctx.set(gseq, n)
                await ctx.tick()
                assert ctx.get(plain) == 32 * s + SetWord.DONE
                assert ctx.get(record) == 32 * s + SetWord.GROUP + 4 * (n % 2) + 1

    simulate(m, bench)


def test_lock_is_exclusive_and_nothing_gets_past_it():
    """Every client increments one word in two steps; no increment may be lost. In between the
    others drive their write enables without being granted."""
    rng = seeded(6)
    dut = Metadata(SMALL, SourceState(SMALL), 3)
    rounds = 25
    holders = []

    def client(n):
        async def bench(ctx):
            port = dut.clients[n]
            for _ in range(rounds):
                ctx.set(port.page_we, 1)        # has no effect: not granted
                ctx.set(port.page_wdata, 0xDEAD)
                for _ in range(pauses(rng)):
                    await ctx.tick()
                ctx.set(port.page_we, 0)
                ctx.set(port.page_addr, 3)
                await lock(ctx, port)
                holders.append(n)
                assert [ctx.get(p.gnt) for p in dut.clients].count(1) == 1
                value = await read(ctx, port, "page", 3)
                for _ in range(pauses(rng)):
                    await ctx.tick()
                await write(ctx, port, "page", 3, value + 1)
                ctx.set(port.req, 0)
                assert not ctx.get(port.gnt), "gnt falls with req"
                await ctx.tick()
        return bench

    async def check(ctx):
        await ctx.tick().until(dut.ready)
        port = dut.clients[0]
        while len(holders) < 3 * rounds:
            await ctx.tick()
        await ctx.tick().repeat(20)
        await lock(ctx, port)
        assert await read(ctx, port, "page", 3) == 1 + 3 * rounds       # NEXT was 1

    simulate(dut, client(0), client(1), client(2), check)


def test_lock_takes_turns():
    dut = Metadata(SMALL, SourceState(SMALL), 3)
    order = []

    def greedy(n):
        async def bench(ctx):
            port = dut.clients[n]
            while True:
                await lock(ctx, port)
                order.append(n)
                await ticks(ctx, 2)
                await unlock(ctx, port)
        return bench

    async def wait(ctx):
        while len(order) < 15:
            await ctx.tick()

    simulate(dut, wait, background=[greedy(0), greedy(1), greedy(2)])
    assert sorted(order[:3]) == [0, 1, 2]
    assert order[3:15] == order[:3] * 4


@pytest.mark.parametrize("quick_words", [None, 0, 256])
def test_what_is_written_is_read_from_the_clock_after_the_next_on(quick_words):
    """By the one who wrote it, or by whoever has the lock as soon as can be."""
    dut = Metadata(SMALL, SourceState(SMALL), 2)
    port, other = dut.clients

    async def bench(ctx):
        await lock(ctx, port)
        await read(ctx, port, "page", 3)
        await write(ctx, port, "page", 3, 77)
        assert await read(ctx, port, "page", 4) == 0
        assert await read(ctx, port, "page", 3) == 77
        ctx.set(other.req, 1)
        await write(ctx, port, "page", 3, 78)
        ctx.set(port.req, 0)
        await until(ctx, other.gnt)
        assert await read(ctx, other, "page", 3) == 78

    simulate(OnPlatform(dut, quick_words), bench)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="clients must be at least 1, not 0"):
        Metadata(SMALL, SourceState(SMALL), 0)
