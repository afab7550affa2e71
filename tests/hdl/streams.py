"""Streams in simulation: put, get, assert, and a monitor for the rules every stream obeys."""

import random

from amaranth import Signal

CLOCK = 1e-6        # seconds; so simulated microseconds are clocks

__all__ = ["StreamMonitor", "run", "stream_assert", "stream_get", "stream_put", "ticks", "until"]


async def until(ctx, condition, *values):
    """Wait for a clock edge with ``condition`` true; returns ``values`` sampled there.

    Like ``ctx.tick().sample(*values).until(condition)``, but sleeps while ``condition`` (if it is
    a signal) is false instead of looking every clock, and may be waiting when the simulation
    ends (that one then complains about its own generator).
    """
    while True:
        if isinstance(condition, Signal) and not ctx.get(condition):
            await ctx.posedge(condition)
        _, _, done, *sampled = await ctx.tick().sample(condition, *values)
        if done:
            return sampled


async def ticks(ctx, count):
    """Wait for ``count`` clock edges of :func:`run`, asleep for most of them."""
    if count > 2:
        await ctx.delay((count - 1) * CLOCK)
        count = 1
    for _ in range(count):
        await ctx.tick()


async def stream_put(ctx, stream, payload):
    """Offer ``payload`` until it is taken."""
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    await until(ctx, stream.ready)
    ctx.set(stream.valid, 0)


async def stream_get(ctx, stream):
    """Take one payload; leaves ready low."""
    ctx.set(stream.ready, 1)
    payload, = await until(ctx, stream.valid, stream.payload)
    ctx.set(stream.ready, 0)
    return payload


async def stream_assert(ctx, stream, expected):
    """Take one payload and compare it; a struct is compared with a dict, field by field."""
    payload = await stream_get(ctx, stream)
    if isinstance(expected, dict):
        payload = {name: payload[name] for name in expected}
    assert payload == expected, f"expected {expected}, got {payload}"


class StreamMonitor:
    """Checks that what is offered stays until it is taken, and collects what is taken.

    Give it to :func:`run` as a monitor; ``taken`` has every payload in order.
    """

    def __init__(self, stream, name):
        self.stream = stream
        self.name = name
        self.taken = []

    async def watch(self, ctx):
        stream = self.stream
        held = None
        async for _, reset, valid, ready, payload in ctx.tick().sample(
                stream.valid, stream.ready, stream.payload):
            if reset:
                held = None
                continue
            if held is not None:
                assert valid, f"{self.name}: payload withdrawn before it was taken"
                assert payload == held, f"{self.name}: payload changed before it was taken"
            held = payload if valid and not ready else None
            if valid and ready:
                self.taken.append(payload)


def run(dut, *benches, monitors=(), limit=20000, vcd=None):
    """Simulate ``dut`` until every bench has ended; fail after ``limit`` clocks.

    ``benches`` are testbenches; ``monitors`` are :class:`StreamMonitor` or background
    processes. The clock runs at 1 MHz, so simulated microseconds are clocks.
    """
    from amaranth.sim import Simulator

    sim = Simulator(dut)
    sim.add_clock(CLOCK)
    left = len(benches)
    done = [False]

    def counted(bench):
        async def wrapper(ctx):
            nonlocal left
            await bench(ctx)
            left -= 1
            if not left:
                done[0] = True
        return wrapper

    async def watchdog(ctx):
        await ctx.delay(limit * CLOCK)       # a pending repeat() makes noise when it is dropped
        raise AssertionError(f"watchdog: bench still running after {limit} clocks")

    for bench in benches:
        sim.add_testbench(counted(bench))
    sim.add_testbench(watchdog, background=True)
    for monitor in monitors:
        process = monitor.watch if isinstance(monitor, StreamMonitor) else monitor
        sim.add_testbench(process, background=True)
    if vcd is None:
        sim.run()
    else:
        with sim.write_vcd(vcd):
            sim.run()
    assert done[0], "the bench never ended"


def pauses(rng: random.Random, chance=0.3, longest=5):
    """Clocks to wait before the next beat: mostly 0."""
    return rng.randrange(1, longest + 1) if rng.random() < chance else 0
