# amaranth: UnusedElaboratable=no
"""Two systems behind one port: gateware hub, and the PC's end of it."""

import os
import random
import time

import pytest
from amaranth.sim import Simulator

from boards.hub import HostHub
from firmware_model.wire import Role
from host_tools.hub import Deframer, Hub

BIT = 8             # clocks a bit; the nodes' lines run at 7
CLOCK = 1e-6


async def send(ctx, line, data, bit):
    for byte in data:
        for level in (0, *(byte >> n & 1 for n in range(8)), 1):
            ctx.set(line, level)
            await ctx.delay(bit * CLOCK)


def listener(line, into, bit):
    async def bench(ctx):
        while True:
            await ctx.negedge(line)
            await ctx.delay(bit * 1.5 * CLOCK)
            byte = 0
            for n in range(8):
                byte |= ctx.get(line) << n
                await ctx.delay(bit * CLOCK)
            assert ctx.get(line) == 1
            into.append(byte)
    return bench


def play(dut, *benches, listeners, clocks):
    sim = Simulator(dut)
    sim.add_clock(CLOCK)

    async def settings(ctx):
        ctx.set(dut.divisor, BIT * 256)

    sim.add_testbench(settings)
    for bench in benches:
        sim.add_testbench(bench)
    for bench in listeners:
        sim.add_testbench(bench, background=True)
    sim.run_until(clocks * CLOCK)


def frames_of(data):
    return [frame for frame in bytes(data).split(b"\0") if frame]


def test_frames_from_the_pc_reach_the_node_they_name():
    dut = HostHub(queue_bytes=64)
    heard = [[], []]

    async def pc(ctx):
        await ctx.delay(40 * CLOCK)
        await send(ctx, dut.rx, b"\0\x01abc\0\x02defg\0\x07nobody\0\x01h\0", BIT)

    play(dut, pc, clocks=40 * 10 * BIT, listeners=[
        listener(dut.nodes[n].tx, heard[n], BIT * 7 / 8) for n in range(2)])
    assert bytes(heard[0]) == b"abc\0h\0"
    assert bytes(heard[1]) == b"defg\0"


def test_a_pc_that_sends_without_a_pause_loses_nothing():
    dut = HostHub(queue_bytes=64)
    heard = [[], []]
    frame = bytes(random.Random(3).randrange(1, 256) for _ in range(120))

    async def pc(ctx):
        await ctx.delay(40 * CLOCK)
        await send(ctx, dut.rx, (b"\x02" + frame + b"\0") * 3, BIT * 0.985)

    play(dut, pc, clocks=400 * 10 * BIT, listeners=[
        listener(dut.nodes[n].tx, heard[n], BIT * 7 / 8) for n in range(2)])
    assert bytes(heard[1]) == (frame + b"\0") * 3
    assert heard[0] == []


def test_frames_of_both_nodes_take_turns_and_are_never_mixed():
    dut = HostHub(queue_bytes=64)
    heard = []
    said = [[b"one", b"two", b"three"], [b"eins", b"zwei", b"drei"]]

    def node(number):
        async def bench(ctx):
            await ctx.delay(40 * CLOCK)
            for text in said[number]:
                await send(ctx, dut.nodes[number].rx, text + b"\0", BIT * 7 / 8)
        return bench

    play(dut, node(0), node(1), clocks=60 * 10 * BIT,
         listeners=[listener(dut.tx, heard, BIT)])
    frames = frames_of(heard)
    assert len(frames) == 6
    assert [f[1:] for f in frames if f[0] == Role.SOURCE] == said[0]
    assert [f[1:] for f in frames if f[0] == Role.TARGET] == said[1]


class Line:
    """A transport that has been told what will arrive, and remembers what was sent."""

    def __init__(self):
        self.arriving = b""
        self.sent = b""

    def read(self, timeout):
        data, self.arriving = self.arriving, b""
        return data

    def write(self, data):
        self.sent += data

    def close(self):
        pass

    def now(self):
        return time.monotonic()


def test_each_node_has_a_port_of_its_own():
    line = Line()
    with Hub(line) as hub:
        ends = {role: os.open(path, os.O_RDWR | os.O_NOCTTY)
                for role, path in hub.ports.items()}
        try:
            line.arriving = b"noise\0\x01to source\0\0\x02to tar"
            hub.step()
            line.arriving = b"get\0\x09to nobody\0"
            hub.step()
            assert os.read(ends["source"], 100) == b"to source\0"
            assert os.read(ends["target"], 100) == b"to target\0"
            os.write(ends["target"], b"hel")
            os.write(ends["source"], b"\0me\0")
            os.write(ends["target"], b"lo\0")
            deadline = time.monotonic() + 5
            while len(line.sent) < 11 and time.monotonic() < deadline:
                hub.step()
        finally:
            for end in ends.values():
                os.close(end)
    assert sorted(frames_of(line.sent)) == [b"\x01me", b"\x02hello"]


def test_nobody_reading_one_port_does_not_stop_the_other():
    line = Line()
    with Hub(line) as hub:
        line.arriving = (b"\x01" + b"x" * 500 + b"\0") * 100 + b"\x02y\0"
        hub.step()
        end = os.open(hub.ports["target"], os.O_RDWR | os.O_NOCTTY)
        try:
            assert os.read(end, 10) == b"y\0"
        finally:
            os.close(end)


@pytest.mark.parametrize("sizes", [[1], [3], [1000]])
def test_deframer_does_not_care_how_bytes_arrive(sizes):
    data = b"\0ab\0\0c\0def\0open"
    deframer = Deframer()
    size = sizes[0]
    frames = [frame for at in range(0, len(data), size)
              for frame in deframer.feed(data[at:at + size])]
    assert frames == [b"ab\0", b"c\0", b"def\0"]
