"""Payloads of the frames to the target, fetched where they lie (R12)."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD

from .interfaces import MemoryPort, MetadataPort, PayloadKind, PayloadPort, SourceState, slot_shape
from .metadata import PageAccess

__all__ = ["OrderWalker"]


class OrderWalker(wiring.Component):
    """Payload provider of one link: a track's data from its slot, a packet from the order list.

    SLOT: ``track_bytes`` bytes of the slot, straight from the cache data memory.
    ORDER: for each track of the group its volume, with END_OF_CHAIN where the list says so and
    always on the last, then the track number. The list is read an entry at a time, each under
    the lock for 2 clocks; nothing is held while the line takes its bytes.

    A frame can be sent again after its group was acknowledged; then slot and list may have moved
    on and the payload means nothing, but its length is sound: at least one entry, at most the
    count of a group. The target drops it for its sequence number.

    A byte of a slot takes 5 clocks and the wait for the memory.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    payload : In(PayloadPort())
        Kinds SLOT and ORDER only.
    memory : Out(MemoryPort)
    meta : Out(MetadataPort)
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "payload": In(PayloadPort()),
            "memory": Out(MemoryPort(slot_shape(geometry).width + geometry.offset_bits)),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta, memory = self.meta, self.memory
        out = self.payload.bytes
        gseq, set_ = self.payload.arg[:16], self.payload.arg[16:16 + g.set_bits]

        offset = Signal(g.offset_bits)
        byte = Signal(8)
        index = Signal(g.track_index_bits)
        following = Signal(g.track_index_bits)
        left = Signal(8)
        last = Signal()
        track = Signal(16)
        m.d.comb += [
            memory.addr.eq(Cat(offset, self.payload.arg)),
            meta.link_addr.eq(index),
            last.eq(left <= 1),
            track.eq(index[:g.track_bits]),
        ]

        pages = PageAccess(g, meta, set_)
        m.d.comb += pages.rest()

        # Much hangs on a byte: it comes from a register.
        m.d.comb += out.payload.data.eq(byte)

        def send(*, last=0):
            m.d.comb += [out.valid.eq(1), out.payload.last.eq(last)]

        with m.FSM():
            with m.State("AWAIT_START"):
                m.d.sync += offset.eq(0)
                with m.If(self.payload.start):
                    m.next = "FETCH_BYTE"
                    with m.If(self.payload.kind == PayloadKind.ORDER):
                        m.next = "LOCK_GROUP"

            with m.State("FETCH_BYTE"):
                m.d.comb += memory.req.eq(1)
                with m.If(memory.ack):
                    m.d.sync += byte.eq(memory.rdata)
                    m.next = "SEND_BYTE"
            with m.State("SEND_BYTE"):
                send(last=offset.all())
                with m.If(out.ready):
                    m.d.sync += offset.eq(offset + 1)
                    m.next = "FETCH_BYTE"
                    with m.If(offset.all()):
                        m.next = "AWAIT_START"

            with m.State("LOCK_GROUP"):
                m.d.comb += pages.look_group(gseq, GROUP_HEAD)
                with m.If(meta.gnt):
                    m.next = "READ_HEAD"
            with m.State("READ_HEAD"):
                m.d.comb += pages.look_group(gseq, GROUP_COUNT)
                m.d.sync += index.eq(meta.page_rdata)
                m.next = "READ_COUNT"
            with m.State("READ_COUNT"):
                m.d.comb += meta.req.eq(1)
                m.d.sync += left.eq(meta.page_rdata)
                m.next = "READ_LINK"        # still holding the lock
            with m.State("LOCK_ENTRY"):
                m.d.comb += meta.req.eq(1)
                with m.If(meta.gnt):
                    m.next = "READ_LINK"
            with m.State("READ_LINK"):
                m.d.comb += meta.req.eq(1)
                volume = Signal(7)
                m.d.comb += volume.eq(index[g.track_bits:])
                m.d.sync += [following.eq(meta.link_rdata.next),
                             byte.eq(Cat(volume, meta.link_rdata.end_of_chain | last))]
                m.next = "SEND_VOLUME"
            with m.State("SEND_VOLUME"):
                send()
                with m.If(out.ready):
                    m.d.sync += byte.eq(track[:8])
                    m.next = "SEND_TRACK_LOW"
            with m.State("SEND_TRACK_LOW"):
                send()
                with m.If(out.ready):
                    m.d.sync += byte.eq(track[8:])
                    m.next = "SEND_TRACK_HIGH"
            with m.State("SEND_TRACK_HIGH"):
                send(last=last)
                with m.If(out.ready):
                    m.d.sync += [index.eq(following), left.eq(left - 1)]
                    m.next = "LOCK_ENTRY"
                    with m.If(last):
                        m.next = "AWAIT_START"
        return m
