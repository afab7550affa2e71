"""Scenarios with one engine for all lines of each system, on the fastest lines that it serves.

Reads of block RAM while it is written say nothing true here, as in
:mod:`.test_scenarios_cocotb`: the engine's state lies there.
"""

import pytest

from tests.gateware import scenarios  # noqa: F401 - registers them
from tests.gateware.native import running_world
from tests.gateware.shared_board import SHARED
from tests.scenarios.generator import play
from tests.scenarios.world import SCENARIOS

PROGRAM_LENGTH = 25


def world(seed=1):
    return running_world(top="tests.gateware.shared_board:SharedBoard", geometry=SHARED, seed=seed,
                        garbled=True)


@pytest.mark.parametrize("name", [
    "the_seeds_three_chains_in_one_set", "a_volume_waits_for_the_group_that_holds_its_track",
    "damaged_frames_are_sent_again", "links_cut_in_the_middle", "one_link_is_enough",
])
def test_scenario(name):
    with world() as here:
        SCENARIOS[name](here)


@pytest.mark.parametrize("seed", range(1))
def test_random_program(seed):
    with world(seed + 1) as here:
        play(here, seed, PROGRAM_LENGTH)
