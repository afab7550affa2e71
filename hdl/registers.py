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
        writable = Signal()
        fits = Signal(init=1)       # bus.wdata is a value for it
        settled = Signal(init=1)    # what was written has taken effect
        value = Signal(32)
        is_cycles = Signal()        # ... but CYCLES, which would make ``value`` change every clock
        ack, rdata, code = Signal(), Signal(32), Signal(8)
        answer = Signal()
        m.d.comb += answer.eq(asked & local & ~ack)
        looks, write = Signal(), Signal()
        m.d.comb += [looks.eq(answer & low & ~bus.we), write.eq(answer & low & bus.we & fits)]

        if self.role is Role.TARGET:
            left = Signal(_SLOW_BITS)
            m.d.comb += self.hold.eq(left.any())
            with m.If(self.slow_tick & self.hold):
                m.d.sync += left.eq(left - 1)

        # Kept inverted: it is compared with what is counted, and a carry chain inverts bit by bit.
        if self.role is Role.SOURCE:
            m.d.comb += self.group_timeout.eq(~self._not_timeout)

        takes_low, takes_high = self._count_high_cycles(m)
        with m.Switch(bus.addr[:_LOW_BITS]):
            for address, constant in self.constants().items():
                with m.Case(address):
                    m.d.comb += [known.eq(1), value.eq(constant)]
                    if address == Reg.LINK_DIVISOR and self._rate:
                        self._set_rate(m, writable, value, fits, write)
            with m.Case(Reg.GENERATION):
                m.d.comb += [known.eq(1), value.eq(self.generation)]
            with m.Case(Reg.LIFE):
                m.d.comb += [known.eq(1), value.eq(self.life)]
            with m.Case(Reg.CYCLES):
                m.d.comb += [known.eq(1), is_cycles.eq(1), takes_low.eq(looks)]
            with m.Case(Reg.CYCLES_HIGH):
                m.d.comb += [known.eq(1), value.eq(self._cycles_high), takes_high.eq(looks)]
            with m.Case(Reg.FREE_SLOTS):
                m.d.comb += [known.eq(1), value.eq(self.free_slots)]
            with m.Case(Reg.LINKS_UP):
                m.d.comb += [known.eq(1), value.eq(self.links_up)]
            if self.role is Role.SOURCE:
                self._source_cases(m, known, writable, value, fits, write)
            else:
                self._hold_case(m, left, known, writable, value, fits, settled, write)

        m.d.sync += ack.eq(answer & settled)
        with m.If(answer):
            m.d.sync += [rdata.eq(Mux(is_cycles, cycles[:32], value)), code.eq(Code.OK)]
            with m.If(~low | ~known):
                m.d.sync += code.eq(Code.BAD_REGISTER)
            with m.Elif(bus.we & ~writable):
                m.d.sync += code.eq(Code.READ_ONLY)
            with m.Elif(bus.we & ~fits):
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

    def _set_rate(self, m, writable, value, fits, write):
        wdata = self.bus.wdata
        m.d.comb += [writable.eq(1),
                     fits.eq((wdata >= MIN_DIVISOR) & (wdata <= MAX_DIVISOR))]
        with m.If(self.link_divisor.any()):
            m.d.comb += value.eq(self.link_divisor)
        with m.If(write):
            m.d.sync += self.link_divisor.eq(wdata)

    def _source_cases(self, m, known, writable, value, fits, write):
        bus = self.bus
        with m.Case(Reg.DISCONNECTED):
            m.d.comb += [known.eq(1), value.eq(self.disconnected)]
        with m.Case(Reg.CREDIT):
            m.d.comb += [known.eq(1), value.eq(self.credit)]
        with m.Case(Reg.POLL_INTERVAL):
            m.d.comb += [known.eq(1), writable.eq(1), value.eq(self.poll_interval),
                         fits.eq(~bus.wdata[_POLL_BITS:].any())]
            with m.If(write):
                m.d.sync += self.poll_interval.eq(bus.wdata)
        with m.Case(Reg.GROUP_TIMEOUT):
            m.d.comb += [known.eq(1), writable.eq(1), value.eq(self.group_timeout),
                         fits.eq(~bus.wdata[_SLOW_BITS:].any())]
            with m.If(write):
                m.d.sync += self._not_timeout.eq(~bus.wdata)
        with m.Case(Reg.DESTAGE):
            m.d.comb += [known.eq(1), writable.eq(1),
                         fits.eq(~bus.wdata[self.geometry.sets:].any())]
            with m.If(write):
                m.d.comb += self.destage.eq(bus.wdata)

    def _hold_case(self, m, left, known, writable, value, fits, settled, write):
        bus = self.bus
        with m.Case(Reg.HOLD):
            m.d.comb += [known.eq(1), writable.eq(1), value.eq(left),
                         fits.eq(~bus.wdata[_SLOW_BITS:].any())]
            with m.If(write):
                m.d.sync += left.eq(bus.wdata)
                m.d.comb += settled.eq(~bus.wdata[:_SLOW_BITS].any() | (self.hold & self.held))
