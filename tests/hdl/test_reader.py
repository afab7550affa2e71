from amaranth import *
from amaranth.lib.wiring import connect

from hdl.interfaces import PayloadKind, TargetState
from hdl.reader import Reader

from .streams import StreamMonitor
from .target_bench import SMALL, Tables, get, seeded, simulate

G = SMALL


class Bench(Elaboratable):
    def __init__(self):
        self.tables = Tables(G, lockers=1, fetchers=1)
        self.dut = Reader(G, TargetState(G))

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = tables = self.tables
        m.submodules.dut = dut = self.dut
        connect(m, dut.meta, tables.metadata.clients[0])
        connect(m, dut.memory, tables.arbiter.clients[0])
        m.d.comb += [tables.free.pin.eq(dut.pin.valid), tables.free.pin_slot.eq(dut.pin.slot)]
        return m

    def run(self, testbench, background=()):
        async def bench(ctx):
            await self.tables.ready(ctx)
            await testbench(ctx)
        monitor = StreamMonitor(self.dut.payload.bytes, "bytes")
        simulate(self, bench, background=[monitor, *background], clocks=50_000)

    async def start(self, ctx, kind, arg):
        ctx.set(self.dut.payload.kind, kind)
        ctx.set(self.dut.payload.arg, arg)
        ctx.set(self.dut.payload.start, 1)
        await ctx.tick()
        ctx.set(self.dut.payload.start, 0)

    async def rest(self, ctx):
        """Bytes up to the last."""
        data = bytearray()
        while True:
            byte = await get(ctx, self.dut.payload.bytes)
            data.append(byte.data)
            if byte.last:
                return bytes(data)


def pattern(slot):
    return bytes((7 * slot + n) % 256 for n in range(G.track_bytes))


async def fill(ctx, bench, slot):
    for n, byte in enumerate(pattern(slot)):
        await bench.tables.byte(ctx, slot, n, byte)


def test_tracks():
    bench = Bench()

    async def testbench(ctx):
        for volume, track in ((0, 0), (1, 0), (1, G.tracks_per_volume - 1)):
            slot = G.linear(volume, track)
            await fill(ctx, bench, slot)
            await bench.start(ctx, PayloadKind.TRACK, G.index(volume, track))
            assert await bench.rest(ctx) == pattern(slot)
            await ctx.tick().repeat(3)
            assert not ctx.get(bench.dut.pin.valid)

    bench.run(testbench)


def test_slot_is_pinned_until_the_last_byte_is_taken():
    """A commit in the middle of the frame frees the slot; nobody gets it before the end."""
    bench = Bench()

    async def testbench(ctx):
        tables = bench.tables
        index, old = G.index(1, 2), G.linear(1, 2)
        await fill(ctx, bench, old)
        await fill(ctx, bench, 15)
        await bench.start(ctx, PayloadKind.TRACK, index)
        first = await get(ctx, bench.dut.payload.bytes)
        await tables._write(ctx, "state", index, {"slot": 15, "staged_slot": 0, "staged": 0})
        ctx.set(tables.free.push.payload, old)
        ctx.set(tables.free.push.valid, 1)
        await ctx.tick().until(tables.free.push.ready)
        ctx.set(tables.free.push.valid, 0)
        given = []
        for _ in range(G.target_slots - G.tracks):
            given.append(await get(ctx, tables.free.pop))
        await ctx.tick().repeat(10)
        assert old not in given
        assert not ctx.get(tables.free.pop.valid)
        assert bytes([first.data]) + await bench.rest(ctx) == pattern(old)
        assert await get(ctx, tables.free.pop) == old
        await bench.start(ctx, PayloadKind.TRACK, index)
        assert await bench.rest(ctx) == pattern(15)

    bench.run(testbench)


def test_registers_lowest_byte_first():
    bench = Bench()
    rng = seeded(4)
    asked = []

    async def answer(ctx):
        bus = bench.dut.registers
        wait = 0
        async for _, _, req, ack, addr in ctx.tick().sample(bus.req, bus.ack, bus.addr):
            if req and not ack and wait == 0:
                asked.append(addr)
                ctx.set(bus.ack, 1)
                ctx.set(bus.rdata, addr * 0x01020304)
                wait = rng.randrange(6)
            else:
                ctx.set(bus.ack, 0)
                wait = max(0, wait - 1)

    async def testbench(ctx):
        for address, count in ((0x20, 1), (0x03, 32), (0x200, 5)):
            asked.clear()
            await bench.start(ctx, PayloadKind.REGS, address | count << 16)
            assert await bench.rest(ctx) == b"".join(
                (a * 0x01020304 % 2**32).to_bytes(4, "little")
                for a in range(address, address + count))
            assert asked == list(range(address, address + count)), "each is read once"
            await ctx.tick().repeat(8)

    bench.run(testbench, background=[answer])
