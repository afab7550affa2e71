"""The channel emulator against its plain-Python model, and its delay line to the tick."""

import gc
import itertools
import random
import warnings

import pytest
from amaranth.hdl import UnusedElaboratable
from amaranth.sim import Simulator

from firmware_model import channel as model
from firmware_model import wire
from sim.channel import Channel, DelayLine, Impairment, Ticker

PERIOD = 1e-6
DIVISOR = 8 * 256 + 77          # 8.3 clocks a bit: the fraction matters
TICK = wire.CHANNEL_TICK_BITS * DIVISOR / 256
DEPTH = 64


def run(dut, *benches, clocks):
    """Run ``benches`` until all have ended; fail if that takes more than ``clocks``."""
    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    left = len(benches)

    def counted(bench):
        async def run_one(ctx):
            nonlocal left
            await bench(ctx)
            left -= 1
        return run_one

    for bench in benches:
        simulator.add_testbench(counted(bench))
    simulator.run_until(clocks * PERIOD)
    assert left == 0, f"a bench had not ended after {clocks} clocks"


# -- the parts -------------------------------------------------------------------------------


def test_ticks_do_not_drift():
    dut = Ticker()
    times = []

    async def bench(ctx):
        ctx.set(dut.divisor, DIVISOR)
        await ctx.tick()
        for clock in range(5000):
            if ctx.get(dut.tick):
                times.append(clock)
            await ctx.tick()

    run(dut, bench, clocks=6000)
    spans = {b - a for a, b in itertools.pairwise(times[1:])}
    assert spans == {int(TICK), int(TICK) + 1}
    ticks = len(times) - 2
    assert times[-1] - times[1] == pytest.approx(ticks * TICK, abs=1)


def impair(data, *, seed=1, link=0, direction=0, byte_error=0, frame_loss=0):
    """What the gateware makes of ``data``: bytes, errors, lost frames."""
    dut = Impairment(link, direction)
    out = bytearray()
    counts = {"errors": 0, "lost": 0}

    async def bench(ctx):
        ctx.set(dut.seed, seed)
        ctx.set(dut.byte_error, byte_error)
        ctx.set(dut.frame_loss, frame_loss)
        ctx.set(dut.reseed, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.reseed, 0)
        for byte in data:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            for _ in range(5):
                counts["errors"] += ctx.get(dut.error)
                counts["lost"] += ctx.get(dut.lost)
                if ctx.get(dut.o.valid):
                    out.append(ctx.get(dut.o.payload))
                await ctx.tick()

    run(dut, bench, clocks=7 * len(data) + 10)
    return bytes(out), counts["errors"], counts["lost"]


def frames(source, count, longest=20):
    """``count`` frames of random bytes other than the delimiter, each with its delimiter."""
    return b"".join(bytes(source.randrange(1, 256) for _ in range(source.randrange(1, longest)))
                    + b"\0" for _ in range(count))


@pytest.mark.parametrize(("byte_error", "frame_loss"), [
    (0, 0), (model.CHANCE_MAX // 10, 0), (0, model.CHANCE_MAX // 4),
    (model.CHANCE_MAX // 20, model.CHANCE_MAX // 10), (model.CHANCE_MAX, 0),
])
def test_impairment_is_what_the_model_says(byte_error, frame_loss):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    data = b"\0" + frames(source, 40) + b"\0\0" + frames(source, 2)
    where = {"link": source.randrange(8), "direction": source.randrange(2)}
    predicted = model.ByteChannel(seed, byte_error=byte_error, frame_loss=frame_loss, **where)
    expected = predicted.send(data)
    assert impair(data, seed=seed, byte_error=byte_error, frame_loss=frame_loss, **where) == (
        expected, predicted.errors, predicted.lost)
    if not byte_error and not frame_loss:
        assert expected == data
    if byte_error == model.CHANCE_MAX:
        assert all((a ^ b).bit_count() == 1 for a, b in zip(data, expected, strict=True))


def test_all_frames_lost_leaves_lone_delimiters():
    out, _, lost = impair(b"\0\0abc\0de\0\0f\0", frame_loss=model.CHANCE_MAX)
    assert (out, lost) == (b"\0\0\0", 3)


def test_generator_survives_its_dead_state():
    """A seed equal to the salt would leave the generator at 0 for ever."""
    seed = model.salt(0, 0)
    predicted = model.ByteChannel(seed, byte_error=model.CHANCE_MAX // 2)
    expected = predicted.send(b"x" * 40)
    assert 0 < predicted.errors < 40
    out, errors, _ = impair(b"x" * 40, seed=seed, byte_error=model.CHANCE_MAX // 2)
    assert (out, errors) == (expected, predicted.errors)


class DelayBench:
    """Feeds a delay line in ticks: each tick has a byte or none; records what comes out when."""

    def __init__(self, depth=DEPTH, spacing=5):
        self.dut = DelayLine(depth)
        self.spacing = spacing
        self.out = []           # (tick, byte)
        self.now = 0

    async def tick(self, ctx, byte=None):
        dut = self.dut
        if byte is not None:
            assert ctx.get(dut.i.ready)
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
        ctx.set(dut.tick, 1)
        await ctx.tick()
        ctx.set(dut.tick, 0)
        for _ in range(self.spacing - 1):
            if ctx.get(dut.o.valid):
                self.out.append((self.now, ctx.get(dut.o.payload)))
            await ctx.tick()
        self.now += 1


@pytest.mark.parametrize("delay", [0, 1, 2, 17, DEPTH - 1])
def test_delay_is_exact_to_the_tick(delay):
    bench = DelayBench()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    inside = [source.randrange(256) if source.random() < 0.6 else None for _ in range(200)]

    async def feed(ctx):
        ctx.set(bench.dut.delay, delay)
        for byte in inside + [None] * delay:
            await bench.tick(ctx, byte)

    run(bench.dut, feed, clocks=6 * (len(inside) + delay) + 10)
    assert bench.out == [(tick + delay, byte) for tick, byte in enumerate(inside)
                         if byte is not None]


@pytest.mark.parametrize("offset", range(1, 10))
def test_no_byte_is_lost_whenever_it_is_offered(offset):
    """A byte may come in the clock of a tick: it then belongs to the next one."""
    dut, spacing = DelayLine(DEPTH), 9
    out = []

    async def tick(ctx):
        for clock in range(spacing * 14):
            ctx.set(dut.tick, clock % spacing == 0)
            await ctx.tick()

    async def feed(ctx):
        await ctx.tick().repeat(offset)
        for byte in range(10):
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(spacing)    # a byte lasts longer than a tick

    async def collect(ctx):
        for _ in range(spacing * 14):
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                out.append(byte)

    run(dut, tick, feed, collect, clocks=spacing * 14 + 20)
    assert out == list(range(10))


def test_changes_of_delay_lose_but_never_reorder_repeat_or_invent():
    bench = DelayBench()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    delays = [0]

    async def feed(ctx):
        for tick in range(2000):
            if source.random() < 0.02:
                delays.append(source.randrange(DEPTH))
                ctx.set(bench.dut.delay, delays[-1])
            await bench.tick(ctx, tick % 251)
        ctx.set(bench.dut.delay, 0)
        await bench.tick(ctx)

    run(bench.dut, feed, clocks=14000)
    assert len(delays) > 10
    # Each byte says when it went in, modulo 251 ticks, which no delay reaches.
    went_in = [tick - (tick - byte) % 251 for tick, byte in bench.out]
    assert went_in == sorted(set(went_in)), "reordered or repeated"
    assert all(0 <= tick - born < DEPTH for (tick, _), born in
               zip(bench.out, went_in, strict=True)), "invented"
    assert len(went_in) > 500


def test_a_longer_delay_loses_nothing():
    bench = DelayBench()

    async def feed(ctx):
        for tick in range(20):
            ctx.set(bench.dut.delay, tick)
            await bench.tick(ctx, tick)
        for _ in range(40):
            await bench.tick(ctx)

    run(bench.dut, feed, clocks=600)
    assert [byte for _, byte in bench.out] == list(range(20))


def test_clear_loses_what_is_inside():
    bench = DelayBench()

    async def feed(ctx):
        ctx.set(bench.dut.delay, 10)
        for tick in range(5):
            await bench.tick(ctx, tick)
        ctx.set(bench.dut.clear, 1)
        await bench.tick(ctx, 5)
        ctx.set(bench.dut.clear, 0)
        for tick in range(6, 9):
            await bench.tick(ctx, tick)
        for _ in range(30):
            await bench.tick(ctx)

    run(bench.dut, feed, clocks=400)
    assert bench.out == [(tick + 10, tick) for tick in (6, 7, 8)]


@pytest.mark.parametrize("depth", [0, 1, 3, 1 << 17])
def test_depth_bounds(depth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ValueError, match=f"depth {depth} is not a power of two in 2..65536"):
            DelayLine(depth)
        gc.collect()        # the half-made component complains here, not in some later test


# -- the whole channel, line to line -----------------------------------------------------------


def sender(line, data, gap_bits=0.0, start=0.0):
    """Bench that drives ``data`` on ``line``, with the fraction of a clock carried over."""
    async def bench(ctx):
        due = start + 2.0
        clock = 0
        for byte in data:
            for bit in [0, *(byte >> n & 1 for n in range(8)), 1]:
                while clock < round(due):
                    await ctx.tick()
                    clock += 1
                ctx.set(line, bit)
                due += DIVISOR / 256
            due += gap_bits * DIVISOR / 256
    return bench


def receiver(line, out, clocks):
    """Bench that appends (clock of the start bit, byte) to ``out`` for ``clocks`` clocks."""
    async def bench(ctx):
        clock = 0
        while clock < clocks:
            if ctx.get(line):
                await ctx.tick()
                clock += 1
                continue
            start, bits = clock, []
            for n in range(10):
                while clock < start + (n + 0.5) * DIVISOR / 256:
                    await ctx.tick()
                    clock += 1
                bits.append(ctx.get(line))
            assert (bits[0], bits[9]) == (0, 1), f"bad byte at clock {start}: {bits}"
            out.append((start, sum(bit << n for n, bit in enumerate(bits[1:9]))))
    return bench


class Registers:
    """Drives the register port of a channel."""

    def __init__(self, dut):
        self.dut = dut

    async def access(self, ctx, register, value=None):
        port = self.dut.registers
        ctx.set(port.req, 1)
        ctx.set(port.we, value is not None)
        ctx.set(port.addr, wire.Reg.CHANNEL + register)
        ctx.set(port.wdata, value or 0)
        for _ in range(4):
            await ctx.tick()
            if ctx.get(port.ack):
                answer = wire.Code(ctx.get(port.code)), ctx.get(port.rdata)
                await ctx.tick()
                ctx.set(port.req, 0)
                await ctx.tick()
                return answer
        raise AssertionError(f"register {register} never answered")


def started(dut, *, delay=0, byte_error=0, frame_loss=0, seed=1, control=0):
    async def bench(ctx):
        ctx.set(dut.divisor, DIVISOR)
        ctx.set(dut.initial, {"control": control, "delay": delay, "byte_error": byte_error,
                              "frame_loss": frame_loss, "seed": seed})
    return bench


@pytest.mark.parametrize("delay", [0, 3, 40])
def test_both_directions_carry_back_to_back_bytes_in_time(delay):
    dut = Channel(depth=DEPTH)
    there, back = bytes(range(1, 40)), bytes(range(200, 230))
    at_target, at_source = [], []
    clocks = round(10 * DIVISOR / 256 * 45 + delay * TICK)
    run(dut, started(dut, delay=delay),
        sender(dut.source_rx, there), sender(dut.target_rx, back, gap_bits=1.7, start=13),
        receiver(dut.target_tx, at_target, clocks), receiver(dut.source_tx, at_source, clocks),
        clocks=clocks + 200)
    assert bytes(byte for _, byte in at_target) == there
    assert bytes(byte for _, byte in at_source) == back
    bit = DIVISOR / 256
    for index, (clock, _) in enumerate(at_target):
        latency = (clock - 2 - index * 10 * bit - delay * TICK) / bit
        assert 9.5 <= latency <= 9.5 + 9 + 1 + 20 / bit, "one to two byte times, plus the delay"


@pytest.mark.parametrize("way", [0, 1])
def test_cut_of_one_direction_leaves_the_other(way):
    dut = Channel(depth=DEPTH)
    there, back = bytes(range(1, 61)), bytes(range(101, 161))
    got = [[], []]
    byte = 10 * DIVISOR / 256
    clocks = round(byte * 70)

    async def cut(ctx):
        await ctx.tick().repeat(round(20.5 * byte))
        code, _ = await Registers(dut).access(ctx, wire.Channel.CONTROL, 1 << way)
        assert code == wire.Code.OK
        await ctx.tick().repeat(round(20 * byte))
        await Registers(dut).access(ctx, wire.Channel.CONTROL, 0)

    run(dut, started(dut, delay=4), sender(dut.source_rx, there), sender(dut.target_rx, back),
        receiver(dut.target_tx, got[0], clocks), receiver(dut.source_tx, got[1], clocks), cut,
        clocks=clocks + 200)
    sent = (there, back)
    assert bytes(byte for _, byte in got[1 - way]) == sent[1 - way]
    arrived = bytes(byte for _, byte in got[way])
    lost = [byte for byte in sent[way] if byte not in arrived]
    assert arrived == bytes(byte for byte in sent[way] if byte not in lost), "order"
    assert 20 <= len(lost) <= 26, "about twenty byte times, and what was in the line"
    assert lost == list(range(lost[0], lost[0] + len(lost))), "one piece"


def test_registers():
    dut = Channel(link=3, depth=DEPTH)
    registers = Registers(dut)
    ok = wire.Code.OK

    async def bench(ctx):
        await ctx.tick().repeat(3)
        initial = {wire.Channel.CONTROL: 2, wire.Channel.DELAY: 5, wire.Channel.BYTE_ERROR: 6,
                   wire.Channel.FRAME_LOSS: 7, wire.Channel.SEED: 8, wire.Channel.ERRORS: 0,
                   wire.Channel.LOST: 0, wire.Channel.MAX_DELAY: DEPTH - 1}
        for register, value in initial.items():
            assert await registers.access(ctx, register) == (ok, value), register
        for register in (wire.Channel.ERRORS, wire.Channel.LOST, wire.Channel.MAX_DELAY):
            code, _ = await registers.access(ctx, register, 1)
            assert code == wire.Code.READ_ONLY
        for register, value in ((wire.Channel.CONTROL, 4), (wire.Channel.DELAY, DEPTH)):
            code, _ = await registers.access(ctx, register, value)
            assert code == wire.Code.BAD_VALUE
        for offset in (8, 15):
            assert (await registers.access(ctx, offset))[0] == wire.Code.BAD_REGISTER
        for register, value in initial.items():
            assert await registers.access(ctx, register) == (ok, value), "a refusal had an effect"
        for register, value in ((wire.Channel.CONTROL, 3), (wire.Channel.DELAY, DEPTH - 1),
                                (wire.Channel.BYTE_ERROR, 0xFFFFFFFF),
                                (wire.Channel.FRAME_LOSS, 0x80000001), (wire.Channel.SEED, 99)):
            assert (await registers.access(ctx, register, value))[0] == ok
            assert await registers.access(ctx, register) == (ok, value)

    run(dut, started(dut, control=2, delay=5, byte_error=6, frame_loss=7, seed=8), bench,
        clocks=400)


def test_seed_and_counters_through_the_registers():
    """After SEED is written the same bytes suffer the same fate; the counters say how much."""
    dut = Channel(link=2, depth=DEPTH)
    registers = Registers(dut)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    data = frames(random.Random(seed), 12, longest=6)
    byte = 10 * DIVISOR / 256
    chances = {"byte_error": model.CHANCE_MAX // 8, "frame_loss": model.CHANCE_MAX // 4}
    arrived = []
    clocks = round(byte * (len(data) + 4)) + 50
    seen = []

    async def bench(ctx):
        await ctx.tick().repeat(2)
        await registers.access(ctx, wire.Channel.SEED, seed)
        await ctx.tick().repeat(clocks)
        for register in (wire.Channel.ERRORS, wire.Channel.LOST):
            seen.append((await registers.access(ctx, register))[1])

    run(dut, started(dut, seed=0, **chances), bench, sender(dut.source_rx, data, start=20),
        receiver(dut.target_tx, arrived, clocks), clocks=clocks + 400)
    predicted = model.ByteChannel(seed, link=2, **chances)
    assert bytes(byte for _, byte in arrived) == predicted.send(data)
    assert seen == [predicted.errors, predicted.lost]
