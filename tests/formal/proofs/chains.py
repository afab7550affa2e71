"""The chain processor at the source: wholly or not at all, and onto the order list once."""

from amaranth import *
from amaranth.lib import data

from firmware_model.wire import SetWord, Type
from hdl.chain import ChainProcessor
from hdl.interfaces import Entry, header
from hdl.metadata import page
from hdl.mutations import Mutation
from hdl.recovery import CHAIN_RECORD, CHAIN_RECORD_HIGH, CHAIN_RECORD_LOW

from ..bench import Forced, StuckAt
from ..proof import Induction, proof
from ..sizes import PAIRS
from ..tables import Tables

RECORD = ("RECORD_CHAINS_LOW", "READ_OLD_CHAINS_HIGH", "RECORD_CHAINS_HIGH", "RECORD_CHAIN")
COMMIT = ("LOCK_FOR_COMMIT", "READ_TAIL", "READ_UNSENT", *RECORD, "FETCH_ENTRY", "LOOK_UP_TRACK",
          "SWAP_SLOTS", "WRITE_TAIL", "READ_UNSENT_AGAIN", "WRITE_UNSENT", "READ_RECORD_LOW",
          "WRITE_CHAINS_LOW", "READ_RECORD_HIGH", "WRITE_CHAINS_HIGH", "CLEAR_RECORD")


class ChainBench:
    """A chain processor with any host, any tables, and what can be seen of it counted."""

    def __init__(self, bench):
        m = bench.m
        g = self.geometry = PAIRS
        mutation = bench.fault if isinstance(bench.fault, Mutation) else None
        dut = self.dut = ChainProcessor(g, mutation=mutation)
        part = self.part = bench.add(dut, driven=["meta", "finish"])    # cold start
        tables = self.tables = Tables(bench, dut.meta, g)
        event = dut.events.payload
        bench.held_until_taken(dut.events, "events_hold")
        bench.assume(~dut.events.valid | (event.type == Type.CHAIN) | (event.type == Type.WRITE),
                     "events_are_chain_or_write")

        bench.calm(dut.status.ready & dut.free.ready & ~dut.new_session & ~dut.sink.valid
                   & (dut.meta.gnt == dut.meta.req), "nothing_waits")

        taken = dut.events.valid & dut.events.ready
        self.begins = taken & (event.type == Type.CHAIN)
        self.freed = dut.free.valid & dut.free.ready
        self.set_ = part.tap("set_")
        self.count = Signal(8, name="chain_count")          # of the CHAIN frame taken last
        self.private = [Signal.like(dut.slot, name=f"private_{n}") for n in range(g.chain_limit)]
        self.out = Signal(8, name="private_slots")          # taken, neither freed nor visible
        self.commands = Signal(8, name="commands")          # of the chain that commits
        self.complete = dut.chain_open & (self.out == self.count)
        self.taken = Signal(8, name="slots_taken")          # by the chain at hand, ever
        with m.If(self.begins):
            chain = data.View(header(Type.CHAIN), event.header)
            m.d.sync += [self.count.eq(chain.count), self.commands.eq(0), self.taken.eq(0)]
        with m.If(dut.take):
            m.d.sync += [self.out.eq(self.out + 1), self.taken.eq(self.taken + 1)]
            for n, slot in enumerate(self.private):
                with m.If(self.out == n):
                    m.d.sync += slot.eq(dut.slot)
        with m.Elif(dut.committed):
            m.d.sync += self.out.eq(0)
        with m.Elif(self.freed & ~self.complete):
            m.d.sync += self.out.eq(self.out - 1)
        with m.If(dut.command):
            m.d.sync += self.commands.eq(self.commands + 1)

        # The states, and what holds in them.
        position = part.tap("position")
        self.committing = part.ongoing(*COMMIT)
        self.walking = part.ongoing("FETCH_ENTRY", "LOOK_UP_TRACK", "SWAP_SLOTS")
        self.ending = part.ongoing(*COMMIT[COMMIT.index("WRITE_TAIL"):])
        freeing = part.ongoing("FREE_PRIVATE_SLOTS", "FREE_ONE_SLOT")
        waiting = part.ongoing("AWAIT_FRAME", "SORT_FRAME")
        event = dut.events.payload
        write = data.View(header(Type.WRITE), event.header)
        chain = data.View(header(Type.CHAIN), event.header)
        sorts = part.ongoing("SORT_FRAME")
        judges = part.ongoing("JUDGE_FRAME")
        bench.invariant(~(sorts | judges) | dut.events.valid, "sorts_what_is_there")
        bench.invariant(~(sorts | judges)
                        | ((part.tap("empty") == (chain.count == 0))
                           & (part.tap("too_long") == (chain.count > g.chain_limit))),
                        "sorted_by_count")
        for name, value in {
            "mine": (write.tag == part.tap("tag")) & (dut.chain_open | part.tap("refused")),
            "whole": event.length == g.track_bytes,
            "in_turn": write.index == position,
            "completes": position + 1 == part.tap("count"),
        }.items():
            bench.invariant(~sorts | (part.tap(name) == value), f"sorted_by_{name}")
        bench.invariant(~dut.chain_open | (part.tap("count") == self.count), "count_kept")
        bench.invariant(~dut.chain_open | ((self.count != 0) & (self.count <= g.chain_limit)),
                        "count_in_bounds")
        bench.invariant(dut.chain_open == (self.committing | (dut.chain_open & waiting)),
                        "open_while_waiting_or_committing")
        bench.invariant(~(dut.chain_open & waiting) | ((position == self.out)
                                                       & (self.out < self.count)
                                                       & (self.out == self.taken)
                                                       & (self.commands == 0)), "data_counted")
        bench.invariant(~self.committing | (self.out == self.count), "commits_with_all_data")
        rest = part.tap("count")
        bench.invariant(~freeing | ((position + self.out == rest) & (rest == self.taken)
                                    & (rest <= g.chain_limit)), "frees_the_rest")
        bench.invariant(~part.ongoing("FREE_ONE_SLOT") | (self.out != 0), "one_to_free")
        bench.invariant(freeing | dut.chain_open | (self.out == 0), "no_slots_otherwise")
        bench.invariant(self.committing | ~dut.chain_open | (self.commands == 0), "no_commands_yet")
        bench.invariant(~part.ongoing(*COMMIT[:COMMIT.index("FETCH_ENTRY")])
                        | ((self.commands == 0) & (position == 0)), "commit_begins")
        bench.invariant(~part.ongoing("LOCK_RECORD", "READ_RECORD", "NEXT_RECORD",
                                      "REPORT_FINISHED"), "nothing_to_finish")
        bench.invariant(~self.walking | ((position == self.commands)
                                         & (self.commands < self.count)), "commands_counted")
        bench.invariant(~self.ending | (self.commands == self.count), "commands_complete")
        judged = part.ongoing("LOCK_FOR_CHECK", "COMPARE", "FETCH_WORST", "JUDGE_CHAIN")
        bench.invariant(~judged | ((part.tap("count") == self.count) & (self.commands == 0)
                                   & (self.taken == 0)
                                   & (self.count != 0) & (self.count <= g.chain_limit)),
                        "judged_count")
        for n, slot in enumerate(self.private):
            row = part.row("write_set.slots", n)
            matters = Mux(freeing, (position <= n) & (n < rest), n < self.out)
            bench.invariant(~matters | (row == slot), f"slot_{n}_noted")
        entry = self.entry = data.View(Entry(g), part.tap("write_set.entry"))
        looked_up = part.ongoing("LOOK_UP_TRACK", "SWAP_SLOTS")
        bench.invariant(~looked_up | (entry.slot == self.slot_of(self.commands)), "entry_is_read")
        bench.invariant(~part.ongoing("FREE_ONE_SLOT")
                        | (entry.slot == self.slot_of(position)), "oldest_is_read")
        locked = part.ongoing(*COMMIT[1:], "COMPARE", "FETCH_WORST", "JUDGE_CHAIN",
                              "DISCONNECT_VOLUME")
        bench.invariant(~locked | tables.held_before, "lock_is_held")

    def slot_of(self, number):
        return Array(self.private)[number[:2]]


@proof(
    component="hdl.chain",
    claim="Nothing of a chain reaches the tables before its last WRITE has come: until then no "
          "page and no link is written, and of a track's state and volume only that somebody "
          "waits for them. Then exactly its commands are written, all within one hold of the "
          "lock. A chain that ends otherwise gives back each of its private slots once and has "
          "written nothing.",
    rule="I2, R11, R27",
    method=Induction(4),
    sizes="chains of up to 3, 2 sets, any tables, any frames from the host",
    faults={
        "commits a command early": Forced("last", 1, "SWAP_SLOTS"),
        "the lock is let go during the walk": Forced("meta__req", 0, "LOOK_UP_TRACK"),
        "an abort keeps the newest slot": Forced("free__valid", 0, "FREE_ONE_SLOT"),
        "commit frees the slot it made visible": Mutation.SLOT_FREED_WHILE_PENDING,
        "pending is not set": Mutation.PENDING_NOT_SET,
    },
    fault_depth=40,
    cover_depth=40,
    seconds=15,
    quick=False,
)
def chain_all_or_nothing(bench):
    c = ChainBench(bench)
    dut, meta, tables = c.dut, c.dut.meta, c.tables
    old, new = meta.state_rdata, meta.state_wdata
    writes = tables.writes
    same_track = bench.past(meta.state_addr) == meta.state_addr

    bench.prove(~tables.writes_unlocked, "writes_under_the_lock_only")
    bench.prove(~(writes["page"] | writes["link"]) | c.complete, "no_list_before_the_last_write")
    notes = (new.slot == old.slot) & (new.pending == old.pending) & (new.packet == old.packet)
    bench.prove(~writes["state"] | c.complete | (same_track & notes & new.waiter),
                "no_state_before_the_last_write")
    bench.prove(~writes["volume"] | (~c.complete & meta.volume_wdata.disconnected),
                "volumes_are_only_disconnected")

    bench.prove(~dut.command | (c.complete & (c.commands < c.count)), "as_many_commands")
    bench.prove(~dut.committed | (c.complete & (c.commands == c.count)), "commits_all_of_it")
    bench.prove(dut.command == (writes["state"] & c.complete), "a_command_is_a_write")
    bench.prove(~dut.command | (same_track & (new.slot == c.slot_of(c.commands)) & new.pending
                                & ~new.packet & ~new.waiter), "private_slot_becomes_visible")
    bench.prove(~dut.command | (c.freed & (dut.free.payload == old.slot)), "old_slot_is_freed")
    bench.prove(~c.freed | ~c.complete | dut.command, "frees_nothing_else_in_commit")
    under_way = c.complete & (c.commands != 0)
    bench.prove(~under_way | meta.gnt, "in_one_hold")

    aborts = bench.past(dut.chain_open & ~dut.committed) & ~dut.chain_open
    bench.prove(~aborts | bench.past(~c.complete), "a_commit_is_not_aborted")
    bench.prove(~c.freed | c.complete | ((c.out != 0)
                                         & (dut.free.payload == c.slot_of(c.taken - c.out))),
                "abort_frees_private_slots")
    bench.prove(~(c.begins | dut.take) | dut.chain_open | (c.out == 0), "all_were_freed")
    bench.prove(~c.begins | ~dut.chain_open, "one_chain_at_a_time")
    # An abort that has begun is not forgotten: slots are offered until all are back.
    lingers = bench.waiting((c.out != 0) & ~dut.chain_open & dut.free.ready & ~c.freed, 3)
    bench.prove(lingers <= 2, "abort_goes_on")
    bench.cover(dut.committed & (c.count == 2), "chain_of_two")


@proof(
    component="hdl.chain",
    claim="A commit appends each track that was not pending to its set's order list once, in the "
          "order of the write set, after the former tail; end_of_chain stands before the first "
          "track only; TAIL, UNSENT and the number of chains end up right. A track that is "
          "pending already keeps its place. No other page word or link changes.",
    rule="I3, I6, R14: the order list loses nothing and repeats nothing",
    method=Induction(4),
    sizes="chains of up to 3, 2 sets, any tables, any frames from the host",
    faults={
        "chains run into each other": Mutation.END_OF_CHAIN_DROPPED,
        "every track follows the old tail": StuckAt("tail"),
        "the number of unsent tracks stands still": StuckAt("more"),
    },
    fault_depth=40,
    cover_depth=40,
    seconds=6,
)
def chain_appends_once(bench):
    m = bench.m
    c = ChainBench(bench)
    dut, part, meta, tables = c.dut, c.part, c.dut.meta, c.tables
    g, writes = c.geometry, tables.writes

    def at(word):
        return meta.page_addr == page(c.set_, word)

    def read(word):
        return c.committing & tables.reads["page"] & bench.past(at(word))

    def remembered(word, name, **options):
        """What the page of the chain's set says at ``word``."""
        return Array(tables.remember(word, name=name, **options))[c.set_]

    before = remembered(SetWord.UNSENT, "unsent_word", others=1)
    record = Cat(remembered(CHAIN_RECORD_LOW, "record_low"),
                 remembered(CHAIN_RECORD_HIGH, "record_high"))
    bench.assume(before < 0xFF00, "lists_can_be_counted")
    tail = Signal(g.track_index_bits)
    unsent = Signal(16)
    chains = Signal(32)
    with m.If(read(SetWord.TAIL)):
        m.d.sync += tail.eq(meta.page_rdata)
    with m.If(read(SetWord.UNSENT) & ~c.ending):
        m.d.sync += unsent.eq(meta.page_rdata)
    with m.If(read(SetWord.CHAINS_LOW)):
        m.d.sync += chains[:16].eq(meta.page_rdata)
    with m.If(read(SetWord.CHAINS_HIGH)):
        m.d.sync += chains[16:].eq(meta.page_rdata)
    index = meta.state_addr
    appends = dut.command & ~meta.state_rdata.pending
    with m.If(appends):
        m.d.sync += [tail.eq(index), unsent.eq(unsent + 1)]
    starts_list = writes["page"] & at(SetWord.FIRST)
    links = writes["link"]
    bench.prove(~appends | (starts_list == (unsent == 0)), "first_of_an_empty_list")
    bench.prove(~appends | (links == (unsent != 0)), "linked_otherwise")
    bench.prove(~starts_list | (appends & (meta.page_wdata == index)), "first_is_the_track")
    bench.prove(~links | (appends & (meta.link_addr == tail)), "after_the_tail")
    bench.prove(~links | ((meta.link_wdata.next == index)
                          & (meta.link_wdata.end_of_chain == (c.commands == 0))),
                "link_says_successor_and_end_of_chain")
    total = chains + 1
    words = {SetWord.TAIL: tail, SetWord.UNSENT: unsent, SetWord.CHAINS_LOW: total[:16],
             SetWord.CHAINS_HIGH: total[16:32]}
    for word, value in words.items():
        bench.prove(~(writes["page"] & at(word))
                    | ((c.commands == c.count) & (meta.page_wdata == value)),
                    f"{word.name.lower()}_is_right")
    noted = Cat(at(word) for word in (CHAIN_RECORD, CHAIN_RECORD_LOW, CHAIN_RECORD_HIGH)).any()
    bench.prove(~writes["page"] | starts_list | noted | Cat(at(word) for word in words).any(),
                "no_other_word")
    written = []
    for word in words:
        seen = Signal(name=f"wrote_{word.name.lower()}")
        with m.If(c.begins):
            m.d.sync += seen.eq(0)
        with m.Elif(writes["page"] & at(word)):
            m.d.sync += seen.eq(1)
        written.append(seen | (writes["page"] & at(word)))
    bench.prove(~dut.committed | Cat(written).all(), "every_word_was_written")

    listing = c.walking | part.ongoing(*RECORD)
    bench.invariant(~(listing | part.ongoing("READ_UNSENT", "WRITE_TAIL"))
                    | (part.tap("tail") == tail), "list_followed")
    bench.invariant(~listing | (part.tap("alone") == (unsent == 0)), "list_empty")
    more = part.tap("more")
    bench.invariant(~(listing | part.ongoing("WRITE_TAIL", "READ_UNSENT_AGAIN", "WRITE_UNSENT"))
                    | ((unsent == before + more) & (more <= c.commands)), "list_counted")
    bench.invariant(~part.ongoing(*COMMIT[COMMIT.index(RECORD[1]):])
                    | (record[:16] == chains[:16]), "chains_low_recorded")
    bench.invariant(~part.ongoing(*COMMIT[COMMIT.index(RECORD[3]):])
                    | (record[16:] == chains[16:]), "chains_high_recorded")
    bench.invariant(~part.ongoing("READ_RECORD_LOW", "WRITE_CHAINS_LOW") | (more == 1),
                    "one_chain_more")
    bench.invariant(~part.ongoing("READ_RECORD_HIGH", "WRITE_CHAINS_HIGH")
                    | (more == chains[:16].all()), "chains_carry")
    bench.invariant(~part.ongoing("LOOK_UP_TRACK", "SWAP_SLOTS") | (index == c.entry.index),
                    "track_at_hand")
    for n, state in enumerate(("WRITE_TAIL", "WRITE_UNSENT", "WRITE_CHAINS_LOW",
                               "WRITE_CHAINS_HIGH")):
        past_it = part.ongoing(*COMMIT[COMMIT.index(state) + 1:])
        bench.invariant(~past_it | written[n], f"wrote_{n}")
    bench.cover(dut.committed & (c.count == 2) & (unsent == 2), "two_appended")
