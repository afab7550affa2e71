"""The cache data memory: the bytes of every slot."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from .interfaces import MemoryPort, slot_shape

__all__ = ["DataMemory", "PipelinedDataMemory"]

_BANK_BITS = 14         # eight block RAMs of an ECP5


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
    """A :class:`DataMemory` of many block RAMs for a fast clock: an access takes 5 clocks.

    Request and answer each pass a register, so that neither the way to the farthest of the block
    RAMs nor the choice among them adds to anybody else's path. The choice takes two clocks: within
    a bank, then among banks.

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
        port = self.port
        addr = Signal.like(port.addr)
        wdata = Signal(8)
        we = Signal()
        within, number = addr[:_BANK_BITS], addr[_BANK_BITS:]
        asked = Signal()                # the request is in its registers
        found = Signal()                # the block RAMs answer
        kept = Signal()                 # so do the banks' registers
        start = Signal()
        m.d.comb += start.eq(port.req & ~asked & ~found & ~kept & ~port.ack)
        m.d.sync += [
            asked.eq(start), found.eq(asked), kept.eq(found), port.ack.eq(kept),
            addr.eq(port.addr), wdata.eq(port.wdata), we.eq(start & port.we),
        ]
        answers = []
        for n, first in enumerate(range(0, self.depth, 1 << _BANK_BITS)):
            depth = min(self.depth - first, 1 << _BANK_BITS)
            m.submodules[f"bank_{n}"] = bank = Memory(shape=8, depth=depth, init=[])
            write = bank.write_port()
            read = bank.read_port()     # reads and writes of one place are clocks apart
            answer = Signal(8, name=f"answer_{n}")
            m.d.comb += [
                read.addr.eq(within), read.en.eq(asked),
                write.addr.eq(within), write.data.eq(wdata),
                write.en.eq(we & (number == n) & (within < depth)),
            ]
            m.d.sync += answer.eq(read.data)
            answers.append(answer)
        m.d.sync += port.rdata.eq(Array(answers)[number])
        return m
