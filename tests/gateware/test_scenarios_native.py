"""The shared scenarios, and random programs, on the board running free.

As under cocotb, but real time passes between the host's calls, in no fixed relation to the
board's: a scenario meets other moments in every run. A settled world compares every track.
"""

import pytest

from tests.gateware import scenarios
from tests.gateware.native import native_world
from tests.scenarios.generator import play

PROGRAM_LENGTH = 25


@pytest.mark.parametrize("scenario", scenarios.parameters())
def test_scenario(scenario):
    with native_world() as world:
        scenario(world)


@pytest.mark.requirement("R02", "R14", "R19", "R21")
@pytest.mark.parametrize("seed", range(4))
def test_random_program(seed):
    with native_world(seed=seed + 1) as world:
        play(world, seed, PROGRAM_LENGTH)
