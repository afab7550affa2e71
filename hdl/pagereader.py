"""Lets the host look at the set pages."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import SET_PAGE_WORDS, Code, Reg, SetWord, SourceFlag

from .interfaces import MetadataPort, RegisterPort

__all__ = ["PageReader"]

_WORD_BITS = (SET_PAGE_WORDS - 1).bit_length()


class PageReader(wiring.Component):
    """Reads a word of a set page over the register bus (registers ``SET_PAGES``, read only).

    Takes the metadata lock for one read: answers 3 clocks after the grant. One word a request, so
    two words of a page may come from different moments.

    Parameters
    ----------
    geometry : Geometry
    state : Layout
        State layout of the system's table (``SourceState`` or ``TargetState``).

    Members
    -------
    bus : In(RegisterPort())
        Full addresses. Unknown sets answer BAD_REGISTER, writes READ_ONLY.
    running, resyncing, used : In(sets)
        Flags that the source keeps in registers: they show in the word FLAGS.
    meta : Out(MetadataPort)
    """

    def __init__(self, geometry, state):
        self.geometry = geometry
        super().__init__({
            "bus": In(RegisterPort()),
            "running": In(geometry.sets),
            "resyncing": In(geometry.sets),
            "used": In(geometry.sets),
            "meta": Out(MetadataPort(geometry, state)),
        })

    def elaborate(self, platform):
        m = Module()
        offset = Signal(16)
        m.d.comb += [
            offset.eq(self.bus.addr ^ Reg.SET_PAGES),
            self.meta.page_addr.eq(offset),
            self.bus.rdata.eq(self.meta.page_rdata),
        ]
        flags = {SourceFlag.RUNNING: self.running, SourceFlag.RESYNC: self.resyncing,
                 SourceFlag.USED: self.used}
        with m.If(offset[:_WORD_BITS] == SetWord.FLAGS):
            set_ = offset[_WORD_BITS:_WORD_BITS + self.geometry.set_bits]
            m.d.comb += self.bus.rdata.eq(self.meta.page_rdata | sum(
                Mux(bits.bit_select(set_, 1), flag, 0) for flag, bits in flags.items()))
        code = Signal.like(self.bus.code)
        m.d.comb += self.bus.code.eq(code)
        with m.FSM():
            with m.State("WAIT"):
                m.d.sync += code.eq(Code.OK)
                with m.If(self.bus.req):
                    m.next = "LOCK"
                with m.If(self.bus.req & (offset[_WORD_BITS:] >= self.geometry.sets)):
                    m.d.sync += code.eq(Code.BAD_REGISTER)
                    m.next = "REFUSE"
                with m.Elif(self.bus.req & self.bus.we):
                    m.d.sync += code.eq(Code.READ_ONLY)
                    m.next = "REFUSE"
            with m.State("REFUSE"):
                m.d.comb += self.bus.ack.eq(1)
                m.next = "WAIT"
            with m.State("LOCK"):
                m.d.comb += self.meta.req.eq(1)
                with m.If(self.meta.gnt):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [self.meta.req.eq(1), self.bus.ack.eq(1)]
                m.next = "WAIT"
        return m
