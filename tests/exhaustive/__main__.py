"""``python -m tests.exhaustive``: all small worlds, on the model completely, on the gateware a
fraction. See :mod:`tests.exhaustive.worlds` and :mod:`tests.exhaustive.gateware`.

``--workers N`` processes share the programs; ``--chains N`` stops at smaller programs; ``--part
I/N`` takes every N-th program, from the I-th. ``--gateware N`` plays on the gateware instead, with
a fault at every N-th clock; ``--turn T`` begins with another kind and clock. ``--record FILE``
writes down what was done. Exit code 1 and the program, schedule and fault, if something goes wrong.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from . import worlds
from .worlds import Program, Violation, programs

# What interleavings() can take whole: every order of events, with one fault and without.
SMALLEST: tuple[tuple[Program, int], ...] = ((((0, (0,)),), 0), (((0, (0,)), (1, (0,))), 0))

# Each exploration of the gateware begins so many clocks later than the one before, and with the
# next kind of fault: a prime, so that clocks and kinds meet in every way.
LATER = 1_009

Job = tuple[Program, str | int]
GatewareJob = tuple[Program, str, int]      # and the turn with which it begins


def on_model(job: Job) -> worlds.Tally:
    program, how = job
    if isinstance(how, int):
        return worlds.interleavings(program, how)
    return worlds.explore(program, worlds.SCHEDULES[how])


def on_gateware(every: int, job: GatewareJob) -> Any:
    from . import gateware

    logging.getLogger("farside").setLevel(logging.ERROR)    # resets end sessions, on purpose
    program, schedule, turn = job
    return gateware.explore(program, schedule, every=every, turn=turn)


def work(player: Callable[[Any], Any], job: Any) -> Any:
    try:
        return player(job)
    except Violation as error:
        return str(error)


def bar(done: int, total: int, began: float, tally: Any) -> None:
    width = 30
    full = width * done // total
    left = (time.monotonic() - began) * (total - done) / max(done, 1)
    print(f"\r[{'#' * full}{'.' * (width - full)}] {done}/{total}  {tally.said()}, "
          f"{left / 60:.0f} minutes left ", end="", file=sys.stderr, flush=True)


def share(player: Callable[[Any], Any], jobs: Sequence[Any], workers: int, tally: Any,
          began: float) -> str | None:
    """Play all jobs and add them up; the first violation ends it."""
    with ProcessPoolExecutor(workers) as pool:
        results = [pool.submit(work, player, job) for job in jobs]
        for done, result in enumerate(as_completed(results), 1):
            found = result.result()
            if isinstance(found, str):
                pool.shutdown(cancel_futures=True)
                return found
            tally.add(found)
            if sys.stderr.isatty() or done % 50 == 0 or done == len(jobs):
                bar(done, len(jobs), began, tally)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=3, choices=(1, 2, 3),
                        help="longest programs (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--part", default="1/1", metavar="I/N",
                        help="only every N-th program, from the I-th (default 1/1)")
    parser.add_argument("--gateware", type=int, metavar="N",
                        help="on the gateware, a fault at every N-th clock")
    parser.add_argument("--turn", type=int, default=0, metavar="T",
                        help="on the gateware: where to begin (default 0)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write down what was done")
    options = parser.parse_args(arguments)
    first, _, every = options.part.partition("/")
    if not (first.isdigit() and every.isdigit() and 1 <= int(first) <= int(every)):
        parser.error(f"--part {options.part} is not I/N with 1 <= I <= N")
    if options.gateware is not None and options.gateware < 1:
        parser.error(f"--gateware {options.gateware} is not at least 1")
    chosen = [p for n in range(1, options.chains + 1)
              for p in programs(n)][int(first) - 1::int(every)]
    if options.gateware is None:
        player: Callable[[Any], Any] = on_model
        jobs: list[Any] = [(p, s) for p in chosen for s in worlds.SCHEDULES]
        jobs += SMALLEST if options.part == "1/1" else ()
        tally: Any = worlds.Tally()
    else:
        from host_tools.trials.plan import GEOMETRIES
        from sim.native import prepare

        from . import gateware

        prepare(GEOMETRIES[gateware.GEOMETRY], progress=lambda stage: print(f"{stage} the board",
                                                                file=sys.stderr))
        player = functools.partial(on_gateware, options.gateware)
        jobs = [(p, s, options.turn + LATER * number) for number, (p, s) in enumerate(
            itertools.product(chosen, gateware.SCHEDULES))]
        tally = gateware.Tally()
    began = time.monotonic()
    violation = share(player, jobs, options.workers, tally, began)
    seconds = round(time.monotonic() - began)
    if options.record is not None:
        asked = {name: value for name, value in vars(options).items() if name != "record"}
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(json.dumps(
            asked | {"programs": len(chosen), "explorations": len(jobs), **tally.as_json(),
                     "violation": violation, "seconds": seconds}, indent=1) + "\n")
    if violation is not None:
        print(f"\n{violation}", file=sys.stderr)
        return 1
    print(f"\n{len(jobs)} explorations of {len(chosen)} programs: {tally.said()}; 0 violations; "
          f"{seconds} s")
    for name, count in sorted(tally.kinds.items()):
        print(f"  {name.lower():30} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
