"""Trials on the gateware: sound as it is, and not with a fault in it."""

import collections
import os
import random
from types import SimpleNamespace

import pytest

from firmware_model import wire
from firmware_model.mutations import Mutation
from host_tools.trials.oracle import Violation
from host_tools.trials.plan import SHARED_LINES, Fault, Step, geometry_name, make
from host_tools.trials.play import check_thrift, play

PAIR = [seed for seed in range(1, 2000) if geometry_name(seed) == "pair"]
RUNS = 40
MUTANT_RUNS = 60        # each of the faults below shows in a tenth of the trials or more


@pytest.mark.requirement("R19", "R22", "R23")
def test_random_trials_are_sound():
    first = random.randrange(len(PAIR) - RUNS)
    print(f"seeds from {PAIR[first]}")
    outcomes = [play(make(seed)) for seed in PAIR[first:first + RUNS]]
    assert [(o.seed, o.violation) for o in outcomes if o.violation is not None] == []
    assert sum(o.counts["chains"] for o in outcomes) > RUNS
    contained = sum((o.counts for o in outcomes), collections.Counter())
    for name in ("cuts", "disconnects", "source restarts", "target restarts", "warm starts",
                 "rewinds", "resynchronisations", "corrupt frames"):
        assert contained[name] > 0, name


def test_a_trial_repeats_to_the_last_clock():
    for seed in PAIR[:3]:
        play(make(seed + 1000).without(geometry="pair", steps=(), faults=()))
        first, second = play(make(seed)), play(make(seed))
        assert first == second
        assert first.clocks > 0


@pytest.mark.skipif("FARSIDE_SLOW" not in os.environ, reason="one more build; FARSIDE_SLOW=1")
@pytest.mark.parametrize("name", sorted(SHARED_LINES))
def test_random_trials_with_shared_lines_are_sound(name):
    seeds = [seed for seed in range(1, 20_000) if geometry_name(seed) == name]
    first = random.randrange(len(seeds) - RUNS)
    print(f"seeds from {seeds[first]}")
    outcomes = [play(make(seed)) for seed in seeds[first:first + RUNS]]
    assert [(o.seed, o.violation) for o in outcomes if o.violation is not None] == []
    assert outcomes[0] == play(make(seeds[first]))


@pytest.mark.parametrize("mutation", [
    Mutation.PENDING_NOT_SET, Mutation.END_OF_CHAIN_DROPPED, Mutation.SLOT_FREED_WHILE_PENDING])
def test_a_fault_in_the_gateware_is_found(mutation):
    for seed in range(MUTANT_RUNS):
        violation = play(make(seed, mutation.value)).violation
        if violation is not None:
            print(f"seed {seed}: {violation}")
            return
    pytest.fail(f"{mutation.name} passes {MUTANT_RUNS} trials")


TORN = Step("bad", 12_000, serial=0, places=((0, 0), (0, 1), (0, 2)), number=2)


def torn(mutation=None):
    """A chain that breaks off after two of its three commands, and nothing else."""
    return make(PAIR[0], mutation).without(steps=(TORN,), faults=(), mend_at=40_000)


def test_a_bad_chain_has_no_effect():
    outcome = play(torn())
    assert outcome.violation is None
    assert outcome.counts["bad chains"] == 1
    assert outcome.counts["chains"] == 0


def test_half_a_chain_that_commits_is_seen():
    assert "which no host has sent" in play(torn("abort_commits")).violation


@pytest.mark.skipif("FARSIDE_SLOW" not in os.environ, reason="one more build; FARSIDE_SLOW=1")
@pytest.mark.parametrize(("mutation", "clocks", "message"), [
    (None, 6, None), (None, 16, None),
    ("chains_counted_twice", 6, "with 2 chains, is wrong in 0:1, 0:2, 0:3"),
    ("commit_not_finished", 16, "with 1 chains, is wrong in 0:1, 0:2, 0:3"),
])
def test_a_reset_of_the_target_between_two_chains_of_a_group(mutation, clocks, message):
    steps = (Step("chain", 0, 0, ((0, 0),)), Step("chain", 0, 1, ((0, 1), (0, 2), (0, 3))),
             Step("destage", 16_000))
    reset = Fault("restart", 8_000, 1, 1, "AFTER_EVENT", clocks)
    outcome = play(make(1, mutation).without(
        geometry="line", steps=steps, faults=(reset,), poll_interval=0, link_baud=250_000,
        group_timeout=1, mend_at=30_000, depth=8))
    assert outcome.counts["target restarts"] == 1
    if message is None:
        assert outcome.violation is None
    else:
        assert message in outcome.violation


def test_groups_that_are_sent_again_in_an_orderly_trial_are_seen():
    counters = [0] * len(wire.Counter)
    world = SimpleNamespace(board=SimpleNamespace(clock=7, counters=lambda side: counters))
    check_thrift(world)
    counters[wire.Counter.GROUP_RESENDS] = 2
    with pytest.raises(Violation, match="clock 7: 2 groups were sent again"):
        check_thrift(world)


def test_unknown_parts_are_named():
    from host_tools.errors import UsageError

    trial = make(PAIR[0]).without(steps=(Step("dance", 0),), faults=())
    with pytest.raises(UsageError, match="'dance'"):
        play(trial)
    trial = make(PAIR[0]).without(faults=(Fault("flood", 10, 0),))
    with pytest.raises(UsageError, match="'flood'"):
        play(trial)
