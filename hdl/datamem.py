"""The cache data memory: the bytes of every slot."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from .interfaces import MemoryPort, slot_shape

__all__ = ["DataMemory", "PipelinedDataMemory"]


def _sizes(geometry, slots):
    """Bytes of ``slots`` slots, and the width of their addresses."""
    width = slot_shape(geometry).width
    if not 1 <= slots <= 1 << width:
        raise ValueError(f"slots {slots} is outside 1..{1 << width}: a slot number has "
                         f"{width} bits")
    return slots << geometry.offset_bits, width + geometry.offset_bits


class DataMemory(wiring.Component):
    """Byte-wide single-port memory of ``slots`` track-sized slots, in block RAM.

    An access takes 2 clocks. The port's contract leaves the time open, so a slower memory of one
    port (SPRAM, SDRAM) can take this one's place: nothing relies on more than ``ack``.

    An access beyond the last slot is acknowledged; it writes nothing and reads what it may.
    Contents are unknown after reset; nobody reads a slot that was never written but as the
    first contents of a track, which are 0 in a freshly configured block RAM.

    A platform with a method ``get_data_memory`` makes this memory its own way: it is given this
    component and returns what drives ``port``.

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
        self.geometry = geometry
        self.slots = slots
        self.depth, width = _sizes(geometry, slots)
        super().__init__({"port": In(MemoryPort(width))})

    def elaborate(self, platform):
        if hasattr(platform, "get_data_memory"):
            return platform.get_data_memory(self)
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


class PipelinedDataMemory(wiring.Component):
    """A :class:`DataMemory` of many block RAMs for a fast clock: an access takes 4 clocks.

    Request and answer each pass a register, so that neither the way to the farthest of the block
    RAMs nor the choice among them adds to anybody else's path.

    Parameters
    ----------
    geometry : Geometry
    slots : int

    Members
    -------
    port : In(MemoryPort)
    """

    def __init__(self, geometry, slots):
        self.depth, width = _sizes(geometry, slots)
        super().__init__({"port": In(MemoryPort(width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=self.depth, init=[])
        write = memory.write_port()
        read = memory.read_port()       # reads and writes of one place are clocks apart
        asked = Signal()                # the request is in its register
        found = Signal()                # the block RAMs answer
        start = Signal()
        m.d.comb += start.eq(self.port.req & ~asked & ~found & ~self.port.ack)
        m.d.sync += [
            asked.eq(start),
            read.addr.eq(self.port.addr),
            write.addr.eq(self.port.addr),
            write.data.eq(self.port.wdata),
            write.en.eq(start & self.port.we),
            found.eq(asked),
            self.port.rdata.eq(read.data),
            self.port.ack.eq(found),
        ]
        m.d.comb += read.en.eq(asked)
        return m
