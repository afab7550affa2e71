"""The collision comparator: may this write set be written now?"""

from amaranth import *
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from .interfaces import SourceState, Volume, index_shape
from .mutations import Mutation, lacks

__all__ = ["Comparator", "Verdict"]


class Verdict(enum.Enum, shape=2):
    """What is wrong with a write set, the gravest highest."""

    CLEAR = 0
    COLLISION = 1           # a track is commitment pending
    DISCONNECTED = 2        # a volume is disconnected
    SPANS_SETS = 3          # a volume is in another set than the first entry's


class Comparator(wiring.Component):
    """Looks every entry of a write set up in the state and volume memories, one a clock.

    Fig. 4, the check before anything is written (R03). ``count`` entries take ``count + 2`` clocks
    from ``start`` to ``done``. The verdict is the gravest fault of any entry, with the first entry
    that has it. The caller holds the metadata lock and passes the memories through.

    Parameters
    ----------
    geometry : Geometry
    mutation : Mutation or None
        SPAN_NOT_CHECKED sees no SPANS_SETS.

    Members
    -------
    start : In(1)
        Pulse: begin, with ``count`` (1..chain_limit) valid until ``done``.
    done : Out(1)
        Pulse: the results are valid, until the next start.
    position : Out(range(chain_limit)), index : In
        Entry wanted from the write set, and its track index in the next clock.
    state : In(SourceState), volume : In(Volume)
        Both of what ``index`` was a clock ago.
    verdict : Out(Verdict)
    set : Out
        Set of the first entry.
    worst_position : Out(8)
        The first entry with the fault of ``verdict``; meaningless if CLEAR.
    lookup : Out(1)
        Pulse for each entry compared.
    busy : Out(1)
        From the clock after ``start`` to ``done``.
    """

    def __init__(self, geometry, *, mutation=None):
        self.geometry = geometry
        self._spans_matter = lacks(mutation, Mutation.SPAN_NOT_CHECKED)
        index = index_shape(geometry)
        super().__init__({
            "start": In(1),
            "count": In(8),
            "done": Out(1),
            "position": Out(range(geometry.chain_limit)),
            "index": In(index),
            "state": In(SourceState(geometry)),
            "volume": In(Volume(geometry)),
            "verdict": Out(Verdict),
            "set": Out(geometry.set_bits),
            "worst_position": Out(8),
            "lookup": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Three steps, each a clock behind the one before: fetch the entry, look it up, compare.
        fetching = Signal()
        looking = Signal()
        comparing = Signal()
        compared = Signal(8)            # position of the entry in the third step
        following = Signal(8)           # position of the entry to be fetched next
        last = Signal()
        m.d.comb += [
            following.eq(self.position + 1),
            last.eq(following == self.count),
            self.lookup.eq(comparing),
            self.busy.eq(fetching | looking | comparing),
            self.done.eq(comparing & ~looking & ~fetching),
        ]
        m.d.sync += [looking.eq(fetching), comparing.eq(looking)]
        with m.If(fetching):
            m.d.sync += [self.position.eq(Mux(last, 0, following)), fetching.eq(~last)]

        found = Signal(Verdict)
        first = Signal()
        m.d.comb += first.eq(compared == 0)
        with m.If(~first & (self.volume.set != self.set) & self._spans_matter):
            m.d.comb += found.eq(Verdict.SPANS_SETS)
        with m.Elif(self.volume.disconnected):
            m.d.comb += found.eq(Verdict.DISCONNECTED)
        with m.Elif(self.state.pending):
            m.d.comb += found.eq(Verdict.COLLISION)

        worst = Signal(Verdict)
        m.d.comb += self.verdict.eq(worst)
        with m.If(comparing):
            m.d.sync += compared.eq(compared + 1)
            with m.If(first):
                m.d.sync += self.set.eq(self.volume.set)
            with m.If(found.as_value() > worst.as_value()):
                m.d.sync += [worst.eq(found), self.worst_position.eq(compared)]
        with m.If(self.start):
            m.d.sync += [fetching.eq(1), compared.eq(0), worst.eq(Verdict.CLEAR)]
        return m
