"""``python -m tests.fuzz``: malformed input for every receiver, for as long as you like.

Every case has a number and depends on nothing but that and the seed. A case that fails says how
to run it again, alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sim.native import Side

from . import gateware, library

CASES: dict[str, Callable[[random.Random], int]] = {
    "library line": library.line,
    "library": library.conversation,
    "source host": lambda rng: gateware.host_line(rng, Side.SOURCE, 6),
    "target host": lambda rng: gateware.host_line(rng, Side.TARGET, 6),
    "source link": lambda rng: gateware.link(rng, Side.SOURCE, 6),
    "target link": lambda rng: gateware.link(rng, Side.TARGET, 6),
}


def run_case(name: str, seed: int, number: int) -> int:
    """One case; raises whatever goes wrong with how to repeat it. Returns the input thrown."""
    try:
        return CASES[name](random.Random(f"{seed}/{name}/{number}"))
    except Exception as error:
        error.add_note(f"again: python -m tests.fuzz --seed {seed} --only '{name}' "
                       f"--case {number}")
        raise


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32),
                        help="of everything (by default another one each time)")
    parser.add_argument("--only", choices=list(CASES), help="one receiver")
    parser.add_argument("--case", type=int, help="one case of it")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write down what was done")
    chosen = parser.parse_args(arguments)
    names = [chosen.only] if chosen.only else list(CASES)
    logging.getLogger("farside").setLevel(logging.CRITICAL)     # what is thrown makes them loud
    print(f"seed {chosen.seed}", flush=True)
    if chosen.case is not None:
        print(f"{run_case(names[0], chosen.seed, chosen.case)} pieces thrown")
        return 0
    thrown: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    end = time.monotonic() + chosen.seconds
    while time.monotonic() < end:
        # Whoever has had the least time is next.
        name = min(names, key=lambda name: spent[name])
        start = time.monotonic()
        thrown[name] += run_case(name, chosen.seed, numbers[name])
        spent[name] += time.monotonic() - start
        numbers[name] += 1
    if chosen.record is not None:
        chosen.record.parent.mkdir(parents=True, exist_ok=True)
        chosen.record.write_text(json.dumps(
            {"seed": chosen.seed, "seconds": chosen.seconds, "cases": numbers, "thrown": thrown},
            indent=1) + "\n")
    for name in names:
        print(f"{name}: {numbers[name]} cases, {thrown[name]} pieces of malformed input")
    print("nothing hung, and no track changed that no chain changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
