"""Slots and the free list: a slot is in exactly one place."""

from amaranth import *

from hdl.freelist import FreeList

from ..bench import StuckAt
from ..proof import Induction, proof
from ..sizes import TINY


@proof(
    component="hdl.freelist",
    claim="A slot is in exactly one place: on the free list once, held back for its pin, or with "
          "whoever popped it. None is lost, none is given out twice or while it is pinned.",
    rule="I1, slot map and free list",
    method=Induction(2), cover_depth=20,
    sizes="4 free slots",
    faults={
        "a pinned slot goes straight to the list": StuckAt("pinned"),
        "the slot held back is never returned": StuckAt("lifted"),
        "filled with one slot over and over": StuckAt("fill", 3),
    },
    seconds=4,
)
def freelist_one_place(bench):
    m = bench.m
    first, count = 2, 4
    dut = FreeList(TINY, first=first, count=count)
    part = bench.add(dut)
    fill, held, holding = part.tap("fill"), part.tap("held"), part.tap("holding")
    coming, has_come = part.tap("coming"), part.tap("has_come")
    queue, produce, consume = (part.tap(f"fifo.{name}")
                               for name in ("inner_level", "produce", "consume"))
    head, has_head = part.tap("fifo.r_data"), part.tap("fifo.r_rdy")
    rows = [part.row("fifo.storage", place) for place in range(count - 1)]

    # Ghost: whoever popped a slot has it until it is pushed. The first slots are the tracks' at
    # reset, and as many always are: that is what the depth of the list relies on.
    out = Signal(first + count, init=(1 << first) - 1)
    pops, pushes = (stream.valid & stream.ready for stream in (dut.pop, dut.push))
    bench.assume(dut.cold & ~dut.warm, "cold_start")
    bench.held_until_taken(dut.push, "push_held")
    bench.assume(~dut.push.valid | (out.bit_select(dut.push.payload, 1)
                                    & (sum(out) > first)
                                    & (dut.push.payload < first + count)), "pushed_by_owner")
    for slot in range(first + count):
        with m.If(pops & (dut.pop.payload == slot)):
            m.d.sync += out[slot].eq(1)
        with m.If(pushes & (dut.push.payload == slot)):
            m.d.sync += out[slot].eq(0)

        coming_here, held_here = has_come & (coming == slot), holding & (held == slot)
        places = [out[slot], coming_here, has_head & (head == slot), held_here,
                  ~dut.ready & (fill <= slot) & (slot >= first)]
        for place, row in enumerate(rows):
            offset = Mux(consume > place, place + count - 1 - consume, place - consume)
            places.append((offset < queue) & (row == slot))
        bench.prove(sum(places) == 1, f"slot_{slot}_in_one_place")

        pinned = dut.pin & (dut.pin_slot == slot)
        bench.assume(~pinned | out[slot] | bench.past(pinned), f"pin_found_{slot}_in_use")
        bench.prove(~pinned | out[slot] | coming_here | held_here, f"slot_{slot}_kept_for_pin")
    bench.cover(holding & ~dut.pin, "held_back")
    bench.cover(bench.ever(holding) & (dut.level == count), "all_came_back")

    # What makes it inductive: the queue's own order, and the filling.
    bench.invariant((queue < count) & (produce < count - 1) & (consume < count - 1),
                    "queue_in_range")
    turned = consume + queue
    bench.invariant(produce == Mux(turned >= 2 * (count - 1), turned - 2 * (count - 1),
                                   Mux(turned >= count - 1, turned - (count - 1), turned)),
                    "queue_in_order")
    bench.invariant(sum(out) >= first, "tracks_have_theirs")
    bench.invariant(has_head | (queue <= 1), "head_follows_queue")
    bench.invariant(dut.ready | ((dut.level + first == fill) & ~holding & ~has_come
                                 & (out == (1 << first) - 1)), "filling")
    bench.prove(~dut.ready | (dut.level + holding + has_come + sum(out)
                               == first + count), "none_lost")
