# amaranth: UnusedElaboratable=no
"""The free list: no slot twice, none lost, none given out while pinned."""

import pytest

from hdl.freelist import FreeList

from .source_bench import SMALL, pauses, seeded, simulate, stream_get, stream_put, ticks


def make():
    return FreeList(SMALL, first=SMALL.tracks, count=SMALL.spare_slots)


ALL = list(range(SMALL.tracks, SMALL.tracks + SMALL.spare_slots))


def test_filled_after_reset_emptied_and_filled_again():
    dut = make()

    async def bench(ctx):
        assert not ctx.get(dut.ready)
        assert not ctx.get(dut.pop.valid)
        await ctx.tick().until(dut.ready)
        assert ctx.get(dut.level) == len(ALL)
        assert [await stream_get(ctx, dut.pop) for _ in ALL] == ALL
        await ctx.tick().repeat(3)
        assert ctx.get(dut.level) == 0
        assert not ctx.get(dut.pop.valid)
        for slot in reversed(ALL):
            await stream_put(ctx, dut.push, slot)
        assert [await stream_get(ctx, dut.pop) for _ in ALL] == ALL[::-1]

    simulate(dut, bench)


def test_pinned_slot_is_held_back():
    dut = make()

    async def bench(ctx):
        await ctx.tick().until(dut.ready)
        slots = [await stream_get(ctx, dut.pop) for _ in ALL]
        ctx.set(dut.pin_slot, slots[2])
        ctx.set(dut.pin, 1)
        for slot in slots:
            await stream_put(ctx, dut.push, slot)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.level) == len(ALL) - 1
        rest = [await stream_get(ctx, dut.pop) for _ in range(len(ALL) - 1)]
        assert rest == [slot for slot in slots if slot != slots[2]]
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.pop.valid)
        # The pin moves to another slot: the first is free again, even while others are pushed.
        ctx.set(dut.pin_slot, rest[0])
        await stream_put(ctx, dut.push, rest[1])
        await stream_put(ctx, dut.push, rest[0])
        assert {await stream_get(ctx, dut.pop) for _ in range(2)} == {slots[2], rest[1]}
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.pop.valid)
        ctx.set(dut.pin, 0)
        assert await stream_get(ctx, dut.pop) == rest[0]

    simulate(dut, bench)


def test_random_traffic_conserves_slots():
    dut = make()
    rng = seeded(5)
    held = []

    async def taker(ctx):
        await ctx.tick().until(dut.ready)
        for _ in range(150):
            slot = await stream_get(ctx, dut.pop)
            assert slot in ALL
            assert slot not in held
            held.append(slot)
            for _ in range(pauses(rng)):
                await ctx.tick()

    async def giver(ctx):
        while True:
            await ctx.tick()
            if held and rng.random() < 0.4:
                slot = held.pop(rng.randrange(len(held)))
                await stream_put(ctx, dut.push, slot)

    async def pinner(ctx):
        while True:
            ctx.set(dut.pin, rng.random() < 0.5)
            ctx.set(dut.pin_slot, rng.choice(ALL))
            await ticks(ctx, rng.randint(1, 20))

    simulate(dut, taker, background=[giver, pinner])


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="count 1 is below 2"):
        FreeList(SMALL, first=0, count=1)
    with pytest.raises(ValueError, match=r"slots 30\.\.39 do not fit 5 bits"):
        FreeList(SMALL, first=30, count=10)
