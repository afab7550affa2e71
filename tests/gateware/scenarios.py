"""Which scenarios the gateware plays."""

import pytest

from tests.scenarios import basic, mirroring, restarts  # noqa: F401 - they register their scenarios
from tests.scenarios.world import parameters as all_parameters


def parameters(world):
    """All that this class of worlds supports."""
    return [p for p in all_parameters(pytest) if p.values[0].requires <= world.supports]
