"""The chain processor: the routine of Fig. 4 at the host port (R27)."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import Code, Flag, SetWord, Type

from .comparator import Comparator, Verdict
from .frame import holds_entries
from .interfaces import (
    Descriptor,
    Event,
    MetadataPort,
    PayloadSink,
    SourceState,
    header,
    header_const,
    slot_shape,
)
from .metadata import PageAccess
from .mutations import Mutation, checked, has, lacks, may_have
from .recovery import CHAIN_RECORD, CHAIN_RECORD_HIGH, CHAIN_RECORD_LOW
from .writeset import PlaceFault, WriteSet

__all__ = ["ChainProcessor"]


class ChainProcessor(wiring.Component):
    """Takes chains from the host: refuses each at once and whole, or commits it whole (I2).

    A CHAIN frame is judged by its write set before any of its data comes. The first fault in this
    order is answered: BAD_LENGTH, CHAIN_EMPTY, CHAIN_TOO_LONG, BAD_VOLUME, BAD_TRACK, SPANS_SETS,
    NO_SLOTS, FENCED, DISCONNECTED, COLLISION. The last three leave the set fenced: its chains are
    refused until one comes with RESUME, so that a pipelining host cannot overtake a refused write.
    A collision disconnects the volume, makes the track its waiter, and asks for a destage of the
    set unless the track is in a packet already (R06, R07).

    WRITE frames of a refused chain are swallowed until the next CHAIN. WRITE frames of the
    open chain each fill a private slot; the last one commits the chain in one walk under the lock:
    swap slots, set commitment pending, append to the order list, free the old slots. A fault
    before that, or another CHAIN, frees the private slots and nothing has happened. A WRITE that
    belongs to no chain is answered with ERROR, and aborts the chain that is open.

    Each chain has exactly one CHAIN_STATUS, but none after ``new_session``: that aborts an open
    chain silently, and silences a commit that is under way.

    A reset may come in any clock of a commit. Before the first swap the set's page says which
    write set is about to be committed, and the last write clears that. After a warm start,
    ``finish``, such a chain is committed over again; the host is not told, since it has a new
    session by then.

    Under the lock a check takes ``count + 5`` clocks, a commit ``3 * count + 15``. Nothing is
    awaited under the lock but the free list. An event is taken within that, a clock to sort it,
    and the wait for the lock and for ``status``.

    Parameters
    ----------
    geometry : Geometry
    mutation : Mutation, optional
        Test builds only.

    Members
    -------
    events : In(stream.Signature(Event))
        CHAIN and WRITE, in their order on the line.
    sink : In(PayloadSink())
        Payload of CHAIN. It waits while a CHAIN event is being judged; in the clock in which that
        is first offered nothing may come.
    new_session : In(1)
        Pulse: the host line has a new session.
    status : Out(stream.Signature(Descriptor))
        CHAIN_STATUS and ERROR frames for the host.
    finish : In(1), finished : Out(1)
        After a reset: commit what it has interrupted, without freeing slots; until ``finished``,
        which stays as long as ``finish``.
    slot, slot_valid : In; take : Out(1)
        The slot writer's slot in hand, with the data of the WRITE whose event is offered.
    free : Out(stream.Signature(slot))
        Slots to be freed.
    free_level : In
        Slots on the free list.
    meta : Out(MetadataPort)
    destage : Out(StructLayout valid, set)
        Pulse: the set must be destaged now.
    disconnect, disconnect_volume : Out
        Pulse: this volume has been disconnected.
    chain_open : Out(1)
        From the acceptance of a chain until it is committed or aborted.
    committed : Out(1), command : Out(1)
        Pulse a chain committed; pulse a command of it.
    collision, lookup, looking_up : Out(1)
        Pulse a chain refused for a collision; pulse an entry compared; 1 in each clock of that.
    """

    def __init__(self, geometry, *, mutation=None):
        self.geometry = geometry
        self.mutation = checked(mutation)
        slot = slot_shape(geometry)
        super().__init__({
            "events": In(stream.Signature(Event)),
            "sink": In(PayloadSink()),
            "new_session": In(1),
            "finish": In(1),
            "finished": Out(1),
            "status": Out(stream.Signature(Descriptor)),
            "slot": In(slot),
            "slot_valid": In(1),
            "take": Out(1),
            "free": Out(stream.Signature(slot)),
            "free_level": In(range(geometry.source_slots + 1)),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
            "destage": Out(data.StructLayout({"valid": 1, "set": geometry.set_bits})),
            "disconnect": Out(1),
            "disconnect_volume": Out(geometry.volume_bits),
            "chain_open": Out(1),
            "committed": Out(1),
            "command": Out(1),
            "collision": Out(1),
            "lookup": Out(1),
            "looking_up": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta
        m.submodules.write_set = write_set = WriteSet(g)
        m.submodules.comparator = comparator = Comparator(g, mutation=self.mutation)
        wiring.connect(m, wiring.flipped(self.sink), write_set.sink)

        event = self.events.payload
        chain = data.View(header(Type.CHAIN), event.header)
        write = data.View(header(Type.WRITE), event.header)

        # The open chain, or the one being judged.
        tag = Signal(16)
        count = Signal(8)
        resume = Signal()
        set_ = Signal(g.set_bits)
        position = Signal(range(g.chain_limit + 1))     # commands with data; walks count it too
        fence = Signal(g.sets)                          # bit a set
        refused = Signal()                              # WRITE frames with ``tag`` are swallowed
        silent = Signal()                               # its host has gone: no answer
        m.d.sync += silent.eq(silent | self.new_session)

        detail = Signal(32)                             # of the answer; 0 in an ERROR
        answer = self._answer(m, tag, write.tag, set_, detail)
        entry = write_set.entry
        m.d.comb += [
            write_set.position.eq(position),
            write_set.slot.eq(self.slot),
            self.free.payload.eq(entry.slot),
            meta.state_addr.eq(entry.index),
            meta.volume_addr.eq(entry.index[g.track_bits:]),
            # Comparator: entries and memories pass through.
            comparator.count.eq(count),
            comparator.index.eq(entry.index),
            comparator.state.eq(meta.state_rdata),
            comparator.volume.eq(meta.volume_rdata),
            self.lookup.eq(comparator.lookup),
            self.looking_up.eq(comparator.busy),
        ]

        def finish(code, value=0, *, error=0):
            """Answer, once the lock is free; the chain is over."""
            m.d.sync += [answer.code.eq(code), detail.eq(value), answer.error.eq(error),
                         position.eq(0)]
            m.next = "DECIDE_ANSWER"

        def abort(code):
            """The open chain ends with ``code``: first its private slots go back."""
            m.d.sync += [self.chain_open.eq(0), refused.eq(1), answer.code.eq(code),
                         detail.eq(0), answer.error.eq(0), count.eq(position), position.eq(0)]
            m.next = "FREE_PRIVATE_SLOTS"
            with m.If(has(self.mutation, Mutation.ABORT_COMMITS) & (position != 0)):
                m.next = "LOCK_FOR_COMMIT"

        def set_fence(value):
            return fence.eq(Mux(value, fence | (1 << comparator.set),
                                fence & ~(1 << comparator.set)))

        # What a frame is, known in the clock after it is seen: it waits for that.
        is_chain = Signal()
        misfit = Signal()                               # CHAIN: other than ``count`` entries came
        empty = Signal()
        too_long = Signal()
        mine = Signal()                                 # a WRITE of the chain at hand
        whole = Signal()
        in_turn = Signal()
        completes = Signal()                            # the chain has all its commands then
        room = Signal(range(g.source_slots + 2))        # free slots, and the one in hand
        m.d.sync += [
            is_chain.eq(event.type == Type.CHAIN),
            write_set.hold.eq(self.events.valid & (event.type == Type.CHAIN)),
            misfit.eq(~holds_entries(event.length, chain.count)),
            empty.eq(chain.count == 0),
            too_long.eq(chain.count > g.chain_limit
                        + has(self.mutation, Mutation.LIMIT_NOT_CHECKED)),
            mine.eq((write.tag == tag) & (self.chain_open | refused)),
            whole.eq(event.length == g.track_bytes),
            in_turn.eq(write.index == position),
            completes.eq(position + 1 == count),
            room.eq(self.free_level + self.slot_valid),
        ]

        with m.FSM():
            with m.State("AWAIT_FRAME"):
                with m.If(self.finish):
                    m.next = "LOCK_RECORD"
                with m.Elif(silent & self.chain_open):
                    abort(Code.CHAIN_ABORTED)
                with m.Elif(silent):
                    m.d.sync += [refused.eq(0), silent.eq(self.new_session)]
                with m.Elif(self.events.valid):
                    m.next = "SORT_FRAME"
            with m.State("SORT_FRAME"):
                with m.If(is_chain):
                    m.next = "JUDGE_FRAME"
                    with m.If(self.chain_open):
                        abort(Code.CHAIN_ABORTED)
                with m.Elif(self.chain_open & ~mine):
                    abort(Code.CHAIN_ABORTED)       # and then, with no chain open, ERROR
                with m.Elif(~mine):
                    finish(Code.UNEXPECTED_WRITE, error=1)      # taken with its answer
                with m.Else():
                    m.d.comb += self.events.ready.eq(1)
                    m.next = "AWAIT_FRAME"
                    with m.If(self.chain_open):
                        with m.If(~whole):
                            abort(Code.BAD_LENGTH)
                        with m.Elif(~in_turn):
                            abort(Code.UNEXPECTED_WRITE)
                        with m.Else():
                            m.d.comb += [self.take.eq(1), write_set.slot_we.eq(1)]
                            m.d.sync += position.eq(position + 1)
                            with m.If(completes):
                                m.d.sync += position.eq(0)
                                m.next = "LOCK_FOR_COMMIT"

            # -- a new chain: faults of the frame itself, then the comparator
            with m.State("JUDGE_FRAME"):
                m.d.comb += [self.events.ready.eq(1), write_set.swap.eq(1)]
                m.d.sync += [tag.eq(chain.tag), count.eq(chain.count), set_.eq(0),
                             resume.eq((chain.flags & Flag.RESUME).any()), refused.eq(1)]
                place = Cat(write_set.fault.position, write_set.fault.volume,
                            write_set.fault.track)
                with m.If(misfit):
                    finish(Code.BAD_LENGTH)
                with m.Elif(empty):
                    finish(Code.CHAIN_EMPTY)
                with m.Elif(too_long):
                    finish(Code.CHAIN_TOO_LONG)
                with m.Elif(write_set.fault.kind == PlaceFault.VOLUME):
                    finish(Code.BAD_VOLUME, place)
                with m.Elif(write_set.fault.kind == PlaceFault.TRACK):
                    finish(Code.BAD_TRACK, place)
                with m.Else():
                    m.next = "LOCK_FOR_CHECK"
            with m.State("LOCK_FOR_CHECK"):
                m.d.comb += [meta.req.eq(1), comparator.start.eq(meta.gnt)]
                with m.If(meta.gnt):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.comb += [meta.req.eq(1), write_set.position.eq(comparator.position)]
                with m.If(comparator.done):
                    m.next = "FETCH_WORST"
            with m.State("FETCH_WORST"):
                m.d.comb += [meta.req.eq(1), write_set.position.eq(comparator.worst_position)]
                m.next = "JUDGE_CHAIN"
            with m.State("JUDGE_CHAIN"):
                m.d.comb += [meta.req.eq(1), write_set.position.eq(comparator.worst_position)]
                m.d.sync += set_.eq(comparator.set)
                worst = self._place(comparator.worst_position, entry.index)
                with m.If(comparator.verdict == Verdict.SPANS_SETS):
                    finish(Code.SPANS_SETS, worst)
                with m.Elif(room < count):
                    finish(Code.NO_SLOTS)
                with m.Elif(fence.bit_select(comparator.set, 1) & ~resume):
                    finish(Code.FENCED)
                with m.Elif(comparator.verdict == Verdict.DISCONNECTED):
                    m.d.sync += set_fence(1)
                    finish(Code.DISCONNECTED, worst)
                with m.Elif(comparator.verdict == Verdict.COLLISION):
                    m.d.sync += set_fence(1)
                    finish(Code.COLLISION, worst)
                    m.next = "DISCONNECT_VOLUME"
                with m.Else():
                    m.d.sync += [set_fence(0), self.chain_open.eq(1), refused.eq(0),
                                 position.eq(0)]
                    m.next = "AWAIT_FRAME"
            with m.State("DISCONNECT_VOLUME"):
                state = meta.state_rdata
                lost = state.packet & has(self.mutation, Mutation.UPDATE_LOST)
                m.d.comb += [
                    meta.req.eq(1),
                    meta.state_we.eq(1),
                    meta.state_wdata.eq(state),
                    meta.state_wdata.waiter.eq(~lost),
                    meta.volume_we.eq(1),
                    meta.volume_wdata.set.eq(set_),
                    meta.volume_wdata.disconnected.eq(1),
                    self.disconnect.eq(1),
                    self.disconnect_volume.eq(entry.index[g.track_bits:]),
                    self.destage.valid.eq(~state.packet),
                    self.destage.set.eq(set_),
                    self.collision.eq(1),
                ]
                m.next = "DECIDE_ANSWER"

            # -- the end of a chain without effect
            with m.State("FREE_PRIVATE_SLOTS"):
                # Those from ``position`` to ``count`` are to go.
                m.next = "FREE_ONE_SLOT"
                with m.If(position == count):
                    m.d.sync += position.eq(0)
                    m.next = "DECIDE_ANSWER"
            with m.State("FREE_ONE_SLOT"):
                m.d.comb += self.free.valid.eq(1)
                with m.If(self.free.ready):
                    m.d.sync += position.eq(position + 1)
                    m.next = "FREE_PRIVATE_SLOTS"

            self._commit(m, write_set, position, count, set_, detail, finish)
            self._finish(m, write_set, count, set_)

            with m.State("DECIDE_ANSWER"):
                m.next = "ANSWER"
                with m.If(silent):
                    m.d.comb += self.events.ready.eq(answer.error)
                    m.next = "AWAIT_FRAME"
            with m.State("ANSWER"):
                m.d.comb += self.status.valid.eq(1)
                with m.If(self.status.ready):
                    m.d.comb += self.events.ready.eq(answer.error)
                    m.next = "AWAIT_FRAME"
        return m

    def _place(self, position, index):
        """Detail of a refusal: position, volume and track of an entry."""
        g = self.geometry
        volume, track = index[g.track_bits:], index[:g.track_bits]
        return Cat(position, volume, C(0, 8 - g.volume_bits), track)

    def _answer(self, m, tag, error_tag, set_, detail):
        """Registers of the answer and the frame made of them.

        An ERROR looks like a CHAIN_STATUS with its type in the place of the set and no detail.
        """
        answer = Signal(data.StructLayout({"code": 8, "error": 1}))
        frame = self.status.payload
        place = Signal(8)
        m.d.comb += place.eq(set_)
        with m.If(answer.error):
            m.d.comb += place.eq(Type.WRITE)
        m.d.comb += [
            frame.type.eq(Mux(answer.error, Type.ERROR, Type.CHAIN_STATUS)),
            frame.header.eq(header_const(
                m, Type.CHAIN_STATUS, tag=Mux(answer.error, error_tag, tag), code=answer.code,
                set=place, detail=detail)),
        ]
        return answer

    def _commit(self, m, write_set, position, count, set_, detail, finish):
        """The walk that commits: 3 clocks an entry, and the page before and after.

        What the page counts grows by way of one adder, a word at a time; the number of chains from
        what was recorded, so that it is the same when the commit is done over again.

        A track that is pending already can only be this chain's own: it is on the list, and its
        slot holds what the chain wrote first (last write wins). The former tail learns its
        successor only while it is itself unsent: one that is not may be in another set by now.
        """
        meta = self.meta
        tail = Signal(self.geometry.track_index_bits)
        alone = Signal()                # nothing is unsent
        more = Signal(8)                # by how much the word that is read next is to grow
        grown = Signal(17)
        m.d.comb += [grown.eq(meta.page_rdata + more), meta.link_addr.eq(tail)]
        entry = write_set.entry
        old = meta.state_rdata
        last = Signal()
        m.d.comb += last.eq(position + 1 == count)
        stale = old.pending & has(self.mutation, Mutation.FIRST_WRITE_WINS)
        pages = PageAccess(self.geometry, meta, set_)
        end_of_chain = (position == 0) & lacks(self.mutation, Mutation.END_OF_CHAIN_DROPPED)
        m.d.comb += [*pages.rest(),
                     meta.link_wdata.next.eq(entry.index),
                     meta.link_wdata.end_of_chain.eq(end_of_chain)]

        def append():
            m.d.comb += [meta.page_we.eq(alone), meta.link_we.eq(~alone)]
            if may_have(self.mutation, Mutation.RESENT_GROUP_GROWS):
                with m.If(has(self.mutation, Mutation.RESENT_GROUP_GROWS)):
                    m.d.comb += meta.link_we.eq(1)
            m.d.sync += [tail.eq(entry.index), alone.eq(0), more.eq(more + 1)]

        with m.State("LOCK_FOR_COMMIT"):
            m.d.comb += pages.look(SetWord.TAIL)
            with m.If(meta.gnt):
                m.next = "READ_TAIL"
        with m.State("READ_TAIL"):
            m.d.comb += pages.look(SetWord.UNSENT)
            m.d.sync += tail.eq(meta.page_rdata)
            m.next = "READ_UNSENT"
        with m.State("READ_UNSENT"):
            m.d.comb += pages.look(SetWord.CHAINS_LOW)
            m.d.sync += [alone.eq(pages.found == 0), more.eq(0)]
            m.next = "RECORD_CHAINS_LOW"
        with m.State("RECORD_CHAINS_LOW"):
            m.d.comb += pages.put(CHAIN_RECORD_LOW, pages.found)
            m.next = "READ_OLD_CHAINS_HIGH"
        with m.State("READ_OLD_CHAINS_HIGH"):
            m.d.comb += pages.look(SetWord.CHAINS_HIGH)
            m.next = "RECORD_CHAINS_HIGH"
        with m.State("RECORD_CHAINS_HIGH"):
            m.d.comb += pages.put(CHAIN_RECORD_HIGH, pages.found)
            m.next = "RECORD_CHAIN"
        with m.State("RECORD_CHAIN"):
            m.d.comb += pages.put(CHAIN_RECORD, Cat(count, write_set.bank, C(1, 1)))
            m.next = "FETCH_ENTRY"
        with m.State("FETCH_ENTRY"):
            m.d.comb += meta.req.eq(1)
            m.next = "LOOK_UP_TRACK"
        with m.State("LOOK_UP_TRACK"):
            m.d.comb += meta.req.eq(1)
            m.next = "SWAP_SLOTS"
        with m.State("SWAP_SLOTS"):
            # What would be written depends on nothing, only whether it is.
            pending = lacks(self.mutation, Mutation.PENDING_NOT_SET)
            m.d.comb += [
                *pages.look(SetWord.FIRST),
                meta.page_wdata.eq(entry.index),
                meta.state_wdata.slot.eq(entry.slot),
                meta.state_wdata.pending.eq(pending),
                self.free.valid.eq(~self.finish),
                self.free.payload.eq(old.slot),
            ]
            with m.If(has(self.mutation, Mutation.SLOT_FREED_WHILE_PENDING) | stale):
                m.d.comb += self.free.payload.eq(entry.slot)
            with m.If(self.free.ready | self.finish):
                m.d.comb += [self.command.eq(1), meta.state_we.eq(~stale)]
                with m.If(~old.pending):
                    append()
                m.d.sync += position.eq(position + 1)
                m.next = "FETCH_ENTRY"
                with m.If(last):
                    m.next = "WRITE_TAIL"
        with m.State("WRITE_TAIL"):
            m.d.comb += pages.put(SetWord.TAIL, tail)
            m.next = "READ_UNSENT_AGAIN"
        with m.State("READ_UNSENT_AGAIN"):
            m.d.comb += pages.look(SetWord.UNSENT)
            m.next = "WRITE_UNSENT"
        with m.State("WRITE_UNSENT"):
            m.d.comb += pages.put(SetWord.UNSENT, grown[:16])
            m.d.sync += more.eq(1)
            m.next = "READ_RECORD_LOW"
        with m.State("READ_RECORD_LOW"):
            m.d.comb += pages.look(CHAIN_RECORD_LOW)
            m.next = "WRITE_CHAINS_LOW"
        with m.State("WRITE_CHAINS_LOW"):
            m.d.comb += pages.put(SetWord.CHAINS_LOW, grown[:16])
            m.d.sync += [detail[:16].eq(grown), more.eq(grown[16])]
            m.next = "READ_RECORD_HIGH"
        with m.State("READ_RECORD_HIGH"):
            m.d.comb += pages.look(CHAIN_RECORD_HIGH)
            m.next = "WRITE_CHAINS_HIGH"
        with m.State("WRITE_CHAINS_HIGH"):
            m.d.comb += pages.put(SetWord.CHAINS_HIGH, grown[:16])
            m.d.sync += detail[16:].eq(grown)
            m.next = "CLEAR_RECORD"
        with m.State("CLEAR_RECORD"):
            m.d.comb += [*pages.put(CHAIN_RECORD, 0), self.committed.eq(1)]
            m.d.sync += self.chain_open.eq(0)
            finish(Code.OK, detail)
            with m.If(self.finish):
                m.next = "NEXT_RECORD"

    def _finish(self, m, write_set, count, set_):
        """After a warm start: look for a chain whose commit was interrupted.

        The walk is that of any commit. What it does to the order list is dropped afterwards with
        the list itself.
        """
        pages = PageAccess(self.geometry, self.meta, set_)
        bank, interrupted = pages.found[8], pages.found[9]
        with m.State("LOCK_RECORD"):
            m.d.comb += pages.look(CHAIN_RECORD)
            with m.If(self.meta.gnt):
                m.next = "READ_RECORD"
        with m.State("READ_RECORD"):
            m.d.comb += self.meta.req.eq(1)
            m.d.sync += count.eq(pages.found)
            m.next = "NEXT_RECORD"
            with m.If(interrupted):
                m.d.comb += write_set.swap.eq(bank != write_set.bank)
                m.next = "FETCH_ENTRY"
        with m.State("NEXT_RECORD"):
            m.d.sync += set_.eq(set_ + 1)
            m.next = "LOCK_RECORD"
            with m.If(set_ == self.geometry.sets - 1):
                m.d.sync += set_.eq(0)
                m.next = "REPORT_FINISHED"
        with m.State("REPORT_FINISHED"):
            m.d.comb += self.finished.eq(1)
            with m.If(~self.finish):
                m.next = "AWAIT_FRAME"
