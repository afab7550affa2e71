"""Whom the target follows, and from where: the target's side of starting and restarting."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import SetWord, TargetFlag, Type

from .interfaces import Event, MetadataPort, TargetState, header
from .metadata import PageAccess
from .mutations import Mutation, lacks
from .recovery import LIFE_ADDRESS

__all__ = ["CONTROL_TYPES", "Follower"]

CONTROL_TYPES = (Type.ASK, Type.BEGIN, Type.RESYNC, Type.RESYNCED)


class Follower(wiring.Component):
    """Acts on ASK, BEGIN, RESYNC and RESYNCED; each makes the set's status due.

    * ASK of another life than the one followed: the source is a new one. In every set FOLLOWING
      and ASKED fall and WRITTEN rises; ``life`` is the new one. Volumes may be in other sets now,
      so if one set is INCONSISTENT then all are. If a life was followed before, ``new_life`` pulses
      while the lock is held, as it is in the next clock: all that is staged must go, and all links
      must start new sessions. The first life that ever comes finds nothing of the kind.
    * Then, unless FOLLOWING: the ASK's epoch is taken over if it is the first of this life (ASKED
      rises) or ahead of the one here by less than half the numbers.
    * BEGIN and RESYNC count unless FOLLOWING, if ASKED and the epoch is the next one, BEGIN only
      if nothing is WRITTEN: EPOCH, DONE and CHAINS are as it says, the set is FOLLOWING, after a
      RESYNC also INCONSISTENT.
    * RESYNCED of the present epoch: INCONSISTENT falls.

    The life and the sets' flags survive a reset in the set pages, and are read back before
    anything else.

    Whatever does not count changes nothing: the status tells the source why. The lock is held for
    at most 13 clocks, or 3 a set at a new life.

    Parameters
    ----------
    geometry : Geometry
    mutation : Mutation or None
        RESYNC_NOT_MARKED sets no INCONSISTENT.

    Members
    -------
    events : In(stream.Signature(Event))
        CONTROL_TYPES only. Taken when all is done.
    meta : Out(MetadataPort)
    life : Out(16)
        The life that is followed, 0 for none.
    new_life : Out(1)
        Pulse, see above.
    due : Out(StructLayout valid, set)
        Pulse: the set's status must be sent.
    suspects : Out(sets)
        Sets that are INCONSISTENT; all of them until that has been read back.
    rejected : Out(1)
        Pulse: a frame for a set that does not exist, or with a payload.
    """

    def __init__(self, geometry, *, mutation=None):
        self.geometry = geometry
        self._mark_resync = lacks(mutation, Mutation.RESYNC_NOT_MARKED)
        super().__init__({
            "events": In(stream.Signature(Event)),
            "meta": Out(MetadataPort(geometry, TargetState(geometry))),
            "life": Out(16),
            "new_life": Out(1),
            "due": Out(data.StructLayout({"valid": 1, "set": geometry.set_bits})),
            "suspects": Out(geometry.sets, init=(1 << geometry.sets) - 1),
            "rejected": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta
        event = self.events.payload
        ask = data.View(header(Type.ASK), event.header)
        begin = data.View(header(Type.BEGIN), event.header)

        set_ = Signal(g.set_bits)
        epoch = Signal(8)               # the frame's
        flags = Signal(4)
        ahead = Signal(8)               # by how much the frame's epoch is ahead of the set's
        is_ask = Signal()
        m.d.comb += [
            is_ask.eq(event.type == Type.ASK),
            epoch.eq(Mux(is_ask, ask.epoch, begin.epoch)),
            self.due.set.eq(set_),
        ]
        pages = PageAccess(g, meta, set_)

        def has(flag):
            return (flags & flag).any()

        def answer():
            m.next = "ANSWER"

        def mark(suspect):
            m.d.sync += self.suspects.bit_select(set_, 1).eq(suspect)

        with m.FSM():
            # -- after a reset
            with m.State("LOCK_LIFE"):
                m.d.comb += [meta.req.eq(1), meta.page_addr.eq(LIFE_ADDRESS)]
                with m.If(meta.gnt):
                    m.next = "RECALL_LIFE"
            with m.State("RECALL_LIFE"):
                m.d.comb += pages.look(SetWord.FLAGS)
                m.d.sync += self.life.eq(pages.found)
                m.next = "RECALL_FLAGS"
            with m.State("RECALL_FLAGS"):
                m.d.comb += meta.req.eq(1)
                mark((pages.found & TargetFlag.INCONSISTENT).any())
                m.d.sync += set_.eq(set_ + 1)
                m.next = "NEXT_FLAGS"
                with m.If(set_ == g.sets - 1):
                    m.next = "AWAIT_FRAME"
            with m.State("NEXT_FLAGS"):
                m.d.comb += pages.look(SetWord.FLAGS)
                with m.If(meta.gnt):
                    m.next = "RECALL_FLAGS"

            with m.State("AWAIT_FRAME"):
                m.d.sync += set_.eq(begin.set)
                with m.If(self.events.valid & ((begin.set >= g.sets) | event.length.any())):
                    m.next = "REJECT"
                with m.Elif(self.events.valid):
                    m.next = "LOCK_SET"
                    with m.If(is_ask & (ask.life != self.life)):
                        m.next = "WRITE_LIFE"
                        with m.If(self.life != 0):
                            m.d.sync += set_.eq(0)
                            m.next = "LOCK_ALL_SETS"

            with m.State("REJECT"):
                m.d.comb += [self.events.ready.eq(1), self.rejected.eq(1)]
                m.next = "AWAIT_FRAME"
            with m.State("ANSWER"):
                m.d.comb += [self.due.valid.eq(1), self.events.ready.eq(1)]
                m.next = "AWAIT_FRAME"

            # -- the source has a new life
            with m.State("LOCK_ALL_SETS"):
                m.d.comb += pages.look(SetWord.FLAGS)
                with m.If(meta.gnt):
                    m.next = "LEAVE_OLD_LIFE"
            with m.State("LEAVE_OLD_LIFE"):
                torn = self.suspects.any()
                mark(torn)
                m.d.comb += pages.put(SetWord.FLAGS,
                                      Mux(torn, TargetFlag.INCONSISTENT, 0) | TargetFlag.WRITTEN)
                m.d.sync += set_.eq(set_ + 1)
                m.next = "LOCK_ALL_SETS"
                with m.If(set_ == g.sets - 1):
                    m.d.sync += set_.eq(begin.set)
                    m.next = "WRITE_LIFE"
            with m.State("WRITE_LIFE"):
                m.d.comb += [meta.req.eq(1), meta.page_addr.eq(LIFE_ADDRESS),
                             meta.page_we.eq(1), meta.page_wdata.eq(ask.life)]
                with m.If(meta.gnt):
                    m.d.comb += self.new_life.eq(self.life != 0)
                    m.d.sync += self.life.eq(ask.life)
                    m.next = "LOCK_SET"

            with m.State("LOCK_SET"):
                m.d.comb += pages.look(SetWord.FLAGS)
                with m.If(meta.gnt):
                    m.next = "READ_FLAGS"
            with m.State("READ_FLAGS"):
                m.d.comb += pages.look(SetWord.EPOCH)
                m.d.sync += flags.eq(meta.page_rdata)
                m.next = "COMPARE_EPOCHS"
            with m.State("COMPARE_EPOCHS"):
                m.d.comb += meta.req.eq(1)
                m.d.sync += ahead.eq(epoch - meta.page_rdata)
                m.next = "JUDGE_FRAME"
            with m.State("JUDGE_FRAME"):
                m.d.comb += meta.req.eq(1)
                idle = ~has(TargetFlag.FOLLOWING)
                with m.Switch(event.type):
                    with m.Case(Type.ASK):
                        m.d.sync += flags.eq(flags | TargetFlag.ASKED)
                        news = ~has(TargetFlag.ASKED) | (ahead.any() & ~ahead[7])
                        with m.If(idle & news):
                            m.next = "WRITE_EPOCH"
                        with m.Else():
                            answer()
                    with m.Case(Type.RESYNCED):
                        m.d.sync += flags.eq(flags & ~TargetFlag.INCONSISTENT)
                        with m.If(~idle & (ahead == 0)):
                            m.next = "WRITE_FLAGS"
                        with m.Else():
                            answer()
                    with m.Default():
                        is_begin = event.type == Type.BEGIN
                        new = TargetFlag.FOLLOWING | TargetFlag.WRITTEN | TargetFlag.ASKED
                        m.d.sync += flags.eq(Mux(is_begin | ~self._mark_resync, new,
                                                 new | TargetFlag.INCONSISTENT))
                        with m.If(idle & has(TargetFlag.ASKED) & (ahead == 1)
                                  & ~(is_begin & has(TargetFlag.WRITTEN))):
                            m.next = "WRITE_DONE"
                        with m.Else():
                            answer()

            # -- what counts is written; FLAGS last
            with m.State("WRITE_DONE"):
                m.d.comb += pages.put(SetWord.DONE, begin.gseq)
                m.next = "WRITE_CHAINS_LOW"
            with m.State("WRITE_CHAINS_LOW"):
                m.d.comb += pages.put(SetWord.CHAINS_LOW, begin.chains[:16])
                m.next = "WRITE_CHAINS_HIGH"
            with m.State("WRITE_CHAINS_HIGH"):
                m.d.comb += pages.put(SetWord.CHAINS_HIGH, begin.chains[16:])
                m.next = "WRITE_PART"
            with m.State("WRITE_PART"):
                m.d.comb += pages.put(SetWord.UNSENT, 0)
                m.next = "WRITE_EPOCH"
            with m.State("WRITE_EPOCH"):
                m.d.comb += pages.put(SetWord.EPOCH, epoch)
                m.next = "WRITE_FLAGS"
            with m.State("WRITE_FLAGS"):
                m.d.comb += pages.put(SetWord.FLAGS, flags)
                mark(has(TargetFlag.INCONSISTENT))
                answer()
        return m
