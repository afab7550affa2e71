# amaranth: UnusedElaboratable=no
"""The receive window against a set of numbers."""

import random

import pytest

from hdl.rxwindow import ReceiveWindow

from .streams import run


async def look(ctx, dut, lseq, mark=True):
    """Look a number up and, if it is new, mark it; returns whether it was new."""
    ctx.set(dut.lseq, lseq)
    ctx.set(dut.look, 1)
    await ctx.tick()
    ctx.set(dut.look, 0)
    clocks = 0
    while ctx.get(dut.busy):
        await ctx.tick()
        clocks += 1
    assert clocks < 50, "a frame on the fastest line lasts 800 clocks"
    new = ctx.get(dut.new)
    if new and mark:
        ctx.set(dut.mark, 1)
        await ctx.tick()
        ctx.set(dut.mark, 0)
        while ctx.get(dut.busy):
            await ctx.tick()
    return bool(new)


@pytest.mark.parametrize("window", [4, 8, 32])
def test_every_number_is_new_once(window):
    """600 frames in disorder, with duplicates and numbers far off: more than two wraps."""
    rng = random.Random(window)
    dut = ReceiveWindow(window=window)

    async def bench(ctx):
        base = 0
        got = set()
        while base < 600:
            number = base + rng.choice([0, 0, rng.randrange(window), rng.randrange(-9, 70)])
            expected = base <= number < base + window and number not in got
            assert await look(ctx, dut, number % 256) == expected, number
            if expected:
                got.add(number)
            while base in got:
                base += 1
            assert ctx.get(dut.base) == base % 256
            assert ctx.get(dut.map) == sum(1 << n - base for n in got if n > base)

    run(dut, bench, limit=200000)


def test_looking_changes_nothing():
    dut = ReceiveWindow(window=8)

    async def bench(ctx):
        assert await look(ctx, dut, 3)
        for lseq in range(256):
            assert await look(ctx, dut, lseq, mark=False) == (lseq < 8 and lseq != 3)
        assert (ctx.get(dut.base), ctx.get(dut.map)) == (0, 1 << 3)

    run(dut, bench)


def test_ordered_takes_the_next_only():
    dut = ReceiveWindow(window=8, ordered=True)

    async def bench(ctx):
        for base in range(300):
            for lseq in (base + 1, base - 1, base + 7, base):
                assert await look(ctx, dut, lseq % 256) == (lseq == base)
            assert (ctx.get(dut.base), ctx.get(dut.map)) == ((base + 1) % 256, 0)

    run(dut, bench)


def test_window_is_checked():
    with pytest.raises(ValueError, match="window 33 is not 4, 8, 16 or 32"):
        ReceiveWindow(window=33)
