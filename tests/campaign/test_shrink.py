"""Failures get smaller and stay failures; on made-up ones, since the gateware has none."""

import pytest

from host_tools.trials.plan import Fault, Step, Trial, make
from host_tools.trials.play import Outcome
from host_tools.trials.shrink import kind_of, shrink


def trial():
    steps = tuple(Step("chain", 100 * n, n, ((0, n % 5), (1, 2), (0, 1))) for n in range(12))
    faults = tuple(Fault("channel", 50 * n, n // 2, 0, "CONTROL", 3 * (n % 2)) for n in range(10))
    return make(2).without(steps=steps, faults=faults, mend_at=9999)


def fails_with(needed_steps, needed_groups):
    def run(candidate: Trial) -> Outcome:
        there = {step.serial for step in candidate.steps if (1, 2) in step.places}
        groups = {fault.group for fault in candidate.faults}
        if there >= needed_steps and groups >= needed_groups:
            return Outcome(2, f"clock {len(there)}: the target: wrong in 0:{len(there)}")
        return Outcome(2, "clock 7: something else" if len(there) == 3 else None)

    return run


def test_what_is_left_is_what_it_takes():
    run = fails_with({3, 7}, {1, 4})
    small, outcome = shrink(trial(), run(trial()), run=run)
    assert {step.serial for step in small.steps} == {3, 7}
    assert [step.places for step in small.steps] == [((1, 2),), ((1, 2),)]
    assert {fault.group for fault in small.faults} == {1, 4}
    assert len(small.faults) == 4, "a fault and its end belong together"
    assert small.mend_at == max(700, 450) + 1
    assert outcome.violation == "clock 2: the target: wrong in 0:2"


def test_another_violation_is_not_this_one():
    run = fails_with({1, 2, 3, 4}, set())
    small, _ = shrink(trial(), run(trial()), run=run)
    assert {step.serial for step in small.steps} == {1, 2, 3, 4}


def test_without_time_nothing_is_tried():
    calls = []
    found = shrink(trial(), Outcome(2, "clock 1: x"), seconds=0, run=calls.append)
    assert found == (trial(), Outcome(2, "clock 1: x"))
    assert calls == []


@pytest.mark.parametrize(("one", "other", "same"), [
    ("clock 12: the target after chains [1, 2]: wrong in 0:3",
     "clock 7: the target after chains [0, 2]: wrong in 1:3, 1:4", True),
    ("clock 12: the target after chains [1, 2]: wrong in 0:3", "clock 12: the source: wrong in 0:3",
     False),
    ("clock 12: set 0 of the target, with 1 chains, is wrong in 0:3, 0:4",
     "clock 345: set 1 of the target, with 12 chains, is wrong in 1:1", True),
    ("clock 1: the source after chain 2 of set 0: it wrote [(0, 1)], which no host sent",
     "clock 1: the source after chain 3 of set 1: it wrote [(0, 1), (1, 2)], which no host sent",
     True),
    ("clock 3: x", None, False),
])
def test_kinds(one, other, same):
    assert (kind_of(one) == kind_of(other)) is same
