"""The packet sequencer: groups are cut off the order list and cleared, each track once."""

from amaranth import *

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, SetWord, TargetFlag
from hdl.metadata import group_record, page
from hdl.mutations import Mutation
from hdl.sequencer import Sequencer, Task

from ..bench import Forced, StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS
from ..tables import Tables

UNLOCKED = ("CHOOSE_WORK", "CHOOSE_TASK", "LOCK", "LET_GO")
WALK = ("FETCH_TRACK_TO_CUT", "CUT_TRACK")
RECORD = ("RECORD_HEAD", "RECORD_COUNT", "WRITE_FIRST", "WRITE_UNSENT", "READ_NEXT_AGAIN",
          "WRITE_NEXT")
CLEAR = ("FETCH_TRACK_TO_CLEAR", "CLEAR_TRACK")
CLEARED = ("WRITE_DONE", "PASS_SENT", "READ_ACKED_LOW", "WRITE_ACKED_LOW", "READ_ACKED_HIGH",
           "WRITE_ACKED_HIGH", "NOTE_PROGRESS")


class GroupBench:
    """A sequencer with any tables and any commit status, and what it read of them."""

    def __init__(self, bench):
        m = bench.m
        g = self.geometry = PAIRS
        mutation = bench.fault if isinstance(bench.fault, Mutation) else None
        dut = self.dut = Sequencer(g, mutation=mutation)
        part = self.part = bench.add(dut, driven=["meta"])
        meta = dut.meta
        tables = self.tables = Tables(bench, meta, g)
        bench.held_until_taken(dut.status, "status_holds")
        bench.calm(meta.gnt == meta.req, "lock_is_free")

        self.set_ = part.tap("set_")
        self.known = {}                         # words of the set at hand, as they were read
        for word in (SetWord.DONE, SetWord.NEXT, SetWord.UNSENT, SetWord.FIRST, SetWord.EPOCH,
                     SetWord.SENT):
            kept = self.known[word] = Signal(16, name=f"read_{word.name.lower()}")
            with m.If(tables.reads["page"] & bench.past(self.at(word))):
                m.d.sync += kept.eq(meta.page_rdata)
        self.done, self.next = self.known[SetWord.DONE], self.known[SetWord.NEXT]
        self.in_flight = (self.next - 1 - self.done)[:16]

        # What the words have always been: groups out of bounds are never cut.
        read_next = tables.reads["page"] & bench.past(self.at(SetWord.NEXT))
        bench.assume(~read_next | ((meta.page_rdata - 1 - self.done)[:16] <= g.groups_in_flight),
                     "groups_in_flight_in_bounds")

        bench.assume(~(read_next & part.ongoing("WRITE_NEXT")) | (meta.page_rdata == self.next),
                     "words_stay_while_the_lock_is_held")
        read_sent = tables.reads["page"] & bench.past(self.at(SetWord.SENT))
        bench.assume(~read_sent | ((meta.page_rdata - self.done)[:16] <= g.groups_in_flight),
                     "sent_in_bounds")
        bench.assume(~(read_sent & part.ongoing("READ_ACKED_LOW"))
                     | (meta.page_rdata == self.known[SetWord.SENT]), "sent_stays_as_well")

        locked = ~part.ongoing(*UNLOCKED)
        bench.invariant(~locked | tables.held_before, "lock_is_held")
        bench.invariant(~locked | part.ongoing("READ_DONE") | (part.tap("done") == self.done),
                        "done_kept")
        early = part.ongoing("READ_DONE", "READ_SENT", "READ_NEXT")
        bench.invariant(~locked | early | ((part.tap("next_") == self.next[:len(part.tap("next_"))])
                                           & (self.in_flight <= g.groups_in_flight)), "next_kept")
        bench.prove(~tables.writes_unlocked, "writes_under_the_lock_only")
        bench.prove(~tables.writes["link"], "links_stay")

    def at(self, word):
        return self.dut.meta.page_addr == page(self.set_, word)

    def at_record(self, group, word):
        return self.dut.meta.page_addr == group_record(self.geometry, self.set_, group, word)


@proof(
    component="hdl.sequencer",
    claim="A cut takes the first tracks of the unsent list, each once, along the links, and sets "
          "packet pending on them and nothing else; head and count of the group's record, FIRST, "
          "UNSENT and NEXT then say exactly that, all within one hold of the lock. A group is "
          "whole chains, never more than the target has staging for, and never more than "
          "`groups_in_flight` are out.",
    rule="I3, I4, R16, R18, R28",
    method=Induction(4),
    sizes="2 sets, 2 groups in flight, 4 staging slots, chains of up to 3, any tables",
    faults={
        "packet pending is not set": Mutation.PACKET_NOT_SET,
        "the walk stays at one track": StuckAt("index"),
        "a group may end inside a chain": StuckAt("full", 1),
        "the count is one short": Forced("meta__page_wdata", 0, "RECORD_COUNT"),
        "staging is given twice": StuckAt("credit", 7),
    },
    fault_depth=36,
    cover_depth=36,
    seconds=6,
)
def sequencer_cut(bench):
    m = bench.m
    c = GroupBench(bench)
    g, dut, part, meta, tables = c.geometry, c.dut, c.part, c.dut.meta, c.tables
    writes = tables.writes
    unsent, first = c.known[SetWord.UNSENT], c.known[SetWord.FIRST][:g.track_index_bits]
    old, new = meta.state_rdata, meta.state_wdata

    tracks = Signal(8)                  # cut in this hold
    expected = Signal(g.track_index_bits)
    length = Signal(8)                  # of the chain being cut
    whole = Signal()
    reads_first = tables.reads["page"] & bench.past(c.at(SetWord.FIRST)) & (tracks == 0)
    with m.If(~meta.gnt):
        m.d.sync += [tracks.eq(0), length.eq(0)]
    with m.If(dut.group_track):
        m.d.sync += [tracks.eq(tracks + 1), expected.eq(meta.link_rdata.next),
                     length.eq(Mux(meta.link_rdata.end_of_chain, 0, length + 1)),
                     whole.eq(meta.link_rdata.end_of_chain | (tracks + 1 == unsent))]
    with m.Elif(reads_first):
        m.d.sync += expected.eq(meta.page_rdata)
    # The list: no chain is longer than the limit, the last track ends one.
    bench.assume(~dut.group_track | (length + 1 < g.chain_limit) | meta.link_rdata.end_of_chain
                 | (tracks + 1 == unsent), "chains_within_limit")

    bench.prove(~dut.group_track | writes["state"], "tracks_are_written")
    bench.prove(~dut.group_track | ((bench.past(meta.state_addr) == expected)
                                    & (meta.state_addr == expected)), "along_the_links")
    bench.prove(~dut.group_track | (bench.past(meta.link_addr) == expected), "its_own_link")
    same = (new.slot == old.slot) & (new.pending == old.pending) & (new.waiter == old.waiter)
    bench.prove(~dut.group_track | (new.packet & same), "sets_packet_pending_only")
    bench.prove(~dut.group_track | (tracks < unsent), "unsent_tracks_only")
    bench.prove(~dut.group_track | (dut.credit != 0), "staging_is_reserved")
    bench.prove(~bench.past(dut.group_track)
                | (dut.credit == (bench.past(dut.credit) - 1)[:len(dut.credit)]),
                "each_track_takes_credit")

    def written(word, value):
        return ~(writes["page"] & c.at(word) & (tracks != 0)) | (meta.page_wdata == value)

    bench.prove(written(SetWord.FIRST, expected), "first_moves_on")
    bench.prove(written(SetWord.UNSENT, (unsent - tracks)[:16]), "unsent_shrinks")
    bench.prove(written(SetWord.NEXT, (c.next + 1)[:16]), "next_grows")
    heads = writes["page"] & c.at_record(c.next, GROUP_HEAD)
    counts = writes["page"] & c.at_record(c.next, GROUP_COUNT)
    bench.prove(~heads | (meta.page_wdata == first), "head_is_the_first")
    bench.prove(~counts | (meta.page_wdata == tracks), "count_is_the_tracks")
    moves = {"head": heads, "count": counts}
    moves |= {word.name.lower(): writes["page"] & c.at(word)
              for word in (SetWord.FIRST, SetWord.UNSENT, SetWord.NEXT)}
    seen = []
    for name, move in moves.items():
        flag = Signal(name=f"wrote_{name}")
        with m.If(~meta.gnt):
            m.d.sync += flag.eq(0)
        with m.Elif(move):
            m.d.sync += flag.eq(1)
        seen.append(flag | move)
        bench.prove(~move | (tracks != 0), f"{name}_is_written_in_a_cut")
    bench.prove(~dut.group | Cat(seen).all(), "all_of_it_is_written")
    bench.prove(~dut.group | whole, "whole_chains")
    bench.prove(~dut.group | (c.in_flight < g.groups_in_flight), "not_too_many_groups")
    open_ = (tracks != 0) & ~bench.past(dut.group)
    bench.prove(~open_ | meta.gnt, "in_one_hold")

    walk, record = part.ongoing(*WALK), part.ongoing(*RECORD)
    room, count, index = part.tap("room"), part.tap("count"), part.tap("index")
    bench.invariant(walk | record | ((tracks == 0) & (length == 0)) | bench.past(dut.group),
                    "no_tracks_elsewhere")
    bench.invariant(~(walk | record) | ((index == expected) & (count == tracks)
                                        & (part.tap("head") == first)), "walk_is_followed")
    bench.invariant(~walk | ((part.tap("word") == (unsent - tracks)[:16]) & (tracks < unsent)
                             & (length < g.chain_limit)), "something_is_unsent")
    bench.invariant(~record | (part.tap("word") == (unsent - tracks)[:16]), "rest_is_counted")
    bench.invariant(~(walk | record | part.ongoing("READ_FIRST"))
                    | (c.in_flight < g.groups_in_flight), "another_group_fits")
    bench.invariant(~walk | ((room <= dut.credit) & (room + length >= g.chain_limit)
                             & (room != 0)), "room_for_the_chain")
    bench.invariant(~walk | (tracks + room <= 255), "count_fits_its_byte")
    bench.invariant(~part.ongoing("READ_FIRST")
                    | ((room <= dut.credit) & (room >= g.chain_limit) & (room <= g.group_limit)
                       & (count == 0) & (part.tap("word") == unsent) & (unsent != 0)
                       & (tracks == 0)), "walk_begins")
    bench.invariant(~record | (whole & (tracks != 0)), "record_of_whole_chains")
    for n, state in enumerate(RECORD[:-1]):
        later = part.ongoing(*RECORD[RECORD.index(state) + 1:])
        bench.invariant(~later | seen[n], f"wrote_{n}")
    bench.invariant((tracks == 0) | ~part.ongoing("CHOOSE_WORK") | bench.past(dut.group), "rests")
    bench.cover(dut.group & (tracks == 2), "two_tracks")


@proof(
    component="hdl.sequencer",
    claim="A group is cleared only by a commit status of the set's epoch, from a target that "
          "follows us, that names it or a later one of those that are out; the oldest first. "
          "Clearing visits COUNT tracks from HEAD along the links; each loses pending, packet and "
          "waiter in one write and nothing else, returns its credit, and reconnects its volume "
          "exactly if it was waited for. DONE then grows by one, all within one hold of the lock. "
          "SENT only ever goes back to DONE, or on with it.",
    rule="I3, I4, I9, R23, R28",
    method=Induction(4),
    sizes="2 sets, 2 groups in flight, any tables, any commit status",
    faults={
        "any group reconnects the volume": Mutation.RECONNECT_WRONG_GROUP,
        "any status of the epoch counts": StuckAt("in_flight", 0xFFFF),
        "the walk stays at one track": StuckAt("index"),
        "a track less is cleared": StuckAt("last", 1),
        "the lock is let go between tracks": Forced("meta__req", 0, "FETCH_TRACK_TO_CLEAR"),
    },
    fault_depth=30,
    cover_depth=36,
    seconds=6,
)
def sequencer_clear(bench):
    m = bench.m
    c = GroupBench(bench)
    g, dut, part, meta, tables = c.geometry, c.dut, c.part, c.dut.meta, c.tables
    writes = tables.writes
    state, wrote = meta.state_rdata, meta.state_wdata
    volume, wrote_volume = meta.volume_rdata, meta.volume_wdata
    oldest = (c.done + 1)[:16]
    status = Signal(dut.status.payload.shape())
    ours = Signal()
    with m.If(dut.status.valid & dut.status.ready):
        m.d.sync += [status.eq(dut.status.payload), ours.eq(dut.status.payload.life == dut.life)]
    follows = (status.flags & TargetFlag.FOLLOWING).any()

    clears = writes["state"] & ~dut.group_track
    cleared = Signal(8)                 # in this hold
    expected = Signal(g.track_index_bits)
    count = Signal(8)
    reads_head = tables.reads["page"] & bench.past(c.at_record(oldest, GROUP_HEAD))
    reads_count = tables.reads["page"] & bench.past(c.at_record(oldest, GROUP_COUNT))
    # What the cut has recorded: at least a track, and a byte's worth of them.
    bench.assume(~reads_count | ((meta.page_rdata != 0) & (meta.page_rdata < 256)),
                 "recorded_count_in_bounds")
    with m.If(~meta.gnt):
        m.d.sync += cleared.eq(0)
    with m.Elif(clears):
        m.d.sync += [cleared.eq(cleared + 1), expected.eq(meta.link_rdata.next)]
    with m.Elif(reads_head & (cleared == 0)):
        m.d.sync += expected.eq(meta.page_rdata)
    with m.If(reads_count & (cleared == 0)):
        m.d.sync += count.eq(meta.page_rdata)

    ahead = (status.gseq - c.done)[:16]
    same_epoch = c.known[SetWord.EPOCH][:8] == status.epoch
    bench.prove(~clears | (same_epoch & (status.set == c.set_)), "status_of_this_set_and_epoch")
    bench.prove(~clears | (ours & follows), "status_of_who_follows_us")
    bench.prove(~clears | ((ahead != 0) & (ahead <= c.in_flight)), "names_a_group_that_is_out")
    bench.prove(~clears | (cleared < count), "as_many_as_the_group_has")
    bench.prove(~clears | ((bench.past(meta.state_addr) == expected)
                           & (meta.state_addr == expected)
                           & (bench.past(meta.link_addr) == expected)), "along_the_links")
    bench.prove(~clears | (~wrote.pending & ~wrote.packet & ~wrote.waiter
                           & (wrote.slot == state.slot)), "flags_fall_together")
    bench.prove(~clears | (dut.reconnect == state.waiter), "reconnects_who_was_waited_for")
    bench.prove(~dut.reconnect | clears, "reconnects_nobody_else")
    bench.prove(writes["volume"] == dut.reconnect, "a_reconnect_is_a_write")
    same_volume = (bench.past(meta.volume_addr) == meta.volume_addr) & (
        meta.volume_addr == expected[g.track_bits:])
    bench.prove(~dut.reconnect | (same_volume & ~wrote_volume.disconnected
                                  & (wrote_volume.set == volume.set)
                                  & (dut.reconnect_index == expected)), "volume_is_connected")
    bench.prove(~bench.past(clears)
                | (dut.credit == (bench.past(dut.credit) + 1)[:len(dut.credit)]),
                "credit_returns")
    writes_done = writes["page"] & c.at(SetWord.DONE)
    bench.prove(~writes_done | ((meta.page_wdata == oldest) & (cleared == count)),
                "done_grows_when_all_are_cleared")
    bench.prove((cleared == 0) | meta.gnt | bench.past(dut.group_done), "in_one_hold")
    finished = Signal()
    with m.If(~meta.gnt):
        m.d.sync += finished.eq(0)
    with m.Elif(writes_done):
        m.d.sync += finished.eq(1)
    bench.prove(~dut.group_done | finished, "done_is_written")
    writes_sent = writes["page"] & c.at(SetWord.SENT)
    sent = c.known[SetWord.SENT]
    bench.prove(~writes_sent | (meta.page_wdata == c.done)
                | (finished & (sent == c.done) & (meta.page_wdata == oldest)), "sent_follows_done")

    clearing, after = part.ongoing(*CLEAR), part.ongoing(*CLEARED)
    found = part.ongoing("FIND_GROUP", "READ_HEAD", "READ_COUNT")
    left, index = part.tap("count"), part.tap("index")
    applies = (same_epoch & (status.set == c.set_) & ours & follows
               & (ahead != 0) & (ahead <= c.in_flight))
    is_status = part.tap("task") == Task.STATUS.value
    bench.invariant(~(found | clearing | after) | applies, "status_applies")
    kept = ((status.set == c.set_) & (part.tap("not_epoch") == ~status.epoch)
            & (part.tap("gseq") == status.gseq) & (part.tap("ours") == ours)
            & (part.tap("flags") == status.flags[:4]))
    bench.invariant(part.ongoing("CHOOSE_WORK", "CHOOSE_TASK") | ~is_status | kept, "status_kept")
    bench.invariant(~(found | clearing | after | part.ongoing("LET_GO")) | is_status,
                    "clears_for_status_only")
    early = part.ongoing(*UNLOCKED, "READ_DONE", "READ_SENT")
    bench.invariant(early | ((part.tap("sent") == sent[:len(part.tap("sent"))])
                             & ((sent - c.done)[:16] <= g.groups_in_flight)), "sent_kept")
    bench.invariant(early | part.ongoing("READ_NEXT", "READ_WORD") | ~is_status
                    | ~part.ongoing("JUDGE") | (part.tap("word") == c.known[SetWord.EPOCH]),
                    "epoch_read")
    bench.invariant(~clearing | ((index == expected) & (left + cleared == count)
                                 & (cleared < count)), "walk_is_followed")
    bench.invariant(~part.ongoing("READ_COUNT") | (index == expected), "walk_begins")
    bench.invariant(~after | (cleared == count), "all_are_cleared")
    bench.invariant(clearing | after | part.ongoing("LET_GO") | (cleared == 0), "none_elsewhere")
    bench.invariant(~part.ongoing(*CLEARED[1:]) | finished, "finished_after_done")
    bench.invariant(finished == (finished & (after | part.ongoing("LET_GO"))), "finished_in_time")
    bench.cover(dut.group_done & (count == 2), "group_of_two_cleared")
    bench.cover(dut.reconnect, "reconnects")
