"""The cache data memory in the four single-port memories of an iCE40UP5K."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .interfaces import MemoryPort, slot_shape

__all__ = ["SPRAM_BYTES", "SpramBlock", "SpramDataMemory"]

_WORDS_BITS = 14            # a block has 16 Ki words of 16 bits
_BLOCKS = 4
SPRAM_BYTES = _BLOCKS * 2 << _WORDS_BITS


class SpramBlock(wiring.Component):
    """One SB_SPRAM256KA, or what behaves like it where no iCE40 is being built.

    The model starts with zeros; the real one starts with anything. Neither says what a read
    during a write gives: here reads do not happen then.

    Members
    -------
    addr : In(14)
    rdata : Out(16)
        Word at ``addr``, a clock later if ``en`` and not ``we``; stands until then.
    wdata : In(16)
    lanes : In(2)
        Bytes to write.
    en, we : In(1)
    """

    addr: In(_WORDS_BITS)
    rdata: Out(16)
    wdata: In(16)
    lanes: In(2)
    en: In(1)
    we: In(1)

    def elaborate(self, platform):
        m = Module()
        if getattr(platform, "device", None) == "iCE40UP5K":
            m.submodules.cell = Instance(
                "SB_SPRAM256KA",
                i_ADDRESS=self.addr,
                i_DATAIN=self.wdata,
                i_MASKWREN=Cat(lane.replicate(2) for lane in self.lanes),   # a bit a nibble
                i_WREN=self.we,
                i_CHIPSELECT=self.en,
                i_CLOCK=ClockSignal(),
                i_STANDBY=C(0, 1),
                i_SLEEP=C(0, 1),
                i_POWEROFF=C(1, 1),     # active low
                o_DATAOUT=self.rdata,
            )
            return m
        m.submodules.words = words = Memory(shape=16, depth=1 << _WORDS_BITS, init=[])
        write = words.write_port(granularity=8)
        read = words.read_port()
        m.d.comb += [
            write.addr.eq(self.addr),
            write.data.eq(self.wdata),
            write.en.eq(Mux(self.en & self.we, self.lanes, 0)),
            read.addr.eq(self.addr),
            read.en.eq(self.en & ~self.we),
            self.rdata.eq(read.data),
        ]
        return m


class SpramDataMemory(wiring.Component):
    """Byte-wide single-port memory of ``slots`` track-sized slots, in an iCE40UP5K's SPRAM.

    Takes the place of :class:`.datamem.DataMemory`: an access takes 2 clocks, one beyond the
    last slot is acknowledged and means nothing.

    These memories wake up with anything in them, but a track that was never written has to read
    as zeros on both sides; so all of it is cleared after reset, 16384 clocks in which no access
    is acknowledged.

    Parameters
    ----------
    geometry : Geometry
    slots : int
        Slots there are, 1 to what a slot number can name and 128 KiB hold.

    Members
    -------
    port : In(MemoryPort)
        ``addr`` is the offset within the track (low) and the slot (high).
    """

    def __init__(self, geometry, slots):
        width = slot_shape(geometry).width
        most = min(1 << width, SPRAM_BYTES // geometry.track_bytes)
        if not 1 <= slots <= most:
            raise ValueError(f"slots {slots} is outside 1..{most}: a slot number has {width} bits, "
                             f"the memory {SPRAM_BYTES} bytes")
        self.depth = slots << geometry.offset_bits
        super().__init__({"port": In(MemoryPort(width + geometry.offset_bits))})

    def elaborate(self, platform):
        m = Module()
        addr = Signal(max(len(self.port.addr), _WORDS_BITS + 2))    # lane, word, block
        m.d.comb += addr.eq(self.port.addr)
        lane, word, chosen = addr[0], addr[1:1 + _WORDS_BITS], addr[1 + _WORDS_BITS:]

        sweep = Signal(_WORDS_BITS + 1)
        clearing = ~sweep[-1]
        with m.If(clearing):
            m.d.sync += sweep.eq(sweep + 1)

        start = Signal()
        m.d.comb += start.eq(self.port.req & ~self.port.ack & ~clearing)
        m.d.sync += self.port.ack.eq(start)
        words = []
        for number in range(-(-self.depth // (2 << _WORDS_BITS))):
            m.submodules[f"block_{number}"] = block = SpramBlock()
            m.d.comb += [
                block.addr.eq(Mux(clearing, sweep, word)),
                block.wdata.eq(Mux(clearing, 0, self.port.wdata.replicate(2))),
                block.lanes.eq(Mux(clearing, 0b11, Cat(~lane, lane))),
                block.en.eq(clearing | (start & (chosen == number))),
                block.we.eq(clearing | self.port.we),
            ]
            words.append(block.rdata)
        # The address stands until ``ack``, so it still says where the answer comes from.
        m.d.comb += self.port.rdata.eq(Array(words)[chosen].word_select(lane, 8))
        return m
