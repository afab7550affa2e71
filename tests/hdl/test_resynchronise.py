# amaranth: UnusedElaboratable=no
"""What a line may do to a receiver, one by one: it is in step again within one frame."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire
from firmware_model.wire import Type
from hdl.cobs import CobsDecoder
from hdl.frame import FrameReceiver
from hdl.streams import ByteFifo
from hdl.uart import UartRx

from .serial import Sender
from .streams import run

BIT = 4             # clocks: the fastest line
FRAMES = 5
HIT = 2             # the frame that suffers


class Receiving(wiring.Component):
    """Line to frames, as in the link engine."""

    rx: In(1, init=1)
    got: Out(8)
    valid: Out(1)
    bad: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = UartRx()
        m.submodules.fifo = fifo = ByteFifo(16)
        m.submodules.cobs = cobs = CobsDecoder()
        m.submodules.frame = frame = FrameReceiver(64)
        m.d.comb += [
            uart.divisor.eq(BIT << 8), uart.rx.eq(self.rx),
            frame.sink.ready.eq(1), frame.keep.eq(1), frame.frame.ready.eq(1),
            self.valid.eq(frame.frame.valid), self.got.eq(frame.frame.payload.lseq),
            self.bad.eq(frame.bad),
        ]
        wiring.connect(m, uart.o, fifo.i)
        wiring.connect(m, fifo.o, cobs.i)
        wiring.connect(m, cobs.o, frame.i)
        return m


class Line(Sender):
    """A sender whose bits can be interfered with."""

    def __init__(self, rng):
        super().__init__(BIT)
        self.rng = rng

    def noise(self, clocks):
        """Levels without any order."""
        for _ in range(clocks):
            self.level(self.rng.randrange(2), 1)

    def stuck(self, first, clocks, level):
        """Whatever is said from clock ``first`` on for so long, the line is at ``level``."""
        before = [(end, was) for end, was in self.levels if end <= first]
        at_first = next(was for end, was in self.levels if end > first)
        last = first + clocks
        after = [(end, was) for end, was in self.levels if end > last]
        self.levels = [*before, (first, at_first), (last, level), *after]


def frame(number, rng):
    return wire.to_line(wire.pack(Type.DATA, number, bytes([0x55] * 6) + rng.randbytes(6),
                                  volume=number))


def flip(line, data, rng):
    data[rng.randrange(len(data) - 1)] ^= 1 << rng.randrange(8)
    line.send(data)


def burst(line, data, rng):
    at = rng.randrange(len(data) - 6)
    data[at:at + 5] = rng.randbytes(5)
    line.send(data)


def lose_byte(line, data, rng):
    del data[rng.randrange(len(data) - 1)]
    line.send(data)


def lose_delimiter(line, data, rng):
    line.send(data[:-1])


def insert_byte(line, data, rng):
    data.insert(rng.randrange(len(data)), rng.randrange(256))
    line.send(data)


def insert_delimiter(line, data, rng):
    data.insert(rng.randrange(1, len(data) - 1), 0)
    line.send(data)


def repeat_frame(line, data, rng):
    line.send(data + data)


def garbage_bytes(line, data, rng):
    line.send(data[:7] + rng.randbytes(50) + b"\0")


def garbage_levels(line, data, rng):
    """Not even bytes; then the next frame at once."""
    line.send(data[:7])
    line.noise(60 * BIT + rng.randrange(BIT))


def stuck_low(line, data, rng):
    start = line.end
    line.send(data)
    line.stuck(start + rng.randrange(50, 150), rng.randrange(1, 500), 0)


def stuck_high(line, data, rng):
    start = line.end
    line.send(data)
    line.stuck(start + rng.randrange(50, 150), rng.randrange(1, 500), 1)


def long_break(line, data, rng):
    line.send(data[:7])
    line.level(0, 2000)
    line.level(1, rng.randrange(BIT, 20 * BIT))


def wrong_baud(line, data, rng):
    line.bit = BIT * rng.choice([0.7, 0.9, 1.1, 1.6])
    line.send(data)
    line.bit = BIT


def cut_in_a_byte(line, data, rng):
    before = len(line.levels)
    line.send(data)
    keep = rng.randrange(before + 1, len(line.levels))
    line.levels = line.levels[:keep]
    line.end = line.levels[-1][0]
    line.level(1, rng.randrange(1, 40))


# With each fault: frames behind the one that was hit that may be lost too. What destroys the
# delimiter joins the frame to the next; noise may look like the beginning of one.
FAULTS = {
    flip: 0, burst: 0, lose_byte: 0, insert_byte: 0, insert_delimiter: 0, repeat_frame: 0,
    garbage_bytes: 0, wrong_baud: 1, lose_delimiter: 1, garbage_levels: 1, long_break: 1,
    stuck_low: 1, stuck_high: 1, cut_in_a_byte: 1,
}


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_in_step_within_one_frame_after(fault):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    for trial in range(2):
        rng = random.Random(f"{seed} {trial}")
        line = Line(rng)
        line.level(1, 20)
        for number in range(FRAMES):
            data = bytearray(frame(number, rng))
            if number == HIT:
                fault(line, data, rng)
            else:
                line.send(data)
        line.level(1, 20 * BIT)
        got = receive(line)
        assert set(got) <= set(range(FRAMES)), (trial, got)
        must = [n for n in range(FRAMES) if not HIT <= n <= HIT + FAULTS[fault]]
        assert [n for n in got if n in must] == must, (trial, got)
        if fault is repeat_frame:
            assert got.count(HIT) == 2
        elif fault not in (stuck_low, stuck_high, cut_in_a_byte, wrong_baud):
            assert HIT not in got, (trial, got)


def receive(line):
    """``lseq`` of the frames that arrive."""
    dut = Receiving()
    got = []

    async def bench(ctx):
        while not line.idle:
            ctx.set(dut.rx, line.step())
            _, _, valid, lseq = await ctx.tick().sample(dut.valid, dut.got)
            if valid:
                got.append(lseq)

    run(dut, bench, limit=200_000)
    return got
