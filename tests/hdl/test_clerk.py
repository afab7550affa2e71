"""The clerk: what its frames say, and what it makes of commit status."""

import pytest

from firmware_model.wire import SetWord, TargetFlag, Type
from hdl.clerk import Clerk, check_clerk
from hdl.clerkprogram import OUTPUTS, WORDS, clerk_program, clerk_state
from hdl.interfaces import DESCRIPTOR_WORDS, PayloadKind
from hdl.microcode import longest

from .source_bench import FOLLOWS, LIFE, SMALL, SetsRig, fields_of, places, simulate, ticks

W = SetWord


class Rig(SetsRig):
    """A Clerk on real tables, with links that take what it offers; notes its pulses and frames."""

    def __init__(self):
        super().__init__(Clerk(SMALL), SMALL,
                         ("group", "group_track", "polled", "group_done", "resent", "rejected",
                          "dispatched", "lost", "resynced", "resync_track"),
                         settle=600, status_settle=700)
        self.frames = []                # (link, type, fields, kind, arg)
        self.room = 0b11                # links that say that they have room,
        self.stopped = 0                # and those of them that take nothing all the same

    async def links(self, ctx):
        dut = self.dut
        while True:
            ctx.set(dut.room, self.room)
            offered = ctx.get(dut.offered)
            if not offered & self.room & ~self.stopped:
                await ctx.tick()
                continue
            words = []
            for number in range(len(DESCRIPTOR_WORDS)):
                ctx.set(dut.asks, 1)
                ctx.set(dut.word, number)
                await ctx.tick()
                words.append(ctx.get(dut.said))
            ctx.set(dut.asks, 0)
            ctx.set(dut.taken, offered)
            await ctx.tick()
            ctx.set(dut.taken, 0)
            header = sum(word << 16 * n for n, word in enumerate(words[1:5]))
            type_, fields = fields_of({"type": words[0] & 0xFF, "header": header})
            self.frames.append((offered.bit_length() - 1, type_, fields,
                                PayloadKind(words[0] >> 8), words[5] | words[6] << 16))

    def run(self, bench, clocks=30_000):
        async def ready(ctx):
            ctx.set(self.dut.up, 0b11)
            await self.ready(ctx)
            ctx.set(self.dut.life, LIFE)
            await bench(ctx)
        simulate(self, ready, clocks=clocks, background=[self.watch, self.links])

    async def follow(self, ctx):
        for set_ in range(SMALL.sets):
            await self.status(ctx, set_, 0)


@pytest.mark.requirement("R07", "R12", "R13", "R16", "R28")
def test_a_group_is_cut_sent_and_cleared():
    rig = Rig()
    tracks = places((0, 0), (1, 4), (0, 3))

    async def bench(ctx):
        await rig.follow(ctx)
        await rig.thread(ctx, 0, [tracks[:2], tracks[2:]])
        slots = [(await rig.state(ctx, t)).slot for t in tracks]
        await rig.pulse(ctx, "destage", 1, settle=2000)
        assert await rig.flags(ctx, tracks) == [(1, 1, 0)] * 3
        assert await rig.words(ctx, 0, W.UNSENT, W.NEXT, W.SENT, W.DONE) == (0, 2, 1, 0)
        assert await rig.record(ctx, 0, 1) == (tracks[0], 3)
        assert ctx.get(rig.dut.credit) == SMALL.staging_slots - 3
        assert ctx.get(rig.dut.destaging) == 0
        head = {"set": 0, "epoch": 0, "gseq": 1}
        assert [frame[1:] for frame in rig.frames] == [
            (Type.DATA, head | {"volume": v, "track": t}, PayloadKind.SLOT, slot)
            for (v, t), slot in zip([(0, 0), (1, 4), (0, 3)], slots, strict=True)
        ] + [(Type.ORDER, head | {"count": 3}, PayloadKind.ORDER, 1)]
        assert {frame[0] for frame in rig.frames} == {0, 1}
        assert rig.pulses["group_track"] == rig.pulses["dispatched"] == 3

        await rig.set_state(ctx, tracks[1], slot=slots[1], pending=1, packet=1, waiter=1)
        await rig.volume(ctx, 1, {"set": 0, "disconnected": 1})
        await rig.status(ctx, 0, 1)
        assert await rig.flags(ctx, tracks) == [(0, 0, 0)] * 3
        assert [(await rig.state(ctx, t)).slot for t in tracks] == slots
        assert await rig.words(ctx, 0, W.DONE, W.SENT, W.ACKED_LOW, W.AGE) == (1, 1, 2, 0)
        assert ctx.get(rig.dut.credit) == SMALL.staging_slots
        assert rig.reconnected == [(1, 4)]
        assert not (await rig.volume(ctx, 1)).disconnected
        assert rig.pulses["group"] == rig.pulses["group_done"] == 1
        assert rig.pulses["polled"] == 0
        assert not ctx.get(rig.dut.fault)

    rig.run(bench)


@pytest.mark.requirement("R23")
@pytest.mark.parametrize("wrong", [
    {"gseq": 2}, {"gseq": 0xFFFF}, {"epoch": 255}, {"life": LIFE ^ 0x100}, {"set_": 7},
])
def test_a_status_that_is_not_of_a_group_that_is_out_clears_nothing(wrong):
    rig = Rig()
    tracks = places((0, 0), (0, 1))

    async def bench(ctx):
        await rig.follow(ctx)
        await rig.thread(ctx, 0, [tracks])
        await rig.pulse(ctx, "poll", settle=2000)
        assert rig.pulses["polled"] == 1
        await rig.status(ctx, **({"set_": 0, "gseq": 1} | wrong))
        assert await rig.flags(ctx, tracks) == [(1, 1, 0)] * 2
        assert await rig.words(ctx, 0, W.DONE, W.EPOCH) == (0, 0)
        assert rig.pulses["rejected"] == ("set_" in wrong)
        await rig.status(ctx, 0, 1)
        assert await rig.flags(ctx, tracks) == [(0, 0, 0)] * 2

    rig.run(bench)


@pytest.mark.requirement("R20", "R22")
def test_a_target_that_has_lost_its_memory_gets_everything_again():
    rig = Rig()
    tracks = places((0, 0), (0, 1))

    async def bench(ctx):
        await rig.follow(ctx)
        await rig.thread(ctx, 0, [tracks])
        await rig.pulse(ctx, "destage", 1, settle=2000)
        await rig.status(ctx, 0, 1)
        rig.frames.clear()
        await rig.status(ctx, 0, 0, flags=TargetFlag.ASKED)
        assert rig.pulses["lost"] == 1
        assert ctx.get(rig.dut.running) == 0
        await rig.pulse(ctx, "link_lost")
        await rig.pulse(ctx, "link_started", settle=1000)
        assert [(type_, fields) for _, type_, fields, _, _ in rig.frames] == [
            (Type.ASK, {"set": s, "life": LIFE, "epoch": 0}) for s in (1, 0)] or [
            (Type.ASK, {"set": s, "life": LIFE, "epoch": 0}) for s in (0, 1)]
        rig.frames.clear()
        await rig.status(ctx, 0, 0, flags=TargetFlag.ASKED)     # its set was used
        assert await rig.words(ctx, 0, W.EPOCH) == (1,)
        assert ctx.get(rig.dut.resyncing) == 1
        assert [frame[1:3] for frame in rig.frames] == [
            (Type.RESYNC, {"set": 0, "epoch": 1, "gseq": 1, "chains": 1})]
        await rig.status(ctx, 0, 0, epoch=1,
                         flags=FOLLOWS | TargetFlag.INCONSISTENT)
        done = 1
        while ctx.get(rig.dut.resyncing):
            await ticks(ctx, 200)
            await rig.pulse(ctx, "tick", settle=200)
            words = await rig.words(ctx, 0, W.SENT, W.DONE, W.RESYNC_LOW, W.ACKED_LOW)
            done = words[0]
            over = words[2] <= words[3]
            flags = FOLLOWS if over else FOLLOWS | TargetFlag.INCONSISTENT
            await rig.status(ctx, 0, done, epoch=1, flags=flags)
        # Volumes 0 and 1 are the set's: ten tracks, each a chain of its own.
        assert rig.pulses["resync_track"] == 10
        assert rig.pulses["resynced"] == 1
        assert sorted((f["volume"], f["track"]) for _, t, f, _, _ in rig.frames
                      if t is Type.DATA) == [(v, t) for v in (0, 1) for t in range(5)]

    rig.run(bench, clocks=60_000)


@pytest.mark.requirement("R19")
def test_what_is_begun_is_not_asked_about_before():
    """Or the target would take the ASK's epoch, and the set would have to be begun in another."""
    rig = Rig()
    rig.room = 0

    async def bench(ctx):
        await rig.status(ctx, 0, 0, flags=TargetFlag.ASKED)
        await rig.pulse(ctx, "slow_tick", settle=1500)
        rig.room = 0b11
        await ticks(ctx, 1500)
        assert [(t, f["epoch"]) for _, t, f, _, _ in rig.frames if f["set"] == 0] == [
            (Type.BEGIN, 1), (Type.ASK, 1)]

    rig.run(bench)


@pytest.mark.requirement("R13", "R19")
def test_a_frame_that_its_link_has_not_taken_goes_to_another():
    rig = Rig()
    rig.room = 0b10
    rig.stopped = 0b10

    async def bench(ctx):
        await rig.follow(ctx)
        await rig.thread(ctx, 0, [places((0, 0), (0, 1))])
        await rig.pulse(ctx, "destage", 1, settle=1500)
        assert ctx.get(rig.dut.offered) == 0b10
        ctx.set(rig.dut.up, 0b01)
        rig.room = 0b01
        await rig.pulse(ctx, "link_lost", settle=2500)
        assert [frame[:2] for frame in rig.frames] == [(0, Type.DATA), (0, Type.DATA),
                                                       (0, Type.ORDER)]
        assert await rig.words(ctx, 0, W.SENT) == (1,)

    rig.run(bench)


def test_a_reset_while_the_links_are_rotated_leaves_one_to_be_found(monkeypatch):
    """Between two instructions the last track's link is one that does not exist."""
    state = clerk_state(SMALL)
    state[WORDS["last"]] = 1 << SMALL.links
    monkeypatch.setattr("hdl.clerk.clerk_state", lambda geometry: state)
    rig = Rig()

    async def bench(ctx):
        await rig.follow(ctx)
        await rig.thread(ctx, 0, [places((0, 0), (0, 1))])
        await rig.pulse(ctx, "destage", 1, settle=2000)
        assert [frame[1] for frame in rig.frames] == [Type.DATA, Type.DATA, Type.ORDER]
        assert {frame[0] for frame in rig.frames[:2]} == {0, 1}

    rig.run(bench)


def test_what_a_clerk_cannot_serve_is_refused():
    check_clerk(SMALL.replace(sets=8))
    with pytest.raises(ValueError, match="sets 9"):
        check_clerk(SMALL.replace(sets=9))


@pytest.mark.parametrize(("tracks", "clocks"), [(1, 480), (255, 11_520)])
def test_every_job_ends(tracks, clocks):
    """No way through the program leads back but over ``main`` and the four loops whose turns are
    counted here; instructions take two clocks, waits for the lock apart."""
    program = clerk_program(SMALL)
    turns = {"turn": SMALL.sets, "next_link": SMALL.links, "cut_track": tracks,
             "clear_track": tracks}

    def most(start, stop):
        return longest(program, start, {stop}, turns, lambda code: 2)

    assert most("cut", "unlock") <= 152 + 44 * tracks
    assert most("clear", "unlock") <= 106 + 42 * tracks
    assert most("main", "main") < clocks
    del turns["next_link"]
    with pytest.raises(RecursionError):
        most("main", "main")


def test_the_program_fits_its_memory():
    """Three block RAMs of an iCE40 hold 768 instructions."""
    program = clerk_program(SMALL)
    assert len(program.code) <= 768
    assert {code >> 8 & 31 for code in program.code if code >> 13 == 2} == set(OUTPUTS.values())
