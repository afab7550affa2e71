"""The shared scenarios on the gateware, driven by cocotb through the simulated UARTs.

The host side is the library that users have. Every scenario gets a simulator of its own, started
from reset; the executable is built once and kept by content.

Nobody relies on what block RAM says where it is read and written in the same clock: bitstreams
are made on that promise (``boards.flow``), and here every such read is wrong in every bit.
"""

import pytest

from sim.cocotb_run import run
from tests.gateware import scenarios
from tests.scenarios.gateware_world import GatewareWorld
from tests.scenarios.world import GEOMETRY


def play(directory, **what):
    run("tests.gateware.cocotb_scenarios", GEOMETRY, directory, seed=1, garbled=True,
        environment={f"FARSIDE_{name.upper()}": str(value) for name, value in what.items()})
    print([line for line in (directory / "simulator.log").read_text().splitlines()
           if "million clocks" in line])


@pytest.mark.parametrize("scenario", scenarios.parameters(GatewareWorld))
def test_scenario(scenario, tmp_path):
    play(tmp_path, scenario=scenario.name)


@pytest.mark.parametrize("seed", range(2))
def test_random_program(seed, tmp_path):
    play(tmp_path, program=seed)
