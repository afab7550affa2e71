"""Stream parts that belong to nobody in particular."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["ByteFifo", "StreamRegister"]


class ByteFifo(wiring.Component):
    """Queue of bytes in block RAM for a producer that cannot wait.

    Latency is two clocks, throughput one byte a clock. A byte that finds the queue full is
    dropped with ``overflow``; ``depth - 1`` bytes fit.

    Parameters
    ----------
    depth : int
        A power of two, at least 4. 512 is one iCE40 block RAM.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
        Bytes in.
    o : Out(stream.Signature(8))
        Bytes out.
    overflow : Out(1)
        One clock for each byte dropped.
    """

    i: In(stream.Signature(8, always_ready=True))
    o: Out(stream.Signature(8))
    overflow: Out(1)

    def __init__(self, depth=512):
        if not isinstance(depth, int) or depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth {depth!r} is not a power of two of at least 4")
        self._depth = depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = Memory(shape=8, depth=self._depth, init=[])
        write = ring.write_port()
        read = ring.read_port()     # never reads where it is being written: old data will do

        end = Signal(range(self._depth))
        begin = Signal(range(self._depth))
        ahead = Signal(range(self._depth))
        full = Signal()
        m.d.comb += [
            full.eq((begin - end)[:len(end)] == 1),
            self.overflow.eq(self.i.valid & full),
            write.addr.eq(end),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & ~full),
            ahead.eq(begin + (self.o.valid & self.o.ready)),
            read.addr.eq(ahead),
            read.en.eq(1),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [begin.eq(ahead), self.o.valid.eq(ahead != end)]
        with m.If(write.en):
            m.d.sync += end.eq(end + 1)
        return m


class StreamRegister(wiring.Component):
    """Cuts a stream in two: neither valid and payload nor ready pass in the clock they come in.

    Latency is a clock, throughput an element in two clocks: for whatever is slow and comes late in
    the clock, like what a block RAM reads.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(self.i.payload)]
        return m
