"""Fetches the payloads that go to the host: tracks and register values."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .interfaces import (
    MemoryPort,
    MetadataPort,
    PayloadKind,
    PayloadPort,
    RegisterPort,
    slot_shape,
)

__all__ = ["Reader"]


class Reader(wiring.Component):
    """Payload provider of the host line, for the kinds TRACK and REGS.

    TRACK: looks up the track's slot under the metadata lock when the frame begins, and pins that
    slot until the last byte is taken. So the bytes are one committed version, whatever commits
    meanwhile. REGS: reads the registers one by one when their turn comes, 4 bytes each, lowest
    first; a register that refuses reads as what its ``rdata`` says.

    One byte at a time: the next one is fetched when the last is taken, well within a line's byte.

    Parameters
    ----------
    geometry : Geometry
    state : Layout
        State layout of the system's table; its ``slot`` is what readers see.

    Members
    -------
    payload : In(PayloadPort())
        From the host's LinkEngine.
    meta : Out(MetadataPort)
    memory : Out(MemoryPort)
    pin : Out(StructLayout valid, slot)
        The free list must not give out this slot.
    registers : Out(RegisterPort())
    """

    def __init__(self, geometry, state):
        self.geometry = geometry
        slot = slot_shape(geometry)
        super().__init__({
            "payload": In(PayloadPort()),
            "meta": Out(MetadataPort(geometry, state)),
            "memory": Out(MemoryPort(slot.width + geometry.offset_bits)),
            "pin": Out(data.StructLayout({"valid": 1, "slot": slot})),
            "registers": Out(RegisterPort()),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        offset = Signal(g.offset_bits)
        value = Signal(32)              # rest of the register being sent, or one byte
        address = Signal(16)            # of the register being sent
        sent = Signal(8)                # registers before it
        part = Signal(2)                # byte of the register
        after = Signal(8)
        final = Signal()                # no register comes after this one
        first, count = self.payload.arg[:16], self.payload.arg[16:]

        m.d.comb += [
            after.eq(sent + 1),
            self.meta.state_addr.eq(self.payload.arg),
            self.memory.addr.eq(Cat(offset, self.pin.slot)),
            self.registers.addr.eq(address),
            self.payload.bytes.payload.data.eq(value[:8]),
        ]
        m.d.sync += [address.eq(first + sent), final.eq(after == count)]
        out = self.payload.bytes
        with m.FSM():
            with m.State("AWAIT_START"):
                m.d.sync += [offset.eq(0), part.eq(0), sent.eq(0)]
                with m.If(self.payload.start):
                    m.next = "LOCK_TRACK"
                    with m.If(self.payload.kind == PayloadKind.REGS):
                        m.next = "FIND_ADDRESS"

            with m.State("LOCK_TRACK"):
                m.d.comb += self.meta.req.eq(1)
                with m.If(self.meta.gnt):
                    m.next = "PIN_SLOT"
            with m.State("PIN_SLOT"):
                m.d.comb += self.meta.req.eq(1)
                m.d.sync += [self.pin.slot.eq(self.meta.state_rdata.slot), self.pin.valid.eq(1)]
                m.next = "FETCH_BYTE"
            with m.State("FETCH_BYTE"):
                m.d.comb += self.memory.req.eq(1)
                with m.If(self.memory.ack):
                    m.d.sync += value.eq(self.memory.rdata)
                    m.next = "OFFER_BYTE"
            with m.State("OFFER_BYTE"):
                m.d.comb += [out.valid.eq(1), out.payload.last.eq(offset.all())]
                with m.If(out.ready):
                    m.d.sync += offset.eq(offset + 1)
                    m.next = "FETCH_BYTE"
                    with m.If(out.payload.last):
                        m.d.sync += self.pin.valid.eq(0)
                        m.next = "AWAIT_START"

            with m.State("FIND_ADDRESS"):
                m.next = "READ_REGISTER"
            with m.State("READ_REGISTER"):
                m.d.comb += self.registers.req.eq(1)
                with m.If(self.registers.ack):
                    m.d.sync += value.eq(self.registers.rdata)
                    m.next = "OFFER_REGISTER"
            with m.State("OFFER_REGISTER"):
                m.d.comb += [out.valid.eq(1), out.payload.last.eq(part.all() & final)]
                with m.If(out.ready):
                    m.d.sync += [value.eq(value >> 8), part.eq(part + 1)]
                    with m.If(part.all()):
                        m.d.sync += sent.eq(after)
                        m.next = "FIND_ADDRESS"
                    with m.If(out.payload.last):
                        m.next = "AWAIT_START"
        return m
