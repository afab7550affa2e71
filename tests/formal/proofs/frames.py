"""What arrives: frames are checked before they count, payloads go where they harm nobody."""

from amaranth import *

from firmware_model import wire
from hdl.frame import HEAD_BYTES, FrameReceiver
from hdl.slotwriter import SlotWriter
from hdl.writeset import WriteSet

from ..bench import StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS

SHORTEST = HEAD_BYTES + wire.CRC_BYTES


def crc_step(value, byte):
    """The CRC register after one more byte, all eight bits at once."""
    for n in range(8):
        value = (value >> 1) ^ Mux(value[0] ^ byte[n], C(0xEDB88320, 32), C(0, 32))
    return value


@proof(
    component="hdl.frame",
    claim="A frame is offered only if its CRC is right, its encoding was sound and it has a whole "
          "head; any other ends with `bad`, once. Its payload and length are what came. Whatever "
          "comes, a byte is taken within 11 clocks once sink and consumer are ready.",
    rule="I7, R22: only checked frames count, nothing hangs the receiver",
    method=Induction(10),
    sizes="any bytes, payload up to 2",
    faults={
        "the CRC is not checked": "crc",
        "any number of bytes is a head": StuckAt("in_payload", 1),
        "the sink is offered whatever comes": StuckAt("wants_sink", 1),
    },
    fault_depth=0,
    seconds=5,
)
def frame_receiver_checks(bench):
    m = bench.m
    longest = 2
    dut = FrameReceiver(longest, check_crc=bench.fault != "crc")
    part = bench.add(dut)
    bench.held_until_taken(dut.i, "input_holds")
    byte = dut.i.payload
    takes = dut.i.valid & dut.i.ready

    crc = Signal(32, init=0xFFFFFFFF)
    count = Signal(5)                   # bytes of this frame, saturating
    newest = Signal(32)                 # the four bytes that came last
    with m.If(takes & byte.end):
        m.d.sync += [crc.eq(0xFFFFFFFF), count.eq(0)]
    with m.Elif(takes):
        m.d.sync += [crc.eq(crc_step(crc, byte.data)), newest.eq(Cat(newest[8:], byte.data)),
                     count.eq(count + ~count.all())]
    sound = (crc == wire.CRC_RESIDUE) & (count >= SHORTEST) & ~byte.bad
    most = SHORTEST + longest
    length = Mux(count > most, longest + 1, count - SHORTEST)
    offered = dut.frame.valid
    bench.prove(~offered | (dut.i.valid & byte.end & sound), "only_sound_frames")
    bench.prove(~(takes & byte.end) | ((offered & dut.frame.ready) ^ dut.bad), "one_verdict")
    bench.prove(~dut.bad | (takes & byte.end & ~sound), "bad_is_bad")
    bench.prove(~offered | (dut.frame.payload.length == length), "length")
    ready = dut.i.valid & dut.sink.ready & dut.frame.ready
    bench.prove(bench.waiting(ready & ~dut.i.ready, 15) <= 10, "never_hangs")
    bench.prove(~dut.sink.valid | ((count >= SHORTEST) & (dut.sink.index == count - SHORTEST)
                                   & (dut.sink.index < longest)), "sink_index")
    bench.prove(~dut.sink.valid | (dut.sink.data == newest[:8]), "sink_data")
    bench.holds_until_taken(dut.frame, "frame_holds")

    judges, offers = part.ongoing("JUDGE FRAME"), part.ongoing("OFFER PAYLOAD")
    rests = part.ongoing("LOOK") | judges | offers
    bench.prove(~judges | (dut.i.valid & byte.end & (part.tap("sound") == sound)), "judged")
    bench.invariant(~offers | (dut.i.valid & ~byte.end & (part.tap("byte") == byte.data)),
                    "byte_looked_at")
    bench.invariant(~rests | (part.tap("crc.value") == crc), "crc_follows")
    bench.invariant(~rests | (part.tap("seen") == Mux(count > SHORTEST, SHORTEST, count)),
                    "head_counted")
    payload = Mux(count < SHORTEST, 0, count - SHORTEST)
    bench.invariant(~rests | (part.tap("length") == Mux(count > most, longest + 1, payload)),
                    "payload_counted")
    bench.invariant(~rests | (part.tap("delay") == newest), "delay_line")
    bench.invariant(~rests | (part.tap("bit") == 0), "whole_bytes")


@proof(
    component="hdl.slotwriter",
    claim="Payload is written to the slot in hand only, each byte of the track once and at its "
          "place, bytes beyond the track nowhere. A slot that was taken is not written to again "
          "until it comes back from the free list, and no slot is fetched while one is in hand.",
    rule="I1: nobody else's slot is overwritten",
    method=Induction(2),
    sizes="16 bytes a track, any slots",
    faults={
        "bytes beyond the track are written": StuckAt("beyond"),
        "the slot stays in hand when taken": StuckAt("slot_valid", 1),
    },
)
def slot_writer_in_hand(bench):
    m = bench.m
    g = PAIRS
    dut = SlotWriter(g)
    bench.add(dut)
    slot = bench.constant(dut.slot.shape(), "chosen_slot")
    memory, sink = dut.memory, dut.sink
    writes = memory.req & memory.we
    bench.assume(~memory.ack | memory.req, "memory_answers_requests")
    bench.assume(~dut.take | dut.slot_valid, "taken_when_valid")
    fetches = dut.slots.valid & dut.slots.ready
    mine = Signal()                     # this slot is in hand
    with m.If(fetches):
        m.d.sync += mine.eq(dut.slots.payload == slot)
    with m.Elif(dut.take):
        m.d.sync += mine.eq(0)
    target = memory.addr[g.offset_bits:]
    bench.prove(~writes | (target != slot) | mine, "only_in_hand")
    bench.prove(~(memory.req & ~memory.we), "reads_nothing")
    bench.prove(~writes | (sink.valid & (memory.wdata == sink.data)
                           & (memory.addr[:g.offset_bits] == sink.index)), "byte_in_its_place")
    bench.prove(~fetches | ~dut.slot_valid, "one_in_hand")
    inside = sink.index < g.track_bytes
    bench.prove(~(sink.valid & sink.ready & inside) | (writes & memory.ack), "each_byte_written")
    bench.prove(~sink.valid | inside | sink.ready, "excess_swallowed")
    bench.prove(~(sink.valid & ~inside) | ~writes, "excess_written_nowhere")
    bench.invariant((dut.slot_valid & (dut.slot == slot)) == mine, "hand")


@proof(
    component="hdl.writeset",
    claim="The open chain's write set stays as it is whatever arrives, until `swap`; then it is "
          "what the last CHAIN frame said, entry by entry.",
    rule="I2, R27: no half chain",
    method=Induction(3),
    sizes="chains of up to 3, 2 volumes of 2 tracks",
    faults={
        "arrivals go into the open chain's bank": StuckAt("spare"),
        "entries are not counted": StuckAt("number"),
    },
    fault_depth=24,
    cover_depth=16,
    seconds=3,
)
def write_set_banks(bench):
    m = bench.m
    g = PAIRS
    dut = WriteSet(g)
    part = bench.add(dut)
    sink = dut.sink
    takes = sink.valid & sink.ready
    bench.assume(~dut.swap | (dut.hold & bench.past(dut.hold)), "swapped_when_judged")
    # Within a frame the index counts the bytes.
    index = Signal(sink.index.shape())
    with m.If(takes):
        m.d.sync += index.eq(sink.index + 1)
    bench.assume(~takes | (sink.index == 0) | (sink.index == index), "bytes_in_order")
    bench.assume(~takes | (sink.index < 8000), "frames_end")
    # A byte has its effect a clock after it is taken.
    came, place, said = bench.past(takes), bench.past(sink.index), bench.past(sink.data)
    arrived = Signal.like(index)        # the index of the byte after
    with m.If(came):
        m.d.sync += arrived.eq(place + 1)
    bench.invariant(~came | (index == (place + 1)[:len(index)]), "index_of_the_byte_that_came")
    bench.invariant(came | (index == arrived), "index_of_the_bytes_before")
    bench.invariant((part.tap("byte") == came) & (~came | (place < 8000)), "byte_kept")
    bench.invariant(~came | ((part.tap("first") == (place == 0)) & (part.tap("value") == said)),
                    "value_kept")

    # Ghost: any one entry of the frame that arrives, and of the open chain.
    chosen = bench.constant(2, "chosen")
    bench.assume(chosen < g.chain_limit, "chosen_exists")
    at = Signal(13)
    m.d.comb += at.eq(3 * chosen)
    volume, low = Signal(8), Signal(8)
    arriving, here = Signal(g.track_index_bits), Signal()
    opened, known = Signal(g.track_index_bits), Signal()
    with m.If(came & (place == 0)):
        m.d.sync += here.eq(0)
    with m.If(came & (place == at)):
        m.d.sync += volume.eq(said)
    with m.If(came & (place == at + 1)):
        m.d.sync += low.eq(said)
    with m.If(came & (place == at + 2)):
        m.d.sync += [arriving.eq(Cat(low[:g.track_bits], volume[:g.volume_bits])), here.eq(1)]
    with m.If(dut.swap):
        m.d.sync += [opened.eq(arriving), known.eq(here), here.eq(0)]
    looked = bench.past((dut.position == chosen) & known & ~dut.swap)
    bench.prove(~looked | (dut.entry.index == opened), "entry_as_sent")
    bench.prove(~takes | ~dut.hold, "waits_while_judged")
    bench.prove(dut.hold | sink.ready, "takes_a_byte_a_clock")

    spare, number, entry_part = part.tap("spare"), part.tap("number"), part.tap("part")
    places = 1 << len(dut.position)
    rows = Array([part.row("indices", n) for n in range(2 * places)])
    bench.invariant(~here | (rows[Cat(chosen, spare)] == arriving), "arrived_in_spare_bank")
    bench.invariant(~known | (rows[Cat(chosen, ~spare)] == opened), "open_bank")
    began = Signal()
    with m.If(came & (place == 0)):
        m.d.sync += began.eq(1)
    full = number == g.chain_limit
    bench.invariant(~came | (place == 0) | (place == arrived), "came_in_order")
    bench.invariant(~began | full | (arrived == 3 * number + entry_part), "bytes_counted")
    bench.invariant(~began | ~full | (arrived >= 3 * g.chain_limit), "full_when_past")
    bench.invariant((number <= g.chain_limit) & (entry_part < 3), "in_bounds")
    bench.invariant(~full | (entry_part == 0), "full_at_an_entry")
    bench.invariant(began | (~here & (number == 0) & (entry_part == 0) & (arrived == 0)),
                    "nothing_yet")
    bench.invariant(~here | (number > chosen), "counted_past")
    bench.invariant(~began | (number != chosen) | (entry_part == 0)
                    | (part.tap("volume") == volume), "volume_kept")
    bench.invariant(~began | (number != chosen) | (entry_part != 2)
                    | (part.tap("track_low") == low), "track_kept")
    bench.cover(looked & (opened == 3), "entry_read")
