import pytest
from amaranth import *
from amaranth.lib.wiring import connect

from firmware_model.wire import Type
from hdl.slotwriter import SlotWriter

from .target_bench import SMALL, Tables, put, send, simulate


class Bench(Elaboratable):
    def __init__(self):
        self.tables = Tables(SMALL, lockers=0, fetchers=1)
        self.dut = SlotWriter(SMALL)

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = self.tables
        m.submodules.dut = self.dut
        connect(m, self.dut.memory, self.tables.arbiter.clients[0])
        return m


async def payload(ctx, dut, data):
    await send(ctx, dut.sink, None, Type.DATA, data, deliver=False)


@pytest.mark.parametrize("length", [0, 1, SMALL.track_bytes - 1, SMALL.track_bytes,
                                    SMALL.track_bytes + 1, 4097])
def test_writes_the_track_and_no_more(length):
    bench = Bench()
    dut, tables = bench.dut, bench.tables
    data = bytes(n % 251 + 1 for n in range(length))

    async def testbench(ctx):
        for slot in (4, 5, 6):
            for n in range(SMALL.track_bytes):
                await tables.byte(ctx, slot, n, 0xEE)
        await put(ctx, dut.slots, 5)
        assert ctx.get(dut.slot_valid)
        assert ctx.get(dut.slot) == 5
        await payload(ctx, dut, data)
        track = data[:SMALL.track_bytes]
        assert await tables.data(ctx, 5) == track + b"\xEE" * (SMALL.track_bytes - len(track))
        assert await tables.data(ctx, 4) == await tables.data(ctx, 6) == b"\xEE" * SMALL.track_bytes
        assert ctx.get(dut.slot_valid), "the slot stays in hand until it is taken"

    simulate(bench, testbench)


def test_next_frame_uses_the_slot_again_unless_it_was_taken():
    bench = Bench()
    dut, tables = bench.dut, bench.tables

    async def testbench(ctx):
        await put(ctx, dut.slots, 3)
        await payload(ctx, dut, b"a" * SMALL.track_bytes)
        await payload(ctx, dut, b"b" * SMALL.track_bytes)
        assert await tables.data(ctx, 3) == b"b" * SMALL.track_bytes
        ctx.set(dut.take, 1)
        await ctx.tick()
        ctx.set(dut.take, 0)
        assert not ctx.get(dut.slot_valid)
        await put(ctx, dut.slots, 7)
        await payload(ctx, dut, b"c" * SMALL.track_bytes)
        assert await tables.data(ctx, 3) == b"b" * SMALL.track_bytes
        assert await tables.data(ctx, 7) == b"c" * SMALL.track_bytes

    simulate(bench, testbench)


def test_stalls_without_a_slot_but_swallows_what_is_beyond_the_track():
    bench = Bench()
    dut = bench.dut

    async def testbench(ctx):
        ctx.set(dut.sink.valid, 1)
        ctx.set(dut.sink.index, SMALL.track_bytes - 1)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.sink.ready)
        ctx.set(dut.sink.index, SMALL.track_bytes)
        assert ctx.get(dut.sink.ready)

    simulate(bench, testbench)
