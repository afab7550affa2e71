"""The shared scenarios, and random programs, on the board inside this process.

Unlike under cocotb the host pauses now and then, a settled world compares every track, and both
sides are reset.
"""

import pytest

from tests.gateware import scenarios
from tests.gateware.native import NativeWorld
from tests.scenarios.generator import play

PROGRAM_LENGTH = 25


@pytest.mark.parametrize("scenario", scenarios.parameters(NativeWorld))
def test_scenario(scenario):
    world = NativeWorld()
    scenario(world)
    print(f"{world.clocks() / 1e6:.1f} million clocks")


@pytest.mark.requirement("R02", "R14", "R19", "R21")
@pytest.mark.parametrize("seed", range(4))
def test_random_program(seed):
    play(NativeWorld(seed=seed + 1), seed, PROGRAM_LENGTH)


@pytest.mark.requirement("R02", "R14", "R21")
@pytest.mark.parametrize("seed", range(3))
def test_random_program_with_restarts(seed):
    play(NativeWorld(seed=seed + 1), seed, PROGRAM_LENGTH, restarts=True)
