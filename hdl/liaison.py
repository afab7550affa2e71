"""The liaison: what the source has to say to the target about a set as a whole."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import SetWord, Type

from .arbiter import RoundRobin
from .interfaces import MetadataPort, SourceState, header
from .metadata import PageAccess

__all__ = ["Control", "Liaison", "Request"]


def Control(geometry):
    """A frame without payload about a set."""
    return data.StructLayout({"set": geometry.set_bits, "type": 8, "header": 64})


def Request(geometry):
    """What is to be said of a set; any of the three, for one clock."""
    return data.StructLayout({"set": geometry.set_bits, "ask": 1, "begin": 1, "resynced": 1})


class Liaison(wiring.Component):
    """Composes the ASK, BEGIN, RESYNC and RESYNCED frames that are due, sets in turn.

    A request stays due until its frame has been composed, however often it comes meanwhile; the
    frame says what the set's page says then, which takes at most 6 clocks under the lock. BEGIN
    and RESYNC are the same but for their type: which it is, ``resyncing`` says. Of several
    things due the order is BEGIN, ASK, RESYNCED. What is begun is not asked about as well: both
    are answered by a status, and a target that had heard the ASK would have taken its epoch, so
    that BEGIN would be of the next one no more. On slow lines that could happen again and again.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    life : In(16)
        Ours.
    resyncing : In(sets)
    ask : In(sets)
        Pulses: an ASK is due for these sets.
    forget : In(1)
        Pulse: nothing is due any more, but what comes in this clock. A frame that has been composed
        already stays until it is taken.
    request : In(Request(geometry))
    meta : Out(MetadataPort)
    frames : Out(stream.Signature(Control(geometry)))
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "life": In(16),
            "resyncing": In(geometry.sets),
            "ask": In(geometry.sets),
            "forget": In(1),
            "request": In(Request(geometry)),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
            "frames": Out(stream.Signature(Control(geometry))),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        frame = self.frames.payload

        set_ = Signal(g.set_bits)
        ask, begin, resynced = (Signal(g.sets, name=name) for name in ("ask", "begin", "resynced"))
        taken = Signal()
        type_ = Signal(Type)
        here = Signal(g.sets)
        m.d.comb += here.eq(1 << set_)
        for due, name, kinds in ((ask, "ask", [Type.ASK, Type.BEGIN, Type.RESYNC]),
                                 (begin, "begin", [Type.BEGIN, Type.RESYNC]),
                                 (resynced, "resynced", [Type.RESYNCED])):
            said = Mux(taken & type_.matches(*kinds), here, 0)
            asked = Mux(self.request[name], 1 << self.request.set, 0)
            if due is ask:
                asked |= self.ask
            m.d.sync += due.eq((Mux(self.forget, 0, due) & ~said) | asked)
        m.submodules.turn = turn = RoundRobin(g.sets)
        m.d.comb += [turn.requests.eq(ask | begin | resynced), turn.last.eq(set_)]

        # The header is 0 but for what is put into it.
        bits = Signal(64)
        asks, begins = data.View(header(Type.ASK), bits), data.View(header(Type.BEGIN), bits)
        pages = PageAccess(g, self.meta, set_)
        m.d.comb += pages.rest()
        found = self.meta.page_rdata
        m.d.comb += [frame.set.eq(set_), frame.type.eq(type_), frame.header.eq(bits)]

        with m.FSM():
            with m.State("AWAIT_REQUEST"):
                with m.If(turn.valid):
                    m.d.sync += set_.eq(turn.next)
                    m.next = "LOCK"
            with m.State("LOCK"):
                m.d.comb += pages.look(SetWord.EPOCH)
                m.d.sync += bits.eq(0)
                with m.If(self.meta.gnt):
                    m.d.sync += type_.eq(Type.RESYNCED)
                    with m.If((begin & here).any()):
                        m.d.sync += type_.eq(Mux((self.resyncing & here).any(), Type.RESYNC,
                                                 Type.BEGIN))
                    with m.Elif((ask & here).any()):
                        m.d.sync += type_.eq(Type.ASK)
                    m.next = "READ_EPOCH"
                with m.If(~((ask | begin | resynced) & here).any()):
                    m.next = "AWAIT_REQUEST"
            with m.State("READ_EPOCH"):
                m.d.comb += [*pages.look(SetWord.DONE), taken.eq(1)]
                m.d.sync += begins.set.eq(set_)         # all of these frames begin with it
                m.next = "OFFER_FRAME"
                with m.Switch(type_):
                    with m.Case(Type.ASK):
                        m.d.sync += [asks.life.eq(self.life), asks.epoch.eq(found)]
                    with m.Default():                   # at the same place in all others
                        m.d.sync += begins.epoch.eq(found)
                with m.If(type_.matches(Type.BEGIN, Type.RESYNC)):
                    m.next = "READ_DONE"
            with m.State("READ_DONE"):
                m.d.comb += pages.look(SetWord.ACKED_LOW)
                m.d.sync += begins.gseq.eq(found)
                m.next = "READ_ACKED_LOW"
            with m.State("READ_ACKED_LOW"):
                m.d.comb += pages.look(SetWord.ACKED_HIGH)
                m.d.sync += begins.chains[:16].eq(found)
                m.next = "READ_ACKED_HIGH"
            with m.State("READ_ACKED_HIGH"):
                m.d.comb += self.meta.req.eq(1)
                m.d.sync += begins.chains[16:].eq(found)
                m.next = "OFFER_FRAME"
            with m.State("OFFER_FRAME"):
                m.d.comb += self.frames.valid.eq(1)
                with m.If(self.frames.ready):
                    m.next = "AWAIT_REQUEST"
        return m
