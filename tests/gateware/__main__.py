"""``python -m tests.gateware``: the scenarios of all traps on model and gateware, and every
deliberate fault in both, which one of them must notice.

``--record FILE`` writes down what came of it, for docs/reliability.md. Exit code 1 if a scenario
fails or a fault is not noticed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from firmware_model.mutations import Mutation
from tests.scenarios.model_world import EAGER, LAZY, RANDOM, ModelWorld
from tests.scenarios.traps import TRAPS, shown_by
from tests.scenarios.world import SCENARIOS

from . import scenarios  # noqa: F401 - registers them
from .native import NativeWorld

SEEDS = tuple(range(1, 11))    # most faults show with the first
# Clocks after which a fault counts as noticed: the longest of these scenarios takes half of that.
LIMIT = 8_000_000


def on_gateware(name: str, seed: int, mutation: Mutation | None) -> tuple[str | None, int]:
    """What goes wrong, or None; and the clock at which it ended. A scenario that ends without a
    fault also shows one by not ending."""
    world = NativeWorld(seed=seed, mutation=mutation, limit=LIMIT)
    try:
        SCENARIOS[name](world)
    except (AssertionError, ValueError) as error:       # a history that cannot be is a ValueError
        return f"{type(error).__name__}: {error}".strip(), world.clocks()
    return None, world.clocks()


def on_model(name: str, mood: str, seed: int, mutation: Mutation | None) -> str | None:
    try:
        SCENARIOS[name](ModelWorld(seed=seed, mood=mood, checked=False,
                                   mutations=[mutation] if mutation else []))
    except (AssertionError, ValueError) as error:
        return f"{type(error).__name__}: {error}".strip()
    return None


def scenario(name: str) -> dict[str, Any]:
    """Whether a scenario passes; on the gateware only if its world can play it."""
    wrong = [said for mood in (LAZY, RANDOM, EAGER) if (said := on_model(name, mood, 1, None))]
    found: dict[str, Any] = {"model": not wrong, "gateware": None}
    if SCENARIOS[name].requires <= NativeWorld.supports:
        said, clocks = on_gateware(name, SEEDS[0], None)
        found |= {"gateware": said is None, "clocks": clocks}
    return found


def fault(mutation: Mutation, name: str) -> dict[str, Any]:
    """Where a fault is noticed; the first seed and mood that do."""
    found: dict[str, Any] = {"scenario": name, "model": None, "gateware": None}
    for mood, seed in ((mood, seed) for mood in (RANDOM, LAZY, EAGER) for seed in range(4)):
        if on_model(name, mood, seed, mutation) is not None:
            found["model"] = {"mood": mood, "seed": seed}
            break
    for seed in SEEDS:
        said, clocks = on_gateware(name, seed, mutation)
        if said is not None and on_gateware(name, seed, None)[0] is None:
            found["gateware"] = {"seed": seed, "clock": clocks}
            break
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateware", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, metavar="FILE", help="write down what came of it")
    given = parser.parse_args(arguments)
    logging.getLogger("farside").setLevel(logging.ERROR)    # restarts end sessions, on purpose
    bad = 0
    record: dict[str, Any] = {"scenarios": {}, "mutations": {}}
    for name in sorted({name for trap in TRAPS for name in trap.scenarios}):
        found = record["scenarios"][name] = scenario(name)
        bad += not found["model"] or found["gateware"] is False
        print(f"{name}: {found}", flush=True)
    for mutation, name in shown_by().items():
        found = record["mutations"][mutation.value] = fault(mutation, name)
        bad += not (found["model"] and found["gateware"])
        print(f"{mutation.name}: {found}", flush=True)
    if given.record is not None:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{len(record['scenarios'])} scenarios, {len(record['mutations'])} faults, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
