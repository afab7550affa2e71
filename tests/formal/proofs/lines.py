"""Lines: sessions, windows, framing. A frame is delivered once, or its loss is known."""

from amaranth import *

from firmware_model import wire
from hdl.cobs import CobsDecoder
from hdl.interfaces import header
from hdl.rxwindow import ReceiveWindow
from hdl.session import Session
from hdl.txwindow import TransmitWindow
from hdl.uart import UartRx, UartTx

from ..bench import StuckAt
from ..proof import Bounded, Induction, proof


@proof(
    component="hdl.rxwindow",
    claim="A number is new exactly if it lies in the window and was not marked since the window "
          "reached it; the base passes a number only when it was marked; the map tells what was "
          "marked and nothing else.",
    rule="lines: each frame is delivered once (I7)",
    method=Induction(13),
    sizes="window of 4; any number, any order of marks",
    faults={
        "marks are not noted": StuckAt("marking"),
        "a mark is noted in every place": StuckAt("here", 1),
        "the map is not turned all the way": StuckAt("turned", 3),
    },
    fault_depth=24,
    cover_depth=30,
    seconds=4,
)
def receive_window_once(bench):
    m = bench.m
    window = 4
    dut = ReceiveWindow(window=window)
    part = bench.add(dut)
    number = bench.constant(8, "number")
    bench.assume(~(dut.look & dut.mark), "one_request")
    bench.assume(~dut.busy | ~(dut.look | dut.mark), "not_while_busy")
    bench.assume(~bench.past(dut.look | dut.mark | dut.busy) | (dut.lseq == bench.past(dut.lseq)),
                 "number_stable")

    ahead = (number - dut.base)[:8]
    got = Signal()
    passed = (bench.past(dut.base) == number) & (dut.base != number)
    with m.If(dut.mark & (dut.lseq == number) & (ahead < window)):
        m.d.sync += got.eq(1)
    with m.If(passed):
        m.d.sync += got.eq(0)
    looked = Signal()
    expected = Signal()
    with m.If(dut.look | dut.mark):
        m.d.sync += [looked.eq(dut.look & (dut.lseq == number)),
                     expected.eq((ahead < window) & ~got)]
    bench.prove(dut.busy | ~looked | (dut.new == expected), "new_exactly_once")
    bench.prove(~passed | got | bench.past(got), "base_passes_marked_only")
    bench.prove(dut.busy | (ahead >= window) | (dut.map.bit_select(ahead[:2], 1) == got),
                "map_is_true")
    bench.prove(dut.busy | (ahead < window) | ~got, "forgotten_behind_base")
    bench.prove(dut.busy | ~dut.map[0], "base_not_marked")
    bench.prove(dut.map[window:] == 0, "nothing_beyond_window")
    bench.prove(bench.waiting(dut.busy, 15) <= 2 * window + 1, "finishes")
    bench.invariant(dut.busy | (part.tap("turned") == 0), "turned_back")
    bench.cover(~dut.busy & (dut.map[:window] == 0b1010), "gaps")
    bench.cover(dut.base == 3, "base_moved")


@proof(
    component="hdl.session",
    claim="When both ends are up they know each other by the same two numbers, and each has come "
          "up after the other's last session ended: so both windows began empty together.",
    rule="lines: no frame of a former session counts (I7)",
    method=Induction(2),
    sizes="two ends, two hellos on the way each way, any of them lost; fewer than 250 sessions",
    faults={
        "a new session keeps the old number": StuckAt("raw"),
        "every hello passes for an answer": StuckAt("knows_me", 1),
        "the other's number is not compared": StuckAt("same", 1),
    },
    fault_depth=20,
    cover_depth=16,
    seconds=5,
)
def session_agreement(bench):
    m = bench.m
    ends = [Session(role=wire.Role.SOURCE), Session(role=wire.Role.TARGET)]
    layout = header(wire.Type.HELLO)
    fresh = [Signal(name=f"fresh_{n}") for n in range(2)]
    words, parts = [], []
    for n, (end, name) in enumerate(zip(ends, ("dut", "other"), strict=True)):
        parts.append(bench.add(end, name, driven=True))
        dead = bench.free(1, f"dead_{n}")
        generation = bench.constant(8, f"generation_{n}")
        send = bench.free(1, f"send_{n}")
        hear = bench.free(1, f"hear_{n}")
        lose = bench.free(1, f"lose_{n}")
        words.append((send, hear, lose))
        bench.assume(generation.any(), f"generation_{n}_counts")
        bench.assume(~(dead & end.heard), f"dead_{n}_alone")
        bench.assume(end.my < 250, f"session_{n}_below_wrap")
        m.d.comb += [end.dead.eq(dead), end.generation.eq(generation)]

    # The way from n to the other end: a queue of two hellos that keeps their order.
    for n, (end, other) in enumerate((ends, ends[::-1])):
        send, hear, lose = words[n][0], *words[1 - n][1:]
        queue = [Signal(layout, name=f"queue_{n}_{k}") for k in range(2)]
        level = Signal(2, name=f"level_{n}")
        leaves = (hear | lose) & (level != 0)
        at = level - leaves
        bench.assume(~send | (at < 2), f"room_{n}")
        m.d.comb += [other.heard.eq(hear & (level != 0) & ~lose), other.hello.eq(queue[0])]
        m.d.sync += level.eq(at + send)
        with m.If(leaves):
            m.d.sync += queue[0].eq(queue[1])
        for k in range(2):
            with m.If(send & (at == k)):
                m.d.sync += queue[k].eq(end.greeting)
        # It is heard when it has been seen for a clock, in which nothing changed.
        stood = Signal(name=f"stood_{n}")
        m.d.sync += stood.eq((level != 0) & ~leaves & ~other.dead)
        bench.assume(~hear | stood, f"hello_{n}_stands")
        seen = parts[1 - n]
        knows = queue[0].echo == other.my
        bench.invariant(~stood | (level != 0), f"hello_{n}_is_there")
        bench.invariant(~stood | seen.tap("fits"), f"hello_{n}_fits")
        bench.invariant(~stood | (seen.tap("knows_me") == knows), f"hello_{n}_is_judged")
        bench.invariant(~stood | (seen.tap("same") == (knows & (queue[0].session == other.peer))),
                        f"hello_{n}_is_compared")
        # What is on the way was true when it left, and numbers only grow.
        sessions = [other.peer, *(Mux(level > k, queue[k].session, end.my) for k in range(2)),
                    end.my]
        echoes = [*(Mux(level > k, queue[k].echo, end.peer) for k in range(2)), end.peer,
                  other.my]
        for k in range(3):
            bench.invariant(sessions[k] <= sessions[k + 1], f"sessions_{n}_grow_{k}")
            bench.invariant(echoes[k] <= echoes[k + 1], f"echoes_{n}_grow_{k}")
        bench.invariant(level <= 2, f"level_{n}")
        for k in range(2):
            ours = ((queue[k].version == wire.PROTOCOL_VERSION)
                    & (queue[k].role == (wire.Role.SOURCE, wire.Role.TARGET)[n]))
            bench.invariant((level <= k) | ours, f"hello_{n}_{k}_is_ours")
        with m.If(end.risen):
            m.d.sync += fresh[n].eq(1)
        with m.If(other.fallen):
            m.d.sync += fresh[n].eq(0)
        bench.invariant(~end.up | (other.peer == end.my), f"up_{n}_is_known")
        bench.invariant(~end.up | fresh[n] | (end.peer < other.my), f"stale_{n}_will_notice")

    a, b = ends
    bench.prove(~(a.up & b.up) | ((a.my == b.peer) & (b.my == a.peer)), "same_numbers")
    bench.prove(~(a.up & b.up) | (fresh[0] & fresh[1]), "both_began_anew")
    bench.cover(a.up & b.up, "both_up")
    bench.cover(bench.ever(a.up & b.up & bench.ever(a.fallen)) & b.up, "up_again")


@proof(
    component="hdl.txwindow",
    claim="An entry leaves the window only after an acknowledgement that names it; fresh entries "
          "are sent in order, once each, and everything else that is sent is still unacknowledged "
          "and marked as a repetition; never more than `window` are outstanding.",
    rule="lines: each frame is delivered or reported (I7)",
    method=Induction(4),
    sizes="window of 4; any acknowledgements, true or not",
    faults={
        "every entry passes for acknowledged": StuckAt("is_acked", 1),
        "what was sent stays fresh": StuckAt("fresh"),
    },
    fault_depth=40,
    cover_depth=32,
    seconds=10,
    quick=False,
)
def transmit_window_keeps(bench):
    m = bench.m
    window = 4
    dut = TransmitWindow(window=window, patience=1, initial_trip=1, tries=3)
    part = bench.add(dut)
    number = bench.constant(8, "number")
    tail, fresh, unsent, scan = (part.tap(n) for n in ("tail", "fresh", "unsent", "scan"))
    head = (fresh + unsent)[:8]
    book = part.row("books", number[:2])
    bench.assume(dut.open, "session_is_up")
    bench.held_until_taken(dut.submit, "submit_holds")
    bench.held_until_taken(dut.ack, "ack_holds")

    # Ghost: has this entry been sent, and named by an acknowledgement since?
    sent = Signal()
    named = Signal()
    from_base = (number - dut.ack.payload.base)[:8]
    names_it = from_base[7] | ((from_base < 32)
                               & dut.ack.payload.map.bit_select(from_base[:5], 1))
    mine = dut.granted & (dut.lseq == number)
    inside = (number - tail)[:8] < (head - tail)[:8]
    left = bench.past(inside) & ~inside
    with m.If(mine):
        m.d.sync += sent.eq(1)
    with m.If(~inside):
        m.d.sync += [sent.eq(0), named.eq(0)]
    with m.Elif(dut.ack.valid & (names_it | (from_base[5:7] != 0)) & sent):
        m.d.sync += named.eq(1)
    bench.prove(~left | bench.past(named), "released_when_acknowledged")
    bench.prove(~mine | inside, "sends_only_what_it_has")
    bench.prove(~mine | (dut.again == sent), "repetitions_are_said_to_be")
    bench.prove((head - tail)[:8] <= window, "never_more_than_window")
    bench.prove(~dut.granted | dut.again | (dut.lseq == fresh), "fresh_in_order")

    judging = part.ongoing("JUDGE ACK", "READ ENTRY", "MARK ENTRY", "REREAD ENTRY", "SWEEP ENTRY",
                           "LET GO OF ACK")
    scanning = part.ongoing("READ ENTRY", "MARK ENTRY", "REREAD ENTRY", "SWEEP ENTRY",
                            "SEEK LOST", "SEND LOST")
    at_entry = part.ongoing("MARK ENTRY", "SWEEP ENTRY", "SEND LOST")
    is_sent = (number - tail)[:8] < (fresh - tail)[:8]
    entry = part.tap("entry")
    bench.invariant((fresh - tail)[:8] <= (head - tail)[:8], "fresh_within")
    bench.invariant(~scanning | ((scan - tail)[:8] <= (fresh - tail)[:8]), "scan_within")
    bench.invariant(~at_entry | (scan != fresh), "scan_at_entry")
    bench.invariant(~part.ongoing("SEND FRESH") | ((scan == fresh) & (fresh != head)),
                    "fresh_at_hand")
    bench.invariant(~part.ongoing("TIME OUT") | ((scan == tail) & (tail != fresh)),
                    "time_out_at_oldest")
    bench.invariant(~judging | dut.ack.valid, "ack_stands")
    bench.invariant(~inside | (sent == is_sent), "sent_below_fresh")
    bench.invariant(~is_sent | ~book.acked | named, "acked_when_named")
    bench.invariant(~(at_entry & (scan == number)) | (entry == book.as_value()), "entry_is_read")
    bench.invariant(~(part.ongoing("MARK ENTRY") & (scan == number))
                    | (part.tap("is_acked")
                       == (from_base[7] | dut.ack.payload.map.bit_select(from_base[:5], 1))),
                    "entry_is_judged")
    stores = part.ongoing("STORE DESCRIPTOR")
    bench.invariant(unsent | ~(part.tap("is_free") | stores) | ((fresh - tail)[:8] != window),
                    "room_to_store")
    bench.invariant(~stores | ~unsent, "one_at_a_time")
    bench.cover(left, "released")
    bench.cover(dut.granted & dut.again, "sent_again")


@proof(
    component="hdl.uart",
    claim="What one end sends the other receives, byte for byte, without a framing error.",
    rule="lines; R15",
    method=Bounded(64),
    sizes="any divisor from 4 to 5 clocks a bit in steps of 1/16; bytes back to back",
    faults={
        "the fraction of a bit is not counted": StuckAt("fraction", part="receiver"),
        "sampled bits are not kept": StuckAt("shift", part="receiver"),
    },
    fault_depth=64,
    cover_depth=64,
    seconds=16,
    quick=False,
)
def uart_loopback(bench):
    m = bench.m
    sender, receiver = UartTx(16), UartRx(16)
    bench.add(sender, driven=True)
    bench.add(receiver, "receiver", driven=True)
    part = bench.constant(5, "sixteenths")
    bench.assume(part <= 16, "at_most_five")
    valid = bench.free(1, "valid")
    payload = bench.free(8, "payload")
    m.d.comb += [
        sender.divisor.eq((4 << 8) + (part << 4)), receiver.divisor.eq(sender.divisor),
        receiver.rx.eq(sender.tx), sender.i.valid.eq(valid), sender.i.payload.eq(payload),
    ]
    first, second = Signal(8), Signal(8)        # sent and not yet received
    level = Signal(2)
    takes = sender.i.valid & sender.i.ready
    at = level - receiver.o.valid
    m.d.sync += level.eq(at + takes)
    with m.If(receiver.o.valid):
        m.d.sync += first.eq(second)
    with m.If(takes & (at == 0)):
        m.d.sync += first.eq(payload)
    with m.If(takes & (at == 1)):
        m.d.sync += second.eq(payload)
    bench.prove(~receiver.o.valid | ((level != 0) & (receiver.o.payload == first)),
                "what_was_sent")
    bench.prove(~receiver.framing_error, "no_framing_error")
    bench.prove(level <= 2, "none_lost")
    bench.cover(receiver.o.valid & (receiver.o.payload == 0xA5), "received")


@proof(
    component="hdl.cobs",
    claim="After a zero the decoder is as after reset, whatever came before: garbage costs the "
          "frame it is in and no other. Every line byte is taken as soon as the consumer is ready.",
    rule="lines: in step again within one frame (R22)",
    method=Induction(2),
    faults={
        "a broken block goes on beyond the zero": StuckAt("is_end"),
        "a frame never ends": StuckAt("inside", 1),
    },
)
def cobs_resynchronises(bench):
    m = bench.m
    dut = CobsDecoder()
    part = bench.add(dut)
    bench.prove(~(dut.o.ready & dut.i.valid) | dut.i.ready, "never_hangs")
    takes = dut.i.valid & dut.i.ready
    restarted = Signal(init=1)              # nothing but zeros since the last frame ended
    with m.If(takes):
        m.d.sync += restarted.eq(dut.i.payload == 0)
    bench.prove(~restarted | ~dut.o.valid, "silent_between_frames")
    bench.prove(~restarted | ~dut.i.valid | dut.i.ready, "takes_first_byte")
    beats = dut.o.valid & dut.o.payload.end
    bench.prove(~beats | (dut.i.payload == 0), "only_a_zero_ends")
    bench.prove(~(takes & (dut.i.payload == 0)) | restarted | beats, "every_frame_ends")
    # The first block begins right after a zero: its code says how many bytes follow.
    code = Signal(8)
    followed = Signal(8)
    left = part.tap("left")
    with m.If(takes):
        m.d.sync += followed.eq(Mux(restarted, 0, followed + ~followed.all()))
    with m.If(takes & restarted):
        m.d.sync += code.eq(dut.i.payload)
    bench.prove(~beats | (followed >= code - 1) | dut.o.payload.bad, "cut_short_is_bad")
    bench.prove(~beats | (followed != code - 1) | ~dut.o.payload.bad, "whole_is_good")
    bench.invariant(part.tap("inside") == ~restarted, "inside_is_not_restarted")
    bench.invariant(~restarted | (left == 0), "nothing_is_left_over")
    bench.invariant(~restarted | ~part.tap("owes_zero"), "no_zero_is_owed")
    bench.invariant(restarted | (code != 0), "codes_are_not_zero")
    bench.invariant(restarted | (followed >= code) | (left + followed == code - 1), "counts_down")
