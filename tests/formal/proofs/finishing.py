"""Nothing stops half-way: what is begun ends, but for the time in which others let it wait.

Each proof has a measure, an upper bound of the clocks to go that is made of the component's own
registers. It falls with every clock in which nobody else is waited for, and rises in none. So the
work ends within as many clocks of its own as the measure can begin with: freedom of deadlock for
one component, given that its neighbours answer.
"""

from amaranth import *
from amaranth.lib import data

from firmware_model.wire import MAX_REGISTERS, SET_PAGE_WORDS, Role, SetWord, Type
from hdl.frame import HEAD_BYTES
from hdl.hostport import HostPort
from hdl.interfaces import TargetState, header
from hdl.microcode import Names, assemble
from hdl.processor import Processor
from hdl.recovery import Recovery
from hdl.speaker import Speaker
from hdl.txwindow import ARG_PLACE, KIND_PLACE, LAST_PLACE, TransmitWindow

from ..bench import StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS

_NEVER = C(0, 1)


def _ends(bench, part, measures, *, most, busy, waits=_NEVER, over=_NEVER):
    """Proves that what makes the component ``busy`` ends.

    ``measures`` says what is left in each state, at most ``most``. That falls, but in clocks in
    which the component ``waits`` for others. With ``over`` this ends, and what comes next may begin
    anew.
    """
    left = Signal(range(4 * most), name="clocks_left")
    for state, measure in measures.items():
        with bench.m.If(part.ongoing(state)):
            bench.m.d.comb += left.eq(measure)
    before = bench.past(left)
    goes_on = busy & bench.past(busy & ~over)
    bench.prove(~busy | ((left > 0) & (left <= most)), "begins_within_the_bound")
    bench.prove(~goes_on | bench.past(waits) | (left < before), "comes_nearer_to_its_end")
    bench.prove(~goes_on | (left <= before), "gets_no_farther_away")


_SLOTS = PAIRS.target_slots
_WORDS = SET_PAGE_WORDS * PAIRS.sets
_WARM = 3 + 2 * _WORDS + 2 * PAIRS.tracks + 3 * _SLOTS


@proof(
    component="hdl.recovery",
    claim="After a reset a system is ready within three clocks and, if its memory was lost, 32 a "
          "set and one a track; if it was kept, 64 a set, two a track and three a slot. Clocks do "
          "not count in which it waits for the lock, for the chain that the reset interrupted, or "
          "for the free list.",
    rule="I9, R21: a reset ends",
    method=Induction(2),
    sizes=f"2 sets, 4 tracks, {_SLOTS} slots, any tables",
    faults={"pages are cleared without end": StuckAt("address"),
            "the last slot is missed": StuckAt("last_slot"),
            "the last track is missed": StuckAt("last_track")},
    fault_depth=30,
    cover_depth=24,
    seconds=10,
    quick=False,
)
def recovery_ends(bench):
    g = PAIRS
    dut = Recovery(g, TargetState(g), slots=_SLOTS, kept={SetWord.DONE, SetWord.FLAGS})
    part = bench.add(dut)
    slot = part.tap("slot")
    tracks = g.tracks - Cat(part.tap("track"), part.tap("volume"))
    words = _WORDS - part.tap("address")
    slots = _SLOTS - slot
    pages = 2 * _WORDS + 2 * _SLOTS         # two clocks a word, and then two a slot
    measures = {
        "READ_MAGIC": _WARM,
        "CHECK_MAGIC": _WARM - 1,
        "CLEAR_PAGES": words + g.tracks + 1,
        "PLACE_TRACKS": tracks + 1,
        "WRITE_MAGIC": 1,
        "FINISH_CHAIN": _WARM - 2,
        "CLEAR_MARKS": slots + 2 * g.tracks + pages,
        "FETCH_TRACK": 2 * tracks + pages,
        "KEEP_TRACK": 2 * tracks - 1 + pages,
        "FETCH_WORD": 2 * words + 2 * _SLOTS,
        "KEEP_WORD": 2 * words - 1 + 2 * _SLOTS,
        "LOOK_AT_MARK": 2 * slots,
        "GIVE_SLOT": 2 * slots - 1,
    }
    _ends(bench, part, measures, most=_WARM, busy=~dut.done,
          waits=(dut.meta.req & ~dut.meta.gnt) | (dut.finish & ~dut.finished)
          | (dut.free.valid & ~dut.free.ready))
    bench.invariant(part.ongoing(*measures, "REST"), "in_a_state")
    bench.invariant(~part.ongoing("READ_MAGIC", "CHECK_MAGIC", "FINISH_CHAIN", "FETCH_WORD",
                                  "KEEP_WORD") | (slot == 0), "no_slot_yet")
    bench.invariant(~part.ongoing("CLEAR_MARKS", "LOOK_AT_MARK", "GIVE_SLOT") | (slot < _SLOTS),
                    "slot_exists")
    bench.cover(part.ongoing("FETCH_WORD"), "all_tracks_kept")
    bench.cover(part.ongoing("CLEAR_PAGES"), "cold_start")


@proof(
    component="hdl.hostport",
    claim=f"A request is served within {2 * MAX_REGISTERS + 4} clocks. Those do not count in which "
          "it waits for the register bus, for its answer to be taken, or for the READ before it, "
          "which comes to its end with so many tracks.",
    rule="R22: nothing that the host sends hangs the port",
    method=Induction(2),
    sizes="2 volumes of 2 tracks; a target, any requests",
    faults={"registers are read over and over": StuckAt("probed"),
            "an earlier READ is never over": StuckAt("busy", 1),
            "a READ repeats its track": StuckAt("left", 1)},
    fault_depth=20,
    cover_depth=16,
    seconds=8,
    quick=False,
)
def host_port_serves(bench):
    dut = HostPort(PAIRS, Role.TARGET)
    part = bench.add(dut)
    event, bus = dut.events.payload, dut.registers
    asked = data.View(header(Type.REG_READ), event.header).count
    left, probed = part.tap("left"), part.tap("probed")
    bench.held_until_taken(dut.events, "request_holds")
    bench.assume(~bus.ack | bus.req, "bus_answers_requests")
    bench.assume(~dut.flushed, "session_is_up")
    most = 2 * MAX_REGISTERS + 4
    measures = {
        "AWAIT_REQUEST": most,
        "SORT_REQUEST": most - 1,
        "CHECK_READ": 3,
        "FIND_ADDRESS": 2 * (MAX_REGISTERS - probed) + 3,
        "USE_REGISTER": 2 * (MAX_REGISTERS - probed) + 2,
        "SUBMIT_ANSWER": 2,
        "TAKE_REQUEST": 1,
    }
    _ends(bench, part, measures, most=most, busy=dut.events.valid, over=dut.events.ready,
          waits=(part.ongoing("CHECK_READ") & (left != 0)) | (bus.req & ~bus.ack)
          | (part.tap("answers__valid") & ~part.tap("answers__ready")))
    bench.prove(~bench.past(dut.read) | (left < bench.past(left)), "a_read_comes_to_its_end")
    bench.invariant(part.ongoing(*measures), "in_a_state")
    bench.invariant(part.ongoing("AWAIT_REQUEST") | dut.events.valid, "has_a_request")
    bench.invariant(~part.ongoing("SORT_REQUEST", "CHECK_READ") | (probed == 0), "none_read_yet")
    several = (event.type == Type.REG_READ) & (probed < asked) & (asked <= MAX_REGISTERS)
    bench.invariant(~part.ongoing("FIND_ADDRESS", "USE_REGISTER") | several
                    | ((event.type == Type.REG_WRITE) & (probed == 0)), "registers_to_go")
    offers_track = part.tap("merge.busy") & (part.tap("merge.owner") == 1)
    bench.invariant(~offers_track | (left != 0), "offers_tracks_to_go")
    bench.cover(dut.read & (left == 1), "a_read_is_over")


@proof(
    component="hdl.txwindow",
    claim="An acknowledgement is taken within 4 clocks an entry and 5, or 14 later if a descriptor "
          "is being stored, or 2 an entry and 1 later in the middle of a scan; unless the session "
          "is to end.",
    rule="lines: no acknowledgement stops the receiver",
    method=Induction(2),
    sizes="window of 4; any acknowledgements",
    faults={"the scan stands still": StuckAt("scan"),
            "a descriptor is stored over and over": StuckAt("place")},
    fault_depth=30,
    cover_depth=12,
    seconds=10,
    quick=False,
)
def transmit_window_takes_acknowledgements(bench):
    window = 4
    dut = TransmitWindow(window=window, patience=1, initial_trip=1, tries=3)
    part = bench.add(dut)
    tail, fresh, unsent, scan = (part.tap(name) for name in ("tail", "fresh", "unsent", "scan"))
    bench.held_until_taken(dut.ack, "ack_holds")
    whole = 4 * window + 5
    entries = (fresh - scan)[:3]
    stored = part.tap("place")
    measures = {
        "WAIT FOR WORK": whole,
        "STORE DESCRIPTOR": whole + LAST_PLACE + 1 - stored,
        "SEND FRESH": whole + 1,
        "SEEK LOST": whole + 2 * entries + 1,
        "SEND LOST": whole + 2 * entries,
        "TIME OUT": whole + 1,
        "JUDGE ACK": whole - 1,
        "READ ENTRY": 2 * entries + 2 * window + 3,
        "MARK ENTRY": 2 * entries + 2 * window + 2,
        "REREAD ENTRY": 2 * entries + 2,
        "SWEEP ENTRY": 2 * entries + 1,
        "LET GO OF ACK": 1,
    }
    _ends(bench, part, measures, most=whole + max(LAST_PLACE, 2 * window) + 1,
          busy=dut.ack.valid & ~dut.dead, over=dut.ack.ready)
    scans = part.ongoing("SEEK LOST", "SEND LOST", "READ ENTRY", "MARK ENTRY", "REREAD ENTRY",
                         "SWEEP ENTRY")
    at_entry = part.ongoing("SEND LOST", "MARK ENTRY", "SWEEP ENTRY")
    bench.invariant(part.ongoing(*measures, "GIVE UP"), "in_a_state")
    bench.invariant((fresh - tail)[:8] <= window, "no_more_than_window")
    bench.invariant((fresh + unsent - tail)[:8] <= window, "nor_submitted")
    bench.invariant(~scans | ((scan - tail)[:8] <= (fresh - tail)[:8]), "scan_within")
    bench.invariant(~at_entry | (scan != fresh), "scan_at_entry")
    bench.invariant(~part.ongoing("JUDGE ACK") | (scan == tail), "scan_begins")
    bench.invariant(~part.ongoing("STORE DESCRIPTOR") | (stored <= LAST_PLACE), "places")
    stores = part.ongoing("STORE DESCRIPTOR")
    bench.invariant(unsent | ~(part.tap("is_free") | stores) | ((fresh - tail)[:8] != window),
                    "room_to_store")
    bench.invariant(~stores | ~unsent, "one_at_a_time")
    bench.invariant(~part.ongoing("SEND FRESH") | unsent, "has_a_fresh_one")
    bench.cover(dut.ack.valid & dut.ack.ready, "taken")


@proof(
    component="hdl.speaker",
    claim="The head of a frame that has been chosen is said within 36 clocks, besides those in "
          "which the window or the transmitter lets it wait; so hello and acknowledgement are let "
          "go of.",
    rule="lines: whoever speaks comes to an end",
    method=Induction(2),
    faults={"the same byte again and again": StuckAt("place"),
            "the last byte is missed": StuckAt("is_last")},
    fault_depth=40,
    cover_depth=40,
    seconds=4,
    quick=False,
)
def speaker_finishes(bench):
    dut = Speaker()
    part = bench.add(dut)
    place = part.tap("place")
    bytes_ = HEAD_BYTES - place
    measures = {
        "PICK ENTRY": 36,
        "READ PAYLOAD": 3 * HEAD_BYTES + 1 + ARG_PLACE + 3 - place,
        "START PAYLOAD": 3 * HEAD_BYTES,
        "ADDRESS BYTE": 3 * bytes_,
        "FETCH BYTE": 3 * bytes_ - 1,
        "OFFER BYTE": 3 * bytes_ - 2,
    }
    picks = part.ongoing("PICK ENTRY")
    says = part.ongoing("ADDRESS BYTE", "FETCH BYTE", "OFFER BYTE")
    last = dut.head.valid & dut.head.ready & dut.head.payload.last
    _ends(bench, part, measures, most=36, busy=part.ongoing(*measures), over=last,
          waits=(picks & ~dut.granted) | (dut.head.valid & ~dut.head.ready))
    bench.prove(~dut.control | says, "control_is_being_said")
    bench.invariant(part.ongoing(*measures, "CHOOSE FRAME", "WAIT FOR END"), "in_a_state")
    bench.invariant(~says | (place < HEAD_BYTES), "byte_of_the_head")
    bench.invariant(~part.ongoing("START PAYLOAD") | (place == 0), "first_byte")
    bench.invariant(~part.ongoing("READ PAYLOAD") | ((place >= KIND_PLACE)
                    & (place <= ARG_PLACE + 3)), "byte_of_the_tail")
    bench.cover(last, "said")


@proof(
    component="hdl.processor",
    claim="An instruction is done within three clocks of the processor's own, but for an OUT that "
          "is held, which is tried again in the second clock; and whoever else uses the state "
          "memory has a turn in each.",
    rule="lines: the program of a line bank runs on",
    method=Induction(4),
    sizes="1 line; a program with every kind of instruction",
    faults={"it gives way to the other for ever": StuckAt("clash", 1),
            "an instruction has no second clock": StuckAt("acting")},
    fault_depth=12,
    cover_depth=12,
    seconds=6,
    quick=False,
)
def processor_runs_on(bench):
    names = Names(words={"a": 0, "b": 1}, entry={"x": 5}, numbers={}, inputs={"in": 9},
                  outputs={"say": 1})
    program = assemble("""
start:
    LD a
    ADD #1
    ST a
    OUT say
    CALL part
    JZ start
    JN start
    JNZ start
    JMP start
part:
    LD <in
    ST entry.x
    RET
""", names)
    dut = Processor(program, 1, [])
    part = bench.add(dut)
    held = dut.wants & dut.hold
    gives_way = dut.pause
    bench.prove(bench.waiting(~(part.tap("goes_on") | held | gives_way), 7) < 3,
                "done_within_three_clocks")
    bench.prove(bench.waiting(held, 7) < 2, "tries_again")
    bench.prove(bench.waiting(~dut.state.turn, 7) < 3, "a_turn_in_each")
    bench.prove(~dut.pause | dut.state.turn, "a_turn_in_every_pause")
    bench.invariant(~dut.state.valid | bench.past(dut.state.turn), "answers_after_a_turn")
    bench.cover(dut.out & (dut.value == 1), "says_one")
