"""The comparison of policies (R26)."""

import json

import pytest
from click.testing import CliRunner

from firmware_model.compare import compare, example_geometry, main
from firmware_model.policies import ChainQueue, SimpleDelay


@pytest.mark.requirement("R26", "R29")
def test_the_seeds_three_chains():
    delay, queue, farside = compare()
    assert not delay.consistent
    assert delay.broken_after == 3
    assert "track 4:2" in delay.reason          # B is there, LV4/T2 before it is not
    assert delay.peak_queue_bytes == 0
    assert queue.consistent
    assert queue.peak_queue_bytes == 3 * example_geometry().track_bytes
    assert farside.consistent
    assert farside.complete
    assert (farside.peak_queue_bytes, farside.disconnects) == (0, 1)


@pytest.mark.requirement("R26")
@pytest.mark.parametrize("seed", range(3))
def test_random_chains(seed):
    delay, queue, farside = compare(150, seed)[3:]
    assert not delay.consistent
    assert delay.broken_times > 1
    assert queue.consistent
    assert queue.complete
    assert queue.peak_queue_bytes > 0
    assert farside.consistent
    assert farside.complete
    assert farside.peak_queue_bytes == 0


def test_the_queue_grows_with_the_delay():
    peaks = [compare_queue(delay) for delay in (1, 4, 16)]
    assert peaks[0] < peaks[1] < peaks[2]


def compare_queue(delay):
    from firmware_model.compare import random_chains, try_policy
    geometry = example_geometry()
    return try_policy(ChainQueue(geometry, delay), "w",
                      random_chains(geometry, 50, 0)).peak_queue_bytes


def test_no_delay_is_no_problem():
    geometry = example_geometry()
    from firmware_model.compare import seed_example, try_policy
    assert try_policy(SimpleDelay(geometry, 0), "w", seed_example(geometry)).consistent
    with pytest.raises(ValueError, match="delay -1 is negative"):
        SimpleDelay(geometry, -1)


def test_command():
    result = CliRunner().invoke(main, ["--json"])
    assert result.exit_code == 0
    policies = [o["policy"] for o in json.loads(result.output)["outcomes"]]
    assert policies == ["simple delay", "queue of chains", "farside"]
    result = CliRunner().invoke(main, ["--chains", "30", "--seed", "1"])
    assert result.exit_code == 0
    assert "30 random chains, seed 1" in result.output
