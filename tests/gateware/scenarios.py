"""Which scenarios the gateware plays."""

import pytest

from tests.scenarios import basic, mirroring  # noqa: F401 - they register their scenarios
from tests.scenarios.gateware_world import GatewareWorld
from tests.scenarios.world import parameters as all_parameters

# Two links have to be given up, which takes the time-outs of eight tries each, every one twice as
# long as the one before: minutes of simulation. Played on the free-running board when asked for.
SLOW = {"one_link_is_enough"}
ASKED = "FARSIDE_SLOW"


def parameters(*, slow=False):
    """All but those that need to reach inside the systems, and but the slow ones if not asked."""
    found = [p for p in all_parameters(pytest) if p.values[0].requires <= GatewareWorld.supports]
    return [p for p in found if slow or p.values[0].name not in SLOW]
