# amaranth: UnusedElaboratable=no
"""The byte queue."""

import random

import pytest

from hdl.streams import ByteFifo

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
