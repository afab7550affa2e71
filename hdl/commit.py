"""Commits complete groups at the target, in sequence order, chain by chain."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, GROUP_RECEIVED, SetWord

from .interfaces import MetadataPort, TargetState, index_shape, slot_shape
from .metadata import PageAccess
from .mutations import Mutation, has

__all__ = ["CommitEngine"]


class CommitEngine(wiring.Component):
    """Makes staged tracks visible (I6, I7; claims 47, 52, 59).

    Sets that had progress are looked at in turn. If group ``DONE + 1`` has an order packet and
    all its tracks, its chains are committed one after the other, each within one hold of the
    metadata lock: for every track the staged slot becomes the visible one and the old slot is
    freed; then the set's number of chains grows, and PART, the number of the group's chains that
    are visible. With the last chain PART and the group's record are cleared and ``DONE`` grows, and
    the set is looked at again. Holds last 3 clocks a track and at most 20 more.

    A reset may come in any clock. Before the first swap of a chain the set's page says what is
    about to be done: group (SENT), first track (FIRST), tracks left and PART (TAIL), chains so far
    (ACKED). Everything that follows is computed from those, so it can be done again from the
    start; the last write clears TAIL. After a warm start, ``finish``, every chain that TAIL tells
    of is done again. The rest of its group comes once more from the source, from its beginning;
    the first PART chains of it then change nothing and do not count.

    A track that an order packet names without its data having come (no sound source sends that)
    is left as it is, so that no slot can get two owners.

    While ``hold`` is set nothing commits; ``held`` says that it has come to rest. Between two
    chains of a group the engine's own registers know where to go on; nothing else touches a
    complete group.

    Parameters
    ----------
    geometry : Geometry
    mutation : Mutation or None
        SEQUENCE_NOT_CHECKED commits any complete group, COMMIT_NOT_FINISHED finishes nothing after
        a reset, CHAINS_COUNTED_TWICE counts chains that are visible already.

    Members
    -------
    progress : In(StructLayout valid, set)
        Pulse: look at this set.
    hold : In(1), held : Out(1)
    meta : Out(MetadataPort)
    free : Out(stream.Signature(slot))
        Slots to the free list; must be taken in bounded time (the lock is held).
    finish : In(1), finished : Out(1)
        After a reset: finish chains that it has interrupted, without freeing slots; until
        ``finished``, which stays as long as ``finish``.
    due : Out(StructLayout valid, set)
        Pulse: a group has committed, the set's status must be sent.
    chain, track, group : Out(1)
        Pulses, one for each that committed.
    """

    def __init__(self, geometry, *, mutation=None):
        self.geometry = geometry
        self._any_sequence = has(mutation, Mutation.SEQUENCE_NOT_CHECKED)
        self._leave_half = has(mutation, Mutation.COMMIT_NOT_FINISHED)
        self._count_again = has(mutation, Mutation.CHAINS_COUNTED_TWICE)
        notice = data.StructLayout({"valid": 1, "set": geometry.set_bits})
        super().__init__({
            "progress": In(notice),
            "hold": In(1),
            "held": Out(1),
            "meta": Out(MetadataPort(geometry, TargetState(geometry))),
            "free": Out(stream.Signature(slot_shape(geometry))),
            "finish": In(1),
            "finished": Out(1),
            "due": Out(notice),
            "chain": Out(1),
            "track": Out(1),
            "group": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta

        look = Signal(g.sets)           # sets to be looked at
        set_ = Signal(range(g.sets))
        group = Signal(16)              # the one being looked at or committed
        count = Signal(8)               # its tracks that have not committed
        cursor = Signal(index_shape(g))
        part = Signal(8)                # chains of the group that are visible
        repeats = Signal(8)             # chains to come that are visible already

        # Only a mutant looks beyond DONE + 1.
        probe = Signal(range(g.groups_in_flight))

        pages = PageAccess(g, meta, set_)
        m.d.comb += pages.rest()

        def lock():
            m.d.comb += meta.req.eq(1)

        state, link = meta.state_rdata, meta.link_rdata
        m.d.comb += [
            meta.state_addr.eq(cursor),
            meta.link_addr.eq(cursor),
            meta.state_wdata.slot.eq(state.staged_slot),
            self.free.payload.eq(state.slot),
            self.due.set.eq(set_),
        ]

        with m.FSM():
            with m.State("SEEK_SET"):
                m.d.comb += self.held.eq(self.hold)
                with m.If(self.finish):
                    m.next = "LOCK_RECORD"
                with m.Elif(look.any() & ~self.hold):
                    with m.If(look.bit_select(set_, 1)):
                        m.d.sync += look.bit_select(set_, 1).eq(0)
                        m.next = "LOCK_SET"
                    with m.Else():
                        m.d.sync += set_.eq(Mux(set_ == g.sets - 1, 0, set_ + 1))

            with m.State("LOCK_SET"):
                m.d.comb += pages.look(SetWord.DONE)
                with m.If(meta.gnt):
                    m.next = "CHOOSE_GROUP"
            with m.State("CHOOSE_GROUP"):
                lock()
                m.d.sync += group.eq(meta.page_rdata + 1 + probe)
                m.next = "READ_COUNT"
            with m.State("READ_COUNT"):
                m.d.comb += pages.look_group(group, GROUP_COUNT)
                m.next = "READ_RECEIVED"
            with m.State("READ_RECEIVED"):
                m.d.comb += pages.look_group(group, GROUP_RECEIVED)
                m.d.sync += count.eq(meta.page_rdata)
                m.next = "CHECK_COMPLETE"
            with m.State("CHECK_COMPLETE"):
                m.d.comb += pages.look_group(group, GROUP_HEAD)
                m.next = "READ_HEAD"
                with m.If((count == 0) | (meta.page_rdata != count)):
                    m.next = "SEEK_SET"
                    with m.If(self._any_sequence):
                        m.d.sync += probe.eq(probe + 1)
                        with m.If(probe != g.groups_in_flight - 1):
                            m.next = "LOCK_SET"
            with m.State("READ_HEAD"):
                m.d.comb += pages.look(SetWord.UNSENT)
                m.d.sync += cursor.eq(pages.found)
                m.next = "READ_PART"
            with m.State("READ_PART"):
                lock()
                m.d.sync += [part.eq(pages.found),
                             repeats.eq(Mux(self._count_again, 0, pages.found))]
                m.next = "BEGIN_CHAIN"

            with m.State("LOCK_CHAIN"):
                m.d.comb += self.held.eq(self.hold)
                with m.If(~self.hold):
                    lock()
                with m.If(meta.gnt):
                    m.next = "BEGIN_CHAIN"
            self._record(m, pages, group, cursor, count, part, repeats)
            with m.State("READ_TRACK"):
                lock()
                m.next = "SWAP_SLOTS"
            with m.State("SWAP_SLOTS"):
                lock()
                # While the free list is not ready, the same address just reads the same again.
                m.d.comb += self.free.valid.eq(state.staged & ~self.finish)
                with m.If(self.free.ready | self.finish):
                    m.d.comb += [meta.state_we.eq(state.staged), self.track.eq(1)]
                    m.d.sync += [count.eq(count - 1), cursor.eq(link.next)]
                    m.next = "NEXT_TRACK"
                    with m.If(link.end_of_chain | (count == 1)):
                        m.next = "READ_CHAINS"
                        with m.If(repeats != 0):
                            m.d.sync += repeats.eq(repeats - 1)
                            m.next = "END_CHAIN"
            with m.State("NEXT_TRACK"):
                # A list may name a track twice in a row: its state cannot be read back sooner.
                lock()
                m.next = "READ_TRACK"
            with m.State("READ_CHAINS"):
                m.d.comb += pages.look(SetWord.ACKED_LOW)
                m.next = "COUNT_CHAIN"
            with m.State("COUNT_CHAIN"):
                m.d.comb += [*pages.put(SetWord.CHAINS_LOW, meta.page_rdata + 1),
                             self.chain.eq(1)]
                m.d.sync += part.eq(Mux(count == 0, 0, part + 1))
                m.next = "WRITE_PART"
                with m.If(meta.page_rdata == 0xFFFF):
                    m.next = "READ_CHAINS_HIGH"
            with m.State("READ_CHAINS_HIGH"):
                m.d.comb += pages.look(SetWord.ACKED_HIGH)
                m.next = "CARRY_CHAINS"
            with m.State("CARRY_CHAINS"):
                m.d.comb += pages.put(SetWord.CHAINS_HIGH, meta.page_rdata + 1)
                m.next = "WRITE_PART"
            with m.State("WRITE_PART"):
                m.d.comb += pages.put(SetWord.UNSENT, part)
                m.next = "CLEAR_RECORD"
                with m.If(count == 0):
                    m.next = "CLEAR_COUNT"
            with m.State("CLEAR_COUNT"):
                m.d.comb += pages.put_group(group, GROUP_COUNT, 0)
                m.next = "CLEAR_RECEIVED"
            with m.State("CLEAR_RECEIVED"):
                m.d.comb += pages.put_group(group, GROUP_RECEIVED, 0)
                m.next = "SET_DONE"
            with m.State("SET_DONE"):
                with m.If(self._any_sequence):
                    m.d.sync += probe.eq(0)
                m.d.comb += [*pages.put(SetWord.DONE, group), self.group.eq(1),
                             self.due.valid.eq(1)]
                m.d.sync += look.bit_select(set_, 1).eq(1)
                m.next = "CLEAR_RECORD"
            with m.State("CLEAR_RECORD"):
                m.d.comb += pages.put(SetWord.TAIL, 0)
                m.next = "END_CHAIN"
            with m.State("END_CHAIN"):
                m.next = "LOCK_CHAIN"
                with m.If(count == 0):
                    m.next = "SEEK_SET"
                with m.If(self.finish):
                    m.next = "NEXT_RECORD"

            # -- after a warm start
            with m.State("LOCK_RECORD"):
                m.d.comb += pages.look(SetWord.TAIL)
                with m.If(meta.gnt):
                    m.next = "READ_RECORD"
            with m.State("READ_RECORD"):
                m.d.comb += pages.look(SetWord.FIRST)
                m.d.sync += [count.eq(pages.found), part.eq(pages.found[8:]), repeats.eq(0)]
                m.next = "READ_PLACE"
                with m.If((pages.found == 0) | self._leave_half):
                    m.next = "NEXT_RECORD"
            with m.State("READ_PLACE"):
                m.d.comb += pages.look(SetWord.SENT)
                m.d.sync += cursor.eq(pages.found)
                m.next = "READ_GROUP"
            with m.State("READ_GROUP"):
                lock()
                m.d.sync += group.eq(pages.found)
                m.next = "READ_TRACK"
            with m.State("NEXT_RECORD"):
                m.d.sync += set_.eq(set_ + 1)
                m.next = "LOCK_RECORD"
                with m.If(set_ == g.sets - 1):
                    m.d.sync += set_.eq(0)
                    m.next = "REPORT_FINISHED"
            with m.State("REPORT_FINISHED"):
                m.d.comb += self.finished.eq(1)
                with m.If(~self.finish):
                    m.next = "SEEK_SET"

        # After the FSM, so that progress in the clock in which a look begins is not lost.
        with m.If(self.progress.valid):
            m.d.sync += look.bit_select(self.progress.set, 1).eq(1)
        return m

    def _record(self, m, pages, group, cursor, count, part, repeats):
        """Write down what is about to be done; not if it changes nothing."""
        with m.State("BEGIN_CHAIN"):
            m.d.comb += pages.look(SetWord.CHAINS_LOW)
            m.next = "RECORD_CHAINS_LOW"
            with m.If(repeats != 0):
                m.next = "READ_TRACK"
        with m.State("RECORD_CHAINS_LOW"):
            m.d.comb += pages.put(SetWord.ACKED_LOW, pages.found)
            m.next = "READ_HIGH"
        with m.State("READ_HIGH"):
            m.d.comb += pages.look(SetWord.CHAINS_HIGH)
            m.next = "RECORD_CHAINS_HIGH"
        with m.State("RECORD_CHAINS_HIGH"):
            m.d.comb += pages.put(SetWord.ACKED_HIGH, pages.found)
            m.next = "RECORD_PLACE"
        with m.State("RECORD_PLACE"):
            m.d.comb += pages.put(SetWord.FIRST, cursor)
            m.next = "RECORD_GROUP"
        with m.State("RECORD_GROUP"):
            m.d.comb += pages.put(SetWord.SENT, group)
            m.next = "RECORD_CHAIN"
        with m.State("RECORD_CHAIN"):
            m.d.comb += pages.put(SetWord.TAIL, Cat(count, part))
            m.next = "READ_TRACK"
