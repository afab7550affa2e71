"""Workloads: valid chains for any geometry, the same ones for the same seed."""

import itertools

import pytest

from firmware_model.geometry import Geometry
from host_tools import workloads
from host_tools.chains import State, Ticket
from host_tools.errors import UsageError

SYNTHETIC = [name for name in workloads.WORKLOADS if name != "bank"]


class Memory:
    """A store that commits at once; ``states`` has the image after every chain."""

    def __init__(self, geometry=None, volume_set=None):
        self.geometry = geometry or Geometry()
        self.volume_set = volume_set or [0] * self.geometry.volumes
        self.image = bytearray(self.geometry.image_bytes)
        self.chains = []
        self.states = [bytes(self.image)]

    def submit(self, writes, *, depth=None):
        ticket = Ticket(tuple(writes), self.volume_set[writes[0][0]], State.COMMITTED)
        for volume, track, content in writes:
            at = self.geometry.linear(volume, track) * self.geometry.track_bytes
            self.image[at:at + self.geometry.track_bytes] = content
        self.chains.append(ticket.writes)
        self.states.append(bytes(self.image))
        return ticket

    def read(self, volume, track, count=1):
        at = self.geometry.linear(volume, track) * self.geometry.track_bytes
        return bytes(self.image[at:at + count * self.geometry.track_bytes])


GEOMETRIES = [
    (Geometry(), [0, 0, 0, 0]),
    (Geometry(), [1, 0, 3, 1]),
    (Geometry(volumes=1, tracks_per_volume=1, track_bytes=16, sets=1, links=1, chain_limit=2,
              spare_slots=4, staging_slots=8), [0]),
    (Geometry(volumes=3, tracks_per_volume=7, track_bytes=64, chain_limit=3, spare_slots=8),
     [2, 2, 0]),
]


@pytest.mark.parametrize("name", SYNTHETIC)
@pytest.mark.parametrize(("geometry", "volume_set"), GEOMETRIES)
def test_chains_are_valid_everywhere(name, geometry, volume_set):
    seen = set()
    for chain in itertools.islice(workloads.synthetic(name, geometry, volume_set, 1), 300):
        assert 1 <= len(chain) <= geometry.chain_limit
        assert len({volume_set[volume] for volume, _, _ in chain}) == 1
        for volume, track, content in chain:
            geometry.check(volume, track)
            assert len(content) == geometry.track_bytes
            assert content not in seen      # so no two prefixes look alike
            seen.add(content)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_seed_decides(name):
    def first(seed):
        return list(itertools.islice(workloads.synthetic(name, Geometry(), [0] * 4, seed), 20))

    assert first(1) == first(1)
    assert first(1) != first(2)


def places(name, count=400):
    stream = workloads.synthetic(name, Geometry(), [0] * 4, 1)
    return [[(v, t) for v, t, _ in chain] for chain in itertools.islice(stream, count)]


def test_sequential_goes_through_all_tracks_in_order():
    tracks = [64 * v + t for chain in places("sequential") for v, t in chain]
    assert all(b == (a + 1) % 256 for a, b in itertools.pairwise(tracks))


def test_random_reaches_everything_and_sometimes_writes_twice():
    chains = places("random")
    assert len({p for chain in chains for p in chain}) == 256
    assert any(len(set(chain)) < len(chain) for chain in chains)


def test_zipf_prefers_a_few_tracks():
    counts = {}
    for chain in places("zipf"):
        for place in chain:
            counts[place] = counts.get(place, 0) + 1
    top = sorted(counts.values(), reverse=True)
    assert sum(top[:12]) > sum(top) / 3


def test_hot_collides():
    chains = [set(chain) for chain in places("hot")]
    overlaps = sum(bool(a & b) for a, b in itertools.pairwise(chains))
    assert overlaps > len(chains) / 3


@pytest.mark.parametrize("name", list(workloads.WORKLOADS))
def test_run_submits_exactly_so_many(name):
    store, seen = Memory(), []
    workloads.run(name, store, 25, 3, seen.append)
    assert len(store.chains) == len(seen) == 25


def test_run_refuses_nonsense():
    with pytest.raises(UsageError, match="no workload 'nonsense': one of sequential"):
        workloads.run("nonsense", Memory(), 1, 1)
    with pytest.raises(UsageError, match="0 chains"):
        workloads.run("random", Memory(), 0, 1)
