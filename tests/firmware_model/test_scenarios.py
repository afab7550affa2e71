"""The shared scenarios and random programs on the model, in every mood and with many seeds."""

import pytest

from firmware_model.mutations import IN_GATEWARE
from tests.scenarios import basic, mirroring  # noqa: F401 - they register their scenarios
from tests.scenarios.generator import make_program, play
from tests.scenarios.model_world import LAZY, MOODS, RANDOM, ModelWorld
from tests.scenarios.world import GEOMETRY, SCENARIOS, parameters

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("scenario", parameters(pytest))
def test_scenario(scenario, mood):
    for seed in range(1 if mood == LAZY else 3):
        print(f"seed {seed}")
        world = ModelWorld(seed=seed, mood=mood)
        world.watch_commits()
        scenario(world)


@pytest.mark.parametrize("links", [1, 3, 8])
@pytest.mark.parametrize("scenario", parameters(pytest))
def test_scenario_with_other_numbers_of_links(scenario, links):
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


@pytest.mark.parametrize("mutation", IN_GATEWARE)
def test_scenarios_see_every_mutation(mutation):
    """From outside, without the model's own invariant checks: what the gateware's tests can see."""
    red = []
    for scenario in SCENARIOS.values():
        try:
            scenario(ModelWorld(seed=1, mood=RANDOM, mutations=[mutation], checked=False))
        except Exception:
            red.append(scenario.name)
    assert red, f"no scenario notices {mutation.name}"
    print(mutation.name, red)
