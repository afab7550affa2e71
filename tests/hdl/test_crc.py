"""The CRC register against zlib."""

import random
import zlib

import pytest

from firmware_model import wire
from hdl.crc import Crc32

from .streams import run


async def take(ctx, dut, data):
    ctx.set(dut.shift, 1)
    for byte in data:
        for bit in range(8):
            ctx.set(dut.bit, byte >> bit & 1)
            await ctx.tick()
    ctx.set(dut.shift, 0)


@pytest.mark.parametrize("length", [0, 1, 4, 14, 30])
def test_equals_zlib(length):
    data = random.Random(length).randbytes(length)
    dut = Crc32()

    async def bench(ctx):
        await take(ctx, dut, b"left over from before")
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await take(ctx, dut, data)
        assert ctx.get(dut.value) ^ 0xFFFFFFFF == zlib.crc32(data)
        await ctx.tick().repeat(3)      # holds while nothing shifts
        drained = []
        ctx.set(dut.drain, 1)
        for _ in range(4):
            drained.append(ctx.get(dut.value) & 0xFF ^ 0xFF)
            await take(ctx, dut, b"\xA5")
        assert bytes(drained) == zlib.crc32(data).to_bytes(4, "little")

    run(dut, bench, limit=2000)


def test_residue_after_a_frame():
    dut = Crc32()

    async def bench(ctx):
        await take(ctx, dut, wire.pack(wire.Type.STATUS, 7, gseq=3))
        assert ctx.get(dut.value) == wire.CRC_RESIDUE

    run(dut, bench, limit=2000)
