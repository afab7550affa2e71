# amaranth: UnusedElaboratable=no
"""The source without its lines: host frames in, groups out, checked against the chains."""

import pytest
from amaranth import *

from firmware_model.wire import Code, Counter, Reg, SetWord, TargetFlag, Type, entry
from hdl.sourcecore import SourceCore

from .source_bench import (
    SMALL,
    FarSide,
    Host,
    LinkStandIn,
    SharedLinkStandIn,
    seeded,
    simulate,
)

# Four machines mirror the sets, or a clerk.
LINES = pytest.mark.parametrize("lines", ["each", "shared"])


class Rig:
    """A SourceCore with a host, links and a far side around it."""

    def __init__(self, seed=1, *, geometry=SMALL, lose=0.0, mutation=None, lines="each"):
        self.geometry = geometry
        self.rng = seeded(seed)
        self.core = SourceCore(geometry, mutation=mutation, lines=lines)
        self.reset = Signal()
        self.far = FarSide(geometry)
        self.host = Host(self.core, self.on_answer)
        self.holders = {}           # volume: (set, track, chain that its waiter is in)
        link = LinkStandIn if lines == "each" else SharedLinkStandIn
        self.links = [link(self.core, n, self.far, self.rng, lose=lose)
                      for n in range(geometry.links)]
        self.committed = [[] for _ in range(geometry.sets)]
        self.image = {}

    def data(self):
        return self.rng.randbytes(self.geometry.track_bytes)

    async def chain(self, ctx, tag, places, *, resume=False):
        """A chain with random data; keeps account of what it commits."""
        writes = [(v, t, self.data()) for v, t in places]
        answer = await self.host.chain(ctx, tag, writes, resume=resume)
        if answer["code"] == Code.OK:
            last = {(v, t): d for v, t, d in writes}
            order = list(dict.fromkeys(places))
            self.committed[answer["set"]].append([(*place, last[place]) for place in order])
            self.image |= last
            assert answer["detail"] == len(self.committed[answer["set"]])
        return answer

    def on_answer(self, type_, fields):
        """I9: a volume comes back when, and only when, the group of its waiter has committed."""
        if type_ is Type.CHAIN_STATUS and fields["code"] == Code.COLLISION:
            volume, track = fields["detail"] >> 8 & 0xFF, fields["detail"] >> 16
            number = max(n for n, chain in enumerate(self.committed[fields["set"]], 1)
                         if any((v, t) == (volume, track) for v, t, _ in chain))
            assert volume not in self.holders
            self.holders[volume] = fields["set"], track, number
        if type_ is Type.RECONNECT:
            set_, track, number = self.holders.pop(fields["volume"])
            assert track == fields["track"]
            assert len(self.far.chains[set_]) >= number, "reconnected too early"

    async def restart(self, ctx, generation):
        """A reset that keeps the memories."""
        ctx.set(self.core.generation, generation)
        ctx.set(self.reset, 1)
        await ctx.tick()
        ctx.set(self.reset, 0)
        await ctx.tick().until(self.core.ready)

    def run(self, bench, *, clocks=200_000):
        background = [self.host.listen]
        for link in self.links:
            background += [link.run, link.answer]
        simulate(ResetInserter(self.reset)(self.core), bench, clocks=clocks, background=background)

    def mirrored(self, set_):
        """Chains that the far side has committed must be the first ones of the host's."""
        far = self.far.chains[set_]
        assert far == self.committed[set_][:len(far)]
        return len(far)


@LINES
@pytest.mark.requirement("R01", "R11", "R12")
def test_write_commits_at_once_and_goes_later(lines):
    rig = Rig(lines=lines)

    async def bench(ctx):
        await rig.chain(ctx, 1, [(0, 1), (1, 4)])
        await rig.chain(ctx, 2, [(0, 0)])
        await ctx.tick().repeat(500)
        assert not rig.far.frames           # nobody asked for a destage yet
        assert await rig.host.read_track(ctx, 1, 4) == rig.image[1, 4]
        await rig.host.write_register(ctx, Reg.DESTAGE, 1)
        await rig.host.settle(ctx, 0)
        assert rig.mirrored(0) == 2
        assert await rig.host.read_register(ctx, Reg.CREDIT) == SMALL.staging_slots
        assert await rig.host.read_register(ctx, Reg.SET_PAGES + SetWord.ACKED_LOW) == 2

    rig.run(bench)


@LINES
@pytest.mark.requirement("R03", "R04", "R06", "R07", "R09", "R27", "R28")
def test_collision_disconnects_destages_and_reconnects(lines):
    rig = Rig(lines=lines)

    async def bench(ctx):
        await rig.chain(ctx, 1, [(0, 1), (1, 2)])
        await rig.chain(ctx, 2, [(2, 3)])                       # another set
        for link in rig.links:
            link.stopped = True
        answer = await rig.chain(ctx, 3, [(0, 4), (1, 2)])
        assert (answer["code"], answer["set"]) == (Code.COLLISION, 0)
        assert answer["detail"] == 1 | 1 << 8 | 2 << 16
        assert ctx.get(rig.core.disconnected) == 1
        assert ctx.get(rig.core.destaging) in (0, 1)
        answer = await rig.chain(ctx, 4, [(0, 4)])
        assert answer["code"] == Code.FENCED
        answer = await rig.chain(ctx, 5, [(1, 0)], resume=True)
        assert answer["code"] == Code.DISCONNECTED
        for link in rig.links:
            link.stopped = False
        reconnect = await rig.host.expect(ctx, Type.RECONNECT, volume=1, track=2)
        assert 0 < reconnect["clocks"] < 20_000
        assert rig.mirrored(0) == 1
        assert rig.mirrored(1) == 0                             # only that set was destaged
        answer = await rig.chain(ctx, 6, [(0, 4), (1, 2)], resume=True)
        assert answer["code"] == Code.OK
        assert ctx.get(rig.core.disconnected) == 0
        assert await rig.host.read_register(ctx, Reg.COUNTERS + Counter.COLLISIONS) == 1
        assert await rig.host.read_register(ctx, Reg.COUNTERS + Counter.RECONNECTS) == 1

    rig.run(bench)


@pytest.mark.requirement("R02", "R13", "R15", "R16", "R18", "R23")
@pytest.mark.parametrize(("seed", "lines", "least"), [(0, "each", 24), (1, "shared", 8)])
def test_random_load_stays_a_prefix(seed, lines, least):
    """At least so many chains; the program of shared lines takes five times the clocks of one."""
    rig = Rig(seed, lose=0.2, lines=lines)
    rng = rig.rng

    async def bench(ctx):
        host = rig.host
        await host.write_register(ctx, Reg.POLL_INTERVAL, 4)
        collisions = 0
        for tag in range(200):
            enough = collisions > 2 and all(len(chains) > 2 for chains in rig.committed)
            if tag >= least and enough:
                break
            set_ = rng.randrange(2)
            volumes = [0, 1] if set_ == 0 else [2]
            places = [(rng.choice(volumes), rng.randrange(5))
                      for _ in range(rng.randint(1, SMALL.chain_limit))]
            answer = await rig.chain(ctx, tag, places, resume=True)
            if answer["code"] == Code.COLLISION:
                collisions += 1
                if rng.random() < 0.5:
                    await host.expect(ctx, Type.RECONNECT)
            else:
                assert answer["code"] in (Code.OK, Code.DISCONNECTED)
            if rng.random() < 0.1:              # a link drops what it had
                link = rng.choice(rig.links)
                link.up = False
                await ctx.tick().repeat(5)
                await link.flush(ctx)
                await ctx.tick().repeat(rng.randrange(200))
                link.up = True
            rig.mirrored(0)
            rig.mirrored(1)
        assert enough
        for set_ in range(2):
            await host.write_register(ctx, Reg.DESTAGE, 1 << set_)
            await host.settle(ctx, set_)
            assert rig.mirrored(set_) == len(rig.committed[set_]) > 2
        for (volume, track), data in rig.image.items():
            assert await host.read_track(ctx, volume, track) == data
        assert await host.read_register(ctx, Reg.FREE_SLOTS) == SMALL.spare_slots - 1
        assert await host.read_register(ctx, Reg.CREDIT) == SMALL.staging_slots
        assert await host.read_register(ctx, Reg.DISCONNECTED) == 0

    rig.run(bench, clocks=400_000)


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("seed", [1])
def test_reset_at_any_clock_of_a_commit(seed):
    """The chain is there wholly or not at all; then the target gets everything once more."""
    rig = Rig(seed)
    rng = rig.rng
    places = [(v, t) for v in (0, 1) for t in range(5)]
    image = dict.fromkeys(places, bytes(SMALL.track_bytes))
    outcomes = set()
    for link in rig.links:
        link.up = False

    async def bench(ctx):
        host = rig.host
        chains = 0
        await ctx.tick().until(rig.core.ready)
        for generation in range(1, 10):
            writes = [(*rng.choice(places), rig.data()) for _ in range(rng.randint(1, 4))]
            await host.frame(ctx, Type.CHAIN, b"".join(entry(v, t) for v, t, _ in writes),
                             tag=generation, count=len(writes))
            for index, (_, _, data) in enumerate(writes):
                await host.frame(ctx, Type.WRITE, data, tag=generation, index=index)
            await ctx.tick().repeat(rng.randrange(1, 40))
            await rig.restart(ctx, generation)
            found = {place: await host.read_track(ctx, *place) for place in places}
            after = image | {(v, t): data for v, t, data in writes}
            assert found in (image, after), "half a chain"
            outcomes.add(found == after)
            chains += found == after
            image.update(found)
            page = Reg.SET_PAGES
            for word in (SetWord.CHAINS_LOW, SetWord.ACKED_LOW):
                assert await host.read_register(ctx, page + word) == chains
            assert await host.read_register(ctx, Reg.FREE_SLOTS) == SMALL.spare_slots - 1
        assert outcomes == {False, True}

        for link in rig.links:
            link.up = True
            await link.start(ctx)
        while (rig.far.flags[0] & (TargetFlag.FOLLOWING | TargetFlag.INCONSISTENT)
               != TargetFlag.FOLLOWING):
            await ctx.tick()
        mirrored = dict.fromkeys(places)
        for chain in rig.far.chains[0]:
            mirrored |= {(v, t): data for v, t, data in chain}
        assert mirrored == image
        await host.settle(ctx, 0)
        assert await host.read_register(ctx, Reg.COUNTERS + Counter.RESYNC_TRACKS) >= 10
        assert await host.read_register(ctx, Reg.COUNTERS + Counter.RECOVERIES) == 9

    rig.run(bench, clocks=300_000)


def test_a_clerk_has_no_fault_of_the_machines():
    SourceCore(SMALL, lines="shared", mutation="pending_not_set")
    with pytest.raises(ValueError, match="PACKET_NOT_SET"):
        SourceCore(SMALL, lines="shared", mutation="packet_not_set")
