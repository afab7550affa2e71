"""The target without lines: frames in on two links in any order, reads on the host port."""

import itertools

import pytest
from amaranth import *

from firmware_model.wire import SET_PAGE_WORDS, Code, Counter, LinkCounter, Reg, SetWord, Type
from hdl.interfaces import PayloadKind
from hdl.mutations import Mutation
from hdl.targetcore import TargetCore

from .mini_source import MiniSource
from .target_bench import SMALL, fields_of, get, header_bits, put, seeded, send, simulate

G = SMALL.replace(volumes_per_set=1)        # one volume in each of two sets
GROUPS = 20


class Bench:
    catching = False

    def __init__(self, rng, geometry=G, mutation=None):
        self.geometry = geometry
        self.rng = rng
        self.dut = TargetCore(geometry, mutation=mutation)
        self.reset = Signal()
        self.paused = False         # nothing new begins
        self.working = 0            # frames and requests that have begun
        self.source = MiniSource(geometry, rng)
        self.queues = [[] for _ in range(geometry.links)]
        self.requests = []
        self.closing = False
        self.begun = False
        self.tag = 0
        self.verdict = None         # first complaint of the judge, if it is to be caught

    def judge(self, verdict, *arguments):
        """Ask the judge; a complaint ends the test, or with ``catching`` just the benches."""
        if not self.catching:
            return verdict(*arguments)
        try:
            return verdict(*arguments)
        except AssertionError as error:
            self.verdict = self.verdict or str(error)
            self.closing = True

    # -- links -----------------------------------------------------------------------------

    def feed(self, link):
        """Bench of one link: sends what is in its queue, in any order."""
        async def process(ctx):
            queue = self.queues[link]
            await ctx.tick().until(self.dut.ready)
            if link == 0:
                for frame in self.source.begin():
                    await send(ctx, self.dut.links[0].sink, self.dut.links[0].events, frame.type,
                               frame.payload, **frame.fields)
                self.begun = True
            while not self.begun:
                await ctx.tick()
            while not self.closing:
                if not queue or self.paused:
                    await ctx.tick()
                    continue
                self.working += 1
                frame = queue.pop(self.rng.randrange(len(queue)))
                await send(ctx, self.dut.links[link].sink, self.dut.links[link].events, frame.type,
                           frame.payload, **frame.fields)
                self.working -= 1
                if self.rng.random() < 0.1:     # as after a time-out: once more, later
                    self.rng.choice(self.queues).append(frame)
        return process

    async def cut(self, ctx, groups):
        """Bench: cuts ``groups`` groups, spread over the links, as room appears."""
        while groups and not self.closing:
            frames = self.source.cut()
            groups -= bool(frames)
            for frame in frames:
                self.rng.choice(self.queues).append(frame)
            await ctx.tick().repeat(self.rng.randrange(1, 300))
        while not self.closing and (not self.source.quiet or any(self.queues)):
            await ctx.tick()
        await ctx.tick().repeat(500)

    def statuses(self, link):
        """Background bench: takes the statuses of one link, which has new sessions at once."""
        async def process(ctx):
            port = self.dut.links[link]
            ctx.set(port.up, 1)
            submit = port.submit
            ctx.set(submit.ready, 1)
            async for _, _, valid, descriptor, renew in ctx.tick().sample(
                    submit.valid, submit.payload, port.renew):
                ctx.set(port.started, renew)
                if valid:
                    type_, fields = fields_of(descriptor)
                    assert type_ == Type.STATUS
                    self.judge(self.source.on_status, fields)
        return process

    # -- host ------------------------------------------------------------------------------

    async def request(self, ctx, type_, **fields):
        """A request and its answers: [(fields, payload)]."""
        while self.paused:
            await ctx.tick()
        self.working += 1
        self.tag += 1
        self.requests.append({"type": type_, "header": header_bits(type_, tag=self.tag, **fields)})
        answers = []
        for _ in range(fields.get("count", 1) if type_ == Type.READ else 1):
            descriptor = await get(ctx, self.dut.host.submit)
            _, answer = fields_of(descriptor)
            assert answer["tag"] == self.tag
            if type_ == Type.READ:
                answer["seen"] = self.source.seen(answer["volume"])
            answers.append((answer, await self.payload(ctx, descriptor)))
        self.working -= 1
        return answers

    async def ask(self, ctx):
        """Bench: puts requests to the host port."""
        while not self.closing:
            if self.requests:
                await put(ctx, self.dut.host.events, self.requests.pop(0))
            else:
                await ctx.tick()

    async def payload(self, ctx, descriptor):
        """What a LinkEngine does when it sends the frame; bytes are taken at random intervals."""
        port = self.dut.host.payload
        data = bytearray()
        if descriptor.kind == PayloadKind.NONE:
            return b""
        ctx.set(port.kind, descriptor.kind)
        ctx.set(port.arg, descriptor.arg)
        ctx.set(port.start, 1)
        await ctx.tick()
        ctx.set(port.start, 0)
        pause = self.rng.choice((0, 0, 2, 8))
        while True:
            byte = await get(ctx, port.bytes)
            data.append(byte.data)
            if byte.last:
                return bytes(data)
            if pause:
                await ctx.tick().repeat(pause)

    async def registers(self, ctx, address, count=1):
        (answer, payload), = await self.request(ctx, Type.REG_READ, address=address, count=count)
        assert answer["code"] == Code.OK, hex(address)
        return [int.from_bytes(payload[n:n + 4], "little") for n in range(0, len(payload), 4)]

    async def write(self, ctx, address, value):
        (answer, _), = await self.request(ctx, Type.REG_WRITE, address=address, value=value)
        assert answer["code"] == Code.OK

    async def dump(self, ctx):
        """Every track, by place."""
        image = {}
        g = self.geometry
        for volume in range(g.volumes):
            for answer, data in await self.request(ctx, Type.READ, volume=volume, track=0,
                                                   count=g.tracks_per_volume):
                assert answer["code"] == Code.OK
                image[volume, answer["track"]] = data
        return image

    async def check_dump_on_hold(self, ctx):
        """A consistent dump: each set is exactly the prefix that its page speaks of."""
        g = self.geometry
        await self.write(ctx, Reg.HOLD, 100)
        words = Reg.SET_PAGES + SetWord.CHAINS_LOW
        before = [(await self.registers(ctx, words + SET_PAGE_WORDS * s))[0]
                  for s in range(g.sets)]
        found = self.source.judge_dump(await self.dump(ctx))
        assert found == {s.number: before[s.number] for s in self.source.sets}
        await self.write(ctx, Reg.HOLD, 0)
        return found

    def run(self, *benches, clocks=150_000):
        links = range(self.geometry.links)
        simulate(ResetInserter(self.reset)(self.dut), *benches, self.ask,
                 *(self.feed(n) for n in links),
                 background=[self.statuses(n) for n in links], clocks=clocks)


@pytest.mark.requirement("R02", "R14", "R15", "R18", "R19", "R21")
@pytest.mark.parametrize("seed", [1])
def test_reads_see_prefixes_while_groups_commit(seed):
    rng = seeded(seed)
    bench = Bench(rng)
    source = bench.source
    held_at = []

    over = []

    async def cutter(ctx):
        await bench.cut(ctx, GROUPS)
        over.append(True)

    async def reader(ctx):
        await ctx.tick().until(bench.dut.ready)
        for turn in itertools.count():
            if over:
                break
            if turn % 4 == 0:
                held_at.append(await bench.check_dump_on_hold(ctx))
                continue
            volume = rng.randrange(G.volumes)
            track = rng.randrange(G.tracks_per_volume)
            count = rng.randint(1, min(3, G.tracks_per_volume - track))
            for answer, data in await bench.request(ctx, Type.READ, volume=volume, track=track,
                                                    count=count):
                source.judge_read(volume, answer["track"], data, answer["seen"])

        # Everything was acknowledged, so everything is there, and no slot was lost.
        found = await bench.check_dump_on_hold(ctx)
        assert found == {s.number: len(s.images) - 1 for s in source.sets}
        assert (await bench.registers(ctx, Reg.FREE_SLOTS))[0] == (
            G.target_slots - G.tracks - G.links)
        counters = await bench.registers(ctx, Reg.COUNTERS, len(Counter))
        assert counters[Counter.GROUPS] == GROUPS
        assert counters[Counter.CHAINS] == sum(found.values())
        assert counters[Counter.COMMANDS] == source.versions
        assert counters[Counter.DUPLICATES] > 0
        assert counters[Counter.REJECTED] == 0
        bench.closing = True

    bench.run(cutter, reader)
    assert len(held_at) >= 3, "too few dumps to mean anything"


@pytest.mark.requirement("R21", "R22")
@pytest.mark.parametrize("seed", [1])
def test_reset_at_any_clock_leaves_a_prefix(seed):
    """Memories kept: no chain half, none twice, none lost that was acknowledged or seen."""
    rng = seeded(seed)
    bench = Bench(rng)
    source = bench.source
    resets = 10

    async def resetter(ctx):
        for _ in range(resets):
            frames = source.cut() + source.cut()
            for frame in frames:
                rng.choice(bench.queues).append(frame)
            await ctx.tick().repeat(rng.randrange(1, 800))
            bench.paused = True
            while bench.working:
                await ctx.tick()
            await ctx.tick().repeat(rng.randrange(1, 60))
            ctx.set(bench.reset, 1)
            await ctx.tick()
            ctx.set(bench.reset, 0)
            for queue in bench.queues:
                queue.clear()
            for frame in source.resend():       # as the source's links do, and its dispatcher
                rng.choice(bench.queues).append(frame)
            bench.paused = False
            for volume in range(G.volumes):
                for answer, data in await bench.request(ctx, Type.READ, volume=volume, track=0,
                                                        count=G.tracks_per_volume):
                    source.judge_read(volume, answer["track"], data, answer["seen"])
        while not source.quiet:
            await ctx.tick()
        found = source.judge_dump(await bench.dump(ctx))
        assert found == {s.number: len(s.images) - 1 for s in source.sets}
        for s in source.sets:
            words = await bench.registers(
                ctx, Reg.SET_PAGES + SET_PAGE_WORDS * s.number + SetWord.CHAINS_LOW, 2)
            assert words == [found[s.number], 0]
        assert (await bench.registers(ctx, Reg.FREE_SLOTS))[0] == (
            G.target_slots - G.tracks - G.links)
        counters = await bench.registers(ctx, Reg.COUNTERS, len(Counter))
        assert counters[Counter.RECOVERIES] == resets
        assert counters[Counter.REJECTED] == 0
        bench.closing = True

    bench.run(resetter, clocks=400_000)


@pytest.mark.requirement("R21", "R22")
def test_reads_are_marked_by_the_set_of_their_volume():
    """As well as data frames have said which it is, in this life of the source."""
    bench = Bench(seeded(1))
    bench.source.on_status = lambda fields: None        # it is not the one that speaks
    link = bench.dut.links[0]

    async def frame(ctx, type_, set_, payload=b"", **fields):
        await send(ctx, link.sink, link.events, type_, payload, set=set_, **fields)

    async def begin(ctx, set_, *, life):
        await frame(ctx, Type.ASK, set_, life=life, epoch=life)
        await frame(ctx, Type.RESYNC, set_, epoch=life + 1)

    async def put_data(ctx, set_, volume, *, life):
        await frame(ctx, Type.DATA, set_, bytes(G.track_bytes), epoch=life + 1, gseq=1,
                    volume=volume)
        await ctx.tick().repeat(30)

    async def marks(ctx):
        return [(await bench.request(ctx, Type.READ, volume=volume, track=0, count=1))[0][0]
                ["flags"] for volume in range(G.volumes)]

    async def testbench(ctx):
        await ctx.tick().until(bench.dut.ready)
        for set_ in range(G.sets):
            await begin(ctx, set_, life=7)
        await frame(ctx, Type.RESYNCED, 0, epoch=8)
        assert await marks(ctx) == [1, 1], "nothing was said of either volume"
        await put_data(ctx, 0, 0, life=7)
        assert await marks(ctx) == [0, 1]
        await put_data(ctx, 1, 1, life=7)
        assert await marks(ctx) == [0, 1]
        await frame(ctx, Type.RESYNCED, 1, epoch=8)
        assert await marks(ctx) == [0, 0]

        await begin(ctx, 1, life=20)
        assert await marks(ctx) == [1, 1], "volumes may have moved"
        await begin(ctx, 0, life=20)
        await frame(ctx, Type.RESYNCED, 0, epoch=21)
        await put_data(ctx, 0, 1, life=20)
        assert await marks(ctx) == [1, 0]

        await begin(ctx, 1, life=30)
        await frame(ctx, Type.RESYNCED, 1, epoch=31)
        await put_data(ctx, 1, 0, life=30)
        assert await marks(ctx) == [0, 1], "set 0 may have what was torn"
        bench.closing = True

    simulate(bench.dut, testbench, bench.ask,
             background=[bench.statuses(n) for n in range(G.links)])


@pytest.mark.requirement("R19")
def test_a_frame_that_is_offered_when_a_new_life_begins_is_not_heard():
    """Its slot went with the old life. A frame that was taken with it brought a slot back to the
    free list that was there already."""
    bench = Bench(seeded(1))
    bench.source.on_status = lambda fields: None
    old, new = bench.dut.links[:2]
    life = 7
    saying = False

    async def former(ctx):
        """The other link: a frame of the old life."""
        nonlocal saying
        while not bench.closing:
            await ctx.tick()
            if saying:
                await send(ctx, old.sink, old.events, Type.DATA, bytes(G.track_bytes), set=0,
                           epoch=life, gseq=1)
                saying = False

    async def testbench(ctx):
        nonlocal life, saying
        await ctx.tick().until(bench.dut.ready)
        await send(ctx, new.sink, new.events, Type.ASK, set=0, life=life, epoch=life)
        free = await bench.registers(ctx, Reg.FREE_SLOTS)
        for after in range(1, 4 * G.track_bytes, 3):
            saying = True
            await ctx.tick().repeat(after)
            life += 1
            await send(ctx, new.sink, new.events, Type.ASK, set=0, life=life, epoch=life)
            while saying:
                await ctx.tick()
            await ctx.tick().repeat(50)
            assert await bench.registers(ctx, Reg.FREE_SLOTS) == free, after
        bench.closing = True

    simulate(bench.dut, testbench, former, bench.ask,
             background=[bench.statuses(n) for n in range(G.links)])


def test_mutant_is_caught():
    """The judge does see a group that overtakes another."""
    bench = Bench(seeded(3), mutation=Mutation.SEQUENCE_NOT_CHECKED)
    bench.catching = True

    async def cutter(ctx):
        await bench.cut(ctx, 60)
        bench.closing = True

    async def reader(ctx):
        await ctx.tick().until(bench.dut.ready)
        while not bench.closing:
            bench.judge(bench.source.judge_dump, await bench.dump(ctx))

    bench.run(cutter, reader)
    assert bench.verdict is not None


def test_every_register_over_the_host_port():
    bench = Bench(seeded(1))

    async def testbench(ctx):
        await ctx.tick().until(bench.dut.ready)
        ctx.set(bench.dut.links[1].counts, {"resends": 1})
        await ctx.tick()
        ctx.set(bench.dut.links[1].counts, {})
        ctx.set(bench.dut.host.counts, {"frames_received": 1, "bad_frames": 1})
        await ctx.tick().repeat(2)
        ctx.set(bench.dut.host.counts, {})
        info = await bench.registers(ctx, Reg.MAGIC, Reg.GENERATION + 1)
        assert info[Reg.MAGIC] == 0x46415253
        assert info[Reg.TRACKS_PER_VOLUME] == G.tracks_per_volume
        assert (await bench.registers(ctx, Reg.LINKS_UP))[0] == 0b11
        for link in range(G.links):
            counts = await bench.registers(ctx, Reg.LINK_COUNTERS + 16 * link, len(LinkCounter))
            assert counts[LinkCounter.RESENDS] == link
        counters = await bench.registers(ctx, Reg.COUNTERS, len(Counter))
        assert counters[Counter.HOST_FRAMES] == counters[Counter.HOST_BAD_FRAMES] == 2
        for set_ in range(G.sets):
            page = await bench.registers(ctx, Reg.SET_PAGES + SET_PAGE_WORDS * set_,
                                         SET_PAGE_WORDS)
            assert page[SetWord.NEXT] == 1
            assert page[SetWord.VOLUMES] == 1
        for address in (Reg.VOLUME_SET, Reg.CHANNEL, Reg.CREDIT):
            (answer, payload), = await bench.request(ctx, Type.REG_READ, address=address, count=1)
            assert (answer["code"], payload) == (Code.BAD_REGISTER, b"")
        low, = await bench.registers(ctx, Reg.CYCLES)
        assert 0 < low < 20_000
        bench.closing = True

    bench.run(testbench)
