"""The cache data memory: the bytes of every slot."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from .interfaces import MemoryPort, slot_shape

__all__ = ["DataMemory"]


class DataMemory(wiring.Component):
    """Byte-wide single-port memory of ``slots`` track-sized slots, in block RAM.

    An access takes 2 clocks. The port's contract leaves the time open, so a slower memory of one
    port (SPRAM, SDRAM) can take this one's place: nothing relies on more than ``ack``.

    An access beyond the last slot is acknowledged; it writes nothing and reads what it may.
    Contents are unknown after reset; nobody reads a slot that was never written but as the
    first contents of a track, which are 0 in a freshly configured block RAM.

    Parameters
    ----------
    geometry : Geometry
    slots : int
        Slots there are, 1 to what a slot number can name.

    Members
    -------
    port : In(MemoryPort)
        ``addr`` is the offset within the track (low) and the slot (high).
    """

    def __init__(self, geometry, slots):
        width = slot_shape(geometry).width
        if not 1 <= slots <= 1 << width:
            raise ValueError(f"slots {slots} is outside 1..{1 << width}: a slot number has "
                             f"{width} bits")
        self.depth = slots << geometry.offset_bits
        super().__init__({"port": In(MemoryPort(width + geometry.offset_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=self.depth, init=[])
        write = memory.write_port()
        read = memory.read_port()       # never reads in the clock of a write
        start = Signal()
        m.d.comb += [
            start.eq(self.port.req & ~self.port.ack),
            read.addr.eq(self.port.addr),
            read.en.eq(start & ~self.port.we),
            write.addr.eq(self.port.addr),
            write.data.eq(self.port.wdata),
            write.en.eq(start & self.port.we),
            self.port.rdata.eq(read.data),
        ]
        m.d.sync += self.port.ack.eq(start)
        return m
