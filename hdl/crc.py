"""The frame check: CRC-32 as in zlib, one bit a clock."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Crc32"]

POLYNOMIAL = 0xEDB88320     # reflected: the least significant bit of a byte goes first
PRESET = 0xFFFFFFFF


class Crc32(wiring.Component):
    """CRC-32 register.

    A byte on the fastest line lasts 40 clocks, so eight clocks a byte are spent gladly: one
    logic cell a bit instead of the trees of exclusive-ors a byte-wide CRC needs.

    ``~value`` after n bytes, each least significant bit first, equals ``zlib.crc32`` of them.
    After a frame *and* its CRC, ``value`` is ``firmware_model.wire.CRC_RESIDUE``.

    Members
    -------
    clear : In(1)
        Start over in the next clock; wins over the others.
    shift : In(1)
        Take ``bit``.
    drain : In(1)
        With ``shift``: just move down by one, so that after eight of them the next byte of the
        result stands in bits 0..7 (that is how a sender reads it, inverted).
    bit : In(1)
        Data bit.
    value : Out(32)
        The register.
    """

    clear: In(1)
    shift: In(1)
    drain: In(1)
    bit: In(1)
    value: Out(32, init=PRESET)

    def elaborate(self, platform):
        m = Module()
        feedback = Signal()
        m.d.comb += feedback.eq((self.value[0] ^ self.bit) & ~self.drain)
        with m.If(self.clear):
            m.d.sync += self.value.eq(PRESET)
        with m.Elif(self.shift):
            m.d.sync += self.value.eq((self.value >> 1)
                                      ^ Mux(feedback, C(POLYNOMIAL, 32), C(0, 32)))
        return m
