import pytest
from amaranth import *
from amaranth.lib.wiring import connect

from firmware_model.wire import SetWord, Type
from hdl.interfaces import PayloadKind
from hdl.status import StatusSender

from .streams import StreamMonitor
from .target_bench import SMALL, Tables, fields_of, get, simulate

G = SMALL.replace(sets=3, links=2)


class Bench(Elaboratable):
    def __init__(self, geometry=G):
        self.tables = Tables(geometry, lockers=1, fetchers=0)
        self.dut = StatusSender(geometry)

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = self.tables
        m.submodules.dut = self.dut
        connect(m, self.dut.meta, self.tables.metadata.clients[0])
        return m

    def run(self, testbench):
        async def bench(ctx):
            await self.tables.ready(ctx)
            await testbench(ctx)
        simulate(self, bench, clocks=20_000, background=[
            StreamMonitor(s, f"submit {n}") for n, s in enumerate(self.dut.submit)])

    async def due(self, ctx, *sets):
        for set_ in sets:
            ctx.set(self.dut.due[set_ % 2], {"valid": 1, "set": set_})
            await ctx.tick()
            ctx.set(self.dut.due[set_ % 2], {"valid": 0, "set": 0})

    async def links_up(self, ctx, mask):
        """Set the links that are up, and take the statuses that this makes due."""
        changes = mask ^ ctx.get(self.dut.links_up)
        ctx.set(self.dut.links_up, mask)
        if changes and mask:
            sets = []
            while len(sets) < G.sets:
                sets.append((await self.next(ctx))[1]["set"])
            assert sorted(sets) == list(range(G.sets))

    async def next(self, ctx):
        """(link, fields) of the next status."""
        valid = Cat(s.valid for s in self.dut.submit)
        await ctx.tick().until(valid.any())
        link = (0, 0, 1)[ctx.get(valid)]
        descriptor = await get(ctx, self.dut.submit[link])
        type_, fields = fields_of(descriptor)
        assert type_ == Type.STATUS
        assert descriptor.kind == PayloadKind.NONE
        return link, {name: fields[name] for name in ("set", "epoch", "gseq")}


@pytest.mark.parametrize(("up", "expected"), [(0b11, [0, 1, 0]), (0b01, [0, 0, 0]),
                                          (0b10, [1, 1, 1])])
def test_home_link_or_the_next_one_up(up, expected):
    bench = Bench()

    async def testbench(ctx):
        await bench.links_up(ctx, up)
        for set_, link in enumerate(expected):
            await bench.tables.page(ctx, set_, SetWord.DONE, 0xABC0 + set_)
            await bench.tables.page(ctx, set_, SetWord.EPOCH, 0x70 + set_)
            await bench.due(ctx, set_)
            assert await bench.next(ctx) == (
                link, {"set": set_, "epoch": 0x70 + set_, "gseq": 0xABC0 + set_})

    bench.run(testbench)


def test_stays_due_while_no_link_is_up_and_says_the_latest():
    bench = Bench()

    async def testbench(ctx):
        await bench.due(ctx, 1)
        await ctx.tick().repeat(100)
        assert not any(ctx.get(s.valid) for s in bench.dut.submit)
        await bench.tables.page(ctx, 1, SetWord.DONE, 5)
        ctx.set(bench.dut.links_up, 0b11)
        statuses = [await bench.next(ctx) for _ in range(3)]
        assert (1, {"set": 1, "epoch": 0, "gseq": 5}) in statuses

    bench.run(testbench)


def test_one_status_for_many_notices_but_none_is_lost():
    bench = Bench()

    async def testbench(ctx):
        await bench.links_up(ctx, 0b11)
        await bench.due(ctx, 2)
        await ctx.tick().repeat(40)         # offered, not taken
        await bench.tables.page(ctx, 2, SetWord.DONE, 1)
        await bench.due(ctx, 2, 2, 2)
        assert (await bench.next(ctx))[1]["gseq"] == 0
        assert (await bench.next(ctx))[1] == {"set": 2, "epoch": 0, "gseq": 1}
        await ctx.tick().repeat(100)
        assert not any(ctx.get(s.valid) for s in bench.dut.submit)

    bench.run(testbench)


def test_every_set_gets_its_turn():
    bench = Bench()

    async def testbench(ctx):
        await bench.links_up(ctx, 0b11)
        for _ in range(3):
            await bench.due(ctx, 0, 1, 2)
            assert sorted([(await bench.next(ctx))[1]["set"] for _ in range(3)]) == [0, 1, 2]

    bench.run(testbench)


def test_a_link_that_comes_back_gets_the_statuses_again():
    bench = Bench()

    async def testbench(ctx):
        await bench.links_up(ctx, 0b01)
        await ctx.tick().repeat(50)
        await bench.links_up(ctx, 0b00)
        await ctx.tick().repeat(50)
        await bench.links_up(ctx, 0b01)     # takes one a set
        await ctx.tick().repeat(100)
        assert not any(ctx.get(s.valid) for s in bench.dut.submit)

    bench.run(testbench)


@pytest.mark.requirement("R19")
def test_what_a_fallen_link_took_along_is_said_again_on_another():
    bench = Bench()

    async def testbench(ctx):
        await bench.links_up(ctx, 0b11)
        await bench.tables.page(ctx, 1, SetWord.DONE, 7)
        await bench.due(ctx, 1)
        assert await bench.next(ctx) == (1, {"set": 1, "epoch": 0, "gseq": 7})
        await ctx.tick().repeat(50)
        ctx.set(bench.dut.links_up, 0b01)
        statuses = [await bench.next(ctx) for _ in range(G.sets)]
        assert (0, {"set": 1, "epoch": 0, "gseq": 7}) in statuses

    bench.run(testbench)
