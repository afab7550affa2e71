# amaranth: UnusedElaboratable=no
"""A line with the system's side of it: what differs between host line and links, and its counts."""

import pytest
from amaranth import *

from firmware_model.wire import LinkCounter, Role, Type
from hdl.interfaces import PayloadKind
from hdl.line import Line, PayloadJoin

from .streams import run, stream_get, stream_put, until
from .target_bench import SMALL

DIVISOR = 5 << 8
STATUS = {"type": Type.STATUS, "header": 0x0102, "kind": PayloadKind.NONE, "arg": 0}


class Pair(Elaboratable):
    """A link between a source and a target."""

    def __init__(self):
        self.near = Line(SMALL, Role.SOURCE)
        self.far = Line(SMALL, Role.TARGET)
        self.cut = Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.near = self.near
        m.submodules.far = self.far
        for end, other in ((self.near, self.far), (self.far, self.near)):
            m.d.comb += [end.rx.eq(other.tx | self.cut), end.divisor.eq(DIVISOR),
                         end.port.sink.ready.eq(1)]
        return m


def test_a_frame_passes_and_is_counted():
    pair = Pair()
    events = set(LinkCounter) - {LinkCounter.DOWN_TIME}     # which the counters see for themselves
    counted = {pair.near: dict.fromkeys(events, 0), pair.far: dict.fromkeys(events, 0)}

    def count(line):
        async def process(ctx):
            async for _, _, counts in ctx.tick().sample(line.port.counts):
                for counter in events:
                    counted[line][counter] += counts[counter.name.lower()]
        return process

    async def bench(ctx):
        await until(ctx, pair.near.port.up & pair.far.port.up)
        await stream_put(ctx, pair.near.port.submit, STATUS)
        event = await stream_get(ctx, pair.far.port.events)
        assert (event.type, event.header, event.length) == (Type.STATUS, 0x0102, 0)
        await ctx.tick().repeat(2000)           # for the acknowledgement
        near, far = counted[pair.near], counted[pair.far]
        assert near[LinkCounter.FRAMES_SENT] == far[LinkCounter.FRAMES_RECEIVED] == 1
        assert far[LinkCounter.ACKS_SENT] == 1
        assert near[LinkCounter.SESSIONS] == far[LinkCounter.SESSIONS] == 1
        others = events - {LinkCounter.FRAMES_SENT, LinkCounter.FRAMES_RECEIVED,
                           LinkCounter.ACKS_SENT, LinkCounter.SESSIONS}
        assert all(near[c] == far[c] == 0 for c in others)

    run(pair, bench, monitors=[count(pair.near), count(pair.far)], limit=100_000)


@pytest.mark.parametrize(("role", "host", "drops"), [
    (Role.SOURCE, False, False), (Role.TARGET, False, True), (Role.SOURCE, True, True),
    (Role.TARGET, True, True)])
def test_who_waits_for_a_line_that_is_down(role, host, drops):
    line = Line(SMALL, role, host=host)

    async def bench(ctx):
        ctx.set(line.divisor, DIVISOR)
        ctx.set(line.port.submit.payload, STATUS)
        ctx.set(line.port.submit.valid, 1)
        await ctx.tick().repeat(50)
        assert ctx.get(line.port.submit.ready) == drops

    run(line, bench, limit=1000)


def test_joined_lines_fetch_their_payloads_in_turn():
    join = PayloadJoin(3)
    asked = []

    async def provide(ctx):
        port = join.provider
        while True:
            kind, arg = await until(ctx, port.start, port.kind, port.arg)
            asked.append((kind, arg))
            for n in range(4):
                await stream_put(ctx, port.bytes, {"data": arg + n, "last": n == 3})

    async def bench(ctx):
        for n in (2, 0, 1, 1):
            for line in join.lines:         # all show what one of them fetches
                ctx.set(line.kind, PayloadKind.SLOT)
                ctx.set(line.arg, 10 * n)
            ctx.set(join.lines[n].start, 1)
            await ctx.tick()
            ctx.set(join.lines[n].start, 0)
            got = [await stream_get(ctx, join.lines[n].bytes) for _ in range(4)]
            assert [(byte.data, byte.last) for byte in got] == [(10 * n + k, k == 3)
                                                                for k in range(4)]
        assert asked == [(PayloadKind.SLOT, 10 * n) for n in (2, 0, 1, 1)]

    m = Module()
    m.submodules.join = join
    m.d.sync += Signal().eq(1)
    run(m, bench, monitors=[provide])


@pytest.mark.parametrize("lines", [0, "2"])
def test_joined_lines_are_checked(lines):
    with pytest.raises(ValueError, match=f"lines must be at least 1, not {lines!r}"):
        PayloadJoin(lines)
