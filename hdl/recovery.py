"""What a system does first: set up its tables, or go on with those that survived a reset."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firmware_model.wire import FIRST_GROUP, GROUP_WORDS, SET_PAGE_WORDS, SetWord

from .interfaces import MetadataPort, slot_shape

__all__ = ["CHAIN_RECORD", "CHAIN_RECORD_HIGH", "CHAIN_RECORD_LOW", "LIFE_ADDRESS", "MAGIC",
           "MAGIC_ADDRESS", "Recovery"]

_WORD_BITS = (SET_PAGE_WORDS - 1).bit_length()

# The last word of a group's record is nobody's. In the page of set 0 the first of them says that
# the tables are set up: memory that was just configured is 0 there.
_RESERVED = GROUP_WORDS - 1
MAGIC_ADDRESS = SetWord.GROUP + _RESERVED
MAGIC = 0xFA25

# And the second one, at the target, whose life it follows.
LIFE_ADDRESS = MAGIC_ADDRESS + GROUP_WORDS

# The source notes in the set's page which chain it is about to commit: count, bank of the write set
# and a 1 above; then the set's chains so far.
CHAIN_RECORD = MAGIC_ADDRESS + GROUP_WORDS
CHAIN_RECORD_LOW = MAGIC_ADDRESS + 2 * GROUP_WORDS
CHAIN_RECORD_HIGH = MAGIC_ADDRESS + 3 * GROUP_WORDS

_CHAINS_TO_ACKED = SetWord.CHAINS_LOW ^ SetWord.ACKED_LOW       # one bit


class Recovery(wiring.Component):
    """Prepares the tables before anybody else may see them.

    *Cold* (no magic word): every set page is 0 but for ``NEXT`` and ``VOLUMES``; volumes go to sets
    as ``Geometry.initial_set`` says and are connected; tracks own slots 0, 1, 2 .. in order of
    volume and track, and have no flag set. The magic word is written last. The other slots are
    free: the free list knows that.

    *Warm*: whoever commits chains finishes one that the reset has interrupted. Then every track
    keeps its slot and nothing else, every volume its set, and of each page the words ``kept``; the
    other words are as after a cold start, but ACKED becomes CHAINS where CHAINS is kept and
    ACKED is not. Slots that no track owns go to the free list.

    A cold start takes 32 clocks a set and one a track; a warm one 64 a set, two a track and three a
    slot.

    Parameters
    ----------
    geometry : Geometry
    state : Layout
        State of one track: ``SourceState`` or ``TargetState``.
    slots : int
        Slots of the cache.
    kept : set of SetWord
        Words of a page that survive a reset. Those that are reserved always do.

    Members
    -------
    meta : Out(MetadataPort)
        Asks from reset on until ``done``, but while ``finish``.
    cold, warm : Out(1)
        Which of the two it is; both 0 until that is known.
    finish : Out(1), finished : In(1)
        While ``finish``, an interrupted chain is to be finished, until ``finished``. The slots of
        its former versions are not to be freed.
    free : Out(stream.Signature(slot))
        Slots for the free list, after a warm start.
    done : Out(1)
    """

    def __init__(self, geometry, state, *, slots, kept=frozenset()):
        self.geometry = geometry
        self.state = state
        self.slots = slots
        self.kept = frozenset(kept)
        super().__init__({
            "meta": Out(MetadataPort(geometry, state)),
            "cold": Out(1),
            "warm": Out(1),
            "finish": Out(1),
            "finished": In(1),
            "free": Out(stream.Signature(slot_shape(geometry))),
            "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        meta = self.meta

        address = Signal(_WORD_BITS + g.set_bits)
        track = Signal(g.track_bits)
        volume = Signal(g.volume_bits)
        in_set = Signal(range(g.volumes_per_set))       # place of the volume within its set
        set_ = Signal(g.set_bits)
        slot = Signal(slot_shape(g))
        last_word = g.sets * SET_PAGE_WORDS - 1
        last_track = Signal()
        last_slot = Signal()
        m.d.comb += [
            meta.req.eq(~self.done & ~self.finish),
            meta.page_addr.eq(address),
            meta.state_addr.eq(Cat(track, volume)),
            meta.volume_addr.eq(volume),
            self.free.payload.eq(slot),
            last_track.eq((track == g.tracks_per_volume - 1) & (volume == g.volumes - 1)),
            last_slot.eq(slot == self.slots - 1),
        ]

        def step_track():
            m.d.sync += track.eq(track + 1)
            with m.If(track == g.tracks_per_volume - 1):
                m.d.sync += [track.eq(0), volume.eq(volume + 1)]

        initial = self._initial_word(m, address)
        marks = Memory(shape=1, depth=self.slots, init=[])      # slots that a track owns
        m.submodules.marks = marks
        mark, marked = marks.write_port(), marks.read_port()    # in different clocks
        m.d.comb += [mark.addr.eq(slot), marked.addr.eq(slot)]

        with m.FSM():
            with m.State("READ_MAGIC"):
                m.d.comb += meta.page_addr.eq(MAGIC_ADDRESS)
                with m.If(meta.gnt):
                    m.next = "CHECK_MAGIC"
            with m.State("CHECK_MAGIC"):
                m.next = "CLEAR_PAGES"
                m.d.sync += self.cold.eq(1)
                with m.If(meta.page_rdata == MAGIC):
                    m.d.sync += [self.cold.eq(0), self.warm.eq(1)]
                    m.next = "FINISH_CHAIN"

            # -- cold
            with m.State("CLEAR_PAGES"):
                m.d.comb += [meta.page_we.eq(1), meta.page_wdata.eq(initial)]
                m.d.sync += address.eq(address + 1)
                with m.If(address == last_word):
                    m.next = "PLACE_TRACKS"
            with m.State("PLACE_TRACKS"):
                m.d.comb += [
                    meta.state_we.eq(1), meta.state_wdata.slot.eq(slot),
                    meta.volume_we.eq(1), meta.volume_wdata.set.eq(set_),
                ]
                m.d.sync += slot.eq(slot + 1)
                step_track()
                with m.If(track == g.tracks_per_volume - 1):
                    m.d.sync += in_set.eq(in_set + 1)
                    with m.If(in_set == g.volumes_per_set - 1):
                        m.d.sync += [in_set.eq(0), set_.eq(set_ + 1)]
                with m.If(last_track):
                    m.next = "WRITE_MAGIC"
            with m.State("WRITE_MAGIC"):
                m.d.comb += [meta.page_addr.eq(MAGIC_ADDRESS), meta.page_we.eq(1),
                             meta.page_wdata.eq(MAGIC)]
                m.next = "REST"

            # -- warm
            with m.State("FINISH_CHAIN"):
                m.d.comb += self.finish.eq(1)
                with m.If(self.finished):
                    m.next = "CLEAR_MARKS"
            with m.State("CLEAR_MARKS"):
                m.d.comb += mark.en.eq(1)
                m.d.sync += slot.eq(slot + 1)
                with m.If(last_slot & meta.gnt):
                    m.next = "FETCH_TRACK"
                with m.Elif(last_slot):
                    m.d.sync += slot.eq(slot)
            with m.State("FETCH_TRACK"):
                m.next = "KEEP_TRACK"
            with m.State("KEEP_TRACK"):
                kept_slot = meta.state_rdata.slot
                m.d.comb += [
                    meta.state_we.eq(1), meta.state_wdata.slot.eq(kept_slot),
                    meta.volume_we.eq(1), meta.volume_wdata.set.eq(meta.volume_rdata.set),
                    mark.addr.eq(kept_slot), mark.data.eq(1), mark.en.eq(1),
                ]
                step_track()
                m.next = "FETCH_TRACK"
                with m.If(last_track):
                    m.d.sync += slot.eq(0)
                    m.next = "FETCH_WORD"
            self._keep_pages(m, address, initial, last_word)
            with m.State("LOOK_AT_MARK"):
                m.next = "GIVE_SLOT"
            with m.State("GIVE_SLOT"):
                m.d.comb += self.free.valid.eq(~marked.data)
                with m.If(marked.data | self.free.ready):
                    m.d.sync += slot.eq(slot + 1)
                    m.next = "LOOK_AT_MARK"
                    with m.If(last_slot):
                        m.next = "REST"
            with m.State("REST"):
                m.d.comb += self.done.eq(1)
        return m

    def _initial_word(self, m, address):
        """The word at ``address`` after a cold start."""
        g = self.geometry
        initial = Signal(16)
        with m.If(address[:_WORD_BITS] == SetWord.NEXT):
            m.d.comb += initial.eq(FIRST_GROUP)
        with m.If(address[:_WORD_BITS] == SetWord.VOLUMES):
            with m.Switch(address[_WORD_BITS:]):
                for s in range(g.sets):
                    members = sum(g.initial_set(v) == s for v in range(g.volumes))
                    with m.Case(s):
                        m.d.comb += initial.eq(members)
        return initial

    def _keep_pages(self, m, address, initial, last_word):
        """Go through the pages word by word; for ACKED, which is a bit away, CHAINS is read."""
        meta = self.meta
        word = address[:_WORD_BITS]
        reserved = (word >= SetWord.GROUP) & (word[:2] == _RESERVED)
        keep = Signal()
        m.d.comb += keep.eq(reserved | (word.matches(*self.kept) if self.kept else 0))
        acked = [w for w in (SetWord.ACKED_LOW, SetWord.ACKED_HIGH) if w not in self.kept]
        copied = Signal()
        if acked and SetWord.CHAINS_LOW in self.kept:
            m.d.comb += copied.eq(word.matches(*acked))
        with m.State("FETCH_WORD"):
            m.d.comb += meta.page_addr.eq(address ^ Mux(copied, _CHAINS_TO_ACKED, 0))
            m.next = "KEEP_WORD"
        with m.State("KEEP_WORD"):
            m.d.comb += [meta.page_we.eq(~keep),
                         meta.page_wdata.eq(Mux(copied, meta.page_rdata, initial))]
            m.d.sync += address.eq(address + 1)
            m.next = "FETCH_WORD"
            with m.If(address == last_word):
                m.next = "LOOK_AT_MARK"
