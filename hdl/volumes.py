"""Logical volumes: which set each belongs to, and who waits for a reconnect."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firmware_model.wire import Code, Reg, SetWord, Type

from .interfaces import Descriptor, MetadataPort, RegisterPort, SourceState, header
from .metadata import PageAccess

__all__ = ["STAMP_BITS", "Reconnects", "VolumeMap"]

STAMP_BITS = 33     # one above the 32 that are reported: the carry tells that they overflowed


class VolumeMap(wiring.Component):
    """Volume to set map, read and written by the host at run time (claims 74, 77; R17).

    A read answers the set of the volume. A write moves the volume to the set written (nothing to do
    if it is there already), unless

    * BAD_REGISTER: there is no such volume,
    * BAD_VALUE: there is no such set,
    * SET_BUSY: a chain is open, or the volume's set has tracks that are not committed at the
      target, which would leave the set's order list in pieces, or one of the two sets is not where
      the other is: both must be running and not resyncing, or neither and the old one not used,
    * SET_FULL: the new set has ``volumes_per_set`` volumes.

    A refusal changes nothing. If the old set is used, so is the new one from then on. Answers
    within 10 clocks of the grant of the lock.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    bus : In(RegisterPort())
        Window ``VOLUME_SET``, full addresses.
    meta : Out(MetadataPort)
    chain_open : In(1)
    running, resyncing, used : In(sets)
        See :class:`.sequencer.Sequencer`.
    use : Out(sets)
        Pulse: this set is used from now on.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "bus": In(RegisterPort()),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
            "chain_open": In(1),
            "running": In(geometry.sets),
            "resyncing": In(geometry.sets),
            "used": In(geometry.sets),
            "use": Out(geometry.sets),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        bus, meta = self.bus, self.meta
        volume = Signal(16)
        new = Signal(g.set_bits)
        old = Signal(g.set_bits)
        next_ = Signal(16)          # NEXT of the old set
        members = Signal(16)        # VOLUMES of the set last looked at
        m.d.comb += [
            volume.eq(bus.addr - Reg.VOLUME_SET),
            new.eq(bus.wdata),
            bus.rdata.eq(meta.volume_rdata.set),
            meta.volume_addr.eq(volume),
            meta.volume_wdata.set.eq(new),
        ]

        old_page, new_page = PageAccess(g, meta, old), PageAccess(g, meta, new)

        # Whether the two sets are in different states towards the target.
        both = Signal(g.sets)
        apart = Signal()
        runs = self.running & both
        m.d.comb += [
            both.eq((1 << old) | (1 << new)),
            apart.eq((self.resyncing & both).any()
                     | Mux(runs.any(), runs != both, self.used.bit_select(old, 1))),
        ]

        def answer(code):
            m.d.comb += [bus.ack.eq(1), bus.code.eq(code)]
            m.next = "WAIT"

        with m.FSM() as fsm:
            m.d.comb += meta.req.eq(~fsm.ongoing("WAIT"))
            with m.State("WAIT"):
                with m.If(bus.req & (volume >= g.volumes)):
                    answer(Code.BAD_REGISTER)
                with m.Elif(bus.req & bus.we & (bus.wdata >= g.sets)):
                    answer(Code.BAD_VALUE)
                with m.Elif(bus.req):
                    m.next = "LOOK_UP_VOLUME"
            with m.State("LOOK_UP_VOLUME"):
                with m.If(meta.gnt):
                    m.next = "SEE_OLD_SET"
            with m.State("SEE_OLD_SET"):
                m.d.comb += PageAccess(g, meta, meta.volume_rdata.set).look(SetWord.UNSENT)
                m.d.sync += old.eq(meta.volume_rdata.set)
                m.next = "CHECK_UNSENT"
                with m.If(~bus.we | (meta.volume_rdata.set == new)):
                    answer(Code.OK)
                with m.Elif(self.chain_open):
                    answer(Code.SET_BUSY)
            with m.State("CHECK_UNSENT"):
                m.d.comb += old_page.look(SetWord.NEXT)
                m.next = "READ_DONE"
                with m.If((meta.page_rdata != 0) | apart):
                    answer(Code.SET_BUSY)
            with m.State("READ_DONE"):
                m.d.comb += old_page.look(SetWord.DONE)
                m.d.sync += next_.eq(meta.page_rdata)
                m.next = "CHECK_IN_FLIGHT"
            with m.State("CHECK_IN_FLIGHT"):
                m.d.comb += new_page.look(SetWord.VOLUMES)
                m.next = "CHECK_ROOM"
                with m.If((next_ - meta.page_rdata)[:16] != 1):
                    answer(Code.SET_BUSY)
            with m.State("CHECK_ROOM"):
                m.d.comb += old_page.look(SetWord.VOLUMES)
                m.d.sync += members.eq(meta.page_rdata)
                m.next = "LEAVE_OLD_SET"
                with m.If(meta.page_rdata >= g.volumes_per_set):
                    answer(Code.SET_FULL)
            with m.State("LEAVE_OLD_SET"):
                m.d.comb += old_page.put(SetWord.VOLUMES, meta.page_rdata - 1)
                m.next = "JOIN_NEW_SET"
            with m.State("JOIN_NEW_SET"):
                m.d.comb += [*new_page.put(SetWord.VOLUMES, members + 1), meta.volume_we.eq(1),
                             self.use.eq(Mux(self.used.bit_select(old, 1), 1 << new, 0))]
                answer(Code.OK)
        return m


class Reconnects(wiring.Component):
    """Times disconnects and tells the host of reconnects.

    Nobody waits for it: a disconnect or reconnect is one pulse, at most one each a clock, and
    the news waits as a bit a volume until the host line takes it. If a volume is disconnected and
    reconnected again before that, one RECONNECT tells of both, with the later's figures.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    now : In(STAMP_BITS)
        A counter of clocks.
    disconnect, disconnect_volume : In
        Pulse: this volume is disconnected from now on.
    reconnect, reconnect_index : In
        Pulse: the volume of this track index is connected again, since this track was committed.
    disconnected : Out(8)
        Volumes disconnected now.
    descriptors : Out(stream.Signature(Descriptor))
        RECONNECT frames. ``clocks`` counts from disconnect to reconnect; it saturates,
        but cannot tell a time of 2**33 clocks or more from a short one.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "now": In(STAMP_BITS),
            "disconnect": In(1),
            "disconnect_volume": In(geometry.volume_bits),
            "reconnect": In(1),
            "reconnect_index": In(geometry.track_index_bits),
            "disconnected": Out(8),
            "descriptors": Out(stream.Signature(Descriptor)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        news_layout = data.StructLayout({"track": g.track_bits, "clocks": 32})
        m.submodules.since = since = Memory(shape=STAMP_BITS, depth=g.volumes, init=[])
        m.submodules.news = news = Memory(shape=news_layout, depth=g.volumes, init=[])
        since_in, since_out = since.write_port(), since.read_port()
        news_in, news_out = news.write_port(), news.read_port()

        m.d.comb += [
            since_in.addr.eq(self.disconnect_volume),
            since_in.data.eq(self.now),
            since_in.en.eq(self.disconnect),
            since_out.addr.eq(self.reconnect_index[g.track_bits:]),
        ]
        m.d.sync += self.disconnected.eq(self.disconnected + self.disconnect - self.reconnect)

        # A reconnect: read the stamp, then write what is to be told and raise the bit.
        noting = Signal()
        index = Signal.like(self.reconnect_index)
        until = Signal.like(self.now)
        clocks = Signal(STAMP_BITS)
        m.d.sync += noting.eq(self.reconnect)
        with m.If(self.reconnect):
            m.d.sync += [index.eq(self.reconnect_index), until.eq(self.now)]
        m.d.comb += [
            clocks.eq(until - since_out.data),
            news_in.addr.eq(index[g.track_bits:]),
            news_in.data.track.eq(index),
            news_in.data.clocks.eq(Mux(clocks[32:].any(), 0xFFFFFFFF, clocks)),
            news_in.en.eq(noting),
        ]

        waiting = Signal(g.volumes)
        told = Signal(g.volumes)
        m.d.sync += waiting.eq((waiting & ~told) | (noting << news_in.addr)[:g.volumes])

        volume = Signal(range(g.volumes))
        m.d.comb += news_out.addr.eq(volume)

        def step():
            m.d.sync += volume.eq(Mux(volume == g.volumes - 1, 0, volume + 1))

        news_header = Signal(header(Type.RECONNECT))
        frame = self.descriptors.payload
        m.d.comb += [frame.type.eq(Type.RECONNECT), frame.header.eq(news_header)]
        with m.FSM():
            with m.State("FIND_NEWS"):
                with m.If(waiting.bit_select(volume, 1)):
                    m.next = "READ_NEWS"
                with m.Elif(waiting.any()):
                    step()
            with m.State("READ_NEWS"):
                # The bit falls before the read: news that come in this clock raise it again.
                m.d.comb += told.eq(1 << volume)
                m.next = "COPY_NEWS"
            with m.State("COPY_NEWS"):
                m.d.sync += [news_header.volume.eq(volume),
                             news_header.track.eq(news_out.data.track),
                             news_header.clocks.eq(news_out.data.clocks)]
                m.next = "TELL_HOST"
            with m.State("TELL_HOST"):
                m.d.comb += self.descriptors.valid.eq(1)
                with m.If(self.descriptors.ready):
                    step()
                    m.next = "FIND_NEWS"
        return m
