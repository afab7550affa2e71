"""Deliberate faults in the gateware turn scenarios red, for the right reason.

All faults are in one build, and the start of the board chooses. The same scenarios on the same
build are green without a fault, so it is the fault that they notice.
"""

import pytest

from firmware_model.mutations import IN_GATEWARE, Mutation
from hdl.mutations import Selected
from tests.gateware import scenarios  # noqa: F401 - registers them
from tests.gateware.faulty_board import seed_for
from tests.gateware.native import native_world
from tests.scenarios.world import SCENARIOS, WorldTimeout

SEEDS = (1, 2, 3)       # of the channels: what they lose decides whether some faults show

NOTICED_BY = {
    Mutation.PENDING_NOT_SET: "the_seeds_three_chains_in_one_set",
    Mutation.PACKET_NOT_SET: "a_collision_in_flight_sends_nothing_twice",
    Mutation.END_OF_CHAIN_DROPPED: "a_chain_that_writes_a_track_twice",
    Mutation.SEQUENCE_NOT_CHECKED: "links_share_the_load_and_reorder",
    Mutation.SLOT_FREED_WHILE_PENDING: "pending_data_outlives_the_turnover_of_the_cache",
    Mutation.CRC_NOT_CHECKED: "damaged_frames_are_sent_again",
    Mutation.RECONNECT_WRONG_GROUP: "a_volume_waits_for_the_group_that_holds_its_track",
}


def play(name, mutation, seed=1):
    with native_world(seed=seed_for(mutation, seed), top="tests.gateware.faulty_board:FaultyBoard",
                      thorough=False) as world:
        SCENARIOS[name](world)


def test_every_fault_has_a_number_and_a_scenario():
    assert set(NOTICED_BY) == set(IN_GATEWARE)
    assert [Selected.number_of(m) for m in (None, *Mutation)] == list(range(len(Mutation) + 1))


@pytest.mark.parametrize("name", sorted(set(NOTICED_BY.values())))
def test_green_without_a_fault(name):
    play(name, None)


@pytest.mark.parametrize("mutation", IN_GATEWARE)
def test_fault_is_noticed(mutation):
    name = NOTICED_BY[mutation]
    for seed in SEEDS:
        try:
            play(name, mutation, seed)
        except WorldTimeout as error:       # it shows too, but that could have other reasons
            print(f"{name}, seed {seed}: {error}")
        except AssertionError as error:
            print(f"{name}, seed {seed}: {error!r}")
            return
    pytest.fail(f"{name} does not notice {mutation.name}")
