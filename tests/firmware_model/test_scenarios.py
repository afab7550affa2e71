"""The shared scenarios and random programs on the model, in every mood and with many seeds."""

import pytest

from firmware_model.mutations import Mutation
from tests.scenarios import basic, mirroring, restarts  # noqa: F401 - they register their scenarios
from tests.scenarios.generator import make_program, play
from tests.scenarios.model_world import EAGER, LAZY, MOODS, RANDOM, ModelWorld
from tests.scenarios.traps import TRAPS, shown_by
from tests.scenarios.world import GEOMETRY, SCENARIOS, parameters

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("scenario", parameters(pytest))
def test_scenario(scenario, mood):
    # A resynchronisation is thousands of events: the invariants are left to test_system.
    long = "restart" in scenario.requires
    for seed in range(1 if long or mood == LAZY else 3):
        print(f"seed {seed}")
        world = ModelWorld(seed=seed, mood=mood, checked=not long)
        if not long:
            world.watch_commits()
        scenario(world)


@pytest.mark.parametrize("links", [1, 3, 8])
@pytest.mark.parametrize("scenario", parameters(pytest))
def test_scenario_with_other_numbers_of_links(scenario, links):
    if "restart" in scenario.requires and links != 3:
        pytest.skip("long, and restarts are the same for any number above one")
    scenario(ModelWorld(GEOMETRY.replace(links=links), seed=links, checked=False))


@pytest.mark.requirement("R02", "R14", "R19", "R21")
@pytest.mark.parametrize("seed", range(12))
def test_random_program(seed):
    world = ModelWorld(seed=seed, mood=MOODS[seed % 3], checked=False)
    world.watch_commits()
    play(world, seed, length=80, each=lambda _: world.system.check())


def test_programs_are_repeatable():
    assert make_program(GEOMETRY, 5, 50) == make_program(GEOMETRY, 5, 50)
    assert make_program(GEOMETRY, 5, 50) != make_program(GEOMETRY, 6, 50)


@pytest.mark.requirement("R02", "R14", "R21")
@pytest.mark.parametrize("seed", range(4))
def test_random_program_with_restarts(seed):
    world = ModelWorld(seed=seed, mood=MOODS[seed % 3], checked=False)
    play(world, seed, length=40, restarts=True)


def test_every_fault_has_a_trap_and_every_trap_its_scenarios():
    assert set(shown_by()) == set(Mutation)
    for trap in TRAPS:
        assert set(trap.faults.values()) <= set(trap.scenarios) <= set(SCENARIOS), trap.name
        assert trap.faults, trap.name


@pytest.mark.parametrize(("fault", "name"), sorted(
    {(fault, name) for trap in TRAPS for fault, name in trap.faults.items()}))
def test_a_trap_is_noticed(fault, name):
    """From outside, without the model's own invariant checks: what the gateware's tests can see."""
    for mood in (RANDOM, LAZY, EAGER):
        for seed in range(4):
            try:
                SCENARIOS[name](ModelWorld(seed=seed, mood=mood, mutations=[fault], checked=False))
            except (AssertionError, ValueError) as error:
                print(f"seed {seed}, {mood}: {error!r}"[:300])
                return
    pytest.fail(f"{name} does not notice {fault.name}")
