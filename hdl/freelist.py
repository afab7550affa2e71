"""Which cache slots are free."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .interfaces import slot_shape

__all__ = ["FreeList"]


class FreeList(wiring.Component):
    """Queue of free slots, filled after a cold start with slots ``first .. first + count - 1``.

    After a warm one it begins empty, and whoever knows which slots are free pushes them.

    A slot must be pushed only by who owns it, and only once: then there is always room, since no
    more than ``count`` slots can be free.

    The host port reads a track while it is being sent, out of its slot. Meanwhile that slot is
    *pinned*: if it is freed it stays out of the list until the pin moves on, so nobody can
    write into it.

    Parameters
    ----------
    geometry : Geometry
    first : int
        First slot that is free after reset: those below belong to the tracks.
    count : int
        Slots that are free after reset, at least 2.

    Members
    -------
    cold, warm : In(1)
        Which start it is. Nothing happens while both are 0.
    pop : Out(stream.Signature(slot))
        A free slot, three clocks after it was pushed at the earliest.
    push : In(stream.Signature(slot))
        A slot to be freed. Always ready after ``ready``, but for one clock after each slot, and
        another whenever a pin is lifted from a freed slot.
    pin, pin_slot : In
        While ``pin``, ``pin_slot`` is being read.
    level : Out(range(count + 1))
        Slots on the list, without one that is held back for its pin; a clock behind.
    ready : Out(1)
        The list has been filled.
    """

    def __init__(self, geometry, *, first, count):
        self._slot = slot_shape(geometry)
        if count < 2:
            raise ValueError(f"count {count} is below 2: one slot is in hand, one must be free")
        if first < 0 or first + count > 1 << self._slot.width:
            raise ValueError(f"slots {first}..{first + count - 1} do not fit "
                             f"{self._slot.width} bits")
        self.first = first
        self.count = count
        super().__init__({
            "cold": In(1, init=1),
            "warm": In(1),
            "pop": Out(stream.Signature(self._slot)),
            "push": In(stream.Signature(self._slot)),
            "pin": In(1),
            "pin_slot": In(self._slot),
            "level": Out(range(count + 1)),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=self._slot.width, depth=self.count)
        m.d.comb += [
            self.pop.payload.eq(fifo.r_data),
            self.pop.valid.eq(fifo.r_rdy & self.ready),
            fifo.r_en.eq(self.pop.ready & self.ready),
            self.level.eq(fifo.level),
        ]

        fill = Signal(self._slot, init=self.first)
        coming = Signal(self._slot)     # in a register: who frees it has just looked up which
        has_come = Signal()
        held = Signal(self._slot)       # freed while it was pinned
        holding = Signal()
        pinned = Signal()               # the slot that has come must be held back
        lifted = Signal()               # the slot held back is no longer pinned
        m.d.comb += [
            pinned.eq(self.pin & (coming == self.pin_slot)),
            lifted.eq(holding & ~(self.pin & (held == self.pin_slot))),
            self.push.ready.eq(self.ready & ~has_come),
        ]
        with m.If(self.push.valid & self.push.ready):
            m.d.sync += [coming.eq(self.push.payload), has_come.eq(1)]

        with m.If(~self.ready & ~self.cold):
            m.d.sync += self.ready.eq(self.warm)
        with m.Elif(~self.ready):
            m.d.comb += [fifo.w_data.eq(fill), fifo.w_en.eq(1)]
            m.d.sync += fill.eq(fill + 1)
            with m.If(fill == self.first + self.count - 1):
                m.d.sync += self.ready.eq(1)
        with m.Elif(lifted):
            m.d.comb += [fifo.w_data.eq(held), fifo.w_en.eq(1)]
            m.d.sync += holding.eq(0)
        with m.Elif(has_come):
            m.d.sync += has_come.eq(0)
            m.d.comb += [fifo.w_data.eq(coming), fifo.w_en.eq(~pinned)]
            with m.If(pinned):
                m.d.sync += [held.eq(coming), holding.eq(1)]
        return m
