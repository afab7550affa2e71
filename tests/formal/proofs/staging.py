"""Staging at the target: what is taken in, and that nothing visible changes by it."""

from amaranth import *
from amaranth.lib import data

from firmware_model.wire import (
    GROUP_COUNT,
    GROUP_HEAD,
    GROUP_RECEIVED,
    SetWord,
    TargetFlag,
    Type,
)
from hdl.interfaces import header
from hdl.metadata import group_record, page
from hdl.receiver import Receiver

from ..bench import Forced, StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS
from ..tables import Tables

CHECK = ("LOCK_SET", "CHECK_EPOCH", "CHECK_FOLLOWING", "MEASURE_AHEAD", "CHECK_WINDOW",
         "CHECK_REPEATED")
READ = ("FETCH_ENTRY", "LOOK_AT_ENTRY", "CHECK_ENTRY", "THREAD_ENTRY")


@proof(
    component="hdl.receiver",
    claim="Data is staged only if its epoch is the set's, the source is followed, its group is in "
          "the window and incomplete, and the track is not staged yet; staging and RECEIVED "
          "change in one clock. An order packet counts only for such a group without COUNT; each "
          "link joins one entry to the next, HEAD is the first entry, COUNT the number. The "
          "visible slot of a track never changes here, and every slot taken from a line is either "
          "staged or given back, once.",
    rule="I1, I6, I7, R14: duplicates and stale frames have no effect",
    method=Induction(4),
    sizes="2 sets, 2 groups in flight, any tables, any frames",
    faults={
        "every frame passes for one of epoch 0": StuckAt("epoch"),
        "a complete group takes more": StuckAt("group_count"),
        "entries are all joined to the first": StuckAt("previous"),
        "a dropped frame keeps its slot": Forced("free__valid", 0, "RETURN_SLOT"),
        "a group far ahead is taken": StuckAt("ahead", 1),
    },
    fault_depth=30,
    cover_depth=24,
    seconds=8,
    quick=False,
)
def receiver_stages_once(bench):
    m = bench.m
    g = PAIRS
    dut = Receiver(g)
    part = bench.add(dut, driven=["meta"])
    meta = dut.meta
    tables = Tables(bench, meta, g)
    writes = tables.writes
    event = dut.events[0]
    bench.held_until_taken(event, "event_holds")
    bench.assume(~dut.memory.ack | dut.memory.req, "memory_answers_requests")

    bench.calm((meta.gnt == meta.req) & (dut.memory.ack == dut.memory.req) & dut.free.ready,
               "nothing_waits")

    # Ghost: the frame whose slot was taken.
    took = dut.take[0]
    frame = Signal(header(Type.DATA))
    order = data.View(header(Type.ORDER), frame.as_value())
    is_order = Signal()
    slot = Signal.like(dut.slot[0])
    ours = Signal()                         # the slot is neither staged nor given back
    freed = dut.free.valid & dut.free.ready
    staged = writes["state"]
    with m.If(took):
        m.d.sync += [frame.eq(event.payload.header), is_order.eq(event.payload.type == Type.ORDER),
                     slot.eq(dut.slot[0]), ours.eq(1)]
    with m.Elif(freed | staged):
        m.d.sync += ours.eq(0)
    set_ = part.tap("set_")

    def read(address):
        return tables.reads["page"] & bench.past(meta.page_addr == address)

    known = {}
    for name, address in {
            "epoch": page(set_, SetWord.EPOCH), "flags": page(set_, SetWord.FLAGS),
            "done": page(set_, SetWord.DONE),
            "count": group_record(g, set_, frame.gseq, GROUP_COUNT)}.items():
        kept = known[name] = Signal(16, name=f"read_{name}")
        fresh = read(address)
        with m.If(fresh & part.ongoing(*CHECK)):
            m.d.sync += kept.eq(meta.page_rdata)
    bench.assume(~read(group_record(g, set_, frame.gseq, GROUP_COUNT))
                 | (meta.page_rdata < 256), "count_is_a_byte")
    ahead = (frame.gseq - known["done"])[:16]
    fits = ((known["epoch"] == frame.epoch) & (known["flags"] & TargetFlag.FOLLOWING).any()
            & (ahead != 0) & (ahead <= g.groups_in_flight) & (frame.set == set_)
            & (frame.set < g.sets))

    state, wrote = meta.state_rdata, meta.state_wdata
    received = group_record(g, set_, frame.gseq, GROUP_RECEIVED)
    head = group_record(g, set_, frame.gseq, GROUP_HEAD)
    count = group_record(g, set_, frame.gseq, GROUP_COUNT)
    bench.prove(~tables.writes_unlocked, "writes_under_the_lock_only")
    bench.prove(~(writes["state"] | writes["link"] | writes["page"]) | fits, "fits_the_window")
    bench.prove(~staged | (~state.staged & wrote.staged & (wrote.staged_slot == slot)
                           & (wrote.slot == state.slot) & ours), "stages_once")
    track = Cat(frame.track[:g.track_bits], frame.volume[:g.volume_bits])
    bench.prove(~staged | (~is_order & (meta.state_addr == track)
                           & (bench.past(meta.state_addr) == track)
                           & (frame.volume < g.volumes)
                           & (frame.track < g.tracks_per_volume)), "the_track_it_says")
    counts = writes["page"] & (meta.page_addr == received)
    bench.prove(staged == counts, "received_grows_with_it")
    bench.prove(~counts | (meta.page_wdata == (meta.page_rdata + 1)[:16]), "received_by_one")
    bench.prove(~counts | (known["count"] == 0) | (meta.page_rdata != known["count"]),
                "incomplete_groups_only")

    heads = writes["page"] & (meta.page_addr == head)
    completes = writes["page"] & (meta.page_addr == count)
    bench.prove(~writes["page"] | counts | heads | completes, "no_other_word")
    bench.prove(~(heads | completes | writes["link"])
                | (is_order & (known["count"] == 0)), "order_counts_once")
    bench.prove(~completes | (meta.page_wdata == order.count), "count_as_sent")
    bench.prove(~writes["volume"], "volumes_untouched")
    # Entries as they are threaded: each is read whole before it is used.
    entries = Signal(8)
    first, previous, ended = (Signal(g.track_index_bits), Signal(g.track_index_bits), Signal())
    index = part.tap("index")
    threads = part.ongoing("THREAD_ENTRY") & ((entries == 0) | meta.gnt)
    with m.If(took):
        m.d.sync += entries.eq(0)
    with m.Elif(threads):
        m.d.sync += [entries.eq(entries + 1), previous.eq(index),
                     ended.eq(part.tap("volume")[7])]
        with m.If(entries == 0):
            m.d.sync += first.eq(index)
    bench.prove(writes["link"] == (threads & (entries != 0)), "a_link_an_entry")
    bench.prove(~writes["link"] | ((meta.link_addr == previous) & (meta.link_wdata.next == index)
                                   & (meta.link_wdata.end_of_chain == ended)), "links_join_entries")
    bench.prove(~heads | ((meta.page_wdata == first) & (entries == order.count)), "head_is_first")
    bench.prove(~completes | (entries == order.count), "all_entries_threaded")

    bench.prove(~freed | (ours & (dut.free.payload == slot)), "gives_back_what_it_took")
    bench.prove(~took | ~ours, "one_slot_at_a_time")
    lingers = bench.waiting(dut.free.ready & part.ongoing("RETURN_SLOT"), 3)
    bench.prove(lingers <= 1, "gives_it_back_at_once")

    # What holds in the states.
    picks = part.ongoing("PICK_FRAME")
    bench.invariant(picks == ~ours, "slot_at_hand")
    # What is known of a frame when it has been seen, and of its track a clock later.
    offered = data.View(header(Type.DATA), event.payload.header)
    ordered = data.View(header(Type.ORDER), event.payload.header)
    seen = part.tap("seen")
    has_track = ((part.tap("volume")[:7] < g.volumes)
                 & (part.tap("is_order") | ~part.tap("volume")[7])
                 & (part.tap("track") < g.tracks_per_volume))
    bench.invariant(~seen | (picks & event.valid), "sees_what_is_there")
    bench.invariant(~seen | ((part.tap("is_order") == (event.payload.type == Type.ORDER))
                             & (part.tap("volume") == offered.volume)
                             & (part.tap("track") == offered.track)), "sees_the_track")
    bench.invariant(~(seen & part.tap("sound"))
                    | ((offered.set < g.sets)
                       & ((event.payload.type != Type.ORDER) | (ordered.count != 0))), "is_sound")
    bench.invariant(~part.ongoing("LOCK_SET") | (part.tap("exists") == has_track), "track_judged")
    bench.invariant(picks | ((part.tap("slot", domain="sync") == slot)
                             & (part.tap("is_order") == is_order)
                             & (set_ == frame.set) & (frame.set < g.sets)
                             & (part.tap("epoch") == frame.epoch)
                             & (part.tap("gseq") == frame.gseq)), "frame_at_hand")
    checks = part.ongoing(*CHECK)
    reads = part.ongoing(*READ)
    bench.invariant(~checks | is_order | ((part.tap("volume") == frame.volume)
                                          & (part.tap("track") == frame.track)), "track_at_hand")
    bench.invariant(~part.ongoing(*CHECK[1:]) | tables.held_before, "checked_under_the_lock")
    bench.invariant(~part.ongoing(*CHECK[1:]) | is_order
                    | ((frame.volume < g.volumes) & (frame.track < g.tracks_per_volume)),
                    "track_exists")
    later = part.ongoing("CHECK_REPEATED", *READ, "SET_HEAD", "SET_COUNT")
    bench.invariant(~part.ongoing(*CHECK[2:]) | (known["epoch"] == frame.epoch), "epoch_fits")
    bench.invariant(~part.ongoing(*CHECK[3:])
                    | (known["flags"] & TargetFlag.FOLLOWING).any(), "follows")
    bench.invariant(~part.ongoing("CHECK_WINDOW", "CHECK_REPEATED")
                    | (part.tap("ahead") == ahead), "window_measured")
    bench.invariant(~later | fits, "window_fits")
    bench.invariant(~part.ongoing("CHECK_REPEATED")
                    | (part.tap("group_count") == known["count"]), "count_read")
    threading = part.tap("threading")
    ordering = part.ongoing(*READ, "SET_HEAD", "SET_COUNT")
    left = part.tap("left")
    bench.invariant(~ordering | (is_order & (known["count"] == 0)
                                 & (part.tap("count") == order.count)), "order_at_hand")
    bench.invariant(picks | ~is_order | ((part.tap("count") == order.count)
                                         & (order.count != 0)), "count_at_hand")
    bench.invariant(~(reads & threading) | ((left + entries == order.count) & (left != 0)),
                    "rest_is_counted")
    bench.invariant(~(reads & ~threading) | ((entries == 0) & (left != 0)), "first_pass")
    bench.invariant(~part.ongoing("CHECK_REPEATED")
                    | ((left == part.tap("count")) & part.tap("first") & ~threading),
                    "rewound")
    bench.invariant(picks | ~checks | ~threading, "not_threading_yet")
    bench.invariant(~checks | (entries == 0), "no_entries_yet")
    bench.invariant(~part.ongoing("THREAD_ENTRY") | threading, "threads_in_second_pass")
    bench.invariant(~part.ongoing("LOOK_AT_ENTRY", "CHECK_ENTRY") | ~threading,
                    "checks_in_first_pass")
    bench.invariant(~reads | (part.tap("first") == (entries == 0)), "first_entry")
    bench.invariant((entries == 0) | ~ordering
                    | ((part.tap("previous") == previous) & (part.tap("head") == first)
                       & (part.tap("previous_ends") == ended)), "previous_entry")
    bench.invariant(~part.ongoing("SET_HEAD", "SET_COUNT") | (entries == order.count),
                    "all_threaded")
    bench.invariant(~part.ongoing("SET_COUNT") | tables.held_before, "count_under_the_lock")
    bench.cover(staged, "staged")
    bench.cover(freed & bench.ever(counts), "given_back")
