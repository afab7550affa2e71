"""Arbiters and the metadata lock: one at a time, and nobody waits for ever."""

from amaranth import *

from hdl.arbiter import MemoryArbiter, RoundRobin, StreamMerge
from hdl.interfaces import SourceState
from hdl.metadata import Metadata

from ..bench import StuckAt
from ..proof import Induction, proof
from ..sizes import TINY


@proof(
    component="hdl.arbiter",
    claim="Of the clients that ask, the first after the one served last is chosen; somebody is "
          "chosen exactly when somebody asks.",
    rule="I8, I9",
    method=Induction(1),
    sizes="5 clients",
    faults={"always the same client": StuckAt("next"), "nobody is ever chosen": StuckAt("valid")},
    fault_depth=2,
)
def round_robin_order(bench):
    count = 5
    dut = RoundRobin(count)
    bench.add(dut)
    bench.assume(dut.last < count, "last_is_a_client")
    bench.prove(dut.valid == dut.requests.any(), "somebody")
    for last in range(count):
        order = [(last + 1 + n) % count for n in range(count)]
        for n, client in enumerate(order):
            first = dut.requests[client] & ~Cat(dut.requests[c] for c in order[:n]).any()
            bench.prove((dut.last != last) | ~first | (dut.next == client),
                        f"after_{last}_comes_{client}")


@proof(
    component="hdl.arbiter",
    claim="The shared memory port shows one client's request unchanged until it is acknowledged; "
          "exactly that client gets the acknowledgement; a client that asks waits for every other "
          "client once at most.",
    rule="I8, I9",
    method=Induction(14),
    sizes="3 clients, memory answers within 3 clocks",
    faults={
        "the port always belongs to the first client": StuckAt("owner"),
        "the port is never given up": StuckAt("busy", 1),
    },
    cover_depth=6,
    seconds=3,
)
def memory_arbiter_fair(bench):
    count, answer = 3, 3
    dut = MemoryArbiter(count, 2)
    part = bench.add(dut)
    owner, busy = part.tap("owner"), part.tap("busy")
    port = dut.port
    stalled = bench.waiting(port.req & ~port.ack, answer)
    bench.assume(stalled < answer, "memory_answers")
    bench.assume(~port.ack | port.req, "answers_to_requests_only")
    acks = Cat(client.ack for client in dut.clients)
    for n, client in enumerate(dut.clients):
        want = Cat(client.we, client.addr, client.wdata)
        waits = client.req & ~client.ack
        bench.assume(~bench.past(waits) | (client.req & (want == bench.past(want))),
                     f"client_{n}_holds_its_request")
        bench.prove(~client.ack | client.req, f"client_{n}_asked")
        bench.prove(~client.ack | (Cat(port.we, port.addr, port.wdata) == want),
                    f"client_{n}_was_served")
        bench.prove(bench.waiting(waits, 15) < count * (answer + 1), f"client_{n}_not_starved")
    bench.prove(port.ack == acks.any(), "every_answer_arrives")
    bench.prove((acks & (acks - 1)) == 0, "one_at_a_time")
    shown = Cat(port.req, port.we, port.addr, port.wdata)
    bench.prove(~bench.past(port.req & ~port.ack) | (shown == bench.past(shown)), "port_steady")
    bench.invariant((owner < count) & (busy | ~port.req), "owner_is_a_client")
    bench.invariant(~busy | Cat(c.req for c in dut.clients).bit_select(owner, 1), "owner_asks")
    bench.cover(acks[count - 1], "last_client_served")


@proof(
    component="hdl.arbiter",
    claim="The merged stream carries each element of each input once and unchanged, keeps what it "
          "offers until it is taken, and lets no input wait for more than all others once.",
    rule="I8, I9",
    method=Induction(11),
    sizes="3 inputs, taken within 2 clocks",
    faults={
        "the first input always wins": StuckAt("owner"),
        "an input is chosen for good": StuckAt("busy", 1),
    },
)
def stream_merge_fair(bench):
    count, patience = 3, 2
    dut = StreamMerge(count, 2)
    part = bench.add(dut)
    owner, busy = part.tap("owner"), part.tap("busy")
    out = dut.o
    bench.assume(bench.waiting(out.valid & ~out.ready, patience) < patience, "is_taken")
    bench.holds_until_taken(out, "output_holds")
    takes = Cat(i.valid & i.ready for i in dut.i)
    for n, i in enumerate(dut.i):
        bench.held_until_taken(i, f"input_{n}_holds")
        bench.prove(~takes[n] | (out.valid & out.ready & (out.payload == i.payload)),
                    f"element_of_{n}_unchanged")
        bench.prove(bench.waiting(i.valid & ~i.ready, 15) < count * (patience + 1),
                    f"input_{n}_not_starved")
    bench.prove((out.valid & out.ready) == takes.any(), "nothing_lost_or_invented")
    bench.prove((takes & (takes - 1)) == 0, "one_at_a_time")
    bench.invariant(owner < count, "owner_is_an_input")
    bench.invariant(~busy | Cat(i.valid for i in dut.i).bit_select(owner, 1), "owner_offers")


@proof(
    component="hdl.metadata",
    claim="The metadata lock is held by at most one client, only while it asks, and for as long as "
          "it asks; it is not given away before the tables are initialised; a client waits for "
          "every other one once at most.",
    rule="I8, I9; every read-modify-write of the tables",
    method=Induction(18),
    sizes="3 clients, each holding for at most 4 clocks",
    faults={
        "everybody is granted": StuckAt("granted", 15),
        "the turn is never passed on": StuckAt("passes"),
    },
    fault_depth=60,
    cover_depth=45,
    seconds=3,
)
def metadata_lock_exclusive(bench):
    count, hold = 3, 4
    dut = Metadata(TINY, SourceState(TINY), count)
    part = bench.add(dut)
    granted = part.tap("granted")
    grants = Cat(client.gnt for client in dut.clients)
    bench.prove((grants & (grants - 1)) == 0, "one_at_a_time")
    bench.prove(dut.ready | (grants == 0), "not_before_ready")
    for n, client in enumerate(dut.clients):
        bench.assume(bench.waiting(client.gnt, 7) <= hold - 1, f"client_{n}_lets_go")
        waits = client.req & ~client.gnt & dut.ready
        bench.assume(~bench.past(client.req & ~client.gnt) | client.req, f"client_{n}_insists")
        bench.prove(~client.gnt | client.req, f"client_{n}_asks")
        bench.prove(~bench.past(client.gnt) | (client.gnt == client.req), f"client_{n}_keeps_it")
        bench.prove(bench.waiting(waits, 31) <= (count - 1) * (hold + 3) + 4,
                    f"client_{n}_not_starved")
    bench.invariant((granted != 0) & ((granted & (granted - 1)) == 0), "granted_to_one")
    # The recovery is the last client, and asks until it is done.
    bench.assume(~dut.warm, "cold_start")
    bench.invariant(dut.ready | (granted == 1 << count), "recovery_first")
    bench.invariant(~part.ongoing("FINISH_CHAIN", submodule=["recovery"]), "nothing_to_finish")
    at_rest = part.ongoing("REST", submodule=["recovery"])
    bench.invariant(~dut.ready | at_rest, "initialised_once")
    bench.cover(grants[count - 1], "last_client_granted")
