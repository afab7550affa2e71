"""Compares simple delay, a queue of chains, and Farside (R26).

Run it with ``python -m firmware_model.compare``.

First on the three chains of the seed's own example: "A" to LV1/T1, something to LV4/T2, "B" to
LV1/T1, with a delay of two chains. Then, if asked, on random chains. After every chain the oracle
judges the target's image.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from .geometry import Geometry
from .oracle import judge
from .policies import ChainQueue, FarsideMirror, Mirror, SimpleDelay
from .system import Command

DELAY = 2           # chains, as in the description


@dataclass(frozen=True)
class Outcome:
    """What one policy did with one workload.

    ``broken_after`` is the first chain after which the target was no prefix (None: never),
    ``reason`` the oracle's words then.
    """

    policy: str
    workload: str
    chains: int
    consistent: bool
    broken_after: int | None
    broken_times: int
    reason: str | None
    peak_queue_bytes: int
    disconnects: int
    complete: bool


def example_geometry() -> Geometry:
    """Volumes LV0..LV4 in one set, tracks of 512 bytes."""
    return Geometry(volumes=5, tracks_per_volume=8, sets=1, chain_limit=8, spare_slots=16,
                    staging_slots=32)


def seed_example(geometry: Geometry) -> list[list[Command]]:
    """The three chains of the description."""
    def fill(letter: str) -> bytes:
        return (letter.encode() * geometry.track_bytes)[:geometry.track_bytes]

    return [[(1, 1, fill("A"))], [(4, 2, fill("x"))], [(1, 1, fill("B"))]]


def random_chains(geometry: Geometry, count: int, seed: int) -> list[list[Command]]:
    """Chains of one to four commands over few tracks, so that they meet again soon."""
    chance = random.Random(seed)
    tracks = min(geometry.tracks_per_volume, 4)
    return [[(chance.randrange(geometry.volumes), chance.randrange(tracks),
              chance.randbytes(geometry.track_bytes))
             for _ in range(chance.randint(1, min(4, geometry.chain_limit)))]
            for _ in range(count)]


def try_policy(mirror: Mirror, workload: str, chains: Sequence[Sequence[Command]]) -> Outcome:
    """Write the chains one after the other and ask the oracle after each."""
    first, times, reason = None, 0, None
    for number, chain in enumerate(chains, 1):
        mirror.write(chain)
        verdict = judge(mirror.history, mirror.target_image())
        if not verdict.consistent:
            times += 1
            if first is None:
                first = number
                reason = "; ".join(str(v.culprit) for v in verdict.sets if v.prefix is None)
    mirror.drain()
    end = judge(mirror.history, mirror.target_image())
    complete = all(v.lag_chains == 0 for v in end.sets)
    return Outcome(mirror.name, workload, len(chains), first is None, first, times, reason,
                   mirror.peak_queue_bytes, mirror.disconnects, complete)


def compare(chains: int = 0, seed: int = 0, geometry: Geometry | None = None) -> list[Outcome]:
    """Outcomes of the three policies on the seed's example and on ``chains`` random chains."""
    geometry = geometry or example_geometry()
    loads = [("the seed's three chains", seed_example(geometry))]
    if chains:
        loads.append((f"{chains} random chains, seed {seed}",
                      random_chains(geometry, chains, seed)))
    outcomes = []
    for name, load in loads:
        background = 0 if load is loads[0][1] else DELAY
        mirrors: list[Mirror] = [SimpleDelay(geometry, DELAY), ChainQueue(geometry, DELAY),
                                 FarsideMirror(geometry, background, seed)]
        outcomes += [try_policy(mirror, name, load) for mirror in mirrors]
    return outcomes


def to_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Plain values for ``json.dumps``."""
    return {"delay_chains": DELAY, "outcomes": [asdict(outcome) for outcome in outcomes]}


def render(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print one table a workload."""
    for workload in dict.fromkeys(outcome.workload for outcome in outcomes):
        table = Table(title=workload)
        table.add_column("policy")
        table.add_column("target always a prefix")
        table.add_column("queue, peak bytes", justify="right")
        table.add_column("disconnects", justify="right")
        for outcome in outcomes:
            if outcome.workload != workload:
                continue
            state = "yes"
            if not outcome.consistent:
                state = f"no, first after chain {outcome.broken_after}: {outcome.reason}"
            table.add_row(outcome.policy, state, str(outcome.peak_queue_bytes),
                          str(outcome.disconnects))
        console.print(table)


@click.command()
@click.option("--chains", type=click.IntRange(0, 100_000), default=0, show_default=True,
              help="Random chains to write after the seed's example.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random chains.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(chains: int, seed: int, as_json: bool) -> None:
    """Compare simple delay, a queue of chains, and Farside on the reference model."""
    outcomes = compare(chains, seed)
    if as_json:
        click.echo(json.dumps(to_json(outcomes), indent=2))
    else:
        render(outcomes, Console())


if __name__ == "__main__":
    main()
