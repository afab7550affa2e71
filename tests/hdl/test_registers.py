# amaranth: UnusedElaboratable=no
import pytest
from amaranth import *

from firmware_model.geometry import MAX_DIVISOR, MIN_DIVISOR
from firmware_model.wire import POLL_UNIT, REGISTERS, SLOW_TICK, Code, Counter, Reg, Role
from hdl.registers import POLL_INTERVAL_RESET, Registers, group_timeout_reset

from .target_bench import SMALL, access, simulate

ROLES = (Role.SOURCE, Role.TARGET)
WRITE_ONCE = {Reg.DESTAGE}      # a request, not a state


def answer_windows(dut):
    """Background bench: every window answers with its own tag and the address."""
    async def process(ctx):
        windows = [name for name in ("counters", "pages", "volume_set", "channel")
                   if hasattr(dut, name)]
        while True:
            await ctx.tick()
            for n, name in enumerate(windows):
                port = getattr(dut, name)
                busy = ctx.get(port.req) and not ctx.get(port.ack)
                ctx.set(port.ack, busy)
                ctx.set(port.rdata, (n + 1) << 16 | ctx.get(port.addr))
                ctx.set(port.code, Code.SET_BUSY if ctx.get(port.we) else Code.OK)
    return process


@pytest.mark.parametrize("role", ROLES)
def test_every_register_is_what_the_table_says(role):
    dut = Registers(SMALL, role)

    async def testbench(ctx):
        ctx.set(dut.generation, 9)
        ctx.set(dut.life, 0x0203)
        ctx.set(dut.free_slots, 17)
        ctx.set(dut.links_up, 2)
        known = {r.address: r for r in REGISTERS if role in r.roles}
        for address in range(Reg.COUNTERS):
            code, _ = await access(ctx, dut.bus, address)
            register = known.get(address)
            if register is None:
                assert code == Code.BAD_REGISTER, hex(address)
                assert (await access(ctx, dut.bus, address, 1))[0] == Code.BAD_REGISTER
                continue
            assert code == Code.OK, register
            code, _ = await access(ctx, dut.bus, address,
                                   2560 if address == Reg.LINK_DIVISOR else 0)
            assert code == (Code.OK if register.writable else Code.READ_ONLY), register

        expected = {
            Reg.MAGIC: 0x46415253, Reg.ROLE: role, Reg.VOLUMES: SMALL.volumes,
            Reg.TRACKS_PER_VOLUME: SMALL.tracks_per_volume, Reg.TRACK_BYTES: SMALL.track_bytes,
            Reg.SETS: SMALL.sets, Reg.LINKS: SMALL.links, Reg.CHAIN_LIMIT: SMALL.chain_limit,
            Reg.SPARE_SLOTS: SMALL.spare_slots, Reg.STAGING_SLOTS: SMALL.staging_slots,
            Reg.GROUPS_IN_FLIGHT: SMALL.groups_in_flight, Reg.WINDOW: SMALL.window,
            Reg.VOLUMES_PER_SET: SMALL.volumes_per_set, Reg.CLOCK_HZ: SMALL.clock_hz,
            Reg.HOST_DIVISOR: 2560, Reg.LINK_DIVISOR: 2560, Reg.GENERATION: 9, Reg.LIFE: 0x0203,
            Reg.FREE_SLOTS: 17, Reg.LINKS_UP: 2,
        }
        for address, value in expected.items():
            assert await access(ctx, dut.bus, address) == (Code.OK, value), address

    simulate(dut, testbench)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("channel", [False, True])
def test_windows(role, channel):
    dut = Registers(SMALL, role, channel=channel)
    windows = {Reg.COUNTERS: True, Reg.COUNTERS + Counter.POLLS: True, Reg.LINK_COUNTERS: True,
               Reg.SET_PAGES - 1: True, Reg.SET_PAGES: True, Reg.VOLUME_SET - 1: True,
               Reg.VOLUME_SET: role is Role.SOURCE, Reg.CHANNEL - 1: role is Role.SOURCE,
               Reg.CHANNEL: channel, 2 * Reg.CHANNEL - 1: channel,
               2 * Reg.CHANNEL: False, 0xFFFF: False}

    async def testbench(ctx):
        names = []
        for address, present in windows.items():
            code, value = await access(ctx, dut.bus, address)
            assert code == (Code.OK if present else Code.BAD_REGISTER), hex(address)
            if present:
                assert value & 0xFFFF == address
                names.append(value >> 16)
            code, _ = await access(ctx, dut.bus, address, 5)
            assert code == (Code.SET_BUSY if present else Code.BAD_REGISTER)
        assert names[:6] == [1, 1, 1, 1, 2, 2]
        assert len(set(names)) == 2 + (role is Role.SOURCE) + channel

    simulate(dut, testbench, background=[answer_windows(dut)])


def test_cycles_are_one_number_in_two_words():
    dut = Registers(SMALL, Role.TARGET)

    async def testbench(ctx):
        ctx.set(dut._cycles, (1 << 32) - 3)
        ctx.set(dut._cycles_high, 4)
        _code, low = await access(ctx, dut.bus, Reg.CYCLES)
        assert low >= 2**32 - 3, "read before the low word wraps"
        await ctx.tick().repeat(20)
        assert await access(ctx, dut.bus, Reg.CYCLES_HIGH) == (Code.OK, 4)
        _, later = await access(ctx, dut.bus, Reg.CYCLES)
        assert 15 < later < 50
        assert await access(ctx, dut.bus, Reg.CYCLES_HIGH) == (Code.OK, 5)
        await access(ctx, dut.bus, Reg.CYCLES)
        for high in (6, 7):                 # nobody asks for it for years
            ctx.set(dut._cycles, (1 << 32) - 3)
            await ctx.tick().repeat(20)
            ctx.set(dut._cycles, 1 << 31)
            await ctx.tick().repeat(20)
            assert await access(ctx, dut.bus, Reg.CYCLES_HIGH) == (Code.OK, high)
            await access(ctx, dut.bus, Reg.CYCLES)

    simulate(dut, testbench)


def test_ticks():
    dut = Registers(SMALL, Role.SOURCE)

    async def testbench(ctx):
        slow = poll = 0
        ctx.set(dut._cycles, SLOW_TICK - 4 * POLL_UNIT)
        for _ in range(8 * POLL_UNIT):
            await ctx.tick()
            slow += ctx.get(dut.slow_tick)
            poll += ctx.get(dut.poll_tick)
        assert (slow, poll) == (1, 8)

    simulate(dut, testbench)


@pytest.mark.parametrize("role", ROLES)
def test_rate_of_the_links(role):
    dut = Registers(SMALL, role)

    async def testbench(ctx):
        assert ctx.get(dut.link_divisor) == 0
        for value in (MIN_DIVISOR, MAX_DIVISOR, 2560):
            assert (await access(ctx, dut.bus, Reg.LINK_DIVISOR, value))[0] == Code.OK
            assert ctx.get(dut.link_divisor) == value
        for value in (0, MIN_DIVISOR - 1, MAX_DIVISOR + 1, (1 << 32) - 1):
            assert (await access(ctx, dut.bus, Reg.LINK_DIVISOR, value))[0] == Code.BAD_VALUE
            assert await access(ctx, dut.bus, Reg.LINK_DIVISOR) == (Code.OK, 2560)

    simulate(dut, testbench)


def test_rate_of_the_links_may_be_fixed():
    dut = Registers(SMALL, Role.SOURCE, rate=False)

    async def testbench(ctx):
        assert (await access(ctx, dut.bus, Reg.LINK_DIVISOR, 2048))[0] == Code.READ_ONLY
        assert await access(ctx, dut.bus, Reg.LINK_DIVISOR) == (Code.OK, 2560)

    simulate(dut, testbench)


def test_source_controls():
    dut = Registers(SMALL, Role.SOURCE)

    async def testbench(ctx):
        assert ctx.get(dut.poll_interval) == POLL_INTERVAL_RESET
        assert ctx.get(dut.group_timeout) == group_timeout_reset(SMALL)
        ctx.set(dut.disconnected, 3)
        ctx.set(dut.credit, 12)
        assert await access(ctx, dut.bus, Reg.DISCONNECTED) == (Code.OK, 3)
        assert await access(ctx, dut.bus, Reg.CREDIT) == (Code.OK, 12)
        for address, port, largest in ((Reg.POLL_INTERVAL, dut.poll_interval, 2**24 - 1),
                                       (Reg.GROUP_TIMEOUT, dut.group_timeout, 2**16 - 1)):
            assert (await access(ctx, dut.bus, address, largest))[0] == Code.OK
            assert ctx.get(port) == largest
            assert (await access(ctx, dut.bus, address, largest + 1))[0] == Code.BAD_VALUE
            assert ctx.get(port) == largest
            assert await access(ctx, dut.bus, address) == (Code.OK, largest)
        assert (await access(ctx, dut.bus, Reg.DESTAGE, 1 << SMALL.sets))[0] == Code.BAD_VALUE

    simulate(dut, testbench)


def test_destage_pulses_once():
    dut = Registers(SMALL, Role.SOURCE)
    seen = []

    async def watch(ctx):
        while True:
            *_, destage = await ctx.tick().sample(dut.destage)
            if destage:
                seen.append(destage)

    async def testbench(ctx):
        await access(ctx, dut.bus, Reg.DESTAGE, 0b10)
        await access(ctx, dut.bus, Reg.DESTAGE, 0b11)
        await access(ctx, dut.bus, Reg.DESTAGE, 0b100)
        await access(ctx, dut.bus, Reg.DESTAGE)
        await ctx.tick().repeat(3)
        assert seen == [0b10, 0b11]

    simulate(dut, testbench, background=[watch])


def test_hold_is_answered_when_commits_have_stopped():
    dut = Registers(SMALL, Role.TARGET)

    async def testbench(ctx):
        ctx.set(dut.bus.addr, Reg.HOLD)
        ctx.set(dut.bus.wdata, 3)
        ctx.set(dut.bus.we, 1)
        ctx.set(dut.bus.req, 1)
        await ctx.tick()                # what the address is of
        for _ in range(50):
            await ctx.tick()
            assert not ctx.get(dut.bus.ack)
            assert ctx.get(dut.hold)
        ctx.set(dut.held, 1)
        await ctx.tick().until(dut.bus.ack)
        ctx.set(dut.bus.req, 0)
        assert (await access(ctx, dut.bus, Reg.HOLD, 1 << 16))[0] == Code.BAD_VALUE
        assert await access(ctx, dut.bus, Reg.HOLD) == (Code.OK, 3)
        for left in (2, 1, 0):
            assert ctx.get(dut.hold)
            ctx.set(dut._cycles, SLOW_TICK - 1)
            await ctx.tick().repeat(2)      # the tick, and its effect
            assert await access(ctx, dut.bus, Reg.HOLD) == (Code.OK, left)
        assert not ctx.get(dut.hold), "a reader that goes away cannot stop the mirror"
        assert (await access(ctx, dut.bus, Reg.HOLD, 9))[0] == Code.OK
        ctx.set(dut.held, 0)
        assert (await access(ctx, dut.bus, Reg.HOLD, 0))[0] == Code.OK
        assert not ctx.get(dut.hold)

    simulate(dut, testbench)


def test_role_is_checked():
    with pytest.raises(ValueError, match="SOURCE or TARGET"):
        Registers(SMALL, Role.HOST)
