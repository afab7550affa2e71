"""What happens in one trial: sizes, settings, what the host does, and what goes wrong when.

Everything is decided before the trial starts, so dropping a part of a description leaves a
description that can be played: that is how failures are made smaller. As JSON it is the scenario
file of ``farside replay``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from dataclasses import dataclass, field
from typing import Any

from firmware_model import channel, wire
from firmware_model.geometry import Geometry
from firmware_model.mutations import Mutation

from .. import workloads
from ..errors import UsageError

__all__ = ["GEOMETRIES", "SHARED_LINES", "Fault", "Step", "Trial", "geometry_name", "make", "pace"]

FORMAT = 2
CLOCK_HZ = 1_000_000        # the slowest that there is
HOST_BAUD = 250_000         # four clocks a bit, the fastest: most happens in the fewest clocks
BAUD = 200_000              # five: that stands skewed lines, and four would not
LINK_BAUDS = (250_000,) * 4 + (200_000,) * 3 + (100_000,)


# The fastest that hdl.linebank serves with two links and a window of four.
SHARED_BAUD = CLOCK_HZ // 27


def _geometry(**sizes: int) -> Geometry:
    return Geometry(**{"clock_hz": CLOCK_HZ, "host_baud": HOST_BAUD, "link_baud": BAUD} | sizes)


# Each is compiled once. They differ in all that shapes the gateware: one link and many, numbers
# that are no powers of two, no room to spare, one group in flight. What costs most clocks is where
# a clock costs least: long tracks and windows on the single link. A group takes in another chain
# only while a longest one fits, so the chain limit has to be below Geometry.group_limit somewhere:
# below 5 at 16 bytes a track.
GEOMETRIES: dict[str, Geometry] = {
    "pair": _geometry(volumes=3, tracks_per_volume=5, track_bytes=16, sets=2, links=2,
                      chain_limit=3, spare_slots=10, staging_slots=8, groups_in_flight=4,
                      window=8, volumes_per_set=3),
    "line": _geometry(volumes=2, tracks_per_volume=7, track_bytes=32, sets=1, links=1,
                      chain_limit=7, spare_slots=10, staging_slots=10, groups_in_flight=2,
                      window=16, volumes_per_set=2),
    "trio": _geometry(volumes=5, tracks_per_volume=3, track_bytes=16, sets=3, links=3,
                      chain_limit=4, spare_slots=9, staging_slots=20, groups_in_flight=4,
                      window=4, volumes_per_set=2),
    "wide": _geometry(volumes=4, tracks_per_volume=6, track_bytes=16, sets=4, links=4,
                      chain_limit=4, spare_slots=12, staging_slots=30, groups_in_flight=2,
                      window=4, volumes_per_set=2),
    "tight": _geometry(volumes=2, tracks_per_volume=6, track_bytes=16, sets=2, links=2,
                       chain_limit=5, spare_slots=7, staging_slots=5, groups_in_flight=1,
                       window=4, volumes_per_set=1),
    # The slowest link decides how wide a bank's divisors are.
    "small": _geometry(volumes=3, tracks_per_volume=3, track_bytes=16, sets=2, links=2,
                       chain_limit=3, spare_slots=6, staging_slots=7, groups_in_flight=2,
                       window=4, volumes_per_set=2, host_baud=SHARED_BAUD,
                       link_baud=SHARED_BAUD * min(LINK_BAUDS) // HOST_BAUD),
}
# The last is rare, one trial in 101, and its numbers are small: it takes five times as long.
WEIGHTS = {"pair": 15, "line": 10, "trio": 3, "wide": 1, "tight": 11, "small": 0.4}
SHARED_LINES = {"small"}    # one engine for all lines of a system, and a clerk at the source
FAULTY_GEOMETRY = "pair"    # room in frame and write set for a chain that is longer than the limit


def pace(name: str) -> int:
    """How many times as long as on the fastest lines everything takes in this geometry."""
    return HOST_BAUD // GEOMETRIES[name].host_baud


Place = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """Something the host does, not before clock ``at``.

    ``chain`` writes ``places`` (``serial`` makes its data), as far as they are in the set of the
    first; ``destage`` asks for set ``number``; ``assign`` moves volume ``number`` to ``set``, if
    its old set drains soon. ``bad`` is a chain that must not commit: one of ``places`` of which
    only the first ``number`` come before it ends in the way of BAD_ENDS that ``serial`` names, or
    that is too long or spans sets.
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
    ``restart`` resets the source (``number`` 0) or target (1); with ``value`` 1 its memory is lost.
    Named AFTER_EVENT it does so, keeping the memory, ``value`` clocks after the next thing that is
    looked at on that side: in the middle of what follows a commit or a cut. Named WITHIN_GROUP it
    does so ``value`` clocks after a chain of the target that is not the last of its group.
    ``host`` befalls the host's line: NOISE damages pieces of what is on it with the chance
    ``value``, UNPLUGGED (1, then 0) nothing passes, GARBAGE is ``value`` bytes at random, FLOOD
    that many requests at once; at GONE its program ends, and another comes after ``value`` clocks.
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

    @property
    def orderly(self) -> bool:
        """Nothing goes wrong on a link or in a system: no reason to send anything twice. A delay
        does: what is under way when it ends is lost (see sim/delayline.py)."""
        return all(fault.kind == "host" for fault in self.faults)

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
                if values["geometry"] in SHARED_LINES:
                    raise ValueError(f"the board {values['geometry']!r} is built without mutations")
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
    link_baud = chance.choice(LINK_BAUDS) * geometry.host_baud // HOST_BAUD
    steps, ends = _steps(chance, geometry, workload, pace(name))
    faults: tuple[Fault, ...] = ()
    if chance.random() < 0.95:
        faults = _Faults(chance, geometry, link_baud, ends, pace(name)).made()
    mend_at = max([ends, *(fault.at + 1 for fault in faults)])
    return Trial(seed, name, workload, chance.choice((1, 2, 4, 8)),
                 chance.choice((0, 4, 16, 64)), pace(name) * chance.choice((0, 1, 1, 2)), link_baud,
                 mend_at, steps, faults, mutation)


def _steps(chance: random.Random, geometry: Geometry,
           workload: str, slower: int) -> tuple[tuple[Step, ...], int]:
    """What the host does, and about when it is done if nothing is in its way."""
    sets = [geometry.initial_set(v) for v in range(geometry.volumes)]
    steps = []
    if chance.random() < 0.5:
        for volume in range(geometry.volumes):
            set_ = chance.randrange(geometry.sets)
            if set_ != sets[volume] and sets.count(set_) < geometry.volumes_per_set:
                sets[volume] = set_
                steps.append(Step("assign", 0, number=volume, set=set_))
    stream = workloads.synthetic(workload, geometry, sets, chance.randrange(1 << 32))
    frame_clocks = 10 * (geometry.track_bytes + 16) * CLOCK_HZ // geometry.host_baud
    at = 0
    # Few, so that faults strike in all of them; now and then enough for numbers to go round.
    few = chance.random() < 0.98
    for serial in range(chance.randint(2, 4) if few else chance.randint(6, 20)):
        places = tuple((v, t) for v, t, _ in next(stream))
        if len(places) < geometry.chain_limit and chance.random() < 0.1:
            places += chance.choice(places),        # twice in one chain
        steps.append(Step("chain", at, serial, places))
        at += frame_clocks * (1 + len(places))
        if chance.random() < 0.1:
            at += slower * chance.randrange(8_000)
        if chance.random() < 0.09:
            steps.append(_bad_chain(chance, geometry, at))
        if chance.random() < 0.05:
            steps.append(Step("destage", at, number=chance.randrange(geometry.sets)))
        if chance.random() < 0.04:
            steps.append(Step("assign", at, number=chance.randrange(geometry.volumes),
                              set=chance.randrange(geometry.sets)))
    return tuple(steps), at


BAD_ENDS = ("a WRITE out of turn", "a WRITE too short", "a chain of nothing")


def _bad_chain(chance: random.Random, geometry: Geometry, at: int) -> Step:
    """One that breaks off, is too long, or spans sets if its volumes do."""
    volume = chance.randrange(geometry.volumes)
    tracks = chance.sample(range(geometry.tracks_per_volume), 3)
    kind = chance.choice(("torn", "long", "spanning"))
    if kind == "torn":
        places = tuple((volume, track) for track in tracks[:chance.randint(2, 3)])
        return Step("bad", at, chance.randrange(len(BAD_ENDS)), places,
                    chance.randint(1, len(places) - 1))
    # Few tracks, which are rarely pending: nothing else is to be wrong with it.
    if kind == "long":
        places = ((volume, tracks[0]),) * (geometry.chain_limit + 1)
    else:
        places = tuple(((volume + n) % geometry.volumes, tracks[n]) for n in range(2))
    return Step("bad", at, places=places, number=len(places))


START = 3_000           # clocks: before, no link is up
BY_CHANCE = ("BYTE_ERROR", "FRAME_LOSS", "FRAME_REPEAT", "BYTE_LOSS", "BYTE_INSERT", "BURST")
KINDS = {"cut": 5, "cut_all": 2, "noise": 6, "stuck": 1, "skew": 1, "flap": 1, "restart": 5,
         "host": 3, "late": 2}


class _Faults:
    """Makes the faults of a trial: each begins at some time, and ends."""

    def __init__(self, chance: random.Random, geometry: Geometry, link_baud: int,
                 end: int, slower: int) -> None:
        self.chance = chance
        self.slower = slower
        self.geometry = geometry
        self.link_baud = link_baud
        self.start = START * slower
        self.end = max(self.start + 1, end)
        self.faults: list[Fault] = []
        self._group = 0

    def made(self) -> tuple[Fault, ...]:
        chance = self.chance
        self._delays()
        kinds = chance.choices(list(KINDS), list(KINDS.values()),
                               k=chance.choice((1, 1, 2, 2, 3)))
        for kind in kinds:
            self._group += 1
            getattr(self, f"_{kind}")(chance.randrange(self.start, self.end))
        return tuple(sorted(self.faults, key=lambda fault: fault.at))

    def _delays(self) -> None:
        chance, links = self.chance, self.geometry.links
        far = chance.random() < 0.01
        for link in range(links):
            self._group += 1
            if far:
                self._channel(0, link, "DELAY", 1000 if link % 2 else 1)
            elif chance.random() < 0.3:
                self._channel(0, link, "DELAY", chance.randrange(40))

    def _channel(self, at: int, link: int, name: str, value: int) -> None:
        self.faults.append(Fault("channel", at, self._group, link, name, value))

    def _link(self) -> int:
        return self.chance.randrange(self.geometry.links)

    def _duration(self, times: int = 1) -> int:
        """Mostly short; now and then long enough for a link to be given up."""
        if self.chance.random() < 0.02:
            return self.slower * self.chance.randrange(40_000, 120_000)
        times *= self.slower
        return times * round(math.exp(self.chance.uniform(math.log(300), math.log(10_000))))

    def _for_a_while(self, start: int, link: int, name: str, value: int, after: int = 0,
                     times: int = 1) -> None:
        self._channel(start, link, name, value)
        self._channel(start + self._duration(times), link, name, after)

    def _cut(self, start: int) -> None:
        """A link, or one direction of it."""
        self._for_a_while(start, self._link(), "CONTROL", self.chance.choice((1, 2, 3, 3)))

    def _cut_all(self, start: int) -> None:
        lasts, gap = self._duration(), self.slower * self.chance.choice((0, 0, 3000))
        for link in range(self.geometry.links):
            self._channel(start + link * gap, link, "CONTROL", 0b11)
            self._channel(start + link * gap + lasts, link, "CONTROL", 0)

    def _stuck(self, start: int) -> None:
        fault = self.chance.choice((wire.LineFault.STUCK_LOW, wire.LineFault.STUCK_HIGH))
        self._for_a_while(start, self._link(), "CONTROL",
                          self.chance.choice((1, 2, 3)) << 2 * fault)

    def _noise(self, start: int) -> None:
        """One kind of damage on one link, sometimes in one direction."""
        link, name = self._link(), self.chance.choice(BY_CHANCE)
        share = math.exp(self.chance.uniform(math.log(0.001), math.log(0.02)))
        if name.startswith("FRAME"):
            share *= 10
        if name == "BURST":
            self._channel(start, link, "BURST_BYTES", self.chance.randint(1, 60))
        if self.chance.random() < 0.3:
            one = self.chance.choice((0x1_5555, 0x2_AAAA))      # of each pair of bits
            self._for_a_while(start, link, "DIRECTIONS", one, channel.ALL_DIRECTIONS, times=2)
        self._for_a_while(start, link, name, channel.frame_loss_chance(share), times=2)

    def _skew(self, start: int) -> None:
        share = self.chance.choice((-1, 1)) * channel.MAX_SKEW
        units = channel.skew_units(share, self.geometry.divisor(self.link_baud))
        self._for_a_while(start, self._link(), "SKEW", units, times=2)

    def _flap(self, start: int) -> None:
        link = self._link()
        self._channel(start, link, "FLAP_UP", self.chance.randint(1, 6))
        self._for_a_while(start, link, "FLAP_DOWN", self.chance.randint(1, 5), times=2)

    def _restart(self, start: int) -> None:
        side = self.chance.choice((0, 1))
        if self.chance.random() < 0.5:
            name = self.chance.choice(("AFTER_EVENT", "WITHIN_GROUP")) if side else "AFTER_EVENT"
            self.faults.append(Fault("restart", start, self._group, side, name,
                                     self.slower * self.chance.randrange(60)))
            return
        self.faults.append(Fault("restart", start, self._group, side,
                                 value=int(self.chance.random() < 0.4)))

    def _late(self, start: int) -> None:
        """The source begins a new life while frames of the old one are on a slow link."""
        link = self._link()
        ticks = self.chance.randint(200, 700)
        lasts = ticks * wire.CHANNEL_TICK_BITS * self.geometry.divisor(self.link_baud) // 256
        at = start + self.chance.randrange(1_000 * self.slower, lasts)
        self._channel(start, link, "DELAY", ticks)
        self.faults.append(Fault("restart", at, self._group, 0,
                                 value=int(self.chance.random() < 0.7)))
        self._channel(at + lasts + self._duration(), link, "DELAY", 0)

    def _host(self, start: int) -> None:
        chance = self.chance
        name = chance.choice(("NOISE", "UNPLUGGED", "GARBAGE", "FLOOD", "GONE", "GONE"))
        value = {"NOISE": channel.frame_loss_chance(0.1), "UNPLUGGED": 1,
                 "GARBAGE": chance.randint(1, 200), "FLOOD": chance.randint(10, 60),
                 "GONE": self.slower * chance.randrange(20_000)}[name]
        self.faults.append(Fault("host", start, self._group, 0, name, value))
        if name in ("NOISE", "UNPLUGGED"):
            self.faults.append(Fault("host", start + self._duration(), self._group, 0, name, 0))
