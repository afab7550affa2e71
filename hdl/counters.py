"""Event counters of a system and of its links, in one memory."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from firmware_model import wire
from firmware_model.wire import Code, Counter, LinkCounter, Reg

from .interfaces import RegisterPort, late_domain

__all__ = ["Counters", "Tally", "link_tallies"]

# Places in the memory: Counter values, then DOWN_TIME of each link, then eight words a link.
_DOWN_BASE = 24
_LINK_BASE = 32
_PER_LINK = 8

# What a link tells of itself, as it happens. That it is down is looked at now and then.
_EVENTS = [counter for counter in LinkCounter if counter is not LinkCounter.DOWN_TIME]


@dataclass(frozen=True)
class Tally:
    """How one counter is fed.

    amount : bits of what is added in one clock.
    pending : bits of what may gather until the scan comes by again (see :class:`Counters`).
    """

    amount: int = 1
    pending: int = 2

    def __post_init__(self):
        if not 1 <= self.amount <= self.pending <= 16:
            raise ValueError(f"Tally needs 1 <= amount <= pending <= 16, not amount "
                             f"{self.amount}, pending {self.pending}")


def link_tallies():
    """Layout of the eight increments of a link, named after ``wire.LinkCounter``."""
    return data.StructLayout({c.name.lower(): 1 for c in _EVENTS})


def _choose(number, values):
    """``values[number]``, or anything if there is none: a tree without a multiplexer too many."""
    if len(values) == 1:
        return next(iter(values.values()))
    top = 1 << len(number) - 1
    low = {n: value for n, value in values.items() if n < top}
    high = {n - top: value for n, value in values.items() if n >= top}
    chosen = [_choose(number[:-1], half) for half in (low, high) if half]
    return Mux(number[-1], chosen[1], chosen[0]) if len(chosen) == 2 else chosen[0]


class Counters(wiring.Component):
    """32-bit wrapping counters; adding is one clock and never refused.

    Every counter has its lowest bits in flip-flops, where events are counted. A scan goes through
    the memory and brings each up to the lowest bits as they are by then: 3 clocks a counter, with
    at most one bus access (3 clocks) between two. It runs from the first event until a round after
    the last. So one counter is visited every ``max_gap`` clocks: 6 a counter, 288 with two links.
    (It takes 3 more to carry from the low half of a counter to the high one; that is one time in
    65,536.) **No event is lost** if less than ``2**pending`` gathers in that time. With the
    default of 2 bits that is three events: frames are at least 700 clocks apart.

    A value read over the bus may lack what happened in the last ``max_gap`` clocks. Counters start
    from 0 when the device is configured, and keep their values over a reset.

    Parameters
    ----------
    geometry : Geometry
    tallies : dict[Counter, Tally]
        Counters that this system has. Others have no logic and read as 0.

    Members
    -------
    add : In(StructLayout)
        One field for each of ``tallies``, by its name in lower case: what to add in this clock.
    links : In(link_tallies()).array(geometry.links)
        The same for each link, one bit each.
    tick : In(1)
        Pulse every ``wire.SLOW_TICK`` clocks: DOWN_TIME of every link in ``down`` grows.
    down : In(links)
        Bit n: link n has no session.
    bus : In(RegisterPort())
        Registers ``COUNTERS`` and ``LINK_COUNTERS`` (full addresses). Read only. Answers after 2
        to 7 clocks.
    """

    def __init__(self, geometry, tallies):
        for counter in tallies:
            if not isinstance(counter, Counter):
                raise TypeError(f"tallies are keyed by Counter, not {counter!r}")
        self.geometry = geometry
        self.tallies = dict(tallies)
        self.depth = _LINK_BASE + _PER_LINK * geometry.links
        self.max_gap = 6 * self.depth
        super().__init__({
            "add": In(data.StructLayout({c.name.lower(): t.amount
                                         for c, t in self.tallies.items()})),
            "links": In(link_tallies()).array(geometry.links),
            "tick": In(1),
            "down": In(geometry.links),
            "bus": In(RegisterPort()),
        })

    def elaborate(self, platform):
        m = Module()
        # The low half of a counter, then the high one.
        m.submodules.memory = memory = Memory(shape=16, depth=2 * self.depth, init=[])
        read = memory.read_port()           # never reads a word in the clock that writes it
        write = memory.write_port()

        # A reset must not part the halves.
        at = Signal(range(self.depth), reset_less=True)     # scan position
        high = Signal(reset_less=True)      # the high half of ``last`` is to take a carry
        last = Signal.like(at, reset_less=True)
        word = Signal.like(at)              # at hand
        lowest = []                         # bits of the counter at ``at``
        # Everybody's decisions of a clock end here: events are counted in the next.
        add = Signal(self.add.shape())
        links = [Signal(link_tallies(), name=f"link_{n}") for n in range(self.geometry.links)]
        m.d.sync += [add.eq(self.add), *(mine.eq(theirs) for mine, theirs
                                         in zip(links, self.links, strict=True))]
        fresh = Signal(reset_less=True)     # there was an event in this round
        running = Signal()                  # or in the one before

        counts = {}
        for place, tally, amount in self._sources(add, links):
            # A reset must not part these bits from those in memory.
            count = counts[place] = Signal(tally.pending, name=f"count_{place}", reset_less=True)
            m.d.sync += count.eq(count + amount)
        mask = []                           # which of them there are
        for n in range(max(map(len, counts.values()))):
            bits = {place: count[n] for place, count in counts.items() if n < len(count)}
            lowest.append(_choose(at, bits))
            mask.append(at.matches(*bits))
        # Known when the memory's word is: ``at`` stands while that is read.
        wide = len(mask)
        newest = Signal(wide)               # ``lowest``, as far as ``mask`` goes
        there = Signal(wide)                # ``mask``; a high half has none of both
        m.d.sync += [newest.eq(Mux(high, 0, Cat(lowest) & Cat(mask))),
                     there.eq(Mux(high, 0, Cat(mask)))]
        # The lowest bits become ``newest``. Those above grow by one if the ones in memory were
        # higher, which is a carry; bits that are not there let it pass. A high half grows by one.
        old = Signal(wide + 16)             # a memory's output comes too late to be added to
        total = Signal(17)
        passed = Signal(wide + 17)
        low = Signal(16)                    # of the counter that is read over the bus
        m.d.comb += [
            word.eq(Mux(high, last, at)),
            read.addr.eq(Cat(high, word)),
            write.addr.eq(Cat(high, word)),
            passed.eq(old + Cat(~newest, C(0, 16))),
            total.eq(passed[wide:]),
            write.data.eq((total & ~Cat(there, C(0, 16 - wide))) | newest),
            self.bus.rdata.eq(Cat(low, read.data)),
        ]
        m.d[late_domain(platform)] += old.eq(
            Cat((read.data[:wide] & there) | high.replicate(wide), read.data | there))

        in_map, place = self._decode(m)
        known = Signal()                    # the address stands long before it is asked
        m.d.sync += known.eq(in_map)
        answered = Signal()                 # let the scan take a step before the next bus access
        with m.FSM():
            with m.State("WATCH"):
                m.d.sync += answered.eq(0)
                with m.If(self.bus.req & ~answered & ~high):
                    m.d.comb += read.addr.eq(Cat(C(0, 1), place))
                    m.next = "READ_LOW"
                with m.Elif(fresh | running | high):
                    m.next = "TAKE_OLD"
            with m.State("TAKE_OLD"):
                m.next = "BRING_UP"
            with m.State("BRING_UP"):
                m.d.comb += write.en.eq(1)
                m.d.sync += [high.eq(total[16] & ~high), last.eq(at)]
                with m.If(~high & (at == self.depth - 1)):
                    m.d.sync += [at.eq(0), fresh.eq(0), running.eq(fresh)]
                with m.Elif(~high):
                    m.d.sync += at.eq(at + 1)
                m.next = "WATCH"
            with m.State("READ_LOW"):
                m.d.comb += read.addr.eq(Cat(C(1, 1), place))
                m.d.sync += low.eq(read.data)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.bus.ack.eq(1)
                m.d.sync += answered.eq(1)
                with m.If(~known):
                    m.d.comb += self.bus.code.eq(Code.BAD_REGISTER)
                with m.Elif(self.bus.we):
                    m.d.comb += self.bus.code.eq(Code.READ_ONLY)
                m.next = "WATCH"
        # After the machine, so that an event in the clock that ends a round is not lost.
        with m.If(Cat(add, links).any() | (self.tick & self.down.any())):
            m.d.sync += fresh.eq(1)
        return m

    def _sources(self, add, links):
        """(memory word, tally, increment) of every counter that exists."""
        for counter, tally in self.tallies.items():
            yield counter.value, tally, add[counter.name.lower()]
        for n in range(self.geometry.links):
            yield _DOWN_BASE + n, Tally(pending=1), self.tick & self.down[n]
            for counter in _EVENTS:
                yield (_LINK_BASE + _PER_LINK * n + counter.value, Tally(),
                       links[n][counter.name.lower()])

    def _decode(self, m):
        """Whether the bus address is a counter, and its memory word."""
        known, place = Signal(), Signal(range(self.depth))
        offset = Signal(16)
        stride_bits = (wire.LINK_COUNTER_STRIDE - 1).bit_length()
        link = offset[stride_bits:stride_bits + 3]
        with m.If(self.bus.addr[exact_log2(Reg.LINK_COUNTERS):] == 0):
            m.d.comb += [
                offset.eq(self.bus.addr ^ Reg.COUNTERS),
                known.eq(offset[:exact_log2(Reg.LINK_COUNTERS)] < len(Counter)),
                place.eq(offset[:5]),
            ]
        with m.Else():
            m.d.comb += [
                offset.eq(self.bus.addr ^ Reg.LINK_COUNTERS),
                known.eq((offset[:stride_bits] < len(LinkCounter))
                         & (offset[stride_bits:] < self.geometry.links)),
                place.eq(Mux(offset[3], _DOWN_BASE + link, _LINK_BASE + Cat(offset[:3], link))),
            ]
        return known, place
