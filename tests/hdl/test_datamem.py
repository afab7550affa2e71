# amaranth: UnusedElaboratable=no
"""The data memory: a byte is what was written there last, in two clocks."""

import pytest

from hdl.datamem import DataMemory

from .source_bench import SMALL, seeded, simulate


async def access(ctx, port, address, value=None):
    ctx.set(port.addr, address)
    ctx.set(port.we, value is not None)
    ctx.set(port.wdata, value or 0)
    ctx.set(port.req, 1)
    clocks = 0
    while True:
        clocks += 1
        _, _, ack, data = await ctx.tick().sample(port.ack, port.rdata)
        if ack:
            break
    assert clocks == 2
    return data


def test_reads_back_first_and_last_byte_and_random_ones():
    rng = seeded(7)
    dut = DataMemory(SMALL, SMALL.source_slots)
    last = (SMALL.source_slots << SMALL.offset_bits) - 1

    async def bench(ctx):
        values = {}
        for address in [0, last, *(rng.randrange(last) for _ in range(60))]:
            values[address] = rng.randrange(256)
            await access(ctx, dut.port, address, values[address])
        ctx.set(dut.port.req, 0)
        await ctx.tick().repeat(3)
        for address, value in values.items():
            assert await access(ctx, dut.port, address) == value    # back to back

    simulate(dut, bench)


def test_writes_nothing_while_not_asked():
    dut = DataMemory(SMALL, 4)

    async def bench(ctx):
        await access(ctx, dut.port, 5, 1)
        ctx.set(dut.port.req, 0)
        ctx.set(dut.port.we, 1)
        ctx.set(dut.port.wdata, 9)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.port.ack) == 0
        assert await access(ctx, dut.port, 5) == 1

    simulate(dut, bench)


@pytest.mark.parametrize("slots", [0, 33])
def test_parameters_are_checked(slots):
    with pytest.raises(ValueError, match=rf"slots {slots} is outside 1\.\.32"):
        DataMemory(SMALL, slots)
