"""Logical volumes: which set each belongs to, and who waits for a reconnect."""

from amaranth import *
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firmware_model.wire import Code, Reg, SetWord, Type

from .interfaces import (
    Descriptor,
    MetadataPort,
    RegisterPort,
    SourceState,
    header,
    quick_if_small,
)
from .metadata import PageAccess
from .registers import CLOCK_BITS

__all__ = ["Reconnects", "VolumeMap"]


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
    within 11 clocks of the grant of the lock.

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
        code = Signal.like(bus.code)
        new = Signal(g.set_bits)
        old = Signal(g.set_bits)
        # Last group of the old set: so few are in flight that a few bits tell it from DONE.
        newest = Signal(range(g.groups_in_flight + 1))
        members = Signal(range(g.volumes_per_set + 1))      # VOLUMES of the set last looked at
        found = meta.page_rdata[:len(members)]              # VOLUMES: no more than these bits
        m.d.comb += [
            volume.eq(bus.addr ^ Reg.VOLUME_SET),
            new.eq(bus.wdata),
            bus.code.eq(code),
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

        def answer(what):
            m.d.sync += code.eq(what)
            m.next = "ANSWER"

        with m.FSM() as fsm:
            m.d.comb += meta.req.eq(~(fsm.ongoing("WAIT") | fsm.ongoing("ANSWER")))
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
                m.d.sync += newest.eq(meta.page_rdata - 1)
                m.next = "CHECK_IN_FLIGHT"
            with m.State("CHECK_IN_FLIGHT"):
                m.d.comb += new_page.look(SetWord.VOLUMES)
                m.next = "CHECK_ROOM"
                with m.If(newest != meta.page_rdata[:len(newest)]):
                    answer(Code.SET_BUSY)
            with m.State("CHECK_ROOM"):
                m.d.comb += old_page.look(SetWord.VOLUMES)
                m.d.sync += members.eq(found)
                m.next = "LEAVE_OLD_SET"
                with m.If(found >= g.volumes_per_set):
                    answer(Code.SET_FULL)
            with m.State("LEAVE_OLD_SET"):
                m.d.comb += old_page.put(SetWord.VOLUMES, (found - 1)[:len(members)])
                m.next = "JOIN_NEW_SET"
            with m.State("JOIN_NEW_SET"):
                m.d.comb += [*new_page.put(SetWord.VOLUMES, (members + 1)[:len(members)]),
                             meta.volume_we.eq(1),
                             self.use.eq(Mux(self.used.bit_select(old, 1), 1 << new, 0))]
                answer(Code.OK)
            with m.State("ANSWER"):
                m.d.comb += bus.ack.eq(1)
                m.next = "WAIT"
        return m


class _Kind(enum.Enum, shape=1):
    """What is kept of a volume, in words of 16 bits, the lowest first."""

    SINCE = 0       # when it was disconnected
    NEWS = 1        # for how long, and the track whose commit ended it


_LAST_WORD = 2      # of a time; only its lowest bit counts
_TRACK_WORD = 3     # of the news


class Reconnects(wiring.Component):
    """Times disconnects and tells the host of reconnects.

    Nobody waits for it: a disconnect or reconnect is one pulse, and the news waits as a bit a
    volume until the host line takes it. If a volume is disconnected and reconnected again before
    that, one RECONNECT tells of both, with the later's figures.

    Times go through one block RAM, 16 bits a clock. So a pulse is timed a little later than it
    comes: by 3 clocks if it comes alone, by at most ``32 + 16 * volumes``. A volume must stay as it
    is for that long: that is less than a chain needs to reach the target, or the host's next frame
    to come, and volumes that are reconnected all at once come before one that is disconnected.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    now : In(CLOCK_BITS)
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
            "now": In(CLOCK_BITS),
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
        with m.If(self.disconnect ^ self.reconnect):
            m.d.sync += self.disconnected.eq(
                self.disconnected + Cat(C(1, 1), self.reconnect.replicate(7)))

        # What is to be done, and for which volume.
        gone = Signal()                 # ``gone_volume`` is to be stamped
        gone_volume = Signal(g.volume_bits)
        back = Signal(g.volumes)        # reconnected, to be timed
        waiting = Signal(g.volumes)     # timed, to be told
        volume = Signal(g.volume_bits)
        here = Signal(g.volumes)
        timed, told = Signal(), Signal()
        m.d.comb += here.eq(1 << volume)
        m.d.sync += [
            back.eq((back & ~Mux(timed, here, 0)) | Mux(
                self.reconnect, 1 << self.reconnect_index[g.track_bits:], 0)),
            waiting.eq((waiting & ~Mux(told, here, 0)) | Mux(timed, here, 0)),
        ]

        # Four words of each volume and either kind.
        depth = 8 << g.volume_bits
        m.submodules.words = words = Memory(
            shape=16, depth=depth, init=[],
            attrs=quick_if_small(depth, platform) or {"ram_style": "block"})
        write, read = words.write_port(), words.read_port()
        word = Signal(2)
        kind = Signal(_Kind)
        write_kind = Signal(_Kind)

        # The track is noted in the clock of the pulse; who else writes gives way.
        borrow = Signal()
        timing = Signal()
        stamp = Signal(16)              # of now; only while timing, so that no clock is a change
        passed = Signal(16)             # stamp - what is read - borrow
        rest = Signal(18)               # inverted, which costs less; bit 0 makes the carry
        m.d.comb += [
            rest.eq(Cat(borrow, ~stamp) + Cat(borrow, read.data)),
            passed.eq(~rest[1:]),
            read.addr.eq(Cat(word, kind, volume)),
            read.en.eq(~self.reconnect),
            write.addr.eq(Cat(word, write_kind, volume)),
            write.data.eq(Mux(write_kind == _Kind.SINCE, stamp, passed)),
        ]
        with m.If(timing):
            m.d.comb += stamp.eq(self.now.word_select(word[0], 16))
            with m.If(word == _LAST_WORD):
                m.d.comb += stamp[0].eq(self.now[32])
        with m.If(self.reconnect):
            m.d.comb += [
                write.addr.eq(Cat(C(_TRACK_WORD, 2), _Kind.NEWS,
                                  self.reconnect_index[g.track_bits:])),
                write.data.eq(self.reconnect_index[:g.track_bits]),
                write.en.eq(1),
            ]

        news = Signal(header(Type.RECONNECT))
        frame = self.descriptors.payload
        offered = self.descriptors.valid
        m.d.comb += [frame.type.eq(Type.RECONNECT), frame.header.eq(news)]
        with m.If(self.descriptors.ready):
            m.d.sync += offered.eq(0)
        with m.FSM():
            with m.State("FIND_WORK"):
                # All words of a stamp must be of one time: not while a carry is about to run
                # from one to the next.
                calm = ~self.now[4:16].all()
                m.d.sync += [word.eq(0), borrow.eq(0)]
                with m.If((back & here).any() & calm):
                    m.next = "READ_STAMP"
                with m.Elif(back.any()):
                    self._step(m, volume)
                with m.Elif(gone & calm):
                    m.d.sync += [gone.eq(0), volume.eq(gone_volume)]
                    m.next = "WRITE_STAMP"
                with m.Elif((waiting & here).any() & ~offered):
                    m.d.sync += word.eq(_TRACK_WORD)
                    m.next = "READ_NEWS"
                with m.Elif(waiting.any() & ~offered):
                    self._step(m, volume)

            with m.State("WRITE_STAMP"):
                m.d.comb += timing.eq(1)
                with m.If(~self.reconnect):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += word.eq(word + 1)
                    with m.If(word == _LAST_WORD):
                        m.next = "FIND_WORK"

            with m.State("READ_STAMP"):
                with m.If(read.en):
                    m.next = "WRITE_CLOCKS"
            with m.State("WRITE_CLOCKS"):
                m.d.comb += [timing.eq(1), write_kind.eq(_Kind.NEWS)]
                with m.If(~self.reconnect):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += [word.eq(word + 1), borrow.eq(rest[17])]
                    m.next = "READ_STAMP"
                    with m.If(word == _LAST_WORD):
                        m.d.comb += timed.eq(1)
                        m.next = "FIND_WORK"

            with m.State("READ_NEWS"):
                m.d.comb += kind.eq(_Kind.NEWS)
                with m.If(read.en):
                    m.next = "COPY_NEWS"
            with m.State("COPY_NEWS"):
                m.d.sync += word.eq(word + 1)
                m.next = "READ_NEWS"
                with m.Switch(word):
                    with m.Case(_TRACK_WORD):
                        m.d.sync += news.track.eq(read.data)
                    with m.Case(0):
                        m.d.sync += news.clocks[:16].eq(read.data)
                    with m.Case(1):
                        m.d.sync += news.clocks[16:].eq(read.data)
                    with m.Case(_LAST_WORD):
                        with m.If(read.data[0]):
                            m.d.sync += news.clocks.eq(0xFFFFFFFF)
                        m.d.comb += told.eq(1)
                        m.d.sync += [news.volume.eq(volume), offered.eq(1)]
                        m.next = "FIND_WORK"
        # After the machine, so that a pulse in the clock of a visit is not lost.
        with m.If(self.disconnect):
            m.d.sync += [gone.eq(1), gone_volume.eq(self.disconnect_volume)]
        return m

    def _step(self, m, volume):
        m.d.sync += volume.eq(Mux(volume == self.geometry.volumes - 1, 0, volume + 1))
