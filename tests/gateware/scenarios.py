"""Which scenarios the gateware plays."""

import pytest

from tests.scenarios import basic, mirroring, restarts  # noqa: F401 - they register their scenarios
from tests.scenarios.gateware_world import GatewareWorld
from tests.scenarios.world import parameters as all_parameters


def parameters():
    """All but those that need to reach inside the systems."""
    return [p for p in all_parameters(pytest) if p.values[0].requires <= GatewareWorld.supports]
