# amaranth: UnusedElaboratable=no
"""Transmitter and receiver against a line of known timing."""

import random

import pytest
from amaranth import *

from firmware_model import wire
from firmware_model.geometry import Geometry
from hdl.uart import MIN_DIVISOR, UartRx, UartTx

from .serial import Listener, Sender
from .streams import StreamMonitor, run, stream_put

DIVISORS = [4.0, 4 + 1 / 256, 4.5, 5.0, 5.0 + 255 / 256, 16.0, 17.3]
DATA = bytes([0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80]) + random.Random(1).randbytes(14)


@pytest.mark.parametrize("clocks", DIVISORS)
def test_transmits_without_gap_or_drift(clocks):
    dut = UartTx()
    listener = Listener(round(clocks * 256) / 256)
    monitor = StreamMonitor(dut.i, "i")

    async def bench(ctx):
        ctx.set(dut.divisor, round(clocks * 256))
        assert ctx.get(dut.tx) == 1
        for byte in DATA:
            await stream_put(ctx, dut.i, byte)
        await ctx.tick().repeat(int(11 * clocks) + 2)

    async def listen(ctx):
        async for _, _, level in ctx.tick().sample(dut.tx):
            listener.step(level)

    run(dut, bench, monitors=[monitor, listen])
    assert bytes(listener.data) == DATA
    spacing = [b - a for a, b in zip(listener.starts, listener.starts[1:], strict=False)]
    assert max(spacing) - min(spacing) <= 1
    assert abs(listener.starts[-1] - listener.starts[0]
               - 10 * listener.bit * (len(DATA) - 1)) <= 1


@pytest.mark.parametrize("clocks", DIVISORS)
@pytest.mark.parametrize("offset", [-0.02, 0.0, 0.02])
def test_receives_back_to_back(clocks, offset):
    received, errors = receive(clocks, clocks * (1 + offset), lambda line: line.send(DATA))
    assert received == DATA
    assert errors == 0


def receive(clocks, bit, drive, idle=20.4):
    """Bytes and framing errors that a receiver makes of what ``drive`` puts on the line."""
    dut = UartRx()
    line = Sender(bit)
    line.level(1, idle)
    drive(line)
    line.level(1, 12 * clocks)
    received = bytearray()
    errors = 0

    async def bench(ctx):
        nonlocal errors
        ctx.set(dut.divisor, round(clocks * 256))
        while not line.idle:
            ctx.set(dut.rx, line.step())
            _, _, valid, byte, error = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.framing_error)
            if valid:
                received.append(byte)
            errors += error

    run(dut, bench, limit=500_000)
    return bytes(received), errors


def test_phase_does_not_matter():
    """The line is asynchronous: start edges anywhere between two clocks."""
    for phase in range(8):
        def drive(line, phase=phase):
            for byte in b"\x00\xff\x5a":
                line.level(1, 3 + phase / 8)
                line.send(bytes([byte]))
        assert receive(5.0, 5.0, drive) == (b"\x00\xff\x5a", 0)


PHASES = [20 + phase / 8 for phase in range(8)]


@pytest.mark.parametrize("clocks", [4, 5, 8, 16, 104])
def test_baud_offset_is_met_up_to_the_stated_limit_and_no_further(clocks):
    half = clocks // 2
    longer = half / (9 * clocks)
    shorter = (clocks - half - 1) / (10 * clocks)
    data = DATA[:3] if clocks > 50 else DATA[:12]

    def reads(offset):
        """Whether the receiver reads all of it, whatever the phase of its clock."""
        return all(receive(clocks, clocks * (1 + offset), lambda line: line.send(data), idle)
                   == (data, 0) for idle in PHASES)

    assert reads(0.97 * longer)
    assert reads(-0.97 * shorter)
    assert not reads(1.06 * longer)
    assert not reads(-1.06 * shorter - 1 / 8 / 10 / clocks)    # of a clock: the step of the phases


@pytest.mark.parametrize("clocks", [4 + 1 / 256, 4.05, 4.3, 4.5, 4.9, 5 - 1 / 256, 6.7, 8.332])
@pytest.mark.parametrize("offset", [-0.022, 0.022])
def test_fractions_leave_at_least_two_per_cent(clocks, offset):
    clocks = round(clocks * 256) / 256
    for idle in PHASES[::2]:
        assert receive(clocks, clocks * (1 + offset), lambda line: line.send(DATA), idle) \
            == (DATA, 0)


@pytest.mark.parametrize("clock_mhz", [12, 25, 48, 50])
def test_three_megabaud_from_common_clocks(clock_mhz):
    """Within a per cent, and both ends read each other at it."""
    divisor = Geometry(clock_hz=clock_mhz * 10**6).divisor(3_000_000)
    clocks = divisor / 256
    assert clocks * 3 == pytest.approx(clock_mhz, rel=0.01)
    sender, receiver = UartTx(), UartRx()
    m = Module()
    m.submodules.sender, m.submodules.receiver = sender, receiver
    m.d.comb += [sender.divisor.eq(divisor), receiver.divisor.eq(divisor),
                 receiver.rx.eq(sender.tx)]
    received = []

    async def bench(ctx):
        for byte in DATA:
            await stream_put(ctx, sender.i, byte)
        await ctx.tick().repeat(int(13 * clocks) + 4)

    async def listen(ctx):
        async for _, _, valid, byte, error in ctx.tick().sample(
                receiver.o.valid, receiver.o.payload, receiver.framing_error):
            assert not error
            if valid:
                received.append(byte)

    run(m, bench, monitors=[listen])
    assert bytes(received) == DATA


@pytest.mark.parametrize(("clocks", "jitter"), [(5, 0.9), (8, 1.4), (16, 3.4), (17.3, 2.9)])
def test_jitter(clocks, jitter):
    """Every edge moves by so many clocks either way: twice that between two edges."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = DATA + rng.randbytes(40)

    def drive(line):
        moved = 0.0
        for byte in data:
            for level in [0, *(byte >> i & 1 for i in range(8)), 1]:
                before, moved = moved, rng.uniform(-jitter, jitter)
                line.level(level, clocks + moved - before)
    assert receive(clocks, clocks, drive) == (data, 0)


@pytest.mark.parametrize("clocks", [4.0, 5.0, 8.0, 16.0])
def test_glitches_shorter_than_half_a_bit_are_no_start_bits(clocks):
    def drive(line):
        for length in range(1, int(clocks // 2)):
            line.level(0, length)
            line.level(1, 3 * clocks)
            line.send(bytes([0x5A, length]))
            line.level(1, 2 * clocks)
        line.send(b"\x33")
    data, errors = receive(clocks, clocks, drive)
    sent = b"".join(bytes([0x5A, length]) for length in range(1, int(clocks // 2)))
    assert (data, errors) == (sent + b"\x33", 0)


def test_glitches_beside_the_middle_of_a_bit_do_not_matter():
    def drive(line):
        for byte in DATA:
            for level in [0, *(byte >> i & 1 for i in range(8)), 1]:
                line.level(level, 2)
                line.level(1 - level, 4)       # a quarter of a bit, before its middle
                line.level(level, 10)
    # The start edge is the first one; its own glitch looks like nothing.
    assert receive(16.0, 16.0, drive) == (DATA, 0)


def test_byte_without_stop_bit_is_a_delimiter():
    def drive(line):
        line.send(b"\x11")
        line.send(b"\x22", stop=0)
        line.level(1, 16)
        line.send(b"\x33")
    assert receive(16.0, 16.0, drive) == (b"\x11\x00\x33", 1)


@pytest.mark.parametrize("bits", [10, 11, 35, 1000])
def test_break_is_one_error(bits):
    """A line stuck low, for however long, ends the frame and no more."""
    def drive(line):
        line.send(b"\x11")
        line.level(0, bits * 16)
        line.level(1, 16)
        line.send(b"\x33")
    assert receive(16.0, 16.0, drive) == (b"\x11\x00\x33", 1)


@pytest.mark.parametrize("pattern", [b"U", b"\xff", b"\x0f", b"\xf0\x1e", b"\x01\x80\x7f"])
@pytest.mark.parametrize("clocks", [4.0, 5.0])
def test_in_step_after_the_delimiter_wherever_it_joins(pattern, clocks):
    """A stream of bytes without gaps, heard from any half bit on, as after a cut or a break: every
    frame that begins after that is read whole, from its first byte."""
    whole = (pattern * 6)[:6] + bytes([wire.DELIMITER])
    for joins in range(0, 20 * len(whole) // 2, 3):
        def drive(line, joins=joins):
            first = len(line.levels)
            line.send(whole * 3)
            missed = joins * clocks / 2 + line.levels[first - 1][0]
            line.levels = [(end, level) for end, level in line.levels if end > missed]
            line.levels.insert(0, (missed, 1))
        data, _ = receive(clocks, clocks, drive)
        frames = data.split(bytes([wire.DELIMITER]))
        assert frames[-1] == b"", joins
        assert frames[-3:-1] == [whole[:-1]] * 2, (joins, frames)


def test_divisor_width_is_checked():
    assert MIN_DIVISOR == 4 * 256
    for component in (UartTx, UartRx):
        with pytest.raises(ValueError, match=r"divisor_bits 11 is outside 12\.\.32"):
            component(divisor_bits=11)
