"""Takes data and order packets from the links and stages them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model.wire import (
    ENTRY_BYTES,
    GROUP_COUNT,
    GROUP_HEAD,
    GROUP_RECEIVED,
    SetWord,
    TargetFlag,
    Type,
)

from .follower import CONTROL_TYPES
from .frame import holds_entries
from .interfaces import (
    Event,
    MemoryPort,
    MetadataPort,
    TargetState,
    header,
    index_shape,
    slot_shape,
)
from .metadata import PageAccess
from .mutations import Mutation, has

__all__ = ["Receiver"]


class Receiver(wiring.Component):
    """Stages the tracks of groups and threads their order, one frame at a time.

    The links' events are served in turn. A frame's slot leaves its SlotWriter at once, so that
    the line can go on; it is staged, or goes back to the free list.

    * DATA of a group in the window (``0 < gseq - DONE <= groups_in_flight``) whose track is not
      staged: the slot is staged, ``RECEIVED`` counts it.
    * ORDER of a group in the window that has none yet: every entry is checked, then the group's
      tracks are threaded through the order links, ``HEAD`` and ``COUNT`` set.
    * A frame of a committed group, or one that repeats what is here already: dropped, counted as
      duplicate; for a committed group the status is sent again. A track of a group that is
      complete is a repetition even where the track is not staged any more: the commit engine may
      be between two of the group's chains.
    * Frames that start or restart a set go to the :class:`.follower.Follower`; no other frame is
      looked at meanwhile.
    * Anything else (type, length, count, set, epoch, volume, track, window, a set that is not
      FOLLOWING, an order packet that names what does not exist or whose last entry ends no
      chain): dropped, counted as rejected.

    The lock is held for at most 9 clocks at a time: an order packet is checked without it, and
    threaded one entry a hold. Only this component writes ``HEAD`` and a ``COUNT`` of 0, and
    groups without ``COUNT`` do not commit, so nothing it has seen changes between two holds.

    Parameters
    ----------
    geometry : Geometry
    mutation : Mutation or None
        DUPLICATE_COUNTED counts a track as received whenever it comes.

    Members
    -------
    events : In(stream.Signature(Event)).array(links)
    slot, slot_valid : In, array(links)
        What the links' SlotWriters have in hand: the payload of the frame in ``events``.
    take : Out(1).array(links)
        Pulse: the slot is ours.
    control : Out(stream.Signature(Event))
        Frames for the Follower.
    free : Out(stream.Signature(slot))
        Slots to the free list. Never offered while the lock is held.
    memory : Out(MemoryPort)
        For order packets.
    meta : Out(MetadataPort)
    staged : Out(StructLayout valid, volume, set)
        Pulse: a track of this volume was staged for this set.
    progress : Out(StructLayout valid, set)
        Pulse: the set's groups may have become complete.
    due : Out(StructLayout valid, set)
        Pulse: the set's status must be sent (again).
    duplicate, rejected : Out(1)
        Pulses for the counters.
    """

    def __init__(self, geometry, *, mutation=None):
        self.geometry = geometry
        self._count_again = has(mutation, Mutation.DUPLICATE_COUNTED)
        slot = slot_shape(geometry)
        links = geometry.links
        notice = data.StructLayout({"valid": 1, "set": geometry.set_bits})
        super().__init__({
            "events": In(stream.Signature(Event)).array(links),
            "slot": In(slot).array(links),
            "slot_valid": In(1).array(links),
            "take": Out(1).array(links),
            "control": Out(stream.Signature(Event)),
            "free": Out(stream.Signature(slot)),
            "memory": Out(MemoryPort(slot.width + geometry.offset_bits)),
            "meta": Out(MetadataPort(geometry, TargetState(geometry))),
            "staged": Out(data.StructLayout({"valid": 1, "volume": geometry.volume_bits,
                                             "set": geometry.set_bits})),
            "progress": Out(notice),
            "due": Out(notice),
            "duplicate": Out(1),
            "rejected": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta

        # The frame at hand, copied from its event so that the line can go on. volume and track are
        # the data frame's, or those of the order entry read last, whose bytes shift through them.
        is_order = Signal()
        set_ = Signal(g.set_bits)
        epoch = Signal(8)
        gseq = Signal(16)
        volume = Signal(8)
        track = Signal(16)
        count = Signal(8)
        slot = Signal(slot_shape(g))

        ahead = Signal(16)              # gseq - DONE
        group_count = Signal(8)         # COUNT of its group so far

        index = Signal(index_shape(g))
        exists = Signal()
        ends_chain = volume[7] & is_order
        m.d.comb += index.eq(Cat(track[:g.track_bits], volume[:g.volume_bits]))
        # A clock later than volume and track.
        m.d.sync += exists.eq((volume[:7] < g.volumes) & (is_order | ~volume[7])
                              & (track < g.tracks_per_volume))

        pages = PageAccess(g, meta, set_)
        m.d.comb += pages.rest()

        def drop(why):
            m.d.comb += why.eq(1)
            m.next = "RETURN_SLOT"

        def notify(port):
            m.d.comb += [port.valid.eq(1), port.set.eq(set_)]

        # An order packet is read twice: to check it, then to thread it. A link can be written when
        # the successor is known; the last track needs none, since the commit walk stops by count.
        threading = Signal()
        offset = Signal(g.offset_bits)
        part = Signal(range(ENTRY_BYTES))
        left = Signal(8)                # entries not read yet, with the one at hand
        previous = Signal(index_shape(g))
        previous_ends = Signal()
        head = Signal(index_shape(g))
        first = Signal()

        def rewind():
            return [offset.eq(0), left.eq(count), first.eq(1)]

        m.d.comb += [
            self.memory.addr.eq(Cat(offset, slot)),
            self.free.payload.eq(slot),
            meta.state_addr.eq(index),
            meta.state_wdata.slot.eq(meta.state_rdata.slot),
            meta.state_wdata.staged_slot.eq(slot),
            meta.state_wdata.staged.eq(1),
            self.staged.volume.eq(volume),
            self.staged.set.eq(set_),
            meta.link_addr.eq(previous),
            meta.link_wdata.next.eq(index),
            meta.link_wdata.end_of_chain.eq(previous_ends),
        ]

        turn = Signal(range(g.links))
        event = Signal(Event)           # at the turn
        with m.Switch(turn):
            for n in range(g.links):
                with m.Case(n):
                    m.d.comb += event.eq(self.events[n].payload)
        kept = Signal(Event)            # as it was seen
        m.d.comb += self.control.payload.eq(kept)

        with m.FSM():
            with m.State("PICK_FRAME"):
                m.d.sync += [threading.eq(0), part.eq(0)]
                picked = self._pick(m, turn, event, kept)
                frame = data.View(header(Type.DATA), event.header)
                order = data.View(header(Type.ORDER), event.header)
                m.d.sync += [
                    is_order.eq(event.type == Type.ORDER),
                    set_.eq(frame.set), epoch.eq(frame.epoch), gseq.eq(frame.gseq),
                    volume.eq(frame.volume), track.eq(frame.track), count.eq(order.count),
                ]
                with m.If(picked.good):
                    m.d.sync += slot.eq(picked.slot)
                    m.next = "LOCK_SET"

            with m.State("LOCK_SET"):
                m.d.comb += [*pages.look(SetWord.EPOCH), meta.req.eq(exists | is_order)]
                with m.If(~meta.req):
                    drop(self.rejected)
                with m.Elif(meta.gnt):
                    m.next = "CHECK_EPOCH"
            with m.State("CHECK_EPOCH"):
                m.d.comb += pages.look(SetWord.FLAGS)
                m.next = "CHECK_FOLLOWING"
                with m.If(meta.page_rdata != epoch):
                    drop(self.rejected)
            with m.State("CHECK_FOLLOWING"):
                m.d.comb += pages.look(SetWord.DONE)
                m.next = "MEASURE_AHEAD"
                with m.If(~(meta.page_rdata & TargetFlag.FOLLOWING).any()):
                    drop(self.rejected)
            with m.State("MEASURE_AHEAD"):
                m.d.comb += pages.look_group(gseq, GROUP_COUNT)
                m.d.sync += ahead.eq(gseq - meta.page_rdata)
                m.next = "CHECK_WINDOW"
            with m.State("CHECK_WINDOW"):
                m.d.comb += pages.look_group(gseq, GROUP_RECEIVED)
                m.d.sync += [group_count.eq(meta.page_rdata), rewind()]
                m.next = "CHECK_REPEATED"
                with m.If((ahead == 0) | ahead[15]):
                    notify(self.due)
                    drop(self.duplicate)
                with m.Elif(ahead > g.groups_in_flight):
                    drop(self.rejected)
            with m.State("CHECK_REPEATED"):
                # Both memories are written in this clock, or nothing is.
                received = meta.page_rdata
                complete = (group_count != 0) & (received == group_count)
                m.d.comb += [*pages.look_group(gseq, GROUP_RECEIVED),
                             meta.page_wdata.eq(received + 1)]
                with m.If(is_order & (group_count == 0)):
                    m.next = "FETCH_ENTRY"
                with m.Elif(is_order | complete | meta.state_rdata.staged):
                    drop(self.duplicate)
                    with m.If(self._count_again & ~is_order & ~complete):
                        m.d.comb += meta.page_we.eq(1)
                        notify(self.progress)
                with m.Else():
                    m.d.comb += [meta.state_we.eq(1), meta.page_we.eq(1),
                                 self.staged.valid.eq(1)]
                    notify(self.progress)
                    m.next = "PICK_FRAME"

            with m.State("FETCH_ENTRY"):
                m.d.comb += self.memory.req.eq(1)
                with m.If(self.memory.ack):
                    m.d.sync += [
                        Cat(volume, track).eq(Cat(track, self.memory.rdata)),
                        offset.eq(offset + 1),
                        part.eq(part + 1),
                    ]
                    with m.If(part == ENTRY_BYTES - 1):
                        m.d.sync += part.eq(0)
                        m.next = "LOOK_AT_ENTRY"
                        with m.If(threading):
                            m.next = "THREAD_ENTRY"
            with m.State("LOOK_AT_ENTRY"):
                m.next = "CHECK_ENTRY"
            with m.State("CHECK_ENTRY"):
                m.d.sync += left.eq(left - 1)
                m.next = "FETCH_ENTRY"
                with m.If(left == 1):
                    m.d.sync += [threading.eq(1), rewind()]
                with m.If(~exists | ((left == 1) & ~ends_chain)):
                    drop(self.rejected)
            with m.State("THREAD_ENTRY"):
                m.d.comb += meta.req.eq(~first)
                with m.If(first | meta.gnt):
                    m.d.comb += meta.link_we.eq(~first)
                    m.d.sync += [previous.eq(index), previous_ends.eq(ends_chain),
                                 left.eq(left - 1), first.eq(0)]
                    m.next = "FETCH_ENTRY"
                    with m.If(left == 1):
                        m.next = "SET_HEAD"
                with m.If(first):
                    m.d.sync += head.eq(index)
            with m.State("SET_HEAD"):
                m.d.comb += [*pages.put_group(gseq, GROUP_HEAD, head), meta.page_we.eq(meta.gnt)]
                with m.If(meta.gnt):
                    m.next = "SET_COUNT"
            with m.State("SET_COUNT"):
                m.d.comb += pages.put_group(gseq, GROUP_COUNT, count)
                notify(self.progress)
                m.next = "RETURN_SLOT"

            with m.State("RETURN_SLOT"):
                m.d.comb += self.free.valid.eq(1)
                with m.If(self.free.ready):
                    m.next = "PICK_FRAME"
        return m

    def _pick(self, m, turn, event, kept):
        """Serve the links' events in turn; call within the state that waits for one.

        Returns ``good``, with ``slot``, if the event at the turn is taken for work. Frames that
        are malformed for themselves end here: their slot stays with the SlotWriter.
        """
        g = self.geometry
        here = Signal()
        picked = Signal(data.StructLayout({"good": 1, "slot": slot_shape(g)}))
        order = data.View(header(Type.ORDER), event.header)
        well_formed = Signal()
        for_follower = Signal()
        control = Signal()              # the event is not for us, known when it has been seen
        # An event is looked at for a clock before anything is done about it.
        seen = Signal()
        sound = Signal()
        waiting = self.control.valid & ~self.control.ready
        m.d.sync += [kept.eq(event), seen.eq(here & (~seen | waiting)),
                     sound.eq(well_formed & (order.set < g.sets)), control.eq(for_follower)]

        m.d.comb += self.control.valid.eq(here & seen & control)
        with m.Switch(event.type):
            with m.Case(*CONTROL_TYPES):
                m.d.comb += for_follower.eq(1)
            with m.Case(Type.DATA):
                m.d.comb += well_formed.eq(event.length == g.track_bytes)
            with m.Case(Type.ORDER):
                m.d.comb += well_formed.eq((order.count != 0) & (order.count <= g.group_limit)
                                           & holds_entries(event.length, order.count))
        m.d.comb += picked.good.eq(here & seen & sound)
        m.d.comb += self.rejected.eq(here & seen & ~sound & ~control)
        with m.Switch(turn):
            for n in range(g.links):
                with m.Case(n):
                    m.d.comb += [
                        here.eq(self.events[n].valid),
                        self.events[n].ready.eq(seen & (self.control.ready | ~control)),
                        picked.slot.eq(self.slot[n]),
                        self.take[n].eq(picked.good),
                    ]
        with m.If(Cat(e.valid for e in self.events).any() & (seen | ~here) & ~waiting):
            m.d.sync += turn.eq(Mux(turn == g.links - 1, 0, turn + 1))
        return picked
