"""One shared scenario, or random program, on the board under cocotb; run by
test_scenarios_cocotb.py.

It is blocking code in a thread of its own. It drives the host library, whose transports are the
simulated UARTs; simulated time passes only while the library waits.
"""

import faulthandler
import os
import time

import cocotb
from cocotb.task import bridge
from cocotb.utils import get_sim_time

from sim.cocotb_uart import Bridge, CocotbTransport, start_board
from tests.scenarios import (  # noqa: F401 - they register their scenarios
    basic,
    generator,
    mirroring,
    restarts,
)
from tests.scenarios.gateware_world import GatewareWorld
from tests.scenarios.world import GEOMETRY, SCENARIOS

NAME = "FARSIDE_SCENARIO"
SEED = "FARSIDE_PROGRAM"    # instead of a name
PROGRAM_LENGTH = 25
SIMULATED_SECONDS = 30      # ten times what the longest takes
WALL_SECONDS = 300          # on a loaded machine; the process ends then, whatever it does


@cocotb.test(timeout_time=SIMULATED_SECONDS, timeout_unit="sec")
async def scenario(dut):
    faulthandler.dump_traceback_later(WALL_SECONDS, exit=True)
    began = time.perf_counter()
    await start_board(dut, GEOMETRY)
    source, target = (CocotbTransport(Bridge(dut, name)) for name in ("source", "target"))

    def play():
        world = GatewareWorld(source, target, thorough=False)
        if SEED in os.environ:
            generator.play(world, int(os.environ[SEED]), PROGRAM_LENGTH)
        else:
            SCENARIOS[os.environ[NAME]](world)

    await bridge(play)()
    clocks = get_sim_time("sec") * GEOMETRY.clock_hz
    seconds = time.perf_counter() - began
    cocotb.log.info(f"{clocks / 1e6:.1f} million clocks, {clocks / seconds / 1e6:.2f} MHz")
    faulthandler.cancel_dump_traceback_later()
