"""``python -m tests.exhaustive``: all small worlds, completely. See :mod:`tests.exhaustive.worlds`.

``--workers N`` processes share the programs; ``--chains N`` stops at smaller programs; ``--part
I/N`` takes every N-th program, from the I-th. Exit code 1 and the program, schedule and fault, if
something goes wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from .worlds import SCHEDULES, Program, Tally, Violation, explore, interleavings, programs

# What interleavings() can take whole: every order of events, with one fault and without.
SMALLEST: tuple[tuple[Program, int], ...] = ((((0, (0,)),), 0), (((0, (0,)), (1, (0,))), 0))


def work(job: tuple[Program, str | int]) -> Tally | str:
    program, how = job
    try:
        if isinstance(how, int):
            return interleavings(program, how)
        return explore(program, SCHEDULES[how])
    except Violation as error:
        return str(error)


def bar(done: int, total: int, began: float, tally: Tally) -> None:
    width = 30
    full = width * done // total
    left = (time.monotonic() - began) * (total - done) / max(done, 1)
    print(f"\r[{'#' * full}{'.' * (width - full)}] {done}/{total}  {tally.strikes} faults, "
          f"{tally.events} events, {left / 60:.0f} minutes left ", end="", file=sys.stderr,
          flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=3, choices=(1, 2, 3),
                        help="longest programs (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--part", default="1/1", metavar="I/N",
                        help="only every N-th program, from the I-th (default 1/1)")
    options = parser.parse_args()
    first, _, every = options.part.partition("/")
    if not (first.isdigit() and every.isdigit() and 1 <= int(first) <= int(every)):
        parser.error(f"--part {options.part} is not I/N with 1 <= I <= N")
    chosen = [p for n in range(1, options.chains + 1) for p in programs(n)]
    jobs: list[tuple[Program, str | int]] = [
        (p, s) for p in chosen[int(first) - 1::int(every)] for s in SCHEDULES]
    jobs += SMALLEST if options.part == "1/1" else ()
    began, tally = time.monotonic(), Tally()
    with ProcessPoolExecutor(options.workers) as pool:
        results = [pool.submit(work, job) for job in jobs]
        for done, result in enumerate(as_completed(results), 1):
            found = result.result()
            if isinstance(found, str):
                pool.shutdown(cancel_futures=True)
                print(f"\n{found}", file=sys.stderr)
                return 1
            tally.add(found)
            if sys.stderr.isatty() or done % 50 == 0 or done == len(jobs):
                bar(done, len(jobs), began, tally)
    seconds = time.monotonic() - began
    print(f"\n{len(jobs)} explorations of {len({p for p, _ in jobs})} programs: {tally.strikes} "
          f"faults at every event, {tally.events} events, {tally.merged} runs that met another; "
          f"0 violations; {seconds:.0f} s")
    for name, count in sorted(tally.kinds.items()):
        print(f"  {name.lower():12} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
