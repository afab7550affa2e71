"""``farside run``: a workload against a source, with its history."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from firmware_model import wire

from ..workloads import WORKLOADS
from . import common

if TYPE_CHECKING:
    from ..client import Client


@click.command(epilog="\b\nWorkloads:\n" + "\n".join(
    f"  {name:<11}{text}" for name, text in WORKLOADS.items()))
@click.argument("workload", type=click.Choice(list(WORKLOADS)), metavar="WORKLOAD")
@click.option("--source", "port", required=True, metavar="PORT", help="Port of the source.")
@click.option("--history", "path", required=True, metavar="FILE",
              help="Record every committed chain here (dm-log-writes v1); replaced if there.")
@click.option("--chains", type=click.IntRange(min=1), default=100, help="Chains to write.")
@click.option("--seed", type=int, default=1, help="Seed of the workload.")
@click.option("--settle/--no-settle", default=False,
              help="Wait until the target has everything before ending.")
@click.option("--watch", "live", is_flag=True,
              help="Show the live view of `farside watch` meanwhile.")
@common.baud_option
@common.json_option
def run(workload: str, port: str, path: str, chains: int, seed: int, settle: bool, live: bool,
        baud: int, as_json: bool) -> None:
    """Run WORKLOAD against a source and record its history.

    The history names every chain in commit order, and how far the target had acknowledged, at
    intervals and at the end. `farside check` reads it. Interrupting ends the run cleanly: the
    history then holds what has been committed.

    A source that has committed chains before is drained first, and its image becomes the start
    of the history, so that the history explains the whole target.
    """
    from .. import workloads
    from ..history import Recorder
    from .watch import live_view

    common.check_writable(path, regular=True)
    with common.open_board(port, baud, wire.Role.SOURCE) as board:
        with common.progress("reading the source as the start", board.geometry.image_bytes,
                             as_json, transient=True) as read:
            recorder = Recorder.begin(board, path, read)
        start = board.transport.now()
        board.describe = lambda: f"{workload}, {recorder.chains} of {chains} chains"
        view = live_view(board) if live else contextlib.nullcontext()
        with recorder, view, common.progress(f"running {workload}", chains,
                                             as_json or live) as show:

            def submitted(_: Any) -> None:
                recorder.mark_now_and_then()
                show(recorder.chains)

            interrupted = False
            try:
                with interrupts_at_rest(board):
                    workloads.run(workload, board, chains, seed, submitted)
                    board.flush()
                    show(recorder.chains)
            except KeyboardInterrupt:
                interrupted = True
                recorder.finish()
            if settle and not interrupted:
                board.wait_settled()
            recorder.mark()
        result = {
            "workload": workload, "seed": seed, "chains": recorder.chains,
            "tracks": recorder.tracks, "bytes": recorder.bytes, "history": path,
            "acknowledged": recorder.acknowledged, "refusals": board.refusals,
            "seconds": round(board.transport.now() - start, 3),
            **disconnect_summary(board.disconnects, board.geometry.clock_hz),
        }
    if as_json:
        common.print_json(result)
    else:
        lines = result["disconnects"]
        common.out().print(
            f"{result['chains']} chains ({result['tracks']} tracks, {result['bytes']} bytes) "
            f"committed and recorded in {path}; {lines['count']} disconnects"
            + (f", median {lines['median_ms']:.3g} ms" if lines["count"] else ""))
    if interrupted:
        raise KeyboardInterrupt


@contextmanager
def interrupts_at_rest(board: Client) -> Iterator[None]:
    """Let the first interrupt wait until no answer is half taken in, so that the history holds
    every chain whose answer has arrived. The second one strikes at once."""
    interrupted = False

    def remember(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)

    def strike() -> None:
        if interrupted:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    board.at_rest = strike
    try:
        yield
    finally:
        board.at_rest = lambda: None
        signal.signal(signal.SIGINT, before)


def disconnect_summary(disconnects: list[Any], clock_hz: int) -> dict[str, Any]:
    """Count and median duration of disconnects, in clocks and milliseconds of the board."""
    import statistics

    clocks = [d.clocks for d in disconnects]
    median = statistics.median(clocks) if clocks else None
    return {"disconnects": {
        "count": len(clocks), "median_clocks": median,
        "median_ms": None if median is None else median / clock_hz * 1e3}}
