"""The follower: what a target takes over from the source, and what it must not."""

import pytest
from amaranth import *
from amaranth.lib.wiring import connect

from firmware_model.wire import SetWord, TargetFlag, Type
from hdl.follower import Follower

from .target_bench import SMALL, Tables, header_bits, put, simulate

G = SMALL
W = SetWord
F = TargetFlag


class Bench(Elaboratable):
    def __init__(self):
        self.tables = Tables(G, lockers=1, fetchers=0)
        self.dut = Follower(G)
        self.due = []
        self.counts = {"new_life": 0, "rejected": 0}

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = self.tables
        m.submodules.dut = self.dut
        connect(m, self.dut.meta, self.tables.metadata.clients[0])
        return m

    async def watch(self, ctx):
        async for _, _, due, new_life, rejected in ctx.tick().sample(
                self.dut.due, self.dut.new_life, self.dut.rejected):
            if due.valid:
                self.due.append(int(due.set))
            self.counts["new_life"] += new_life
            self.counts["rejected"] += rejected

    def run(self, testbench):
        async def bench(ctx):
            await self.tables.ready(ctx)
            await testbench(ctx)
        simulate(self, bench, background=[self.watch], clocks=20_000)

    async def frame(self, ctx, type_, length=0, **fields):
        await put(ctx, self.dut.events, {"type": type_, "length": length,
                                         "header": header_bits(type_, **fields)})

    async def ask(self, ctx, set_, life, epoch):
        await self.frame(ctx, Type.ASK, set=set_, life=life, epoch=epoch)

    async def begin(self, ctx, type_=Type.BEGIN, set_=0, epoch=1, gseq=0, chains=0):
        await self.frame(ctx, type_, set=set_, epoch=epoch, gseq=gseq, chains=chains)

    async def page(self, ctx, set_, *words):
        return tuple([await self.tables.page(ctx, set_, word) for word in words])

    async def flags(self, ctx, set_=0):
        return TargetFlag(await self.tables.page(ctx, set_, W.FLAGS))


def test_ask_then_begin():
    bench = Bench()

    async def testbench(ctx):
        await bench.begin(ctx, epoch=1)
        assert await bench.flags(ctx) == 0, "nobody has asked"
        await bench.ask(ctx, 0, 7, 200)
        assert ctx.get(bench.dut.life) == 7
        assert await bench.page(ctx, 0, W.EPOCH, W.FLAGS) == (200, F.ASKED)
        for epoch in (200, 202, 199):
            await bench.begin(ctx, epoch=epoch)
            assert await bench.page(ctx, 0, W.EPOCH, W.FLAGS) == (200, F.ASKED), epoch
        await bench.tables.page(ctx, 0, W.UNSENT, 3)
        await bench.begin(ctx, epoch=201, gseq=0x1234, chains=0x56789ABC)
        assert await bench.page(ctx, 0, W.EPOCH, W.FLAGS, W.DONE, W.CHAINS_LOW, W.CHAINS_HIGH,
                                W.UNSENT) == (
            201, F.FOLLOWING | F.WRITTEN | F.ASKED, 0x1234, 0x9ABC, 0x5678, 0)
        await bench.begin(ctx, epoch=202, gseq=9)
        assert await bench.page(ctx, 0, W.EPOCH, W.DONE) == (201, 0x1234), "a repetition"
        assert await bench.flags(ctx, 1) == 0
        assert bench.due == [0] * 7
        assert bench.counts == {"new_life": 0, "rejected": 0}

    bench.run(testbench)


@pytest.mark.parametrize(("epoch", "taken"), [(100, 100), (99, 100), (101, 101), (227, 227),
                                              (228, 100)])
def test_a_later_ask_moves_the_epoch_only_forward(epoch, taken):
    bench = Bench()

    async def testbench(ctx):
        await bench.ask(ctx, 1, 7, 100)
        await bench.ask(ctx, 1, 7, epoch)
        assert await bench.page(ctx, 1, W.EPOCH, W.FLAGS) == (taken, F.ASKED)

    bench.run(testbench)


def test_ask_does_not_disturb_who_follows():
    bench = Bench()

    async def testbench(ctx):
        await bench.ask(ctx, 0, 7, 0)
        await bench.begin(ctx)
        await bench.ask(ctx, 0, 7, 5)
        assert await bench.page(ctx, 0, W.EPOCH, W.FLAGS) == (1, F.FOLLOWING | F.WRITTEN | F.ASKED)

    bench.run(testbench)


def test_begin_is_refused_where_something_is_written():
    """A source that does not know what is here must resynchronise."""
    bench = Bench()

    async def testbench(ctx):
        await bench.tables.page(ctx, 0, W.FLAGS, F.WRITTEN)
        await bench.ask(ctx, 0, 7, 0)
        await bench.begin(ctx, Type.BEGIN)
        assert await bench.flags(ctx) == F.WRITTEN | F.ASKED
        await bench.begin(ctx, Type.RESYNC, gseq=5)
        assert await bench.flags(ctx) == F.FOLLOWING | F.WRITTEN | F.ASKED | F.INCONSISTENT
        assert await bench.page(ctx, 0, W.DONE) == (5,)
        await bench.frame(ctx, Type.RESYNCED, set=0, epoch=2)
        assert await bench.flags(ctx) & F.INCONSISTENT, "of another epoch"
        await bench.frame(ctx, Type.RESYNCED, set=0, epoch=1)
        assert await bench.flags(ctx) == F.FOLLOWING | F.WRITTEN | F.ASKED

    bench.run(testbench)


def test_a_new_life_ends_the_old_one_in_every_set():
    bench = Bench()

    async def testbench(ctx):
        await bench.ask(ctx, 0, 7, 0)
        await bench.begin(ctx)
        await bench.tables.page(ctx, 1, W.FLAGS, F.FOLLOWING | F.ASKED)
        assert bench.counts["new_life"] == 0, "the first life finds nothing to drop"
        await bench.ask(ctx, 0, 8, 40)
        assert bench.counts["new_life"] == 1
        assert ctx.get(bench.dut.life) == 8
        assert await bench.page(ctx, 0, W.EPOCH, W.FLAGS) == (40, F.WRITTEN | F.ASKED)
        assert await bench.flags(ctx, 1) == F.WRITTEN

    bench.run(testbench)


def test_what_the_old_life_left_torn_may_be_in_any_set_of_the_new_one():
    bench = Bench()

    async def testbench(ctx):
        await bench.ask(ctx, 0, 7, 0)
        assert ctx.get(bench.dut.suspects) == 0
        await bench.ask(ctx, 1, 7, 0)
        await bench.begin(ctx, Type.RESYNC, set_=1)
        assert ctx.get(bench.dut.suspects) == 0b10
        await bench.ask(ctx, 0, 8, 40)
        assert await bench.flags(ctx, 0) == F.WRITTEN | F.INCONSISTENT | F.ASKED
        assert await bench.flags(ctx, 1) == F.WRITTEN | F.INCONSISTENT

    bench.run(testbench)


@pytest.mark.parametrize("suspect", range(1 << G.sets))
def test_suspects_are_read_back_after_a_reset(suspect):
    bench = Bench()
    bench.dut = ResetInserter(reset := Signal())(bench.dut)

    async def testbench(ctx):
        for set_ in range(G.sets):
            await bench.tables.page(ctx, set_, W.FLAGS,
                                    F.FOLLOWING | F.INCONSISTENT * (suspect >> set_ & 1))
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert ctx.get(bench.dut.suspects) == (1 << G.sets) - 1, "nobody knows yet"
        await ctx.tick().repeat(20)
        assert ctx.get(bench.dut.suspects) == suspect

    bench.run(testbench)


def test_malformed_frames_change_nothing():
    bench = Bench()

    async def testbench(ctx):
        await bench.ask(ctx, G.sets, 7, 9)
        await bench.frame(ctx, Type.ASK, 1, set=0, life=7, epoch=9)
        await ctx.tick()
        assert bench.counts["rejected"] == 2
        assert bench.due == []
        assert ctx.get(bench.dut.life) == 0
        assert await bench.page(ctx, 0, W.EPOCH, W.FLAGS) == (0, 0)

    bench.run(testbench)
