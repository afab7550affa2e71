# amaranth: UnusedElaboratable=no
"""The byte queue, and the register between two streams."""

import random

import pytest

from hdl.streams import ByteFifo, StreamRegister

from .streams import StreamMonitor, run


@pytest.mark.parametrize(("put", "get"), [(0.9, 0.2), (0.3, 0.9), (1, 1)])
def test_keeps_order_and_drops_only_when_full(put, get):
    rng = random.Random(f"{put} {get}")
    dut = ByteFifo(depth=16)
    output = StreamMonitor(dut.o, "o")

    async def bench(ctx):
        kept = []
        dropped = 0
        for clock in range(2000):
            offers = rng.random() < put and clock < 1900
            ctx.set(dut.i.valid, offers)
            ctx.set(dut.i.payload, clock & 0xFF)
            ctx.set(dut.o.ready, rng.random() < get or clock >= 1900)
            if offers and ctx.get(dut.overflow):
                dropped += 1
                assert len(kept) - len(output.taken) >= 14, "dropped although not full"
            elif offers:
                kept.append(clock & 0xFF)
            await ctx.tick()
        assert output.taken == kept
        assert (dropped > 0) == (put > get)

    run(dut, bench, monitors=[output])


def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth 12 is not a power of two of at least 4"):
        ByteFifo(depth=12)


@pytest.mark.parametrize(("put", "get"), [(0.9, 0.2), (0.3, 0.9), (1, 1)])
def test_a_register_passes_everything_on_and_nothing_through(put, get):
    rng = random.Random(f"{put} {get}")
    dut = StreamRegister(8)
    output = StreamMonitor(dut.o, "o")

    async def bench(ctx):
        kept = []
        for clock in range(2000):
            ctx.set(dut.i.valid, rng.random() < put and clock < 1900)
            ctx.set(dut.i.payload, clock & 0xFF)
            takes = ctx.get(dut.i.ready)
            ctx.set(dut.o.ready, rng.random() < get or clock >= 1900)
            assert ctx.get(dut.i.ready) == takes != ctx.get(dut.o.valid)
            if takes and ctx.get(dut.i.valid):
                kept.append(clock & 0xFF)
            await ctx.tick()
        assert output.taken == kept
        assert put < 1 or len(kept) == 950      # an element in two clocks

    run(dut, bench, monitors=[output])
