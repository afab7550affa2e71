"""The shared scenarios on the gateware, driven by cocotb through the simulated UARTs.

The host side is the library that users have. Every scenario gets a simulator of its own, started
from reset; the executable is built once and kept by content.
"""

import pytest

from sim.cocotb_run import run
from tests.gateware import scenarios
from tests.scenarios.gateware_world import GatewareWorld
from tests.scenarios.world import GEOMETRY


@pytest.mark.parametrize("scenario", scenarios.parameters(GatewareWorld))
def test_scenario(scenario, tmp_path):
    run("tests.gateware.cocotb_scenarios", GEOMETRY, tmp_path, seed=1,
        environment={"FARSIDE_SCENARIO": scenario.name})
    print([line for line in (tmp_path / "simulator.log").read_text().splitlines()
           if "million clocks" in line])
