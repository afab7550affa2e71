"""The dispatcher: every track once, to the link that has room; the order packet on its home."""

import pytest

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, SetWord, Type
from hdl.dispatcher import Dispatcher
from hdl.interfaces import PayloadKind

from .source_bench import (
    SMALL,
    SourceTables,
    fields_of,
    header_bits,
    seeded,
    simulate,
    ticks,
)

FOUR = SMALL.replace(links=4)


class Rig(SourceTables):
    """A Dispatcher whose links take a frame every ``period[n]`` clocks."""

    def __init__(self, geometry=SMALL, period=None):
        super().__init__(Dispatcher(geometry), geometry)
        links = geometry.links
        self.period = list(period or [20] * links)
        self.up = [True] * links
        self.stalled = False    # links show room but take nothing
        self.taken = []         # (link, type, fields, kind, arg)
        self.on_take = lambda: None

    def link(self, n):
        async def process(ctx):
            submit = self.dut.submit[n]
            wait = 0
            while True:
                up = self.up[n]
                room = up and wait == 0
                ctx.set(self.dut.up[n], up)
                ctx.set(self.dut.room[n], room)
                ctx.set(submit.ready, room and not self.stalled)
                _, _, valid, payload = await ctx.tick().sample(submit.valid, submit.payload)
                wait = max(0, wait - 1)
                if valid and room and not self.stalled:
                    self.taken.append((n, *fields_of(payload), payload.kind, payload.arg))
                    wait = self.period[n]
                    self.on_take()
        return process

    def run(self, bench, clocks=20_000):
        async def ready(ctx):
            await self.ready(ctx)
            ctx.set(self.dut.running, (1 << self.geometry.sets) - 1)
            await bench(ctx)
        simulate(self, ready, clocks=clocks,
                 background=[self.link(n) for n in range(self.geometry.links)])

    async def group(self, ctx, set_, gseq, tracks):
        """Lay out group ``gseq`` as a cut leaves it."""
        await self.thread(ctx, set_, [tracks])
        at = SetWord.GROUP + 4 * (gseq % self.geometry.groups_in_flight)
        await self.page(ctx, set_, at + GROUP_HEAD, tracks[0])
        await self.page(ctx, set_, at + GROUP_COUNT, len(tracks))
        await self.page(ctx, set_, SetWord.NEXT, (gseq + 1) & 0xFFFF)

    async def notice(self, ctx, set_, rewound=False):
        ctx.set(self.dut.notice, {"valid": 1, "set": set_, "rewound": rewound})
        await ctx.tick()
        ctx.set(self.dut.notice, {"valid": 0})

    async def settle(self, ctx, frames):
        while len(self.taken) < frames:
            await ctx.tick()
        await ticks(ctx, 60)
        assert len(self.taken) == frames

    async def sent(self, ctx, set_):
        return await self.page(ctx, set_, SetWord.SENT)


@pytest.mark.requirement("R12", "R28")
def test_frames_of_a_group():
    rig = Rig()
    g = rig.geometry
    places = [(0, 4), (1, 0), (0, 2)]
    tracks = [g.index(*p) for p in places]

    async def bench(ctx):
        await rig.page(ctx, 0, SetWord.EPOCH, 7)
        await rig.group(ctx, 0, 1, tracks)
        slots = [(await rig.state(ctx, t)).slot for t in tracks]
        await rig.notice(ctx, 0)
        await rig.settle(ctx, 4)
        name = {"set": 0, "epoch": 7, "gseq": 1}
        for (_, type_, fields, kind, arg), (volume, track), slot in zip(
                rig.taken, places, slots, strict=False):
            assert type_ is Type.DATA
            assert fields == name | {"volume": volume, "track": track}
            assert (kind, arg) == (PayloadKind.SLOT, slot)
        _, type_, fields, kind, arg = rig.taken[3]
        assert (type_, fields) == (Type.ORDER, name | {"count": 3})
        assert (kind, arg) == (PayloadKind.ORDER, 0 << 16 | 1)
        assert await rig.sent(ctx, 0) == 1
        await rig.notice(ctx, 0)                # nothing more to send
        await ticks(ctx, 100)
        assert len(rig.taken) == 4

    rig.run(bench)


@pytest.mark.requirement("R13", "R15")
def test_links_share_by_what_they_can_take():
    """A link three times as fast takes about three times as much."""
    g = SMALL.replace(tracks_per_volume=40, staging_slots=64, track_bytes=256)
    rig = Rig(g, period=[60, 180])
    tracks = [g.index(0, n) for n in range(40)]

    async def bench(ctx):
        await rig.group(ctx, 0, 1, tracks)
        await rig.notice(ctx, 0)
        await rig.settle(ctx, 41)
        data = [frame for frame in rig.taken if frame[1] is Type.DATA]
        assert [f[2]["track"] for f in data] == list(range(40))
        share = sum(f[0] == 0 for f in data)
        assert 27 <= share <= 33
        assert {f[0] for f in data[:2]} == {0, 1}       # at once on both

    rig.run(bench)


@pytest.mark.requirement("R13")
def test_order_packets_do_not_move_the_turn_of_tracks():
    """Groups of one track, whose order packets all go home: the tracks still alternate."""
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        for gseq in range(1, 7):
            await rig.group(ctx, 0, gseq, [g.index(0, gseq % 5)])
            await rig.notice(ctx, 0)
            await rig.settle(ctx, 2 * gseq)
        assert [n for n, type_, *_ in rig.taken if type_ is Type.DATA] in (
            [0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0])
        assert {n for n, type_, *_ in rig.taken if type_ is Type.ORDER} == {0}

    rig.run(bench)


@pytest.mark.requirement("R19", "R23")
@pytest.mark.parametrize("others", range(2))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_rewinds_try_every_link(count, others):
    """However many tracks the group has, and however many sets are rewound in between."""
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        await rig.group(ctx, 0, 1, [g.index(0, n) for n in range(count)])
        await rig.notice(ctx, 0)
        for rewind in range(1, 14):
            await rig.settle(ctx, rewind * (count + 1))
            await rig.page(ctx, 0, SetWord.SENT, 0)
            for _ in range(others):
                await rig.notice(ctx, 1, rewound=True)
            await rig.notice(ctx, 0, rewound=True)
        links = [n for n, type_, fields, *_ in rig.taken if fields.get("track") == 0]
        assert len(links) >= 13
        assert all({0, 1} == set(links[n:n + 7]) for n in range(7))

    rig.run(bench)


@pytest.mark.requirement("R19")
@pytest.mark.parametrize(("set_", "up", "home"), [
    (0, [1, 1, 1, 1], 0), (1, [1, 1, 1, 1], 1), (1, [1, 0, 1, 1], 2), (1, [1, 0, 0, 0], 0),
    (0, [0, 0, 0, 1], 3),
])
def test_order_packet_goes_home_or_to_the_next_link_up(set_, up, home):
    rig = Rig(FOUR)
    rig.up = [bool(bit) for bit in up]

    async def bench(ctx):
        await rig.group(ctx, set_, 1, [FOUR.index(2 * set_, 0)])
        await rig.notice(ctx, set_)
        await rig.settle(ctx, 2)
        assert rig.taken[1][:2] == (home, Type.ORDER)
        assert up[rig.taken[0][0]]

    rig.run(bench)


@pytest.mark.requirement("R18", "R20")
def test_groups_and_sets_take_turns_and_numbers_wrap():
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        for word in (SetWord.SENT, SetWord.DONE):
            await rig.page(ctx, 0, word, 65534)
        await rig.group(ctx, 0, 65535, [g.index(0, 0)])
        await rig.group(ctx, 0, 0, [g.index(0, 1)])
        await rig.group(ctx, 1, 1, [g.index(2, 0)])
        await rig.lock(ctx)                     # all is there before it looks
        await rig.notice(ctx, 0)
        await rig.notice(ctx, 1)
        await rig.unlock(ctx)
        await rig.settle(ctx, 6)
        orders = [(f["set"], f["gseq"]) for _, t, f, _, _ in rig.taken if t is Type.ORDER]
        assert orders == [(0, 65535), (1, 1), (0, 0)]
        assert await rig.sent(ctx, 0) == 0
        assert await rig.sent(ctx, 1) == 1

    rig.run(bench)


@pytest.mark.requirement("R23")
def test_group_acknowledged_meanwhile_is_left():
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        await rig.group(ctx, 0, 1, [g.index(0, n) for n in range(4)])
        rig.period = [200, 200]
        await rig.notice(ctx, 0)
        while len(rig.taken) < 2:
            await ctx.tick()
        await rig.lock(ctx)                     # what the sequencer does at a clear
        await rig.page(ctx, 0, SetWord.DONE, 1)
        await rig.page(ctx, 0, SetWord.SENT, 1)
        await rig.unlock(ctx)
        await ticks(ctx, 800)
        assert len(rig.taken) <= 3              # at most the one on its way
        assert await rig.sent(ctx, 0) == 1

    rig.run(bench)


@pytest.mark.requirement("R23")
def test_rewind_in_the_middle_starts_over():
    """SENT was DONE already, so only the notice tells."""
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        await rig.group(ctx, 0, 1, [g.index(0, n) for n in range(4)])
        rig.period = [100, 100]
        await rig.notice(ctx, 0)
        while len(rig.taken) < 2:
            await ctx.tick()
        await rig.notice(ctx, 0, rewound=True)
        while not any(frame[1] is Type.ORDER for frame in rig.taken):
            await ctx.tick()
        await ticks(ctx, 300)
        data = [f["track"] for _, t, f, _, _ in rig.taken if t is Type.DATA]
        assert data[-4:] == [0, 1, 2, 3]
        assert 6 <= len(data) <= 7
        assert await rig.sent(ctx, 0) == 1

    rig.run(bench)


def test_rewind_of_another_set_does_not_disturb():
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        await rig.group(ctx, 0, 1, [g.index(0, n) for n in range(4)])
        await rig.notice(ctx, 0)
        while len(rig.taken) < 2:
            await ctx.tick()
        await rig.notice(ctx, 1, rewound=True)
        await rig.settle(ctx, 5)

    rig.run(bench)


def test_link_that_goes_down_hands_its_frame_to_another():
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        rig.up = [False, False]
        await rig.group(ctx, 0, 1, [g.index(0, n) for n in range(3)])
        await rig.notice(ctx, 0)
        await ticks(ctx, 100)
        assert rig.taken == []                  # nobody to take it; and it does not hold the lock
        rig.up = [True, False]
        rig.on_take = lambda: rig.up.__setitem__(slice(None), [False, True])
        await rig.settle(ctx, 4)
        assert [f[2].get("track") for f in rig.taken[:3]] == [0, 1, 2]
        assert rig.taken[0][0] == 0
        assert {f[0] for f in rig.taken[1:]} == {1}

    rig.run(bench)


def test_random_links_never_lose_a_track():
    rng = seeded(11)
    rig = Rig(FOUR)
    g = FOUR
    every = [g.index(v, t) for v in (0, 1) for t in range(5)]

    async def bench(ctx):
        for gseq in range(1, 8):
            tracks = rng.sample(every, rng.randint(1, 6))
            rig.period = [rng.randint(5, 80) for _ in range(4)]
            rig.up = [rng.random() < 0.6 for _ in range(4)]
            rig.up[rng.randrange(4)] = True
            rig.taken.clear()
            await rig.group(ctx, 0, gseq, tracks)
            await rig.notice(ctx, 0)
            await rig.settle(ctx, len(tracks) + 1)
            found = [g.index(f["volume"], f["track"])
                     for _, t, f, _, _ in rig.taken if t is Type.DATA]
            assert found == tracks
            assert all(rig.up[frame[0]] for frame in rig.taken)
            assert {f["gseq"] for _, _, f, _, _ in rig.taken} == {gseq}
            assert await rig.sent(ctx, 0) == gseq

    rig.run(bench)


def test_only_sets_that_run_are_sent():
    rig = Rig()
    g = rig.geometry

    async def bench(ctx):
        ctx.set(rig.dut.running, 0b10)
        rig.period = [200, 200]
        for set_, volume in ((0, 0), (1, 2)):
            await rig.group(ctx, set_, 1, [g.index(volume, n) for n in range(4)])
            await rig.notice(ctx, set_)
        await ticks(ctx, 300)
        assert {f["set"] for _, _, f, _, _ in rig.taken} == {1}
        ctx.set(rig.dut.running, 0)             # in the middle of that group
        seen = len(rig.taken)
        await ticks(ctx, 600)
        assert len(rig.taken) <= seen + 1       # at most the one on its way
        assert await rig.sent(ctx, 1) == 0
        ctx.set(rig.dut.running, 0b11)
        await rig.notice(ctx, 1, rewound=True)
        while sum(frame[1] is Type.ORDER for frame in rig.taken) < 2:
            await ctx.tick()
        assert {f["set"] for _, t, f, _, _ in rig.taken if t is Type.ORDER} == {0, 1}

    rig.run(bench)


def control(ctx, rig, set_, type_, **fields):
    """Offer a frame of the liaison."""
    ctx.set(rig.dut.control.payload, {"set": set_, "type": type_,
                                      "header": header_bits(type_, set=set_, **fields)})
    ctx.set(rig.dut.control.valid, 1)


@pytest.mark.parametrize(("up", "link"), [([1, 1, 1, 1], 1), ([1, 0, 1, 1], 2), ([1, 0, 0, 0], 0)])
def test_liaison_frames_go_home_or_to_the_next_link_up(up, link):
    rig = Rig(FOUR)
    rig.up = [bool(bit) for bit in up]

    async def bench(ctx):
        control(ctx, rig, 1, Type.ASK, life=0x0102, epoch=3)
        await ctx.tick().until(rig.dut.control.ready)
        ctx.set(rig.dut.control.valid, 0)
        await rig.settle(ctx, 1)
        assert rig.taken == [(link, Type.ASK, {"set": 1, "life": 0x0102, "epoch": 3},
                              PayloadKind.NONE, 0)]

    rig.run(bench)


@pytest.mark.parametrize("falls", [False, True])
def test_liaison_frame_is_dropped_with_its_link(falls):
    """No link is up; or the one that was chosen goes down before it takes the frame."""
    rig = Rig()
    rig.up = [falls, False]
    rig.stalled = falls

    async def bench(ctx):
        await ticks(ctx, 5)
        control(ctx, rig, 0, Type.ASK, life=1)
        await ticks(ctx, 10)
        if falls:
            assert ctx.get(rig.dut.control.valid & ~rig.dut.control.ready)
            rig.up = [False, False]
        await ctx.tick().until(rig.dut.control.ready)
        ctx.set(rig.dut.control.valid, 0)
        rig.stalled = False
        rig.up = [True, True]
        await rig.settle(ctx, 0)

    rig.run(bench)
