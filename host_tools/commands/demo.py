"""``farside demo``: the whole method in one go."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from firmware_model import wire

from .. import units
from ..errors import Exit, UsageError
from . import common
from .board import geometry_from, start_board

if TYPE_CHECKING:
    from ..demonstration import Result, Steps

CHAINS = 80
LINKS = 2
DELAY = "2ms"


@click.command()
@click.option("--chains", type=click.IntRange(min=10), default=CHAINS, help="Chains to write.")
@click.option("--links", type=int, default=LINKS, help="Links between source and target.")
@click.option("--delay", type=common.TIME, default=DELAY, help="Delay of each link, each way.")
@click.option("--ber", type=common.CHANCE, default="1e-6", help="Bit error rate of the links.")
@click.option("--seed", type=int, default=1, help="Seed of the workload and of the cut.")
@click.option("--keep", metavar="DIR", help="Keep history and target image in DIR.")
@click.option("--waves", metavar="FILE", help="Write waveforms to FILE (much slower).")
@common.json_option
def demo(chains: int, links: int, delay: float, ber: float, seed: int, keep: str | None,
         waves: str | None, as_json: bool) -> int:
    """Show the whole method on a simulated board.

    A real SQLite database is written through the source's serial port. In the middle of that all
    links are cut. The target's image is read back through the target's own port, opened with
    SQLite, and the exact chain it corresponds to is named. Then the links are restored, the rest
    is written, and both images are compared.
    """
    if keep is not None and not os.path.isdir(keep):
        raise UsageError(f"--keep {keep} is no directory: create it first")
    common.check_waves(waves)
    geometry = geometry_from({"links": links})
    from ..demonstration import demonstrate

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farside-") as scratch, _steps(as_json) as steps:
        steps.begin("building the board (first time only: minutes)", 0)
        with start_board(geometry, seed=seed, delay=delay, ber=ber, waves=waves,
                         progress=steps.say) as running:
            names = running.ports
            ready = time.monotonic()
            steps.say(f"simulated board: source at {names['source']}, target at "
                      f"{names['target']}, {links} links with {units.show_seconds(delay)} delay "
                      f"and bit error rate {ber:g}")
            folder = keep or scratch
            with common.open_board(names["source"], role=wire.Role.SOURCE) as source, \
                    common.open_board(names["target"], role=wire.Role.TARGET) as target:
                result = demonstrate(
                    source, target, os.path.join(folder, "history.log"), chains=chains,
                    seed=seed, steps=steps,
                    keep_image=lambda image: common.replace_file(
                        os.path.join(folder, "target.img"), image))
    values = result.as_dict()
    values |= {"links": links, "build_seconds": round(ready - started, 3),
               "total_seconds": round(time.monotonic() - started, 3)}
    if as_json:
        common.print_json(values)
    else:
        _summary(result, values, keep)
    return Exit.OK if result.ok else Exit.FAILED


@contextmanager
def _steps(quiet: bool) -> Iterator[Steps]:
    """Progress bars and lines on stderr; lines only when that is no terminal."""
    from ..demonstration import Steps

    if quiet:
        yield Steps()
        return
    console = common.console()
    if not sys.stderr.isatty():
        yield Steps(begin=lambda text, _: console.print(f"- {text}"), say=console.print)
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn(),
                  console=console) as bar:
        current: list[TaskID] = []

        def begin(text: str, total: int) -> None:
            finish()
            current.append(bar.add_task(text, total=total or None))

        def finish() -> None:
            if current:
                total = bar.tasks[-1].total
                bar.update(current[-1], completed=total or 1, total=total or 1)

        def advance(done: int) -> None:
            if current:
                bar.update(current[-1], completed=done)

        yield Steps(begin, advance, bar.console.print)
        finish()


def _summary(result: Result, values: dict[str, Any], keep: str | None) -> None:
    from ..demonstration import describe_audit

    text = common.out()
    assert result.audit is not None
    lag, waits = values["lag"], values["disconnects"]
    prefixes = [p for p in values["prefix"].values() if p is not None]
    text.print()
    text.print(f"[bold]{result.chains} chains[/] ({result.tracks} tracks, "
               f"{units.show_bytes(result.bytes)}) were written through the source's port, "
               "one chain a SQLite transaction.")
    text.print(f"The links were cut after chain {result.cut_after_chain}. The source went on to "
               f"chain {result.committed_at_cut} without them.")
    if values["exact_prefix"]:
        text.print(f"The target's image was [bold green]exactly chains 1 to {prefixes[0]}[/]: "
                   f"{units.show_count(lag['chains'], 'chain')}, "
                   f"{units.show_bytes(lag['bytes'])} behind.")
    else:
        text.print("[bold red]The target's image was no prefix of what the source had "
                   "committed.[/]")
    text.print(describe_audit(result.audit) + ".")
    same = "[bold green]byte-identical[/]" if result.identical else "[bold red]different[/]"
    text.print(f"With the links restored and everything written, source and target are {same}.")
    if waits["count"]:
        text.print(f"{waits['count']} chains met data still on its way and waited, "
                   f"{waits['median_ms']:.3g} ms in the median "
                   f"({waits['median_clocks']:.0f} clocks).")
    text.print(f"{result.clocks / 1e6:.0f} million clocks of both boards in "
               f"{result.seconds:.1f} s: {values['clock_rate_hz'] / 1e6:.2f} MHz simulated.")
    if keep is not None:
        text.print(f"{os.path.join(keep, 'history.log')} and target.img are kept: "
                   f"farside check --history {os.path.join(keep, 'history.log')} "
                   f"--image {os.path.join(keep, 'target.img')}")
