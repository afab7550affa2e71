"""The simulated board with a fault chosen when it starts: one build for all deliberate faults."""

from hdl.mutations import Mutation, Selected
from sim.top import Board

__all__ = ["FaultyBoard", "seed_for"]

FAULT_BIT = 28          # the channels' generators are as random without the top bits of their seed


def seed_for(mutation: Mutation | None, seed: int = 1) -> int:
    """A seed that makes the board start with ``mutation``."""
    if not 0 <= seed < 1 << FAULT_BIT:
        raise ValueError(f"seed {seed} is outside 0..{(1 << FAULT_BIT) - 1}: "
                         "the bits above choose the fault")
    return Selected.number_of(mutation) << FAULT_BIT | seed


class FaultyBoard(Board):
    """See :class:`sim.top.Board`. The top four bits of ``init_seed`` number the fault; the seed
    is an input that never changes while the board runs."""

    def __init__(self, geometry, mutation=None):
        super().__init__(geometry, mutation)
        self.mutation = Selected(self.init_seed[FAULT_BIT:])
