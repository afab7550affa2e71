"""The dispatcher: what goes to the links, and when a group counts as sent."""

from amaranth import *
from amaranth.lib import data

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, SetWord, Type
from hdl.dispatcher import Dispatcher
from hdl.interfaces import PayloadKind, header
from hdl.metadata import group_record, page

from ..bench import StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS
from ..tables import Tables

GROUP = ("READ_NEXT", "READ_EPOCH", "READ_HEAD", "READ_COUNT")
FRAME = ("LOCK_TRACK", "READ_TRACK", "OFFER_FRAME")


@proof(
    component="hdl.dispatcher",
    claim="A track is handed over only as part of the group after SENT, one that has been cut "
          "(SENT + 1 is not NEXT) and was neither acknowledged nor rewound when the track was "
          "looked at; each once, from HEAD along the links, with the slot that holds it. The "
          "order packet follows when all have gone; then, and if the group still is the next, "
          "SENT moves on by one. Nothing else is written. A frame goes to one link, and one that "
          "is up.",
    rule="I3, I5, R11, R13, R15, R16",
    method=Induction(4),
    sizes="2 sets, 2 links, any tables",
    faults={
        "the group is not looked at again": StuckAt("alive", 1),
        "the order packet does not wait for the tracks": StuckAt("left"),
        "every track is the first": StuckAt("following"),
        "the group after next is sent": StuckAt("gseq", 7),
    },
    fault_depth=30,
    cover_depth=40,
    seconds=4,
)
def dispatcher_sends_what_was_cut(bench):
    m = bench.m
    g = PAIRS.replace(links=2)
    dut = Dispatcher(g)
    part = bench.add(dut, driven=["meta"])
    meta = dut.meta
    tables = Tables(bench, meta, g)
    bench.held_until_taken(dut.control, "control_holds")
    kind = dut.control.payload.type
    bench.assume((kind != Type.DATA) & (kind != Type.ORDER), "liaison_sends_no_groups")
    bench.assume(dut.notice.set < g.sets, "notice_names_a_set")
    bench.calm((meta.gnt == meta.req) & dut.up.all() & dut.room.all() & ~dut.control.valid
               & dut.running.all(), "nothing_waits")
    set_ = part.tap("set_")
    frame = dut.submit[0].payload
    takes = Cat(submit.valid & submit.ready for submit in dut.submit)
    handed = takes.any()
    tracks = handed & (frame.type == Type.DATA)
    orders = handed & (frame.type == Type.ORDER)

    # Ghost: the group at hand, as it was read.
    def read(address, *states):
        return (tables.reads["page"] & bench.past(meta.page_addr == address)
                & part.ongoing(*states))

    gseq, next_, epoch = Signal(16), Signal(16), Signal(8)
    count, sent = Signal(8), Signal(8)
    index, following = Signal(g.track_index_bits), Signal(g.track_index_bits)
    slot = Signal.like(part.tap("slot", domain="sync"))
    ordered, rewound, seen = Signal(), Signal(), Signal()
    bench.assume(~read(group_record(g, set_, gseq, GROUP_COUNT), "READ_COUNT")
                 | (meta.page_rdata < 256), "count_is_a_byte")
    sent_read = read(page(set_, SetWord.SENT), "READ_SENT")
    next_read = read(page(set_, SetWord.NEXT), "READ_NEXT")
    epoch_read = read(page(set_, SetWord.EPOCH), "READ_EPOCH")
    head_read = read(group_record(g, set_, gseq, GROUP_HEAD), "READ_HEAD")
    count_read = read(group_record(g, set_, gseq, GROUP_COUNT), "READ_COUNT")
    track_read = (tables.reads["state"] & tables.reads["link"] & part.ongoing("READ_TRACK")
                  & bench.past((meta.state_addr == index) & (meta.link_addr == index)))
    still_next = (meta.page_rdata + 1)[:16] == gseq
    looked_again = read(page(set_, SetWord.SENT), "READ_TRACK")
    with m.If(sent_read):
        m.d.sync += [gseq.eq(meta.page_rdata + 1), sent.eq(0), ordered.eq(0)]
    with m.If(next_read):
        m.d.sync += next_.eq(meta.page_rdata)
    with m.If(epoch_read):
        m.d.sync += epoch.eq(meta.page_rdata)
    with m.If(head_read):
        m.d.sync += index.eq(meta.page_rdata)
    with m.If(count_read):
        m.d.sync += count.eq(meta.page_rdata)
    with m.If(track_read):
        m.d.sync += [following.eq(meta.link_rdata.next), slot.eq(meta.state_rdata.slot)]
    with m.If(looked_again):
        m.d.sync += seen.eq(still_next & ~rewound)
    with m.If(bench.past(tracks)):
        m.d.sync += [sent.eq(sent + 1), index.eq(following)]
    with m.If(bench.past(orders)):
        m.d.sync += ordered.eq(1)
    with m.If(dut.notice.valid & dut.notice.rewound & (dut.notice.set == set_)):
        m.d.sync += rewound.eq(1)
    with m.Elif(part.ongoing("AWAIT_WORK", "LOCK_SET")):
        m.d.sync += rewound.eq(0)

    bench.prove(~(takes[0] & takes[1]), "one_link_a_frame")
    bench.prove(~handed | ~bench.past(handed), "counted_before_the_next")
    for n, submit in enumerate(dut.submit):
        bench.prove(~submit.valid | dut.up[n], f"link_{n}_is_up")
    says = data.View(header(Type.DATA), frame.header)
    packet = data.View(header(Type.ORDER), frame.header)
    of_group = (says.set == set_) & (says.gseq == gseq) & (says.epoch == epoch) & (gseq != next_)
    bench.prove(~(tracks | orders) | (of_group & seen), "of_the_group_that_is_next")
    bench.prove(~tracks | ((sent < count) & (frame.kind == PayloadKind.SLOT)
                           & (frame.arg == slot)), "its_slot")
    bench.prove(~tracks | (Cat(says.track, says.volume)
                           == Cat(index[:g.track_bits], C(0, 16 - g.track_bits),
                                  index[g.track_bits:])), "its_track")
    bench.prove(~orders | ((sent == count) & ~ordered & (packet.count == count)
                           & (frame.kind == PayloadKind.ORDER)
                           & (frame.arg == Cat(gseq, set_))), "packet_after_all_tracks")
    bench.prove(dut.dispatched == bench.past(tracks), "dispatched_counts_tracks")
    writes = tables.writes["page"]
    bench.prove(~tables.writes_unlocked, "writes_under_the_lock_only")
    bench.prove(~writes | ((meta.page_addr == page(set_, SetWord.SENT))
                           & (meta.page_wdata == gseq) & ordered & still_next & ~rewound
                           & read(page(set_, SetWord.SENT), "MOVE_ON")), "sent_moves_on_by_one")
    bench.prove(~(tables.writes["state"] | tables.writes["link"] | tables.writes["volume"]),
                "writes_nothing_else")

    control = part.tap("control", domain="sync")
    group = part.ongoing(*GROUP)
    at_group = ((part.ongoing("AWAIT_LINK", *FRAME) & ~control)
                | part.ongoing("LOCK_TO_MOVE_ON", "MOVE_ON"))
    bench.invariant(~(group | at_group) | (part.tap("gseq") == gseq), "group_kept")
    bench.invariant(~(group | at_group) | (part.tap("before") == (gseq - 1)[:16]),
                    "follows_the_one_sent_before")
    bench.invariant(part.ongoing("AWAIT_WORK", "AWAIT_LINK", "OFFER_FRAME") | ~control,
                    "no_control_frame")
    known = part.ongoing("READ_EPOCH", "READ_HEAD", "READ_COUNT") | at_group
    bench.invariant(~known | (gseq != next_), "group_was_cut")
    bench.invariant(~(part.ongoing("READ_HEAD", "READ_COUNT") | at_group)
                    | (part.tap("epoch") == epoch), "epoch_kept")
    bench.invariant(~group | ((sent == 0) & ~ordered), "group_begins")
    bench.invariant(~(part.ongoing("READ_COUNT") | (at_group & (sent < count)))
                    | (part.tap("index") == index), "index_kept")
    left = part.tap("left")
    bench.invariant(~at_group | ((left + sent == count) & (part.tap("count") == count)),
                    "tracks_counted")
    bench.invariant(~(part.ongoing("AWAIT_LINK", *FRAME) & ~control) | ~ordered, "not_ordered_yet")
    bench.invariant(~part.ongoing("LOCK_TO_MOVE_ON", "MOVE_ON") | (ordered & (sent == count)),
                    "all_handed_over")
    offers = part.ongoing("OFFER_FRAME") & ~control
    bench.invariant(~offers | seen, "looked_at_again")
    bench.invariant(~offers | (left == 0) | ((part.tap("slot", domain="sync") == slot)
                                             & (part.tap("following") == following)), "track_kept")
    locked = part.ongoing("READ_SENT", *GROUP, "READ_TRACK", "MOVE_ON")
    bench.invariant(~locked | tables.held_before, "lock_is_held")
    bench.invariant(~(group | at_group | part.ongoing("READ_SENT"))
                    | (part.tap("restart") == rewound), "rewind_kept")
    bench.cover(writes & (count == 2), "group_of_two_sent")
