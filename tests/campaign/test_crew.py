"""Who plays the trials does not matter: here, in processes, on a cluster with a death in it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from host_tools.errors import UsageError
from host_tools.trials.crew import BATCH, Cluster, Here, Processes, batches
from host_tools.trials.plan import geometry_name, make

# A stretch of seeds of one geometry, so that no more than one board has to be compiled.
SEEDS = next(range(at, at + 3) for at in range(1, 20_000)
             if {geometry_name(s) for s in range(at, at + 3)} == {"pair"})


def by_seed(outcomes):
    return sorted(outcomes, key=lambda outcome: outcome.seed)


@pytest.fixture(scope="module")
def expected():
    return by_seed(Here().outcomes(SEEDS, None))


def test_batches_cover_all():
    assert batches(range(5, 31), 10) == [range(5, 15), range(15, 25), range(25, 31)]
    assert batches(range(0)) == []
    assert BATCH > 1


def test_processes_play_the_same(expected):
    crew = Processes(2)
    try:
        assert by_seed(crew.outcomes(SEEDS, None)) == expected
    finally:
        crew.close()


def test_nobody_at_the_address(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("host_tools.trials.crew.CONNECT_SECONDS", 1)
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        Cluster("tcp://127.0.0.1:1")


def start(*arguments):
    return subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + arguments[0],
                             *arguments[1:]], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def address_of(scheduler):
    for line in scheduler.stderr:
        if "Scheduler at:" in line:
            return line.split()[-1]
    raise AssertionError("the scheduler did not start")


def test_a_cluster_survives_a_killed_worker(expected, monkeypatch):
    """Scheduler and workers are processes of their own, as on many machines. One worker is
    killed as soon as it plays; what it had is played by the other."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("host_tools.trials.crew.BATCH", 1)
    monkeypatch.setattr(batches, "__defaults__", (1,))
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__DAEMON", "False")
    started = [start("scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard")]
    try:
        address = address_of(started[0])
        for name in ("one", "two"):
            started.append(start("worker", address, "--nthreads", "1", "--no-nanny",
                                 "--name", name, "--no-dashboard"))
        with distributed.Client(address, set_as_default=False) as watcher:
            watcher.wait_for_workers(2, timeout=60)
            crew = Cluster(address)
            outcomes = crew.outcomes(SEEDS, None)
            found = [next(outcomes)]
            os.kill(started[1].pid, signal.SIGKILL)
            started[1].wait()
            found += outcomes
            crew.close()
            end = time.monotonic() + 30
            while len(watcher.scheduler_info()["workers"]) != 1:
                assert time.monotonic() < end
                time.sleep(0.1)
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
            process.stderr.close()
    assert by_seed(found) == expected
    assert [outcome.seed for outcome in by_seed(found)] == [make(s).seed for s in SEEDS]
