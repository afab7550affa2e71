"""A core of the small worlds; ``python -m tests.exhaustive`` has all of them."""

import itertools

import pytest

from firmware_model.mutations import Mutation
from firmware_model.system import RESTARTS, Kind
from tests.exhaustive.worlds import (
    SCHEDULES,
    STRIKES,
    SUBSETS,
    Tally,
    Violation,
    canonical,
    explore,
    interleavings,
    programs,
    start,
)

# Of two and three chains: two sets, one set in two groups, a collision with each kind of chain.
CORE = [((0, (0, 1)), (1, (0,))), ((0, (0,)), (0, (0,)))]

# What each fault needs to show: the program, and the schedule.
SHOWN_BY = {
    Mutation.PENDING_NOT_SET: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.PACKET_NOT_SET: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.END_OF_CHAIN_DROPPED: (((0, (0,)), (0, (1,))), "all_at_once"),
    Mutation.SEQUENCE_NOT_CHECKED: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.SLOT_FREED_WHILE_PENDING: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.CRC_NOT_CHECKED: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.RECONNECT_WRONG_GROUP: (((0, (0,)), (0, (1,)), (0, (1,))), "many_in_flight"),
    Mutation.RESENT_GROUP_GROWS: (((0, (0,)), (0, (1,)), (0, (2,))), "many_in_flight"),
    Mutation.STATUS_NOT_MATCHED: (((0, (0,)), (0, (1,))), "many_in_flight"),
    Mutation.DUPLICATE_COUNTED: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.STAGING_NOT_RESERVED: (((0, (0, 1, 2)), (1, (0, 1, 2))), "many_in_flight"),
    Mutation.LOSS_NOT_REWOUND: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.COMMIT_NOT_FINISHED: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.CHAINS_COUNTED_TWICE: (((0, (0,)), (0, (1,)), (0, (0,))), "all_at_once"),
    Mutation.LOST_TARGET_BEGUN: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.RESYNC_NOT_MARKED: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.RESYNCED_EARLY: (((0, (0,)), (0, (0,))), "one_by_one"),
    Mutation.SCAN_SKIPS_TRACKS: (((0, (0, 1)), (0, (1, 2))), "one_by_one"),
    Mutation.OLD_SESSIONS_KEPT: (((0, (0,)), (0, (0,))), "last_first"),
    Mutation.UPDATE_LOST: (((0, (0,)), (0, (0,))), "many_in_flight"),
}
# Rules of the host port that no program of distinct tracks meets, and one that costs only time.
ELSEWHERE = {Mutation.FIRST_WRITE_WINS, Mutation.SPAN_NOT_CHECKED, Mutation.LIMIT_NOT_CHECKED,
             Mutation.ABORT_COMMITS, Mutation.STATUS_REWINDS}


@pytest.mark.requirement("R02", "R14", "R21", "R22", "R23")
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_fault_at_every_event(schedule):
    tally = Tally()
    for program in [*programs(1), *CORE]:
        tally.add(explore(program, schedule))
    print(tally)
    assert tally.merged < tally.strikes < tally.events
    assert {Kind[name] for name in tally.kinds} == STRIKES
    for kind in RESTARTS:
        assert tally.kinds[kind.name] > tally.programs


@pytest.mark.requirement("R14", "R19", "R20", "R21")
def test_every_order_of_events():
    tally = interleavings(((0, (0,)), (1, (0,))), faults=0)
    print(tally)
    assert tally.events > 600


@pytest.mark.parametrize("mutation", SHOWN_BY)
def test_faults_are_found(mutation):
    program, schedule = SHOWN_BY[mutation]
    with pytest.raises(Violation, match=r"program .*, schedule .*, event \d+, fault") as caught:
        explore(program, SCHEDULES[schedule], [mutation])
    print(caught.value)


def test_every_fault_is_found_here_or_elsewhere():
    assert set(SHOWN_BY) | ELSEWHERE == set(Mutation)
    assert not set(SHOWN_BY) & ELSEWHERE


def test_programs_differ_in_more_than_names():
    every = set(itertools.product(itertools.product((0, 1), SUBSETS), repeat=2))
    chosen = list(programs(2))
    assert len(every) == 14 ** 2
    assert {canonical(p) for p in every} == {canonical(p) for p in chosen}
    assert len(chosen) == len({canonical(p) for p in chosen}) == 22
    assert len(list(programs(3))) == 188


def test_a_fork_is_a_world_of_its_own():
    world = start(((0, (0,)), (0, (0,))))
    world.write()
    other = world.fork()
    while moves := other.moves():
        other.go(moves[0])
    assert other.system.source.pages[0].done == 2
    assert world.system.source.pages[0].done == 0
    assert world.system.source.read_track(0, 0) == b"0.0".ljust(16, b".")
    world.check_end()
