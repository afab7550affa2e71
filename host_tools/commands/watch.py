"""``farside watch``: what a board is doing, while it does it."""

from __future__ import annotations

import collections
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from .. import units
from ..errors import FarsideError, UsageError
from . import common

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from ..client import Client
    from ..watching import Sample, Watch

SHOWN_EVENTS = 8
INTERVAL = "500ms"
SHORTEST_INTERVAL = 0.05
LAST_SECONDS = 2.0      # for the picture to be put away when the work has ended


@click.command()
@click.argument("ports", metavar="SOURCE [TARGET]", nargs=-1, required=True)
@click.option("--interval", type=common.TIME, default=INTERVAL, metavar="T",
              help="Time between looks.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N",
              help="End after so many samples; without it, when interrupted.")
@common.baud_option
@common.json_option
def watch(ports: tuple[str, ...], interval: float, samples: int | None, baud: int,
          as_json: bool) -> None:
    """Watch a board at work: links, sets, disconnects, rates.

    Works beside a program that holds the port (`farside run`, `farside demo`): that program is
    asked, and goes on. If nobody holds the port, watch does, and gives it up to the first program
    that asks. A TARGET adds the other side's counts.

    Rates and down times are per second of the board's own clock, which on a simulated board is
    slower than yours. On a terminal this is one picture that changes; else it is a line a sample,
    and with --json an object a line. Interrupting ends it with exit code 0.
    """
    from ..watching import Watch, Watched

    if len(ports) > 2 or len(set(ports)) < len(ports):
        raise UsageError("give the source's port and, if you like, the target's")
    if interval < SHORTEST_INTERVAL:
        raise UsageError(f"--interval {units.show_seconds(interval)} is too short: at least "
                         f"{units.show_seconds(SHORTEST_INTERVAL)}, since looking takes some, too")
    with ExitStack() as stack:
        watched = []
        for port in ports:
            watched.append(Watched(port, baud, common.program()))
            stack.callback(watched[-1].close)
        everything = Watch(watched)
        show = stack.enter_context(_show(as_json, common.out() if sys.stdout.isatty() else None))
        stack.enter_context(_interrupts_end_it())
        for number, sample in enumerate(_samples(everything, interval, threading.Event())):
            show(sample)
            if number + 1 == samples:
                return


@contextmanager
def _interrupts_end_it() -> Iterator[None]:
    """An interrupt is how this is meant to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        return


def _samples(watch: Watch, interval: float, stop: threading.Event) -> Iterator[Sample]:
    """A sample an interval; the first look only says where the counters start."""
    watch.sample()
    at = time.monotonic()
    while not stop.is_set():
        at = max(at + interval, time.monotonic())
        watch.serve(at)
        if not stop.is_set():
            yield watch.sample()


@contextmanager
def live_view(board: Client) -> Iterator[None]:
    """The live view of a board that this very program holds and shares, drawn on stderr by a
    thread that is a guest like any other; nothing if stderr is no terminal."""
    from ..watching import Watch, Watched

    if not sys.stderr.isatty():
        yield
        return
    stop = threading.Event()

    def work() -> None:
        try:
            watched = Watched(board.name, 0, "")
            with _show(False, common.console()) as show:
                for sample in _samples(Watch([watched]), units.seconds(INTERVAL), stop):
                    show(sample)
        except FarsideError as error:
            if not stop.is_set():
                print(f"farside: the live view ends: {error}", file=sys.stderr)

    thread = threading.Thread(target=work, name="live view", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        board.wait_until(lambda: not thread.is_alive(), LAST_SECONDS)


@contextmanager
def _show(as_json: bool, console: Console | None) -> Iterator[Any]:
    """A function that shows a sample: as JSON, as a picture on ``console``, or as lines."""
    if as_json:
        yield common.print_json
        return
    if console is None:
        yield _say
        return
    from rich.live import Live
    from rich.text import Text

    events: collections.deque[str] = collections.deque(maxlen=SHOWN_EVENTS)
    with Live(Text("looking at the board ..."), console=console, auto_refresh=False) as live:

        def show(sample: Sample) -> None:
            events.extend(_event_lines(sample))
            live.update(picture(sample, events), refresh=True)

        yield show


def _event_lines(sample: Sample) -> list[str]:
    clock = time.strftime("%H:%M:%S", time.localtime(sample["time"]))
    return [f"{clock}  {one['port']}: {one['event']}" for one in sample["events"]]


def _say(sample: Sample) -> None:
    """One line a sample, and one an event, for logs."""
    for line in _event_lines(sample):
        print(line, flush=True)
    words = [time.strftime("%H:%M:%S", time.localtime(sample["time"]))]
    for role in ("source", "target"):
        side = sample[role]
        if side is None:
            continue
        down = [str(link["link"]) for link in side["links"] if not link["up"]]
        words.append(f"{role}: links " + (f"down: {', '.join(down)}" if down else "up"))
        words.append(f"{side['rates']['chains']:.1f} chains/s")
        if role == "source":
            behind = sum(one["behind"] for one in side["sets"])
            words.append(f"{units.show_count(behind, 'chain')} behind")
            volumes = side["disconnected"]["volumes"]
            words.append(f"{units.show_count(volumes, 'volume')} disconnected")
    print("; ".join(words) if len(words) > 1 else f"{words[0]}; the board cannot be seen",
          flush=True)


# -- the picture -------------------------------------------------------------------------------


def picture(sample: Sample, events: Sequence[str]) -> RenderableType:
    """Everything, for a terminal of 80 columns or more."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for role in ("source", "target"):
        side = sample[role]
        if side is not None:
            parts += [_headline(side), _links(side), _sets(side, sample["target"])]
    if sample["source"] is not None:
        parts += [_rates(sample["source"]), _disconnects(sample["source"])]
    if not parts:
        parts.append(Text("the port is held by a program that does not share it", style="yellow"))
    if events:
        parts.append(Text("\n".join(["", *events]), style="dim"))
    return Group(*parts)


def _headline(side: Sample) -> RenderableType:
    from rich.text import Text

    note = f": {side['note']}" if side["note"] else ""
    return Text.assemble((side["role"], "bold"), f" at {side['port']}, clock "
                         f"{side['speed'] * side['clock_hz'] / 1e6:.2f} MHz, seen through "
                         f"`{side['program']}`{note}")


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _links(side: Sample) -> RenderableType:
    source = side["role"] == "source"
    table = _table("link", "session", "sent/s", "load" if source else "taken/s", "resends",
                   "bad CRC", "timeouts", "sessions", "down")
    for link in side["links"]:
        state = "[green]up[/]" if link["up"] else "[bold red]DOWN[/]"
        if link["silent"]:
            state = "[yellow]silent[/]"
        share = (f"{link['load']:.0%}" if source else f"{link['received_per_second']:.0f}")
        table.add_row(str(link["link"]), state, f"{link['frames_per_second']:.0f}", share,
                      str(link["resends"]), str(link["bad_frames"]), str(link["timeouts"]),
                      str(link["sessions"]), units.show_seconds(link["down_seconds"]))
    return table


def _sets(side: Sample, target: Sample | None) -> RenderableType:
    if side["role"] == "target":
        table = _table("set", "chains", "chains/s", "")
        for one in side["sets"]:
            if one["chains"] or one["inconsistent"]:
                table.add_row(str(one["set"]), str(one["chains"]),
                              f"{one['chains_per_second']:.1f}",
                              *(["[bold red]inconsistent[/]"] if one["inconsistent"] else []))
        return table
    there = {one["set"]: one["chains"] for one in target["sets"]} if target else {}
    table = _table("set", "chains", "chains/s", "acked", *(["at target"] if there else []),
                   "behind", "unsent", "groups", "volumes")
    for one in side["sets"]:
        if not one["volumes"] and not one["chains"]:
            continue
        table.add_row(str(one["set"]), str(one["chains"]), f"{one['chains_per_second']:.1f}",
                      str(one["acked"]), *([str(there[one["set"]])] if there else []),
                      "resync" if one["resyncing"] else str(one["behind"]), str(one["unsent"]),
                      str(one["in_flight"]),
                      _ranges(one["volumes"]))
    return table


def _ranges(numbers: Sequence[int]) -> str:
    """``0-3,7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _rates(side: Sample) -> RenderableType:
    from rich.text import Text

    rates, size = side["rates"], side["track_bytes"]

    def flow(name: str) -> str:
        return f"{rates[name]:.0f} tracks/s, {units.show_bytes(round(rates[name] * size))}/s"

    return Text(f"\nwritten {flow('commands')}; sent {flow('dispatches')}; "
                f"{rates['collisions']:.1f} collisions/s, {rates['polls']:.1f} polls/s, "
                f"{side['counters']['group_resends']} rewinds")


def _disconnects(side: Sample) -> RenderableType:
    from rich.text import Text

    found = side["disconnected"]
    words = [f"volume {volume} for {units.show_seconds(since)}"
             for volume, since in found["waiting"].items()]
    line = f"disconnected: {', '.join(words) or found['volumes'] or 'no volume'}"
    if found["ended"]:
        last, median = (units.show_seconds(found[name] / 1e3) for name in ("last_ms", "median_ms"))
        line += f"; {found['ended']} disconnects have ended, the last after {last}, median {median}"
    return Text(line, style="yellow" if found["volumes"] else "")
