"""Register bus of a system: what it is, how it is set, and windows to the rest."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from firmware_model import wire
from firmware_model.geometry import MAX_DIVISOR, MIN_DIVISOR
from firmware_model.wire import Code, Reg, Role

from .frame import longest_frame
from .interfaces import RegisterPort

__all__ = ["CLOCK_BITS", "POLL_INTERVAL_RESET", "Registers", "group_timeout_reset"]

CLOCK_BITS = 33     # one above the 32 that a time has: the carry tells that it overflowed

POLL_INTERVAL_RESET = 64        # of 256 clocks: a millisecond or so, near real time

_POLL_BITS = 24                 # 2**32 clocks: as long as anybody waits
_SLOW_BITS = 16                 # AGE, which is compared with GROUP_TIMEOUT, is a 16-bit page word


def group_timeout_reset(geometry):
    """Slow ticks without commit status after which groups are sent again.

    What the links were handed last may be a window of longest frames each; four times that, and
    never less than a third of a second at 12 MHz, leaves room for the way and back.
    """
    window_bits = 10 * geometry.window * longest_frame(geometry.track_bytes)
    clocks = 4 * window_bits * geometry.clock_hz // geometry.link_baud
    return max(64, min(-(-clocks // wire.SLOW_TICK), (1 << _SLOW_BITS) - 1))


# First and last address of each window, at powers of two: so it takes a few bits of an address to
# tell them apart, and an XOR to find the place within one. The component behind a window answers
# every address in it, unknown ones with BAD_REGISTER.
_WINDOWS = {
    "counters": (Reg.COUNTERS, Reg.SET_PAGES - 1),
    "pages": (Reg.SET_PAGES, Reg.VOLUME_SET - 1),
    "volume_set": (Reg.VOLUME_SET, Reg.CHANNEL - 1),
    "channel": (Reg.CHANNEL, 2 * Reg.CHANNEL - 1),
}
_LOW_BITS = exact_log2(Reg.COUNTERS)     # of an address below the first window


class Registers(wiring.Component):
    """Answers the registers below ``COUNTERS`` and passes others on to their windows.

    A request reaches its window 1 clock after it is made, when it is known whose the address is.
    Local registers answer 2 clocks after the request, except a write to HOLD other than 0, which
    answers once ``held``: from then on nothing commits. Refusals: BAD_REGISTER for an address
    that this role has not, READ_ONLY for a write to what cannot be written, BAD_VALUE for a value
    that does not fit; none changes anything.

    HOLD counts down once every ``SLOW_TICK`` clocks, so that a reader that goes away cannot stop
    the mirror; a reader that needs longer writes it again.

    Parameters
    ----------
    geometry : Geometry
    role : Role
        SOURCE or TARGET: decides which control registers and windows exist.
    channel : bool
        Whether there is a channel emulator behind this port.
    rate : bool
        Whether LINK_DIVISOR can be written.

    Members
    -------
    bus : In(RegisterPort())
    counters, pages : Out(RegisterPort())
        Windows: ``COUNTERS`` with ``LINK_COUNTERS``, and ``SET_PAGES``.
    volume_set : Out(RegisterPort())
        Window ``VOLUME_SET``; source only.
    channel : Out(RegisterPort())
        Window ``CHANNEL``; only if asked for.
    generation : In(8), life : In(16)
    free_slots : In(17)
    links_up : In(links)
    link_divisor : Out(24)
        What LINK_DIVISOR was set to; 0 until then. Only if asked for.
    slow_tick, poll_tick : Out(1)
        One clock in each ``SLOW_TICK`` and ``POLL_UNIT``.
    clock : Out(CLOCK_BITS)
        Clocks since reset.
    disconnected : In(8), credit : In(17)
        Source only.
    poll_interval : Out(24)
        In units of ``POLL_UNIT`` clocks, 0 for never; source only.
    group_timeout : Out(16)
        In units of ``SLOW_TICK`` clocks, 0 for never; source only.
    destage : Out(sets)
        Pulse for each set that the host wants destaged; source only.
    hold : Out(1), held : In(1)
        Target only: commits must stop at a chain boundary; none is in progress.
    """

    def __init__(self, geometry, role, *, channel=False, rate=True):
        if role not in (Role.SOURCE, Role.TARGET):
            raise ValueError(f"role must be SOURCE or TARGET, not {role!r}")
        self.geometry = geometry
        self.role = role
        self._rate = rate
        members = {
            "bus": In(RegisterPort()),
            "counters": Out(RegisterPort()),
            "pages": Out(RegisterPort()),
            "generation": In(8),
            "life": In(16),
            "free_slots": In(17),
            "links_up": In(geometry.links),
            "slow_tick": Out(1),
            "poll_tick": Out(1),
            "clock": Out(CLOCK_BITS),
        }
        self._windows = ["counters", "pages"]
        if role is Role.SOURCE:
            members |= {
                "volume_set": Out(RegisterPort()),
                "disconnected": In(8),
                "credit": In(17),
                "poll_interval": Out(_POLL_BITS, init=POLL_INTERVAL_RESET),
                "group_timeout": Out(_SLOW_BITS),
                "destage": Out(geometry.sets),
            }
            self._windows.append("volume_set")
        else:
            members |= {"hold": Out(1), "held": In(1)}
        if rate:
            members["link_divisor"] = Out(range(MAX_DIVISOR + 1))
        if channel:
            members["channel"] = Out(RegisterPort())
            self._windows.append("channel")
        # Attributes so that tests need not wait for years.
        self._cycles = Signal(CLOCK_BITS)
        self._cycles_high = Signal(32)
        self._not_timeout = Signal(
            _SLOW_BITS, init=(1 << _SLOW_BITS) - 1 - group_timeout_reset(geometry))
        super().__init__(members)

    def constants(self):
        """Value after reset of every register that the geometry decides."""
        g = self.geometry
        return {
            Reg.MAGIC: wire.MAGIC, Reg.VERSION: wire.PROTOCOL_VERSION, Reg.ROLE: self.role.value,
            Reg.VOLUMES: g.volumes, Reg.TRACKS_PER_VOLUME: g.tracks_per_volume,
            Reg.TRACK_BYTES: g.track_bytes, Reg.SETS: g.sets, Reg.LINKS: g.links,
            Reg.CHAIN_LIMIT: g.chain_limit, Reg.SPARE_SLOTS: g.spare_slots,
            Reg.STAGING_SLOTS: g.staging_slots, Reg.GROUPS_IN_FLIGHT: g.groups_in_flight,
            Reg.WINDOW: g.window, Reg.VOLUMES_PER_SET: g.volumes_per_set,
            Reg.CLOCK_HZ: g.clock_hz, Reg.HOST_DIVISOR: g.divisor(g.host_baud),
            Reg.LINK_DIVISOR: g.divisor(g.link_baud),
        }

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        cycles = self._cycles
        m.d.comb += self.clock.eq(cycles)
        # Registers, so that the many who wait for a tick do not all look at ``cycles`` every clock:
        # that is the same to the gateware, and much to its simulation.
        m.d.sync += [
            cycles.eq(cycles + 1),
            self.slow_tick.eq(cycles[:exact_log2(wire.SLOW_TICK)].all()),
            self.poll_tick.eq(cycles[:exact_log2(wire.POLL_UNIT)].all()),
        ]

        asked = Signal()            # for a clock, so that it is known what the address is of
        m.d.sync += asked.eq(bus.req & ~bus.ack)
        local = Signal()            # the address is in no window
        low = Signal()              # ... but below all of them, where there are registers
        elsewhere = [self._forward(m, asked, getattr(self, name), *_WINDOWS[name])
                     for name in self._windows]
        m.d.sync += [local.eq(~Cat(elsewhere).any()), low.eq(~bus.addr[_LOW_BITS:].any())]

        # A local answer is prepared in one clock and given in the next.
        known = Signal()            # there is such a register
        value = Signal(32)
        is_cycles = Signal()        # ... but CYCLES, which would make ``value`` change every clock
        settled = Signal(init=1)    # what was written has taken effect
        ack, rdata, code = Signal(), Signal(32), Signal(8)
        answer, looks = Signal(), Signal()
        m.d.comb += [
            answer.eq(asked & local & ~ack),
            looks.eq(answer & low & ~bus.we),
        ]
        writable, unfit = [], []

        def written(address, fits):
            """A value for it is being written; ``fits`` tells whether ``wdata`` is one."""
            here = Signal(name=f"is_{Reg(address).name.lower()}")
            m.d.sync += here.eq(bus.addr[:_LOW_BITS] == address)
            writable.append(here)
            unfit.append(here & ~fits)
            return answer & low & bus.we & here & fits

        if self.role is Role.TARGET:
            left = Signal(_SLOW_BITS)
            m.d.comb += self.hold.eq(left.any())
            with m.If(self.slow_tick & self.hold):
                m.d.sync += left.eq(left - 1)

        # Kept inverted: it is compared with what is counted, and a carry chain inverts bit by bit.
        if self.role is Role.SOURCE:
            m.d.comb += self.group_timeout.eq(~self._not_timeout)

        takes_low, takes_high = self._count_high_cycles(m)
        readable = {address: C(constant, 32) for address, constant in self.constants().items()}
        readable |= {Reg.GENERATION: self.generation, Reg.LIFE: self.life,
                     Reg.FREE_SLOTS: self.free_slots, Reg.LINKS_UP: self.links_up}
        if self._rate:
            readable[Reg.LINK_DIVISOR] = self._set_rate(m, readable[Reg.LINK_DIVISOR], written)
        if self.role is Role.SOURCE:
            readable |= self._set_source(m, written)
        else:
            readable |= self._set_hold(m, left, written, settled)
        with m.Switch(bus.addr[:_LOW_BITS]):
            for address, shown in readable.items():
                with m.Case(address):
                    m.d.comb += [known.eq(1), value.eq(shown)]
            with m.Case(Reg.CYCLES):
                m.d.comb += [known.eq(1), is_cycles.eq(1), takes_low.eq(looks)]
            with m.Case(Reg.CYCLES_HIGH):
                m.d.comb += [known.eq(1), value.eq(self._cycles_high), takes_high.eq(looks)]

        m.d.sync += ack.eq(answer & settled)
        with m.If(answer):
            m.d.sync += [rdata.eq(Mux(is_cycles, cycles[:32], value)), code.eq(Code.OK)]
            with m.If(~low | ~known):
                m.d.sync += code.eq(Code.BAD_REGISTER)
            with m.Elif(bus.we & ~Cat(writable).any()):
                m.d.sync += code.eq(Code.READ_ONLY)
            with m.Elif(bus.we & Cat(unfit).any()):
                m.d.sync += code.eq(Code.BAD_VALUE)
        with m.If(local):
            m.d.comb += [bus.ack.eq(ack), bus.rdata.eq(rdata), bus.code.eq(code)]
        return m

    def _count_high_cycles(self, m):
        """The high word of CYCLES, latched without a copy: its carry waits while it is latched.

        It waits no longer than to the middle of the low word's round, or the next one would be
        lost. Returns what is to be 1 while the low, and the high word is read. Everything happens a
        clock after the low word.
        """
        takes_low, takes_high = Signal(), Signal()
        took_low, took_high, wrapped = Signal(), Signal(), Signal()
        m.d.sync += [took_low.eq(takes_low), took_high.eq(takes_high),
                     wrapped.eq(self._cycles[:32].all())]
        latched, owed = Signal(), Signal()
        with m.If(took_low | took_high):
            m.d.sync += latched.eq(took_low)
        with m.If(owed & (took_low | ~latched | self._cycles[31])):
            m.d.sync += [self._cycles_high.eq(self._cycles_high + 1), owed.eq(0)]
        with m.If(wrapped):
            m.d.sync += owed.eq(1)
        return takes_low, takes_high

    def _forward(self, m, asked, port, low, high):
        """Pass addresses ``low..high`` on to ``port``; 1 in the clock in which ``addr`` is one."""
        bus = self.bus
        here, within = Signal(), Signal()
        octaves = range(exact_log2(low), exact_log2(high + 1))
        m.d.sync += within.eq(here)
        m.d.comb += [
            here.eq(Cat(bus.addr[n:] == 1 for n in octaves).any()),
            port.req.eq(asked & within),
            port.we.eq(bus.we),
            port.addr.eq(bus.addr),
            port.wdata.eq(bus.wdata),
        ]
        with m.If(within):
            m.d.comb += [bus.ack.eq(port.ack), bus.rdata.eq(port.rdata), bus.code.eq(port.code)]
        return here

    # What can be written: each takes it, and returns what is read there.

    def _set_rate(self, m, constant, written):
        wdata = self.bus.wdata
        with m.If(written(Reg.LINK_DIVISOR, (wdata >= MIN_DIVISOR) & (wdata <= MAX_DIVISOR))):
            m.d.sync += self.link_divisor.eq(wdata)
        return Mux(self.link_divisor.any(), self.link_divisor, constant)

    def _set_source(self, m, written):
        wdata = self.bus.wdata
        with m.If(written(Reg.POLL_INTERVAL, ~wdata[_POLL_BITS:].any())):
            m.d.sync += self.poll_interval.eq(wdata)
        with m.If(written(Reg.GROUP_TIMEOUT, ~wdata[_SLOW_BITS:].any())):
            m.d.sync += self._not_timeout.eq(~wdata)
        with m.If(written(Reg.DESTAGE, ~wdata[self.geometry.sets:].any())):
            m.d.comb += self.destage.eq(wdata)
        return {Reg.DISCONNECTED: self.disconnected, Reg.CREDIT: self.credit,
                Reg.POLL_INTERVAL: self.poll_interval, Reg.GROUP_TIMEOUT: self.group_timeout,
                Reg.DESTAGE: C(0)}

    def _set_hold(self, m, left, written, settled):
        wdata = self.bus.wdata
        with m.If(written(Reg.HOLD, ~wdata[_SLOW_BITS:].any())):
            m.d.sync += left.eq(wdata)
            m.d.comb += settled.eq(~wdata[:_SLOW_BITS].any() | (self.hold & self.held))
        return {Reg.HOLD: left}
