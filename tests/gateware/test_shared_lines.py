"""Scenarios with one engine for all lines of each system, on the fastest lines that it serves, and
with the clerk that keeps such a source's sets.

Reads of block RAM while it is written say nothing true here, as in
:mod:`.test_scenarios_cocotb`: the state of engine and clerk lies there.
"""

import os

import pytest

from sim.native import SHARED_TOP
from tests.gateware import scenarios
from tests.gateware.native import NativeWorld
from tests.gateware.shared_board import SHARED
from tests.scenarios.generator import play

PROGRAM_LENGTH = 25

# Others take as long again as they do on the board of engines. FARSIDE_SLOW=1 plays them.
QUICK = {
    "the_seeds_three_chains_in_one_set", "a_volume_waits_for_the_group_that_holds_its_track",
    "damaged_frames_are_sent_again", "links_cut_in_the_middle", "one_link_is_enough",
    "a_time_out_sends_the_same_group_again",
    "a_source_that_keeps_its_memory_sends_everything_again",
    "a_target_that_lost_its_memory_is_resynchronised", "a_torn_target_says_so",
}


def world(seed=1):
    return NativeWorld(geometry=SHARED, seed=seed, garbled=True,
                       top=SHARED_TOP)


@pytest.mark.parametrize("scenario", scenarios.parameters(NativeWorld))
def test_scenario(scenario):
    if scenario.name not in QUICK and not os.environ.get("FARSIDE_SLOW"):
        pytest.skip("slow: FARSIDE_SLOW=1 plays it")
    here = world()
    scenario(here)
    print(f"{here.clocks() / 1e6:.1f} million clocks")


def test_quick_ones_are_played():
    assert {of.values[0].name for of in scenarios.parameters(NativeWorld)} >= QUICK


@pytest.mark.parametrize("seed", range(1))
def test_random_program(seed):
    play(world(seed + 1), seed, PROGRAM_LENGTH)


@pytest.mark.parametrize("seed", range(1))
def test_random_program_with_restarts(seed):
    play(world(seed + 1), seed, PROGRAM_LENGTH, restarts=True)
