"""``farside bench``: the measures of the method, in one run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from boards.simulated import DEFAULT
from firmware_model import wire
from firmware_model.geometry import Geometry

from .. import units
from ..errors import UsageError
from . import common
from .board import start_board

if TYPE_CHECKING:
    from ..client import Client

LINKS = (1, 2, 4)
DELAY = 0.005
LINK_TRACKS = 128       # of each link, so that the ends weigh alike with any number of links
SMALL_TRACKS = 64       # bytes: the walks do not depend on it, and 16 Ki tracks stay small
SIZES = (1 << 10, 1 << 14)

GOALS = {
    "clock rate": (3e6, "at least"),
    "efficiency": (0.90, "at least"),
    "disconnect": (1.15, "at most"),
    "growth": (1.05, "at most"),
    "lookup": (1.1, "at most"),
}


MEANINGS = (
    "simulated clock: clocks of both systems and their links for each second of this machine, "
    "while the bank of `farside demo` is written, and with all lines full all the time",
    "link efficiency: track bytes that arrived over what all lines could carry meanwhile",
    "disconnect time: median until a volume that collided was connected again, over the time its "
    "group needs on all links and one round trip",
    "clocks a destaged track: of the cut, dispatch and clear walks; the same however many tracks",
    "clocks a collision lookup: one lookup for each command of a chain",
)


@click.command()
@click.option("--links", "counts", default=",".join(map(str, LINKS)), metavar="N,N...",
              help="Numbers of links to measure.")
@click.option("--samples", type=click.IntRange(min=1), default=9,
              help="Disconnects to take the median of.")
@click.option("--seed", type=int, default=1, help="Seed of what is written.")
@common.json_option
def bench(counts: str, samples: int, seed: int, as_json: bool) -> None:
    """Measure simulated boards: everything in one run, as ratios and clocks.

    A goal that is not met is marked in the table (and in --json as "met": false); the exit code
    is 0 all the same, since a busy machine slows the simulated clock.

    Several boards are built for this, so that the first run takes minutes.
    """
    links = _parse(counts)
    rows: list[dict[str, Any]] = []
    values: dict[str, Any] = {"link_efficiency": {}, "destage_clocks_per_track": {}}
    total = len(links) + len(SIZES)
    with common.progress("measuring boards", total, as_json) as show:
        for done, count in enumerate(links):
            _links(_linked(count), count == _main(links), samples, seed, values)
            show(done + 1)
        for done, size in enumerate(SIZES):
            _tracks(_sized(size), seed, values)
            show(len(links) + done + 1)
    _judge(values, rows)
    if as_json:
        common.print_json({**values, "goals": rows})
        return
    from rich.table import Table

    table = Table()
    for name in ("measure", "value", "goal"):
        table.add_column(name)
    for row in rows:
        mark = "[green]met[/]" if row["met"] else "[red]not met[/]"
        goal = "" if row["goal"] is None else f"{row['kind']} {row['goal']:.4g}: {mark}"
        table.add_row(row["measure"], f"{row['value']:.4g}", goal)
    text = common.out()
    text.print(table)
    for line in MEANINGS:
        text.print(line, style="dim")


def _parse(counts: str) -> list[int]:
    try:
        links = [int(n) for n in counts.split(",")]
    except ValueError:
        raise UsageError(f"{counts!r} is no list of link counts: write 1,2,4") from None
    for number in links:
        if not 1 <= number <= 8:
            raise UsageError(f"{number} links are outside 1..8")
    return links


def _main(links: list[int]) -> int:
    """The board that also gives clock rate and disconnect time."""
    return 2 if 2 in links else links[0]


def _linked(links: int) -> Geometry:
    return DEFAULT.replace(links=links, tracks_per_volume=LINK_TRACKS * links // DEFAULT.volumes)


def _sized(tracks: int) -> Geometry:
    limit = SMALL_TRACKS // wire.ENTRY_BYTES
    return dataclasses.replace(
        DEFAULT, tracks_per_volume=tracks // DEFAULT.volumes, track_bytes=SMALL_TRACKS,
        chain_limit=limit, spare_slots=limit + 4)


def _open(ports: dict[str, str]) -> Client:
    from ..client import Client

    return Client.open(ports["source"], role=wire.Role.SOURCE)


def _links(geometry: Geometry, main: bool, samples: int, seed: int,
           values: dict[str, Any]) -> None:
    from .. import benchmarks

    with start_board(geometry, seed=seed) as running, _open(running.ports) as source:
        found = benchmarks.link_efficiency(source, seed)
        values["link_efficiency"][str(geometry.links)] = dataclasses.asdict(found)
        if not main:
            return
        rate = benchmarks.clock_rate(source, seed=seed)
        values["clock"] = dataclasses.asdict(rate)
        values["clock_rate_hz"] = round(rate.clock_rate_hz)
        values["full_links_clock_rate_hz"] = round(found.clock_rate_hz)
        times = benchmarks.disconnect_time(source, DELAY, samples, seed=seed)
        values["disconnect"] = {**dataclasses.asdict(times), "ratio": times.ratio,
                                "delay_seconds": DELAY}


def _tracks(geometry: Geometry, seed: int, values: dict[str, Any]) -> None:
    from .. import benchmarks

    with start_board(geometry, seed=seed) as running, _open(running.ports) as source:
        cost = benchmarks.destage_cost(source, seed=seed)
    values["destage_clocks_per_track"][str(cost.tracks)] = dataclasses.asdict(cost)


def _judge(values: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    def add(measure: str, value: float, goal: str) -> None:
        bound, kind = GOALS[goal]
        met = value >= bound if kind == "at least" else value <= bound
        rows.append({"measure": measure, "value": value, "kind": kind, "goal": bound, "met": met})

    def tell(measure: str, value: float) -> None:
        rows.append({"measure": measure, "value": value, "kind": None, "goal": None, "met": None})

    add("simulated clock, Hz", values["clock_rate_hz"], "clock rate")
    tell("... with all links full", values["full_links_clock_rate_hz"])
    for count, found in values["link_efficiency"].items():
        add(f"link efficiency, {units.show_count(int(count), 'link')}", found["efficiency"],
            "efficiency")
    add("disconnect time over its lower bound", values["disconnect"]["ratio"], "disconnect")
    costs = list(values["destage_clocks_per_track"].values())
    for cost in costs:
        tell(f"clocks a destaged track, {cost['tracks']} tracks", cost["clocks_per_track"])
    low, high = (cost["clocks_per_track"] for cost in (costs[0], costs[-1]))
    if low:
        add("... growth from the small to the large board", high / low, "growth")
    add("clocks a collision lookup", costs[-1]["clocks_per_lookup"], "lookup")
