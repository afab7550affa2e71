"""Writes the payload of an arriving frame into a free cache slot."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .interfaces import MemoryPort, PayloadSink, slot_shape

__all__ = ["SlotWriter"]


class SlotWriter(wiring.Component):
    """Keeps one free slot in hand and writes each frame's payload into it while it arrives.

    The bytes have no effect: the slot is nobody's until the consumer of the frame's Event decides
    to keep it. It then pulses ``take`` in a clock with ``slot_valid``, and the writer fetches
    another slot; if it does not, the next frame overwrites the same slot.

    Bytes with an index beyond the track are swallowed, so that a frame that is too long does no
    harm; the consumer must check the length in the Event. While there is no slot in hand, bytes
    within the track wait (back-pressure on the line), others do not.

    One byte a memory access; no state of its own but the slot.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    sink : In(PayloadSink())
        Payload bytes from the line.
    slots : In(stream.Signature(slot))
        From the free list.
    memory : Out(MemoryPort)
        Cache data memory.
    slot, slot_valid : Out
        The slot in hand.
    take : In(1)
        The slot in hand now belongs to the consumer.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        self._slot = slot_shape(geometry)
        super().__init__({
            "sink": In(PayloadSink()),
            "slots": In(stream.Signature(self._slot)),
            "memory": Out(MemoryPort(self._slot.width + geometry.offset_bits)),
            "slot": Out(self._slot),
            "slot_valid": Out(1),
            "take": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        offset_bits = self.geometry.offset_bits

        m.d.comb += self.slots.ready.eq(~self.slot_valid)
        with m.If(self.slots.valid & self.slots.ready):
            m.d.sync += [self.slot.eq(self.slots.payload), self.slot_valid.eq(1)]
        with m.If(self.take):
            m.d.sync += self.slot_valid.eq(0)

        beyond = Signal()       # track_bytes is a power of two: one look at the upper bits
        m.d.comb += [
            beyond.eq(self.sink.index[offset_bits:].any()),
            self.memory.req.eq(self.sink.valid & self.slot_valid & ~beyond),
            self.memory.we.eq(1),
            self.memory.addr.eq(Cat(self.sink.index[:offset_bits], self.slot)),
            self.memory.wdata.eq(self.sink.data),
            self.sink.ready.eq(beyond | (self.memory.req & self.memory.ack)),
        ]
        return m
