"""A little of the small worlds on the gateware; ``python -m tests.exhaustive --gateware N`` has
more."""

import pytest

from host_tools.trials.play import Outcome
from tests.exhaustive import gateware
from tests.exhaustive.gateware import KINDS, SCHEDULES, Tally, explore, trial
from tests.exhaustive.worlds import Violation

PROGRAM = ((0, (0, 1)), (1, (0,)), (0, (1, 2)))     # two sets, and a collision


@pytest.mark.requirement("R02", "R14", "R21", "R22", "R23")
def test_faults_at_some_clocks():
    tally = Tally()
    for turn, schedule in enumerate(SCHEDULES):
        tally.add(explore(PROGRAM, schedule, every=4_000, turn=5 * turn))
    print(tally.said())
    assert set(tally.kinds) == set(KINDS)
    assert tally.worlds > len(KINDS)


def test_a_fault_of_the_gateware_is_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def some_worlds():
        for turn in range(40):
            explore(((0, (0, 1, 2)),), "one_by_one", every=1_000, turn=turn,
                    mutation="lost_target_begun")

    with pytest.raises(Violation, match="farside replay") as caught:
        some_worlds()
    print(caught.value)


def test_a_violation_names_the_world(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gateware, "play", lambda world: Outcome(
        1, "torn" if world.faults else None, clocks=gateware.START + 100))
    with pytest.raises(Violation, match=r"one_by_one, a frame lost, link 0 at clock 3000: torn"):
        explore(PROGRAM, "one_by_one", every=50)
    found = gateware.Trial.from_json((tmp_path / "failure-world.json").read_text(), "it")
    assert found == trial(PROGRAM, "one_by_one", "a frame lost, link 0", gateware.START)
