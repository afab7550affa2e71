"""Full resynchronisation: every track of a set goes to the target once more, in background."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import SetWord

from .arbiter import RoundRobin
from .interfaces import MetadataPort, SourceState
from .metadata import PageAccess
from .mutations import Mutation, has

__all__ = ["Resync"]


class Resync(wiring.Component):
    """Puts the tracks of a set into its order list, each as a chain of its own.

    A track that is commitment pending is left out: it goes anyway. The others become pending where
    they are, so nothing is copied; they take chain numbers, though no host wrote them. Since a
    place in the list fixes a track's content (I1), the target has every track as it was here
    at the end of the list once all has committed. A host that writes such a track collides, as with
    any other.

    The order list gets at most ``chain_limit`` unsent tracks this way: what the host writes does
    not wait behind a whole set. Sets are scanned one after the other. While a chain is open the
    scan stands still, since the chain's tracks are looked up only once.

    At the end of a scan RESYNC_LOW, RESYNC_HIGH is the number of the last chain that has
    anything to do with it, and an ASK is due: if all was acknowledged already, no other status
    would come. The lock is held for at most 9 clocks.

    Parameters
    ----------
    geometry : Geometry
    mutation : Mutation or None
        SCAN_SKIPS_TRACKS leaves track 1 of every volume out.

    Members
    -------
    start : In(StructLayout valid, set)
        Pulse: scan this set, from the beginning if a scan is going on. Only by who holds the lock.
    chain_open : In(1)
    tick : In(1)
        When to look again whether there is room in the list.
    meta : Out(MetadataPort)
    destage, ask : Out(sets)
        Pulses: to the sequencer, and to the liaison.
    track : Out(1)
        Pulse for each track put in.
    """

    def __init__(self, geometry, *, mutation=None):
        self.geometry = geometry
        self._skip_tracks = has(mutation, Mutation.SCAN_SKIPS_TRACKS)
        super().__init__({
            "start": In(data.StructLayout({"valid": 1, "set": geometry.set_bits})),
            "chain_open": In(1),
            "tick": In(1),
            "meta": Out(MetadataPort(geometry, SourceState(geometry))),
            "destage": Out(geometry.sets),
            "ask": Out(geometry.sets),
            "track": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta

        set_ = Signal(g.set_bits)
        here = Signal(g.sets)
        todo = Signal(g.sets)
        finished = Signal()
        again = Signal()                # the scan has been started over
        m.submodules.turn = turn = RoundRobin(g.sets)
        started = Mux(self.start.valid, 1 << self.start.set, 0)[:g.sets]
        m.d.sync += todo.eq((todo & ~Mux(finished, here, 0)) | started)
        m.d.comb += [here.eq(1 << set_), turn.requests.eq(todo), turn.last.eq(set_)]

        volume = Signal(g.volume_bits)
        track = Signal(g.track_bits)
        index = Cat(track, volume)
        alone = Signal()                # nothing is unsent
        pages = PageAccess(g, meta, set_)
        m.d.comb += pages.rest()
        unsent = pages.found[:(g.tracks + 1).bit_length()]      # UNSENT: no more than these bits
        one_more = Signal(16)
        m.d.comb += [
            one_more.eq(pages.found + 1),
            meta.state_addr.eq(index),
            meta.state_wdata.slot.eq(meta.state_rdata.slot),
            meta.state_wdata.pending.eq(1),
            meta.volume_addr.eq(volume),
            meta.link_addr.eq(pages.found),
            meta.link_wdata.next.eq(index),
            meta.link_wdata.end_of_chain.eq(1),
        ]

        def leave_volume():
            m.d.sync += [track.eq(0), volume.eq(volume + 1)]
            with m.If(volume == g.volumes - 1):
                m.d.sync += volume.eq(0)
                m.next = "LOCK_TO_END"

        with m.FSM():
            with m.State("AWAIT_START"):
                m.d.sync += again.eq(0)
                with m.If(turn.valid):
                    m.d.sync += [set_.eq(turn.next), volume.eq(0), track.eq(0)]
                    m.next = "LOCK_TRACK"

            with m.State("LOCK_TRACK"):
                m.d.comb += pages.look(SetWord.UNSENT)
                with m.If(meta.gnt):
                    m.next = "JUDGE_TRACK"
            with m.State("JUDGE_TRACK"):
                m.d.comb += pages.look(SetWord.TAIL)
                m.d.sync += alone.eq(pages.found == 0)
                with m.If(again):
                    m.next = "START_OVER"
                with m.Elif(meta.volume_rdata.set != set_):
                    m.next = "LEAVE_VOLUME"
                with m.Elif(meta.state_rdata.pending | (self._skip_tracks & (track == 1))):
                    m.next = "LEAVE_TRACK"
                with m.Elif(self.chain_open):
                    m.next = "AWAIT_END_OF_CHAIN"
                with m.Elif(unsent >= g.chain_limit):
                    m.next = "AWAIT_CUT"
                with m.Else():
                    m.next = "APPEND_TRACK"
            with m.State("START_OVER"):
                m.d.sync += [again.eq(0), volume.eq(0), track.eq(0)]
                m.next = "LOCK_TRACK"
            with m.State("AWAIT_END_OF_CHAIN"):
                with m.If(~self.chain_open):
                    m.next = "LOCK_TRACK"
            with m.State("AWAIT_CUT"):
                with m.If(self.tick):
                    m.next = "LOCK_TRACK"

            with m.State("APPEND_TRACK"):
                m.d.comb += [meta.req.eq(1), meta.state_we.eq(1), self.destage.eq(here),
                             self.track.eq(1)]
                with m.If(alone):
                    m.d.comb += pages.put(SetWord.FIRST, index)
                with m.Else():
                    m.d.comb += meta.link_we.eq(1)
                m.next = "WRITE_TAIL"
            with m.State("WRITE_TAIL"):
                m.d.comb += pages.put(SetWord.TAIL, index)
                m.next = "READ_UNSENT"
            with m.State("READ_UNSENT"):
                m.d.comb += pages.look(SetWord.UNSENT)
                m.next = "WRITE_UNSENT"
            with m.State("WRITE_UNSENT"):
                m.d.comb += pages.put(SetWord.UNSENT, one_more)
                m.next = "READ_CHAINS"
            with m.State("READ_CHAINS"):
                m.d.comb += pages.look(SetWord.CHAINS_LOW)
                m.next = "COUNT_CHAIN"
            with m.State("COUNT_CHAIN"):
                m.d.comb += pages.put(SetWord.CHAINS_LOW, one_more)
                m.next = "LEAVE_TRACK"
                with m.If(pages.found == 0xFFFF):
                    m.next = "READ_CHAINS_HIGH"
            with m.State("READ_CHAINS_HIGH"):
                m.d.comb += pages.look(SetWord.CHAINS_HIGH)
                m.next = "CARRY_CHAINS"
            with m.State("CARRY_CHAINS"):
                m.d.comb += pages.put(SetWord.CHAINS_HIGH, one_more)
                m.next = "LEAVE_TRACK"

            # -- on; the lock is free meanwhile
            with m.State("LEAVE_TRACK"):
                m.d.sync += track.eq(track + 1)
                m.next = "LOCK_TRACK"
                with m.If(track == g.tracks_per_volume - 1):
                    leave_volume()
            with m.State("LEAVE_VOLUME"):
                m.next = "LOCK_TRACK"
                leave_volume()

            # -- the last chain that matters
            with m.State("LOCK_TO_END"):
                m.d.comb += pages.look(SetWord.CHAINS_HIGH)
                with m.If(meta.gnt):
                    m.next = "WRITE_END_HIGH"
            with m.State("WRITE_END_HIGH"):
                m.d.comb += pages.put(SetWord.RESYNC_HIGH, pages.found)
                m.next = "READ_END_LOW"
                with m.If(again):
                    m.d.comb += meta.page_we.eq(0)
                    m.next = "START_OVER"
            with m.State("READ_END_LOW"):
                m.d.comb += pages.look(SetWord.CHAINS_LOW)
                m.next = "WRITE_END_LOW"
            with m.State("WRITE_END_LOW"):
                m.d.comb += [*pages.put(SetWord.RESYNC_LOW, pages.found), self.ask.eq(here),
                             finished.eq(1)]
                m.next = "AWAIT_START"

        # After the machine, so that a start in the clock in which it looks is not lost.
        with m.If(self.start.valid & (self.start.set == set_)):
            m.d.sync += again.eq(1)
        return m
