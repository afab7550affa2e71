"""Makes a failing trial smaller: fewer faults, fewer chains, shorter chains, still failing.

Delta debugging: halves are left out, then quarters, down to single parts, as long as the trial
still ends in a violation of the same kind.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .plan import Step, Trial
from .play import Outcome, play

__all__ = ["kind_of", "shrink"]

SECONDS = 60.0      # a trial that hangs takes seconds to play

Part = TypeVar("Part")


def kind_of(violation: str | None) -> str:
    """A violation without its numbers: what stays the same when a trial gets smaller."""
    if violation is None:
        return ""
    return " ".join(re.sub(r"\[.*?\]|[\d:,.]", " ", violation.split("wrong in ")[0]).split())


def shrink(trial: Trial, outcome: Outcome, *, seconds: float = SECONDS,
           run: Callable[[Trial], Outcome] = play) -> tuple[Trial, Outcome]:
    """The smallest trial found within ``seconds`` that fails as ``trial`` did; and how it does."""
    wanted = kind_of(outcome.violation)
    end = time.monotonic() + seconds
    best = trial, outcome

    def fails(candidate: Trial) -> bool:
        nonlocal best
        if time.monotonic() > end:
            return False
        result = run(candidate)
        if kind_of(result.violation) != wanted:
            return False
        best = candidate, result
        return True

    groups = sorted({fault.group for fault in trial.faults})
    _minimise(groups, lambda kept: fails(best[0].without(faults=tuple(
        fault for fault in trial.faults if fault.group in kept))))
    _minimise(best[0].steps, lambda kept: fails(best[0].without(steps=tuple(kept))))
    for number, step in enumerate(best[0].steps):
        _minimise(step.places, lambda kept, number=number: bool(kept) and fails(  # type: ignore[misc]
            best[0].without(steps=_with_places(best[0].steps, number, tuple(kept)))))
    latest = 1 + max([0, *(step.at for step in best[0].steps),
                      *(fault.at for fault in best[0].faults)])
    if latest < best[0].mend_at:
        fails(best[0].without(mend_at=latest))
    return best


def _with_places(steps: Sequence[Step], number: int,
                 places: tuple[tuple[int, int], ...]) -> tuple[Step, ...]:
    changed = list(steps)
    changed[number] = dataclasses.replace(steps[number], places=places)
    return tuple(changed)


def _minimise(parts: Sequence[Part], fails: Callable[[list[Part]], bool]) -> None:
    """Leave out parts as long as the rest fails; ``fails`` remembers what did."""
    kept = list(parts)
    size = len(kept)
    while size:
        at = 0
        while at < len(kept):
            rest = kept[:at] + kept[at + size:]
            if fails(rest):
                kept = rest
            else:
                at += size
        size //= 2


