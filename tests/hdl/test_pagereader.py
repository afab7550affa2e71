from amaranth import *
from amaranth.lib.wiring import connect

from firmware_model.wire import FIRST_GROUP, SET_PAGE_WORDS, Code, Reg, SetWord
from hdl.interfaces import TargetState
from hdl.pagereader import PageReader

from .target_bench import SMALL, Tables, access, simulate


class Bench(Elaboratable):
    def __init__(self):
        self.tables = Tables(SMALL, lockers=1, fetchers=0)
        self.dut = PageReader(SMALL, TargetState(SMALL))

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = self.tables
        m.submodules.dut = self.dut
        connect(m, self.dut.meta, self.tables.metadata.clients[0])
        return m


def address(set_, word):
    return Reg.SET_PAGES + SET_PAGE_WORDS * set_ + word


def test_every_word_of_every_set():
    bench = Bench()
    dut, tables = bench.dut, bench.tables

    async def testbench(ctx):
        assert await access(ctx, dut.bus, address(1, SetWord.NEXT)) == (Code.OK, FIRST_GROUP)
        for set_ in range(SMALL.sets):
            for word in range(SET_PAGE_WORDS):
                await tables.page(ctx, set_, word, 0x4321 + 1000 * set_ + word)
        for set_ in range(SMALL.sets):
            for word in range(SET_PAGE_WORDS):
                assert await access(ctx, dut.bus, address(set_, word)) == (
                    Code.OK, 0x4321 + 1000 * set_ + word)

    simulate(bench, testbench)


def test_refusals_change_nothing():
    bench = Bench()
    dut, tables = bench.dut, bench.tables

    async def testbench(ctx):
        await tables.page(ctx, 0, 3, 77)
        assert (await access(ctx, dut.bus, address(0, 3), 5))[0] == Code.READ_ONLY
        assert (await access(ctx, dut.bus, address(SMALL.sets, 0)))[0] == Code.BAD_REGISTER
        assert (await access(ctx, dut.bus, address(SMALL.sets, 0), 1))[0] == Code.BAD_REGISTER
        assert await tables.page(ctx, 0, 3) == 77

    simulate(bench, testbench)


def test_waits_for_the_lock_and_lets_go_of_it():
    bench = Bench()
    dut, tables = bench.dut, bench.tables

    async def testbench(ctx):
        await tables.lock(ctx)
        ctx.set(dut.bus.addr, address(0, 0))
        ctx.set(dut.bus.req, 1)
        for _ in range(30):
            await ctx.tick()
            assert not ctx.get(dut.bus.ack)
        await tables.unlock(ctx)
        await ctx.tick().until(dut.bus.ack)
        ctx.set(dut.bus.req, 0)
        await tables.lock(ctx)      # the watchdog bites if the reader keeps it

    simulate(bench, testbench)
