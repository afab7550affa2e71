# amaranth: UnusedElaboratable=no
"""Transmitter and receiver against a line of known timing."""

import random

import pytest

from hdl.uart import MIN_DIVISOR, UartRx, UartTx

from .serial import Listener, Sender
from .streams import StreamMonitor, run, stream_put

DIVISORS = [5.0, 5.25, 5.0 + 255 / 256, 6.5, 16.0, 17.3]
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


def receive(clocks, bit, drive):
    """Bytes and framing errors that a receiver makes of what ``drive`` puts on the line."""
    dut = UartRx()
    line = Sender(bit)
    line.level(1, 20.4)
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

    run(dut, bench)
    return bytes(received), errors


def test_phase_does_not_matter():
    """The line is asynchronous: start edges anywhere between two clocks."""
    for phase in range(8):
        def drive(line, phase=phase):
            for byte in b"\x00\xff\x5a":
                line.level(1, 3 + phase / 8)
                line.send(bytes([byte]))
        assert receive(5.0, 5.0, drive) == (b"\x00\xff\x5a", 0)


def test_glitch_is_no_start_bit():
    def drive(line):
        line.level(0, 4)
        line.level(1, 40)
        line.send(b"\x5a")
    assert receive(16.0, 16.0, drive) == (b"\x5a", 0)


def test_byte_without_stop_bit_is_dropped():
    def drive(line):
        line.send(b"\x11")
        line.send(b"\x22", stop=0)
        line.level(1, 16)
        line.send(b"\x33")
    assert receive(16.0, 16.0, drive) == (b"\x11\x33", 1)


def test_break_is_one_error():
    def drive(line):
        line.send(b"\x11")
        line.level(0, 35 * 16)
        line.level(1, 16)
        line.send(b"\x33")
    assert receive(16.0, 16.0, drive) == (b"\x11\x33", 1)


def test_divisor_width_is_checked():
    assert MIN_DIVISOR == 5 * 256
    for component in (UartTx, UartRx):
        with pytest.raises(ValueError, match=r"divisor_bits 11 is outside 12\.\.32"):
            component(divisor_bits=11)
