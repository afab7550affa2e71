"""Which frames of the other side have arrived."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ReceiveWindow", "check_window"]


def check_window(window):
    """Raise ``ValueError`` unless ``window`` is a size both ends can have."""
    if window not in (4, 8, 16, 32):
        raise ValueError(f"window {window!r} is not 4, 8, 16 or 32: the map on the wire has "
                         "32 bits, and places are numbered by low bits")


class ReceiveWindow(wiring.Component):
    """Base and map of a selective acknowledgement.

    ``base`` is the next number not yet received, bit i of ``map`` says that ``base + i`` has
    been. Numbers outside ``base .. base + window - 1`` are never new. To look a number up or to
    mark it the map is rotated once, past one place: ``window`` clocks instead of a decoder and
    a selector as wide as the map. Then it slides until its bit 0 is clear.

    With ``ordered`` there is no map: only ``base`` itself is new.

    Parameters
    ----------
    window : int
        Places; a power of two of 4..32 (the map on the wire has 32 bits).
    ordered : bool
        Take frames only in turn.

    Members
    -------
    lseq : In(8)
        Number to look up or mark; stable until ``busy`` has fallen.
    look, mark : In(1)
        Start, one clock, while not ``busy``.
    busy : Out(1)
        ``base`` and ``map`` are in motion.
    new : Out(1)
        Result of ``look``, valid from the fall of ``busy``.
    base : Out(8)
        Valid while not ``busy``.
    map : Out(32)
        Valid while not ``busy``; bit 0 is 0.
    """

    lseq: In(8)
    look: In(1)
    mark: In(1)
    busy: Out(1)
    new: Out(1)
    base: Out(8)
    map: Out(32)

    def __init__(self, *, window, ordered=False):
        check_window(window)
        self._window = window
        self._ordered = ordered
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        if self._ordered:
            with m.If(self.look):
                m.d.sync += self.new.eq(self.lseq == self.base)
            with m.If(self.mark):
                m.d.sync += self.base.eq(self.base + 1)
            return m

        places = Signal(self._window)
        turned = Signal(range(self._window))
        marking = Signal()
        offset = Signal(8)
        here = Signal()
        m.d.comb += [
            self.map.eq(places),
            offset.eq(self.lseq - self.base),
            here.eq(offset == turned),
        ]
        with m.FSM() as fsm:
            with m.State("WAIT"):
                m.d.sync += marking.eq(self.mark)
                with m.If(self.look):
                    m.d.sync += self.new.eq(0)
                with m.If(self.look | self.mark):
                    m.next = "TURN MAP"
            with m.State("TURN MAP"):
                m.d.sync += [places.eq(Cat(places[1:], places[0] | (here & marking))),
                             turned.eq(turned + 1)]
                with m.If(here & ~places[0]):
                    m.d.sync += self.new.eq(1)
                with m.If(turned == self._window - 1):
                    m.next = "SLIDE BASE"
            with m.State("SLIDE BASE"):
                with m.If(places[0]):
                    m.d.sync += [places.eq(places[1:]), self.base.eq(self.base + 1)]
                with m.Else():
                    m.next = "WAIT"
            m.d.comb += self.busy.eq(~fsm.ongoing("WAIT"))
        return m
