"""The commit engine at the target: order and atomicity."""

from amaranth import *

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, GROUP_RECEIVED, SetWord
from hdl.commit import CommitEngine
from hdl.metadata import group_record, page
from hdl.mutations import Mutation

from ..bench import Forced, StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS
from ..tables import Tables


@proof(
    component="hdl.commit",
    claim="A set's groups commit in sequence order, one after the other, and only when COUNT is "
          "not 0 and RECEIVED equals it. Exactly COUNT tracks are swapped, from HEAD along the "
          "links. Within a chain the lock is never let go, so readers see all of it or nothing. "
          "Each swap makes the staged slot visible and frees the old one, or does nothing for a "
          "track that is not staged. While held, nothing is locked. This is about cold starts; "
          "resets that interrupt a commit are tried in tests/hdl/test_targetcore.py.",
    rule="I6, I7, R14, R19, R21",
    method=Induction(5),
    sizes="2 sets, 2 groups in flight, any tables",
    faults={
        "any complete group commits": Mutation.SEQUENCE_NOT_CHECKED,
        "the walk stays at one track": StuckAt("cursor"),
        "the lock is let go between tracks": Forced("meta__req", 0, "READ_TRACK"),
        "a track more is swapped": StuckAt("count", 3),
    },
    fault_depth=30,
    cover_depth=64,
    seconds=10,
)
def commit_order(bench):
    m = bench.m
    g = PAIRS
    mutation = bench.fault if isinstance(bench.fault, Mutation) else None
    dut = CommitEngine(g, mutation=mutation)
    part = bench.add(dut, driven=["meta", "finish"])       # cold start
    meta = dut.meta
    tables = Tables(bench, meta, g)
    swaps = Signal(8)                   # of the group that is committing
    # A set's DONE is moved by others (BEGIN, RESYNC) between groups, not within one.
    done = tables.remember(SetWord.DONE, name="done", others=swaps == 0)
    set_, group = part.tap("set_"), part.tap("group")
    following = Signal(16)              # the group whose turn it is in the set at hand
    m.d.comb += following.eq(Mux(set_, done[1], done[0]) + 1)

    # Ghost: what the component has read, from the port alone.
    def read(word):
        record = group_record(g, set_, following, word)
        return tables.reads["page"] & bench.past(meta.page_addr == record)

    count, received, head = Signal(16), Signal(16), Signal(g.track_index_bits)
    expected = Signal(g.track_index_bits)
    in_chain = Signal()
    with m.If(read(GROUP_COUNT)):
        m.d.sync += count.eq(meta.page_rdata)
    with m.If(read(GROUP_RECEIVED)):
        m.d.sync += received.eq(meta.page_rdata)
    with m.If(read(GROUP_HEAD) & (swaps == 0)):
        m.d.sync += [head.eq(meta.page_rdata), expected.eq(meta.page_rdata)]
    with m.If(dut.track):
        m.d.sync += [swaps.eq(swaps + 1), in_chain.eq(1), expected.eq(meta.link_rdata.next)]
    with m.If(dut.chain):
        m.d.sync += in_chain.eq(0)
    with m.If(dut.group):
        m.d.sync += swaps.eq(0)
    bench.assume(~(tables.reads["page"] & bench.past(meta.page_addr == page(set_, SetWord.UNSENT)))
                 | (meta.page_rdata == 0), "no_part_is_visible")
    # An order packet's count fits its byte.
    bench.assume(~read(GROUP_COUNT) | (meta.page_rdata < 256), "count_is_a_byte")

    bench.prove(~tables.writes_unlocked, "writes_under_the_lock_only")
    writes_done = tables.writes["page"] & (meta.page_addr == page(set_, SetWord.DONE))
    bench.prove(writes_done == dut.group, "done_grows_with_a_group")
    bench.prove(~dut.group | (meta.page_wdata == following), "groups_in_sequence")
    bench.prove(~dut.group | ((swaps == count) & ~in_chain), "all_tracks_in_whole_chains")
    bench.prove(~dut.track | ((received == count) & (swaps < count)), "complete_groups_only")
    bench.prove(~dut.track | (bench.past(meta.state_addr) == expected), "along_the_links")
    bench.prove(~dut.track | (bench.past(meta.link_addr) == expected), "links_of_the_same_track")
    bench.prove(~in_chain | meta.gnt, "a_chain_in_one_hold")
    ends = meta.link_rdata.end_of_chain | (swaps + 1 == count)
    closing = Signal()
    with m.If(dut.track):
        m.d.sync += closing.eq(ends)
    bench.prove(~(in_chain & closing & dut.track), "chains_end_where_the_list_says")
    bench.prove(~dut.chain | closing, "chains_end_nowhere_else")

    old, new = meta.state_rdata, meta.state_wdata
    frees = dut.free.valid & dut.free.ready
    bench.prove(tables.writes["state"] == frees, "swap_and_free_together")
    bench.prove(~frees | (dut.track & old.staged & (dut.free.payload == old.slot)
                          & (new.slot == old.staged_slot) & ~new.staged), "staged_becomes_visible")
    bench.prove(~dut.track | frees | ~old.staged, "staged_tracks_are_swapped")
    bench.prove(~tables.writes["link"] & ~tables.writes["volume"], "lists_and_volumes_untouched")
    bench.prove(~dut.held | ~meta.req, "nothing_while_held")

    # The states in which a group is being looked at or committed, and what holds in them.
    left = part.tap("count")
    recording = part.ongoing("READ_PART", "BEGIN_CHAIN", "RECORD_CHAINS_LOW", "READ_HIGH",
                             "RECORD_CHAINS_HIGH", "RECORD_PLACE", "RECORD_GROUP", "RECORD_CHAIN")
    walking = recording | part.ongoing("READ_TRACK", "SWAP_SLOTS", "NEXT_TRACK")
    ended = part.ongoing("CLEAR_RECORD", "END_CHAIN") & (left == 0)     # DONE has grown
    ending = ~ended & part.ongoing("READ_CHAINS", "COUNT_CHAIN", "READ_CHAINS_HIGH",
                                   "CARRY_CHAINS", "WRITE_PART", "CLEAR_RECORD", "END_CHAIN")
    closing_group = part.ongoing("CLEAR_COUNT", "CLEAR_RECEIVED", "SET_DONE")
    between = part.ongoing("LOCK_CHAIN")
    committing = walking | ending | closing_group | between
    bench.invariant(~recording | ~in_chain, "recorded_before_the_first_swap")
    bench.invariant(~committing | part.ongoing("READ_PART") | (part.tap("repeats") == 0),
                    "every_chain_counts")
    bench.invariant(~part.ongoing("READ_PART") | bench.past(meta.page_addr == page(
        set_, SetWord.UNSENT)), "part_is_read")
    bench.prove(~(part.ongoing("LOCK_RECORD", "READ_RECORD", "READ_PLACE", "READ_GROUP",
                               "NEXT_RECORD", "REPORT_FINISHED")), "nothing_to_finish")
    looking = part.ongoing("READ_COUNT", "READ_RECEIVED", "CHECK_COMPLETE", "READ_HEAD")
    bench.invariant(~(looking | committing) | (group == following), "group_is_the_next")
    bench.invariant(~committing | ((received == count) & (count < 256)), "group_is_complete")
    bench.invariant(~committing | (left + swaps == count), "rest_is_counted")
    bench.invariant(~(walking | between) | (left != 0), "something_is_left")
    bench.invariant(~closing_group | (left == 0), "nothing_is_left")
    bench.invariant(committing | (swaps == 0), "no_swaps_elsewhere")
    bench.invariant(~(ending | closing_group | between) | (swaps != 0), "some_are_swapped")
    bench.invariant(~in_chain | walking | part.ongoing("READ_CHAINS", "COUNT_CHAIN"), "chain_open")
    bench.invariant(~part.ongoing("READ_CHAINS", "COUNT_CHAIN") | in_chain, "chain_to_be_counted")
    bench.invariant(~(in_chain & walking) | ~closing, "chain_goes_on")
    bench.invariant(~(ending & in_chain) | closing, "chain_is_closed")
    bench.invariant(~(looking | walking | ending | closing_group
                      | part.ongoing("CLEAR_RECORD"))
                    | part.ongoing("CHOOSE_GROUP") | tables.held_before, "lock_is_held")
    bench.invariant(~(walking | between | ending) | (part.tap("cursor") == expected),
                    "cursor_is_expected")
    bench.cover(dut.group & (count == 2), "group_of_two")
    bench.cover(dut.group & (following == 2), "second_group")
