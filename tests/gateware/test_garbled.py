"""Nobody relies on what block RAM says where it is read and written in the same clock.

Bitstreams are made on that promise (``boards.flow``); here every such read is wrong in every bit.
"""

import pytest

from tests.gateware import scenarios  # noqa: F401 - registers them
from tests.gateware.native import running_world
from tests.scenarios.generator import play
from tests.scenarios.world import SCENARIOS

PROGRAM_LENGTH = 25


@pytest.mark.parametrize("name", [
    "the_seeds_three_chains_in_one_set", "a_chain_that_writes_a_track_twice",
    "a_volume_waits_for_the_group_that_holds_its_track", "damaged_frames_are_sent_again",
    "links_cut_in_the_middle",
])
def test_scenario(name):
    with running_world(garbled=True) as world:
        SCENARIOS[name](world)


@pytest.mark.parametrize("seed", range(2))
def test_random_program(seed):
    with running_world(seed=seed + 1, garbled=True) as world:
        play(world, seed, PROGRAM_LENGTH)
