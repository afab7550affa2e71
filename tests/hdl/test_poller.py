"""The poller: evenly, never at 0, and at once when the interval shrinks."""

import pytest

from hdl.poller import Poller

from .source_bench import simulate


async def dues(ctx, dut, ticks):
    """Numbers of the ticks at which a poll was due."""
    found = []
    for n in range(ticks):
        ctx.set(dut.tick, 1)
        _, _, due = await ctx.tick().sample(dut.due)
        if due:
            found.append(n)
        ctx.set(dut.tick, 0)
        _, _, due = await ctx.tick().sample(dut.due)
        assert not due, "due only with a tick"
    return found


@pytest.mark.requirement("R10")
@pytest.mark.parametrize("interval", [1, 2, 5])
def test_due_every_interval(interval):
    dut = Poller()

    async def bench(ctx):
        ctx.set(dut.interval, interval)
        assert await dues(ctx, dut, 20) == list(range(interval - 1, 20, interval))

    simulate(dut, bench)


def test_zero_is_never_and_starts_over():
    dut = Poller()

    async def bench(ctx):
        ctx.set(dut.interval, 4)
        assert await dues(ctx, dut, 3) == []
        ctx.set(dut.interval, 0)
        assert await dues(ctx, dut, 10) == []
        ctx.set(dut.interval, 4)
        assert await dues(ctx, dut, 4) == [3]

    simulate(dut, bench)


def test_shorter_interval_that_is_over_is_due_at_next_tick():
    dut = Poller()

    async def bench(ctx):
        ctx.set(dut.interval, 100)
        assert await dues(ctx, dut, 10) == []
        ctx.set(dut.interval, 5)
        assert await dues(ctx, dut, 6) == [0, 5]

    simulate(dut, bench)
