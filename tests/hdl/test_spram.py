# amaranth: UnusedElaboratable=no
"""The data memory in SPRAM: cleared first, then like any other; and the real cell where there is
one."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib.wiring import connect, flipped
from amaranth.sim import Simulator

from firmware_model.geometry import Geometry
from hdl.datamem import DataMemory, PipelinedDataMemory
from hdl.spram import SPRAM_BYTES, SpramDataMemory

from .source_bench import seeded

GEOMETRY = Geometry(volumes=2, tracks_per_volume=32, staging_slots=100)
CLEARING = 1 << 14


async def access(ctx, port, address, value=None, limit=6):
    ctx.set(port.addr, address)
    ctx.set(port.we, value is not None)
    ctx.set(port.wdata, value or 0)
    ctx.set(port.req, 1)
    for clocks in range(1, limit + 1):
        _, _, ack, data = await ctx.tick().sample(port.ack, port.rdata)
        if ack:
            ctx.set(port.req, 0)
            return clocks, data
    raise AssertionError(f"no answer within {limit} clocks")


def simulate(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(("kind", "clocks"), [(SpramDataMemory, 2), (PipelinedDataMemory, 5)])
def test_reads_back_what_was_written(kind, clocks):
    rng = seeded(7)
    slots = 256 if kind is SpramDataMemory else 72       # more than two banks
    dut = kind(GEOMETRY, slots)
    last = slots * GEOMETRY.track_bytes - 1

    async def bench(ctx):
        if kind is SpramDataMemory:
            await access(ctx, dut.port, 0, limit=CLEARING + 4)
        values = {}
        places = [0, 1, 2, last, *(n << 15 & last for n in range(4)),
                  *(rng.randrange(last) for _ in range(60))]
        for address in places:
            values[address] = rng.randrange(256)
            assert (await access(ctx, dut.port, address, values[address]))[0] == clocks
        for address, value in values.items():
            assert await access(ctx, dut.port, address) == (clocks, value)
        for address in {rng.randrange(last) for _ in range(20)} - set(values):
            assert await access(ctx, dut.port, address) == (clocks, 0)

    simulate(dut, bench)


def test_answers_nobody_before_everything_is_cleared():
    dut = SpramDataMemory(GEOMETRY, 4)

    async def bench(ctx):
        clocks, _ = await access(ctx, dut.port, 5, 1, limit=CLEARING + 4)
        assert clocks > CLEARING
        assert (await access(ctx, dut.port, 5))[1] == 1

    simulate(dut, bench)


def test_an_access_beyond_the_last_block_is_answered_and_writes_nothing():
    wide = Geometry(volumes=4, tracks_per_volume=256)       # slot numbers of 11 bits
    dut = SpramDataMemory(wide, 256)

    async def bench(ctx):
        await access(ctx, dut.port, 0, limit=CLEARING + 4)
        await access(ctx, dut.port, SPRAM_BYTES, 9)
        assert (await access(ctx, dut.port, 0))[1] == 0

    simulate(dut, bench)


@pytest.mark.parametrize("slots", [0, 257])
def test_slots_are_checked(slots):
    with pytest.raises(ValueError, match=rf"slots {slots} is outside 1\.\.256: .* 131072 bytes"):
        SpramDataMemory(GEOMETRY, slots)


class Chip:
    device = "iCE40UP5K"

    def get_data_memory(self, memory):
        m = Module()
        m.submodules.spram = spram = SpramDataMemory(memory.geometry, memory.slots)
        connect(m, flipped(memory.port), spram.port)
        return m


def test_the_real_cell_is_used_on_the_chip_that_has_it():
    dut = SpramDataMemory(GEOMETRY, 256)
    ports = [dut.port.req, dut.port.we, dut.port.addr, dut.port.wdata, dut.port.ack,
             dut.port.rdata]
    text = rtlil.convert(dut, platform=Chip(), ports=ports)
    assert text.count("cell \\SB_SPRAM256KA") == 4


def test_the_model_is_used_everywhere_else():
    dut = SpramDataMemory(GEOMETRY, 256)
    assert "SB_SPRAM256KA" not in rtlil.convert(dut, ports=[dut.port.req, dut.port.ack])


def test_a_platform_may_make_the_data_memory_its_own_way():
    dut = DataMemory(GEOMETRY, 64)
    ports = [dut.port.req, dut.port.we, dut.port.addr, dut.port.wdata, dut.port.ack,
             dut.port.rdata]
    assert "cell \\SB_SPRAM256KA" in rtlil.convert(dut, platform=Chip(), ports=ports)
