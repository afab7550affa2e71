"""What is proved, how, and by which means it can be seen to fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from .bench import Bench

__all__ = ["PROOFS", "Bounded", "Induction", "Proof", "proof"]


@dataclasses.dataclass(frozen=True)
class Induction:
    """Unbounded: it holds for the first ``depth`` clocks, and after any ``depth`` clocks in which
    it held it holds in the next one."""

    depth: int

    def __str__(self):
        return "induction, unbounded"


@dataclasses.dataclass(frozen=True)
class Bounded:
    """It holds in the first ``depth`` clocks after reset, whatever the inputs do."""

    depth: int

    def __str__(self):
        return "bounded"


@dataclasses.dataclass(frozen=True, eq=False)
class Proof:
    """One proof and its mutations.

    Parameters
    ----------
    name : str
    component : str
        Module path of what is proved.
    claim : str
        The property, in words.
    rule : str
        Invariant or requirement behind it.
    build : callable
        Puts component, assumptions and properties into the :class:`Bench` it is given.
    method : Induction or Bounded
    sizes : str
        Geometry the proof is for.
    faults : mapping of str to object
        Each must make the proof fail: description to fault.
    fault_depth : int
        Clocks within which every fault must show; 0 where that would be too many: then it must
        show in the induction step, from a state that the invariants allow.
    cover_depth : int
        Clocks within which every cover is reached; 0 without covers.
    solver : str
        ``yices`` or ``z3``.
    seconds : float
        CPU time expected, for a laptop core of 2020, with mutations.
    quick : bool
        Whether ``make test`` runs it.
    """

    name: str
    component: str
    claim: str
    rule: str
    build: Callable[[Bench], None]
    method: Induction | Bounded
    sizes: str
    faults: Mapping[str, object]
    fault_depth: int
    cover_depth: int
    solver: str
    seconds: float
    quick: bool

    @property
    def patience(self) -> float:
        """Seconds after which a run counts as failed: machines differ, and may be busy."""
        return max(300, 30 * self.seconds)


PROOFS: dict[str, Proof] = {}


def proof(*, component, claim, rule, method, faults, fault_depth=20, cover_depth=0, sizes="any",
          solver="yices", seconds=2, quick=True):
    """Enters the decorated builder as a proof of its own name."""
    if not faults:
        raise ValueError("a property that nothing can break proves nothing")

    def enter(build):
        name = build.__name__
        if name in PROOFS:
            raise ValueError(f"two proofs are called {name!r}")
        PROOFS[name] = Proof(name, component, claim, rule, build, method, sizes, dict(faults),
                             fault_depth, cover_depth, solver, seconds, quick)
        return build
    return enter
