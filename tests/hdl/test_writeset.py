# amaranth: UnusedElaboratable=no
"""The write set: entries in the right bank, and the worst fault by its first entry."""

import pytest

from firmware_model import wire
from firmware_model.wire import Type
from hdl.writeset import PlaceFault, SinkRouter, WriteSet

from .source_bench import SMALL, seeded, simulate, until


async def arrive(ctx, sink, places, *, cut=None):
    payload = b"".join(bytes([v]) + t.to_bytes(2, "little") for v, t in places)[:cut]
    for index, byte in enumerate(payload):
        ctx.set(sink.data, byte)
        ctx.set(sink.index, index)
        ctx.set(sink.valid, 1)
        await until(ctx, sink.ready)
    ctx.set(sink.valid, 0)


async def entries(ctx, dut, count):
    found = []
    for position in range(count):
        ctx.set(dut.position, position)
        await ctx.tick()
        found.append(SMALL.place(ctx.get(dut.entry.index)))
    return found


async def swap(ctx, dut):
    ctx.set(dut.swap, 1)
    await ctx.tick()
    ctx.set(dut.swap, 0)


def test_open_chain_is_not_disturbed_by_what_arrives():
    dut = WriteSet(SMALL)
    rng = seeded(8)

    def some():
        return [(rng.randrange(3), rng.randrange(5)) for _ in range(4)]

    async def bench(ctx):
        first, second = some(), some()
        await arrive(ctx, dut.sink, first)
        await swap(ctx, dut)
        for position in range(4):
            ctx.set(dut.position, position)
            ctx.set(dut.slot, 20 - position)
            ctx.set(dut.slot_we, 1)
            await ctx.tick()
        ctx.set(dut.slot_we, 0)
        await arrive(ctx, dut.sink, some())             # a frame that turns out to be broken
        await arrive(ctx, dut.sink, second)             # and its repetition
        assert await entries(ctx, dut, 4) == first
        assert ctx.get(dut.entry.slot) == 17
        await swap(ctx, dut)
        assert await entries(ctx, dut, 4) == second

    simulate(dut, bench)


def test_too_long_a_write_set_stays_in_its_bank():
    dut = WriteSet(SMALL)

    async def bench(ctx):
        await arrive(ctx, dut.sink, [(0, 0), (0, 1), (0, 2), (0, 3)])
        await swap(ctx, dut)
        await arrive(ctx, dut.sink, [(1, n % 5) for n in range(10)])
        assert await entries(ctx, dut, 4) == [(0, 0), (0, 1), (0, 2), (0, 3)]
        await swap(ctx, dut)
        assert await entries(ctx, dut, 4) == [(1, 0), (1, 1), (1, 2), (1, 3)]

    simulate(dut, bench)


@pytest.mark.parametrize(("places", "kind", "position"), [
    ([(0, 0), (2, 4)], PlaceFault.NONE, 0),
    ([(3, 0)], PlaceFault.VOLUME, 0),
    ([(0, 0), (255, 65535)], PlaceFault.VOLUME, 1),
    ([(0, 0), (0, 0x80), (3, 0), (4, 0)], PlaceFault.VOLUME, 2),     # volume wins over track
    ([(0, 4), (0, 5)], PlaceFault.TRACK, 1),
    ([(0, 4), (0, 256), (1, 5)], PlaceFault.TRACK, 1),
    ([(0x80, 0)], PlaceFault.VOLUME, 0),            # END_OF_CHAIN means nothing here
])
def test_fault_of_first_entry_with_the_worst_kind(places, kind, position):
    dut = WriteSet(SMALL)

    async def bench(ctx):
        await arrive(ctx, dut.sink, [(9, 9), (9, 9)])       # forgotten with the next frame
        await arrive(ctx, dut.sink, places)
        await ctx.tick()
        fault = ctx.get(dut.fault)
        assert fault.kind is kind
        if kind is not PlaceFault.NONE:
            assert (fault.position, fault.volume, fault.track) == (position, *places[position])

    simulate(dut, bench)


def test_holds_while_judged():
    dut = WriteSet(SMALL)

    async def bench(ctx):
        ctx.set(dut.hold, 1)
        ctx.set(dut.sink.valid, 1)
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(dut.sink.ready)
        ctx.set(dut.hold, 0)
        await until(ctx, dut.sink.ready)

    simulate(dut, bench)


def test_router_knows_its_types_and_swallows_others():
    dut = SinkRouter([Type.CHAIN, Type.WRITE])

    async def bench(ctx):
        ctx.set(dut.sink.valid, 1)
        ctx.set(dut.sink.data, 0x5A)
        ctx.set(dut.outputs[1].ready, 1)
        for type_ in wire.Type:
            ctx.set(dut.sink.type, type_)
            await ctx.delay(1e-9)
            chain, write = type_ is Type.CHAIN, type_ is Type.WRITE
            assert ctx.get(dut.outputs[0].valid) == chain
            assert ctx.get(dut.outputs[1].valid) == write
            assert ctx.get(dut.sink.ready) == (not chain)   # output 0 is not ready
            assert ctx.get(dut.outputs[1].data) == 0x5A
        await ctx.delay(1e-9)

    from amaranth.sim import Simulator
    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()


def test_router_needs_a_type():
    with pytest.raises(ValueError, match="at least one frame type"):
        SinkRouter([])
