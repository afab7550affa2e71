"""Workloads: endless, seeded streams of chains for any geometry and any set map.

The four synthetic ones give every track they write bytes of its own, so that no two prefixes of
a set can be mistaken for one another. The fifth, ``bank``, is a real SQLite database
(:mod:`host_tools.bank`).
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from firmware_model.geometry import Geometry

from .chains import Ticket, Write
from .errors import UsageError

DEPTH = 16              # chains outstanding: enough to keep the host line busy
LONGEST = 8             # commands of a synthetic chain; SQLite's median is about that
HOT_TRACKS = 2          # tracks a set that ``hot`` fights over
ZIPF = 1.1              # exponent: a few percent of the tracks take half of the writes

WORKLOADS: dict[str, str] = {
    "sequential": "runs of tracks, one after the other, wrapping at the end",
    "random": "one to eight tracks anywhere in a set",
    "zipf": "a few tracks take most of the writes",
    "hot": "all chains of a set fight over two tracks, to collide on purpose",
    "bank": "transfers in a SQLite database, one chain a transaction",
}


class Store(Protocol):
    """What a workload needs of a source; :class:`~host_tools.client.Client` is one."""

    geometry: Geometry
    volume_set: list[int]

    def submit(self, writes: Sequence[Write], *, depth: int | None = None) -> Ticket: ...

    def read(self, volume: int, track: int, count: int = 1) -> bytes: ...


class Layout:
    """The tracks of every consistency set that has volumes."""

    def __init__(self, geometry: Geometry, volume_set: Sequence[int]) -> None:
        self.geometry = geometry
        self.sets: dict[int, list[int]] = {}
        for volume, set_ in enumerate(volume_set):
            self.sets.setdefault(set_, []).append(volume)

    def size(self, set_: int) -> int:
        """Tracks of a set."""
        return len(self.sets[set_]) * self.geometry.tracks_per_volume

    def place(self, set_: int, number: int) -> tuple[int, int]:
        """(volume, track) of the ``number``-th track of a set."""
        volume, track = divmod(number, self.geometry.tracks_per_volume)
        return self.sets[set_][volume], track


Picker = Callable[[int, int], list[int]]
"""(set, length) to the track numbers of one chain."""


def _sequential(layout: Layout, rng: random.Random) -> Picker:
    at = dict.fromkeys(layout.sets, 0)

    def pick(set_: int, length: int) -> list[int]:
        start = at[set_]
        at[set_] = (start + length) % layout.size(set_)
        return [(start + i) % layout.size(set_) for i in range(length)]

    return pick


def _random(layout: Layout, rng: random.Random) -> Picker:
    # With replacement: now and then a chain writes one track twice, and the last write wins.
    return lambda set_, length: [rng.randrange(layout.size(set_)) for _ in range(length)]


def _zipf(layout: Layout, rng: random.Random) -> Picker:
    shuffled: dict[int, list[int]] = {}
    sums: dict[int, list[float]] = {}
    for set_ in layout.sets:
        shuffled[set_] = rng.sample(range(layout.size(set_)), layout.size(set_))
        sums[set_] = list(itertools.accumulate(
            (rank + 1) ** -ZIPF for rank in range(layout.size(set_))))

    def pick(set_: int, length: int) -> list[int]:
        total = sums[set_][-1]
        ranks = (bisect.bisect(sums[set_], rng.random() * total) for _ in range(length))
        return [shuffled[set_][min(rank, layout.size(set_) - 1)] for rank in ranks]

    return pick


def _hot(layout: Layout, rng: random.Random) -> Picker:
    hot = {set_: rng.sample(range(layout.size(set_)), min(HOT_TRACKS, layout.size(set_)))
           for set_ in layout.sets}

    def pick(set_: int, length: int) -> list[int]:
        others = [rng.randrange(layout.size(set_)) for _ in range(length - 1)]
        tracks = [rng.choice(hot[set_]), *others]
        rng.shuffle(tracks)
        return tracks

    return pick


_PICKERS = {"sequential": _sequential, "random": _random, "zipf": _zipf, "hot": _hot}


def synthetic(name: str, geometry: Geometry, volume_set: Sequence[int],
              seed: int) -> Iterator[list[Write]]:
    """The endless stream of chains of a workload other than ``bank``."""
    rng = random.Random(f"{name} {seed}")
    layout = Layout(geometry, volume_set)
    pick = _PICKERS[name](layout, rng)
    sets = sorted(layout.sets)
    for serial in itertools.count():
        set_ = rng.choice(sets)
        length = rng.randint(1, min(LONGEST, geometry.chain_limit))
        chain = []
        for at, number in enumerate(pick(set_, length)):
            unique = (serial * 256 + at + 1).to_bytes(8, "little")
            data = unique + rng.randbytes(geometry.track_bytes - len(unique))
            chain.append((*layout.place(set_, number), data))
        yield chain


def run(name: str, store: Store, chains: int, seed: int,
        submitted: Callable[[Ticket], None] = lambda _: None, depth: int = DEPTH) -> None:
    """Submit ``chains`` chains of workload ``name``; ``submitted`` is called after each.

    Returns with up to ``depth`` of them outstanding.
    """
    if name not in WORKLOADS:
        raise UsageError(f"no workload {name!r}: one of {', '.join(WORKLOADS)}")
    if chains < 1:
        raise UsageError(f"{chains} chains: at least 1")
    if name == "bank":
        from .bank import run_bank

        run_bank(store, chains, seed, submitted, depth)
        return
    stream = synthetic(name, store.geometry, store.volume_set, seed)
    for chain in itertools.islice(stream, chains):
        submitted(store.submit(chain, depth=depth))
