"""The whole method on one board: write, cut the links, open the far copy, restore, compare.

:func:`demonstrate` needs two ports and nothing else, so it runs on the simulated board, on the
model behind sockets, and on boards on a desk that have channel emulators.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from firmware_model import oracle, wire

from . import workloads
from .bank import Audit, Extent, audit
from .chains import Ticket
from .client import Client
from .errors import FarsideError
from .history import Recorder

RUN_ON_SECONDS = 20.0   # after a cut the source can fill no more than what is on its way by then
CUT_WITHIN = 0.005      # the cut comes at a random moment of this many seconds after a chain
CUT_FROM, CUT_TO = 0.5, 0.8     # share of the chains after which the links are cut


class DemonstrationFailed(FarsideError):
    """What was to be shown did not hold."""


@dataclass
class Steps:
    """Where a demonstration reports to.

    ``begin(text, total)`` starts a step with ``total`` units, ``advance(done)`` says how far it
    is, ``say(text)`` is a line that stays.
    """

    begin: Callable[[str, int], None] = lambda text, total: None
    advance: Callable[[int], None] = lambda done: None
    say: Callable[[str], None] = lambda text: None


@dataclass
class Result:
    """What a demonstration found."""

    seed: int
    chains: int = 0
    tracks: int = 0
    bytes: int = 0
    cut_after_chain: int = 0
    committed_at_cut: int = 0
    verdict: oracle.Verdict | None = None
    audit: Audit | None = None
    final_audit: Audit | None = None
    identical: bool = False
    disconnects: list[int] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    clock_hz: int = 0
    clocks: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return (self.verdict is not None and self.verdict.ok
                and self.audit is not None and self.audit.ok and self.identical
                and self.final_audit is not None and self.final_audit.ok)

    def as_dict(self) -> dict[str, Any]:
        from .commands.check import verdict_summary

        assert self.verdict is not None
        assert self.audit is not None
        assert self.final_audit is not None
        median = statistics.median(self.disconnects) if self.disconnects else None
        return {
            "ok": self.ok, "seed": self.seed, "chains": self.chains, "tracks": self.tracks,
            "bytes": self.bytes, "cut_after_chain": self.cut_after_chain,
            "committed_at_cut": self.committed_at_cut,
            **verdict_summary(self.verdict),
            "exact_prefix": self.verdict.consistent,
            "new_enough": self.verdict.ok,
            "integrity": self.audit.integrity, "invariant": self.audit.as_dict(),
            "final_integrity": self.final_audit.integrity,
            "identical": self.identical,
            "disconnects": {
                "count": len(self.disconnects), "median_clocks": median,
                "median_ms": None if median is None else median / self.clock_hz * 1e3},
            "refusals": self.refusals,
            "seconds": round(self.seconds, 3), "clocks": self.clocks,
            "clock_rate_hz": round(self.clocks / self.seconds) if self.seconds else None,
        }


def demonstrate(source: Client, target: Client, history: str, *, chains: int, seed: int,
                steps: Steps | None = None,
                keep_image: Callable[[bytes], None] = lambda _: None) -> Result:
    """Run the demonstration; ``history`` is the file to record to.

    The links are cut while the bank works, at a moment drawn from ``seed``. The image of the
    target is then read through the target's own port, judged by the oracle and opened with
    SQLite; the links are restored, the rest is written, and both images are compared.
    """
    steps = steps or Steps()
    rng = random.Random(f"demo {seed}")
    result = Result(seed, clock_hz=source.geometry.clock_hz)
    cut_at = max(1, round(chains * rng.uniform(CUT_FROM, CUT_TO)))
    cut_delay = rng.uniform(0, CUT_WITHIN)
    source.beside, target.beside = [target], [source]
    started, clocks = time.monotonic(), source.cycles()
    with Recorder.begin(source, history) as recorder:
        written = 0

        def submitted(_: Ticket) -> None:
            nonlocal written
            written += 1
            steps.advance(written)
            recorder.mark_now_and_then()
            if written == cut_at:
                source.idle(cut_delay)
                _look_at_target(source, target, recorder, result, steps, keep_image)
                steps.begin("links restored, writing on", chains)

        steps.begin("writing bank transactions", chains)
        workloads.run("bank", source, chains, seed, submitted)
        source.flush()
        _settle(source, recorder, steps)
        recorder.mark()
        result.chains, result.tracks, result.bytes = (
            recorder.chains, recorder.tracks, recorder.bytes)
    result.disconnects = [d.clocks for d in source.disconnects]
    result.refusals = source.refusals
    _compare(source, target, result, steps)
    result.clocks = source.cycles() - clocks
    result.seconds = time.monotonic() - started
    return result


def _look_at_target(source: Client, target: Client, recorder: Recorder, result: Result,
                    steps: Steps, keep_image: Callable[[bytes], None]) -> None:
    geometry = source.geometry
    source.cut_links()
    result.cut_after_chain = recorder.chains
    steps.say(f"all {geometry.links} links cut after chain {recorder.chains}; the source goes on "
              "until a chain would overwrite what the target lacks")
    try:
        source.run_dry(RUN_ON_SECONDS)
        result.committed_at_cut = recorder.chains
        recorder.mark()
        steps.begin("reading the target's image", geometry.image_bytes)
        image = target.read_image(steps.advance)
        keep_image(image)
        result.verdict = oracle.judge(recorder.history, image)
        result.audit = audit(Extent.of(geometry, source.volume_set).extract(image))
    finally:
        source.cut_links(False)
    from .commands.check import describe

    for line in describe(result.verdict):
        steps.say(f"target {line}")
    steps.say(describe_audit(result.audit))


def _settle(source: Client, recorder: Recorder, steps: Steps) -> None:
    behind: list[int] = []

    def progress(now: int) -> None:
        if not behind:
            steps.begin("waiting until the target has everything", max(now, 1))
            behind.append(max(now, 1))
        steps.advance(max(0, behind[0] - now))

    source.wait_settled(progress=progress)


def _compare(source: Client, target: Client, result: Result, steps: Steps) -> None:
    """Read both images at once, each through its own port."""
    steps.begin("reading and comparing both images", 2 * source.geometry.image_bytes)
    source.beside, target.beside = [], []
    images: dict[wire.Role, bytes] = {}
    done: dict[wire.Role, int] = {}
    errors: list[BaseException] = []

    def read(client: Client) -> None:
        def advance(count: int) -> None:
            done[client.role] = count
            if client is source:
                steps.advance(sum(done.values()))

        try:
            images[client.role] = client.read_image(advance)
        except BaseException as error:
            errors.append(error)

    other = threading.Thread(target=read, args=(target,), daemon=True)
    other.start()
    read(source)
    with contextlib.suppress(KeyboardInterrupt):
        other.join()
    if errors:
        raise errors[0]
    result.identical = images[wire.Role.SOURCE] == images[wire.Role.TARGET]
    result.final_audit = audit(
        Extent.of(source.geometry, source.volume_set).extract(images[wire.Role.TARGET]))


def describe_audit(found: Audit) -> str:
    """One line for people."""
    if found.empty:
        return "SQLite: no database yet, as before the first chain"
    if found.integrity != "ok":
        return f"[bold red]SQLite: broken: {found.integrity}[/]"
    books = f"{found.accounts} accounts hold {found.total}"
    if not found.ok:
        return (f"[bold red]SQLite: intact, but {books}, and the books say "
                f"{found.expected_accounts} and {found.expected_total}[/]")
    return f"SQLite opens it: [green]intact[/], {books}, as the books say"
