"""What synthesis made of a system does what the system does.

The scenarios are those that the gateware plays as it was written. `make netlist` plays them: each
of these boards takes a processor a minute or more to make.
"""

import contextlib
import json
import subprocess
import sys

import pytest

from sim.board import SimulatedBoard
from tests.gateware import scenarios  # noqa: F401 - registers them
from tests.gateware.both_board import BOTH
from tests.gateware.native import running_world, world_at
from tests.gateware.shared_board import SHARED
from tests.scenarios.world import SCENARIOS

pytestmark = pytest.mark.netlist

# Minutes. Then the board's process ends, and the host library reports that the port has gone.
MAX_CLOCKS = 400_000_000

SECONDS = 300               # of a command

SMOKE = "a_write_commits_at_once_and_travels_later"
WORKED_EXAMPLES = [
    "the_seeds_three_chains_in_one_set", "the_seeds_three_chains_in_two_sets",
    "the_seeds_example_against_simple_delay", "overlapping_groups_t1_to_t5_then_t50",
]


def small(role):
    """A system as on an iCEBreaker; the other one is as it was written."""
    return running_world(top="tests.gateware.shared_board:SharedBoard", geometry=SHARED,
                         netlist=f"ice40:{role}", thorough=False, max_clocks=MAX_CLOCKS)


def small_source():
    return small("source")


def small_target():
    return small("target")


def farside(*arguments):
    return [sys.executable, "-m", "host_tools.cli", *arguments]


@contextlib.contextmanager
def both_ports():
    """The two ports that `farside hub` makes of a board's one, source and hub made of cells."""
    with contextlib.ExitStack() as stack:
        board = stack.enter_context(SimulatedBoard(
            BOTH, top="tests.gateware.both_board:BothBoard", netlist="ecp5:chip.source,chip.hub",
            max_clocks=MAX_CLOCKS))
        hub = stack.enter_context(subprocess.Popen(
            farside("hub", board.ports["source"]), stdout=subprocess.PIPE))
        stack.callback(hub.terminate)
        yield json.loads(hub.stdout.readline())


@contextlib.contextmanager
def both():
    """Source and target of a ULX3S in one chip, behind one port."""
    with both_ports() as ports, world_at(ports, BOTH, thorough=False) as world:
        yield world


@pytest.mark.parametrize("name", [SMOKE, *WORKED_EXAMPLES])
@pytest.mark.parametrize("world", [small_source, small_target, both])
def test_scenario(world, name):
    with world() as here:
        SCENARIOS[name](here)


def test_a_workload_through_one_port(tmp_path):
    """With the commands that an owner of such a board would give."""
    history = str(tmp_path / "history")
    with both_ports() as ports:
        def done(*arguments):
            return json.loads(subprocess.run(farside(*arguments, "--json"), check=True,
                                             stdout=subprocess.PIPE, timeout=SECONDS).stdout)

        ran = done("run", "hot", "--source", ports["source"], "--history", history,
                   "--chains", "30", "--settle")
        found = done("check", "--history", history, "--target", ports["target"])
    assert ran["chains"] == 30
    assert ran["disconnects"]["count"], "the workload was to collide"
    assert found["consistent"], found
