"""The packet sequencer: the routine of Fig. 5 (R28)."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, SetWord, TargetFlag, Type

from .arbiter import RoundRobin, StreamMerge
from .interfaces import Event, MetadataPort, SourceState, header
from .liaison import Request
from .metadata import PageAccess
from .mutations import Mutation, checked, has, lacks, may_have

__all__ = ["Notice", "Sequencer", "Status", "StatusFilter"]

# What STATUS carries: every group of the set up to ``gseq`` has committed, and whom it follows.
Status = header(Type.STATUS)


def Notice(geometry):
    """What the sequencer tells the dispatcher: ``set`` has groups to be sent; if ``rewound``,
    all over again from the oldest that is not acknowledged."""
    return data.StructLayout({"valid": 1, "rewound": 1, "set": geometry.set_bits})


class StatusFilter(wiring.Component):
    """Picks commit status out of what the links bring, round robin; drops all else.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    events : In(stream.Signature(Event)).array(links)
    status : Out(stream.Signature(Status))
    rejected : Out(links)
        Pulse for each event dropped: not a STATUS, or one with a payload.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "events": In(stream.Signature(Event)).array(geometry.links),
            "status": Out(stream.Signature(Status)),
            "rejected": Out(geometry.links),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.merge = merge = StreamMerge(self.geometry.links, Status)
        wiring.connect(m, merge.o, wiring.flipped(self.status))
        for n, events in enumerate(self.events):
            event = events.payload
            good = Signal()
            m.d.comb += [
                good.eq((event.type == Type.STATUS) & (event.length == 0)),
                merge.i[n].valid.eq(events.valid & good),
                merge.i[n].payload.eq(event.header),
                events.ready.eq(merge.i[n].ready | ~good),
                self.rejected[n].eq(events.valid & ~good),
            ]
        return m


class Task(enum.Enum, shape=2):
    """Why the sequencer looks at a set."""

    CUT = 0             # a destage or a poll is wanted
    STATUS = 1          # groups have committed at the target
    REWIND = 2          # a link lost what it had been given
    AGE = 3             # a slow tick has passed


class Sequencer(wiring.Component):
    """Cuts consistency groups, clears them when they have committed, and has them sent again.

    One change at a time, each under the metadata lock; which set is next goes round robin, commit
    status first. Nothing is looked at while there is nothing to do.

    *Cut*: when a destage is wanted or a poll is due, something is unsent, fewer than
    ``groups_in_flight`` groups of the set are out, and the target has staging for a longest
    chain. As many whole chains go into the group as surely fit ``group_limit`` and the staging
    left; packet pending is set here, before anything is sent. A destage stays wanted until nothing
    is unsent; a poll is one cut. A set that could not be cut waits for the next commit status.

    *Clear*: a commit status counts if epoch and sequence number are those of a group that is out;
    it clears that group and all before it. Pending flags fall, staging credit returns, and volumes
    that waited for one of the tracks are reconnected. Any other status is ignored (R23).

    *Rewind*: after a time-out (``group_timeout`` slow ticks without progress and everything
    sent), or when a link lost its session, the dispatcher is told to send every group that is out
    again, verbatim: same set, epoch and sequence number.

    *Start*: groups are sent only of sets that are ``running``. A set begins to run when a status
    says that the target follows our ``life`` in the set's epoch. Of a status that says otherwise

    * another life, or neither FOLLOWING nor ASKED: an ASK is due;
    * ASKED, in this epoch, and the set runs: the target has lost its memory. No set runs any more,
      ``lost`` pulses, and all links must start new sessions;
    * ASKED, in this epoch, and the set does not run: the next epoch begins, and everything that is
      out will be sent again. If nothing is WRITTEN there and the set is not ``used``, BEGIN is
      due. Otherwise RESYNC: the set is ``resyncing``, and where that ends is not known yet;
    * ASKED, in the epoch before: the frame for this one is due again, unless the set runs already;
    * ASKED, in any other epoch: an ASK is due. FOLLOWING in any other epoch: nothing.

    A set that does not run asks at every slow tick. One that is resyncing is so until everything up
    to chain RESYNC_LOW, RESYNC_HIGH has committed and the target knows it (RESYNCED).

    A cut takes ``2 * tracks + 15`` clocks under the lock and a clear ``2 * tracks + 16``, whatever
    the number of tracks of the volumes (I10). Nothing is awaited under the lock.

    Parameters
    ----------
    geometry : Geometry
    mutation : Mutation, optional
        Test builds only.

    Members
    -------
    status : In(stream.Signature(Status))
    destage : In(sets)
        Pulses: destage these sets now.
    poll : In(1)
        Pulse: destage every set in the background.
    slow_tick : In(1)
        Pulse every ``wire.SLOW_TICK`` clocks.
    group_timeout : In(16)
        In slow ticks, 0 for never.
    link_lost : In(1)
        Pulse: a link has dropped frames that it had taken.
    life : In(16)
        Ours.
    use : In(sets)
        Pulses: the target may hold something of these sets.
    meta : Out(MetadataPort)
    notice : Out(Notice)
        Pulse, while the lock is held.
    request : Out(Request)
        Pulse: to the liaison.
    running, resyncing, used : Out(sets)
        ``wire.SourceFlag`` of the sets.
    scan : Out(StructLayout valid, set)
        Pulse: all of the set's tracks are to be put in once more.
    lost : Out(1)
        Pulse: see above.
    resynced : Out(1)
        Pulse for each set that has been resynchronised.
    reconnect, reconnect_index : Out
        Pulse: the volume of this track index is connected again.
    credit : Out(range(staging_slots + 1))
        Target staging slots that are not reserved for a group.
    destaging : Out(sets)
        Sets whose destage is wanted.
    group, group_track, polled, group_done, resent, rejected : Out(1)
        Pulse for each group cut, track of it, group cut for a poll alone, group cleared, set
        rewound, and status for a set that does not exist.
    walking : Out(1)
        The lock is held for a cut or a clear.
    fault : Out(1)
        A group held a track that was not packet pending: an invariant (I3, I4) was broken.
        Held until reset.
    """

    def __init__(self, geometry, *, mutation=None):
        self.geometry = geometry
        self.mutation = checked(mutation)
        super().__init__({
            "status": In(stream.Signature(Status)),
            "destage": In(geometry.sets),
            "poll": In(1),
            "slow_tick": In(1),
            "group_timeout": In(16),
            "link_lost": In(1),
            "life": In(16),
            "use": In(geometry.sets),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
            "notice": Out(Notice(geometry)),
            "request": Out(Request(geometry)),
            "running": Out(geometry.sets),
            "resyncing": Out(geometry.sets),
            "used": Out(geometry.sets),
            "scan": Out(data.StructLayout({"valid": 1, "set": geometry.set_bits})),
            "lost": Out(1),
            "resynced": Out(1),
            "reconnect": Out(1),
            "reconnect_index": Out(geometry.track_index_bits),
            "credit": Out(range(geometry.staging_slots + 1), init=geometry.staging_slots),
            "destaging": Out(geometry.sets),
            "group": Out(1),
            "group_track": Out(1),
            "polled": Out(1),
            "group_done": Out(1),
            "resent": Out(1),
            "rejected": Out(1),
            "walking": Out(1),
            "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta

        # What is to be done, a bit a set.
        polls = Signal(g.sets)
        blocked = Signal(g.sets)        # cannot be cut before something commits
        rewinds = Signal(g.sets)
        ticks = Signal(g.sets)
        wanted = Signal(g.sets)
        set_ = Signal(g.set_bits)
        here = Signal(g.sets)           # bit of ``set_``
        drop_destage, drop_poll = Signal(), Signal()
        m.d.comb += [
            here.eq(1 << set_),
            wanted.eq((self.destaging | polls) & ~blocked),
        ]
        m.d.sync += [
            self.destaging.eq((self.destaging & ~Mux(drop_destage, here, 0)) | self.destage),
            polls.eq((polls & ~Mux(drop_poll, here, 0)) | self.poll.replicate(g.sets)),
        ]

        # What a look at the set's page shows.
        task = Signal(Task)
        # What is to be subtracted is kept inverted: a carry chain would invert it bit by bit.
        not_epoch = Signal(8)
        gseq = Signal(16)
        ours = Signal()                 # the status is about our life
        flags = Signal(4)               # TargetFlag, of the status
        runs = Signal()
        done = Signal(16)
        not_done = Signal(16)
        word = Signal(16)               # EPOCH, AGE or UNSENT, as the task wants it
        in_flight = Signal(range(g.groups_in_flight + 1))
        ahead = Signal(16)              # groups that the status would clear
        behind = Signal(8)              # epochs, of the status
        oldest = Signal(16)             # group that is cleared next
        # DONE <= SENT < NEXT, and NEXT - 1 - DONE is bounded: a few bits tell them apart.
        few = len(in_flight)
        sent = Signal(few)
        next_ = Signal(few)
        all_sent = Signal()
        m.d.comb += [
            in_flight.eq(next_ - 1 - done[:few]),
            all_sent.eq((next_ - 1 - sent)[:few] == 0),
            done.eq(~not_done),
            oldest.eq(~(not_done - 1)),
            runs.eq((self.running & here).any()),
        ]
        # A clock behind, and needed later than that; bit 0 makes the carry.
        m.d.sync += ahead.eq((Cat(C(1, 1), gseq) + Cat(C(1, 1), not_done))[1:])

        # A walk over the tracks of a group.
        head = Signal(g.track_index_bits)
        index = Signal(g.track_index_bits)
        count = Signal(8)
        room = Signal(8)                # of the group being cut
        chains = Signal(8)              # of the group being cleared, or what is to be added
        added = Signal(17)
        m.d.comb += [
            meta.state_addr.eq(index),
            meta.link_addr.eq(index),
            meta.volume_addr.eq(index[g.track_bits:]),
            self.reconnect_index.eq(index),
            self.notice.set.eq(set_),
            self.request.set.eq(set_),
            self.scan.set.eq(set_),
            added.eq(meta.page_rdata + chains),
        ]
        # A cut takes staging and counts up, a clear gives it back and counts down.
        moves = Signal()
        clears = Signal()
        m.d.comb += clears.eq(task == Task.STATUS)
        with m.If(moves):
            m.d.sync += [
                count.eq(count + Cat(C(1, 1), clears.replicate(7))),
                self.credit.eq(self.credit + Cat(C(1, 1), (~clears).replicate(16))),
            ]

        pages = PageAccess(g, meta, set_)
        m.d.comb += pages.rest()
        m.submodules.turn = turn = RoundRobin(g.sets)
        last_turn = Signal(g.set_bits)  # not set_: commit status comes out of turn
        m.d.comb += [turn.requests.eq(wanted | rewinds | ticks), turn.last.eq(last_turn)]
        status = self.status.payload

        with m.FSM():
            with m.State("CHOOSE_WORK"):
                m.d.comb += self.status.ready.eq(1)
                with m.If(self.status.valid):
                    m.d.sync += [task.eq(Task.STATUS), set_.eq(status.set),
                                 not_epoch.eq(~status.epoch), gseq.eq(status.gseq),
                                 flags.eq(status.flags), ours.eq(status.life == self.life)]
                    m.next = "LOCK"
                    with m.If(status.set >= g.sets):
                        m.d.comb += self.rejected.eq(1)
                        m.d.sync += set_.eq(set_)
                        m.next = "CHOOSE_WORK"
                with m.Elif(turn.valid):
                    m.d.sync += [set_.eq(turn.next), last_turn.eq(turn.next)]
                    m.next = "CHOOSE_TASK"
            with m.State("CHOOSE_TASK"):
                m.next = "LOCK"
                with m.If((rewinds & here).any()):
                    m.d.sync += [task.eq(Task.REWIND), rewinds.eq(rewinds & ~here)]
                with m.Elif((ticks & here).any()):
                    m.d.sync += [task.eq(Task.AGE), ticks.eq(ticks & ~here)]
                with m.Else():
                    m.d.sync += task.eq(Task.CUT)

            # -- look at the set
            with m.State("LOCK"):
                m.d.comb += pages.look(SetWord.DONE)
                with m.If(meta.gnt):
                    m.next = "READ_DONE"
            with m.State("READ_DONE"):
                m.d.comb += pages.look(SetWord.SENT)
                m.d.sync += not_done.eq(~meta.page_rdata)
                m.next = "READ_SENT"
            with m.State("READ_SENT"):
                m.d.comb += pages.look(SetWord.NEXT)
                m.d.sync += sent.eq(meta.page_rdata)
                m.next = "READ_NEXT"
            with m.State("READ_NEXT"):
                with m.Switch(task):
                    with m.Case(Task.STATUS):
                        m.d.comb += pages.look(SetWord.EPOCH)
                    with m.Case(Task.AGE):
                        m.d.comb += pages.look(SetWord.AGE)
                    with m.Default():
                        m.d.comb += pages.look(SetWord.UNSENT)
                m.d.sync += next_.eq(meta.page_rdata)
                m.next = "READ_WORD"
            with m.State("READ_WORD"):
                m.d.comb += meta.req.eq(1)
                ours_less_theirs = Cat(C(1, 1), meta.page_rdata[:8]) + Cat(C(1, 1), not_epoch)
                m.d.sync += [word.eq(meta.page_rdata), behind.eq(ours_less_theirs[1:])]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                # What is looked at depends on the task alone: an address must not come late.
                m.d.comb += pages.look(SetWord.FIRST)     # for a cut
                m.next = "CHOOSE_WORK"
                with m.Switch(task):
                    with m.Case(Task.CUT):
                        budget = Signal.like(self.credit)
                        ample = ((self.credit > g.group_limit)
                                 | has(self.mutation, Mutation.STAGING_NOT_RESERVED))
                        m.d.comb += budget.eq(Mux(ample, g.group_limit, self.credit))
                        m.d.sync += [count.eq(0), room.eq(budget)]
                        with m.If(word == 0):
                            m.d.comb += [drop_destage.eq(1), drop_poll.eq(1)]
                        with m.Elif((in_flight == g.groups_in_flight)
                                    | (budget < g.chain_limit)):
                            m.d.sync += blocked.eq(blocked | here)
                        with m.Else():
                            m.next = "READ_FIRST"
                    with m.Case(Task.STATUS):
                        self._judge_status(m, pages, here, ours, flags, runs, behind, ahead,
                                           in_flight)
                    with m.Case(Task.REWIND):
                        m.next = "REWIND_SENT"
                    with m.Case(Task.AGE):
                        m.d.comb += pages.look(SetWord.AGE)
                        with m.If(~runs):
                            m.d.comb += self.request.ask.eq(1)
                        with m.Elif((in_flight != 0) & all_sent):
                            m.d.sync += chains.eq(~word.all())
                            m.next = "WRITE_AGE"
                            with m.If((word >= self.group_timeout) & self.group_timeout.any()):
                                m.next = "REWIND_SENT"

            self._cut(m, pages, here, next_, word, head, index, count, moves, room, chains, added,
                      drop_destage, drop_poll)
            self._clear(m, pages, here, done, sent, oldest, index, count, moves, chains, added,
                        blocked, rewinds)

            self._step(m, pages, here, word)
            self._end_resync(m, pages, here, flags, word)

            # -- send again
            with m.State("WRITE_AGE"):
                m.d.comb += pages.put(SetWord.AGE, added[:16])
                m.next = "CHOOSE_WORK"
            with m.State("REWIND_SENT"):
                # The dispatcher may be in the middle of the oldest group: told even if SENT is
                # DONE already.
                m.d.comb += [*pages.put(SetWord.SENT, done),
                             self.resent.eq(sent != done[:len(sent)]),
                             self.notice.valid.eq(in_flight != 0), self.notice.rewound.eq(1)]
                m.next = "RESET_AGE"
            with m.State("RESET_AGE"):
                m.d.comb += pages.put(SetWord.AGE, 0)
                m.next = "CHOOSE_WORK"
                if may_have(self.mutation, Mutation.RESENT_GROUP_GROWS):
                    with m.If(has(self.mutation, Mutation.RESENT_GROUP_GROWS) & in_flight.any()):
                        m.next = "LOOK_AT_UNSENT"
            if may_have(self.mutation, Mutation.RESENT_GROUP_GROWS):
                self._grow(m, pages, next_, word)

        m.d.comb += self.walking.eq(meta.gnt & ((task == Task.CUT) | (task == Task.STATUS)))
        # After the machine, so that what comes in the clock of a visit is not lost.
        with m.If(self.link_lost & lacks(self.mutation, Mutation.LOSS_NOT_REWOUND)):
            m.d.sync += rewinds.eq((1 << g.sets) - 1)
        with m.If(self.use.any()):
            m.d.sync += self.used.eq(self.used | self.use)
        with m.If(self.slow_tick):
            m.d.sync += ticks.eq((1 << g.sets) - 1)
        return m

    def _judge_status(self, m, pages, here, ours, flags, runs, behind, ahead, in_flight):
        """What a commit status means; ``ahead`` groups would be cleared."""
        follows = (flags & TargetFlag.FOLLOWING).any()
        asked = (flags & TargetFlag.ASKED).any()
        few = len(in_flight)
        counts = (ahead != 0) & ~ahead[few:].any() & (ahead[:few] <= in_flight)
        forged = has(self.mutation, Mutation.STATUS_NOT_MATCHED) & (in_flight != 0)
        m.d.comb += pages.look(SetWord.RESYNC_LOW)
        with m.If(~ours | ~(follows | asked)):
            m.d.comb += self.request.ask.eq(1)
        with m.Elif(follows):
            with m.If(behind == 0):
                m.d.comb += [self.notice.valid.eq(~runs), self.notice.rewound.eq(1)]
                m.d.sync += self.running.eq(self.running | here)
                with m.If(counts | forged):
                    m.next = "FIND_GROUP"
                with m.Elif((self.resyncing & here).any()):
                    m.next = "READ_END_LOW"
        with m.Elif(behind == 0):
            with m.If(runs):
                m.d.comb += self.lost.eq(1)
                m.d.sync += self.running.eq(0)
            with m.Else():
                blank = ~(flags & TargetFlag.WRITTEN).any() & ~(self.used & here).any()
                with m.If(~blank & lacks(self.mutation, Mutation.LOST_TARGET_BEGUN)):
                    m.d.sync += self.resyncing.eq(self.resyncing | here)
                m.next = "WRITE_EPOCH"
        with m.Elif(behind == 1):
            m.d.comb += self.request.begin.eq(~runs)
        with m.Else():
            m.d.comb += self.request.ask.eq(1)

    def _step(self, m, pages, here, our_epoch):
        """Begin the next epoch; then everything that is out is to be sent again."""
        with m.State("WRITE_EPOCH"):
            epoch = Signal(8)
            m.d.comb += [epoch.eq(our_epoch + 1), *pages.put(SetWord.EPOCH, epoch),
                         self.request.begin.eq(1)]
            m.next = "REWIND_SENT"
            with m.If((self.resyncing & here).any()):
                m.next = "FORGET_END_LOW"
        with m.State("FORGET_END_LOW"):
            m.d.comb += pages.put(SetWord.RESYNC_LOW, 0xFFFF)
            m.next = "FORGET_END_HIGH"
        with m.State("FORGET_END_HIGH"):
            m.d.comb += [*pages.put(SetWord.RESYNC_HIGH, 0xFFFF), self.scan.valid.eq(1)]
            m.next = "REWIND_SENT"

    def _end_resync(self, m, pages, here, flags, end):
        """Everything is acknowledged: has the resynchronisation come to its end?

        ``end`` is a word of its last chain's number, inverted.
        """
        found = pages.found
        carry = Signal()                # of ACKED - end, from the low word
        reached = Signal(18)            # bit 0 makes the carry
        m.d.comb += reached.eq(Cat(carry, found) + Cat(carry, end))
        with m.State("READ_END_LOW"):
            m.d.comb += pages.look(SetWord.ACKED_LOW)
            m.d.sync += [end.eq(~found), carry.eq(1)]
            m.next = "COMPARE_LOW"
        with m.State("COMPARE_LOW"):
            m.d.comb += pages.look(SetWord.RESYNC_HIGH)
            m.d.sync += carry.eq(reached[17])
            m.next = "READ_END_HIGH"
        with m.State("READ_END_HIGH"):
            m.d.comb += pages.look(SetWord.ACKED_HIGH)
            m.d.sync += end.eq(~found)
            m.next = "COMPARE_HIGH"
        with m.State("COMPARE_HIGH"):
            m.next = "CHOOSE_WORK"
            with m.If(~reached[17] & lacks(self.mutation, Mutation.RESYNCED_EARLY)):
                pass
            with m.Elif((flags & TargetFlag.INCONSISTENT).any()):
                m.d.comb += self.request.resynced.eq(1)
            with m.Else():
                m.d.comb += self.resynced.eq(1)
                m.d.sync += self.resyncing.eq(self.resyncing & ~here)

    def _grow(self, m, pages, next_, unsent):
        """A deliberate fault: the newest group that is out takes in everything unsent."""
        newest = (next_ - 1)[:len(next_)]
        with m.State("LOOK_AT_UNSENT"):
            m.d.comb += pages.look(SetWord.UNSENT)
            m.next = "LOOK_AT_COUNT"
        with m.State("LOOK_AT_COUNT"):
            m.d.comb += pages.look_group(newest, GROUP_COUNT)
            m.d.sync += unsent.eq(pages.found)
            m.next = "GROW_GROUP"
        with m.State("GROW_GROUP"):
            m.d.comb += pages.put_group(newest, GROUP_COUNT, pages.found + unsent)
            m.d.sync += self.credit.eq(self.credit - unsent)
            m.next = "CLEAR_UNSENT"
        with m.State("CLEAR_UNSENT"):
            m.d.comb += pages.put(SetWord.UNSENT, 0)
            m.next = "CHOOSE_WORK"

    def _cut(self, m, pages, here, next_, unsent, head, index, count, moves, room, one, added,
             drop_destage, drop_poll):
        """Move whole chains from the head of the unsent list into a new group.

        The list stays as it is: the group is its next ``count`` links.
        """
        g = self.geometry
        meta = self.meta
        left = Signal(8)                # room after the track at hand
        full = Signal()
        m.d.comb += [
            left.eq(room - 1),
            full.eq((meta.link_rdata.end_of_chain & (left < g.chain_limit))
                    | (left == 0)),     # only a broken list gets that far
        ]
        with m.State("READ_FIRST"):
            m.d.comb += meta.req.eq(1)
            m.d.sync += [head.eq(meta.page_rdata), index.eq(meta.page_rdata)]
            m.next = "FETCH_TRACK_TO_CUT"
        with m.State("FETCH_TRACK_TO_CUT"):
            m.d.comb += meta.req.eq(1)
            m.next = "CUT_TRACK"
        with m.State("CUT_TRACK"):
            packet = lacks(self.mutation, Mutation.PACKET_NOT_SET)
            m.d.comb += [meta.req.eq(1), meta.state_we.eq(1), meta.state_wdata.eq(meta.state_rdata),
                         meta.state_wdata.packet.eq(packet), self.group_track.eq(1)]
            m.d.comb += moves.eq(1)
            m.d.sync += [index.eq(meta.link_rdata.next), room.eq(left), unsent.eq(unsent - 1)]
            m.next = "FETCH_TRACK_TO_CUT"
            with m.If((unsent == 1) | full):
                m.next = "RECORD_HEAD"
        with m.State("RECORD_HEAD"):
            m.d.comb += pages.put_group(next_, GROUP_HEAD, head)
            m.next = "RECORD_COUNT"
        with m.State("RECORD_COUNT"):
            m.d.comb += pages.put_group(next_, GROUP_COUNT, count)
            m.next = "WRITE_FIRST"
        with m.State("WRITE_FIRST"):
            m.d.comb += pages.put(SetWord.FIRST, index)
            m.next = "WRITE_UNSENT"
        with m.State("WRITE_UNSENT"):
            m.d.comb += pages.put(SetWord.UNSENT, unsent)
            m.d.sync += one.eq(1)
            m.next = "READ_NEXT_AGAIN"
        with m.State("READ_NEXT_AGAIN"):
            m.d.comb += pages.look(SetWord.NEXT)
            m.next = "WRITE_NEXT"
        with m.State("WRITE_NEXT"):
            m.d.comb += [
                *pages.put(SetWord.NEXT, added[:16]),
                self.notice.valid.eq(1),
                self.group.eq(1),
                self.polled.eq(~(self.destaging & here).any()),
                drop_poll.eq(1),
                drop_destage.eq(unsent == 0),
            ]
            m.next = "CHOOSE_WORK"

    def _clear(self, m, pages, here, done, sent, oldest, index, count, moves, chains, added,
               blocked, rewinds):
        """Clear the oldest group, let go of the lock, and look whether there is another."""
        meta = self.meta
        state, volume = meta.state_rdata, meta.volume_rdata
        last = Signal()
        waited_for = Signal()
        m.d.comb += last.eq(count == 1)
        m.d.comb += waited_for.eq(Mux(has(self.mutation, Mutation.RECONNECT_WRONG_GROUP),
                                      volume.disconnected, state.waiter))

        with m.State("FIND_GROUP"):
            m.d.comb += pages.look_group(oldest, GROUP_HEAD)
            m.d.sync += chains.eq(0)
            m.next = "READ_HEAD"
        with m.State("READ_HEAD"):
            m.d.comb += pages.look_group(oldest, GROUP_COUNT)
            m.d.sync += index.eq(meta.page_rdata)
            m.next = "READ_COUNT"
        with m.State("READ_COUNT"):
            m.d.comb += meta.req.eq(1)
            m.d.sync += count.eq(meta.page_rdata)
            m.next = "CLEAR_TRACK"
        with m.State("FETCH_TRACK_TO_CLEAR"):
            m.d.comb += meta.req.eq(1)
            m.next = "CLEAR_TRACK"
        with m.State("CLEAR_TRACK"):
            m.d.comb += [meta.req.eq(1), meta.state_we.eq(1), meta.state_wdata.slot.eq(state.slot)]
            with m.If(waited_for):
                m.d.comb += [self.reconnect.eq(1), meta.volume_we.eq(1),
                             meta.volume_wdata.set.eq(volume.set)]
            with m.If(~state.pending | ~state.packet):
                m.d.sync += self.fault.eq(1)
            m.d.comb += moves.eq(1)
            m.d.sync += [index.eq(meta.link_rdata.next),
                         chains.eq(chains + (meta.link_rdata.end_of_chain | last))]
            m.next = "FETCH_TRACK_TO_CLEAR"
            with m.If(last):
                m.next = "WRITE_DONE"
        with m.State("WRITE_DONE"):
            m.d.comb += pages.put(SetWord.DONE, oldest)
            m.next = "PASS_SENT"
        with m.State("PASS_SENT"):
            again = sent == done[:len(sent)]            # it was to be sent once more
            m.d.comb += [*pages.put(SetWord.SENT, oldest), meta.page_we.eq(again)]
            m.next = "READ_ACKED_LOW"
        with m.State("READ_ACKED_LOW"):
            m.d.comb += pages.look(SetWord.ACKED_LOW)
            m.next = "WRITE_ACKED_LOW"
        with m.State("WRITE_ACKED_LOW"):
            m.d.comb += pages.put(SetWord.ACKED_LOW, added[:16])
            m.d.sync += chains.eq(added[16])
            m.next = "READ_ACKED_HIGH"
        with m.State("READ_ACKED_HIGH"):
            m.d.comb += pages.look(SetWord.ACKED_HIGH)
            m.next = "WRITE_ACKED_HIGH"
        with m.State("WRITE_ACKED_HIGH"):
            m.d.comb += pages.put(SetWord.ACKED_HIGH, added[:16])
            m.next = "NOTE_PROGRESS"
        with m.State("NOTE_PROGRESS"):
            m.d.comb += [*pages.put(SetWord.AGE, 0), self.group_done.eq(1)]
            m.d.sync += [blocked.eq(0), self.used.eq(self.used | here)]
            with m.If(has(self.mutation, Mutation.STATUS_REWINDS)):
                m.d.sync += rewinds.eq(rewinds | here)
            m.next = "LET_GO"
        with m.State("LET_GO"):
            m.next = "LOCK"
