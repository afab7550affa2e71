"""Deliberate faults in the gateware turn scenarios red.

All faults are in one build, and the start of the board chooses. The same scenarios with the same
seed are green without a fault, to the same clock, so it is the fault that they notice: also where a
scenario waits for something that never comes.
"""

import pytest

from firmware_model.mutations import Mutation
from hdl.mutations import Selected
from tests.gateware.__main__ import SEEDS, on_gateware
from tests.scenarios.traps import shown_by


def test_every_fault_has_a_number_and_a_scenario():
    assert set(shown_by()) == set(Mutation)
    assert [Selected.number_of(m) for m in (None, *Mutation)] == list(range(len(Mutation) + 1))


@pytest.mark.parametrize(("mutation", "name"), shown_by().items())
def test_fault_is_noticed(mutation, name):
    for seed in SEEDS:
        said, clocks = on_gateware(name, seed, mutation)
        if said is not None:
            print(f"{name}, seed {seed}, clock {clocks}: {said}"[:300])
            if seed != SEEDS[0]:        # which test_scenarios_native plays
                assert on_gateware(name, seed, None)[0] is None
            return
    pytest.fail(f"{name} does not notice {mutation.name}")
