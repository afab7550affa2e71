"""What happens in one trial: sizes, settings, what the host does, and what goes wrong when.

Everything is decided before the trial starts, so dropping a part of a description leaves a
description that can be played: that is how failures are made smaller. As JSON it is the scenario
file of ``farside replay``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from firmware_model import channel, wire
from firmware_model.geometry import Geometry
from firmware_model.mutations import Mutation

from .. import workloads
from ..errors import UsageError

__all__ = ["GEOMETRIES", "Fault", "Step", "Trial", "geometry_name", "make"]

FORMAT = 1
CLOCK_HZ = 1_000_000        # so that the host library's times, made for real boards, stay short
BAUD = 200_000              # five clocks a bit, the fastest: most happens in the fewest clocks


def _geometry(**sizes: int) -> Geometry:
    return Geometry(clock_hz=CLOCK_HZ, host_baud=BAUD, link_baud=BAUD, **sizes)


# Each is compiled once. They differ in all that shapes the gateware: one link and many, numbers
# that are no powers of two, no room to spare, one group in flight.
GEOMETRIES: dict[str, Geometry] = {
    "pair": _geometry(volumes=3, tracks_per_volume=5, track_bytes=16, sets=2, links=2,
                      chain_limit=5, spare_slots=10, staging_slots=14, groups_in_flight=4,
                      window=8, volumes_per_set=3),
    "line": _geometry(volumes=2, tracks_per_volume=7, track_bytes=16, sets=1, links=1,
                      chain_limit=5, spare_slots=8, staging_slots=10, groups_in_flight=2,
                      window=4, volumes_per_set=2),
    "trio": _geometry(volumes=5, tracks_per_volume=3, track_bytes=16, sets=3, links=3,
                      chain_limit=4, spare_slots=9, staging_slots=20, groups_in_flight=4,
                      window=4, volumes_per_set=2),
    "wide": _geometry(volumes=4, tracks_per_volume=6, track_bytes=32, sets=4, links=4,
                      chain_limit=7, spare_slots=12, staging_slots=30, groups_in_flight=2,
                      window=16, volumes_per_set=2),
    "tight": _geometry(volumes=2, tracks_per_volume=6, track_bytes=16, sets=2, links=2,
                       chain_limit=5, spare_slots=7, staging_slots=5, groups_in_flight=1,
                       window=4, volumes_per_set=1),
}
WEIGHTS = {"pair": 4, "line": 1, "trio": 2, "wide": 1, "tight": 2}
FAULTY_GEOMETRY = "pair"

Place = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """Something the host does, not before clock ``at``.

    ``chain`` writes ``places`` (``serial`` makes its data); ``destage`` asks for set ``number``;
    ``assign`` moves volume ``number`` to ``set``, once nothing of its old set is pending.
    """

    kind: str
    at: int
    serial: int = 0
    places: tuple[Place, ...] = ()
    number: int = 0
    set: int = 0


@dataclass(frozen=True)
class Fault:
    """Something that happens to the board at clock ``at``.

    ``channel`` writes ``value`` to register ``name`` of the channel emulator of link ``number``.
    Faults of one ``group`` belong together: a cut and its end.
    """

    kind: str
    at: int
    group: int
    number: int = 0
    name: str = ""
    value: int = 0


@dataclass(frozen=True)
class Trial:
    """A whole trial. ``mend_at``: from this clock on all links are whole and quiet."""

    seed: int
    geometry: str
    workload: str
    depth: int
    poll_interval: int
    group_timeout: int
    link_baud: int
    mend_at: int
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    mutation: str | None = None
    format: int = field(default=FORMAT)

    def data(self, serial: int, index: int) -> bytes:
        """What command ``index`` of chain ``serial`` writes: unlike any other, some with zeros."""
        size = GEOMETRIES[self.geometry].track_bytes
        data = hashlib.blake2b(b"%d/%d/%d" % (self.seed, serial, index), digest_size=size).digest()
        if (serial + index) % 4 == 0:
            data = data[:8] + bytes(size - 8)
        return data

    def without(self, **changes: Any) -> Trial:
        return dataclasses.replace(self, **changes)

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, name: str) -> Trial:
        """Raises UsageError that names the file and what is wrong with it."""
        try:
            values = json.loads(text)
            if not isinstance(values, dict) or values.get("format") != FORMAT:
                raise ValueError(f"it is no scenario of format {FORMAT}")
            values["steps"] = tuple(
                Step(**{**step, "places": tuple((v, t) for v, t in step["places"])})
                for step in values["steps"])
            values["faults"] = tuple(Fault(**fault) for fault in values["faults"])
            if values["geometry"] not in GEOMETRIES:
                raise ValueError(f"there is no geometry {values['geometry']!r}")
            if values["mutation"] is not None:
                Mutation(values["mutation"])
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{name} is no scenario file: {error}") from None


# -- making one ------------------------------------------------------------------------------


def geometry_name(seed: int, mutation: str | None = None) -> str:
    """Of the trial of a seed. Deliberate faults are in one geometry only: it is compiled once."""
    return FAULTY_GEOMETRY if mutation is not None else _chance(seed)[1]


def _chance(seed: int) -> tuple[random.Random, str]:
    chance = random.Random(f"trial {seed}")
    return chance, chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]


def make(seed: int, mutation: str | None = None) -> Trial:
    """The trial of a seed."""
    chance, _ = _chance(seed)
    name = geometry_name(seed, mutation)
    geometry = GEOMETRIES[name]
    workload = chance.choice(("sequential", "random", "zipf", "hot", "hot"))
    link_baud = BAUD // chance.choice((1, 1, 1, 2))
    steps, ends = _steps(chance, geometry, workload)
    faults = _faults(chance, geometry, ends)
    mend_at = max([ends, *(fault.at + 1 for fault in faults)])
    return Trial(seed, name, workload, chance.choice((1, 2, 4, 8)),
                 chance.choice((0, 4, 16, 64)), chance.choice((0, 1, 1, 2)), link_baud, mend_at,
                 steps, faults, mutation)


def _steps(chance: random.Random, geometry: Geometry,
           workload: str) -> tuple[tuple[Step, ...], int]:
    """What the host does, and about when it is done if nothing is in its way."""
    sets = [geometry.initial_set(v) for v in range(geometry.volumes)]
    stream = workloads.synthetic(workload, geometry, sets, chance.randrange(1 << 32))
    frame_clocks = 10 * (geometry.track_bytes + 16) * CLOCK_HZ // geometry.host_baud
    steps = []
    at = 0
    for serial in range(chance.randint(2, 12)):
        places = tuple((v, t) for v, t, _ in next(stream))
        steps.append(Step("chain", at, serial, places))
        at += frame_clocks * (1 + len(places))
        if chance.random() < 0.1:
            at += chance.randrange(8_000)
        if chance.random() < 0.05:
            steps.append(Step("destage", at, number=chance.randrange(geometry.sets)))
    return tuple(steps), at


NOISE = ("BYTE_ERROR", "FRAME_LOSS", "FRAME_REPEAT", "BYTE_LOSS", "BYTE_INSERT", "BURST")
START = 3_000       # clocks: before, no link is up


def _faults(chance: random.Random, geometry: Geometry, end: int) -> tuple[Fault, ...]:
    """Pairs of a fault and its end, at any time; in one trial of ten nothing at all."""
    faults: list[Fault] = []
    groups = itertools.count()
    if chance.random() < 0.1:
        return ()
    for link in range(geometry.links):
        if chance.random() < 0.3:
            faults.append(_channel(0, next(groups), link, "DELAY", chance.randrange(40)))
    for make_one in chance.choices([_cut, _cut_all, _noise], [4, 2, 4], k=chance.randint(1, 5)):
        start = chance.randrange(START, max(START + 1, end))
        faults += make_one(chance, geometry, start, groups)
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _channel(at: int, group: int, link: int, name: str, value: int) -> Fault:
    return Fault("channel", at, group, link, name, value)


def _duration(chance: random.Random) -> int:
    """Mostly short; now and then long enough for a link to be given up."""
    if chance.random() < 0.04:
        return chance.randrange(100_000, 300_000)
    return round(math.exp(chance.uniform(math.log(300), math.log(20_000))))


def _cut(chance: random.Random, geometry: Geometry, start: int,
         groups: Iterator[int]) -> list[Fault]:
    link, group = chance.randrange(geometry.links), next(groups)
    ways = chance.choice((1, 2, 3, 3))
    return [_channel(start, group, link, "CONTROL", ways),
            _channel(start + _duration(chance), group, link, "CONTROL", 0)]


def _cut_all(chance: random.Random, geometry: Geometry, start: int,
             groups: Iterator[int]) -> list[Fault]:
    group, lasts, gap = next(groups), _duration(chance), chance.choice((0, 0, 3000))
    return [fault for link in range(geometry.links)
            for fault in (_channel(start + link * gap, group, link, "CONTROL", 3),
                          _channel(start + link * gap + lasts, group, link, "CONTROL", 0))]


def _noise(chance: random.Random, geometry: Geometry, start: int,
           groups: Iterator[int]) -> list[Fault]:
    """One kind of damage on one link; as far as the channel emulator knows it."""
    link, group = chance.randrange(geometry.links), next(groups)
    name = chance.choice([name for name in NOISE if name in wire.Channel.__members__])
    share = math.exp(chance.uniform(math.log(0.001), math.log(0.02)))
    if name.startswith("FRAME"):
        share *= 10
    return [_channel(start, group, link, name, channel.frame_loss_chance(share)),
            _channel(start + 3 * _duration(chance), group, link, name, 0)]


Maker = Callable[[random.Random, Geometry, int, Iterator[int]], list[Fault]]
