# amaranth: UnusedElaboratable=no
"""The whole target on its lines, against the PC's own protocol code."""

import types

import pytest
from amaranth import *

from firmware_model.wire import Code, Counter, LinkCounter, Reg, Role, Type
from hdl.frame import FrameReceiver
from hdl.mutations import Mutation
from hdl.source import Source
from hdl.target import Target
from host_tools.linkpeer import LinkPeer

from .lines import CLOCKS, SerialPeer
from .mini_source import MiniSource
from .streams import run, until
from .target_bench import SMALL, seeded

G = SMALL.replace(volumes_per_set=1, tracks_per_volume=4, track_bytes=16, chain_limit=4,
                  staging_slots=8)


class Bench:
    """A target, a host, and a source of which only the far ends of its links exist."""

    def __init__(self, rng):
        self.dut = dut = Target(G)
        self.rng = rng
        self.source = MiniSource(G, rng)
        host = types.SimpleNamespace(tx=dut.host_tx, rx=dut.host_rx)
        self.host = SerialPeer(host, LinkPeer(Role.HOST, session=7))
        self.links = [SerialPeer(pins, LinkPeer(
            Role.SOURCE, ordered=False, fingerprint=G.fingerprint, window=G.window,
            session=50 + n)) for n, pins in enumerate(dut.links)]
        self.tag = 0

    def run(self, bench, limit):
        async def prepared(ctx):
            ctx.set(self.dut.host_divisor, CLOCKS << 8)
            ctx.set(self.dut.link_divisor, CLOCKS << 8)
            await until(ctx, self.dut.links_up.all() & self.dut.host_up)
            await bench(ctx)
        run(self.dut, prepared, limit=limit,
            monitors=[line.carry for line in (self.host, *self.links)])

    def take_statuses(self):
        for line in self.links:
            for frame in line.delivered:
                assert frame.type == Type.STATUS
                self.source.on_status(frame.fields)
            line.delivered.clear()

    async def request(self, ctx, type_, answers=1, **fields):
        """A request; its answers as frames."""
        self.tag += 1
        self.host.delivered.clear()
        self.host.peer.send(type_, tag=self.tag, **fields)
        while len(self.host.delivered) < answers:
            await ctx.tick()
        for frame in self.host.delivered:
            assert frame.fields["tag"] == self.tag
            assert frame.fields["code"] == Code.OK
        return list(self.host.delivered)

    async def registers(self, ctx, address, count):
        answer, = await self.request(ctx, Type.REG_READ, address=address, count=count)
        return [int.from_bytes(answer.payload[n:n + 4], "little") for n in range(0, 4 * count, 4)]


@pytest.mark.requirement("R02", "R13", "R14", "R15", "R30")
def test_groups_shuffled_over_two_links_are_read_back():
    rng = seeded(6)
    bench = Bench(rng)
    source = bench.source

    async def testbench(ctx):
        for frame in source.begin():
            bench.links[0].peer.send(frame.type, frame.payload, **frame.fields)
        await ctx.tick().repeat(8_000)         # the links share nothing: let these come first
        bench.take_statuses()
        groups = 2
        while groups:
            frames = source.cut()
            groups -= bool(frames)
            for frame in frames:
                rng.choice(bench.links).peer.send(frame.type, frame.payload, **frame.fields)
            if not frames:
                await ctx.tick()
            bench.take_statuses()
        while not source.quiet:
            await ctx.tick()
            bench.take_statuses()

        image = {}
        for volume in range(G.volumes):
            for frame in await bench.request(ctx, Type.READ, G.tracks_per_volume, volume=volume,
                                             track=0, count=G.tracks_per_volume):
                image[volume, frame.fields["track"]] = frame.payload
        found = source.judge_dump(image)
        assert found == {s.number: len(s.images) - 1 for s in source.sets}

        counters = await bench.registers(ctx, Reg.COUNTERS, len(Counter))
        assert counters[Counter.GROUPS] == 2
        assert counters[Counter.COMMANDS] == counters[Counter.GROUP_TRACKS] == source.versions
        assert counters[Counter.READS] == G.tracks
        assert counters[Counter.REJECTED] == counters[Counter.HOST_ERRORS] == 0
        # The frame that asks is counted when it is let go, about when it is answered.
        assert counters[Counter.HOST_FRAMES] in (G.volumes, G.volumes + 1)
        for n, line in enumerate(bench.links):
            counts = await bench.registers(ctx, Reg.LINK_COUNTERS + 16 * n, len(LinkCounter))
            assert counts[LinkCounter.FRAMES_RECEIVED] == line.peer.counters.frames_sent > 0
            assert counts[LinkCounter.SESSIONS] == 1
        assert await bench.registers(ctx, Reg.LINKS_UP, 1) == [0b11]

    bench.run(testbench, limit=200_000)


def test_mutation_is_named():
    assert Target(G, mutation="sequence_not_checked").mutation is Mutation.SEQUENCE_NOT_CHECKED
    with pytest.raises(ValueError, match="no_such_fault"):
        Target(G, mutation="no_such_fault")


def receivers(fragment):
    """Every frame receiver at or below a fragment."""
    found = [part for part in fragment.origins or () if isinstance(part, FrameReceiver)]
    for sub, _, _ in fragment.subfragments:
        found += receivers(sub)
    return found


@pytest.mark.parametrize("system", [Source, Target])
@pytest.mark.parametrize("mutation", [None, Mutation.CRC_NOT_CHECKED])
def test_crc_mutant_reaches_every_link(system, mutation):
    links = [sub for sub, name, _ in Fragment.get(system(G, mutation=mutation), None).subfragments
             if name.startswith("link_")]
    assert len(links) == G.links
    for link in links:
        receiver, = receivers(link)
        assert receiver._check_crc.value == (mutation is None)
