"""The target system without its lines."""

from amaranth import *
from amaranth.lib.wiring import connect, flipped

from firmware_model.wire import Counter, Role, SetWord, Type

from .commit import CommitEngine
from .counters import Tally
from .follower import Follower
from .interfaces import TargetState
from .mutations import Mutation, lacks
from .readmarks import ReadMarks
from .receiver import Receiver
from .slotwriter import SlotWriter
from .status import StatusSender
from .system import Core

__all__ = ["TargetCore"]

# A chain takes at least 8 clocks to commit and a track 3, so at most 96 tracks or 36 chains gather
# between two visits of the counters' scan.
_TALLIES = {
    Counter.CHAINS: Tally(pending=6),
    Counter.COMMANDS: Tally(pending=8),
    Counter.GROUPS: Tally(pending=4),
    Counter.GROUP_TRACKS: Tally(pending=8),
    Counter.DUPLICATES: Tally(),
    Counter.REJECTED: Tally(),
}


# All that a set's page says, but for the records of groups whose staged tracks are dropped.
_KEPT = {word for word in SetWord if word < SetWord.GROUP}


class TargetCore(Core):
    """Stages what the links bring, commits it in order, and serves the host's reads.

    Parameters
    ----------
    geometry : Geometry
    channel : bool
        Whether the register window ``CHANNEL`` leads to a channel emulator.
    mutation : Mutation or None
        Deliberate fault of a test build.
    lines : str
        See :class:`.system.Core`.

    Members
    -------
    Those of :class:`.system.Core`.
    """

    def __init__(self, geometry, *, channel=False, mutation=None, lines="each"):
        super().__init__(
            geometry, Role.TARGET, state=TargetState(geometry), slots=geometry.target_slots,
            kept=_KEPT, tallies=_TALLIES, channel=channel, mutation=mutation, lines=lines,
            members={})

    def furnish(self, m, parts):
        g = self.geometry
        receiver = Receiver(g, mutation=self.mutation)
        follower = Follower(g, mutation=self.mutation)
        commit = CommitEngine(g, mutation=self.mutation)
        status = StatusSender(g)
        marks = ReadMarks(g)
        writers = [SlotWriter(g) for _ in range(g.links)]
        registers = parts.registers

        # A new life of the source ends all that was under way: as a warm start, but for the host.
        def restarting(part):
            return ResetInserter(parts.restart)(part)

        # Registers, since so much hangs on them: the follower still holds the lock, and what the
        # commit engine is to look at cannot be read any sooner.
        m.d.sync += [parts.restart.eq(follower.new_life),
                     commit.progress.eq(receiver.progress)]
        m.submodules.receiver = restarting(receiver)
        m.submodules.follower = restarting(follower)
        m.submodules.commit = restarting(commit)
        m.submodules.status = restarting(status)
        m.submodules.marks = restarting(marks)

        renewing = lacks(self.mutation, Mutation.OLD_SESSIONS_KEPT)
        for n, (link, writer) in enumerate(zip(self.links, writers, strict=True)):
            m.submodules[f"writer_{n}"] = restarting(writer)
            connect(m, flipped(link.sink), writer.sink)
            self._leave_old_life(m, link, receiver.events[n], parts.restart & renewing)
            connect(m, flipped(link.submit), status.submit[n])
            m.d.comb += [
                link.payload.bytes.valid.eq(0),     # commit status has no payload
                link.renew.eq(parts.restart & renewing),
                receiver.slot[n].eq(writer.slot),
                receiver.slot_valid[n].eq(writer.slot_valid),
                writer.take.eq(receiver.take[n]),
                status.links_up[n].eq(link.up),
                status.word[n].eq(link.word),
                link.submitted.eq(status.submitted[n]),
            ]
        connect(m, receiver.control, follower.events)
        self._share_slots(m, parts, writers, commit, receiver)
        add = parts.counters.add
        m.d.comb += [
            self.host.sink.ready.eq(1),     # no request to a target carries anything of use
            status.due[0].eq(receiver.due),
            status.due[1].eq(commit.due),
            status.due[2].eq(follower.due),
            status.life.eq(follower.life),
            status.generation.eq(self.generation),
            registers.life.eq(follower.life),
            marks.staged.eq(receiver.staged),
            marks.suspects.eq(follower.suspects),
            marks.volume.eq(parts.host_port.reading),
            parts.host_port.suspect.eq(marks.suspect),
            commit.finish.eq(parts.finish),
            parts.finished.eq(commit.finished),
            commit.hold.eq(registers.hold),
            registers.held.eq(commit.held),
            add.chains.eq(commit.chain),
            add.commands.eq(commit.track),
            add.groups.eq(commit.group),
            add.group_tracks.eq(commit.track),
            add.duplicates.eq(receiver.duplicate),
            add.rejected.eq(receiver.rejected | follower.rejected),
        ]
        lockers = [commit.meta, receiver.meta, follower.meta, status.meta]
        return lockers, [writer.memory for writer in writers], [receiver.memory]

    def _leave_old_life(self, m, link, events, leave):
        """Passes on a link's events, but what it offers of the session that it is to ``leave``.

        A frame that is being offered, or comes before the link can end its session, is of the
        source's former life, and the slot with its data is not ours any more. An ASK is heard: it
        is what a new life begins with.
        """
        stale = Signal()
        dropped = Signal()
        with m.If(link.started):
            m.d.sync += stale.eq(0)
        with m.If(leave):
            m.d.sync += stale.eq(1)
        m.d.comb += [
            dropped.eq(stale & (link.events.payload.type != Type.ASK)),
            events.payload.eq(link.events.payload),
            events.valid.eq(link.events.valid & ~dropped),
            link.events.ready.eq(events.ready | dropped),
        ]

    def _share_slots(self, m, parts, writers, commit, receiver):
        """Slots go to the first writer that wants one; the commit engine's come back first.

        A writer needs one slot a frame, so the order does not matter. The commit engine holds the
        lock meanwhile, the receiver does not.
        """
        free_list, freed = parts.free_list, parts.freed
        wanted = Const(1)
        for writer in writers:
            m.d.comb += [
                writer.slots.payload.eq(free_list.pop.payload),
                writer.slots.valid.eq(free_list.pop.valid & wanted),
            ]
            wanted = wanted & ~writer.slots.ready
        m.d.comb += free_list.pop.ready.eq(~wanted)

        m.d.comb += [
            freed.valid.eq(commit.free.valid | receiver.free.valid),
            freed.payload.eq(Mux(commit.free.valid, commit.free.payload, receiver.free.payload)),
            commit.free.ready.eq(freed.ready),
            receiver.free.ready.eq(freed.ready & ~commit.free.valid),
        ]
