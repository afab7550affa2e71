"""Trials on the gateware: sound as it is, and not with a fault in it."""

import random

import pytest

from firmware_model import wire
from firmware_model.mutations import Mutation
from host_tools.trials.plan import GEOMETRIES, Fault, Step, geometry_name, make
from host_tools.trials.play import Oracle, Violation, play
from sim.native import Pages, Snapshot

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
    assert sum(o.counts["cuts"] for o in outcomes) > 0
    assert sum(o.counts["disconnects"] for o in outcomes) > 0


def test_a_trial_repeats_to_the_last_clock():
    for seed in PAIR[:3]:
        play(make(seed + 1000).without(geometry="pair", steps=(), faults=()))
        first, second = play(make(seed)), play(make(seed))
        assert first == second
        assert first.clocks > 0


@pytest.mark.parametrize("mutation", [
    Mutation.PENDING_NOT_SET, Mutation.END_OF_CHAIN_DROPPED, Mutation.SLOT_FREED_WHILE_PENDING])
def test_a_fault_in_the_gateware_is_found(mutation):
    for seed in range(MUTANT_RUNS):
        violation = play(make(seed, mutation.value)).violation
        if violation is not None:
            print(f"seed {seed}: {violation}")
            return
    pytest.fail(f"{mutation.name} passes {MUTANT_RUNS} trials")


# -- the oracle's own judgement -----------------------------------------------------------------


GEOMETRY = GEOMETRIES["line"]


def pages(chains, acked=0):
    words = [0] * wire.SET_PAGE_WORDS
    words[wire.SetWord.CHAINS_LOW], words[wire.SetWord.ACKED_LOW] = chains, acked
    return Pages(b"".join(word.to_bytes(2, "little") for word in words), 1)


def image(**tracks):
    data = bytearray(GEOMETRY.image_bytes)
    for name, value in tracks.items():
        track = int(name[1:])
        data[track * 16:track * 16 + 16] = bytes([value] * 16)
    return bytes(data)


def chain(track, value):
    return ((0, track, bytes([value] * 16)),)


def looks(*found):
    """An oracle that has seen two chains and then (source chains, acked, target chains, image)."""
    oracle = Oracle(GEOMETRY)
    oracle.commit(0, 1, chain(0, 1))
    oracle.commit(0, 2, chain(1, 2))
    for clock, (source, acked, target, seen) in enumerate(found):
        oracle.look(Snapshot(clock, pages(source, acked), pages(target), seen))
    return oracle


def test_prefixes_pass():
    oracle = looks((2, 0, 1, image(t0=1)), (2, 1, 2, image(t0=1, t1=2)))
    assert oracle.prefix == [2]
    assert not oracle.waiting


@pytest.mark.parametrize(("found", "message"), [
    ([(2, 0, 1, image(t1=2))], "after chains .1.: wrong in 0:0, 0:1"),
    ([(2, 0, 2, image(t0=1, t1=2))], "from 0 to 2"),
    ([(1, 0, 2, image(t0=1, t1=2))], "committed 1"),
    ([(2, 2, 1, image(t0=1))], "believes 2 arrived"),
    ([(2, 0, 1, image(t0=1)), (2, 0, 0, image())], "from 1 to 0"),
])
def test_everything_else_does_not(found, message):
    with pytest.raises(Violation, match=message):
        looks(*found)


def test_a_commit_that_the_host_has_not_heard_of_is_judged_later():
    oracle = looks((3, 0, 1, image(t0=1)), (3, 0, 2, image(t0=1, t1=2)),
                   (3, 0, 3, image(t0=9, t1=2)))
    assert oracle.waiting == 1
    with pytest.raises(Violation, match="wrong in 0:0"):
        oracle.commit(0, 3, chain(0, 3))


def test_unknown_parts_are_named():
    from host_tools.errors import UsageError

    trial = make(PAIR[0]).without(steps=(Step("dance", 0),), faults=())
    with pytest.raises(UsageError, match="'dance'"):
        play(trial)
    trial = make(PAIR[0]).without(faults=(Fault("flood", 10, 0),))
    with pytest.raises(UsageError, match="'flood'"):
        play(trial)
