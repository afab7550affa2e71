"""The scan of a resynchronisation: every track once, none that goes anyway, never too many."""

from firmware_model.wire import SetWord
from hdl.resync import Resync

from .source_bench import SMALL, SourceTables, simulate, ticks

W = SetWord
G = SMALL               # volumes 0 and 1 in set 0, volume 2 in set 1; 5 tracks each; chains of 4


class Rig(SourceTables):
    """``cut`` takes what is unsent off the list, as a sequencer would."""

    def __init__(self):
        super().__init__(Resync(G), G)
        self.asked = []
        self.destaged = 0
        self.put_in = 0
        self.sent = [[], []]
        self.most = 0

    async def watch(self, ctx):
        async for _, _, ask, destage, track in ctx.tick().sample(
                self.dut.ask, self.dut.destage, self.dut.track):
            if ask:
                self.asked.append(ask.bit_length() - 1)
            self.destaged |= destage
            self.put_in += track

    async def tick(self, ctx):
        while True:
            await ticks(ctx, 16)
            ctx.set(self.dut.tick, 1)
            await ctx.tick()
            ctx.set(self.dut.tick, 0)

    def run(self, bench):
        async def ready(ctx):
            await self.ready(ctx)
            await bench(ctx)
        simulate(self, ready, clocks=50_000, background=[self.watch, self.tick])

    async def start(self, ctx, set_):
        """As the sequencer does, under the lock."""
        await self.lock(ctx)
        await self.page(ctx, set_, W.RESYNC_LOW, 0xFFFF)
        await self.page(ctx, set_, W.RESYNC_HIGH, 0xFFFF)
        ctx.set(self.dut.start, {"valid": 1, "set": set_})
        await ctx.tick()
        ctx.set(self.dut.start, {"valid": 0})
        await self.unlock(ctx)

    async def cut(self, ctx, set_):
        """Take the unsent tracks; each must be the end of a chain."""
        await self.lock(ctx)
        first, unsent = await self.words(ctx, set_, W.FIRST, W.UNSENT)
        self.most = max(self.most, unsent)
        at = first
        for left in range(unsent, 0, -1):
            assert (await self.state(ctx, at)).pending
            self.sent[set_].append(G.place(at))
            link = await self.link(ctx, at)
            assert left == 1 or link.end_of_chain
            at = link.next
        await self.page(ctx, set_, W.UNSENT, 0)
        await self.unlock(ctx)

    async def finish(self, ctx, set_, count=1):
        while self.asked.count(set_) < count:
            await self.cut(ctx, set_)
            await ticks(ctx, 50)
        await self.cut(ctx, set_)

    async def end(self, ctx, set_):
        low, high = await self.words(ctx, set_, W.RESYNC_LOW, W.RESYNC_HIGH)
        return low | high << 16


def test_every_track_of_the_set_and_no_other():
    rig = Rig()

    async def bench(ctx):
        slots = [(await rig.state(ctx, G.index(v, t))).slot for v in (0, 1) for t in range(5)]
        await rig.page(ctx, 0, W.CHAINS_LOW, 0xFFFC)
        await rig.page(ctx, 0, W.CHAINS_HIGH, 2)
        await rig.start(ctx, 0)
        await rig.finish(ctx, 0)
        assert rig.sent[0] == [(v, t) for v in (0, 1) for t in range(5)]
        assert rig.put_in == 10
        assert rig.most == G.chain_limit
        assert rig.destaged == 1
        assert await rig.words(ctx, 0, W.CHAINS_LOW, W.CHAINS_HIGH) == (6, 3)
        assert await rig.end(ctx, 0) == 0x30006
        assert slots == [(await rig.state(ctx, G.index(v, t))).slot
                         for v in (0, 1) for t in range(5)], "nothing was copied"
        assert not (await rig.state(ctx, G.index(2, 0))).pending
        assert await rig.words(ctx, 1, W.CHAINS_LOW, W.UNSENT) == (0, 0)
        assert rig.asked == [0]

    rig.run(bench)


def test_pending_tracks_go_anyway():
    rig = Rig()

    async def bench(ctx):
        await rig.thread(ctx, 1, [[G.index(2, 3)], [G.index(2, 1)]])
        await rig.start(ctx, 1)
        await rig.finish(ctx, 1)
        assert rig.sent[1] == [(2, 3), (2, 1), (2, 0), (2, 2), (2, 4)]
        assert rig.put_in == 3

    rig.run(bench)


def test_an_open_chain_is_not_disturbed():
    rig = Rig()

    async def bench(ctx):
        ctx.set(rig.dut.chain_open, 1)
        await rig.start(ctx, 1)
        await ticks(ctx, 300)
        assert rig.put_in == 0
        await rig.lock(ctx)                     # and nobody else is kept waiting
        await rig.unlock(ctx)
        ctx.set(rig.dut.chain_open, 0)
        await rig.finish(ctx, 1)
        assert rig.put_in == 5

    rig.run(bench)


def test_a_second_start_begins_anew():
    """Of tracks that were put in and acknowledged before it, too."""
    rig = Rig()

    async def bench(ctx):
        await rig.start(ctx, 0)
        await rig.start(ctx, 1)                 # waits for its turn
        while rig.put_in < 4:
            await ctx.tick()
        await ticks(ctx, 30)
        await rig.cut(ctx, 0)
        for _, track in rig.sent[0]:
            await rig.set_state(ctx, G.index(0, track), slot=track)     # acknowledged
        await rig.start(ctx, 0)
        rig.sent[0].clear()
        await rig.finish(ctx, 0)
        assert sorted(rig.sent[0]) == [(v, t) for v in (0, 1) for t in range(5)]
        assert await rig.end(ctx, 0) == 14
        await rig.finish(ctx, 1)
        assert rig.sent[1] == [(2, t) for t in range(5)]
        assert rig.asked == [0, 1]

    rig.run(bench)
