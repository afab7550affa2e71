"""What a board counts, as values with names."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from firmware_model import wire
from firmware_model.geometry import Geometry


@dataclass(frozen=True)
class SetPage:
    """One set's page (``wire.SetWord``), with the words that belong together joined."""

    set: int
    words: tuple[int, ...]

    def word(self, word: wire.SetWord) -> int:
        return self.words[word]

    @property
    def unsent(self) -> int:
        """Tracks pending that are in no group."""
        return self.words[wire.SetWord.UNSENT]

    @property
    def in_flight(self) -> int:
        """Groups cut and not known to be committed at the target."""
        return (self.words[wire.SetWord.NEXT] - 1 - self.words[wire.SetWord.DONE]) & 0xFFFF

    @property
    def volumes(self) -> int:
        return self.words[wire.SetWord.VOLUMES]

    @property
    def chains(self) -> int:
        """Chains committed on this side."""
        return self.words[wire.SetWord.CHAINS_LOW] | self.words[wire.SetWord.CHAINS_HIGH] << 16

    @property
    def acked(self) -> int:
        """Source: chains known to be committed at the target."""
        return self.words[wire.SetWord.ACKED_LOW] | self.words[wire.SetWord.ACKED_HIGH] << 16

    @property
    def scanned(self) -> int:
        """Source: chain numbers up to this one may be a resynchronisation's."""
        return (self.words[wire.SetWord.RESYNC_LOW]
                | self.words[wire.SetWord.RESYNC_HIGH] << 16)

    @property
    def settled(self) -> bool:
        """Source: the target has everything."""
        return self.unsent == 0 and self.in_flight == 0 and not self.resyncing

    @property
    def resyncing(self) -> bool:
        """Source: everything is being sent, since the target's image was lost or is unknown."""
        return bool(self.words[wire.SetWord.FLAGS] & wire.SourceFlag.RESYNC)

    @property
    def inconsistent(self) -> bool:
        """Target: the image is no prefix until the resynchronisation has finished."""
        return bool(self.words[wire.SetWord.FLAGS] & wire.TargetFlag.INCONSISTENT)

    def as_dict(self) -> dict[str, int]:
        values = {"set": self.set}
        values |= {word.name.lower(): self.words[word] for word in wire.SetWord
                   if word != wire.SetWord.GROUP}
        values |= {"chains": self.chains, "acked": self.acked, "in_flight": self.in_flight}
        return values


def down_seconds(ticks: int, geometry: Geometry) -> float:
    """So much of a link's ``down_time`` in seconds of the board; the counter wraps."""
    return (ticks & 0xFFFFFFFF) * wire.SLOW_TICK / geometry.clock_hz


@dataclass(frozen=True)
class Stats:
    """Everything a board counts, read at nearly one moment."""

    role: str
    cycles: int
    free_slots: int
    links_up: list[int]
    disconnected: int | None        # volumes disconnected now, of a source
    counters: dict[str, int]
    links: list[dict[str, int]]
    sets: list[SetPage]

    def as_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["sets"] = [page.as_dict() for page in self.sets]
        return values


@dataclass(frozen=True)
class Disconnect:
    """One disconnection of a volume, as its RECONNECT reported it."""

    volume: int
    track: int
    clocks: int
