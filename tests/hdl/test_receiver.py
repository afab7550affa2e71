import itertools

import pytest
from amaranth import *
from amaranth.lib.wiring import connect

from firmware_model.wire import SetWord, TargetFlag, Type
from hdl.receiver import Receiver
from hdl.slotwriter import SlotWriter

from .target_bench import SMALL, Tables, seeded, send, send_data, send_order, simulate

G = SMALL
FREE = G.target_slots - G.tracks - G.links      # slots on the list when all is quiet


class Bench(Elaboratable):
    """A receiver with its writers and tables, without a commit engine."""

    def __init__(self, geometry=G):
        self.tables = Tables(geometry, lockers=1, fetchers=geometry.links + 1)
        self.dut = Receiver(geometry)
        self.writers = [SlotWriter(geometry) for _ in range(geometry.links)]
        self.counts = dict.fromkeys(("duplicate", "rejected", "due", "progress"), 0)
        self.notices = []
        self.begun = False

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = tables = self.tables
        m.submodules.dut = dut = self.dut
        clients = tables.arbiter.clients
        connect(m, dut.meta, tables.metadata.clients[0])
        connect(m, dut.memory, clients[len(self.writers)])
        connect(m, dut.free, tables.free.push)
        wanted = Const(1)
        for n, writer in enumerate(self.writers):
            m.submodules[f"writer_{n}"] = writer
            connect(m, writer.memory, clients[n])
            m.d.comb += [
                writer.slots.payload.eq(tables.free.pop.payload),
                writer.slots.valid.eq(tables.free.pop.valid & wanted),
                dut.slot[n].eq(writer.slot),
                dut.slot_valid[n].eq(writer.slot_valid),
                writer.take.eq(dut.take[n]),
            ]
            wanted &= ~writer.slots.ready
        m.d.comb += tables.free.pop.ready.eq(~wanted)
        return m

    async def watch(self, ctx):
        dut = self.dut
        async for _, _, duplicate, rejected, due, progress in ctx.tick().sample(
                dut.duplicate, dut.rejected, dut.due, dut.progress):
            self.counts["duplicate"] += duplicate
            self.counts["rejected"] += rejected
            self.counts["due"] += due.valid
            self.counts["progress"] += progress.valid
            for name, notice in (("due", due), ("progress", progress)):
                if notice.valid:
                    self.notices.append((name, int(notice.set)))

    def run(self, testbench, clocks=200_000):
        async def bench(ctx):
            await self.begin(ctx)
            await testbench(ctx)
        simulate(self, bench, background=[self.watch], clocks=clocks)

    async def begin(self, ctx):
        """All sets follow, as the follower would have left them."""
        await self.tables.ready(ctx)
        for set_ in range(self.tables.geometry.sets):
            await self.tables.page(ctx, set_, SetWord.FLAGS, TargetFlag.FOLLOWING)
        self.begun = True

    # -- frames ----------------------------------------------------------------------------

    async def data(self, ctx, gseq, volume, track, payload=None, *, link=0, set_=0, epoch=0):
        if payload is None:
            payload = bytes([16 * volume + track]) * G.track_bytes
        await send_data(ctx, self.writers[link].sink, self.dut.events[link],
                        (set_, epoch, gseq), volume, track, payload)

    async def order(self, ctx, gseq, entries, *, link=0, set_=0, epoch=0):
        await send_order(ctx, self.writers[link].sink, self.dut.events[link],
                         (set_, epoch, gseq), entries)

    async def frame(self, ctx, type_, payload, *, link=0, **fields):
        await send(ctx, self.writers[link].sink, self.dut.events[link], type_, payload, **fields)

    async def settle(self, ctx):
        await ctx.tick().repeat(300)

    # -- what must hold --------------------------------------------------------------------

    async def assert_dropped(self, ctx, *, duplicate=0, rejected=0, due=0, staged=0):
        """Nothing of what came had an effect but on the counters."""
        await self.settle(ctx)
        assert self.counts == {"duplicate": duplicate, "rejected": rejected, "due": due,
                               "progress": staged}
        assert ctx.get(self.tables.free.level) == FREE - staged, "slots lost or doubled"


async def staged_data(bench, ctx, volume, track):
    """Data staged for a track, or None."""
    state = await bench.tables.state(ctx, G.index(volume, track))
    return await bench.tables.data(ctx, state.staged_slot) if state.staged else None


def test_stages_data_before_and_after_the_order_packet():
    bench = Bench()
    entries = [(0, 3, False), (1, 5, True), (0, 0, True)]

    async def testbench(ctx):
        await bench.data(ctx, 1, 0, 3)
        await bench.order(ctx, 1, entries, link=1)
        await bench.data(ctx, 1, 1, 5, link=1)
        await bench.data(ctx, 1, 0, 0)
        await bench.settle(ctx)
        assert bench.counts == {"duplicate": 0, "rejected": 0, "due": 0, "progress": 4}
        assert bench.notices == [("progress", 0)] * 4
        assert await bench.tables.group(ctx, 0, 1) == (G.index(0, 3), 3, 3)
        for volume, track, _ in entries:
            assert await staged_data(bench, ctx, volume, track) == bytes(
                [16 * volume + track]) * G.track_bytes
        first = await bench.tables.link(ctx, G.index(0, 3))
        assert (first.next, first.end_of_chain) == (G.index(1, 5), 0)
        second = await bench.tables.link(ctx, G.index(1, 5))
        assert (second.next, second.end_of_chain) == (G.index(0, 0), 1)
        for index in range(G.tracks_per_volume):
            state = await bench.tables.state(ctx, index)
            assert state.slot == index, "what readers see has not changed"
        assert ctx.get(bench.tables.free.level) == FREE - 3

    bench.run(testbench)


@pytest.mark.requirement("R18")
def test_several_groups_of_two_sets_in_any_order():
    rng = seeded(5)
    groups = {(0, 1): [(0, 0, 1), (0, 1, 1)], (0, 2): [(0, 2, 0), (0, 3, 1)], (0, 3): [(0, 4, 1)],
              (1, 1): [(1, 0, 0), (1, 1, 0), (1, 2, 1)], (1, 2): [(1, 5, 1), (1, 4, 1)]}
    for _ in range(3):
        frames = [("order", key, None) for key in groups]
        frames += [("data", key, entry) for key, entries in groups.items() for entry in entries]
        rng.shuffle(frames)
        queues = [frames[0::2], frames[1::2]]
        bench = Bench()
        done = []

        def feeder(link, frames, bench=bench, done=done):
            async def feed(ctx):
                while not bench.begun:
                    await ctx.tick()
                for kind, (set_, gseq), entry in frames:
                    if kind == "order":
                        await bench.order(ctx, gseq, groups[set_, gseq], link=link, set_=set_)
                    else:
                        await bench.data(ctx, gseq, *entry[:2], link=link, set_=set_)
                await bench.settle(ctx)
                done.append(link)
            return feed

        async def check(ctx, bench=bench, done=done):
            await bench.begin(ctx)
            while len(done) < 2:
                await ctx.tick()
            for (set_, gseq), entries in groups.items():
                head = G.index(*entries[0][:2])
                assert await bench.tables.group(ctx, set_, gseq) == (
                    head, len(entries), len(entries))
                for (volume, track, ends), after in itertools.pairwise(entries):
                    link = await bench.tables.link(ctx, G.index(volume, track))
                    assert (link.next, link.end_of_chain) == (G.index(*after[:2]), ends)
            assert ctx.get(bench.tables.free.level) == FREE - 10
            assert bench.counts["duplicate"] == bench.counts["rejected"] == 0

        simulate(bench, feeder(0, queues[0]), feeder(1, queues[1]), check,
                 background=[bench.watch])


def test_duplicates_are_dropped():
    bench = Bench()

    async def testbench(ctx):
        await bench.data(ctx, 1, 0, 3, b"first" + bytes(G.track_bytes - 5))
        await bench.data(ctx, 1, 0, 3, b"again" + bytes(G.track_bytes - 5))
        await bench.order(ctx, 1, [(0, 3, True)])
        await bench.order(ctx, 1, [(0, 3, True)])
        await bench.settle(ctx)
        assert bench.counts == {"duplicate": 2, "rejected": 0, "due": 0, "progress": 2}
        assert await bench.tables.group(ctx, 0, 1) == (G.index(0, 3), 1, 1)
        assert (await staged_data(bench, ctx, 0, 3))[:5] == b"first"
        assert ctx.get(bench.tables.free.level) == FREE - 1

    bench.run(testbench)


def test_track_of_a_complete_group_is_not_staged_again():
    """As between two chains of a group: the track is committed, its group is not done."""
    bench = Bench()

    async def testbench(ctx):
        await bench.data(ctx, 1, 0, 3)
        await bench.data(ctx, 1, 0, 4)
        await bench.order(ctx, 1, [(0, 3, True), (0, 4, True)])
        await bench.settle(ctx)
        state = await bench.tables.state(ctx, G.index(0, 3))
        await bench.tables._write(ctx, "state", G.index(0, 3),
                                  {"slot": state.staged_slot, "staged_slot": 0, "staged": 0})
        await bench.data(ctx, 1, 0, 3)
        await bench.settle(ctx)
        assert bench.counts["duplicate"] == 1
        assert await staged_data(bench, ctx, 0, 3) is None
        assert await bench.tables.group(ctx, 0, 1) == (G.index(0, 3), 2, 2)

    bench.run(testbench)


@pytest.mark.parametrize(("done", "stale", "future"), [
    (7, [7, 6, 1, 7 - 0x7FFF], [12, 13, 7 + 0x7FFF]),
    (65534, [65534, 65533, 40000], [65534 + 5, 5]),
    (0, [0, 65535], [5, 0x7FFF]),
])
def test_window(done, stale, future):
    bench = Bench()

    async def testbench(ctx):
        await bench.tables.page(ctx, 1, SetWord.DONE, done)
        due = rejected = 0
        for gseq in stale:
            await bench.data(ctx, gseq % 65536, 0, 1, set_=1)
            await bench.order(ctx, gseq % 65536, [(0, 1, True)], set_=1)
            due += 2
            await bench.assert_dropped(ctx, duplicate=due, rejected=rejected, due=due)
            assert bench.notices[-1] == ("due", 1)
        for gseq in future:
            await bench.data(ctx, gseq % 65536, 0, 1, set_=1)
            await bench.order(ctx, gseq % 65536, [(0, 1, True)], set_=1)
            rejected += 2
            await bench.assert_dropped(ctx, duplicate=due, rejected=rejected, due=due)
        for ahead in range(1, G.groups_in_flight + 1):
            await bench.data(ctx, (done + ahead) % 65536, 0, ahead, set_=1)
        await bench.settle(ctx)
        for ahead in range(1, G.groups_in_flight + 1):
            assert (await bench.tables.group(ctx, 1, (done + ahead) % 65536))[1:] == (0, 1)

    bench.run(testbench)


TRACK = bytes(G.track_bytes)
FINE = {"set": 0, "epoch": 0, "gseq": 1}


@pytest.mark.parametrize(("type_", "payload", "fields"), [
    pytest.param(Type.DATA, TRACK, {**FINE, "set": G.sets}, id="set"),
    pytest.param(Type.DATA, TRACK, {**FINE, "set": 128}, id="set-high-bit"),
    pytest.param(Type.DATA, TRACK, {**FINE, "epoch": 1}, id="epoch"),
    pytest.param(Type.DATA, TRACK, {**FINE, "volume": G.volumes}, id="volume"),
    pytest.param(Type.DATA, TRACK, {**FINE, "volume": 0x80}, id="volume-bit-7"),
    pytest.param(Type.DATA, TRACK, {**FINE, "track": G.tracks_per_volume}, id="track"),
    pytest.param(Type.DATA, TRACK, {**FINE, "track": 0x0100}, id="track-high-byte"),
    pytest.param(Type.DATA, TRACK[1:], FINE, id="short"),
    pytest.param(Type.DATA, TRACK + b"x", FINE, id="long"),
    pytest.param(Type.DATA, b"", FINE, id="empty"),
    pytest.param(Type.ORDER, b"\x80\0\0", {**FINE, "count": 2}, id="order-short"),
    pytest.param(Type.ORDER, b"\x80\0\0" * 2, {**FINE, "count": 1}, id="order-long"),
    pytest.param(Type.ORDER, b"", {**FINE, "count": 0}, id="order-empty"),
    pytest.param(Type.ORDER, b"\x80\0\0" * (G.group_limit + 1),
                 {**FINE, "count": G.group_limit + 1}, id="order-beyond-limit"),
    pytest.param(Type.ORDER, bytes([0x80 | G.volumes, 0, 0]), {**FINE, "count": 1},
                 id="order-volume"),
    pytest.param(Type.ORDER, bytes([0x80, G.tracks_per_volume, 0]), {**FINE, "count": 1},
                 id="order-track"),
    pytest.param(Type.ORDER, bytes([0, 0, 0, 0x80, 0, 1]), {**FINE, "count": 2},
                 id="order-last-entry"),
    pytest.param(Type.ORDER, bytes([0x80, 1, 0, 0x00, 2, 0]), {**FINE, "count": 2},
                 id="order-open-chain"),
    pytest.param(Type.ORDER, b"\x80\0\0", {**FINE, "count": 1, "epoch": 3}, id="order-epoch"),
    pytest.param(Type.ORDER, b"\x80\0\0", {**FINE, "count": 1, "set": G.sets}, id="order-set"),
    pytest.param(Type.STATUS, b"", FINE, id="status"),
    pytest.param(Type.CHAIN, b"\0\0\0", {"count": 1}, id="chain"),
])
def test_malformed_frames_are_dropped(type_, payload, fields):
    bench = Bench()

    async def testbench(ctx):
        await bench.data(ctx, 1, 0, 0)      # what must stay as it is
        await bench.settle(ctx)
        before = [await bench.tables.state(ctx, i) for i in range(1 << G.track_index_bits)]
        links = [await bench.tables.link(ctx, i) for i in range(1 << G.track_index_bits)]
        await bench.frame(ctx, type_, payload, link=1, **fields)
        await bench.assert_dropped(ctx, rejected=1, staged=1)
        assert before == [await bench.tables.state(ctx, i) for i in range(1 << G.track_index_bits)]
        assert links == [await bench.tables.link(ctx, i) for i in range(1 << G.track_index_bits)]
        for gseq in range(1, 5):
            assert (await bench.tables.group(ctx, 0, gseq))[1:] == (0, int(gseq == 1))
        await bench.data(ctx, 1, 0, 1, link=1)
        await bench.order(ctx, 1, [(0, 1, True), (0, 0, True)], link=1)
        await bench.settle(ctx)
        assert await bench.tables.group(ctx, 0, 1) == (1, 2, 2), "the next frames are served"

    bench.run(testbench)


def test_longest_order_packet():
    geometry = G
    bench = Bench()
    entries = [(v, t, t % 2 == 1) for v in range(2) for t in range(5)]
    entries[-1] = (1, 4, True)
    assert len(entries) == geometry.group_limit

    async def testbench(ctx):
        await bench.order(ctx, 1, entries, link=1)
        await bench.tables.ready(ctx)
        await ctx.tick().repeat(600)
        assert await bench.tables.group(ctx, 0, 1) == (0, len(entries), 0)
        for (volume, track, ends), after in itertools.pairwise(entries):
            link = await bench.tables.link(ctx, G.index(volume, track))
            assert (link.next, link.end_of_chain) == (G.index(*after[:2]), ends)

    bench.run(testbench)


def test_lock_is_never_held_for_long():
    bench = Bench()
    entries = [(v, t, t == 4) for v in range(2) for t in range(5)]
    longest = [0]

    async def watch(ctx):
        held = 0
        async for _, _, gnt in ctx.tick().sample(bench.dut.meta.gnt):
            held = held + 1 if gnt else 0
            longest[0] = max(longest[0], held)

    async def testbench(ctx):
        await bench.begin(ctx)
        await bench.order(ctx, 1, entries)
        for volume, track, _ in entries:
            await bench.data(ctx, 1, volume, track)
        await ctx.tick().repeat(600)
        assert await bench.tables.group(ctx, 0, 1) == (0, 10, 10)
        assert 4 <= longest[0] <= 9

    simulate(bench, testbench, background=[watch])
