"""The clerk: what a source does for its sets, by a processor instead of four machines."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .clerkprogram import (
    COUNTED,
    EVENTS,
    INPUTS,
    OUTPUTS,
    PAGE,
    PAGE_GROUP,
    SIGNALS,
    STATE,
    clerk_program,
    clerk_state,
)
from .interfaces import MetadataPort, SourceState
from .microcode import ENTRY_WORDS
from .processor import Processor
from .sequencer import Status

__all__ = ["Clerk", "check_clerk"]


def check_clerk(geometry):
    """Raise ``ValueError`` unless a clerk can serve a source of this geometry."""
    if geometry.sets > ENTRY_WORDS:
        raise ValueError(f"sets {geometry.sets} is more than {ENTRY_WORDS}: a clerk names a set by "
                         "3 bits")


class Clerk(wiring.Component):
    """Does what :class:`.sequencer.Sequencer`, :class:`.liaison.Liaison`,
    :class:`.dispatcher.Dispatcher` and :class:`.resync.Resync` do, for a third of their cells.

    A :class:`.processor.Processor` does one short job after the other; its program is in
    :mod:`.clerkprogram`, its state in block RAM. A cut takes 36 clocks a track under the lock of
    the metadata, 44 where a chain ends, and a clear 40, where a Sequencer takes 2: a track is on
    slow lines for a thousand times as long. With 255 tracks the lock is held for 11,400 clocks;
    nothing is awaited under it.

    An order packet or a frame about a set waits two slow ticks for its home link to have room,
    if that is up; then any other will do.

    For lines that read a frame word by word (:class:`.linebank.LineBank`): the frame that is
    offered lies in the state memory.

    Parameters
    ----------
    geometry : Geometry
        At most 8 sets.

    Members
    -------
    status : In(stream.Signature(Status))
    destage : In(sets)
        Pulses: destage these sets now.
    poll, slow_tick, tick, link_lost, link_started : In(1)
        Pulses: destage every set in the background; every ``wire.SLOW_TICK`` clocks; when to look
        again whether a scan can go on; a link has dropped frames that it had taken; a link has a
        new session.
    group_timeout : In(16)
        In slow ticks, 0 for never.
    life : In(16)
        Ours.
    use : In(sets)
        Pulses: the target may hold something of these sets.
    chain_open : In(1)
    meta : Out(MetadataPort)
    up, room : In(links)
        Links with a session, and those that would take a frame now.
    offered : Out(links)
        The frame is offered to these: one, or none.
    taken : In(links)
        Pulse: an offered frame has been taken.
    asks : In(1), word : In(3), said : Out(16)
        While ``asks``, ``said`` is in each clock the word of the frame that ``word`` named in the
        clock before (``interfaces.DESCRIPTOR_WORDS``). The program stands still meanwhile.
    running, resyncing, used : Out(sets)
        ``wire.SourceFlag`` of the sets.
    lost : Out(1)
        Pulse: the target has lost its memory; all links must start new sessions.
    reconnect, reconnect_index : Out
        Pulse: the volume of this track index is connected again.
    credit : Out(range(staging_slots + 1))
        Target staging slots that are not reserved for a group.
    destaging : Out(sets)
        Sets whose destage is wanted.
    group, group_track, polled, group_done, resent, rejected, dispatched, resynced, resync_track :
    Out(1)
        Pulses to be counted: see the machines.
    walking : Out(1)
        The lock is held.
    fault : Out(1)
        A group held a track that was not packet pending. Held until reset.
    """

    def __init__(self, geometry):
        check_clerk(geometry)
        self.geometry = geometry
        links, sets = geometry.links, geometry.sets
        pulses = dict.fromkeys((*COUNTED, *SIGNALS), Out(1))
        for name in ("unlock", "answered"):
            del pulses[name]
        super().__init__({
            "status": In(stream.Signature(Status)),
            "destage": In(sets),
            "poll": In(1),
            "slow_tick": In(1),
            "tick": In(1),
            "link_lost": In(1),
            "link_started": In(1),
            "group_timeout": In(16),
            "life": In(16),
            "use": In(sets),
            "chain_open": In(1),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
            "up": In(links),
            "room": In(links),
            "offered": Out(links),
            "taken": In(links),
            "asks": In(1),
            "word": In(3),
            "said": Out(16),
            "running": Out(sets),
            "resyncing": Out(sets),
            "used": Out(sets),
            "reconnect_index": Out(geometry.track_index_bits),
            "credit": Out(range(geometry.staging_slots + 1), init=geometry.staging_slots),
            "destaging": Out(sets),
            "walking": Out(1),
        } | pulses)

    def elaborate(self, platform):
        m = Module()
        processor = Processor(clerk_program(self.geometry), 1, clerk_state(self.geometry))
        m.submodules.processor = processor
        value, argument = processor.value, processor.argument

        def out(name):
            """The program says this now."""
            return processor.out & (processor.port == OUTPUTS[name])

        def wants(name):
            return processor.wants & (processor.port == OUTPUTS[name])

        m.d.comb += [
            processor.pause.eq(self.asks),
            processor.state.addr.eq(self.word),
            self.said.eq(processor.state.data),
            processor.index_we.eq(out("set")),
        ]
        for bit, name in enumerate(COUNTED):
            m.d.comb += getattr(self, name).eq(out("count") & argument[bit])
        signals = dict(zip(SIGNALS, argument & out("signal").replicate(8), strict=False))
        m.d.comb += [
            self.lost.eq(signals["lost"]),
            self.resynced.eq(signals["resynced"]),
            self.resync_track.eq(signals["resync_track"]),
            self.status.ready.eq(signals["answered"]),
        ]
        with m.If(signals["fault"]):
            m.d.sync += self.fault.eq(1)

        # What the program has said, as registers.
        for name in ("running", "resyncing", "credit"):
            with m.If(out(name)):
                m.d.sync += getattr(self, name).eq(value)
        m.d.sync += [
            self.destaging.eq((self.destaging & ~Mux(out("drop"), value, 0)) | self.destage
                              | Mux(out("destage"), value, 0)),
            self.used.eq(self.used | self.use | Mux(out("use"), value, 0)),
        ]

        self._metadata(m, processor, out, wants, signals["unlock"])
        taken = self._offer(m, out, value)
        events, stirred = self._events(m, out, value)
        m.d.comb += processor.hold.eq((wants("wait") & ~stirred)
                                      | (wants("lock") & ~self.meta.gnt))
        self._inputs(m, processor, events=events, taken=taken)
        return m

    def _metadata(self, m, processor, out, wants, unlock):
        """The program names words of a page in its instructions; set, group and track are in
        registers."""
        meta, select = self.meta, processor.select
        g = self.geometry
        set_, place, track = Signal(g.set_bits), Signal(2), Signal(g.track_index_bits)
        locked = Signal()
        with m.If(out("set")):
            m.d.sync += set_.eq(processor.value)
        with m.If(out("place")):
            m.d.sync += place.eq(processor.value[:g.groups_in_flight.bit_length() - 1])
        with m.If(out("track")):
            m.d.sync += track.eq(processor.value)
        with m.If(out("lock")):
            m.d.sync += locked.eq(1)
        with m.If(unlock):
            m.d.sync += locked.eq(0)
        in_group = (select & PAGE_GROUP).any()
        m.d.comb += [
            meta.req.eq(locked | wants("lock")),
            self.walking.eq(meta.gnt),
            meta.page_addr.eq(Cat(select[:2], Mux(in_group, place, select[2:4]), select[4], set_)),
            meta.page_we.eq(out("put")),
            meta.page_wdata.eq(processor.value),
            meta.state_addr.eq(track),
            meta.link_addr.eq(track),
            meta.volume_addr.eq(track[g.track_bits:]),
            self.reconnect_index.eq(track),
            meta.state_we.eq(out("state")),
            meta.state_wdata.slot.eq(meta.state_rdata.slot),
            meta.state_wdata.pending.eq((select & STATE["PENDING"]).any()),
            meta.state_wdata.packet.eq((select & STATE["PACKET"]).any()),
            meta.state_wdata.waiter.eq((select & STATE["WAITER"]).any() & meta.state_rdata.waiter),
            meta.link_we.eq(out("link")),
            meta.link_wdata.next.eq(processor.value),
            meta.link_wdata.end_of_chain.eq(1),
            meta.volume_we.eq(out("volume")),
            meta.volume_wdata.set.eq(meta.volume_rdata.set),
        ]
        self._track = track

    def _offer(self, m, out, value):
        """Offers the frame; returns whether the last one offered has been taken."""
        taken = Signal()
        with m.If(out("offer")):
            m.d.sync += self.offered.eq(value)
            with m.If(value[:len(self.offered)].any()):
                m.d.sync += taken.eq(0)
        with m.If(self.taken.any()):
            m.d.sync += [self.offered.eq(0), taken.eq(1)]
        return taken

    def _events(self, m, out, value):
        """What has happened and the program has not looked at, a bit each; and whether there is
        any reason to look around."""
        ticking = Signal()
        with m.If(out("ticking")):
            m.d.sync += ticking.eq(value)
        pulses = {"poll": self.poll, "lost": self.link_lost, "slow_tick": self.slow_tick,
                  "started": self.link_started, "tick": self.tick & ticking}
        now, events = Signal(len(EVENTS)), Signal(len(EVENTS))
        free, was_free = (Signal(self.geometry.links, name=name) for name in ("free", "was_free"))
        stirred = Signal(init=1)
        m.d.comb += [now.eq(Cat(pulses[name] for name in EVENTS)), free.eq(self.room & self.up)]
        m.d.sync += [
            events.eq((events & ~Mux(out("clear"), value, 0)) | now),
            was_free.eq(free),
            stirred.eq((stirred & ~out("wait")) | now.any() | self.status.valid
                       | self.destage.any() | self.taken.any() | (free & ~was_free).any()),
        ]
        return events, stirred

    def _inputs(self, m, processor, *, events, taken):
        meta, status, track = self.meta, self.status.payload, self._track
        g = self.geometry
        state, number = meta.state_rdata, Signal(16)
        m.d.comb += number.eq(track[:g.track_bits])
        inputs = {
            "its_set": status.set, "its_epoch": status.epoch, "its_gseq": status.gseq,
            "its_flags": status.flags, "its_life": status.life,
            "life": self.life, "life_high": self.life[8:], "timeout": self.group_timeout,
            "slot": state.slot, "next": meta.link_rdata.next,
            "place_low": Cat(track[g.track_bits:], C(0, 8 - g.volume_bits), number[:8]),
            "place_high": number[8:],
            "state": Cat(state.pending, state.packet, state.waiter),
            "end": meta.link_rdata.end_of_chain, "volume": meta.volume_rdata.set,
            "last_track": number == g.tracks_per_volume - 1,
            "status": self.status.valid, "events": events, "destaging": self.destaging,
            "running": self.running, "resyncing": self.resyncing, "used": self.used,
            "chain_open": self.chain_open, "up": self.up, "room": self.room,
            "offered": self.offered, "taken": taken,
        }
        chosen = Signal(16)
        with m.Switch(processor.select[:5]):
            for name, said in inputs.items():
                with m.Case(INPUTS[name]):
                    m.d.comb += chosen.eq(said)
        m.d.comb += processor.input.eq(Mux((processor.select & PAGE).any(), meta.page_rdata,
                                           chosen))
