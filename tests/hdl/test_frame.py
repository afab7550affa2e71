# amaranth: UnusedElaboratable=no
"""Frames in both directions against the wire definition and its golden vectors."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.sim import Simulator

from firmware_model import wire
from firmware_model.wire import Type
from hdl.cobs import CobsDecoder, CobsEncoder
from hdl.frame import HEAD_BYTES, FrameReceiver, FrameTransmitter, holds_entries
from tests.firmware_model.test_wire import GOLDEN

from .streams import StreamMonitor, pauses, run, stream_get, stream_put, ticks, until


class Sending(wiring.Component):
    """Transmitter and encoder, as in the link engine."""

    def __init__(self):
        self.frame = FrameTransmitter()
        self.cobs = CobsEncoder()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.frame = self.frame
        m.submodules.cobs = self.cobs
        wiring.connect(m, self.frame.o, self.cobs.i)
        return m


def transmit(frames, pause=lambda: 0):
    """Line bytes of ``frames``, each (ten head bytes, payload)."""
    dut = Sending()
    out = bytearray()
    done = 0
    monitor = StreamMonitor(dut.frame.o, "o")

    async def put(ctx):
        for head, payload in frames:
            for place, byte in enumerate(head):
                await stream_put(ctx, dut.frame.head, {
                    "data": byte, "last": place == HEAD_BYTES - 1, "more": bool(payload)})
                await ticks(ctx, 1 + pause())
            for place, byte in enumerate(payload):
                await stream_put(ctx, dut.frame.payload,
                                 {"data": byte, "last": place == len(payload) - 1})

    async def get(ctx):
        while out.count(0) < len(frames):
            out.append(await stream_get(ctx, dut.cobs.o))

    async def count_done(ctx):
        nonlocal done
        async for _, _, pulse in ctx.tick().sample(dut.frame.done):
            done += pulse

    run(dut, put, get, monitors=[monitor, count_done], limit=60000)
    assert done == len(frames)
    return bytes(out)


def test_transmits_the_golden_vectors():
    frames = []
    for type_, lseq, payload, fields, _ in GOLDEN:
        body = wire.pack(type_, lseq, payload, **fields)
        frames.append((body[:HEAD_BYTES], payload))
    assert transmit(frames).hex() == "".join(line for *_, line in GOLDEN)


def test_transmits_with_pauses():
    rng = random.Random(3)
    frames = [(rng.randbytes(10), rng.randbytes(rng.randrange(20))) for _ in range(5)]
    expected = b""
    for head, payload in frames:
        crc = wire.zlib.crc32(head + payload).to_bytes(4, "little")
        expected += wire.to_line(head + payload + crc)
    assert transmit(frames, pause=lambda: pauses(rng)) == expected


class Receiving(wiring.Component):
    """Decoder and receiver, as in the link engine."""

    def __init__(self, max_payload, check_crc):
        self.cobs = CobsDecoder()
        self.frame = FrameReceiver(max_payload, check_crc=check_crc)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.cobs = self.cobs
        m.submodules.frame = self.frame
        wiring.connect(m, self.cobs.o, self.frame.i)
        return m


class Payloads:
    """Takes what a sink is offered, and checks that it stands still until it is taken."""

    def __init__(self, sink, pause=lambda: 0):
        self.sink = sink
        self.pause = pause
        self.data = bytearray()
        self.head = None

    async def watch(self, ctx):
        sink = self.sink
        while True:
            ctx.set(sink.ready, 0)
            await until(ctx, sink.valid)
            before = [ctx.get(s) for s in (sink.data, sink.index, sink.type, sink.header)]
            await ticks(ctx, 1 + self.pause())
            data, index, type_, header = (
                ctx.get(s) for s in (sink.data, sink.index, sink.type, sink.header))
            assert [data, index, type_, header] == before
            assert ctx.get(sink.valid)
            ctx.set(sink.ready, 1)
            await ctx.tick()
            if index == 0:
                self.data.clear()
            assert index == len(self.data)
            self.data.append(data)
            self.head = (type_, header)


def receive(line, *, max_payload=64, keep=1, pause=lambda: 0, limit=60000, check_crc=True):
    """What becomes of line bytes: frames as (type, lseq, header, payload), and bad ones."""
    dut = Receiving(max_payload, check_crc)
    sink = Payloads(dut.frame.sink, pause)
    frames = []
    bad = 0

    async def put(ctx):
        ctx.set(dut.frame.keep, keep)
        for byte in line:
            await stream_put(ctx, dut.cobs.i, byte)
        await ctx.tick().repeat(20)

    async def take(ctx):
        while True:
            got = await stream_get(ctx, dut.frame.frame)
            if got.length and keep:
                assert sink.head == (got.type, got.header)
                assert min(got.length, max_payload) == len(sink.data)
            frames.append((got.type, got.lseq, got.header.to_bytes(8, "little"),
                           bytes(sink.data) if got.length and keep else b""))
            await ticks(ctx, 1 + pause())

    async def count_bad(ctx):
        nonlocal bad
        async for _, _, pulse in ctx.tick().sample(dut.frame.bad):
            bad += pulse

    monitor = StreamMonitor(dut.frame.frame, "frame")
    run(dut, put, monitors=[monitor, sink.watch, take, count_bad], limit=limit)
    return frames, bad


def as_received(type_, lseq, payload, fields):
    return (type_, lseq, wire.pack(type_, lseq, payload, **fields)[2:10], payload)


def test_receives_the_golden_vectors():
    line = bytes.fromhex("".join(line for *_, line in GOLDEN))
    assert receive(line, max_payload=256) == ([as_received(*v[:4]) for v in GOLDEN], 0)


def test_receives_with_pauses():
    rng = random.Random(5)
    line = bytes.fromhex("".join(line for *_, line in GOLDEN[:5]))
    assert receive(line, pause=lambda: pauses(rng)) == ([as_received(*v[:4]) for v in GOLDEN[:5]],
                                                        0)


GOOD = wire.to_line(wire.pack(Type.STATUS, 3, gseq=9))
GOOD_FRAME = (Type.STATUS, 3, b"\0\0\x09\0\0\0\0\0", b"")


@pytest.mark.parametrize("line", [
    b"\x01\0",                                              # a frame of one zero
    b"\x03ab\0",                                            # far too short
    wire.cobs_encode(wire.pack(Type.STATUS, 3)[:13]) + b"\0",
    wire.to_line(bytes(13)),
    wire.to_line(b"\xff" * 13),
    GOOD[:-3] + b"\0",                                      # broken off
    GOOD[:3] + bytes([GOOD[3] ^ 4]) + GOOD[4:],             # one bit
    b"\xff" * 700 + b"\0",
    wire.to_line(bytes(14)),                                # zeros are no frame
])
def test_bad_frame_is_dropped_and_the_next_one_taken(line):
    assert receive(line + GOOD) == ([GOOD_FRAME], 1)


def test_longest_payload_is_taken():
    payload = bytes(range(64))
    line = wire.to_line(wire.pack(Type.WRITE, 3, payload, tag=5))
    assert receive(line) == ([as_received(Type.WRITE, 3, payload, {"tag": 5})], 0)


def test_every_single_bit_error_is_found():
    """Any bit of the encoded frame, delimiter excepted: then the frame never ends."""
    line = b""
    for place in range(len(GOOD) - 1):
        broken = bytearray(GOOD)
        broken[place] ^= 1 << place % 8
        line += bytes(broken)
    frames, bad = receive(line + GOOD, limit=100000)
    assert frames == [GOOD_FRAME]
    assert bad >= len(GOOD) - 1


def test_mutant_takes_a_frame_with_a_wrong_crc():
    body = bytearray(wire.pack(Type.WRITE, 3, b"payload", tag=5))
    body[-5] ^= 1
    line = wire.to_line(bytes(body))
    assert receive(line) == ([], 1)
    frames, bad = receive(line, check_crc=False)
    assert (frames, bad) == ([as_received(Type.WRITE, 3, b"payloae", {"tag": 5})], 0)


def test_payload_not_kept_is_not_offered():
    line = wire.to_line(wire.pack(Type.WRITE, 3, bytes(9), tag=5))
    dut_frames, bad = receive(line, keep=0)
    assert (dut_frames, bad) == ([as_received(Type.WRITE, 3, b"", {"tag": 5})], 0)


def test_max_payload_is_checked():
    with pytest.raises(ValueError, match=r"max_payload 4097 is outside 0\.\.4096"):
        FrameReceiver(4097)


@pytest.mark.parametrize("size", [64, 65, 300])
def test_too_long_a_payload_is_reported_by_its_length_and_not_offered(size):
    frames, bad = receive(wire.to_line(wire.pack(Type.WRITE, 3, bytes(size))) + GOOD)
    assert bad == 0
    assert frames[1:] == [GOOD_FRAME]
    assert frames[0][:2] == (Type.WRITE, 3)
    assert frames[0][3] == bytes(64)


def test_holds_entries_is_three_times():
    length, count = Signal(7), Signal(4)
    dut = Module()
    fits = Signal()
    dut.d.comb += fits.eq(holds_entries(length, count))

    async def bench(ctx):
        for entries in range(16):
            ctx.set(count, entries)
            for size in range(128):
                ctx.set(length, size)
                assert ctx.get(fits) == (size == 3 * entries), (size, entries)

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()
