"""The sequencer: whole chains in every group, cumulative status, nothing cleared too early."""

import pytest

from firmware_model.wire import SetWord, TargetFlag, Type
from hdl.mutations import Mutation
from hdl.sequencer import Sequencer, StatusFilter

from .source_bench import (
    FOLLOWS,
    LIFE,
    SMALL,
    SetsRig,
    header_bits,
    places,
    simulate,
    stream_get,
    stream_put,
    until,
)

W = SetWord


class Rig(SetsRig):
    """A Sequencer on real tables; notes its pulses."""

    def __init__(self, geometry=SMALL, mutation=None):
        super().__init__(Sequencer(geometry, mutation=mutation), geometry,
                         ("group", "group_track", "polled", "group_done", "resent", "rejected",
                          "walking"), settle=60, status_settle=80)
        self.notices = []

    async def listen(self, ctx):
        async for _, _, notice in ctx.tick().sample(self.dut.notice):
            if notice.valid:
                self.notices.append((notice.set, bool(notice.rewound)))

    def run(self, bench, clocks=20_000):
        async def ready(ctx):
            await self.ready(ctx)
            ctx.set(self.dut.life, LIFE)
            for set_ in range(self.geometry.sets):
                await self.status(ctx, set_, 0)
            self.notices.clear()
            await bench(ctx)
        simulate(self, ready, clocks=clocks, background=[self.watch, self.listen])


@pytest.mark.requirement("R07", "R16", "R28")
def test_cut_takes_everything_and_clear_gives_it_back():
    rig = Rig()
    tracks = places((0, 0), (1, 4), (0, 3))

    async def bench(ctx):
        await rig.thread(ctx, 0, [tracks[:2], tracks[2:]])
        slots = [(await rig.state(ctx, t)).slot for t in tracks]
        await rig.pulse(ctx, "destage", 1)
        assert await rig.flags(ctx, tracks) == [(1, 1, 0)] * 3
        assert await rig.words(ctx, 0, W.UNSENT, W.NEXT, W.SENT, W.DONE) == (0, 2, 0, 0)
        assert await rig.record(ctx, 0, 1) == (tracks[0], 3)
        assert ctx.get(rig.dut.credit) == SMALL.staging_slots - 3
        assert ctx.get(rig.dut.destaging) == 0
        assert rig.notices == [(0, False)]
        assert rig.pulses["group"] == 1
        assert rig.pulses["group_track"] == 3
        assert rig.pulses["polled"] == 0

        await rig.page(ctx, 0, W.SENT, 1)
        await rig.page(ctx, 0, W.AGE, 5)
        await rig.status(ctx, 0, 1)
        assert await rig.flags(ctx, tracks) == [(0, 0, 0)] * 3
        assert [(await rig.state(ctx, t)).slot for t in tracks] == slots
        assert await rig.words(ctx, 0, W.DONE, W.SENT, W.ACKED_LOW, W.AGE) == (1, 1, 2, 0)
        assert ctx.get(rig.dut.credit) == SMALL.staging_slots
        assert rig.pulses["group_done"] == 1
        assert not ctx.get(rig.dut.fault)

    rig.run(bench)


@pytest.mark.requirement("R10", "R28")
def test_poll_cuts_every_set_once():
    rig = Rig()

    async def bench(ctx):
        await rig.thread(ctx, 0, [places((0, 0))])
        await rig.thread(ctx, 1, [places((2, 1), (2, 2))])
        await rig.pulse(ctx, "poll")
        assert sorted(rig.notices) == [(0, False), (1, False)]
        assert rig.pulses["polled"] == 2
        await rig.pulse(ctx, "poll")            # nothing is unsent now
        assert rig.pulses["group"] == 2

    rig.run(bench)


@pytest.mark.requirement("R11", "R16")
def test_groups_are_whole_chains_under_small_credit():
    """Chains of 3, 3, 2 and 4 tracks against 8 staging slots, chains up to 4: the first group may
    end only where less than a longest chain is left."""
    rig = Rig()
    every = [(v, t) for v in (0, 1) for t in range(5)] + [(2, 0), (2, 1)]
    tracks = places(*every)
    chains = [tracks[:3], tracks[3:6], tracks[6:8], tracks[8:12]]

    async def bench(ctx):
        await rig.thread(ctx, 0, chains)
        await rig.pulse(ctx, "destage", 1)
        # 3 leave 5: another may start; 6 leave 2: not enough for a longest chain.
        assert await rig.record(ctx, 0, 1) == (tracks[0], 6)
        assert await rig.words(ctx, 0, W.FIRST, W.UNSENT, W.NEXT) == (tracks[6], 6, 2)
        assert ctx.get(rig.dut.credit) == 2
        assert ctx.get(rig.dut.destaging) == 1          # still wanted, but no credit
        assert len(rig.notices) == 1
        assert await rig.flags(ctx, tracks) == [(1, 1, 0)] * 6 + [(1, 0, 0)] * 6
        await rig.status(ctx, 0, 1, settle=150)
        assert await rig.record(ctx, 0, 2) == (tracks[6], 6)
        assert await rig.words(ctx, 0, W.UNSENT, W.NEXT, W.ACKED_LOW) == (0, 3, 2)
        assert ctx.get(rig.dut.destaging) == 0
        assert rig.pulses["polled"] == 0

    rig.run(bench)


@pytest.mark.requirement("R18", "R28")
def test_cumulative_status_and_group_limit_in_flight():
    rig = Rig()
    a, b, c = (places((0, n)) for n in range(3))

    async def bench(ctx):
        for chain in (a, b, c):
            await rig.thread(ctx, 0, [chain])
            await rig.pulse(ctx, "destage", 1)
        # groups_in_flight is 2: the third waits.
        assert await rig.words(ctx, 0, W.NEXT, W.UNSENT) == (3, 1)
        assert rig.notices == [(0, False)] * 2
        await rig.status(ctx, 0, 2, settle=150)
        assert await rig.flags(ctx, a + b + c) == [(0, 0, 0), (0, 0, 0), (1, 1, 0)]
        assert await rig.words(ctx, 0, W.DONE, W.NEXT, W.UNSENT, W.ACKED_LOW) == (2, 4, 0, 2)
        assert await rig.words(ctx, 0, W.SENT) == (2,)      # what is done need not be sent
        assert rig.pulses["group_done"] == 2
        await rig.status(ctx, 0, 3)
        assert ctx.get(rig.dut.credit) == SMALL.staging_slots

    rig.run(bench)


@pytest.mark.requirement("R23")
def test_status_that_is_not_awaited_is_ignored():
    rig = Rig()
    track = places((0, 0))

    async def bench(ctx):
        await rig.status(ctx, 0, 0)
        await rig.status(ctx, 0, 1)             # nothing was cut yet
        await rig.thread(ctx, 0, [track])
        await rig.pulse(ctx, "destage", 1)
        for set_, gseq, epoch in ((0, 0, 0), (0, 2, 0), (0, 65535, 0), (0, 1, 1), (1, 1, 0),
                                  (2, 1, 0), (16, 1, 0), (255, 1, 0)):
            await rig.status(ctx, set_, gseq, epoch)
            assert await rig.flags(ctx, track) == [(1, 1, 0)], (set_, gseq, epoch)
        assert rig.pulses["rejected"] == 3      # sets that do not exist
        await rig.status(ctx, 0, 1)
        assert await rig.flags(ctx, track) == [(0, 0, 0)]
        await rig.status(ctx, 0, 1)             # repeated
        assert rig.pulses["group_done"] == 1
        assert ctx.get(rig.dut.credit) == SMALL.staging_slots

    rig.run(bench)


def test_sequence_numbers_wrap():
    rig = Rig()
    a, b = places((0, 0)), places((0, 1))

    async def bench(ctx):
        for word in (W.SENT, W.DONE):
            await rig.page(ctx, 0, word, 65534)
        await rig.page(ctx, 0, W.NEXT, 65535)
        for chain in (a, b):
            await rig.thread(ctx, 0, [chain])
            await rig.pulse(ctx, "destage", 1)
        assert await rig.words(ctx, 0, W.NEXT) == (1,)
        assert await rig.record(ctx, 0, 65535) == (a[0], 1)
        assert await rig.record(ctx, 0, 0) == (b[0], 1)
        await rig.status(ctx, 0, 65535)
        assert await rig.flags(ctx, a + b) == [(0, 0, 0), (1, 1, 0)]
        await rig.status(ctx, 0, 0)
        assert await rig.flags(ctx, a + b) == [(0, 0, 0), (0, 0, 0)]
        assert await rig.words(ctx, 0, W.DONE, W.SENT) == (0, 0)

    rig.run(bench)


@pytest.mark.requirement("R09", "R28")
def test_waiter_is_reconnected_with_its_own_group():
    rig = Rig()
    a, b = places((0, 0)), places((0, 1), (1, 0))

    async def bench(ctx):
        for chain in (a, b):
            await rig.thread(ctx, 0, [chain])
            await rig.pulse(ctx, "destage", 1)
        state = await rig.state(ctx, b[0])
        await rig.set_state(ctx, b[0], slot=state.slot, pending=1, packet=1, waiter=1)
        await rig.volume(ctx, 0, {"set": 0, "disconnected": 1})
        await rig.status(ctx, 0, 1)
        assert rig.reconnected == []
        assert (await rig.volume(ctx, 0)).disconnected
        await rig.status(ctx, 0, 2)
        assert rig.reconnected == [(0, 1)]
        volume = await rig.volume(ctx, 0)
        assert (volume.set, volume.disconnected) == (0, 0)
        assert not ctx.get(rig.dut.fault)

    rig.run(bench)


@pytest.mark.requirement("R23", "R28")
def test_timeout_rewinds_sent():
    rig = Rig()
    track = places((0, 0))

    async def bench(ctx):
        ctx.set(rig.dut.group_timeout, 2)
        for _ in range(4):
            await rig.pulse(ctx, "slow_tick")
        assert await rig.words(ctx, 0, W.AGE) == (0,)       # nothing is out
        await rig.thread(ctx, 0, [track])
        await rig.pulse(ctx, "destage", 1)
        rig.notices.clear()
        await rig.pulse(ctx, "slow_tick")
        assert await rig.words(ctx, 0, W.AGE) == (0,)       # not everything is sent
        await rig.page(ctx, 0, W.SENT, 1)
        await rig.pulse(ctx, "slow_tick")
        await rig.pulse(ctx, "slow_tick")
        assert await rig.words(ctx, 0, W.AGE, W.SENT) == (2, 1)
        assert rig.notices == []
        await rig.pulse(ctx, "slow_tick")
        assert await rig.words(ctx, 0, W.AGE, W.SENT, W.DONE, W.NEXT) == (0, 0, 0, 2)
        assert rig.notices == [(0, True)]
        assert rig.pulses["resent"] == 1
        # A status for what was rewound still counts, and SENT does not stay behind.
        await rig.status(ctx, 0, 1)
        assert await rig.words(ctx, 0, W.SENT, W.DONE) == (1, 1)
        # 0 means never.
        ctx.set(rig.dut.group_timeout, 0)
        await rig.thread(ctx, 0, [track])
        await rig.pulse(ctx, "destage", 1)
        await rig.page(ctx, 0, W.SENT, 2)
        for _ in range(5):
            await rig.pulse(ctx, "slow_tick")
        assert await rig.words(ctx, 0, W.AGE, W.SENT) == (5, 2)

    rig.run(bench)


@pytest.mark.requirement("R23")
def test_lost_link_rewinds_every_set_with_something_out():
    rig = Rig()

    async def bench(ctx):
        await rig.thread(ctx, 0, [places((0, 0))])
        await rig.pulse(ctx, "destage", 1)
        await rig.page(ctx, 0, W.SENT, 1)
        rig.notices.clear()
        await rig.pulse(ctx, "link_lost")
        assert await rig.words(ctx, 0, W.SENT) == (0,)
        assert rig.notices == [(0, True)]
        assert rig.pulses["resent"] == 1
        # Told again although SENT is DONE: the dispatcher may be in the middle of the group.
        await rig.pulse(ctx, "link_lost")
        assert rig.notices == [(0, True)] * 2
        assert rig.pulses["resent"] == 1

    rig.run(bench)


def test_walks_cost_two_clocks_a_track_whatever_the_volumes():
    """I10: the same chain on small and on large volumes."""
    def clocks(geometry, count):
        rig = Rig(geometry)
        tracks = [geometry.index(0, n) for n in range(count)]

        async def bench(ctx):
            await rig.thread(ctx, 0, [tracks])
            await rig.pulse(ctx, "destage", 1)
            await rig.status(ctx, 0, 1)
            assert rig.pulses["group_done"] == 1
        rig.run(bench)
        return rig.pulses["walking"]

    large = SMALL.replace(tracks_per_volume=500)
    assert clocks(SMALL, 4) == clocks(large, 4)
    assert clocks(SMALL, 4) - clocks(SMALL, 2) == 2 * (2 + 2)       # cut and clear


def test_idle_without_work():
    """Nothing toggles the lock while there is nothing to do."""
    rig = Rig()

    async def bench(ctx):
        await rig.thread(ctx, 0, [places((0, 0))])
        for _ in range(100):
            await ctx.tick()
            assert not ctx.get(rig.dut.meta.req)

    rig.run(bench)


@pytest.mark.parametrize(("mutation", "fault", "early"), [
    (None, False, False),
    (Mutation.PACKET_NOT_SET, True, False),
    ("reconnect_wrong_group", False, True),
])
def test_mutations_show(mutation, fault, early):
    rig = Rig(mutation=mutation)
    a, b = places((0, 0)), places((0, 1))

    async def bench(ctx):
        for chain in (a, b):
            await rig.thread(ctx, 0, [chain])
            await rig.pulse(ctx, "destage", 1)
        state = await rig.state(ctx, b[0])
        await rig.set_state(ctx, b[0], slot=state.slot, pending=1, packet=state.packet, waiter=1)
        await rig.volume(ctx, 0, {"set": 0, "disconnected": 1})
        await rig.status(ctx, 0, 1)
        assert ctx.get(rig.dut.fault) == fault
        assert rig.reconnected == ([(0, 0)] if early else [])

    rig.run(bench)


def test_filter_passes_status_and_drops_the_rest():
    dut = StatusFilter(SMALL)
    rejected = []

    async def watch(ctx):
        async for _, _, bits in ctx.tick().sample(dut.rejected):
            if bits:
                rejected.append(bits)

    async def sender(ctx):
        good = {"type": Type.STATUS, "length": 0,
                "header": header_bits(Type.STATUS, set=1, epoch=2, gseq=0x1234)}
        await stream_put(ctx, dut.events[1], good | {"type": Type.DATA})
        await stream_put(ctx, dut.events[1], good | {"length": 1})
        await stream_put(ctx, dut.events[1], good)
        await stream_put(ctx, dut.events[0], good | {
            "header": header_bits(Type.STATUS, set=3, epoch=0, gseq=1)})

    async def bench(ctx):
        first = await stream_get(ctx, dut.status)
        assert (first.set, first.epoch, first.gseq) == (1, 2, 0x1234)
        second = await stream_get(ctx, dut.status)
        assert (second.set, second.epoch, second.gseq) == (3, 0, 1)
        assert rejected == [2, 2]
        await until(ctx, ~dut.status.valid)

    simulate(dut, sender, bench, background=[watch])


ASKED = TargetFlag.ASKED


class StartRig(Rig):
    """Notes what the liaison and the lines are told, too."""

    def __init__(self):
        super().__init__()
        self.said = []

    async def watch_start(self, ctx):
        dut = self.dut
        async for _, _, request, lost, resynced in ctx.tick().sample(
                dut.request, dut.lost, dut.resynced):
            for name, pulse in (("ask", request.ask), ("begin", request.begin),
                                ("resynced", request.resynced)):
                if pulse:
                    self.said.append((name, int(request.set)))
            if lost:
                self.said.append(("lost", None))
            if resynced:
                self.said.append(("done", None))

    def run(self, bench, clocks=20_000):
        async def ready(ctx):
            await self.ready(ctx)
            ctx.set(self.dut.life, LIFE)
            await bench(ctx)
        simulate(self, ready, clocks=clocks, background=[self.watch, self.listen, self.watch_start])

    def heard(self):
        said, self.said = self.said, []
        return said

    def sets(self, ctx):
        """(running, resyncing, used), a bit a set."""
        return tuple(ctx.get(getattr(self.dut, name)) for name in ("running", "resyncing", "used"))


def test_a_blank_pair_begins():
    rig = StartRig()

    async def bench(ctx):
        await rig.page(ctx, 1, W.EPOCH, 255)
        await rig.status(ctx, 1, 0, epoch=0, flags=0, life=0)
        assert rig.heard() == [("ask", 1)], "the target follows nobody"
        await rig.status(ctx, 1, 0, epoch=255, flags=ASKED, life=LIFE + 1)
        assert rig.heard() == [("ask", 1)], "it follows another life"
        await rig.status(ctx, 1, 0, epoch=255, flags=ASKED)
        assert rig.heard() == [("begin", 1)]
        assert await rig.words(ctx, 1, W.EPOCH) == (0,)
        await rig.status(ctx, 1, 0, epoch=255, flags=ASKED)
        assert rig.heard() == [("begin", 1)], "it was lost: the same again"
        assert await rig.words(ctx, 1, W.EPOCH) == (0,)
        await rig.status(ctx, 1, 0, epoch=7, flags=ASKED)
        assert rig.heard() == [("ask", 1)]
        await rig.status(ctx, 1, 0, epoch=9)
        assert rig.heard() == []
        assert rig.sets(ctx) == (0, 0, 0)
        await rig.status(ctx, 1, 0, epoch=0)
        assert rig.sets(ctx) == (2, 0, 0)
        assert rig.notices == [(1, True)]
        await rig.status(ctx, 1, 0, epoch=255, flags=ASKED)
        assert rig.heard() == [], "late"
        assert rig.sets(ctx) == (2, 0, 0)

    rig.run(bench)


def test_sets_that_do_not_run_ask_at_every_tick():
    rig = StartRig()

    async def bench(ctx):
        await rig.status(ctx, 1, 0)
        await rig.pulse(ctx, "slow_tick")
        assert rig.heard() == [("ask", 0)]

    rig.run(bench)


@pytest.mark.requirement("R23")
def test_target_that_lost_its_memory_is_resynchronised():
    rig = StartRig()
    tracks = places((0, 0), (0, 1))

    async def bench(ctx):
        for set_ in range(2):
            await rig.status(ctx, set_, 0)
        await rig.thread(ctx, 0, [tracks])
        await rig.pulse(ctx, "destage", 1)
        await rig.status(ctx, 0, 1)
        assert rig.sets(ctx) == (3, 0, 1), "something was acknowledged"
        await rig.thread(ctx, 0, [tracks])
        await rig.pulse(ctx, "destage", 1)
        await rig.page(ctx, 0, W.SENT, 2)
        await rig.status(ctx, 0, 0, flags=ASKED)
        assert rig.heard() == [("lost", None)]
        assert rig.sets(ctx) == (0, 0, 1)
        assert await rig.words(ctx, 0, W.EPOCH, W.SENT) == (0, 2)
        await rig.status(ctx, 0, 0, flags=ASKED)
        assert rig.heard() == [("begin", 0)]
        assert rig.sets(ctx) == (0, 1, 1)
        assert await rig.words(ctx, 0, W.EPOCH, W.SENT, W.RESYNC_LOW, W.RESYNC_HIGH) == (
            1, 1, 0xFFFF, 0xFFFF)
        broken = FOLLOWS | TargetFlag.INCONSISTENT
        await rig.status(ctx, 0, 1, epoch=1, flags=broken)
        assert rig.sets(ctx) == (1, 1, 1)
        assert rig.heard() == [], "its end is not known yet"
        await rig.page(ctx, 0, W.RESYNC_LOW, 2)
        await rig.page(ctx, 0, W.RESYNC_HIGH, 0)
        await rig.status(ctx, 0, 1, epoch=1, flags=broken)
        assert rig.heard() == [], "one chain of two is acknowledged"
        await rig.status(ctx, 0, 2, epoch=1, flags=broken)
        assert rig.heard() == [("resynced", 0)]
        assert rig.sets(ctx) == (1, 1, 1)
        await rig.status(ctx, 0, 2, epoch=1)
        assert rig.heard() == [("done", None)]
        assert rig.sets(ctx) == (1, 0, 1)
        # The other set was blank there and here: it just begins.
        await rig.status(ctx, 1, 0, flags=ASKED)
        assert rig.heard() == [("begin", 1)]
        assert rig.sets(ctx) == (1, 0, 1)

    rig.run(bench)
