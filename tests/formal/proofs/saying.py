"""What is said of a set as a whole: only what was asked for, and before long."""

from amaranth import *
from amaranth.lib import data

from firmware_model.wire import SetWord, TargetFlag, Type
from hdl.follower import CONTROL_TYPES, Follower
from hdl.interfaces import header
from hdl.liaison import Liaison
from hdl.status import StatusSender

from ..bench import StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS
from ..tables import Tables


def _lock(bench, meta, patience):
    """The metadata lock: granted to who asks, before long, and for as long as it is asked for."""
    bench.assume(~meta.gnt | meta.req, "granted_to_who_asks")
    bench.assume(~bench.past(meta.gnt) | ~meta.req | meta.gnt, "lock_stays")
    waits = bench.waiting(meta.req & ~meta.gnt, patience)
    bench.assume(waits < patience, "lock_before_long")


@proof(
    component="hdl.liaison",
    claim="What is composed stays until it is taken; nothing is said of a set that nobody asked "
          "for; an ASK that is due, or a BEGIN or RESYNC that is answered as well, is handed over "
          "before any set has had its third frame since.",
    rule="I8, I9",
    method=Induction(28),
    sizes="2 sets, lock within 2 clocks, taken within 2 clocks",
    faults={"requests are forgotten": StuckAt("ask"),
            "always the same set": StuckAt("set_"),
            "whatever is due, RESYNCED is said": StuckAt("type_", int(Type.RESYNCED))},
    fault_depth=34,
    cover_depth=12,
    seconds=20,
    quick=False,
)
def liaison_says_what_is_asked(bench):
    m = bench.m
    dut = Liaison(PAIRS)
    part = bench.add(dut, driven=("life",))
    m.d.comb += dut.life.eq(bench.constant(16, "life"))
    _lock(bench, dut.meta, 2)
    set_ = bench.constant(PAIRS.set_bits, "set_")
    frames = dut.frames
    taken = frames.valid & frames.ready
    untaken = bench.waiting(frames.valid & ~frames.ready, 2)
    bench.assume(untaken < 2, "frames_are_taken")
    bench.holds_until_taken(frames, "composed_stays")

    asked = dut.ask.bit_select(set_, 1) | (dut.request.ask & (dut.request.set == set_))
    named = asked | ((dut.request.begin | dut.request.resynced) & (dut.request.set == set_))
    ever = bench.ever(named)
    of_set = frames.payload.set == set_
    bench.prove(~(frames.valid & of_set) | ever, "nobody_is_spoken_of_unasked")
    bench.invariant(~Cat(part.tap(name).bit_select(set_, 1)
                         for name in ("ask", "begin", "resynced")).any() | ever, "due_was_asked")
    composing = part.ongoing("READ_EPOCH", "READ_DONE", "READ_ACKED_LOW", "READ_ACKED_HIGH",
                             "OFFER_FRAME")
    bench.invariant(~(composing & of_set) | ever, "composed_was_asked")
    bench.invariant(composing | part.ongoing("AWAIT_REQUEST", "LOCK"), "in_a_state")

    is_ask = of_set & frames.payload.type.matches(Type.ASK, Type.BEGIN, Type.RESYNC)
    owed = Signal()
    m.d.sync += owed.eq((owed & ~dut.forget & ~(taken & is_ask)) | asked)
    bench.invariant(~owed | part.tap("ask").bit_select(set_, 1)
                    | (composing & of_set & (part.tap("type_") != int(Type.RESYNCED))),
                    "what_is_owed_is_due_or_composed")
    others = Signal(2)
    with m.If(~owed | (taken & is_ask)):
        m.d.sync += others.eq(0)
    with m.Elif(taken & ~others.all()):
        m.d.sync += others.eq(others + 1)
    bench.prove(~(owed & taken & ~is_ask) | (others < 2), "an_ask_waits_for_two_frames_at_most")
    waits = owed & ~dut.forget & ~(taken & is_ask)
    bench.prove(bench.waiting(waits, 27) < 27, "an_ask_is_said_before_long")
    bench.cover(taken & is_ask & bench.past(owed, 8), "an_ask_is_said")


@proof(
    component="hdl.status",
    claim="A status says EPOCH, DONE and FLAGS as they were together in one moment, so never of a "
          "group that had not committed; a set that is due is waiting or being said, never "
          "forgotten.",
    rule="I7, R19",
    method=Induction(7),
    sizes="2 sets, 1 link, any tables",
    faults={"EPOCH is not looked at": StuckAt("epoch"),
            "DONE is not looked at": StuckAt("gseq"),
            "notices are forgotten": StuckAt("waiting")},
    fault_depth=14,
    cover_depth=14,
    seconds=10,
)
def status_says_one_moment(bench):
    m = bench.m
    dut = StatusSender(PAIRS)
    part = bench.add(dut, driven=("meta",))
    tables = Tables(bench, dut.meta, PAIRS)
    words = [Array(tables.remember(word, name=word.name.lower(), others=1))
             for word in (SetWord.EPOCH, SetWord.DONE, SetWord.FLAGS)]
    submit = dut.submit[0]
    said = data.View(header(Type.STATUS), submit.payload.header)
    epoch, gseq, flags = (Signal(16, name=name) for name in ("epoch_then", "done_then",
                                                             "flags_then"))
    with m.If(tables.gnt):
        m.d.sync += [then.eq(word[said.set[:PAIRS.set_bits]])
                     for then, word in zip((epoch, gseq, flags), words, strict=True)]
    bench.prove(~submit.valid | ((said.epoch == epoch[:8]) & (said.gseq == gseq)
                                 & (said.flags == flags[:8])), "says_one_moment")
    bench.prove(~tables.writes["page"], "writes_nothing")
    states = ("LOCK_SET", "READ_EPOCH", "READ_DONE", "READ_FLAGS", "CHOOSE_LINK", "SUBMIT_STATUS")
    bench.invariant(part.ongoing("SEEK_SET", *states), "in_a_state")
    reading = part.ongoing("READ_EPOCH", "READ_DONE", "READ_FLAGS")
    bench.invariant(~reading | tables.held_before, "reads_under_the_lock")
    seen = part.ongoing("CHOOSE_LINK", "SUBMIT_STATUS")
    bench.invariant(~seen | ((said.epoch == epoch[:8]) & (said.gseq == gseq)
                             & (said.flags == flags[:8])), "keeps_one_moment")

    set_ = bench.constant(PAIRS.set_bits, "set_")
    noticed = Cat(due.valid & (due.set == set_) for due in dut.due).any()
    taken = submit.valid & submit.ready & (said.set == set_)
    owed = Signal()
    m.d.sync += owed.eq((owed & ~taken) | noticed)
    known = part.tap("waiting").bit_select(set_, 1) | (
        part.ongoing(*states) & (said.set == set_))
    bench.prove(~owed | known, "what_is_due_is_not_forgotten")
    bench.cover(taken & owed, "said")


@proof(
    component="hdl.follower",
    claim="A set becomes FOLLOWING only by the BEGIN or RESYNC at hand, once it was ASKED in the "
          "life that is followed, in the epoch after its own, by BEGIN only if nothing was "
          "WRITTEN; ASKED rises only by an ASK of that life; INCONSISTENT falls only by RESYNCED "
          "of the present epoch, or a BEGIN, and until then the set is among the suspects.",
    rule="R21, R22: never under a life or an epoch that it was not told",
    method=Induction(11),
    sizes="2 sets, any tables, any frames",
    faults={"every epoch is the next one": StuckAt("ahead", 1),
            "every set counts as asked for": StuckAt("flags", int(TargetFlag.ASKED)),
            "nobody is suspected": StuckAt("suspects")},
    fault_depth=30,
    cover_depth=24,
    seconds=20,
    quick=False,
)
def follower_follows_what_it_was_told(bench):
    g = PAIRS
    dut = Follower(g)
    part = bench.add(dut, driven=("meta",))
    meta = dut.meta
    tables = Tables(bench, meta, g)
    flags = tables.remember(SetWord.FLAGS, name="flags")
    epochs = tables.remember(SetWord.EPOCH, name="epoch")
    bench.held_until_taken(dut.events, "event_holds")
    event = dut.events.payload
    bench.assume(event.type.matches(*CONTROL_TYPES), "control_frames_only")
    bench.calm(meta.gnt == meta.req, "nothing_waits")
    ask = data.View(header(Type.ASK), event.header)
    begin = data.View(header(Type.BEGIN), event.header)
    states = set(part.fragment.generated["fsm"].encoding)
    recalling = {"LOCK_LIFE", "RECALL_LIFE", "RECALL_FLAGS", "NEXT_FLAGS"}
    leaving = {"LOCK_ALL_SETS", "LEAVE_OLD_LIFE"}
    at_set = states - recalling - leaving - {"AWAIT_FRAME", "REJECT"}
    bench.invariant(part.ongoing(*states), "in_a_state")
    bench.invariant(part.ongoing(*recalling, "AWAIT_FRAME", "REJECT")
                    | (dut.events.valid & (begin.set < g.sets)), "has_a_frame")
    bench.invariant(~part.ongoing(*at_set) | (part.tap("set_") == begin.set), "is_at_its_set")
    bench.invariant(~part.ongoing(*at_set - {"WRITE_LIFE"}) | (event.type != Type.ASK)
                    | (ask.life == dut.life), "follows_who_asks")
    asked = event.type == Type.ASK
    begun = (event.type == Type.BEGIN) | (event.type == Type.RESYNC)
    for n, (flag, epoch) in enumerate(zip(flags, epochs, strict=True)):
        set_ = C(n, g.set_bits)
        write = tables.writes["page"] & tables.is_at(SetWord.FLAGS, set_)
        new = meta.page_wdata

        rise = Mux(write, new & ~flag, 0)
        fall = Mux(write, flag & ~new, 0)
        of_set = dut.events.valid & (begin.set == n)
        told = (of_set & begun & (begin.epoch == epoch[:8]) & (flag & TargetFlag.ASKED).any()
                & ((event.type == Type.RESYNC) | ~(flag & TargetFlag.WRITTEN).any()))
        bench.prove(~(rise & TargetFlag.FOLLOWING).any() | told,
                    f"set_{n}_follows_what_it_was_told")
        bench.prove(~(rise & TargetFlag.ASKED).any()
                    | (of_set & asked & (ask.life == dut.life)),
                    f"set_{n}_is_asked_by_the_life_followed")
        whole = (event.type == Type.RESYNCED) & (begin.epoch == epoch[:8])
        bench.prove(~(fall & TargetFlag.INCONSISTENT).any()
                    | (of_set & (whole | (event.type == Type.BEGIN))),
                    f"set_{n}_is_whole_when_told")
        moves = tables.writes["page"] & tables.is_at(SetWord.EPOCH, set_)
        bench.prove(~(flag & TargetFlag.INCONSISTENT).any() | dut.suspects[n],
                    f"set_{n}_is_suspected_while_it_is_torn")
        bench.prove(~(moves & ~asked) | (of_set & (new[:8] == (epoch + 1)[:8])),
                    f"set_{n}_takes_the_next_epoch")
    bench.cover(Cat(tables.writes["page"] & tables.is_at(SetWord.FLAGS, C(1, g.set_bits))
                    & (meta.page_wdata & TargetFlag.FOLLOWING).any()), "follows")
