# amaranth: UnusedElaboratable=no
"""Arbiters: everybody gets a turn, nothing is lost or mixed up."""

import pytest
from amaranth import *
from amaranth.lib import wiring

from hdl.arbiter import MemoryArbiter, RegisterArbiter, RoundRobin, StreamMerge

from .source_bench import pauses, seeded, simulate, stream_get, stream_put, until
from .streams import StreamMonitor


@pytest.mark.parametrize("clients", [1, 2, 3, 5])
def test_round_robin_is_the_first_after_last(clients):
    dut = RoundRobin(clients)

    async def bench(ctx):
        for last in range(clients):
            ctx.set(dut.last, last)
            for requests in range(1 << clients):
                ctx.set(dut.requests, requests)
                await ctx.tick()
                assert ctx.get(dut.valid) == bool(requests)
                if requests:
                    expected = next((last + n) % clients for n in range(1, clients + 1)
                                    if requests >> (last + n) % clients & 1)
                    assert ctx.get(dut.next) == expected

    m = Module()
    m.submodules.dut = dut
    m.d.sync += Signal().eq(1)
    simulate(m, bench)


@pytest.mark.parametrize("make", [lambda n: RoundRobin(n), lambda n: MemoryArbiter(n, 4),
                                  lambda n: RegisterArbiter(n), lambda n: StreamMerge(n, 8)])
@pytest.mark.parametrize("clients", [0, -1, "2"])
def test_clients_are_checked(make, clients):
    with pytest.raises(ValueError, match=rf"clients must be at least 1, not {clients!r}"):
        make(clients)


def test_merge_keeps_order_of_each_input_and_is_fair():
    rng = seeded(3)
    dut = StreamMerge(3, 8)
    monitor = StreamMonitor(dut.o, "merged")
    taken = []

    def source(n):
        async def bench(ctx):
            for k in range(20):
                for _ in range(pauses(rng, 0.2)):
                    await ctx.tick()
                await stream_put(ctx, dut.i[n], n << 6 | k)
        return bench

    async def sink(ctx):
        for _ in range(60):
            taken.append(await stream_get(ctx, dut.o))

    simulate(dut, source(0), source(1), source(2), sink, background=[monitor])
    for n in range(3):
        assert [v & 63 for v in taken if v >> 6 == n] == list(range(20))

    # With all inputs always busy, they take turns exactly.
    dut = StreamMerge(3, 8)
    taken.clear()

    def busy(n):
        async def bench(ctx):
            while True:
                await stream_put(ctx, dut.i[n], n)
        return bench

    async def take(ctx):
        for _ in range(12):
            taken.append(await stream_get(ctx, dut.o))

    simulate(dut, take, background=[busy(0), busy(1), busy(2)])
    assert sorted(taken[:3]) == [0, 1, 2]
    assert taken[3:] == taken[:3] * 3


def test_memory_clients_each_read_what_they_wrote():
    from firmware_model.geometry import Geometry
    from hdl.datamem import DataMemory

    g = Geometry(volumes=1, tracks_per_volume=1, track_bytes=16, sets=1, links=1, chain_limit=1,
                 spare_slots=4, staging_slots=2)
    m = Module()
    m.submodules.memory = memory = DataMemory(g, g.source_slots)
    m.submodules.arbiter = arbiter = MemoryArbiter(3, len(memory.port.addr))
    wiring.connect(m, arbiter.port, memory.port)
    rng = seeded(4)

    def client(n):
        port = arbiter.clients[n]

        async def access(ctx, address, value=None):
            ctx.set(port.addr, address)
            ctx.set(port.we, value is not None)
            ctx.set(port.wdata, value or 0)
            ctx.set(port.req, 1)
            data, = await ctx.tick().sample(port.rdata).until(port.ack)
            ctx.set(port.req, 0)
            return data

        async def bench(ctx):
            values = {}
            for _ in range(40):
                address = n << 4 | rng.randrange(16)
                if address in values and rng.random() < 0.6:
                    assert await access(ctx, address) == values[address]
                else:
                    values[address] = rng.randrange(256)
                    await access(ctx, address, values[address])
                for _ in range(pauses(rng, 0.3)):
                    await ctx.tick()
        return bench

    simulate(m, client(0), client(1), client(2))


def test_register_answers_reach_who_asked():
    """Each access is made once, and who has had all of its own keeps nobody waiting."""
    dut = RegisterArbiter(2)
    accesses = {0: 8, 1: 10}
    served = []

    async def responder(ctx):
        port = dut.port
        while True:
            addr, wdata = await until(ctx, port.req, port.addr, port.wdata)
            served.append(addr)
            ctx.set(port.rdata, addr * 3)
            ctx.set(port.code, wdata)
            ctx.set(port.ack, 1)
            await ctx.tick()
            ctx.set(port.ack, 0)

    def client(n):
        async def bench(ctx):
            port = dut.clients[n]
            for k in range(accesses[n]):
                ctx.set(port.addr, 100 * n + k)
                ctx.set(port.wdata, n)
                ctx.set(port.req, 1)
                rdata, code = await ctx.tick().sample(port.rdata, port.code).until(port.ack)
                assert (rdata, code) == (3 * (100 * n + k), n)
                assert ctx.get(dut.clients[1 - n].ack) == 0
                ctx.set(port.req, 0)
                if n and k == 5:
                    await ctx.tick().repeat(50)     # nobody else asks any more
        return bench

    simulate(dut, client(0), client(1), background=[responder])
    assert sorted(served) == [100 * n + k for n in accesses for k in range(accesses[n])]


@pytest.mark.parametrize("make", [lambda w: MemoryArbiter(2, 4, writers=w),
                                  lambda w: RegisterArbiter(2, writers=w)])
@pytest.mark.parametrize("writers", [-1, 3, "1"])
def test_writers_are_checked(make, writers):
    with pytest.raises(ValueError, match=rf"writers {writers!r} is outside 0..2"):
        make(writers)


def test_only_writers_write():
    dut = MemoryArbiter(3, 4, writers=1)
    seen = []

    async def memory(ctx):
        while True:
            seen.append(await until(ctx, dut.port.req, dut.port.addr, dut.port.we,
                                    dut.port.wdata))
            ctx.set(dut.port.ack, 1)
            await ctx.tick()
            ctx.set(dut.port.ack, 0)

    async def bench(ctx):
        for n in (0, 1, 2, 0):
            client = dut.clients[n]
            for name, value in (("addr", n), ("we", 1), ("wdata", 5 + n), ("req", 1)):
                ctx.set(getattr(client, name), value)
            await until(ctx, client.ack)
            ctx.set(client.req, 0)
            await ctx.tick()
        assert [(addr, we) for addr, we, _ in seen] == [(0, 1), (1, 0), (2, 0), (0, 1)]
        assert seen[0][2] == seen[3][2] == 5

    simulate(dut, bench, background=[memory])
