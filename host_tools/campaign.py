"""Cut after cut: a workload runs, the links are cut at random moments, and each time the image
of the target must be an exact prefix.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_model import oracle

from . import workloads
from .bank import Audit, Extent, audit
from .chains import Ticket
from .client import Client
from .history import Recorder

LONGEST_WAIT = 0.02     # seconds between a chain and the cut, and between cut and image, at most


@dataclass(frozen=True)
class Cut:
    """One cut, and what the target held then. ``audit`` is the bank's, else None."""

    after_chain: int
    links: tuple[int, ...]
    verdict: oracle.Verdict
    audit: Audit | None

    @property
    def ok(self) -> bool:
        return self.verdict.ok and (self.audit is None or self.audit.ok)


@dataclass
class Campaign:
    """All cuts of one run, and whether both images were equal after it."""

    workload: str
    seed: int
    chains: int = 0
    cuts: list[Cut] = field(default_factory=list)
    identical: bool = False
    disconnects: int = 0

    @property
    def exact(self) -> int:
        """Cuts after which the target held an exact prefix, new enough, and a sound database."""
        return sum(cut.ok for cut in self.cuts)

    @property
    def ok(self) -> bool:
        return self.identical and self.exact == len(self.cuts)


def campaign(source: Client, target: Client, history: str, *, workload: str, chains: int,
             cuts: int, seed: int, progress: Callable[[Cut], None] = lambda _: None) -> Campaign:
    """Run ``workload`` for ``chains`` chains with ``cuts`` cuts at moments drawn from ``seed``.

    Two of three cuts take all links at once; the others take one link first and the rest a
    little later, so that frames of one group arrive in part. While the links are cut the target
    is read through its own port, without a hold being needed for the verdict's sake.
    """
    rng = random.Random(f"campaign {workload} {seed}")
    result = Campaign(workload, seed)
    moments = sorted(rng.sample(range(1, chains + 1), min(cuts, chains)))
    source.beside, target.beside = [target], [source]
    with Recorder.begin(source, history) as recorder:
        written = 0

        def submitted(_: Ticket) -> None:
            nonlocal written
            written += 1
            recorder.mark_now_and_then()
            if written in moments:
                result.cuts.append(_cut(source, target, recorder, workload, rng))
                progress(result.cuts[-1])

        workloads.run(workload, source, chains, seed, submitted)
        source.wait_settled()
        recorder.mark()
        result.chains = recorder.chains
    result.disconnects = len(source.disconnects)
    result.identical = source.read_image() == target.read_image()
    return result


def _cut(source: Client, target: Client, recorder: Recorder, workload: str,
         rng: random.Random) -> Cut:
    source.idle(rng.uniform(0, LONGEST_WAIT))
    links = list(range(source.geometry.links))
    rng.shuffle(links)
    if rng.random() < 1 / 3:
        source.link(links[0]).cut()
        source.idle(rng.uniform(0, LONGEST_WAIT))
    source.cut_links()
    after = recorder.chains
    source.idle(rng.uniform(0, LONGEST_WAIT))
    try:
        recorder.mark()
        image = target.read_image()
    finally:
        source.cut_links(False)
    verdict = oracle.judge(recorder.history, image)
    found = None
    if workload == "bank":
        found = audit(Extent.of(source.geometry, source.volume_set).extract(image))
    return Cut(after, tuple(links), verdict, found)
