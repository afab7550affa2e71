"""The order walker: the slot's bytes, or the list's entries, in the frame's shape."""

import pytest

from firmware_model import wire
from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, SetWord
from hdl.interfaces import PayloadKind
from hdl.orderwalker import OrderWalker

from .source_bench import SMALL, SourceTables, pauses, seeded, simulate, stream_get, ticks
from .streams import StreamMonitor


class Rig(SourceTables):
    def __init__(self, geometry=SMALL):
        super().__init__(OrderWalker(geometry), geometry)
        self.rng = seeded(12)

    def run(self, bench, clocks=20_000):
        async def ready(ctx):
            await self.ready(ctx)
            await bench(ctx)
        simulate(self, ready, clocks=clocks,
                 background=[StreamMonitor(self.dut.payload.bytes, "payload")])

    async def payload(self, ctx, kind, arg, chance=0.3):
        port = self.dut.payload
        ctx.set(port.kind, kind)
        ctx.set(port.arg, arg)
        ctx.set(port.start, 1)
        await ctx.tick()
        ctx.set(port.start, 0)
        received = bytearray()
        while True:
            for _ in range(pauses(self.rng, chance)):
                await ctx.tick()
            byte = await stream_get(ctx, port.bytes)
            received.append(byte.data)
            if byte.last:
                return bytes(received)

    async def group(self, ctx, set_, gseq, chains):
        await self.thread(ctx, set_, chains)
        tracks = [t for chain in chains for t in chain]
        at = SetWord.GROUP + 4 * (gseq % self.geometry.groups_in_flight)
        await self.page(ctx, set_, at + GROUP_HEAD, tracks[0])
        await self.page(ctx, set_, at + GROUP_COUNT, len(tracks))


@pytest.mark.requirement("R12")
def test_slot_is_sent_byte_by_byte():
    rig = Rig()

    async def bench(ctx):
        for slot in (0, 7, SMALL.source_slots - 1):
            data = rig.rng.randbytes(SMALL.track_bytes)
            for offset, value in enumerate(data):
                await rig.byte(ctx, slot, offset, value)
            assert await rig.payload(ctx, PayloadKind.SLOT, slot) == data
            await ticks(ctx, 5)
            assert not ctx.get(rig.dut.payload.bytes.valid)

    rig.run(bench)


@pytest.mark.requirement("R14", "R16")
@pytest.mark.parametrize(("set_", "gseq", "chains"), [
    (0, 1, [[(0, 0)]]),
    (0, 2, [[(0, 1), (1, 4), (0, 3)]]),
    (1, 3, [[(2, 4)], [(2, 0), (2, 1)], [(2, 3)]]),
    (0, 65535, [[(1, 0)], [(1, 1)], [(0, 0), (1, 2)]]),
    (0, 0x1234, [[(0, 0), (0, 1), (0, 2), (0, 3)], [(1, 0), (1, 1), (1, 2), (1, 3)]]),
])
def test_order_packet_follows_the_list(set_, gseq, chains):
    rig = Rig()
    indices = [[SMALL.index(*p) for p in chain] for chain in chains]
    expected = b"".join(wire.entry(*place, place == chain[-1])
                        for chain in chains for place in chain)

    async def bench(ctx):
        await rig.group(ctx, set_, gseq, indices)
        for _ in range(2):                      # and the same again when it is sent again
            assert await rig.payload(ctx, PayloadKind.ORDER, set_ << 16 | gseq) == expected

    rig.run(bench)


@pytest.mark.requirement("R14")
def test_last_entry_ends_a_chain_whatever_the_link_says():
    """The successor of a group's last track may be in the same chain's place of another life."""
    rig = Rig()
    a, b = SMALL.index(0, 0), SMALL.index(0, 1)

    async def bench(ctx):
        await rig.group(ctx, 0, 1, [[a, b]])
        await rig.set_link(ctx, b, a, 0)
        payload = await rig.payload(ctx, PayloadKind.ORDER, 1)
        assert wire.entries(payload) == [(0, 0, False), (0, 1, True)]

    rig.run(bench)


@pytest.mark.parametrize(("size", "places"), [
    ({"volumes": 128, "tracks_per_volume": 2, "volumes_per_set": 128}, [(127, 1), (64, 0)]),
    ({"volumes": 2, "tracks_per_volume": 300}, [(1, 299), (0, 256)]),
])
def test_large_numbers_keep_their_bytes(size, places):
    g = SMALL.replace(**size)
    rig = Rig(g)

    async def bench(ctx):
        await rig.group(ctx, 0, 1, [[g.index(*place)] for place in places])
        payload = await rig.payload(ctx, PayloadKind.ORDER, 1)
        assert wire.entries(payload) == [(*place, True) for place in places]

    rig.run(bench)


def test_lock_is_free_while_the_line_is_slow():
    rig = Rig()

    async def bench(ctx):
        await rig.group(ctx, 0, 1, [[SMALL.index(0, 0), SMALL.index(0, 1)]])
        port = rig.dut.payload
        ctx.set(port.kind, PayloadKind.ORDER)
        ctx.set(port.arg, 1)
        ctx.set(port.start, 1)
        await ctx.tick()
        ctx.set(port.start, 0)
        for _ in range(6):                      # before every byte
            await ticks(ctx, 20)
            await rig.lock(ctx)
            await ticks(ctx, 5)
            await rig.unlock(ctx)
            await stream_get(ctx, port.bytes)
        await ticks(ctx, 10)
        assert not ctx.get(port.bytes.valid)

    rig.run(bench)
