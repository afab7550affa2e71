import itertools

import pytest
from amaranth import *
from amaranth.lib.wiring import connect

from firmware_model import wire
from firmware_model.wire import SetWord
from hdl.commit import CommitEngine
from hdl.mutations import Mutation

from .target_bench import SMALL, Tables, seeded, simulate

G = SMALL
FREE = G.target_slots - G.tracks


class Bench(Elaboratable):
    """A commit engine; the test stages groups through its own port of the tables."""

    def __init__(self, mutation=None):
        self.tables = Tables(G, lockers=1, fetchers=0)
        self.dut = CommitEngine(G, mutation=mutation)
        self.counts = dict.fromkeys(("chain", "track", "group"), 0)
        self.due = []
        self.freed = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = self.tables
        m.submodules.dut = self.dut
        connect(m, self.dut.meta, self.tables.metadata.clients[0])
        connect(m, self.dut.free, self.tables.free.push)
        return m

    async def watch(self, ctx):
        dut = self.dut
        async for _, _, chain, track, group, due, valid, ready, slot in ctx.tick().sample(
                dut.chain, dut.track, dut.group, dut.due, dut.free.valid, dut.free.ready,
                dut.free.payload):
            self.counts["chain"] += chain
            self.counts["track"] += track
            self.counts["group"] += group
            if due.valid:
                self.due.append(int(due.set))
            if valid and ready:
                self.freed.append(slot)

    def run(self, testbench, *others, clocks=100_000):
        async def bench(ctx):
            await self.tables.ready(ctx)
            await testbench(ctx)
        simulate(self, bench, *others, background=[self.watch], clocks=clocks)

    async def take_slot(self, ctx):
        """A free slot, as a SlotWriter gets it."""
        pop = self.tables.free.pop
        ctx.set(pop.ready, 1)
        slot, = await ctx.tick().sample(pop.payload).until(pop.valid)
        ctx.set(pop.ready, 0)
        return slot

    async def stage(self, ctx, set_, gseq, chains, *, order=True, missing=()):
        """A group as the receiver leaves it; returns its staged slots by track index."""
        tables = self.tables
        slots = {}
        entries = [(index, n == len(chain) - 1) for chain in chains
                   for n, index in enumerate(chain)]
        await tables.lock(ctx)
        for index, _ in entries:
            if index in missing:
                continue
            state = await tables.state(ctx, index)
            slots[index] = await self.take_slot(ctx)
            await tables._write(ctx, "state", index, {
                "slot": state.slot, "staged_slot": slots[index], "staged": 1})
        for (index, ends), (after, _) in itertools.pairwise(entries):
            await tables._write(ctx, "link", index, {"next": after, "end_of_chain": ends})
        await tables.page(ctx, set_, tables.record(gseq, wire.GROUP_HEAD), entries[0][0])
        await tables.page(ctx, set_, tables.record(gseq, wire.GROUP_RECEIVED), len(slots))
        if order:
            await tables.page(ctx, set_, tables.record(gseq, wire.GROUP_COUNT), len(entries))
        await tables.unlock(ctx)
        await self.progress(ctx, set_)
        return slots

    async def progress(self, ctx, set_):
        ctx.set(self.dut.progress, {"valid": 1, "set": set_})
        await ctx.tick()
        ctx.set(self.dut.progress, {"valid": 0, "set": 0})

    async def visible(self, ctx):
        """Slots that readers see, by track index; all at one moment."""
        await self.tables.lock(ctx)
        slots = {}
        for volume in range(G.volumes):
            for track in range(G.tracks_per_volume):
                index = G.index(volume, track)
                slots[index] = (await self.tables.state(ctx, index)).slot
        await self.tables.unlock(ctx)
        return slots

    async def words(self, ctx, set_):
        """(DONE, chains)"""
        low = await self.tables.page(ctx, set_, SetWord.CHAINS_LOW)
        high = await self.tables.page(ctx, set_, SetWord.CHAINS_HIGH)
        return await self.tables.page(ctx, set_, SetWord.DONE), low | high << 16

    async def settle(self, ctx):
        await ctx.tick().repeat(200)


def first_slots():
    return {G.index(v, t): G.linear(v, t) for v in range(G.volumes)
            for t in range(G.tracks_per_volume)}


def test_commits_a_complete_group():
    bench = Bench()

    async def testbench(ctx):
        slots = await bench.stage(ctx, 1, 1, [[3, 8], [0], [9, 2, 1]])
        await bench.settle(ctx)
        assert await bench.visible(ctx) == first_slots() | slots
        for index in slots:
            assert not (await bench.tables.state(ctx, index)).staged
        assert sorted(bench.freed) == sorted(first_slots()[index] for index in slots)
        assert await bench.words(ctx, 1) == (1, 3)
        assert (await bench.tables.group(ctx, 1, 1))[1:] == (0, 0)
        assert bench.counts == {"chain": 3, "track": 6, "group": 1}
        assert bench.due == [1]
        assert await bench.words(ctx, 0) == (0, 0)
        assert ctx.get(bench.tables.free.level) == FREE

    bench.run(testbench)


@pytest.mark.parametrize(("order", "missing"), [(False, ()), (True, (8,))])
def test_waits_for_the_order_packet_and_for_every_track(order, missing):
    bench = Bench()

    async def testbench(ctx):
        slots = await bench.stage(ctx, 0, 1, [[3, 8], [0]], order=order, missing=missing)
        await bench.settle(ctx)
        assert await bench.visible(ctx) == first_slots()
        assert bench.counts == {"chain": 0, "track": 0, "group": 0}
        assert bench.due == []
        # Another set does not wait for it.
        other = await bench.stage(ctx, 1, 1, [[9]])
        await bench.settle(ctx)
        assert await bench.visible(ctx) == first_slots() | other
        assert await bench.words(ctx, 0) == (0, 0)
        # What was missing comes.
        if missing:
            slots[8] = await bench.take_slot(ctx)
            await bench.tables._write(ctx, "state", 8, {
                "slot": first_slots()[8], "staged_slot": slots[8], "staged": 1})
        await bench.tables.page(ctx, 0, bench.tables.record(1, wire.GROUP_RECEIVED), 3)
        await bench.tables.page(ctx, 0, bench.tables.record(1, wire.GROUP_COUNT), 3)
        await bench.progress(ctx, 0)
        await bench.settle(ctx)
        assert await bench.visible(ctx) == first_slots() | other | slots
        assert bench.due == [1, 0]

    bench.run(testbench)


GROUPS = {1: [[1], [2, 3]], 2: [[4], [5]], 3: [[0, 8]], 4: [[9]]}


@pytest.mark.requirement("R14", "R19")
@pytest.mark.parametrize("done", [0, 65534, 65535])
@pytest.mark.parametrize("arrival", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 1, 4, 3), (3, 4, 1, 2)])
def test_groups_commit_in_sequence_order(done, arrival):
    bench = Bench()

    async def testbench(ctx):
        await bench.tables.page(ctx, 0, SetWord.DONE, done)
        expected = first_slots()
        staged, committed = {}, 0
        for n in arrival:
            staged[n] = await bench.stage(ctx, 0, (done + n) % 65536, GROUPS[n])
            while committed + 1 in staged:
                committed += 1
                expected |= staged[committed]
            await bench.settle(ctx)
            await bench.settle(ctx)
            assert await bench.visible(ctx) == expected
            assert (await bench.words(ctx, 0))[0] == (done + committed) % 65536
        assert committed == 4
        assert bench.counts == {"chain": 6, "track": 8, "group": 4}

    bench.run(testbench)


def test_mutant_commits_out_of_order():
    bench = Bench(Mutation.SEQUENCE_NOT_CHECKED)

    async def testbench(ctx):
        second = await bench.stage(ctx, 0, 2, GROUPS[2])
        await bench.settle(ctx)
        assert await bench.visible(ctx) == first_slots() | second

    bench.run(testbench)


@pytest.mark.requirement("R21")
def test_a_chain_becomes_visible_at_once():
    """Snapshots at random moments show whole chains only, in their order."""
    rng = seeded(2)
    bench = Bench()
    seen = set()

    async def testbench(ctx):
        now = first_slots()
        for gseq in range(1, 26):
            places = rng.sample(sorted(now), rng.randint(2, G.group_limit))
            chains = []
            while places:
                size = rng.randint(1, len(places))
                chains.append(places[:size])
                places = places[size:]
            slots = await bench.stage(ctx, 0, gseq, chains)
            prefixes = [now]
            for chain in chains:
                now = now | {index: slots[index] for index in chain}
                prefixes.append(now)
            at = 0
            while at < len(chains):
                await ctx.tick().repeat(rng.randint(1, 15))
                snapshot = await bench.visible(ctx)
                assert snapshot in prefixes[at:], "torn chain, or back in time"
                at = prefixes.index(snapshot)
                seen.add((at, len(chains)))
        assert any(0 < at < chains for at, chains in seen), "no snapshot fell inside a group"

    bench.run(testbench)


def test_hold_stops_at_a_chain_boundary():
    rng = seeded(3)
    stopped_at = set()
    for _ in range(12):
        bench = Bench()

        async def testbench(ctx, bench=bench):
            slots = await bench.stage(ctx, 0, 1, [[1], [2, 3, 4], [5, 0]])
            prefixes = [first_slots()]
            for chain in ([1], [2, 3, 4], [5, 0]):
                prefixes.append(prefixes[-1] | {index: slots[index] for index in chain})
            await ctx.tick().repeat(rng.randint(1, 60))
            ctx.set(bench.dut.hold, 1)
            await ctx.tick().until(bench.dut.held)
            snapshot = await bench.visible(ctx)
            stopped_at.add(prefixes.index(snapshot))
            other = await bench.stage(ctx, 1, 1, [[8]])
            await bench.settle(ctx)
            assert await bench.visible(ctx) == snapshot, "changed while on hold"
            assert ctx.get(bench.dut.held)
            ctx.set(bench.dut.hold, 0)
            await bench.settle(ctx)
            assert await bench.visible(ctx) == prefixes[-1] | other
            assert await bench.words(ctx, 0) == (1, 3)

        bench.run(testbench)
    assert stopped_at & {1, 2}, "no hold fell inside the group"


def test_held_means_no_lock_is_wanted():
    bench = Bench()

    async def testbench(ctx):
        await bench.tables.lock(ctx)        # the engine has to wait for the lock
        await bench.progress(ctx, 0)
        await ctx.tick().repeat(5)
        ctx.set(bench.dut.hold, 1)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(bench.dut.held)
        await bench.tables.unlock(ctx)
        await ctx.tick().until(bench.dut.held)

    bench.run(testbench)


def test_chain_number_has_32_bits():
    bench = Bench()

    async def testbench(ctx):
        await bench.tables.page(ctx, 0, SetWord.CHAINS_LOW, 0xFFFE)
        await bench.tables.page(ctx, 0, SetWord.CHAINS_HIGH, 4)
        await bench.stage(ctx, 0, 1, [[1], [2], [3]])
        await bench.settle(ctx)
        assert await bench.words(ctx, 0) == (1, (4 << 16 | 0xFFFE) + 3)

    bench.run(testbench)


def test_track_without_data_is_left_alone():
    """A malicious order packet: one track named twice, another one counted for it."""
    bench = Bench()

    async def testbench(ctx):
        slots = await bench.stage(ctx, 0, 1, [[1, 2, 3]], missing=(2,))
        await bench.tables.page(ctx, 0, bench.tables.record(1, wire.GROUP_RECEIVED), 3)
        await bench.progress(ctx, 0)
        await bench.settle(ctx)
        assert await bench.visible(ctx) == first_slots() | slots
        assert await bench.words(ctx, 0) == (1, 1)
        assert sorted(bench.freed) == [1, 3]

    bench.run(testbench)
