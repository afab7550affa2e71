"""cocotb on the cached build: bus models, the blocking transport, and honest verdicts."""

import pytest

from firmware_model.geometry import Geometry
from sim.cocotb_run import CocotbFailure, run

BRIDGED = "tests.sim.bridged_echo:BridgedEcho"
MODULE = "tests.sim.cocotb_echo"


def test_bus_models(tmp_path):
    passed = run(MODULE, Geometry(), tmp_path, top=BRIDGED)
    print([line for line in (tmp_path / "simulator.log").read_text().splitlines()
           if "bytes/s" in line])
    assert set(passed) == {"bridge_carries_bytes", "monitor_sees_the_frames_on_the_line",
                           "blocking_code_runs_on_simulated_time", "throughput"}


def test_a_failure_is_reported_with_its_log(tmp_path):
    with pytest.raises(CocotbFailure, match=r"fails_when_asked_to failed[\s\S]*on purpose"):
        run(MODULE, Geometry(), tmp_path, top=BRIDGED, testcase="fails_when_asked_to",
            environment={"FAIL": "1"})


def test_no_test_at_all_is_a_failure(tmp_path):
    with pytest.raises(CocotbFailure):
        run(MODULE, Geometry(), tmp_path, top=BRIDGED, testcase="there_is_no_such_test")
