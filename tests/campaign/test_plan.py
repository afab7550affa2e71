"""Descriptions of trials: made by a seed, written down, read back."""

import json

import pytest

from firmware_model import wire
from firmware_model.mutations import Mutation
from hdl.clerk import check_clerk
from hdl.linebank import check_shared
from host_tools.errors import UsageError
from host_tools.trials.plan import (
    BAD_ENDS,
    BY_CHANCE,
    CLOCK_HZ,
    GEOMETRIES,
    LINK_BAUDS,
    SHARED_LINES,
    START,
    Fault,
    Trial,
    geometry_name,
    make,
    pace,
)

SEEDS = range(600)       # a board is one in a hundred


def test_a_seed_makes_one_trial_and_its_file_the_same():
    for seed in SEEDS:
        trial = make(seed)
        assert trial == make(seed)
        assert Trial.from_json(trial.as_json(), "x") == trial
        assert geometry_name(seed) == trial.geometry
    assert make(1) != make(2).without(seed=1)


def test_every_kind_of_everything_occurs():
    trials = [make(seed) for seed in SEEDS]
    assert {trial.geometry for trial in trials} == set(GEOMETRIES)
    assert {len(trial.faults) > 0 for trial in trials} == {True, False}
    names = {fault.name for trial in trials for fault in trial.faults if fault.kind == "channel"}
    assert names >= {"CONTROL", "DELAY", *BY_CHANCE, "DIRECTIONS", "SKEW",
                      "FLAP_UP", "FLAP_DOWN", "BURST_BYTES"}
    assert names <= set(wire.Channel.__members__)
    kinds = {(fault.kind, fault.name) for trial in trials for fault in trial.faults}
    assert kinds >= {("host", name) for name in ("NOISE", "UNPLUGGED", "GARBAGE", "FLOOD", "GONE")}
    assert {(fault.number, fault.value) for trial in trials for fault in trial.faults
            if (fault.kind, fault.name) == ("restart", "")} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert kinds >= {("restart", "AFTER_EVENT"), ("restart", "WITHIN_GROUP")}
    assert {step.kind for trial in trials for step in trial.steps} == {"chain", "destage", "assign",
                                                                        "bad"}
    assert {trial.orderly for trial in trials} == {True, False}


def test_whatever_breaks_is_mended():
    for seed in SEEDS:
        trial = make(seed)
        assert list(trial.faults) == sorted(trial.faults, key=lambda fault: fault.at)
        last = {}
        for fault in trial.faults:
            assert fault.at < trial.mend_at
            assert fault.kind != "channel" or fault.number < GEOMETRIES[trial.geometry].links
            last[fault.group, fault.number, fault.name] = fault.value
        # The rest is set to what is quiet at the end, or over at once.
        assert all(value == 0 for (_, _, name), value in last.items()
                   if name in ("CONTROL", "NOISE", "UNPLUGGED", "FLAP_DOWN", *BY_CHANCE))


def test_chains_stay_within_a_set_and_the_limit():
    for seed in SEEDS:
        trial = make(seed)
        geometry = GEOMETRIES[trial.geometry]
        sets = [geometry.initial_set(v) for v in range(geometry.volumes)]
        for step in trial.steps:
            if step.kind == "assign" and step.at == 0:
                sets[step.number] = step.set
                assert sets.count(step.set) <= geometry.volumes_per_set
            if step.kind == "bad":
                continue
            assert len({sets[v] for v, _ in step.places}) <= 1
            assert len(step.places) <= geometry.chain_limit


def test_a_trial_is_orderly_if_only_its_host_misbehaves():
    flood = Fault("host", 5_000, 1, 0, "FLOOD", 20)
    trial = make(1).without(faults=(flood,))
    assert trial.orderly
    for fault in (Fault("restart", 9, 2), Fault("channel", 0, 2, 0, "DELAY", 1)):
        assert not trial.without(faults=(fault, flood)).orderly


@pytest.mark.parametrize("mutation", [
    Mutation.COMMIT_NOT_FINISHED, Mutation.CHAINS_COUNTED_TWICE])
def test_faults_between_the_chains_of_a_group_are_where_groups_have_several(mutation):
    geometry = GEOMETRIES[make(1, mutation.value).geometry]
    assert geometry.group_limit > geometry.chain_limit


def test_bad_chains_break_off_or_are_too_long_or_may_span_sets():
    steps = [(GEOMETRIES[trial.geometry], step) for trial in map(make, SEEDS)
             for step in trial.steps if step.kind == "bad"]
    torn = [step for _, step in steps if step.number < len(step.places)]
    long = [step for geometry, step in steps if len(step.places) > geometry.chain_limit]
    spanning = [step for _, step in steps if len({v for v, _ in step.places}) > 1]
    assert torn
    assert all(step.number > 0 for step in torn)
    assert {step.serial for step in torn} == set(range(len(BAD_ENDS)))
    assert long
    assert spanning
    for geometry, step in steps:
        assert step in torn or step in long or geometry.volumes > 1


def test_no_two_commands_write_the_same():
    trial = make(3)
    data = {trial.data(serial, index) for serial in range(60) for index in range(5)}
    assert len(data) == 300
    assert {len(one) for one in data} == {GEOMETRIES[trial.geometry].track_bytes}


@pytest.mark.parametrize(("change", "message"), [
    (lambda v: v.update(format=0), "no scenario of format 2"),
    (lambda v: v.update(geometry="round"), "no geometry 'round'"),
    (lambda v: v.update(mutation="rust"), "rust"),
    (lambda v: v.update(geometry="small", mutation="packet_not_set"), "built without mutations"),
    (lambda v: v.pop("steps"), "steps"),
    (lambda v: v.update(extra=1), "extra"),
])
def test_files_that_cannot_be_meant(change, message):
    values = json.loads(make(1).as_json())
    change(values)
    with pytest.raises(UsageError, match=f"s.json is no scenario file: .*{message}"):
        Trial.from_json(json.dumps(values), "s.json")
    with pytest.raises(UsageError, match=r"s\.json is no scenario file"):
        Trial.from_json("nonsense", "s.json")


def test_groups_of_several_chains_are_possible():
    several = {name for name, geometry in GEOMETRIES.items()
               if geometry.group_limit > geometry.chain_limit}
    assert several >= {"pair", "trio", "wide", "line", "small"}


def test_boards_with_shared_lines_are_small_rare_and_as_slow_as_their_lines_have_to_be():
    assert SHARED_LINES
    for name in SHARED_LINES:
        geometry = GEOMETRIES[name]
        check_shared(geometry)
        check_clerk(geometry)
        with pytest.raises(ValueError, match="shared lines may be too many"):
            check_shared(geometry.replace(host_baud=CLOCK_HZ // 26))
        trials = [make(seed) for seed in range(4_000) if geometry_name(seed) == name]
        assert len(trials) in range(20, 80)
        # A bank's divisors are as wide as the geometry says: no link may be slower.
        assert {trial.link_baud for trial in trials} == {
            baud * geometry.host_baud // max(LINK_BAUDS) for baud in LINK_BAUDS}
        assert min(trial.link_baud for trial in trials) == geometry.link_baud
        # Faults strike in the time in which the host is at work, which is as much longer.
        starts = [fault.at for trial in trials for fault in trial.faults if fault.at]
        assert pace(name) == 6
        assert min(starts) >= START * pace(name)
    assert {pace(name) for name in set(GEOMETRIES) - SHARED_LINES} == {1}
