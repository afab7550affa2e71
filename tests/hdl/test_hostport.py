# amaranth: UnusedElaboratable=no
import pytest
from amaranth import *

from firmware_model.wire import MAX_REGISTERS, Code, Flag, ReadFlag, Role, Type
from hdl.hostport import HostPort
from hdl.interfaces import PayloadKind

from .streams import StreamMonitor
from .target_bench import SMALL, fields_of, get, header_bits, put, simulate

G = SMALL
LAST_REGISTER = 0x3F            # of the stand-in below; it is read only


class Bench:
    """A host port in front of a stand-in for the register bus."""

    def __init__(self, role=Role.TARGET):
        self.dut = HostPort(G, role)
        self.refused = 0
        self.read = 0
        self.accesses = []      # (address, value or None)

    async def registers(self, ctx):
        bus = self.dut.registers
        async for _, _, req, ack, we, addr, wdata in ctx.tick().sample(
                bus.req, bus.ack, bus.we, bus.addr, bus.wdata):
            ctx.set(bus.ack, req and not ack)
            if req and not ack:
                self.accesses.append((addr, wdata if we else None))
                code = Code.BAD_REGISTER if addr > LAST_REGISTER else Code.OK
                if we and addr == LAST_REGISTER:
                    code = Code.READ_ONLY
                ctx.set(bus.code, code)

    async def watch(self, ctx):
        async for _, _, refused, read in ctx.tick().sample(self.dut.refused, self.dut.read):
            self.refused += refused
            self.read += read

    def run(self, *benches):
        simulate(self.dut, *benches, clocks=20_000, background=[
            self.registers, self.watch, StreamMonitor(self.dut.submit, "submit")])

    async def request(self, ctx, type_, *, length=0, raw=None, **fields):
        header = header_bits(type_, **fields) if raw is None else raw
        await put(ctx, self.dut.events, {"type": type_, "header": header, "length": length})

    async def answer(self, ctx):
        """(type, fields, kind, arg) of the next descriptor; arg 0 where it has no meaning."""
        descriptor = await get(ctx, self.dut.submit)
        arg = 0 if descriptor.kind == PayloadKind.NONE else descriptor.arg
        return *fields_of(descriptor), descriptor.kind, arg


async def ask(bench, ctx, type_, **fields):
    """A request and its single answer; the answer is taken while the request stands."""
    dut = bench.dut
    ctx.set(dut.events.payload, {"type": type_, "length": fields.pop("length", 0),
                                 "header": fields.pop("raw", None) or header_bits(type_, **fields)})
    ctx.set(dut.events.valid, 1)
    answer = await bench.answer(ctx)
    await ctx.tick().until(dut.events.ready)
    ctx.set(dut.events.valid, 0)
    return answer


NONE = (PayloadKind.NONE, 0)


@pytest.mark.parametrize(("volume", "track", "count"), [
    (0, 0, 1), (1, 2, 3), (1, 0, G.tracks_per_volume), (0, G.tracks_per_volume - 1, 1)])
def test_read(volume, track, count):
    bench = Bench()

    async def testbench(ctx):
        await bench.request(ctx, Type.READ, tag=0xBEEF, volume=volume, track=track, count=count)
        for n in range(count):
            assert await bench.answer(ctx) == (
                Type.READ_DATA,
                {"tag": 0xBEEF, "code": Code.OK, "volume": volume, "track": track + n, "flags": 0},
                PayloadKind.TRACK, G.index(volume, track + n))
        await ctx.tick().repeat(20)
        assert not ctx.get(bench.dut.submit.valid)
        assert bench.refused == 0
        assert bench.read == count

    bench.run(testbench)


def test_tracks_of_a_suspect_volume_are_marked():
    bench = Bench()
    dut = bench.dut

    async def testbench(ctx):
        for volume, suspect in ((1, True), (0, False), (1, False), (0, True)):
            await bench.request(ctx, Type.READ, tag=1, volume=volume, track=0, count=2)
            for _ in range(2):
                ctx.set(dut.suspect, suspect)
                assert ctx.get(dut.reading) == volume
                _, fields, *_ = await bench.answer(ctx)
                assert fields["flags"] == (ReadFlag.INCONSISTENT if suspect else 0)
                suspect = not suspect

    bench.run(testbench)


@pytest.mark.parametrize(("volume", "track", "count", "code"), [
    (G.volumes, 0, 1, Code.BAD_VOLUME),
    (0xFF, 0xFFFF, 0, Code.BAD_VOLUME),
    (0, G.tracks_per_volume, 1, Code.BAD_TRACK),
    (0, 0xFFFF, 1, Code.BAD_TRACK),
    (1, 0, 0, Code.BAD_VALUE),
    (1, 0, G.tracks_per_volume + 1, Code.BAD_VALUE),
    (1, G.tracks_per_volume - 1, 2, Code.BAD_VALUE),
    (1, 1, 0xFFFF, Code.BAD_VALUE),
])
def test_read_refused(volume, track, count, code):
    bench = Bench()

    async def testbench(ctx):
        assert await ask(bench, ctx, Type.READ, tag=3, volume=volume, track=track,
                         count=count) == (
            Type.READ_DATA, {"tag": 3, "code": code, "volume": volume, "track": track, "flags": 0},
            *NONE)
        await ctx.tick().repeat(20)
        assert not ctx.get(bench.dut.submit.valid)
        assert bench.refused == 1
        assert bench.read == 0

    bench.run(testbench)


def test_reads_do_not_delay_other_requests():
    bench = Bench()

    async def testbench(ctx):
        await bench.request(ctx, Type.READ, tag=1, volume=0, track=0, count=G.tracks_per_volume)
        types = []
        ctx.set(bench.dut.events.payload, {
            "type": Type.REG_WRITE, "header": header_bits(Type.REG_WRITE, tag=2, address=1)})
        ctx.set(bench.dut.events.valid, 1)
        for _ in range(G.tracks_per_volume + 1):
            types.append((await bench.answer(ctx))[0])
            if types[-1] == Type.REG_STATUS:
                await ctx.tick().until(bench.dut.events.ready)
                ctx.set(bench.dut.events.valid, 0)
        assert Type.REG_STATUS in types[:4]
        assert types.count(Type.READ_DATA) == G.tracks_per_volume

    bench.run(testbench)


def test_second_read_follows_the_first():
    bench = Bench()

    async def requests(ctx):
        await bench.request(ctx, Type.READ, tag=1, volume=0, track=1, count=3)
        await bench.request(ctx, Type.READ, tag=2, volume=1, track=0, count=2)

    async def answers(ctx):
        got = [(f["tag"], f["volume"], f["track"]) for _, f, *_ in
               [await bench.answer(ctx) for _ in range(5)]]
        assert got == [(1, 0, 1), (1, 0, 2), (1, 0, 3), (2, 1, 0), (2, 1, 1)]

    bench.run(requests, answers)


def test_lost_session_abandons_a_read():
    bench = Bench()

    async def testbench(ctx):
        await bench.request(ctx, Type.READ, tag=1, volume=0, track=0, count=5)
        await bench.answer(ctx)
        ctx.set(bench.dut.flushed, 1)
        ctx.set(bench.dut.submit.ready, 1)      # as a line that is down
        await ctx.tick()
        ctx.set(bench.dut.flushed, 0)
        await ctx.tick().repeat(4)
        ctx.set(bench.dut.submit.ready, 0)
        await ctx.tick().repeat(20)
        assert not ctx.get(bench.dut.submit.valid)
        await bench.request(ctx, Type.READ, tag=2, volume=1, track=3, count=1)
        assert (await bench.answer(ctx))[1]["tag"] == 2

    simulate(bench.dut, testbench, clocks=5_000)


@pytest.mark.parametrize(("address", "count"), [(0, 1), (5, 7), (0, MAX_REGISTERS),
                                            (LAST_REGISTER, 1)])
def test_register_read(address, count):
    bench = Bench()

    async def testbench(ctx):
        assert await ask(bench, ctx, Type.REG_READ, tag=9, address=address, count=count) == (
            Type.REG_DATA, {"tag": 9, "code": Code.OK, "count": count, "address": address},
            PayloadKind.REGS, address | count << 16)
        assert bench.accesses == [(a, None) for a in range(address, address + count)]

    bench.run(testbench)


@pytest.mark.parametrize(("address", "count", "code"), [
    (0, 0, Code.BAD_VALUE),
    (0, MAX_REGISTERS + 1, Code.BAD_VALUE),
    (0, 255, Code.BAD_VALUE),
    (LAST_REGISTER + 1, 1, Code.BAD_REGISTER),
    (LAST_REGISTER, 2, Code.BAD_REGISTER),
])
def test_register_read_refused(address, count, code):
    bench = Bench()

    async def testbench(ctx):
        assert await ask(bench, ctx, Type.REG_READ, tag=9, address=address, count=count) == (
            Type.REG_DATA, {"tag": 9, "code": code, "count": count, "address": address}, *NONE)

    bench.run(testbench)


@pytest.mark.parametrize(("address", "code"), [(2, Code.OK), (LAST_REGISTER, Code.READ_ONLY),
                                           (LAST_REGISTER + 1, Code.BAD_REGISTER)])
def test_register_write(address, code):
    bench = Bench()

    async def testbench(ctx):
        assert await ask(bench, ctx, Type.REG_WRITE, tag=9, address=address,
                         value=0x89ABCDEF) == (
            Type.REG_STATUS, {"tag": 9, "code": code, "address": address}, *NONE)
        assert bench.accesses == [(address, 0x89ABCDEF)]
        assert bench.refused == (code != Code.OK)

    bench.run(testbench)


@pytest.mark.parametrize("role", [Role.SOURCE, Role.TARGET])
@pytest.mark.parametrize(("type_", "length", "code"), [
    (Type.READ, 1, Code.BAD_LENGTH), (Type.REG_READ, 4, Code.BAD_LENGTH),
    (Type.REG_WRITE, 512, Code.BAD_LENGTH), (Type.DATA, 0, Code.UNKNOWN_TYPE),
    (Type.ORDER, 3, Code.UNKNOWN_TYPE), (Type.STATUS, 0, Code.UNKNOWN_TYPE),
    (Type.READ_DATA, 0, Code.UNKNOWN_TYPE), (Type.ERROR, 0, Code.UNKNOWN_TYPE),
    (0x7F, 0, Code.UNKNOWN_TYPE), (0xFF, 9, Code.UNKNOWN_TYPE),
])
def test_errors(role, type_, length, code):
    bench = Bench(role)

    async def testbench(ctx):
        assert await ask(bench, ctx, type_, length=length, raw=0x0102030405060708) == (
            Type.ERROR, {"tag": 0x0708, "code": code, "type": type_}, *NONE)
        assert bench.accesses == []
        assert bench.refused == 1
        assert (await ask(bench, ctx, Type.REG_WRITE, tag=1))[0] == Type.REG_STATUS

    bench.run(testbench)


def test_chains_to_a_target():
    bench = Bench()

    async def testbench(ctx):
        answer = await ask(bench, ctx, Type.CHAIN, tag=0x1234, flags=Flag.RESUME, count=2, length=6)
        assert answer == (Type.CHAIN_STATUS, {"tag": 0x1234, "code": Code.WRONG_ROLE, "set": 0,
                                              "detail": 0}, *NONE)
        for index in range(2):
            await bench.request(ctx, Type.WRITE, tag=0x1234, index=index, length=G.track_bytes)
        await ctx.tick().repeat(20)
        assert not ctx.get(bench.dut.submit.valid)
        assert bench.refused == 1

    bench.run(testbench)


def test_chains_at_a_source_pass_through():
    bench = Bench(Role.SOURCE)
    dut = bench.dut

    async def requests(ctx):
        await bench.request(ctx, Type.CHAIN, tag=7, count=2, length=6)
        await bench.request(ctx, Type.WRITE, tag=7, index=1, length=32)
        await bench.request(ctx, Type.REG_WRITE, tag=8, address=1)

    async def chain(ctx):
        await ctx.tick().repeat(30)
        assert not ctx.get(dut.registers.req), "requests keep their order"
        event = await get(ctx, dut.chain_events)
        assert fields_of(event) == (Type.CHAIN, {"tag": 7, "flags": 0, "count": 2})
        assert event.length == 6
        event = await get(ctx, dut.chain_events)
        assert fields_of(event) == (Type.WRITE, {"tag": 7, "index": 1})
        assert (await bench.answer(ctx))[0] == Type.REG_STATUS

    bench.run(requests, chain)


def test_answers_of_the_source_are_merged_and_refusals_counted():
    bench = Bench(Role.SOURCE)
    dut = bench.dut

    def descriptor(type_, **fields):
        return {"type": type_, "header": header_bits(type_, **fields),
                "kind": PayloadKind.NONE, "arg": 0}

    async def status(ctx):
        for code in (Code.OK, Code.COLLISION):
            await put(ctx, dut.status, descriptor(Type.CHAIN_STATUS, tag=1, code=code))

    async def reconnects(ctx):
        for _n in range(2):
            await put(ctx, dut.reconnects, descriptor(Type.RECONNECT, volume=1, track=0x0505))

    async def read(ctx):
        await bench.request(ctx, Type.READ, tag=2, volume=0, track=0, count=3)

    async def answers(ctx):
        types = [(await bench.answer(ctx))[0] for _ in range(7)]
        assert sorted(types) == sorted([Type.CHAIN_STATUS] * 2 + [Type.RECONNECT] * 2
                                       + [Type.READ_DATA] * 3)
        await ctx.tick().repeat(2)
        assert bench.refused == 1, "a RECONNECT has other things where answers have their code"
        assert bench.read == 3

    bench.run(status, reconnects, read, answers)


def test_role_is_checked():
    with pytest.raises(ValueError, match="SOURCE or TARGET"):
        HostPort(G, Role.HOST)
