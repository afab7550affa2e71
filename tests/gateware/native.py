"""A world on the simulated board that runs free in a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack

from host_tools.transport import SerialTransport
from sim.board import SimulatedBoard
from tests.scenarios.gateware_world import GatewareWorld
from tests.scenarios.world import GEOMETRY

# Three times what the longest scenario takes. Then the process ends, and the host library reports
# that the port has gone.
MAX_CLOCKS = 150_000_000


@contextlib.contextmanager
def native_world(*, seed: int = 1, top: str = "sim.top:Board",
                 thorough: bool = True, garbled: bool = False) -> Iterator[GatewareWorld]:
    """Build (or find), start and connect; stop at the end. ``seed`` is the channels',
    ``garbled`` see :mod:`sim.garble`."""
    with ExitStack() as stack:
        board = stack.enter_context(
            SimulatedBoard(GEOMETRY, seed=seed, top=top, max_clocks=MAX_CLOCKS, garbled=garbled))
        lines = [SerialTransport(board.ports[side], GEOMETRY.host_baud)
                 for side in ("source", "target")]
        for line in lines:
            stack.callback(line.close)
        world = GatewareWorld(*lines, thorough=thorough)
        yield world
        print(f"{world.clocks() / 1e6:.1f} million clocks")
