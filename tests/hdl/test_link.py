# amaranth: UnusedElaboratable=no
"""Two link engines over lines with faults, and one against the host's own protocol code."""

import itertools
import os
import random

import pytest
from amaranth import *

from firmware_model import wire
from firmware_model.wire import Role, Type
from hdl.frame import longest_frame
from hdl.link import LinkEngine
from host_tools.linkpeer import LinkPeer

from .lines import (
    CLOCKS,
    PAIRS,
    STROBES,
    End,
    Pair,
    SerialPeer,
    Single,
    Wire,
    descriptor,
    event,
    wires,
)
from .streams import run, stream_put, ticks, until


async def until_true(ctx, condition):
    """Wait for something that only the bench knows."""
    while not condition():
        await ticks(ctx, 20)


async def submit(ctx, end, numbers, length=0):
    for number in numbers:
        await stream_put(ctx, end.engine.submit, descriptor(number, length))


MIXED = pytest.mark.parametrize("engines", PAIRS, indirect=True)


# These take the bank most of a minute each in this simulator, so `make test` leaves them out:
# FARSIDE_SLOW=1 plays them. What they show of the bank, others show on a whole board.
SLOW = {"test_idle_line_that_is_cut_goes_down_at_both_ends", "test_slow_taker_loses_nothing",
        "test_cut_line_goes_down_and_comes_up_again",
        "test_garbage_and_short_frames_do_no_harm", "test_host_that_went_away_blocks_nobody",
        "test_a_forged_frame_that_is_still_to_come_costs_the_session"}


@pytest.fixture(params=["engines", "banks"], autouse=True)
def engines(request, monkeypatch):
    """What is at the two ends: each test is played with both kinds, ``MIXED`` ones also with one
    kind facing the other."""
    ends = PAIRS[request.param]
    if request.param != "engines" and request.node.originalname in SLOW \
            and not os.environ.get("FARSIDE_SLOW"):
        pytest.skip("slow: FARSIDE_SLOW=1 plays it")
    monkeypatch.setattr(Bench, "engines", ends)
    monkeypatch.setattr(HostBench, "engine_type", ends[0])
    return ends


class Bench:
    """A pair with its wires and ends, ready to run."""

    engines = None

    def __init__(self, a_fault=lambda frame, byte: None, b_fault=lambda frame, byte: None,
                 **parameters):
        self.pair = Pair(self.engines, **parameters)
        self.a = End(self.pair.a, self.pair.probes[0])
        self.b = End(self.pair.b, self.pair.probes[1])
        self.a_to_b, self.b_to_a = Wire(a_fault), Wire(b_fault)

    def run(self, *benches, limit=60000):
        async def finish(ctx):
            """Wait for the benches, then keep what the probes have counted."""
            await until_true(ctx, lambda: self.left == 0)
            for name in (*STROBES, "flushed", "started"):
                self.a_counts[name] = self.a.count(ctx, name)
                self.b_counts[name] = self.b.count(ctx, name)

        def counted(bench):
            async def wrapper(ctx):
                await bench(ctx)
                self.left -= 1
            return wrapper

        self.left = len(benches)
        self.a_counts, self.b_counts = {}, {}
        run(self.pair, finish, *map(counted, benches), limit=limit, monitors=[
            wires(self.pair, self.a_to_b, self.b_to_a), *self.a.processes, *self.b.processes])

    async def come_up(self, ctx):
        await until(ctx, self.pair.a.up & self.pair.b.up)


@MIXED
def test_delivers_both_ways():
    """More frames than the window one way, a few with payload the other way."""
    bench = Bench()
    many = range(10)        # the window is 8

    async def forth(ctx):
        await submit(ctx, bench.a, many)
        await until_true(ctx, lambda: len(bench.b.events) >= len(many))
        await ticks(ctx, 3000)

    async def back(ctx):
        await submit(ctx, bench.b, range(5), length=16)
        await until_true(ctx, lambda: len(bench.a.events) >= 5)

    bench.run(forth, back, limit=30000)
    assert bench.b.events == [event(n) for n in many]
    assert bench.a.events == [event(n, 16) for n in range(5)]
    for counts in (bench.a_counts, bench.b_counts):
        for fault in ("resent", "duplicate", "bad_frame", "timeout"):
            assert counts[fault] == 0, fault
        assert counts["session"] == counts["started"] == 1
    assert bench.a_counts["frame_sent"] == bench.b_counts["frame_received"] == len(many)


def test_frames_follow_without_a_gap():
    bench = Bench(max_payload=48)

    async def forth(ctx):
        await submit(ctx, bench.a, range(5), length=48)
        await until_true(ctx, lambda: len(bench.b.events) == 5)

    bench.run(forth)
    starts = bench.a_to_b._listener.starts[-4 * longest_frame(48):]
    assert {b - a for a, b in itertools.pairwise(starts)} == {10 * CLOCKS}


@MIXED
@pytest.mark.requirement("R22")
def test_lost_frame_is_resent_as_soon_as_a_later_one_is_acknowledged():
    spoilt = set()

    def fault(frame, byte):
        """A bit in the third frame sent in sequence, once."""
        if bench.a_to_b.frame - first == 2 and byte == 5 and not spoilt:
            spoilt.add(frame)
            return 3
        return None

    first = 10**9
    bench = Bench(fault)

    async def forth(ctx):
        nonlocal first
        await bench.come_up(ctx)
        await ticks(ctx, 3000)          # the last hello is out
        first = bench.a_to_b.frame
        await submit(ctx, bench.a, range(8))
        await until_true(ctx, lambda: len(bench.b.events) == 8)

    bench.run(forth)
    assert spoilt
    assert sorted(bench.b.events) == [event(n) for n in range(8)]
    assert [e[1] & 0xFF for e in bench.b.events] != list(range(8))
    assert bench.b_counts["bad_frame"] == 1
    assert bench.a_counts["resent"] == 1, "exactly the lost frame"
    assert bench.a_counts["timeout"] == 0
    assert bench.b_counts["duplicate"] == 0


def test_frame_cut_by_missing_stop_bits_counts_once():
    """In two places of a frame, in a later one, and in a delimiter, which does no harm."""
    length = 16
    delimiter = longest_frame(length) - 1
    spoilt = []

    def fault(frame, byte):
        if (frame, byte) in ((6, 4), (6, 9), (7, delimiter), (8, 15)):
            spoilt.append((frame, byte))
            return 8        # the stop bit
        return None

    bench = Bench(fault)

    async def forth(ctx):
        await submit(ctx, bench.a, range(9), length=length)
        await until_true(ctx, lambda: len(bench.b.events) == 9)

    bench.run(forth)
    assert len(spoilt) == 4
    assert bench.b_counts["bad_frame"] == 2
    assert bench.a_counts["resent"] == 2


@pytest.mark.parametrize("seed", [2])
def test_exactly_once_over_a_bad_line(seed):
    """Bits flip and bytes vanish in both directions."""
    print("seed", seed)
    rng = random.Random(seed)

    def fault(frame, byte):
        if rng.random() > 0.009:
            return None
        return rng.choice(["drop", *range(8)])

    bench = Bench(fault, fault)

    async def forth(ctx):
        await submit(ctx, bench.a, range(11), length=5)
        await until_true(ctx, lambda: len(bench.b.events) >= 11)

    async def back(ctx):
        await submit(ctx, bench.b, range(100, 107))
        await until_true(ctx, lambda: len(bench.a.events) >= 7)

    bench.run(forth, back, limit=300000)
    assert bench.a_counts["flushed"] == bench.b_counts["flushed"] == 0
    assert sorted(bench.b.events) == [event(n, 5) for n in range(11)]
    assert sorted(bench.a.events) == [event(n) for n in range(100, 107)]
    assert bench.a_counts["resent"] + bench.b_counts["resent"] > 1
    assert bench.a_counts["bad_frame"] + bench.b_counts["bad_frame"] > 3


def test_lost_acknowledgements_repeat_one_frame_only():
    """The window was received whole, but no acknowledgement came back: one frame is sent again
    after the time-out, and its acknowledgement speaks for all."""
    bench = Bench(window=4, max_payload=0)

    async def forth(ctx):
        await bench.come_up(ctx)
        await ticks(ctx, 3000)
        bench.b_to_a.cut = True
        await submit(ctx, bench.a, range(4))
        await until_true(ctx, lambda: len(bench.b.events) == 4)
        await ticks(ctx, 1500)          # the last acknowledgement is lost, too
        bench.b_to_a.cut = False
        await submit(ctx, bench.a, [4])     # taken when the window has moved
        await until_true(ctx, lambda: len(bench.b.events) == 5)

    bench.run(forth)
    assert bench.b.events == [event(n) for n in range(5)]
    assert bench.a_counts["timeout"] == 1
    assert bench.a_counts["resent"] == 1
    assert bench.b_counts["duplicate"] == 1


def test_full_window_waits():
    bench = Bench(window=4, max_payload=0, initial_trip=2)

    async def forth(ctx):
        await bench.come_up(ctx)
        await ticks(ctx, 3000)
        bench.b_to_a.cut = True
        await submit(ctx, bench.a, range(4))
        ctx.set(bench.pair.a.submit.payload, descriptor(4))
        ctx.set(bench.pair.a.submit.valid, 1)
        for _ in range(300):
            assert not ctx.get(bench.pair.a.submit.ready)
            assert not ctx.get(bench.pair.a.room)
            await ticks(ctx, 7)
        bench.b_to_a.cut = False
        await until(ctx, bench.pair.a.submit.ready)

    bench.run(forth)


def test_renewed_session_is_noticed_at_both_ends():
    bench = Bench(max_payload=0, initial_trip=2)

    async def forth(ctx):
        await bench.come_up(ctx)
        await submit(ctx, bench.a, range(3))
        await until_true(ctx, lambda: len(bench.b.events) == 3)
        for renewed in range(1, 3):             # the second time while it is not up yet
            ctx.set(bench.pair.a.renew, 1)
            await ctx.tick()
            ctx.set(bench.pair.a.renew, 0)
            if renewed == 1:
                await until(ctx, ~bench.pair.a.up)
        await until(ctx, bench.pair.a.up & bench.pair.b.up)
        assert bench.a.count(ctx, "flushed") == 1
        assert bench.b.count(ctx, "flushed") >= 1
        await submit(ctx, bench.a, [3])
        await until_true(ctx, lambda: len(bench.b.events) == 4)

    bench.run(forth)


@MIXED
@pytest.mark.requirement("R23")
def test_cut_line_goes_down_and_comes_up_again():
    bench = Bench(tries=2, max_payload=0, initial_trip=2)

    async def forth(ctx):
        await bench.come_up(ctx)
        await submit(ctx, bench.a, range(3))
        await until_true(ctx, lambda: len(bench.b.events) == 3)
        await ticks(ctx, 2000)
        bench.a_to_b.cut = bench.b_to_a.cut = True
        await submit(ctx, bench.a, [3])
        await until_true(ctx, lambda: bench.a.count(ctx, "flushed"))
        await ctx.tick()
        assert not ctx.get(bench.pair.a.up)
        ctx.set(bench.pair.a.submit.payload, descriptor(4))
        ctx.set(bench.pair.a.submit.valid, 1)
        for _ in range(500):
            assert not ctx.get(bench.pair.a.submit.ready)
            await ticks(ctx, 7)
        assert ctx.get(bench.pair.b.up), "it had nothing to say, so it takes longer to notice"
        bench.a_to_b.cut = bench.b_to_a.cut = False
        await until(ctx, bench.pair.a.submit.ready)
        ctx.set(bench.pair.a.submit.valid, 0)
        await until_true(ctx, lambda: len(bench.b.events) == 4)

    bench.run(forth, limit=200000)
    assert bench.a_counts["timeout"] == 2
    assert bench.b.events == [event(n) for n in (0, 1, 2, 4)]
    assert bench.a_counts["started"] == bench.b_counts["started"] == 2
    assert bench.b_counts["flushed"] == 1


SILENCE_BITS = 1 << 15      # the shortest: two beats a keepalive


@MIXED
@pytest.mark.requirement("R19", "R23")
def test_idle_line_that_is_cut_goes_down_at_both_ends():
    """Nobody has anything to deliver, or ever had, and only one direction is cut. The end that
    hears nothing goes down in time, and says so to the other."""
    bench = Bench(silence_bits=SILENCE_BITS, max_payload=0)
    silence = SILENCE_BITS * CLOCKS

    async def forth(ctx):
        await bench.come_up(ctx)
        bench.a_to_b.cut = True
        await ticks(ctx, silence * 15 // 16)
        assert ctx.get(bench.pair.a.up & bench.pair.b.up), "still patient"
        await ticks(ctx, silence // 16 + 5000)
        assert not ctx.get(bench.pair.a.up)
        assert not ctx.get(bench.pair.b.up)
        bench.a_to_b.cut = False
        await bench.come_up(ctx)

    bench.run(forth, limit=2 * silence)
    assert bench.a_counts["timeout"] == bench.b_counts["timeout"] == 0
    assert bench.a_counts["started"] == bench.b_counts["started"] == 2
    assert 14 <= bench.a_counts["ack_sent"] <= 17, "one every two beats, while up"


def test_restart_of_one_side_restarts_the_other():
    bench = Bench()

    async def forth(ctx):
        await bench.come_up(ctx)
        await submit(ctx, bench.a, range(5))
        await until_true(ctx, lambda: len(bench.b.events) == 5)
        await ticks(ctx, CLOCKS // 2)       # half a start bit would be a glitch
        ctx.set(bench.pair.reset_b, 1)
        await ticks(ctx, 20)
        ctx.set(bench.pair.reset_b, 0)
        await until_true(ctx, lambda: bench.a.count(ctx, "flushed") == 1)
        await submit(ctx, bench.a, range(5, 10))
        await until_true(ctx, lambda: len(bench.b.events) == 10)

    bench.run(forth)
    assert bench.b.events == [event(n) for n in range(10)]
    assert bench.a_counts["started"] == 2


def test_ordered_end_takes_frames_in_turn_only():
    spoilt = []

    def fault(frame, byte):
        if len(spoilt) < 2 and byte == 6 and frame in (5, 6):
            spoilt.append(frame)
            return 0
        return None

    bench = Bench(fault, ordered=True, window=4, max_payload=3, initial_trip=2)

    async def forth(ctx):
        await submit(ctx, bench.a, range(9), length=3)
        await until_true(ctx, lambda: len(bench.b.events) == 9)

    bench.run(forth, limit=200000)
    assert len(spoilt) == 2
    assert bench.b.events == [event(n, 3) for n in range(9)]
    assert bench.b_counts["duplicate"] > 0


def test_slow_taker_loses_nothing():
    """A sink that holds every byte up, and an event that waits: the queue takes the rest."""
    bench = Bench(window=4)
    bench.b.stall = 40

    async def forth(ctx):
        await submit(ctx, bench.a, range(6), length=12)

    async def stall(ctx):
        await until_true(ctx, lambda: len(bench.b.events) == 2)
        bench.b.stall = 3000
        await until_true(ctx, lambda: len(bench.b.events) == 3)
        bench.b.stall = 0
        await until_true(ctx, lambda: len(bench.b.events) == 6)

    bench.run(forth, stall, limit=200000)
    assert bench.b.events == [event(n, 12) for n in range(6)]
    assert bench.b_counts["bad_frame"] == 0


def test_garbage_and_short_frames_do_no_harm():
    bench = Bench()
    rng = random.Random(23)
    wire_ = bench.a_to_b
    junk = [rng.randbytes(30) + b"\0", b"\x01\0", b"\0\0",
            wire.to_line(wire.pack(Type.ACK, 5, map=0xFFFFFFFE, session=1)),
            wire.to_line(wire.pack(Type.ACK, 200, session=1)),
            wire.to_line(wire.pack(Type.DATA, 100)),
            wire.to_line(bytes([3, 9]) + bytes(12))]

    async def forth(ctx):
        await bench.come_up(ctx)
        await ticks(ctx, 3000)
        wire_.inject = b"".join(junk)
        await ticks(ctx, 10 * CLOCKS * len(b"".join(junk)) + 1000)
        await submit(ctx, bench.b, range(3))
        await until_true(ctx, lambda: len(bench.a.events) == 3)
        await submit(ctx, bench.a, range(3))
        await until_true(ctx, lambda: len(bench.b.events) == 3)

    bench.run(forth)
    assert sorted(bench.b.events) == sorted(bench.a.events) == [event(n) for n in range(3)]
    assert bench.b_counts["bad_frame"] == 3
    assert bench.b_counts["duplicate"] == 1, "what is outside the window is dropped and counted"
    assert bench.a_counts["started"] == bench.b_counts["started"] == 1


@pytest.mark.requirement("R22", "R23")
def test_a_forged_frame_that_is_still_to_come_costs_the_session():
    """It takes a place in the window, so more is acknowledged than was sent. Whoever sends can make
    nothing of that, and both ends begin anew: the true frame is not dropped as a repetition."""
    bench = Bench(tries=2, max_payload=0, initial_trip=2)
    forged = 99

    async def forth(ctx):
        await bench.come_up(ctx)
        await ticks(ctx, 3000)
        header = event(forged)[1].to_bytes(wire.HEADER_BYTES, "little")
        bench.a_to_b.inject = wire.to_line(wire.seal(bytes([Type.DATA, 1]) + header))
        await until_true(ctx, lambda: bench.b.events)
        await submit(ctx, bench.a, [0])
        await until_true(ctx, lambda: bench.a.count(ctx, "flushed"))
        await submit(ctx, bench.a, range(3))        # what was lost, by whoever needs it
        await until_true(ctx, lambda: len(bench.b.events) == 5)

    bench.run(forth, limit=200000)
    assert bench.b.events == [event(n) for n in (forged, 0, 0, 1, 2)]
    assert bench.a_counts["timeout"] == 2
    assert bench.a_counts["started"] == bench.b_counts["started"] == 2
    assert bench.b_counts["flushed"] == 1


# -- one engine and the host's protocol code -----------------------------------------------------


class HostBench:
    engine_type = None

    def __init__(self, peer, **parameters):
        self.dut = Single(self.engine_type, role=Role.SOURCE, ordered=True, **parameters)
        self.engine = self.dut.engine
        self.end = End(self.engine, self.dut.probe)
        self.line = SerialPeer(self.engine, peer)

    def run(self, *benches, limit=100000):
        run(self.dut, *benches, limit=limit, monitors=[self.line.carry, *self.end.processes])


def test_host_and_engine_understand_each_other():
    peer = LinkPeer(Role.HOST, patience=0.01, session=77)
    bench = HostBench(peer, fingerprint=0x1234)
    for number in range(12):
        peer.send(Type.WRITE, bytes([number] * 20), tag=number)

    async def board(ctx):
        await until(ctx, bench.engine.up)
        await submit(ctx, bench.end, range(12), length=9)
        await until_true(ctx, lambda: len(bench.end.events) == 12
                         and len(bench.line.delivered) == 12 and not peer.unsettled)
        for fault in ("resent", "timeout", "bad_frame"):
            assert bench.end.count(ctx, fault) == 0

    bench.run(board)
    assert [(t, h, p) for t, h, p in bench.end.events] == [
        (Type.WRITE, number, bytes([number] * 20)) for number in range(12)]
    assert [(f.type, f.payload) for f in bench.line.delivered] == [
        (event(n)[0], event(n, 9)[2]) for n in range(12)]
    assert peer.counters.resends == peer.counters.bad_frames == 0


def test_host_that_went_away_blocks_nobody():
    peer = LinkPeer(Role.HOST, patience=0.01)
    bench = HostBench(peer, discard_when_down=True, tries=2)

    async def board(ctx):
        await submit(ctx, bench.end, range(5))      # no host yet
        await until(ctx, bench.engine.up)
        await submit(ctx, bench.end, [5])
        await until_true(ctx, lambda: len(bench.line.delivered) == 1)
        bench.line.cut = True
        await submit(ctx, bench.end, range(6, 30))  # more than a window
        assert bench.end.count(ctx, "flushed") == 1

    bench.run(board, limit=200000)
    assert [f.fields["set"] for f in bench.line.delivered] == [5]


def test_new_host_process_starts_a_new_session():
    bench = HostBench(LinkPeer(Role.HOST, session=9))

    async def board(ctx):
        await until(ctx, bench.engine.up)
        bench.line.peer.send(Type.WRITE, b"x", tag=1)
        await until_true(ctx, lambda: len(bench.end.events) == 1)
        bench.line.peer = LinkPeer(Role.HOST, session=9)
        bench.line.peer.send(Type.WRITE, b"y", tag=2)
        await until_true(ctx, lambda: len(bench.end.events) == 2)
        assert bench.end.count(ctx, "flushed") == 1

    bench.run(board)
    assert [e[2] for e in bench.end.events] == [b"x", b"y"]


@pytest.mark.parametrize("hello", [
    {"version": wire.PROTOCOL_VERSION + 1, "role": Role.HOST, "session": 3},
    {"version": wire.PROTOCOL_VERSION, "role": Role.SOURCE, "session": 3},
    {"version": wire.PROTOCOL_VERSION, "role": Role.HOST, "session": 3, "fingerprint": 0x4321},
])
def test_hello_that_does_not_fit_is_ignored(hello):
    class Stranger:
        """Says one hello over and over, agreeing to everything."""

        def feed(self, data, now):
            return []

        def poll(self, now):
            return wire.to_line(wire.pack(Type.HELLO, 0, echo=1, **hello))

    bench = HostBench(Stranger(), fingerprint=0x1234)

    async def board(ctx):
        for _ in range(6000):
            assert not ctx.get(bench.engine.up)
            await ctx.tick()
        if isinstance(bench.engine, LinkEngine):    # a bank does not tell
            assert ctx.get(bench.engine.mismatch)

    bench.run(board)


def test_parameters_are_checked():
    good = {"role": Role.SOURCE, "window": 8, "max_payload": 16}
    for bad, message in [
            ({"window": 64}, "window 64 is not 4, 8, 16 or 32"),
            ({"max_payload": 5000}, r"max_payload 5000 is outside 0\.\.4096"),
            ({"fingerprint": 1 << 16}, "fingerprint 65536 does not fit 16 bits"),
            ({"patience_bits": -1}, "patience_bits -1 is negative"),
            ({"silence_bits": 1000}, "silence_bits 1000 is not a power of two from 32768 up"),
            ({"tries": 9}, r"tries 9 is outside 1\.\.8")]:
        with pytest.raises(ValueError, match=message):
            LinkEngine(**good | bad)
