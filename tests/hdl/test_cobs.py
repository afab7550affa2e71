# amaranth: UnusedElaboratable=no
"""Encoder and decoder against the cobs package."""

import random

import pytest
from cobs import cobs

from hdl.cobs import CobsDecoder, CobsEncoder

from .streams import StreamMonitor, pauses, run, stream_put

LENGTHS = [1, 2, 253, 254, 255, 256, 508, 509]


def cases():
    rng = random.Random(7)
    for length in LENGTHS:
        yield b"\x01" * length
        yield bytes(length)
        yield b"\x01" * (length - 1) + b"\0"
        yield b"\0" + b"\x01" * (length - 1)
        yield bytes(rng.choices(range(4), k=length))


def encode(frames, *, put_pause=lambda: 0, get_pause=lambda: 0, limit=60000):
    dut = CobsEncoder()
    out = bytearray()
    inputs = StreamMonitor(dut.i, "i")
    outputs = StreamMonitor(dut.o, "o")
    expected = sum(len(cobs.encode(f)) + 1 for f in frames)

    async def put(ctx):
        for frame in frames:
            for place, byte in enumerate(frame):
                if wait := put_pause():
                    await ctx.tick().repeat(wait)
                await stream_put(ctx, dut.i, {"data": byte, "last": place == len(frame) - 1})

    async def get(ctx):
        while len(out) < expected:
            if wait := get_pause():
                ctx.set(dut.o.ready, 0)
                await ctx.tick().repeat(wait)
            ctx.set(dut.o.ready, 1)
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                out.append(byte)
        ctx.set(dut.o.ready, 0)
        await ctx.tick().repeat(10)
        assert not ctx.get(dut.o.valid), "the encoder says more than the frames"

    run(dut, put, get, monitors=[inputs, outputs], limit=limit)
    return bytes(out)


@pytest.mark.parametrize("seed", range(5))
def test_encodes_like_the_package(seed):
    frames = list(cases())[seed::5]
    assert encode(frames) == b"".join(cobs.encode(f) + b"\0" for f in frames)


def test_encodes_with_pauses():
    rng = random.Random(11)
    frames = [bytes(rng.choices(range(3), k=rng.randrange(1, 40))) for _ in range(20)]
    assert encode(frames, put_pause=lambda: pauses(rng), get_pause=lambda: pauses(rng)) \
        == b"".join(cobs.encode(f) + b"\0" for f in frames)


def test_full_ring_waits_and_the_line_never_runs_dry():
    """A reader ten times slower than the writer: the ring fills, and never empties again, also
    when a frame with one short block is followed by one with a longest block."""
    dut = CobsEncoder()
    frames = [b"\x07" * 254, b"\x01\0", b"\x07" * 400, b"\0\0\0", b"\x07" * 254, b"\x05" * 9]
    expected = b"".join(cobs.encode(f) + b"\0" for f in frames)
    waits = 0

    async def put(ctx):
        nonlocal waits
        for frame in frames:
            for place, byte in enumerate(frame):
                ctx.set(dut.i.payload, {"data": byte, "last": place == len(frame) - 1})
                ctx.set(dut.i.valid, 1)
                while not (await ctx.tick().sample(dut.i.ready))[2]:
                    waits += 1
        ctx.set(dut.i.valid, 0)

    async def get(ctx):
        await ctx.tick().until(dut.o.valid)
        out = bytearray()
        while len(out) < len(expected):
            assert ctx.get(dut.o.valid), f"nothing to send after {len(out)} bytes"
            out.append(ctx.get(dut.o.payload))
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)
            await ctx.tick().repeat(10)
        assert bytes(out) == expected

    run(dut, put, get, limit=30000)
    assert waits > 2000, "the ring never filled: this test shows nothing"


def decode(line, rng=None):
    """Frames (None for a bad one) that the decoder makes of line bytes."""
    dut = CobsDecoder()
    inputs = StreamMonitor(dut.i, "i")
    outputs = StreamMonitor(dut.o, "o")

    async def put(ctx):
        for byte in line:
            if rng and (wait := pauses(rng)):
                await ctx.tick().repeat(wait)
            await stream_put(ctx, dut.i, byte)

    async def drain(ctx):
        while True:
            ctx.set(dut.o.ready, rng is None or rng.random() < 0.5)
            await ctx.tick()

    run(dut, put, monitors=[inputs, outputs, drain], limit=40000)
    assert bytes(inputs.taken) == bytes(line)
    frames = []
    now = bytearray()
    for beat in outputs.taken:
        if not beat.end:
            now.append(beat.data)
            continue
        frames.append(None if beat.bad else bytes(now))
        now.clear()
    return frames, bytes(now)


@pytest.mark.parametrize("seed", range(5))
def test_decodes_what_the_package_encodes(seed):
    frames = list(cases())[seed::5]
    assert decode(b"".join(cobs.encode(f) + b"\0" for f in frames)) == (frames, b"")


def test_decodes_with_pauses():
    rng = random.Random(13)
    frames = [bytes(rng.choices(range(3), k=rng.randrange(1, 40))) for _ in range(20)]
    assert decode(b"".join(cobs.encode(f) + b"\0" for f in frames), rng) == (frames, b"")


def test_resynchronises_at_the_next_zero():
    good = cobs.encode(b"good") + b"\0"
    assert decode(b"\0\0\0" + good)[0] == [b"good"]
    assert decode(b"\x05ab\0" + good)[0] == [None, b"good"]
    assert decode(b"\xffabc\0\0" + good)[0] == [None, b"good"]
    rng = random.Random(17)
    for _ in range(5):
        assert decode(rng.randbytes(100) + b"\0" + good)[0][-1] == b"good"


def test_depth_is_checked():
    for depth in (256, 768, 512.0):
        with pytest.raises(ValueError, match="not a power of two of at least 512"):
            CobsEncoder(depth=depth)
