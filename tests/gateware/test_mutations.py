"""Deliberate faults in the gateware turn scenarios red.

All faults are in one build, and the start of the board chooses. The same scenarios with the same
seed are green without a fault, to the same clock, so it is the fault that they notice: also where a
scenario waits for something that never comes.
"""

import pytest

from firmware_model.mutations import Mutation
from hdl.mutations import Selected
from tests.gateware import scenarios  # noqa: F401 - registers them
from tests.gateware.native import NativeWorld
from tests.scenarios.traps import shown_by
from tests.scenarios.world import SCENARIOS

SEEDS = (1, 2, 3)       # of channels and host: what is lost when decides whether some faults show
LIMIT = 8_000_000       # clocks; the longest of these scenarios takes half of that without a fault


def play(name, seed, mutation):
    """What goes wrong, or None."""
    world = NativeWorld(seed=seed, mutation=mutation, limit=LIMIT)
    try:
        SCENARIOS[name](world)
    except (AssertionError, ValueError) as error:       # a history that cannot be is a ValueError
        return f"{name}, seed {seed}, clock {world.clocks()}: {error!r}"[:300]
    return None


def test_every_fault_has_a_number_and_a_scenario():
    assert set(shown_by()) == set(Mutation)
    assert [Selected.number_of(m) for m in (None, *Mutation)] == list(range(len(Mutation) + 1))


@pytest.mark.parametrize(("mutation", "name"), shown_by().items())
def test_fault_is_noticed(mutation, name):
    for seed in SEEDS:
        if (said := play(name, seed, mutation)) is not None:
            print(said)
            if seed != SEEDS[0]:        # which test_scenarios_native plays
                assert play(name, seed, None) is None
            return
    pytest.fail(f"{name} does not notice {mutation.name}")
