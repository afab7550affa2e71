"""Payloads to the target: the order packet says what the list says, data is what the slot holds."""

from amaranth import *

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD
from hdl.interfaces import PayloadKind
from hdl.metadata import group_record
from hdl.orderwalker import OrderWalker

from ..bench import Forced, StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS
from ..tables import Tables


@proof(
    component="hdl.orderwalker",
    claim="An order packet has COUNT entries (at least one) of three bytes: HEAD first, then along "
          "the links, END_OF_CHAIN where the list ends a chain and on the last. A data frame has "
          "the bytes of its slot, each once, in order, as memory holds them when they are asked "
          "for. The last byte and no other says that it is the last. Nothing is ever written.",
    rule="I1, I6, R12, R14",
    method=Induction(4),
    sizes="2 volumes of 2 tracks, 16 bytes a track, any tables",
    faults={
        "every entry is the first": StuckAt("following"),
        "the last entry may leave a chain open": Forced("last", 0, "READ_LINK"),
        "the packet ends an entry late": Forced("last", 0, "SEND_TRACK_HIGH"),
        "a byte of the slot is sent over and over": StuckAt("offset"),
    },
    fault_depth=30,
    cover_depth=40,
    seconds=6,
)
def order_packet_is_the_list(bench):
    m = bench.m
    g = PAIRS
    dut = OrderWalker(g)
    part = bench.add(dut, driven=["meta"])
    meta, memory, payload = dut.meta, dut.memory, dut.payload
    tables = Tables(bench, meta, g)
    out = payload.bytes
    taken = out.valid & out.ready
    busy = Signal()
    with m.If(payload.start):
        m.d.sync += busy.eq(1)
    with m.Elif(taken & out.payload.last):
        m.d.sync += busy.eq(0)
    bench.assume(~(payload.start & busy), "one_frame_at_a_time")
    asked = Cat(payload.kind.as_value(), payload.arg)
    bench.assume(~busy | (asked == bench.past(asked)), "request_stays")
    bench.assume((payload.kind == PayloadKind.SLOT) | (payload.kind == PayloadKind.ORDER), "kinds")
    bench.assume(~memory.ack | memory.req, "memory_answers_requests")
    bench.calm((meta.gnt == meta.req) & (memory.ack == memory.req) & out.ready, "nothing_waits")
    is_order = payload.kind == PayloadKind.ORDER
    gseq, set_ = payload.arg[:16], payload.arg[16:16 + g.set_bits]

    head = tables.reads["page"] & bench.past(meta.page_addr
                                             == group_record(g, set_, gseq, GROUP_HEAD))
    count_read = tables.reads["page"] & bench.past(meta.page_addr
                                                   == group_record(g, set_, gseq, GROUP_COUNT))
    bench.assume(~count_read | (meta.page_rdata < 256), "count_is_a_byte")
    index, following = Signal(g.track_index_bits), Signal(g.track_index_bits)
    ends = Signal()
    count = Signal(8)
    entries = Signal(8)                 # sent whole
    place = Signal(2)                   # byte of the entry
    number = Signal(g.offset_bits)      # byte of the slot
    looked = Signal()                   # the link at hand has been read
    link_read = tables.reads["link"] & bench.past(meta.link_addr == index)
    with m.If(payload.start):
        m.d.sync += [entries.eq(0), place.eq(0), number.eq(0), looked.eq(0)]
    with m.Elif(taken & is_order):
        m.d.sync += place.eq(Mux(place == 2, 0, place + 1))
        with m.If(place == 2):
            m.d.sync += [entries.eq(entries + 1), index.eq(following), looked.eq(0)]
    with m.Elif(taken):
        m.d.sync += number.eq(number + 1)
    with m.If(head & (entries == 0) & ~looked & part.ongoing("READ_HEAD")):
        m.d.sync += index.eq(meta.page_rdata)
    with m.If(count_read & part.ongoing("READ_COUNT")):
        m.d.sync += count.eq(meta.page_rdata)
    with m.If(link_read & part.ongoing("READ_LINK")):
        m.d.sync += [following.eq(meta.link_rdata.next), looked.eq(1),
                     ends.eq(meta.link_rdata.end_of_chain | (entries + 1 >= count))]
    byte = Signal(8)
    with m.If(memory.ack):
        m.d.sync += byte.eq(memory.rdata)

    track = Signal(16)
    m.d.comb += track.eq(index[:g.track_bits])
    says = Array([Cat(index[g.track_bits:], C(0, 7 - g.volume_bits), ends), track[:8], track[8:]])
    is_last = Mux(is_order, (place == 2) & (entries + 1 >= count), number.all())
    bench.prove(~out.valid | busy, "speaks_when_asked")
    bench.prove(~(out.valid & is_order) | (looked & (out.payload.data == says[place])),
                "entry_is_the_lists")
    bench.prove(~(out.valid & ~is_order) | (out.payload.data == byte), "byte_is_the_slots")
    bench.prove(~out.valid | (out.payload.last == is_last), "last_is_last")
    bench.prove(~memory.req | (~memory.we & (memory.addr == Cat(number, payload.arg)
                                             [:len(memory.addr)])), "reads_its_slot_in_order")
    wes = meta.state_we | meta.link_we | meta.page_we | meta.volume_we
    bench.prove(~wes, "writes_nothing")
    bench.prove(~memory.req | ~is_order, "packet_needs_no_memory")
    bench.holds_until_taken(out, "bytes_hold")
    bench.prove(~meta.req | bench.past(meta.req & meta.gnt) | ~out.valid, "no_lock_while_sending")

    fetching = part.ongoing("FETCH_BYTE", "SEND_BYTE")
    listing = ("LOCK_GROUP", "READ_HEAD", "READ_COUNT", "LOCK_ENTRY", "READ_LINK", "SEND_VOLUME",
               "SEND_TRACK_LOW", "SEND_TRACK_HIGH")
    sends = part.ongoing(*listing[5:])
    bench.invariant(busy == ~part.ongoing("AWAIT_START"), "busy")
    bench.invariant(~fetching | ~is_order, "slot_frame")
    bench.invariant(~part.ongoing(*listing) | is_order, "order_frame")
    bench.invariant(~fetching | (part.tap("offset") == number), "offset_counts")
    bench.invariant(~part.ongoing("SEND_BYTE") | (part.tap("byte") == byte), "byte_kept")
    at = part.ongoing(*listing[2:])
    bench.invariant(~at | (part.tap("index") == index), "index_kept")
    counted = part.ongoing(*listing[3:])
    left = part.tap("left")
    bench.invariant(~counted | (left + entries == count) | ((count == 0) & (entries == 0)
                                                            & (left == 0)), "entries_counted")
    bench.invariant(~counted | (left != 0) | (entries == 0), "something_left")
    bench.invariant(~part.ongoing(*listing[:3]) | (entries == 0), "nothing_sent_yet")
    bench.invariant(sends | ~busy | (place == 0), "entry_begins")
    bench.invariant(~sends | (looked & (part.tap("following") == following)), "link_kept")
    for n, state in enumerate(listing[5:]):
        bench.invariant(~part.ongoing(state) | (place == n), f"place_{n}")
    bench.invariant(~part.ongoing(*listing[1:3]) | tables.held_before, "group_locked")
    bench.invariant(~part.ongoing("READ_LINK") | tables.held_before, "link_locked")
    bench.invariant(~part.ongoing(*listing[:5]) | ~looked, "not_looked_yet")
    bench.cover(taken & out.payload.last & is_order & (count == 2), "packet_of_two")
