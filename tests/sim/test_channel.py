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
from firmware_model.wire import ChannelFault, LineFault
from sim.channel import Channel
from sim.channeltime import Flapper, Ticker
from sim.delayline import DelayLine
from sim.impairment import CHANCES, Impairment
from sim.linedriver import LineDriver

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


COUNTS = ("frames_lost", "bytes_lost", "bytes_inserted", "bursts", "errors")


def impair(data, *, seed=1, link=0, direction=0, burst_bytes=model.DEFAULT_BURST_BYTES, **chances):
    """What the gateware makes of ``data``: (byte, repeat) and how often what happened."""
    dut = Impairment(link, direction)
    out = []
    counts = dict.fromkeys(COUNTS, 0)
    words = [chances.get(fault.name.lower(), 0) for fault in CHANCES]

    async def memory(ctx):
        at = 0
        while True:
            ctx.set(dut.chance, words[at] if at < len(words) else 0)
            _, _, at = await ctx.tick().sample(dut.chance_at)

    async def bench(ctx):
        ctx.set(dut.seed, seed)
        ctx.set(dut.possible, sum(1 << n for n, word in enumerate(words) if word))
        ctx.set(dut.burst_bytes, burst_bytes)
        ctx.set(dut.reseed, 1)
        await ctx.tick()
        ctx.set(dut.reseed, 0)
        for byte in data:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            for _ in range(11):
                _, _, happened, valid, event = await ctx.tick().sample(
                    dut.happened, dut.o.valid, dut.o.payload)
                ctx.set(dut.i.valid, 0)
                for name, pulse in zip(COUNTS, ("frame_lost", "byte_lost", "inserted", "burst",
                                                "error"), strict=True):
                    counts[name] += happened[pulse]
                if valid:
                    out.append((event.byte, event.repeat))

    simulator_run(dut, bench, memory, clocks=12 * len(data) + 10)
    return out, counts


def simulator_run(dut, bench, background, *, clocks):
    """Like :func:`run`, with one bench that never ends."""
    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    ended = []

    async def counted(ctx):
        await bench(ctx)
        ended.append(True)

    simulator.add_testbench(counted)
    simulator.add_testbench(background, background=True)
    simulator.run_until(clocks * PERIOD)
    assert ended, f"the bench had not ended after {clocks} clocks"


def spoken(out):
    """Bytes on the line for the (byte, repeat) that left the impairment."""
    line, frame = bytearray(), bytearray()
    for byte, repeat in out:
        frame.append(byte)
        line.append(byte)
        if byte == wire.DELIMITER:
            line += frame if repeat and len(frame) > 1 else b""
            frame.clear()
    return bytes(line)


def frames(source, count, longest=20):
    """``count`` frames of random bytes other than the delimiter, each with its delimiter."""
    return b"".join(bytes(source.randrange(1, 256) for _ in range(source.randrange(1, longest)))
                    + b"\0" for _ in range(count))


MAX = model.CHANCE_MAX
MIXES = {
    "nothing": {},
    "errors": {"byte_error": MAX // 10},
    "always errors": {"byte_error": MAX},
    "bursts": {"burst": MAX // 40, "burst_bytes": 5},
    "lost bytes": {"byte_loss": MAX // 20},
    "inserted bytes": {"byte_insert": MAX // 20},
    "always inserted": {"byte_insert": MAX},
    "lost frames": {"frame_loss": MAX // 4},
    "repeated frames": {"frame_repeat": MAX // 3},
    "everything": {"byte_error": MAX // 20, "frame_loss": MAX // 10, "frame_repeat": MAX // 2,
                   "burst": MAX // 60, "byte_loss": MAX // 40, "byte_insert": MAX // 40},
}


@pytest.mark.parametrize("mix", MIXES)
def test_impairment_is_what_the_model_says(mix):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    data = b"\0" + frames(source, 40) + b"\0\0" + frames(source, 2)
    where = {"link": source.randrange(8), "direction": source.randrange(2)}
    predicted = model.ByteChannel(seed, **MIXES[mix], **where)
    expected = predicted.send(data)
    out, counts = impair(data, seed=seed, **MIXES[mix], **where)
    assert spoken(out) == expected
    assert counts == {name: getattr(predicted, name) for name in COUNTS}
    if mix == "nothing":
        assert expected == data
    if mix == "always errors":
        assert all((a ^ b).bit_count() == 1 for a, b in zip(data, expected, strict=True))
    if mix == "always inserted":
        assert expected[::2] == data
    if mix == "lost bytes":
        assert 0 < predicted.bytes_lost == len(data) - len(expected)


def test_all_frames_lost_leaves_lone_delimiters():
    out, counts = impair(b"\0\0abc\0de\0\0f\0", frame_loss=MAX)
    assert (spoken(out), counts["frames_lost"]) == (b"\0\0\0", 3)


def test_all_frames_repeated():
    out, _ = impair(b"\0ab\0c\0\0", frame_repeat=MAX)
    assert spoken(out) == b"\0ab\0ab\0c\0c\0\0"


def test_a_damaged_delimiter_ends_no_frame_to_repeat():
    out, _ = impair(b"ab\0", frame_repeat=MAX, byte_error=MAX)
    assert out[2][0] != wire.DELIMITER
    assert [repeat for _, repeat in out] == [0, 0, 0]


def test_a_burst_changes_every_byte_of_it():
    data = b"x" * 60
    out, counts = impair(data, burst=MAX // 30, burst_bytes=6, seed=3)
    changed = "".join("x" if byte == data[0] else "!" for byte, _ in out)
    assert counts["bursts"] >= 2
    assert {len(run) for run in changed.rstrip("!").split("x") if run} == {6}


def test_generator_survives_its_dead_state():
    """A seed equal to the salt would leave the generator at 0 for ever."""
    seed = model.salt(0, 0)
    predicted = model.ByteChannel(seed, byte_error=MAX // 2)
    expected = predicted.send(b"x" * 40)
    assert 0 < predicted.errors < 40
    out, counts = impair(b"x" * 40, seed=seed, byte_error=MAX // 2)
    assert (spoken(out), counts["errors"]) == (expected, predicted.errors)


REPEAT = 256                # DelayBench: added to the delimiter of a frame to be said twice


class DelayBench:
    """Feeds a delay line in ticks: each tick has a byte or none; records what comes out when."""

    def __init__(self, depth=DEPTH, spacing=8):
        self.dut = DelayLine(depth)
        self.spacing = spacing
        self.out = []           # (tick, byte)
        self.now = 0
        self.overruns = self.repeats = 0

    async def tick(self, ctx, byte=None):
        dut = self.dut
        if byte is not None:
            ctx.set(dut.i.payload, {"byte": byte % 256, "repeat": byte >= REPEAT})
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
        ctx.set(dut.tick, 1)
        await ctx.tick()
        ctx.set(dut.tick, 0)
        for _ in range(self.spacing - 1):
            self.overruns += ctx.get(dut.overrun)
            self.repeats += ctx.get(dut.repeated)
            if ctx.get(dut.o.valid):
                self.out.append((self.now, ctx.get(dut.o.payload)))
            await ctx.tick()
        self.now += 1

    async def say(self, ctx, data, idle=0):
        """Bytes tick by tick, then so many gaps."""
        for byte in [*data, *[None] * idle]:
            await self.tick(ctx, byte)


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

    run(bench.dut, feed, clocks=10 * (len(inside) + delay) + 10)
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
            ctx.set(dut.i.payload, {"byte": byte, "repeat": 0})
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
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

    run(bench.dut, feed, clocks=19000)
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
        await ctx.tick().repeat(16)
        ctx.set(bench.dut.clear, 0)
        for tick in range(6, 9):
            await bench.tick(ctx, tick)
        for _ in range(30):
            await bench.tick(ctx)

    run(bench.dut, feed, clocks=400)
    assert bench.out == [(tick + 10, tick) for tick in (6, 7, 8)]


@pytest.mark.parametrize("delay", [0, 9])
def test_a_frame_is_said_twice_and_what_follows_catches_up(delay):
    bench = DelayBench()

    async def feed(ctx):
        ctx.set(bench.dut.delay, delay)
        await bench.say(ctx, [7, 8, 9, REPEAT, 5, 0])
        await bench.say(ctx, [1, 2, 0], idle=30)
        await bench.say(ctx, [3, 0], idle=20)

    run(bench.dut, feed, clocks=900)
    said = [byte for _, byte in bench.out]
    assert said == [7, 8, 9, 0, 7, 8, 9, 0, 5, 0, 1, 2, 0, 3, 0]
    assert bench.repeats == 1
    ticks = [tick for tick, _ in bench.out]
    assert ticks[:13] == list(range(delay, delay + 13)), "four ticks late after the repeat"
    assert ticks[13:] == [9 + 30 + delay, 9 + 31 + delay], "the lag has been made up"


def test_a_frame_with_gaps_is_repeated_with_them():
    bench = DelayBench()

    async def feed(ctx):
        await bench.say(ctx, [None, 4, None, None, 6, REPEAT], idle=12)

    run(bench.dut, feed, clocks=400)
    assert bench.out == [(1, 4), (4, 6), (5, 0), (6, 4), (8, 6), (9, 0)], "but one gap is made up"


def test_a_frame_too_long_for_the_memory_is_said_once():
    bench = DelayBench(depth=16)

    async def feed(ctx):
        ctx.set(bench.dut.delay, 8)
        await bench.say(ctx, [*range(1, 9), REPEAT, *range(1, 7), REPEAT], idle=30)

    run(bench.dut, feed, clocks=900)
    once, twice = [*range(1, 9), 0], [*range(1, 7), 0]
    assert [byte for _, byte in bench.out] == [*once, *twice, *twice]
    assert bench.repeats == 1


def test_without_room_bytes_wait_then_are_lost_with_a_count():
    bench = DelayBench(depth=16)

    async def feed(ctx):
        ctx.set(bench.dut.room, 0)
        await bench.say(ctx, range(1, 21))
        ctx.set(bench.dut.room, 1)
        await bench.say(ctx, [], idle=40)

    run(bench.dut, feed, clocks=900)
    arrived = [byte for _, byte in bench.out]
    assert bench.overruns > 0
    assert len(arrived) == 20 - bench.overruns
    assert arrived == sorted(arrived)


def test_inserted_bytes_wait_for_their_ticks():
    """More than a byte a tick: up to sixteen wait, further ones are lost with a count."""
    bench = DelayBench()

    async def feed(ctx):
        for byte in range(1, 19):
            ctx.set(bench.dut.i.payload, {"byte": byte, "repeat": 0})
            ctx.set(bench.dut.i.valid, 1)
            bench.overruns += ctx.get(bench.dut.overrun)
            await ctx.tick()
        ctx.set(bench.dut.i.valid, 0)
        await bench.say(ctx, [], idle=30)

    run(bench.dut, feed, clocks=400)
    assert [byte for _, byte in bench.out] == list(range(1, 17))
    assert bench.overruns == 2


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


def receiver(line, out, clocks, bit=DIVISOR / 256):
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
                while clock < start + (n + 0.5) * bit:
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
        for _ in range(80):
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


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("fault", [LineFault.STUCK_LOW, LineFault.STUCK_HIGH])
def test_stuck_line(fault, way):
    """From the clock of the register write, in the middle of a byte, and one direction only."""
    dut = Channel(depth=DEPTH)
    there, back = bytes(range(1, 61)), bytes(range(101, 161))
    got = []
    byte = 10 * DIVISOR / 256
    clocks = round(byte * 70)
    lines = (dut.target_tx, dut.source_tx)
    levels = []

    async def stick(ctx):
        await ctx.tick().repeat(round(20 * byte))
        assert (await Registers(dut).access(ctx, wire.Channel.CONTROL, 1 << (2 * fault + way)))[0] \
            == wire.Code.OK
        for _ in range(round(20 * byte)):
            levels.append(ctx.get(lines[way]))
            await ctx.tick()
        await Registers(dut).access(ctx, wire.Channel.CONTROL, 0)

    run(dut, started(dut), sender(dut.source_rx, there), sender(dut.target_rx, back), stick,
        receiver(lines[1 - way], got, clocks), clocks=clocks + 200)
    assert bytes(byte for _, byte in got) == (back, there)[way]
    assert set(levels) == {int(fault == LineFault.STUCK_HIGH)}


@pytest.mark.parametrize("offset", [-0.03, 0.0, 0.03])
def test_skew_changes_bits_and_not_bytes(offset):
    dut = LineDriver()
    skew = model.skew_units(offset, DIVISOR)
    levels = []
    data = bytes([0x55, 0xFF, 0x00, 0xAA] * 4)
    bit = DIVISOR / 256

    async def feed(ctx):
        ctx.set(dut.divisor, DIVISOR)
        ctx.set(dut.skew, skew - (skew >> 31 << 32))
        await ctx.tick()                # until the two are known
        for byte in data:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(round(12 * bit))

    async def watch(ctx):
        for _ in range(round(10 * len(data) * bit)):
            _, _, level = await ctx.tick().sample(dut.tx)
            levels.append(level)

    run(dut, feed, watch, clocks=round(10 * (len(data) + 3) * bit))
    first = levels.index(0)
    for n, byte in enumerate(data):
        for place in range(10):
            middle = first + n * 10 * bit + (place + 0.5) * bit * (1 + offset)
            if middle >= len(levels):
                break
            expected = [0, *(byte >> i & 1 for i in range(8)), 1][place]
            assert levels[int(middle)] == expected, (n, place)
            # Close to the end of the bit too: a line without skew would have moved on by bit 8.
            late = first + n * 10 * bit + (place + 1) * bit * (1 + offset) - 1.01
            if place < 9 and late < len(levels):
                assert levels[int(late)] == expected, (n, place)


@pytest.mark.parametrize("way", [0, 1])
def test_skew_through_the_registers(way):
    """A receiver that samples three per cent late reads the skewed line and no byte is lost."""
    dut = Channel(depth=DEPTH)
    data = bytes(random.Random(9).randrange(256) for _ in range(40))
    got = []
    byte = 10 * DIVISOR / 256
    lines = ((dut.source_rx, dut.target_tx), (dut.target_rx, dut.source_tx))[way]
    clocks = round(byte * 50) + 200

    async def skew(ctx):
        registers = Registers(dut)
        await registers.access(ctx, wire.Channel.SKEW, model.skew_units(0.03, DIVISOR))
        await registers.access(ctx, wire.Channel.DIRECTIONS, 1 << (2 * ChannelFault.SKEW + way))

    run(dut, started(dut), skew, sender(lines[0], data, start=200),
        receiver(lines[1], got, clocks, bit=1.03 * DIVISOR / 256), clocks=clocks + 400)
    assert bytes(byte for _, byte in got) == data


def test_flapping():
    dut = Flapper()
    seen = []
    falls = 0

    async def bench(ctx):
        nonlocal falls
        ctx.set(dut.tick, 1)        # a tick a clock
        ctx.set(dut.up, 3)
        ctx.set(dut.down, 2)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        for _ in range(64 * 12):
            _, _, cut, fell = await ctx.tick().sample(dut.cut, dut.fell)
            seen.append(cut)
            falls += fell
        ctx.set(dut.down, 0)
        await ctx.tick()
        for _ in range(64 * 8):
            assert not ctx.get(dut.cut)
            await ctx.tick()

    run(dut, bench, clocks=64 * 30)
    runs = [(level, len(list(same))) for level, same in itertools.groupby(seen)]
    assert runs == [(0, 192), (1, 128), (0, 192), (1, 128), (0, 128)]
    assert falls == 2


def test_flapping_through_the_registers():
    """Cut by turns in the direction that is meant, and counted."""
    dut = Channel(depth=DEPTH)
    unit = wire.CHANNEL_FLAP_TICKS * TICK
    byte = 10 * DIVISOR / 256
    there = bytes(random.Random(2).randrange(1, 256) for _ in range(round(4.5 * unit / byte)))
    got = [[], []]
    clocks = round(5 * unit)
    falls = []

    async def flap(ctx):
        registers = Registers(dut)
        await registers.access(ctx, wire.Channel.DIRECTIONS, 1 << (2 * ChannelFault.FLAP))
        await registers.access(ctx, wire.Channel.FLAP_DOWN, 1)
        await registers.access(ctx, wire.Channel.FLAP_UP, 1)
        await ctx.tick().repeat(clocks - 400)
        falls.append((await registers.access(ctx, wire.Channel.FLAPS))[1])

    run(dut, started(dut), flap, sender(dut.source_rx, there), sender(dut.target_rx, there),
        receiver(dut.target_tx, got[0], clocks), receiver(dut.source_tx, got[1], clocks),
        clocks=clocks + 400)
    assert bytes(byte for _, byte in got[1]) == there
    assert 0.4 * len(there) < len(got[0]) < 0.75 * len(there)
    assert falls == [2]


def test_registers():
    dut = Channel(link=3, depth=DEPTH)
    registers = Registers(dut)
    ok = wire.Code.OK
    initial = dict.fromkeys(wire.Channel, 0) | {
        wire.Channel.CONTROL: 2, wire.Channel.DIRECTIONS: model.ALL_DIRECTIONS,
        wire.Channel.DELAY: 5, wire.Channel.MAX_DELAY: DEPTH - 1, wire.Channel.SEED: 8,
        wire.Channel.BURST_BYTES: model.DEFAULT_BURST_BYTES, wire.Channel.BYTE_ERROR: 6,
        wire.Channel.FRAME_LOSS: 7}
    largest = {
        wire.Channel.CONTROL: 0x3F, wire.Channel.DIRECTIONS: model.ALL_DIRECTIONS,
        wire.Channel.DELAY: DEPTH - 1, wire.Channel.SKEW: 0x7FFF, wire.Channel.BURST_BYTES: 255,
        wire.Channel.FLAP_UP: 0xFFFF, wire.Channel.FLAP_DOWN: 0xFFFF}
    read_only = {register for register in wire.Channel
                 if register >= wire.Channel.FRAMES_LOST} | {wire.Channel.MAX_DELAY}

    async def bench(ctx):
        for register, value in initial.items():
            assert await registers.access(ctx, register) == (ok, value), register
        for register in read_only:
            assert (await registers.access(ctx, register, 1))[0] == wire.Code.READ_ONLY
        for register, value in largest.items():
            code, _ = await registers.access(ctx, register, value + 1)
            assert code == wire.Code.BAD_VALUE, register
        assert (await registers.access(ctx, wire.Channel.BURST_BYTES, 0))[0] == wire.Code.BAD_VALUE
        assert (await registers.access(ctx, wire.Channel.SKEW, 0xFFFF7FFF))[0] \
            == wire.Code.BAD_VALUE
        for offset in (max(wire.Channel) + 1, 31):
            for value in (None, 1):
                assert (await registers.access(ctx, offset, value))[0] == wire.Code.BAD_REGISTER
        for register, value in initial.items():
            assert await registers.access(ctx, register) == (ok, value), "a refusal had an effect"
        for register in set(wire.Channel) - read_only:
            value = largest.get(register, 0xFFFFFFFF - register)
            assert (await registers.access(ctx, register, value))[0] == ok
            assert await registers.access(ctx, register) == (ok, value)
        assert (await registers.access(ctx, wire.Channel.SKEW, 0xFFFF8000))[0] == ok

    run(dut, started(dut, control=2, delay=5, byte_error=6, frame_loss=7, seed=8), bench,
        clocks=1200)


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
    clocks = round(byte * (len(data) + 4)) + 130
    seen = []

    async def bench(ctx):
        await registers.access(ctx, wire.Channel.SEED, seed)
        await ctx.tick().repeat(clocks)
        for register in (wire.Channel.ERRORS, wire.Channel.FRAMES_LOST):
            seen.append((await registers.access(ctx, register))[1])

    run(dut, started(dut, seed=0, **chances), bench, sender(dut.source_rx, data, start=100),
        receiver(dut.target_tx, arrived, clocks), clocks=clocks + 400)
    predicted = model.ByteChannel(seed, link=2, **chances)
    assert bytes(byte for _, byte in arrived) == predicted.send(data)
    assert seen == [predicted.errors, predicted.frames_lost]


def test_every_fault_at_once_through_the_registers():
    """Line to line, repeats and inserted bytes included, in the direction that is meant."""
    dut = Channel(link=1, depth=512)
    registers = Registers(dut)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = frames(rng, 16, longest=8)
    byte = 10 * DIVISOR / 256
    chances = {"byte_error": MAX // 30, "frame_loss": MAX // 8, "frame_repeat": MAX // 4,
               "byte_loss": MAX // 30, "byte_insert": MAX // 30, "burst": MAX // 80}
    way = rng.randrange(2)
    predicted = model.ByteChannel(seed, link=1, direction=way, burst_bytes=3, **chances)
    expected = predicted.send(data)
    clocks = round(byte * (len(data) + len(expected) + 4)) + 1200
    arrived, straight = [], []
    counts = {}
    lines = [(dut.source_rx, dut.target_tx), (dut.target_rx, dut.source_tx)]

    async def bench(ctx):
        await registers.access(ctx, wire.Channel.SEED, seed)
        await registers.access(ctx, wire.Channel.BURST_BYTES, 3)
        await registers.access(ctx, wire.Channel.DIRECTIONS, 0x15555 << way)
        for name, chance in chances.items():
            await registers.access(ctx, wire.Channel[name.upper()], chance)
        await ctx.tick().repeat(clocks)
        for name in (*COUNTS, "frames_repeated", "overruns"):
            counts[name] = (await registers.access(ctx, wire.Channel[name.upper()]))[1]

    run(dut, started(dut, seed=0), bench, sender(lines[way][0], data, start=400),
        sender(lines[1 - way][0], data, start=400),
        receiver(lines[way][1], arrived, clocks), receiver(lines[1 - way][1], straight, clocks),
        clocks=clocks + 800)
    assert bytes(byte for _, byte in straight) == data
    assert bytes(byte for _, byte in arrived) == expected
    assert counts == {name: getattr(predicted, name)
                      for name in (*COUNTS, "frames_repeated")} | {"overruns": 0}
