"""The oracle: which prefix of each set's committed chains is this image?

The answer is exact. A set's image equals prefix *p* if and only if every track of its volumes holds
the version that the chains up to *p* left there. For each track the matching prefixes are a few
intervals; the set's are their intersection. When it is empty the oracle names the prefix that
comes nearest, and a track that contradicts it.

Volumes that moved between sets: see the spans of :mod:`firmware_model.history`. An image belongs to
one span, the newest in which every set fits. Within it the bounds of different sets do not
depend on each other, so nothing is lost by judging set after set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .history import History, Interval, Span, digest, intersect


@dataclass(frozen=True)
class Culprit:
    """A track that proves that there is no matching prefix.

    ``versions`` are the prefixes that its content would match, alone; ``nearest`` is the prefix
    with which most tracks of the set agree, and ``wrong`` the number that do not.
    """

    volume: int
    track: int
    versions: tuple[Interval, ...]
    nearest: int
    wrong: int

    def __str__(self) -> str:
        where = f"track {self.volume}:{self.track}"
        also = f" ({self.wrong} tracks in all)" if self.wrong > 1 else ""
        if not self.versions:
            return f"{where} holds what no chain wrote there{also}"
        found = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in self.versions[:4])
        more = ", ..." if len(self.versions) > 4 else ""
        return (f"{where} is as after chain {found}{more}, but the nearest prefix is "
                f"{self.nearest}{also}")


@dataclass(frozen=True)
class SetVerdict:
    """What the oracle says about one set.

    ``prefix`` is the largest of the matching prefixes ``matches`` (ascending intervals), None if
    there is none; ``lag_chains`` and ``lag_bytes`` are what the source had committed beyond it.
    """

    set: int
    volumes: tuple[int, ...]
    prefix: int | None
    matches: tuple[Interval, ...]
    committed: int
    acknowledged: int
    lag_chains: int | None
    lag_bytes: int | None
    culprit: Culprit | None

    @property
    def new_enough(self) -> bool:
        """At least as new as what the target acknowledged."""
        return self.prefix is not None and self.prefix >= self.acknowledged

    @property
    def ok(self) -> bool:
        return self.new_enough

    def agrees(self, number: int) -> bool:
        """Whether prefix ``number`` is one of those that match."""
        return any(low <= number <= high for low, high in self.matches)

    def __str__(self) -> str:
        if self.prefix is None:
            return f"set {self.set}: no prefix of {self.committed} chains: {self.culprit}"
        text = (f"set {self.set}: exactly chain {self.prefix} of {self.committed}, "
                f"{self.lag_chains} chains ({self.lag_bytes} bytes) behind")
        if not self.new_enough:
            text += f", OLDER than acknowledged chain {self.acknowledged}"
        return text


@dataclass(frozen=True)
class Verdict:
    """What the oracle says about an image, set by set."""

    sets: tuple[SetVerdict, ...]

    @property
    def consistent(self) -> bool:
        """Every set is some prefix."""
        return all(v.prefix is not None for v in self.sets)

    @property
    def ok(self) -> bool:
        """Every set is a prefix, at least as new as acknowledged."""
        return all(v.ok for v in self.sets)

    @property
    def prefixes(self) -> dict[int, int | None]:
        return {v.set: v.prefix for v in self.sets}

    def __str__(self) -> str:
        return "\n".join(map(str, self.sets))

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return {"ok": self.ok, "consistent": self.consistent,
                "sets": [asdict(v) | {"new_enough": v.new_enough, "ok": v.ok,
                                      "reason": None if v.culprit is None else str(v.culprit)}
                         for v in self.sets]}


def judge(history: History, image: bytes,
          acknowledged: Mapping[int, int] | None = None) -> Verdict:
    """Judge a target image.

    Parameters
    ----------
    history : History
        Everything that had committed at the source when the image was taken; more is allowed.
    image : bytes
        All volumes, in order.
    acknowledged : mapping of set to chain number, optional
        What the target had acknowledged when the image was taken; the history's own low-water
        marks by default.

    Raises ``ValueError`` if the image does not have the size of the geometry.
    """
    g = history.geometry
    if len(image) != g.image_bytes:
        raise ValueError(f"image has {len(image)} bytes, the geometry has {g.image_bytes}")
    if acknowledged is None:
        acknowledged = dict(enumerate(history.acknowledged))
    names = [digest(image[at:at + g.track_bytes])
             for at in range(0, g.image_bytes, g.track_bytes)]
    newest: Verdict | None = None
    for span in reversed(history.spans):
        verdict = Verdict(tuple(_judge_set(history, span, set_, names, acknowledged.get(set_, 0))
                                for set_ in range(g.sets)))
        if verdict.consistent:
            return verdict
        newest = newest or verdict
    assert newest is not None
    return newest


def _judge_set(history: History, span: Span, set_: int, names: list[bytes],
               acknowledged: int) -> SetVerdict:
    g = history.geometry
    volumes = tuple(v for v in range(g.volumes) if span.assignment[v] == set_)
    committed = history.committed(set_)
    low = span.low[set_]
    high = committed if span.high is None else span.high[set_]
    found: list[Interval] = [(low, high)]
    tracks = [v * g.tracks_per_volume + t for v in volumes for t in range(g.tracks_per_volume)]
    for linear in tracks:
        here = history.matches(span, linear, names[linear], low, high)
        if here != [(low, high)]:
            found = intersect(found, here)
        if not found:
            break
    if not found:
        culprit = _culprit(history, span, tracks, names, low, high)
        return SetVerdict(set_, volumes, None, (), committed, acknowledged, None, None, culprit)
    prefix = found[-1][1]
    return SetVerdict(set_, volumes, prefix, tuple(found), committed, acknowledged,
                      committed - prefix, history.bytes_after(set_, prefix), None)


def _culprit(history: History, span: Span, tracks: list[int], names: list[bytes], low: int,
             high: int) -> Culprit:
    """The prefix with which most tracks agree, and the first track that does not: one that no
    chain wrote, if there is such a track."""
    matches = {t: tuple(history.matches(span, t, names[t], low, high)) for t in tracks}
    changes: dict[int, int] = {}
    for intervals in matches.values():
        for first, last in intervals:
            changes[first] = changes.get(first, 0) + 1
            changes[last + 1] = changes.get(last + 1, 0) - 1
    agreeing, best, nearest = 0, -1, low
    for at in sorted(changes):
        agreeing += changes[at]
        if at <= high and agreeing >= best:
            best, nearest = agreeing, at
    wrong = [t for t in tracks if not any(a <= nearest <= b for a, b in matches[t])]
    wrong.sort(key=lambda t: bool(matches[t]))
    volume, track = divmod(wrong[0], history.geometry.tracks_per_volume)
    return Culprit(volume, track, matches[wrong[0]], nearest, len(wrong))
