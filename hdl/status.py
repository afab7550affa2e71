"""Sends the commit status of sets back to the source."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import SetWord, Type

from .interfaces import (
    Descriptor,
    MetadataPort,
    PayloadKind,
    TargetState,
    descriptor_word,
    header_const,
)
from .metadata import PageAccess

__all__ = ["StatusSender"]


class StatusSender(wiring.Component):
    """Sends STATUS for every set that is due, in turn.

    Besides, it says what the set's flags are, which life of the source is followed, and how often
    this side was reset. The status is cumulative (``DONE`` when it is made), so notices that come
    while a set waits need no second frame. It goes out on link ``set % links``, or the next one
    that is up; while none is up, it stays due. A link that is given up may take statuses with it,
    perhaps the last ones of sets that have nothing else to say; so whenever a link comes up or
    goes down, and whenever a frame of a committed group comes again, the status is due again (R19).

    A status waits for its link; the link must take or drop descriptors when it loses its session.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    due : In(StructLayout valid, set).array(3)
        Pulses: from the receiver, the commit engine and the follower.
    life : In(16), generation : In(8)
        The life that is followed, and our resets.
    links_up : In(links)
    meta : Out(MetadataPort)
    submit : Out(stream.Signature(Descriptor)).array(links)
    word : In(3).array(links), submitted : Out(16).array(links)
        A word of each; see :class:`.line.LinePort`.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        notice = data.StructLayout({"valid": 1, "set": geometry.set_bits})
        super().__init__({
            "due": In(notice).array(3),
            "life": In(16),
            "generation": In(8),
            "links_up": In(geometry.links),
            "meta": Out(MetadataPort(geometry, TargetState(geometry))),
            "submit": Out(stream.Signature(Descriptor)).array(geometry.links),
            "word": In(3).array(geometry.links),
            "submitted": Out(16).array(geometry.links),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta

        waiting = Signal(g.sets)
        set_ = Signal(range(g.sets))
        epoch = Signal(8)
        gseq = Signal(16)
        flags = Signal(8)
        link = Signal(range(g.links))
        were_up = Signal(g.links)
        m.d.sync += were_up.eq(self.links_up)

        def next_(signal, count):
            return signal.eq(Mux(signal == count - 1, 0, signal + 1))

        pages = PageAccess(g, meta, set_)
        m.d.comb += pages.rest()
        fields = header_const(m, Type.STATUS, set=set_, epoch=epoch, gseq=gseq, flags=flags,
                              life=self.life, generation=self.generation)
        for submit, word, submitted in zip(self.submit, self.word, self.submitted, strict=True):
            m.d.comb += [
                submit.payload.type.eq(Type.STATUS),
                submit.payload.header.eq(fields),
                submit.payload.kind.eq(PayloadKind.NONE),
                submitted.eq(descriptor_word(m, submit.payload, word)),
            ]

        with m.FSM():
            with m.State("SEEK_SET"):
                with m.If(waiting.any() & self.links_up.any()):
                    with m.If(waiting.bit_select(set_, 1)):
                        m.d.sync += waiting.bit_select(set_, 1).eq(0)
                        m.next = "LOCK_SET"
                    with m.Else():
                        m.d.sync += next_(set_, g.sets)
            with m.State("LOCK_SET"):
                m.d.comb += pages.look(SetWord.EPOCH)
                m.d.sync += link.eq(self._home(set_))
                with m.If(meta.gnt):
                    m.next = "READ_EPOCH"
            with m.State("READ_EPOCH"):
                m.d.comb += pages.look(SetWord.DONE)
                m.d.sync += epoch.eq(meta.page_rdata)
                m.next = "READ_DONE"
            with m.State("READ_DONE"):
                m.d.comb += pages.look(SetWord.FLAGS)
                m.d.sync += gseq.eq(meta.page_rdata)
                m.next = "READ_FLAGS"
            with m.State("READ_FLAGS"):
                m.d.comb += meta.req.eq(1)
                m.d.sync += flags.eq(meta.page_rdata)
                m.next = "CHOOSE_LINK"
            with m.State("CHOOSE_LINK"):
                with m.If(self.links_up.bit_select(link, 1)):
                    m.next = "SUBMIT_STATUS"
                with m.Elif(self.links_up.any()):
                    m.d.sync += next_(link, g.links)
                with m.Else():
                    m.d.sync += waiting.bit_select(set_, 1).eq(1)
                    m.next = "SEEK_SET"
            with m.State("SUBMIT_STATUS"):
                with m.Switch(link):
                    for n, submit in enumerate(self.submit):
                        with m.Case(n):
                            m.d.comb += submit.valid.eq(1)
                            with m.If(submit.ready):
                                m.next = "SEEK_SET"

        # After the FSM, so that a notice in the clock in which a set is taken up is not lost.
        for notice in self.due:
            with m.If(notice.valid):
                m.d.sync += waiting.bit_select(notice.set, 1).eq(1)
        with m.If((self.links_up != were_up) & self.links_up.any()):
            m.d.sync += waiting.eq(~0)
        return m

    def _home(self, set_):
        """Number of the link that carries the set's status: ``set % links``."""
        links = self.geometry.links
        homes = [n % links for n in range(self.geometry.sets)]
        return Array(Const(n, range(links)) for n in homes)[set_]
