# amaranth: UnusedElaboratable=no
import pytest
from amaranth import *

from firmware_model.wire import LINK_COUNTER_STRIDE, Code, Counter, LinkCounter, Reg
from hdl.counters import Counters, Tally

from .target_bench import SMALL, OnPlatform, access, seeded, simulate

EVENTS = [counter for counter in LinkCounter if counter is not LinkCounter.DOWN_TIME]


def link_address(link, counter):
    return Reg.LINK_COUNTERS + LINK_COUNTER_STRIDE * link + counter


async def add(ctx, signal, amount=1):
    """Add for one clock."""
    ctx.set(signal, amount)
    await ctx.tick()
    ctx.set(signal, 0)


@pytest.mark.parametrize("quick_words", [None, 0])
def test_random_bursts_within_the_promised_spacing(quick_words):
    dut = Counters(SMALL, {Counter.CHAINS: Tally(), Counter.COMMANDS: Tally(8, 12),
                           Counter.DISPATCH_CLOCKS: Tally(1, 8)})
    rng = seeded(11)
    expected = dict.fromkeys(("chains", "commands", "dispatch_clocks"), 0)
    link_expected = [[0] * len(LinkCounter) for _ in range(SMALL.links)]

    async def events(ctx):
        for _ in range(40):
            # As much as may gather between two visits, in one burst, on all counters at once.
            for _ in range(3):
                amount = rng.randrange(256)
                ctx.set(dut.add.chains, 1)
                ctx.set(dut.add.commands, amount)
                expected["chains"] += 1
                expected["commands"] += amount
                for n in range(SMALL.links):
                    some = rng.randrange(256)
                    ctx.set(dut.links[n], {c.name.lower(): some >> c & 1 for c in EVENTS})
                    for counter in EVENTS:
                        link_expected[n][counter] += some >> counter & 1
                await ctx.tick()
            ctx.set(dut.add.chains, 0)
            ctx.set(dut.add.commands, 0)
            for n in range(SMALL.links):
                ctx.set(dut.links[n], {})
            clocks = rng.randrange(1, dut.max_gap)
            ctx.set(dut.add.dispatch_clocks, 1)
            await ctx.tick().repeat(clocks)
            ctx.set(dut.add.dispatch_clocks, 0)
            expected["dispatch_clocks"] += clocks
            await ctx.tick().repeat(dut.max_gap - clocks + 1)
        await ctx.tick().repeat(dut.max_gap)
        for counter in Counter:
            want = expected.get(counter.name.lower(), 0)
            assert await access(ctx, dut.bus, Reg.COUNTERS + counter) == (Code.OK, want), counter
        for n in range(SMALL.links):
            for counter in LinkCounter:
                assert await access(ctx, dut.bus, link_address(n, counter)) == (
                    Code.OK, link_expected[n][counter]), (n, counter)

    simulate(OnPlatform(dut, quick_words), events)


def test_down_time_is_counted_at_every_tick():
    """Of each link by itself, and only then."""
    dut = Counters(SMALL, {})
    down = [[tick % 2, tick % 3 == 0] for tick in range(12)]

    async def events(ctx):
        for now in down:
            ctx.set(dut.down, now[0] | now[1] << 1)
            await ctx.tick().repeat(dut.max_gap)
            await add(ctx, dut.tick)
        await ctx.tick().repeat(dut.max_gap)
        for n in range(2):
            code, value = await access(ctx, dut.bus, link_address(n, LinkCounter.DOWN_TIME))
            assert (code, value) == (Code.OK, sum(now[n] for now in down))

    simulate(dut, events)


def test_reading_at_the_same_time_loses_nothing():
    dut = Counters(SMALL, {Counter.GROUPS: Tally()})
    done = []

    async def events(ctx):
        for _ in range(100):
            await add(ctx, dut.add.groups)
            await ctx.tick().repeat(dut.max_gap // 3)
        await ctx.tick().repeat(dut.max_gap)
        done.append(True)

    async def reader(ctx):
        last = 0
        while not done:
            code, value = await access(ctx, dut.bus, Reg.COUNTERS + Counter.GROUPS)
            assert code == Code.OK
            assert value >= last
            last = value
        assert await access(ctx, dut.bus, Reg.COUNTERS + Counter.GROUPS) == (Code.OK, 100)

    simulate(dut, events, reader)


def test_the_high_half_takes_the_carry():
    """A quarter of a million events, of which two counters see 255 a clock."""
    dut = Counters(SMALL, {Counter.CHAINS: Tally(), Counter.COMMANDS: Tally(8, 16),
                           Counter.LOOKUPS: Tally(8, 16)})
    rounds = 9

    async def testbench(ctx):
        for _ in range(rounds):
            ctx.set(dut.add.commands, 255)
            ctx.set(dut.add.lookups, 254)
            await ctx.tick().repeat(120)
            ctx.set(dut.add.commands, 0)
            ctx.set(dut.add.lookups, 0)
            await ctx.tick().repeat(dut.max_gap)
        for counter, amount in ((Counter.COMMANDS, 255), (Counter.LOOKUPS, 254),
                                (Counter.CHAINS, 0)):
            assert await access(ctx, dut.bus, Reg.COUNTERS + counter) == (
                Code.OK, 120 * rounds * amount), counter
        assert 120 * rounds * 254 > 4 << 16

    simulate(dut, testbench)


def test_what_is_no_counter_is_refused():
    dut = Counters(SMALL, {Counter.GROUPS: Tally()})

    async def testbench(ctx):
        for address in (Reg.COUNTERS + len(Counter), Reg.LINK_COUNTERS - 1,
                        link_address(0, len(LinkCounter)), link_address(SMALL.links, 0),
                        Reg.SET_PAGES - 1):
            assert (await access(ctx, dut.bus, address))[0] == Code.BAD_REGISTER, hex(address)
            assert (await access(ctx, dut.bus, address, 1))[0] == Code.BAD_REGISTER
        assert (await access(ctx, dut.bus, Reg.COUNTERS, 1))[0] == Code.READ_ONLY
        await add(ctx, dut.add.groups)
        assert (await access(ctx, dut.bus, Reg.COUNTERS + Counter.GROUPS, 7))[0] == Code.READ_ONLY
        await ctx.tick().repeat(dut.max_gap)
        assert (await access(ctx, dut.bus, Reg.COUNTERS + Counter.GROUPS)) == (Code.OK, 1)

    simulate(dut, testbench)


@pytest.mark.parametrize(("amount", "pending"), [(0, 1), (3, 2), (1, 17)])
def test_tally_bounds(amount, pending):
    with pytest.raises(ValueError, match=f"amount {amount}, pending {pending}"):
        Tally(amount, pending)


def test_keys_are_counters():
    with pytest.raises(TypeError, match="'chains'"):
        Counters(SMALL, {"chains": Tally()})
