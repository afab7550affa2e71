"""Plays many trials on many processors: of this machine, or of a Dask cluster.

The result of a trial depends on its seed alone, so it does not matter who plays it, and one
that was under way on a worker that died is simply played again by another.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from ..errors import DeviceError, EnvironmentError_, UsageError
from .plan import make
from .play import Outcome, play

__all__ = ["Cluster", "Crew", "Here", "Processes", "play_seeds"]

BATCH = 10              # seeds of one job: about a second, so that handing out costs nothing
RETRIES = 10            # workers of a cluster may die under a job as often as this
CONNECT_SECONDS = 10


def play_seeds(seeds: Sequence[int], mutation: str | None) -> list[Outcome]:
    """The job of a worker."""
    # What the host library warns of is what a trial does to it; a terminal shows the progress.
    logging.getLogger("farside").setLevel(logging.ERROR)
    return [play(make(seed, mutation)) for seed in seeds]


class Crew(Protocol):
    """Whoever plays the trials."""

    def outcomes(self, seeds: range, mutation: str | None) -> Iterator[Outcome]:
        """Outcomes of all seeds, in any order, as they become known."""

    def close(self) -> None:
        """Leave what is under way."""


def batches(seeds: range, size: int = BATCH) -> list[range]:
    return [seeds[at:at + size] for at in range(0, len(seeds), size)]


class Here:
    """This process alone."""

    def outcomes(self, seeds: range, mutation: str | None) -> Iterator[Outcome]:
        for seed in seeds:
            yield play(make(seed, mutation))

    def close(self) -> None:
        pass


class Processes:
    """So many processes of this machine."""

    def __init__(self, workers: int) -> None:
        # Started anew and not forked: a progress bar may have threads in this process.
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))

    def outcomes(self, seeds: range, mutation: str | None) -> Iterator[Outcome]:
        waiting = iter(batches(seeds))
        running: set[Future[list[Outcome]]] = set()
        try:
            while True:
                while len(running) < 2 * self._workers:
                    batch = next(waiting, None)
                    if batch is None:
                        break
                    running.add(self._pool.submit(play_seeds, batch, mutation))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool:
            raise DeviceError("a worker process was ended from outside: is memory short? Try "
                              "fewer --workers") from None

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Cluster:
    """The workers of a Dask cluster, whose scheduler is at ``address``."""

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise EnvironmentError_("a cluster needs Dask: pip install 'farside[cluster]'") \
                from None
        self._distributed: Any = distributed
        try:
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {address}: {error}") from None

    def outcomes(self, seeds: range, mutation: str | None) -> Iterator[Outcome]:
        futures = [self._client.submit(play_seeds, batch, mutation, pure=False, retries=RETRIES)
                   for batch in batches(seeds)]
        for _, outcomes in self._distributed.as_completed(futures, with_results=True):
            yield from outcomes

    def close(self) -> None:
        self._client.close()


