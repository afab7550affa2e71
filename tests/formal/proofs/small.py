"""Small components: time, queues, the comparator, the write set."""

from amaranth import *

from hdl.comparator import Comparator, Verdict
from hdl.interfaces import Volume
from hdl.poller import Poller
from hdl.streams import ByteFifo
from hdl.timer import BitTimer

from ..bench import StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS


@proof(
    component="hdl.poller",
    claim="A poll is due at the first tick at which `interval` ticks have passed since the last, "
          "at no other time, and never while the interval is 0.",
    rule="R10, I9",
    method=Induction(2),
    faults={"ticks are not counted": StuckAt("left", (1 << 24) - 2),
            "always due": StuckAt("due", 1)},
    fault_depth=5,
    cover_depth=6,
    seconds=3,
)
def poller_period(bench):
    m = bench.m
    dut = Poller()
    part = bench.add(dut)
    since = Signal(24)
    with m.If(dut.due | (dut.interval == 0)):
        m.d.sync += since.eq(0)
    with m.Elif(dut.tick):
        m.d.sync += since.eq(since + 1)
    over = dut.tick & (dut.interval != 0) & (since + 1 >= dut.interval)
    bench.prove(dut.due == over, "due_when_over")
    bench.invariant(part.tap("left") == (-2 - since)[:24], "counts_ticks")
    bench.invariant(~since.all(), "the_longest_interval_is_over_before")
    bench.cover(dut.due & (dut.interval == 3), "due")


@proof(
    component="hdl.timer",
    claim="`unit` comes with every fourth tick and `beat` with every fourth `unit`, and both with "
          "ticks only.",
    rule="time-outs (R23)",
    method=Induction(2),
    sizes="4 bits a unit, 4 units a beat",
    faults={"bits are not counted": StuckAt("bits"), "units are not counted": StuckAt("units")},
)
def bit_timer_period(bench):
    m = bench.m
    dut = BitTimer(4, 4)
    part = bench.add(dut)
    ticks = Signal(4)
    m.d.sync += ticks.eq(ticks + dut.tick)
    bench.prove(dut.unit == (dut.tick & ticks[:2].all()), "every_fourth_tick")
    bench.prove(dut.beat == (dut.tick & ticks.all()), "every_sixteenth_tick")
    bench.invariant(Cat(part.tap("bits"), part.tap("units")) == ticks, "counts_ticks")


@proof(
    component="hdl.streams",
    claim="Bytes leave the queue in the order in which they came, once each; one is dropped only "
          "when the queue is full, and then said to be.",
    rule="lines: nothing is lost unnoticed",
    method=Induction(3),
    sizes="4 places",
    faults={
        "the writer stands still": StuckAt("end"),
        "the queue is never full": StuckAt("full"),
    },
    fault_depth=12,
    cover_depth=12,
    seconds=3,
)
def byte_fifo_order(bench):
    m = bench.m
    places = 4
    dut = ByteFifo(places)
    part = bench.add(dut)
    begin, end = part.tap("begin"), part.tap("end")
    rows = [part.row("ring", n) for n in range(places)]

    # Ghost: a shift register of what must still come.
    queue = [Signal(8, name=f"queue_{n}") for n in range(places)]
    level = Signal(range(places + 1))
    taken = dut.o.valid & dut.o.ready
    put = dut.i.valid & ~dut.overflow
    where = level - taken
    m.d.sync += level.eq(where + put)
    for n in range(places):
        with m.If(put & (where == n)):
            m.d.sync += queue[n].eq(dut.i.payload)
        with m.Elif(taken & (n + 1 < places)):
            m.d.sync += queue[n].eq(queue[min(n + 1, places - 1)])
    bench.prove(~dut.o.valid | ((level != 0) & (dut.o.payload == queue[0])), "in_order")
    bench.prove(dut.overflow == (dut.i.valid & (level == places - 1)), "dropped_only_if_full")
    bench.prove(dut.o.valid | (bench.past(level) <= bench.past(taken)), "offered_a_clock_later")
    bench.holds_until_taken(dut.o, "output_holds")
    bench.invariant(level == (end - begin)[:2], "level")
    for n, row in enumerate(rows):
        at = (n - begin)[:2]
        with m.Switch(at):
            for k in range(places):
                with m.Case(k):
                    expected = Signal(8, name=f"expected_{n}_{k}")
                    m.d.comb += expected.eq(queue[k])
                    bench.invariant((at != k) | (level <= k) | (row == expected), f"row_{n}_{k}")
    bench.cover(dut.overflow, "overflow")


@proof(
    component="hdl.comparator",
    claim="`done` comes count + 2 clocks after the start, with the gravest fault of any entry, the "
          "first entry that has it, and the set of the first entry.",
    rule="R03, R27: a collision is never missed and never invented (I1)",
    method=Induction(9),
    sizes="3 entries, 2 volumes, 2 sets",
    faults={
        "the last entry is not looked up": StuckAt("last", 1),
        "every entry passes for the first": StuckAt("first", 1),
        "a found fault is forgotten": StuckAt("found"),
    },
    cover_depth=9,
    seconds=4,
)
def comparator_verdict(bench):
    m = bench.m
    g = PAIRS
    dut = Comparator(g)
    part = bench.add(dut, driven=True)
    entries = [bench.constant(g.track_index_bits, f"entry_{n}") for n in range(3)]
    states = bench.constant(1 << g.track_index_bits, "pending")
    volumes = [bench.constant(Volume(g), f"volume_{v}") for v in range(g.volumes)]
    start = bench.free(1, "start")
    count = bench.free(8, "count")
    bench.assume((count >= 1) & (count <= 3), "count_in_bounds")
    bench.assume(~bench.past(start | dut.busy) | (count == bench.past(count)), "count_stable")
    bench.assume(~(start & dut.busy), "one_at_a_time")
    for v, volume in enumerate(volumes):
        bench.assume(volume.set < g.sets, f"set_of_{v}_exists")

    def of(index, values):
        return Cat(*values).word_select(index, len(Value.cast(values[0])))

    index = Signal(g.track_index_bits)
    m.d.sync += index.eq(of(dut.position, entries))
    m.d.comb += [dut.start.eq(start), dut.count.eq(count), dut.index.eq(index)]
    m.d.sync += [dut.state.pending.eq(states.bit_select(index, 1)),
                 dut.volume.eq(of(index[g.track_bits:], volumes))]
    for n, entry in enumerate(entries):
        bench.assume(entry[g.track_bits:] < g.volumes, f"volume_of_{n}_exists")

    # What it must come to.
    kinds = []
    first = of(entries[0][g.track_bits:], volumes)[:g.set_bits]
    for n, entry in enumerate(entries):
        volume = Signal(Volume(g), name=f"volume_of_{n}")
        kind = Signal(2, name=f"kind_{n}")
        m.d.comb += volume.eq(of(entry[g.track_bits:], volumes))
        with m.If(n >= count):
            m.d.comb += kind.eq(Verdict.CLEAR.value)
        with m.Elif(volume.set != first):
            m.d.comb += kind.eq(Verdict.SPANS_SETS.value)
        with m.Elif(volume.disconnected):
            m.d.comb += kind.eq(Verdict.DISCONNECTED.value)
        with m.Elif(states.bit_select(entry, 1)):
            m.d.comb += kind.eq(Verdict.COLLISION.value)
        kinds.append(kind)
    judged = bench.past(dut.done & ~start)
    for n, kind in enumerate(kinds):
        gravest = Cat(kind >= other for other in kinds).all()
        earliest = ~Cat(other == kind for other in kinds[:n]).any()
        is_worst = dut.worst_position == n
        bench.prove(~(judged & gravest & earliest)
                    | ((dut.verdict.as_value() == kind) & ((kind == 0) | is_worst)),
                    f"verdict_{n}")
    bench.prove(~judged | (dut.set == first), "set_of_first")
    age = Signal(4)
    with m.If(start):
        m.d.sync += age.eq(1)
    with m.Elif(age == count + 2):
        m.d.sync += age.eq(0)
    with m.Elif(age != 0):
        m.d.sync += age.eq(age + 1)
    bench.prove(dut.done == (age == count + 2), "done_in_time")
    bench.prove(dut.busy == (age != 0), "busy_until_done")
    bench.invariant(part.tap("fetching") == ((age != 0) & (age <= count)), "fetches")
    bench.invariant(part.tap("looking") == ((age > 1) & (age <= count + 1)), "looks")
    bench.invariant(part.tap("comparing") == ((age > 2) & (age <= count + 2)), "compares")
    bench.invariant(dut.position == Mux((age != 0) & (age <= count), age - 1, 0), "position")
    bench.invariant((age < 3) | (part.tap("compared") == age - 3), "compared")
    bench.cover(dut.done & (count == 3), "done")
