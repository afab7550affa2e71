"""The comparator: the gravest fault, its first entry, and one lookup a clock."""

import pytest
from amaranth import *

from hdl.comparator import Comparator, Verdict
from hdl.interfaces import SourceState, Volume

from .source_bench import SMALL, seeded, simulate, until


class Tables:
    """Write set and metadata as dictionaries with the latency of the memories."""

    def __init__(self, dut, places, pending, disconnected):
        self.dut, self.places = dut, places
        self.pending, self.disconnected = pending, disconnected

    async def run(self, ctx):
        dut, g = self.dut, SMALL
        while True:
            _, _, position, index = await ctx.tick().sample(dut.position, dut.index)
            volume, track = g.place(index)
            if position < len(self.places):
                ctx.set(dut.index, g.index(*self.places[position]))
            if volume < g.volumes:
                ctx.set(dut.state, SourceState(g).const(
                    {"pending": (volume, track) in self.pending, "slot": 3}))
                ctx.set(dut.volume, Volume(g).const(
                    {"set": g.initial_set(volume), "disconnected": volume in self.disconnected}))


def judge(places, pending=(), disconnected=()):
    """Run one comparison; returns (verdict, set, position, clocks, lookups)."""
    dut = Comparator(SMALL)
    tables = Tables(dut, places, pending, disconnected)
    result = []

    async def bench(ctx):
        for _ in range(2):              # twice: nothing is left over from the first time
            ctx.set(dut.count, len(places))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            clocks = lookups = 0
            while True:
                clocks += 1
                _, _, done, lookup, busy = await ctx.tick().sample(dut.done, dut.lookup, dut.busy)
                lookups += lookup
                assert busy
                if done:
                    break
            result.append((ctx.get(dut.verdict), ctx.get(dut.set), ctx.get(dut.worst_position),
                           clocks, lookups))
            await ctx.tick()
            assert not ctx.get(dut.busy)

    simulate(dut, bench, background=[tables.run])
    assert result[0] == result[1]
    return result[0]


@pytest.mark.requirement("R03")
@pytest.mark.parametrize("count", [1, 2, 4])
def test_one_lookup_a_clock(count):
    places = [(0, n) for n in range(count)]
    verdict, set_, _, clocks, lookups = judge(places)
    assert (verdict, set_) == (Verdict.CLEAR, 0)
    assert lookups == count
    assert clocks == count + 2


@pytest.mark.requirement("R03")
@pytest.mark.parametrize(("places", "pending", "disconnected", "verdict", "position"), [
    ([(0, 1)], {(0, 1)}, (), Verdict.COLLISION, 0),
    ([(0, 0), (0, 1), (1, 1)], {(0, 1), (1, 1)}, (), Verdict.COLLISION, 1),
    ([(0, 0), (1, 0)], {(0, 0)}, {1}, Verdict.DISCONNECTED, 1),
    ([(1, 0), (1, 1), (0, 0)], {(0, 0)}, {1}, Verdict.DISCONNECTED, 0),
    ([(0, 0), (2, 0), (2, 1)], {(0, 0)}, {2}, Verdict.SPANS_SETS, 1),
    ([(2, 0), (2, 4), (2, 0)], {(0, 0)}, {0}, Verdict.CLEAR, None),
    ([(2, 0), (0, 4), (1, 0)], (), (), Verdict.SPANS_SETS, 1),
])
def test_gravest_fault_of_first_entry(places, pending, disconnected, verdict, position):
    found, set_, at, _, _ = judge(places, pending, disconnected)
    assert found is verdict
    assert set_ == SMALL.initial_set(places[0][0])
    if position is not None:
        assert at == position


def test_random_write_sets():
    rng = seeded(9)
    every = [(v, t) for v in range(3) for t in range(5)]
    for _ in range(25):
        places = [rng.choice(every) for _ in range(rng.randint(1, 4))]
        pending = set(rng.sample(every, 3))
        disconnected = {v for v in range(3) if rng.random() < 0.2}
        spans = [n for n, (v, _) in enumerate(places) if (v == 2) != (places[0][0] == 2)]
        cut_off = [n for n, (v, _) in enumerate(places) if v in disconnected]
        hits = [n for n, p in enumerate(places) if p in pending]
        expected = next(((v, f[0]) for v, f in ((Verdict.SPANS_SETS, spans),
                                                (Verdict.DISCONNECTED, cut_off),
                                                (Verdict.COLLISION, hits)) if f),
                        (Verdict.CLEAR, None))
        verdict, _, position, _, _ = judge(places, pending, disconnected)
        assert (verdict, position if expected[1] is not None else None) == expected


def test_idle_when_not_started():
    dut = Comparator(SMALL)

    async def bench(ctx):
        for _ in range(10):
            await ctx.tick()
            assert not ctx.get(dut.busy | dut.done | dut.lookup)
        ctx.set(dut.count, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await until(ctx, dut.done)

    simulate(dut, bench)
