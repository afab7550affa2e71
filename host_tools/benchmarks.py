"""Measurements on a board, each a ratio or a number of clocks: nothing here depends on how fast
the machine is, but for the simulated clock rate itself.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

from firmware_model import wire
from firmware_model.geometry import Geometry

from . import workloads
from .client import Client
from .errors import UsageError

BITS_PER_BYTE = 10      # start bit, eight data bits, stop bit
STATUS_FRAMES = 1       # of a group's way back
POLL_NEVER = 0


@dataclass(frozen=True)
class LinkEfficiency:
    """Track bytes delivered against what the lines could carry.

    ``efficiency`` is from the request to destage until the source knows that the target has
    everything; ``bound`` is what framing leaves of it: track bytes over bytes on the line.
    """

    links: int
    tracks: int
    clocks: int
    efficiency: float
    bound: float
    clock_rate_hz: float


@dataclass(frozen=True)
class ClockRate:
    """Clocks of both systems and their links for each second of this machine."""

    chains: int
    clocks: int
    clock_rate_hz: float


@dataclass(frozen=True)
class DisconnectTime:
    """How long a volume stays disconnected, against what the lines need for its group."""

    samples: int
    tracks: int
    median_clocks: float
    bound_clocks: float

    @property
    def ratio(self) -> float:
        return self.median_clocks / self.bound_clocks


@dataclass(frozen=True)
class DestageCost:
    """Clocks of the source's walks for each destaged track, and of each collision lookup."""

    tracks: int             # of all volumes
    destaged: int
    clocks_per_track: float
    clocks_per_lookup: float


def frame_bytes(geometry: Geometry, type_: wire.Type, payload: bytes) -> int:
    """Bytes on the line of one frame."""
    return len(wire.to_line(wire.pack(type_, 0, payload)))


def line_clocks(geometry: Geometry, size: float) -> float:
    """Clocks that one link needs for ``size`` bytes."""
    return size * BITS_PER_BYTE * geometry.clock_hz / geometry.link_baud


def _fill(source: Client, count: int, rng: random.Random, first: int = 0) -> None:
    """Commit ``count`` tracks from linear position ``first`` on, in chains of the longest kind."""
    geometry = source.geometry
    for at in range(first, first + count, geometry.chain_limit):
        chain = [(*divmod(n, geometry.tracks_per_volume), rng.randbytes(geometry.track_bytes))
                 for n in range(at, min(at + geometry.chain_limit, first + count))]
        source.submit(chain, depth=4)
    source.flush()


def _background(source: Client, on: bool, former: int = POLL_NEVER) -> int:
    """Stop or restore background polling; returns what it was."""
    before = source.reg("poll_interval")
    source.set_reg("poll_interval", former if on else POLL_NEVER)
    return before


def clock_rate(source: Client, chains: int = 60, seed: int = 1) -> ClockRate:
    """Run the bank, as ``farside demo`` does, until the target has everything.

    That is what the simulated clock is asked to do most of the time; how fast it is while all
    lines are full says :func:`link_efficiency`.
    """
    source.wait_settled()
    wall, start = time.monotonic(), source.cycles()
    workloads.run("bank", source, chains, seed)
    source.flush()
    source.wait_settled()
    clocks = source.cycles() - start
    return ClockRate(chains, clocks, clocks / (time.monotonic() - wall))


def link_efficiency(source: Client, seed: int = 1) -> LinkEfficiency:
    """Fill every track while nothing is destaged, then destage it all and take the time."""
    geometry = source.geometry
    rng = random.Random(f"links {seed}")
    former = _background(source, False)
    source.wait_settled()
    _fill(source, geometry.tracks, rng)
    wall, start = time.monotonic(), source.cycles()
    source.wait_settled()
    clocks = source.cycles() - start
    rate = clocks / (time.monotonic() - wall)
    _background(source, True, former)
    carried = clocks * geometry.link_baud / geometry.clock_hz / BITS_PER_BYTE * geometry.links
    size = frame_bytes(geometry, wire.Type.DATA, rng.randbytes(geometry.track_bytes))
    return LinkEfficiency(geometry.links, geometry.tracks, clocks,
                          geometry.image_bytes / carried, geometry.track_bytes / size, rate)


def disconnect_time(source: Client, delay: float, samples: int = 9, tracks: int = 32,
                    seed: int = 1) -> DisconnectTime:
    """Make a group of ``tracks`` tracks pending, collide with it, and see how long that takes.

    The lower bound is the time that all links together need for the group's frames and its order
    packet, and one round trip: the delay each way and the status frame.
    """
    geometry = source.geometry
    tracks = min(tracks, geometry.chain_limit, geometry.tracks_per_volume)
    if tracks < 1:
        raise UsageError("a board without tracks cannot be measured")
    rng = random.Random(f"disconnect {seed}")
    former = _background(source, False)
    for number in range(geometry.links):
        source.link(number).delay(delay)
    source.wait_settled()
    found: list[int] = []
    for _ in range(samples):
        before = len(source.disconnects)
        chain = [(0, n, rng.randbytes(geometry.track_bytes)) for n in range(tracks)]
        source.write(chain)
        source.write([(0, rng.randrange(tracks), rng.randbytes(geometry.track_bytes))])
        found += [d.clocks for d in source.disconnects[before:]]
        source.wait_settled()
    for number in range(geometry.links):
        source.link(number).delay(0)
    _background(source, True, former)
    group = (tracks * frame_bytes(geometry, wire.Type.DATA, rng.randbytes(geometry.track_bytes))
             + frame_bytes(geometry, wire.Type.ORDER, bytes(tracks * wire.ENTRY_BYTES)))
    status = frame_bytes(geometry, wire.Type.STATUS, b"")
    bound = (line_clocks(geometry, group / geometry.links) + 2 * delay * geometry.clock_hz
             + line_clocks(geometry, status * STATUS_FRAMES))
    return DisconnectTime(len(found), tracks, statistics.median(found), bound)


def destage_cost(source: Client, tracks: int = 200, seed: int = 1) -> DestageCost:
    """Destage ``tracks`` tracks spread over all volumes and read the source's own counters."""
    geometry = source.geometry
    tracks = min(tracks, geometry.tracks)
    rng = random.Random(f"destage {seed}")
    former = _background(source, False)
    source.wait_settled()
    before = source.counters()
    places = rng.sample(range(geometry.tracks), tracks)
    by_set: dict[int, list[int]] = {}
    for place in places:
        by_set.setdefault(source.volume_set[place // geometry.tracks_per_volume], []).append(place)
    for numbers in by_set.values():
        for at in range(0, len(numbers), geometry.chain_limit):
            source.submit([(*divmod(n, geometry.tracks_per_volume),
                            rng.randbytes(geometry.track_bytes))
                           for n in numbers[at:at + geometry.chain_limit]], depth=4)
    source.wait_settled()
    after = source.counters()
    _background(source, True, former)

    def change(name: str) -> int:
        return (after[name] - before[name]) & 0xFFFFFFFF

    return DestageCost(geometry.tracks, tracks,
                       change("dispatch_clocks") / max(1, change("dispatches")),
                       change("lookup_clocks") / max(1, change("lookups")))
