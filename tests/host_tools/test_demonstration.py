"""The demonstration, on the model behind two ports."""

import random

import pytest

from boards.simulated import DEFAULT
from firmware_model import oracle
from host_tools import history
from host_tools.client import Client
from host_tools.demonstration import Steps, demonstrate, describe_audit
from tests.host_tools.fakeboard import FakeBoard


@pytest.mark.parametrize("attempt", range(3))
def test_everything_holds(tmp_path, attempt):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    log, images, said = str(tmp_path / "history.log"), [], []
    with FakeBoard(DEFAULT) as board, Client.open(board.ports.source) as source, \
            Client.open(board.ports.target) as target:
        result = demonstrate(source, target, log, chains=60, seed=seed,
                             steps=Steps(say=said.append), keep_image=images.append)
        truth = board.system.history
    values = result.as_dict()
    assert result.ok
    assert values["chains"] == 60 == len(truth.chains(0))
    assert values["identical"]
    assert values["integrity"] == values["final_integrity"] == "ok"
    # Up to 16 chains are on their way when the cut is decided, after 30 to 48 of them.
    assert 12 <= result.cut_after_chain <= result.committed_at_cut < 60
    # The oracle on the board's own truth says the same of the image that was read.
    verdict = oracle.judge(truth, images[0], acknowledged={})
    assert verdict.prefixes[0] == values["prefix"]["0"]
    assert values["lag"]["chains"] == result.committed_at_cut - values["prefix"]["0"]
    assert history.load(log).committed(0) == 60
    assert any("links cut" in line for line in said)
    assert values["disconnects"]["count"] == len(result.disconnects)
    assert values["clock_rate_hz"] > 0


def test_the_cut_moment_depends_on_the_seed(tmp_path):
    cuts = set()
    for seed in range(3):
        with FakeBoard(DEFAULT) as board, Client.open(board.ports.source) as source, \
                Client.open(board.ports.target) as target:
            result = demonstrate(source, target, str(tmp_path / f"{seed}.log"), chains=40,
                                 seed=seed)
            cuts.add(result.cut_after_chain)
    assert len(cuts) > 1


def test_a_mirror_that_lies_is_caught(tmp_path):
    """One byte wrong at the target, and the demonstration fails."""
    with FakeBoard(DEFAULT) as board, Client.open(board.ports.source) as source, \
            Client.open(board.ports.target) as target:
        original = board.system.target.read_track

        def lie(volume, track):
            data = original(volume, track)
            return data[:-1] + bytes([data[-1] ^ 1]) if (volume, track) == (0, 3) else data

        board.system.target.read_track = lie
        result = demonstrate(source, target, str(tmp_path / "h.log"), chains=40, seed=1)
    assert not result.ok
    assert not result.identical
    assert not result.as_dict()["exact_prefix"]
    assert "intact" in describe_audit(result.audit) or "broken" in describe_audit(result.audit)
