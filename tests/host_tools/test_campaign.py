"""Cut after cut, on the model."""

import random

import pytest

from host_tools.campaign import campaign
from host_tools.client import Client
from tests.host_tools.fakeboard import SMALL, FakeBoard


@pytest.mark.requirement("R21")
@pytest.mark.parametrize("workload", ["bank", "hot", "zipf"])
def test_every_cut_finds_a_prefix(tmp_path, workload):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    seen = []
    with FakeBoard(SMALL, pace=3) as board, Client.open(board.ports.source) as source, \
            Client.open(board.ports.target) as target:
        found = campaign(source, target, str(tmp_path / "h.log"), workload=workload, chains=80,
                         cuts=8, seed=seed, progress=seen.append)
    assert found.ok
    assert found.exact == len(found.cuts) == len(seen) == 8
    assert found.chains == 80
    assert (workload == "bank") == (found.cuts[0].audit is not None)
    assert any(cut.verdict.sets[0].lag_chains for cut in found.cuts)


def test_a_broken_mirror_does_not_pass(tmp_path):
    """A target that loses a track after its fifth chain is caught, at the latest at the end."""
    with FakeBoard(SMALL, pace=3) as board, Client.open(board.ports.source) as source, \
            Client.open(board.ports.target) as target:
        side = board.system.target
        honest = side.commit_chain

        def forgetful(set_):
            honest(set_)
            if side.pages[set_].chains == 5:
                side.slots[side.tracks[SMALL.index(0, 0)].slot] = bytes(512)

        side.commit_chain = forgetful
        found = campaign(source, target, str(tmp_path / "h.log"), workload="sequential",
                         chains=20, cuts=6, seed=1)     # too few to write that track again
    assert not found.ok
    assert not found.identical
