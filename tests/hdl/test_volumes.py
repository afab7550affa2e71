"""Volumes: the host moves them between idle sets, and hears of every reconnect."""

import pytest

from firmware_model.wire import Code, Reg, SetWord, Type
from hdl.registers import CLOCK_BITS
from hdl.volumes import Reconnects, VolumeMap

from .source_bench import (
    SMALL,
    SourceTables,
    access,
    fields_of,
    seeded,
    simulate,
    stream_get,
    ticks,
)

THREE = SMALL.replace(sets=3)       # volumes 0 and 1 in set 0, 2 in set 1; 2 volumes a set


async def pulse(ctx, dut, name, operand, value):
    ctx.set(getattr(dut, operand), value)
    ctx.set(getattr(dut, name), 1)
    await ctx.tick()
    ctx.set(getattr(dut, name), 0)
    await ticks(ctx, 32)                # until it has been timed


class Rig(SourceTables):
    def __init__(self, geometry=THREE):
        super().__init__(VolumeMap(geometry), geometry)

    def run(self, bench):
        async def ready(ctx):
            await self.ready(ctx)
            await bench(ctx)
        simulate(self, ready, clocks=20_000)

    async def move(self, ctx, volume, set_):
        code, _ = await access(ctx, self.dut.bus, Reg.VOLUME_SET + volume, set_)
        return code

    async def map(self, ctx):
        found = []
        for volume in range(self.geometry.volumes):
            code, set_ = await access(ctx, self.dut.bus, Reg.VOLUME_SET + volume)
            assert code == Code.OK
            found.append(set_)
        return found

    async def members(self, ctx):
        return [await self.page(ctx, s, SetWord.VOLUMES) for s in range(self.geometry.sets)]


@pytest.mark.requirement("R17")
def test_volumes_move_between_idle_sets():
    rig = Rig()

    async def bench(ctx):
        assert await rig.map(ctx) == [0, 0, 1]
        assert await rig.members(ctx) == [2, 1, 0]
        assert await rig.move(ctx, 0, 2) == Code.OK
        assert await rig.map(ctx) == [2, 0, 1]
        assert await rig.members(ctx) == [1, 1, 1]
        assert await rig.move(ctx, 2, 0) == Code.OK
        assert await rig.move(ctx, 0, 0) == Code.SET_FULL
        assert await rig.map(ctx) == [2, 0, 0]
        assert await rig.members(ctx) == [2, 0, 1]

    rig.run(bench)


@pytest.mark.requirement("R17", "R24")
def test_refusals_change_nothing():
    rig = Rig()

    async def bench(ctx):
        assert await rig.move(ctx, 3, 0) == Code.BAD_REGISTER
        assert (await access(ctx, rig.dut.bus, Reg.VOLUME_SET + 3))[0] == Code.BAD_REGISTER
        assert (await access(ctx, rig.dut.bus, Reg.CHANNEL - 1))[0] == Code.BAD_REGISTER
        assert await rig.move(ctx, 0, 3) == Code.BAD_VALUE
        assert await rig.move(ctx, 0, 1 << 20) == Code.BAD_VALUE
        # Something unsent, or a group out.
        await rig.page(ctx, 0, SetWord.UNSENT, 1)
        assert await rig.move(ctx, 0, 2) == Code.SET_BUSY
        assert await rig.move(ctx, 0, 0) == Code.OK         # it is there: nothing to do
        await rig.page(ctx, 0, SetWord.UNSENT, 0)
        await rig.page(ctx, 0, SetWord.NEXT, 2)
        assert await rig.move(ctx, 0, 2) == Code.SET_BUSY
        await rig.page(ctx, 0, SetWord.DONE, 1)
        ctx.set(rig.dut.chain_open, 1)
        assert await rig.move(ctx, 0, 2) == Code.SET_BUSY
        ctx.set(rig.dut.chain_open, 0)
        assert await rig.map(ctx) == [0, 0, 1]
        assert await rig.members(ctx) == [2, 1, 0]
        # Idle again, also across the wrap of sequence numbers; a busy new set is no matter.
        await rig.page(ctx, 0, SetWord.NEXT, 0)
        await rig.page(ctx, 0, SetWord.DONE, 65535)
        await rig.page(ctx, 2, SetWord.UNSENT, 1)
        assert await rig.move(ctx, 0, 2) == Code.OK
        assert await rig.move(ctx, 0, 1) == Code.SET_BUSY

    rig.run(bench)


async def news(ctx, dut):
    type_, fields = fields_of(await stream_get(ctx, dut.descriptors))
    assert type_ is Type.RECONNECT
    return fields["volume"], fields["track"], fields["clocks"]


@pytest.mark.requirement("R09")
def test_reconnect_tells_volume_track_and_time():
    dut = Reconnects(SMALL)

    async def bench(ctx):
        ctx.set(dut.now, 1000)
        await pulse(ctx, dut, "disconnect", "disconnect_volume", 2)
        ctx.set(dut.now, 1500)
        await pulse(ctx, dut, "disconnect", "disconnect_volume", 0)
        assert ctx.get(dut.disconnected) == 2
        ctx.set(dut.now, 2500)
        await pulse(ctx, dut, "reconnect", "reconnect_index", SMALL.index(0, 4))
        assert await news(ctx, dut) == (0, 4, 1000)
        assert ctx.get(dut.disconnected) == 1
        ctx.set(dut.now, 0x1_0000_0000 + 999)
        await pulse(ctx, dut, "reconnect", "reconnect_index", SMALL.index(2, 1))
        assert await news(ctx, dut) == (2, 1, 0xFFFFFFFF)
        assert ctx.get(dut.disconnected) == 0
        await ticks(ctx, 20)
        assert not ctx.get(dut.descriptors.valid)

    simulate(dut, bench)


@pytest.mark.parametrize(("start", "end", "clocks"), [
    ((1 << CLOCK_BITS) - 20, 20, 40),       # the counter wraps
    (5, 5 + 0x1_0000_0000, 0xFFFFFFFF),     # saturates
    (5, 4 + 0x1_0000_0000, 0xFFFFFFFF),
    (5, 3 + 0x1_0000_0000, 0xFFFFFFFE),
])
def test_time_wraps_and_saturates(start, end, clocks):
    dut = Reconnects(SMALL)

    async def bench(ctx):
        ctx.set(dut.now, start)
        await pulse(ctx, dut, "disconnect", "disconnect_volume", 1)
        ctx.set(dut.now, end)
        await pulse(ctx, dut, "reconnect", "reconnect_index", SMALL.index(1, 0))
        assert await news(ctx, dut) == (1, 0, clocks)

    simulate(dut, bench)


@pytest.mark.requirement("R09")
def test_nobody_waits_for_a_host_that_does_not_listen():
    """Pulses in a row while nothing is taken: the last news of every volume come through."""
    rng = seeded(13)
    dut = Reconnects(SMALL)

    async def bench(ctx):
        last = {}
        for now in range(0, 3000, 100):
            volume = rng.randrange(3)
            ctx.set(dut.now, now)
            await pulse(ctx, dut, "disconnect", "disconnect_volume", volume)
            ctx.set(dut.now, now + volume + 1)
            track = rng.randrange(5)
            await pulse(ctx, dut, "reconnect", "reconnect_index", SMALL.index(volume, track))
            last[volume] = volume, track, volume + 1
        found = {}
        for _ in range(4):              # one may have been on offer with older news
            if len(found) == 3 and found == last:
                break
            told = await news(ctx, dut)
            found[told[0]] = told
        assert found == last
        assert ctx.get(dut.disconnected) == 0

    simulate(dut, bench)


def test_back_to_back_reconnects():
    dut = Reconnects(SMALL)

    async def bench(ctx):
        for volume in range(3):
            ctx.set(dut.now, 10 * volume)
            await pulse(ctx, dut, "disconnect", "disconnect_volume", volume)
        ctx.set(dut.now, 100)
        ctx.set(dut.reconnect, 1)
        for volume in range(3):
            ctx.set(dut.reconnect_index, SMALL.index(volume, volume))
            await ctx.tick()
        ctx.set(dut.reconnect, 0)
        found = {await news(ctx, dut) for _ in range(3)}
        assert found == {(v, v, 100 - 10 * v) for v in range(3)}

    simulate(dut, bench)


def test_times_are_right_while_the_clock_runs():
    """Wherever carries run through the clock, and whatever else is being timed."""
    rng = seeded(14)
    dut = Reconnects(SMALL)
    starts = [0, 0xFFE0, 0xFFF0, 0xFFFC, 0xFFFF, 0x1FFF8, 0xFFFF_FFF8, (1 << CLOCK_BITS) - 40]

    async def bench(ctx):
        clock = 0

        async def run(clocks):
            nonlocal clock
            for _ in range(clocks):
                await ctx.tick()
                clock = (clock + 1) % (1 << CLOCK_BITS)
                ctx.set(dut.now, clock)

        async def strike(name, operand, value):
            ctx.set(getattr(dut, operand), value)
            ctx.set(getattr(dut, name), 1)
            await run(1)
            ctx.set(getattr(dut, name), 0)

        for start in starts:
            clock = start
            ctx.set(dut.now, clock)
            want = {}
            for volume in range(3):
                want[volume] = -clock
                await strike("disconnect", "disconnect_volume", volume)
                await run(rng.randrange(40, 50))
            await run(rng.randrange(30))
            for volume in rng.sample(range(3), 3):
                want[volume] = (want[volume] + clock) % (1 << CLOCK_BITS)
                await strike("reconnect", "reconnect_index", SMALL.index(volume, volume))
                await run(rng.choice((0, 1, 5, 40)))
            await run(100)
            for _ in range(3):
                volume, track, clocks = await news(ctx, dut)
                assert track == volume
                assert abs(clocks - want[volume]) <= 32 + 16 * 3, (hex(start), volume)
            await run(20)
            assert not ctx.get(dut.descriptors.valid)

    simulate(dut, bench)
