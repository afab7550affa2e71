# amaranth: UnusedElaboratable=no
"""Sessions: two of them, and every hello on a queue in between."""

import random
from collections import deque

import pytest
from amaranth import *
from amaranth.lib import wiring

from firmware_model import wire
from firmware_model.wire import Role, Type
from hdl.session import Session

from .streams import run


class Two(wiring.Component):
    def __init__(self):
        self.ends = [Session(role=Role.SOURCE), Session(role=Role.TARGET)]
        super().__init__({"reset": wiring.In(2)})

    def elaborate(self, platform):
        m = Module()
        for i, end in enumerate(self.ends):
            m.submodules[f"end_{i}"] = ResetInserter(self.reset[i])(end)
        return m


def header(**fields):
    fields = {"version": wire.PROTOCOL_VERSION, "role": Role.TARGET, "session": 1} | fields
    return int.from_bytes(wire.pack(Type.HELLO, 0, **fields)[2:10], "little")


async def hear(ctx, end, raw):
    """Give a hello to ``end``; returns (answer, risen, fallen)."""
    ctx.set(end.hello, raw)
    await ctx.tick()
    ctx.set(end.heard, 1)
    result = ctx.get(end.answer), ctx.get(end.risen), ctx.get(end.fallen)
    await ctx.tick()
    ctx.set(end.heard, 0)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_both_ends_agree_whatever_happens(seed):
    """Hellos are delayed and lost, ends are reset or die, at random. Then, when all is quiet:
    both are up, in the same session. And whenever an end is up, the other either is in exactly
    that session, or has hellos on the way that will end it."""
    rng = random.Random(seed)
    dut = Two()
    a, b = dut.ends

    async def bench(ctx):
        lines = [deque(), deque()]      # to end 0, to end 1

        def say(i):
            if rng.random() < loss:
                return
            lines[1 - i].append(ctx.get(dut.ends[i].greeting))

        async def step(i, trouble):
            end = dut.ends[i]
            what = rng.random()
            if what < 0.5 and lines[i]:
                answer, risen, fallen = await hear(ctx, end, lines[i].popleft())
                assert not (risen and fallen)
                if answer:
                    say(i)
            elif not ctx.get(end.up):
                say(i)
            elif trouble and what > 0.98:
                ctx.set(end.dead, 1)
                await ctx.tick()
                ctx.set(end.dead, 0)
            elif trouble and what > 0.97:
                ctx.set(dut.reset, 1 << i)
                await ctx.tick()
                ctx.set(dut.reset, 0)

        for _ in range(20):
            loss = rng.choice([0, 0.3])
            for _ in range(rng.randrange(60)):
                await step(rng.randrange(2), trouble=True)
            loss = 0
            for _ in range(400):
                await step(rng.randrange(2), trouble=False)
            assert not lines[0]
            assert not lines[1]
            assert ctx.get(a.up)
            assert ctx.get(b.up)
            assert (ctx.get(a.my), ctx.get(a.peer)) == (ctx.get(b.peer), ctx.get(b.my))

    run(dut, bench, limit=200000)


def test_up_and_answers():
    dut = Session(role=Role.SOURCE)

    async def bench(ctx):
        assert await hear(ctx, dut, header(session=9, echo=0)) == (1, 0, 0), "it must know us"
        assert (ctx.get(dut.up), ctx.get(dut.peer)) == (0, 9)
        assert await hear(ctx, dut, header(session=9, echo=1)) == (1, 1, 0)
        assert ctx.get(dut.up)
        assert await hear(ctx, dut, header(session=9, echo=1)) == (1, 0, 0), "it is not up"
        assert await hear(ctx, dut, header(session=9, echo=1, flags=1)) == (0, 0, 0)
        assert await hear(ctx, dut, header(session=10, echo=1, flags=1)) == (1, 0, 1)
        assert (ctx.get(dut.up), ctx.get(dut.my), ctx.get(dut.peer)) == (0, 2, 10)

    run(dut, bench)


def test_session_numbers_skip_zero_and_start_with_the_generation():
    dut = Session(role=Role.SOURCE)

    async def bench(ctx):
        ctx.set(dut.generation, 0x1FE)
        for my in (254, 255, 1, 2):
            assert ctx.get(dut.my) == my
            await hear(ctx, dut, header(echo=my))
            assert ctx.get(dut.up)
            ctx.set(dut.dead, 1)
            await ctx.tick()
            ctx.set(dut.dead, 0)

    run(dut, bench)


def test_greeting_is_a_hello():
    dut = Session(role=Role.SOURCE, fingerprint=0xABCD)

    async def bench(ctx):
        ctx.set(dut.generation, 7)
        await hear(ctx, dut, header(session=5, echo=7))
        assert ctx.get(dut.greeting) == header(
            role=Role.SOURCE, session=7, echo=5, flags=1, generation=7, fingerprint=0xABCD)

    run(dut, bench)


@pytest.mark.parametrize("fields", [
    {"version": wire.PROTOCOL_VERSION + 1}, {"role": Role.SOURCE}, {"fingerprint": 1}])
def test_hello_that_does_not_fit_changes_nothing(fields):
    dut = Session(role=Role.SOURCE, fingerprint=0xABCD)

    async def bench(ctx):
        assert await hear(ctx, dut, header(session=5, echo=1, **fields)) == (0, 0, 0)
        assert (ctx.get(dut.mismatch), ctx.get(dut.up), ctx.get(dut.peer)) == (1, 0, 0)
        assert await hear(ctx, dut, header(session=5, echo=1)) == (1, 1, 0)
        assert not ctx.get(dut.mismatch)

    run(dut, bench)


def test_fingerprint_is_checked():
    with pytest.raises(ValueError, match="fingerprint 65536 does not fit 16 bits"):
        Session(role=Role.SOURCE, fingerprint=65536)
