"""The liaison: every frame that is due is said, with what the page says then."""

import pytest

from firmware_model.wire import SetWord, Type
from hdl.liaison import Liaison

from .source_bench import SMALL, SourceTables, fields_of, simulate, stream_get, ticks

LIFE = 0x0A0B


class Rig(SourceTables):
    def __init__(self):
        super().__init__(Liaison(SMALL), SMALL)

    def run(self, bench):
        async def ready(ctx):
            await self.ready(ctx)
            ctx.set(self.dut.life, LIFE)
            await bench(ctx)
        simulate(self, ready, clocks=20_000)

    async def request(self, ctx, set_, *names):
        ctx.set(self.dut.request, {"set": set_} | dict.fromkeys(names, 1))
        await ctx.tick()
        ctx.set(self.dut.request, {})

    async def next(self, ctx):
        frame = await stream_get(ctx, self.dut.frames)
        type_, fields = fields_of({"type": frame.type, "header": frame.header})
        assert fields["set"] == frame.set
        return type_, fields

    async def quiet(self, ctx):
        await ticks(ctx, 100)
        assert not ctx.get(self.dut.frames.valid)


def test_what_each_frame_says():
    rig = Rig()

    async def bench(ctx):
        for word, value in ((SetWord.EPOCH, 9), (SetWord.DONE, 0x1122), (SetWord.ACKED_LOW, 0x3344),
                            (SetWord.ACKED_HIGH, 0x5566)):
            await rig.page(ctx, 1, word, value)
        await rig.request(ctx, 1, "ask")
        assert await rig.next(ctx) == (Type.ASK, {"set": 1, "life": LIFE, "epoch": 9})
        place = {"set": 1, "epoch": 9, "gseq": 0x1122, "chains": 0x55663344}
        await rig.request(ctx, 1, "begin")
        assert await rig.next(ctx) == (Type.BEGIN, place)
        ctx.set(rig.dut.resyncing, 0b10)
        await rig.request(ctx, 1, "begin")
        assert await rig.next(ctx) == (Type.RESYNC, place)
        await rig.request(ctx, 1, "resynced")
        assert await rig.next(ctx) == (Type.RESYNCED, {"set": 1, "epoch": 9})
        await rig.quiet(ctx)

    rig.run(bench)


def test_everything_due_is_said_once():
    rig = Rig()

    async def bench(ctx):
        await rig.lock(ctx)                     # so that all of it waits
        for _ in range(2):
            await rig.request(ctx, 0, "ask", "begin", "resynced")
        await rig.request(ctx, 1, "begin")
        await rig.unlock(ctx)
        said = [await rig.next(ctx) for _ in range(3)]
        assert [t for t, f in said if f["set"] == 0] == [Type.BEGIN, Type.RESYNCED]
        assert [t for t, f in said if f["set"] == 1] == [Type.BEGIN]
        await rig.quiet(ctx)
        await rig.request(ctx, 0, "ask")        # and what comes after the frame is made, again
        await ticks(ctx, 50)
        await rig.request(ctx, 0, "ask")
        assert [(await rig.next(ctx))[0] for _ in range(2)] == [Type.ASK] * 2
        await rig.quiet(ctx)

    rig.run(bench)


@pytest.mark.parametrize("forget", [False, True])
def test_asking_for_all_sets_and_forgetting(forget):
    rig = Rig()

    async def bench(ctx):
        await rig.lock(ctx)
        await rig.request(ctx, 1, "begin")
        ctx.set(rig.dut.forget, forget)
        await ctx.tick()
        ctx.set(rig.dut.forget, 0)
        ctx.set(rig.dut.ask, 0b11)
        await ctx.tick()
        ctx.set(rig.dut.ask, 0)
        await rig.unlock(ctx)
        said = sorted([(f["set"], t) for t, f in [await rig.next(ctx) for _ in range(2)]])
        assert said == [(0, Type.ASK), (1, Type.ASK if forget else Type.BEGIN)]
        await rig.quiet(ctx)

    rig.run(bench)
