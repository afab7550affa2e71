"""A fraction of the small worlds on the gateware: faults at every so many clocks.

The programs are those of :mod:`tests.exhaustive.worlds`; an event is a clock here, and there are
too many. For each program and schedule the undisturbed run is the trunk, and at every ``every``-th
clock of it one fault strikes, each kind in its turn. So one in ``every * len(KINDS)`` of all that
could be played is played, and another one with another ``turn``.

A world is played as a trial of a campaign, and judged by its oracle: whenever a chain commits
anywhere, the target shows of every set that it does not call inconsistent a prefix of what the host
was told, no older than acknowledged; in the end both sides are one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from firmware_model import channel
from host_tools.trials.plan import GEOMETRIES, Fault, Step, Trial
from host_tools.trials.play import play
from sim.native import Side

from .worlds import Program, Violation

# Compiled for the campaigns as well. The host begins by moving volume 1 to set 1; a source that
# has lost its memory has it in set 0 again, and takes the rest of the program there.
GEOMETRY = "pair"
LINKS = range(GEOMETRIES[GEOMETRY].links)

START = 3_000               # clocks: before, no link is up
APART = 12_000              # time for a chain to go all the way
OVERTAKEN = 40              # ticks by which the first link is slower in one schedule
SHORT = 2_500               # a frame and some
LONG = 30_000               # a link is cut so long: time for the rest of a program
ALWAYS = channel.CHANCE_MAX

# What strikes: Fault's kind, number, name and value, and after how many clocks it ends.
Kind = tuple[str, int, str, int, int]
KINDS: dict[str, Kind] = {
    **{f"{what}, link {link}": ("channel", link, register, value, lasts)
       for link in LINKS for what, register, value, lasts in (
           ("a frame lost", "FRAME_LOSS", ALWAYS, SHORT),
           ("a frame damaged", "BYTE_ERROR", ALWAYS, SHORT),
           ("a frame repeated", "FRAME_REPEAT", ALWAYS, SHORT),
           ("cut", "CONTROL", 3, LONG))},
    "the source is reset": ("restart", Side.SOURCE, "", 0, 0),
    "the source loses its memory": ("restart", Side.SOURCE, "", 1, 0),
    "the target is reset": ("restart", Side.TARGET, "", 0, 0),
    "the target loses its memory": ("restart", Side.TARGET, "", 1, 0),
}
SCHEDULES = ("one_by_one", "all_at_once", "many_in_flight", "overtaken")


@dataclass
class Tally:
    """What was done."""

    trunks: int = 0
    worlds: int = 0
    clocks: int = 0
    trunk_clocks: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.trunks += other.trunks
        self.worlds += other.worlds
        self.clocks += other.clocks
        self.trunk_clocks += other.trunk_clocks
        self.kinds.update(other.kinds)

    def said(self) -> str:
        return (f"{self.worlds} faults in {self.trunks} runs of {self.trunk_clocks} clocks, "
                f"{self.clocks / 1e6:.0f} million clocks in all")

    def as_json(self) -> dict[str, object]:
        return {"faults": self.worlds, "clocks": self.clocks, "trunk_clocks": self.trunk_clocks,
                "kinds": self.kinds}


def trial(program: Program, schedule: str, kind: str | None = None, clock: int = 0,
          mutation: str | None = None) -> Trial:
    """A world as a trial."""
    steps = [Step("assign", START, number=1, set=1)]
    for serial, (set_, tracks) in enumerate(program):
        at = START + (APART * serial if schedule == "one_by_one" else 0)
        steps += [Step("chain", at, serial, tuple((set_, t) for t in tracks)),
                  Step("destage", at, number=set_)]
    if schedule == "all_at_once":
        steps.sort(key=lambda step: step.kind)      # all chains before the first destage
    faults = []
    if schedule == "overtaken":
        faults.append(Fault("channel", 0, 0, 0, "DELAY", OVERTAKEN))
    mend_at = steps[-1].at
    if kind is not None:
        what, number, name, value, lasts = KINDS[kind]
        faults.append(Fault(what, clock, 1, number, name, value))
        if lasts:
            faults.append(Fault(what, clock + lasts, 1, number, name, 0))
        mend_at = max(mend_at, clock + lasts + 1)
    return Trial(seed=1, geometry=GEOMETRY, workload="small world",
                 depth=len(program) if schedule == "all_at_once" else 0, poll_interval=0,
                 group_timeout=1, link_baud=GEOMETRIES[GEOMETRY].link_baud, mend_at=mend_at,
                 steps=tuple(steps), faults=tuple(faults), mutation=mutation)


def run(program: Program, schedule: str, kind: str | None = None, clock: int = 0,
        mutation: str | None = None) -> int:
    """Play a world; the clock at which all was settled. Raises :class:`Violation`, and leaves a
    scenario file."""
    world = trial(program, schedule, kind, clock, mutation)
    outcome = play(world)
    if outcome.violation is not None:
        path = Path("failure-world.json")
        path.write_text(world.as_json())
        raise Violation(f"program {program}, schedule {schedule}, {kind} at clock {clock}: "
                        f"{outcome.violation}; farside replay {path}")
    assert kind is not None or not outcome.counts["moves refused"]
    return outcome.clocks


def explore(program: Program, schedule: str, *, every: int, turn: int = 0,
            mutation: str | None = None) -> Tally:
    """The trunk, and at every ``every``-th clock of it, from START and the ``turn``-th, a fault,
    kinds in turn from the ``turn``-th. Raises :class:`Violation`."""
    end = run(program, schedule, mutation=mutation)
    tally = Tally(trunks=1, clocks=end, trunk_clocks=end - START)
    kinds = list(KINDS)
    for number, clock in enumerate(range(START + turn % every, end, every), turn):
        kind = kinds[number % len(kinds)]
        tally.clocks += run(program, schedule, kind, clock, mutation)
        tally.worlds += 1
        tally.kinds[kind] += 1
    return tally
