"""The recovery: cold and warm starts of the tables, and every slot in one place."""

import pytest
from amaranth import *
from amaranth.lib.wiring import connect

from firmware_model.wire import SET_PAGE_WORDS, SetWord
from hdl.freelist import FreeList
from hdl.interfaces import SourceState, TargetState
from hdl.metadata import Metadata

from .source_bench import SMALL, seeded, simulate, stream_get

G = SMALL
W = SetWord


class Bench(Elaboratable):
    """Metadata and free list of a system; the test has the one client, and a reset."""

    def __init__(self, state, slots, kept):
        self.slots = slots
        self.reset = Signal()
        self.metadata = Metadata(G, state, 1, slots=slots, kept=kept)
        self.free = FreeList(G, first=G.tracks, count=slots - G.tracks)
        self.port = self.metadata.clients[0]

    def elaborate(self, platform):
        m = Module()
        m.submodules.metadata = ResetInserter(self.reset)(self.metadata)
        m.submodules.free = ResetInserter(self.reset)(self.free)
        connect(m, self.metadata.free, self.free.push)
        m.d.comb += [self.free.cold.eq(self.metadata.cold), self.free.warm.eq(self.metadata.warm)]
        return m

    async def access(self, ctx, memory, address, value=None):
        """With the lock: read, or with ``value`` write."""
        port = self.port
        ctx.set(getattr(port, f"{memory}_addr"), address)
        if value is not None:
            ctx.set(getattr(port, f"{memory}_wdata"), value)
            ctx.set(getattr(port, f"{memory}_we"), 1)
        await ctx.tick()
        ctx.set(getattr(port, f"{memory}_we"), 0)
        return ctx.get(getattr(port, f"{memory}_rdata"))

    async def lock(self, ctx):
        ctx.set(self.port.req, 1)
        await ctx.tick().until(self.port.gnt)

    async def restart(self, ctx):
        ctx.set(self.port.req, 0)
        ctx.set(self.reset, 1)
        await ctx.tick()
        ctx.set(self.reset, 0)
        ctx.set(self.metadata.finished, 1)
        await ctx.tick().until(self.metadata.ready & self.free.ready)

    async def free_slots(self, ctx):
        return [await stream_get(ctx, self.free.pop) for _ in range(ctx.get(self.free.level))]


SIDES = {
    "source": (SourceState(G), G.source_slots, {"pending": 1, "packet": 1, "waiter": 1},
               {W.EPOCH, W.VOLUMES, W.CHAINS_LOW, W.CHAINS_HIGH}),
    "target": (TargetState(G), G.target_slots, {"staged": 1, "staged_slot": 3},
               {word for word in W if word < W.GROUP}),
}


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("side", SIDES)
def test_warm_start_keeps_slots_and_drops_the_rest(side):
    state, slots, flags, kept = SIDES[side]
    rng = seeded(8)
    bench = Bench(state, slots, kept)
    tracks = [G.index(v, t) for v in range(G.volumes) for t in range(G.tracks_per_volume)]

    async def testbench(ctx):
        await ctx.tick().until(bench.metadata.ready & bench.free.ready)
        assert ctx.get(bench.metadata.cold)
        assert await bench.free_slots(ctx) == list(range(G.tracks, slots))
        for _ in range(2):
            owned = rng.sample(range(slots), len(tracks))
            await bench.lock(ctx)
            for track, slot in zip(tracks, owned, strict=True):
                await bench.access(ctx, "state", track, state.const({"slot": slot} | flags))
            for volume in range(G.volumes):
                await bench.access(ctx, "volume", volume, {"set": 1, "disconnected": 1})
            page = {}
            for address in range(G.sets * SET_PAGE_WORDS):
                if address % SET_PAGE_WORDS < W.GROUP or address % 4 != 3:
                    page[address] = rng.randrange(1 << 16)
                    await bench.access(ctx, "page", address, page[address])
            await bench.restart(ctx)
            assert ctx.get(bench.metadata.warm)
            await bench.lock(ctx)
            for track, slot in zip(tracks, owned, strict=True):
                assert await bench.access(ctx, "state", track) == state.const({"slot": slot})
            for volume in range(G.volumes):
                found = await bench.access(ctx, "volume", volume)
                assert (found.set, found.disconnected) == (1, 0)
            for address, before in page.items():
                word = address % SET_PAGE_WORDS
                expected = before if word in kept else int(word == W.NEXT)
                if side == "source" and word in (W.ACKED_LOW, W.ACKED_HIGH):
                    expected = page[address - 2]
                assert await bench.access(ctx, "page", address) == expected, address
            assert sorted(await bench.free_slots(ctx)) == sorted(set(range(slots)) - set(owned))

    simulate(bench, testbench)


def test_only_the_first_client_is_served_while_a_chain_is_finished():
    bench = Bench(TargetState(G), G.target_slots, set())

    async def testbench(ctx):
        await ctx.tick().until(bench.metadata.ready)
        ctx.set(bench.reset, 1)
        await ctx.tick()
        ctx.set(bench.reset, 0)
        ctx.set(bench.port.req, 1)
        await ctx.tick().until(bench.metadata.finish & bench.port.gnt)
        assert not ctx.get(bench.metadata.ready)
        ctx.set(bench.port.req, 0)
        ctx.set(bench.metadata.finished, 1)
        await ctx.tick()
        ctx.set(bench.port.req, 1)
        while not ctx.get(bench.metadata.ready):
            assert not ctx.get(bench.port.gnt)
            await ctx.tick()

    simulate(bench, testbench)
