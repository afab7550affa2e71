"""The dispatcher: hands the frames of every group to whichever link wants one (R13, R15)."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, SetWord, Type

from .arbiter import RoundRobin
from .interfaces import (
    Descriptor,
    MetadataPort,
    PayloadKind,
    SourceState,
    descriptor_word,
    header_const,
    slot_shape,
)
from .liaison import Control
from .metadata import PageAccess
from .sequencer import Notice

__all__ = ["ORDER_PATIENCE", "Dispatcher"]

# Several frames' time on a fast line: a link that is merely busy has room again long before.
ORDER_PATIENCE = 1 << 16

# x^5 + x^3 + 1: its 31 states are prime to every number of sets that may be rewound in turn.
SHAKE_TAPS = (4, 2)


class Dispatcher(wiring.Component):
    """Sends groups SENT + 1 .. NEXT - 1 of every set, sets in turn, a group at a time.

    The tracks of a group go one by one, each to the first link, in rotating order, that has room
    for a frame: so the links share the load as they can bear it. The order packet follows, on the
    set's home link ``set % links`` or, if that is down, the next one that is up (R19); it does not
    take part in the rotation. Then ``SENT`` moves on.

    At some rewinds, as if a coin were tossed, the rotation goes one step further: whatever the
    numbers of tracks and links, a track does not go to the same link, which may lose everything
    without being down yet, for ever.

    Before each frame the group is looked at again under the lock. If it has been acknowledged
    meanwhile, or the set was rewound, the rest of it is not sent; the set is looked at
    afresh. The link is chosen before the lock is taken, so nothing is awaited under the lock.

    A descriptor, once offered, stays until its link takes it; only if the link goes down is it
    withdrawn and the frame given to another one.

    Only sets that are ``running`` are looked at. Frames of the liaison go before groups, like an
    order packet on the home link; one whose link goes down meanwhile, or that finds none, is
    dropped: it may not be true any more, and whoever needs it asks again.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    notice : In(Notice)
        From the sequencer.
    running : In(sets)
        Sets whose groups may be sent.
    control : In(stream.Signature(Control(geometry)))
        From the liaison.
    up : In(links)
        Links with a session.
    room : In(links)
        Links that would take a descriptor now.
    submit : Out(stream.Signature(Descriptor)).array(links)
        DATA (kind SLOT) and ORDER (kind ORDER).
    word : In(3).array(links), submitted : Out(16).array(links)
        A word of each; see :class:`.line.LinePort`.
    meta : Out(MetadataPort)
    dispatched : Out(1)
        Pulse: a track was handed to a link, a clock ago.
    walking : Out(1)
        The lock is held.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "notice": In(Notice(geometry)),
            "running": In(geometry.sets),
            "control": In(stream.Signature(Control(geometry))),
            "up": In(geometry.links),
            "room": In(geometry.links),
            "submit": Out(stream.Signature(Descriptor)).array(geometry.links),
            "word": In(3).array(geometry.links),
            "submitted": Out(16).array(geometry.links),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
            "dispatched": Out(1),
            "walking": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta

        set_ = Signal(g.set_bits)
        todo = Signal(g.sets)
        finished = Signal()             # nothing more to send of ``set_``
        restart = Signal()              # ``set_`` was rewound while at it
        m.d.sync += todo.eq((todo & ~Mux(finished, 1 << set_, 0))
                            | Mux(self.notice.valid, 1 << self.notice.set, 0))
        m.submodules.turn = turn = RoundRobin(g.sets)
        m.d.comb += [turn.requests.eq(todo & self.running), turn.last.eq(set_)]

        # The group at hand and the place in it.
        epoch = Signal(8)
        gseq = Signal(16)
        before = Signal(16)             # SENT until the group is handed over
        count = Signal(8)
        left = Signal(8)                # tracks to go; 0: the order packet is next
        index = Signal(g.track_index_bits)
        following = Signal(g.track_index_bits)
        slot = Signal(slot_shape(g))
        order = Signal()
        alive = Signal()                # seen one clock after SENT was addressed
        control = Signal()              # the frame at hand is the liaison's
        m.d.comb += [
            order.eq((left == 0) | control),
            alive.eq((meta.page_rdata == before) & ~restart),
            meta.state_addr.eq(index),
            meta.link_addr.eq(index),
            self.walking.eq(meta.gnt),
        ]

        waited = Signal(range(ORDER_PATIENCE), init=0)
        patient = Signal(init=1)
        waiting, served = Signal(), Signal()
        link = Signal(range(g.links))
        choice, chosen = self._choose_link(m, set_, order, patient, link)
        self._frame(m, set_, epoch, gseq, count, index, slot, order, control)

        taken = Signal()                # by its link, in the clock before
        m.d.sync += taken.eq(Cat(submit.valid & submit.ready for submit in self.submit).any())

        pages = PageAccess(g, meta, set_)
        m.d.comb += pages.rest()
        with m.FSM():
            with m.State("AWAIT_WORK"):
                m.d.sync += [restart.eq(0), control.eq(self.control.valid)]
                with m.If(self.control.valid):
                    m.d.sync += set_.eq(self.control.payload.set)
                    m.next = "AWAIT_LINK"
                with m.Elif(turn.valid):
                    m.d.sync += set_.eq(turn.next)
                    m.next = "LOCK_SET"

            # -- the next group of the set
            with m.State("LOCK_SET"):
                m.d.comb += pages.look(SetWord.SENT)
                m.d.sync += restart.eq(0)
                with m.If(meta.gnt):
                    m.next = "READ_SENT"
            with m.State("READ_SENT"):
                m.d.comb += pages.look(SetWord.NEXT)
                m.d.sync += [before.eq(meta.page_rdata), gseq.eq(meta.page_rdata + 1)]
                m.next = "READ_NEXT"
            with m.State("READ_NEXT"):
                m.d.comb += pages.look(SetWord.EPOCH)
                m.next = "READ_EPOCH"
                with m.If(meta.page_rdata == gseq):
                    m.d.comb += finished.eq(1)
                    m.next = "AWAIT_WORK"
            with m.State("READ_EPOCH"):
                m.d.comb += pages.look_group(gseq, GROUP_HEAD)
                m.d.sync += epoch.eq(meta.page_rdata)
                m.next = "READ_HEAD"
            with m.State("READ_HEAD"):
                m.d.comb += pages.look_group(gseq, GROUP_COUNT)
                m.d.sync += index.eq(meta.page_rdata)
                m.next = "READ_COUNT"
            with m.State("READ_COUNT"):
                m.d.comb += meta.req.eq(1)
                m.d.sync += [count.eq(meta.page_rdata), left.eq(meta.page_rdata)]
                m.next = "AWAIT_LINK"

            # -- one frame
            with m.State("AWAIT_LINK"):
                m.d.comb += waiting.eq(1)
                with m.If(control & ~self.up.any()):
                    m.d.comb += self.control.ready.eq(1)
                    m.next = "AWAIT_WORK"
                with m.Elif(~control & (restart | ~self.running.bit_select(set_, 1))):
                    m.next = "AWAIT_WORK"
                with m.Elif(chosen):
                    m.d.sync += link.eq(choice)
                    m.next = "LOCK_TRACK"
                    with m.If(control):
                        m.next = "OFFER_FRAME"
            with m.State("LOCK_TRACK"):
                m.d.comb += pages.look(SetWord.SENT)
                m.d.comb += served.eq(1)
                with m.If(meta.gnt):
                    m.next = "READ_TRACK"
            with m.State("READ_TRACK"):
                m.d.comb += meta.req.eq(1)
                m.d.sync += [slot.eq(meta.state_rdata.slot), following.eq(meta.link_rdata.next)]
                m.next = "OFFER_FRAME"
                with m.If(~alive):
                    m.next = "AWAIT_WORK"
            with m.State("OFFER_FRAME"):
                up = Signal()
                m.d.comb += up.eq(self.up.bit_select(link, 1))
                for n, submit in enumerate(self.submit):
                    m.d.comb += submit.valid.eq((link == n) & up & ~taken)
                with m.If(control & (taken | ~up)):
                    m.d.comb += self.control.ready.eq(1)
                    m.next = "AWAIT_WORK"
                with m.Elif(taken & order):
                    m.next = "LOCK_TO_MOVE_ON"
                with m.Elif(taken):
                    m.d.comb += self.dispatched.eq(1)
                    m.d.sync += [index.eq(following), left.eq(left - 1)]
                    m.next = "AWAIT_LINK"
                with m.Elif(~up):
                    m.next = "AWAIT_LINK"

            # -- the group has been handed over whole
            with m.State("LOCK_TO_MOVE_ON"):
                m.d.comb += pages.look(SetWord.SENT)
                with m.If(meta.gnt):
                    m.next = "MOVE_ON"
            with m.State("MOVE_ON"):
                m.d.comb += [*pages.put(SetWord.SENT, gseq), meta.page_we.eq(alive)]
                m.next = "AWAIT_WORK"

        with m.If(self.notice.valid & self.notice.rewound & (self.notice.set == set_)):
            m.d.sync += restart.eq(1)

        # Apart from the machine, which is large and would be simulated at every clock with it.
        with m.If(served):
            m.d.sync += [waited.eq(0), patient.eq(1)]
        with m.Elif(waiting):
            m.d.sync += waited.eq(waited + 1)
            with m.If(waited.all()):
                m.d.sync += patient.eq(0)
        return m

    def _choose_link(self, m, set_, order, patient, link):
        """The link for the next frame, and whether that has room now.

        ``link`` is the one of the frame offered last, which need not have been a track.
        """
        g = self.geometry
        before_home = Signal(range(g.links))
        chosen = Signal()
        room = Signal(g.links)          # a clock ago, which is after a frame was taken
        m.d.sync += room.eq(self.room)
        with m.Switch(set_):
            for s in range(g.sets):
                with m.Case(s):
                    m.d.comb += before_home.eq((s - 1) % g.links)
        last_track = self._rotate(m, self.dispatched, link)
        m.submodules.link_turn = turn = RoundRobin(g.links)
        m.d.comb += [
            turn.requests.eq(Mux(order & patient, self.up, room & self.up)),
            turn.last.eq(Mux(order, before_home, last_track)),
            chosen.eq(turn.valid & room.bit_select(turn.next, 1)),
        ]
        return turn.next, chosen

    def _rotate(self, m, moved, link):
        """The link used last for a track, moved on by one at every other rewind or so."""
        g = self.geometry
        last_track = Signal(range(g.links))
        shake = Signal(5, init=1)
        with m.If(moved):
            m.d.sync += last_track.eq(link)
        with m.If(self.notice.valid & self.notice.rewound):
            m.d.sync += shake.eq(Cat(shake[SHAKE_TAPS[0]] ^ shake[SHAKE_TAPS[1]], shake))
            with m.If(shake[0]):
                m.d.sync += last_track.eq(Mux(last_track == g.links - 1, 0, last_track + 1))
        return last_track

    def _frame(self, m, set_, epoch, gseq, count, index, slot, order, control):
        """The frame that is offered, the same to all links; valid says to which."""
        g = self.geometry
        said, sent = Signal(Descriptor), Signal(Descriptor)     # the liaison's, or of a group
        m.d.comb += [said.type.eq(self.control.payload.type),
                     said.header.eq(self.control.payload.header)]
        track_header = header_const(m, Type.DATA, set=set_, epoch=epoch, gseq=gseq,
                                    volume=index[g.track_bits:], track=index[:g.track_bits])
        order_header = header_const(m, Type.ORDER, set=set_, epoch=epoch, gseq=gseq, count=count)
        with m.If(order):
            m.d.comb += [sent.type.eq(Type.ORDER), sent.header.eq(order_header),
                         sent.kind.eq(PayloadKind.ORDER), sent.arg.eq(Cat(gseq, set_))]
        with m.Else():
            m.d.comb += [sent.type.eq(Type.DATA), sent.header.eq(track_header),
                         sent.kind.eq(PayloadKind.SLOT), sent.arg.eq(slot)]
        for submit, word, submitted in zip(self.submit, self.word, self.submitted, strict=True):
            m.d.comb += [
                submit.payload.eq(Mux(control, said, sent)),
                submitted.eq(Mux(control, descriptor_word(m, said, word),
                                 descriptor_word(m, sent, word))),
            ]
