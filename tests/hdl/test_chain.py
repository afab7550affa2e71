"""The chain processor: all or nothing, one answer, and the faults in their order."""

import pytest
from amaranth import *
from amaranth.lib import wiring

from firmware_model import wire
from firmware_model.wire import Code, Flag, SetWord, Type
from hdl.chain import ChainProcessor

from .source_bench import (
    SMALL,
    SourceTables,
    fields_of,
    header_bits,
    seeded,
    send,
    simulate,
    stream_get,
    stream_put,
    ticks,
    until,
)
from .streams import StreamMonitor

TRACK = SMALL.track_bytes


class Rig(SourceTables):
    """A ChainProcessor whose slot in hand is the head of the free list."""

    def __init__(self, geometry=SMALL, mutation=None):
        super().__init__(ChainProcessor(geometry, mutation=mutation), geometry)
        self.drain = Signal()       # the test takes slots itself
        self.monitor = StreamMonitor(self.dut.status, "status")

    def elaborate(self, platform):
        m = super().elaborate(platform)
        wiring.connect(m, self.dut.free, self.free.push)
        m.d.comb += [
            self.dut.slot.eq(self.free.pop.payload),
            self.dut.slot_valid.eq(self.free.pop.valid),
            self.free.pop.ready.eq(self.dut.take | self.drain),
            self.dut.free_level.eq(self.free.level),
        ]
        return m

    def run(self, bench, clocks=30_000):
        async def ready(ctx):
            await self.ready(ctx)
            await bench(ctx)
        simulate(self, ready, clocks=clocks, background=[self.monitor])

    async def chain(self, ctx, tag, places, *, flags=0, count=None, raw=None):
        payload = raw if raw is not None else b"".join(
            bytes([v]) + t.to_bytes(2, "little") for v, t in places)
        await send(ctx, self.dut.sink, self.dut.events, Type.CHAIN, payload, tag=tag, flags=flags,
                   count=len(places) if count is None else count)

    async def write(self, ctx, tag, index, length=TRACK):
        await stream_put(ctx, self.dut.events, {
            "type": Type.WRITE, "length": length,
            "header": header_bits(Type.WRITE, tag=tag, index=index)})

    async def stray(self, ctx, tag, index):
        """A WRITE of no chain, which is taken with its answer."""
        ctx.set(self.dut.events.payload, {
            "type": Type.WRITE, "length": TRACK,
            "header": header_bits(Type.WRITE, tag=tag, index=index)})
        ctx.set(self.dut.events.valid, 1)
        answer = await self.answer(ctx)
        ctx.set(self.dut.events.valid, 0)
        return answer

    async def answer(self, ctx):
        return fields_of(await stream_get(ctx, self.dut.status))

    async def refuse(self, ctx, code, detail=0, set_=0, **chain):
        await self.chain(ctx, **chain)
        assert await self.answer(ctx) == (Type.CHAIN_STATUS, {
            "tag": chain["tag"], "code": code, "set": set_, "detail": detail})

    async def commit(self, ctx, tag, places, **chain):
        """A whole chain; returns its number."""
        await self.chain(ctx, tag, places, **chain)
        for index in range(len(places)):
            await self.write(ctx, tag, index)
        type_, fields = await self.answer(ctx)
        assert (type_, fields["tag"], fields["code"]) == (Type.CHAIN_STATUS, tag, Code.OK)
        return fields["detail"]

    async def picture(self, ctx):
        """Everything there is: states, volumes and pages."""
        g = self.geometry
        await self.lock(ctx)
        picture = {}
        for volume in range(g.volumes):
            picture["volume", volume] = repr(await self.volume(ctx, volume))
            for track in range(g.tracks_per_volume):
                picture[volume, track] = repr(await self.state(ctx, g.index(volume, track)))
        for set_ in range(g.sets):
            for word in (SetWord.FIRST, SetWord.TAIL, SetWord.UNSENT, SetWord.CHAINS_LOW):
                picture["page", set_, word] = await self.page(ctx, set_, word)
        await self.unlock(ctx)
        picture["free"] = ctx.get(self.free.level)
        return picture

    async def order(self, ctx, set_):
        """The unsent list: [(volume, track, begins a chain)]."""
        first, unsent = await self.words(ctx, set_, SetWord.FIRST, SetWord.UNSENT)
        found, at, begins = [], first, True
        for _ in range(unsent):
            found.append((*self.geometry.place(at), bool(begins)))
            link = await self.link(ctx, at)
            at, begins = link.next, link.end_of_chain
        return found


@pytest.mark.requirement("R17", "R27")
def test_chains_commit_in_order_and_are_marked_off():
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        before = ctx.get(rig.free.level)
        assert await rig.commit(ctx, 1, [(0, 4), (1, 0)]) == 1
        assert await rig.commit(ctx, 2, [(2, 1)]) == 1          # another set, its own count
        assert await rig.commit(ctx, 3, [(1, 4)]) == 2
        assert await rig.order(ctx, 0) == [(0, 4, True), (1, 0, False), (1, 4, True)]
        assert await rig.order(ctx, 1) == [(2, 1, True)]
        slots = set()
        for volume in range(g.volumes):
            for track in range(g.tracks_per_volume):
                state = await rig.state(ctx, g.index(volume, track))
                slots.add(state.slot)
                written = (volume, track) in {(0, 4), (1, 0), (2, 1), (1, 4)}
                assert (state.pending, state.packet, state.waiter) == (written, 0, 0)
                assert (state.slot >= g.tracks) == written
        assert len(slots) == g.tracks                           # one slot a track, none twice
        assert ctx.get(rig.free.level) == before                # the old ones are free
        assert (await rig.words(ctx, 0, SetWord.CHAINS_LOW, SetWord.CHAINS_HIGH)) == (2, 0)

    rig.run(bench)


def test_chain_count_carries_into_the_high_word():
    rig = Rig()

    async def bench(ctx):
        await rig.page(ctx, 0, SetWord.CHAINS_LOW, 0xFFFF)
        assert await rig.commit(ctx, 1, [(0, 0)]) == 0x10000
        assert (await rig.words(ctx, 0, SetWord.CHAINS_LOW, SetWord.CHAINS_HIGH)) == (0, 1)

    rig.run(bench)


@pytest.mark.requirement("R27")
def test_track_written_twice_keeps_the_last_write():
    rig = Rig()

    async def bench(ctx):
        before = ctx.get(rig.free.level)
        upcoming = []
        await rig.chain(ctx, 1, [(0, 1), (0, 2), (0, 1), (0, 1)])
        for index in range(4):
            upcoming.append(ctx.get(rig.free.pop.payload))
            await rig.write(ctx, 1, index)
        type_, fields = await rig.answer(ctx)
        assert (type_, fields["code"]) == (Type.CHAIN_STATUS, Code.OK)
        assert await rig.order(ctx, 0) == [(0, 1, True), (0, 2, False)]
        assert (await rig.state(ctx, rig.geometry.index(0, 1))).slot == upcoming[3]
        assert (await rig.state(ctx, rig.geometry.index(0, 2))).slot == upcoming[1]
        await ticks(ctx, 5)
        assert ctx.get(rig.free.level) == before

    rig.run(bench)


@pytest.mark.requirement("R24", "R27")
def test_each_refusal_has_its_code_and_changes_nothing():
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        await rig.commit(ctx, 1, [(0, 3)])
        before = await rig.picture(ctx)
        refuse = rig.refuse
        await refuse(ctx, Code.BAD_LENGTH, tag=2, places=[(0, 0)], count=2)
        await refuse(ctx, Code.BAD_LENGTH, tag=2, places=[], raw=b"\0\0\0\0", count=1)
        await refuse(ctx, Code.BAD_LENGTH, tag=2, places=[(0, 0)], count=0)
        await refuse(ctx, Code.CHAIN_EMPTY, tag=3, places=[])
        await refuse(ctx, Code.CHAIN_TOO_LONG, tag=4, places=[(9, 9)] * 5)
        await refuse(ctx, Code.BAD_VOLUME, 2 | 3 << 8 | 1 << 16, tag=5,
                     places=[(0, 0), (0, 77), (3, 1), (200, 0)])
        await refuse(ctx, Code.BAD_TRACK, 1 | 2 << 8 | 0x1205 << 16, tag=6,
                     places=[(0, 0), (2, 0x1205), (0, 5)])
        await refuse(ctx, Code.SPANS_SETS, 1 | 2 << 8 | 4 << 16, tag=7,
                     places=[(0, 3), (2, 4), (2, 0)])
        await refuse(ctx, Code.SPANS_SETS, 2 | 0 << 8 | 3 << 16, set_=1, tag=7,
                     places=[(2, 3), (2, 4), (0, 3)])
        await ticks(ctx, 5)
        assert await rig.picture(ctx) == before
        # The writes of a refused chain are swallowed; another tag's are not.
        await rig.write(ctx, 7, 0)
        await rig.write(ctx, 7, 1)
        assert await rig.stray(ctx, 8, 0) == (Type.ERROR, {
            "tag": 8, "code": Code.UNEXPECTED_WRITE, "type": Type.WRITE})
        assert await rig.picture(ctx) == before
        assert len(rig.monitor.taken) == 11         # one answer each
        assert g.chain_limit == 4

    rig.run(bench)


def test_next_chain_aborts_the_open_one_and_goes_on():
    rig = Rig()

    async def listener(ctx):
        while True:
            await stream_get(ctx, rig.dut.status)

    async def bench(ctx):
        await rig.ready(ctx)
        level = ctx.get(rig.free.level)
        await rig.chain(ctx, 2, [(0, 1), (0, 2), (0, 3), (0, 4)])
        for index in range(3):
            await rig.write(ctx, 2, index)
        await ticks(ctx, 3)
        assert ctx.get(rig.dut.chain_open)
        assert ctx.get(rig.free.level) == level - 3
        await rig.chain(ctx, 3, [(1, 0)])           # all slots come back
        await rig.write(ctx, 3, 0)
        await ticks(ctx, 40)
        answers = [fields_of(payload)[1] for payload in rig.monitor.taken]
        assert answers == [
            {"tag": 2, "code": Code.CHAIN_ABORTED, "set": 0, "detail": 0},
            {"tag": 3, "code": Code.OK, "set": 0, "detail": 1}]
        assert ctx.get(rig.free.level) == level
        assert await rig.order(ctx, 0) == [(1, 0, True)]

    simulate(rig, bench, background=[rig.monitor, listener])


@pytest.mark.requirement("R24")
def test_no_slots():
    """The level is driven by the test here: a legal geometry never runs out by itself."""
    dut = ChainProcessor(SMALL)
    tables = SourceTables(dut)

    async def bench(ctx):
        await tables.ready(ctx)
        for level, in_hand, code in ((1, 1, Code.NO_SLOTS), (2, 0, Code.NO_SLOTS), (2, 1, None),
                                     (3, 0, None)):
            ctx.set(dut.free_level, level)
            ctx.set(dut.slot_valid, in_hand)
            await send(ctx, dut.sink, dut.events, Type.CHAIN,
                       b"".join(wire.entry(0, n) for n in range(3)), tag=level, count=3)
            if code is not None:
                type_, fields = fields_of(await stream_get(ctx, dut.status))
                assert (type_, fields["code"]) == (Type.CHAIN_STATUS, code)
            else:
                await ticks(ctx, 20)
                assert ctx.get(dut.chain_open)
                ctx.set(dut.new_session, 1)
                await ctx.tick()
                ctx.set(dut.new_session, 0)
                await ticks(ctx, 8)
                assert not ctx.get(dut.chain_open)

    simulate(tables, bench)


@pytest.mark.requirement("R03", "R04", "R05", "R06", "R27")
def test_collision_fence_and_resume():
    rig = Rig()
    g = rig.geometry
    destages, disconnects = [], []

    async def watch(ctx):
        async for _, _, destage, disconnect, volume in ctx.tick().sample(
                rig.dut.destage, rig.dut.disconnect, rig.dut.disconnect_volume):
            if destage.valid:
                destages.append(destage.set)
            if disconnect:
                disconnects.append(volume)

    async def bench(ctx):
        refuse = rig.refuse
        await rig.commit(ctx, 1, [(0, 3), (1, 2)])
        before = await rig.picture(ctx)
        await refuse(ctx, Code.COLLISION, 1 | 1 << 8 | 2 << 16, tag=2,
                     places=[(0, 0), (1, 2), (0, 3)])
        assert (destages, disconnects) == ([0], [1])
        await rig.write(ctx, 2, 0)
        # Only the waiter and the disconnected volume are new.
        state = await rig.state(ctx, g.index(1, 2))
        assert (state.pending, state.waiter, state.packet) == (1, 1, 0)
        volume = await rig.volume(ctx, 1)
        assert (volume.set, volume.disconnected) == (0, 1)
        after = await rig.picture(ctx)
        assert {k for k in before if before[k] != after[k]} == {(1, 2), ("volume", 1)}

        # Pipelined behind it: fenced, whatever volume; the other set goes on.
        await refuse(ctx, Code.FENCED, tag=3, places=[(0, 0)])
        await refuse(ctx, Code.FENCED, tag=3, places=[(1, 2)])
        await rig.commit(ctx, 4, [(2, 0)])
        # RESUME lifts the fence, a disconnected volume puts it back.
        await refuse(ctx, Code.DISCONNECTED, 1 | 1 << 8 | 4 << 16, tag=5, flags=Flag.RESUME,
                     places=[(0, 3), (1, 4)])
        await refuse(ctx, Code.FENCED, tag=6, places=[(0, 0)])
        await rig.commit(ctx, 7, [(0, 0)], flags=Flag.RESUME)
        await rig.commit(ctx, 8, [(0, 1)])
        # An earlier fault leaves the fence alone.
        await refuse(ctx, Code.COLLISION, 0 | 0 << 8 | 1 << 16, tag=9, places=[(0, 1)])
        await refuse(ctx, Code.SPANS_SETS, 1 | 2 << 8 | 1 << 16, tag=10, flags=Flag.RESUME,
                     places=[(0, 2), (2, 1)])
        await refuse(ctx, Code.FENCED, tag=11, places=[(0, 2)])
        assert (destages, disconnects) == ([0, 0], [1, 0])

    simulate_with(rig, bench, watch)


@pytest.mark.requirement("R06")
def test_collision_with_a_track_in_a_packet_asks_for_nothing():
    rig = Rig()
    destages = []

    async def watch(ctx):
        async for _, _, destage in ctx.tick().sample(rig.dut.destage):
            if destage.valid:
                destages.append(destage.set)

    async def bench(ctx):
        index = rig.geometry.index(0, 1)
        await rig.set_state(ctx, index, slot=1, pending=1, packet=1)
        await rig.refuse(ctx, Code.COLLISION, 1 << 16, tag=1, places=[(0, 1)])
        state = await rig.state(ctx, index)
        assert (state.slot, state.pending, state.packet, state.waiter) == (1, 1, 1, 1)
        assert destages == []

    simulate_with(rig, bench, watch)


def simulate_with(rig, bench, watch):
    async def ready(ctx):
        await rig.ready(ctx)
        await bench(ctx)
    simulate(rig, ready, clocks=30_000, background=[rig.monitor, watch])


@pytest.mark.requirement("R27")
@pytest.mark.parametrize(("tag", "index", "length", "code", "error"), [
    (1, 2, TRACK, Code.UNEXPECTED_WRITE, False),        # an index left out
    (1, 0, TRACK, Code.UNEXPECTED_WRITE, False),        # an index repeated
    (1, 1, TRACK - 1, Code.BAD_LENGTH, False),
    (1, 1, 0, Code.BAD_LENGTH, False),
    (2, 1, TRACK, Code.CHAIN_ABORTED, True),            # another chain's
])
def test_bad_write_aborts_the_chain(tag, index, length, code, error):
    rig = Rig()

    async def bench(ctx):
        before = await rig.picture(ctx)
        await rig.chain(ctx, 1, [(0, 0), (0, 1), (0, 2)])
        await rig.write(ctx, 1, 0)
        # A wrong tag is answered twice before it is taken, so listen meanwhile.
        await ticks(ctx, 2)
        answers = []
        ctx.set(rig.dut.events.payload, {
            "type": Type.WRITE, "length": length,
            "header": header_bits(Type.WRITE, tag=tag, index=index)})
        ctx.set(rig.dut.events.valid, 1)
        taken = False
        ctx.set(rig.dut.status.ready, 1)
        for _ in range(30):
            _, _, ready, valid, payload = await ctx.tick().sample(
                rig.dut.events.ready, rig.dut.status.valid, rig.dut.status.payload)
            if ready and not taken:
                taken = True
                ctx.set(rig.dut.events.valid, 0)
            if valid:
                answers.append(fields_of(payload))
        ctx.set(rig.dut.status.ready, 0)
        assert taken
        expected = [(Type.CHAIN_STATUS, {"tag": 1, "code": code, "set": 0, "detail": 0})]
        if error:
            expected.append((Type.ERROR, {"tag": tag, "code": Code.UNEXPECTED_WRITE,
                                          "type": Type.WRITE}))
        assert answers == expected
        assert await rig.picture(ctx) == before
        await rig.write(ctx, 1, 1)                  # the rest of the aborted chain: swallowed
        await rig.write(ctx, 1, 2)
        await ticks(ctx, 20)
        assert not ctx.get(rig.dut.status.valid)
        assert await rig.commit(ctx, 1, [(0, 0)]) == 1

    rig.run(bench)


def test_new_session_aborts_silently():
    rig = Rig()

    async def bench(ctx):
        before = await rig.picture(ctx)
        await rig.chain(ctx, 1, [(0, 0), (0, 1)])
        await rig.write(ctx, 1, 0)
        ctx.set(rig.dut.new_session, 1)
        await ctx.tick()
        ctx.set(rig.dut.new_session, 0)
        await ticks(ctx, 30)
        assert not ctx.get(rig.dut.chain_open)
        assert await rig.picture(ctx) == before
        assert not ctx.get(rig.dut.status.valid)
        type_, fields = await rig.stray(ctx, 1, 1)  # of the old session: nobody knows it
        assert (type_, fields["code"]) == (Type.ERROR, Code.UNEXPECTED_WRITE)

        # During a commit: the chain stands, its answer does not reach the new session.
        await rig.chain(ctx, 2, [(0, 0)])
        await rig.write(ctx, 2, 0)
        ctx.set(rig.dut.new_session, 1)
        await ctx.tick()
        ctx.set(rig.dut.new_session, 0)
        await ticks(ctx, 40)
        assert not ctx.get(rig.dut.status.valid)
        assert await rig.commit(ctx, 3, [(0, 1)]) == 2
        await ctx.tick()
        assert len(rig.monitor.taken) == 2

    rig.run(bench)


@pytest.mark.requirement("R24")
def test_longest_chain_and_pipelined_chains():
    """Random chains of every length, each CHAIN offered while the one before is answered."""
    rng = seeded(10)
    rig = Rig()
    expected = [[], []]

    async def listener(ctx):
        while True:
            await stream_get(ctx, rig.dut.status)

    async def bench(ctx):
        await rig.ready(ctx)
        left = {0: [(v, t) for v in (0, 1) for t in range(5)], 1: [(2, t) for t in range(5)]}
        tag = 0
        while left[0] or left[1]:
            set_ = rng.choice([s for s in left if left[s]])
            count = min(len(left[set_]), rng.randint(1, SMALL.chain_limit))
            places = [left[set_].pop(rng.randrange(len(left[set_]))) for _ in range(count)]
            expected[set_] += [(*p, n == 0) for n, p in enumerate(places)]
            tag += 1
            await rig.chain(ctx, tag, places)
            for index in range(count):
                await rig.write(ctx, tag, index)
        await ticks(ctx, 100)
        for set_ in (0, 1):
            assert await rig.order(ctx, set_) == expected[set_]
        answers = [fields_of(payload)[1] for payload in rig.monitor.taken]
        assert [a["tag"] for a in answers] == list(range(1, tag + 1))
        assert {a["code"] for a in answers} == {Code.OK}

    simulate(rig, bench, clocks=50_000, background=[rig.monitor, listener])


def test_nothing_is_awaited_under_the_lock():
    """With the answer refused for ever, the lock is free all the same."""
    rig = Rig()

    async def bench(ctx):
        await rig.chain(ctx, 1, [(0, 0), (3, 0)])
        await ticks(ctx, 20)
        assert ctx.get(rig.dut.status.valid)
        await rig.lock(ctx)
        await rig.unlock(ctx)
        ctx.set(rig.dut.events.valid, 1)
        await ticks(ctx, 20)
        assert not ctx.get(rig.dut.events.ready)        # one chain at a time

    rig.run(bench)


@pytest.mark.parametrize("mutation", [None, "pending_not_set", "end_of_chain_dropped",
                                      "slot_freed_while_pending"])
def test_mutations_show(mutation):
    """What the deliberate faults of this component do; without one, all is well."""
    rig = Rig(mutation=mutation)

    async def bench(ctx):
        await rig.commit(ctx, 1, [(0, 0)])
        await rig.commit(ctx, 2, [(0, 1)])
        state = await rig.state(ctx, rig.geometry.index(0, 0))
        assert state.pending == (mutation != "pending_not_set")
        marks = [begins for _, _, begins in await rig.order(ctx, 0)]
        assert marks == [True, mutation != "end_of_chain_dropped"]
        await ticks(ctx, 5)
        free = set()
        ctx.set(rig.drain, 1)
        for _ in range(SMALL.spare_slots):
            slot, = await until(ctx, rig.free.pop.valid, rig.free.pop.payload)
            free.add(slot)
        ctx.set(rig.drain, 0)
        assert (state.slot in free) == (mutation == "slot_freed_while_pending")

    rig.run(bench)
