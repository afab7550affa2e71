"""What a scenario may do, whatever it runs on.

A scenario is a plain function ``scenario(world)`` that drives two storage systems through a
:class:`World` and asserts what it sees. The model's world is in ``tests/firmware_model``, the
gateware's drives the same calls through a simulated UART.

Rules for scenarios, so that they hold where time passes by itself as well as where it stands still:

* A world starts with polling off, the group time-out off, links up, nothing pending.
* Anything that must stay pending is kept so by a cause: polling off, links cut, commits held.
* Between two calls anything may happen that the systems would do on their own, or nothing at all.
  :meth:`World.quiesce` gives them time to do all they can; :meth:`World.wait_until` waits for one
  thing; :meth:`World.pass_time` is a short while of no particular length.
* ``write`` and ``submit`` never retry. :meth:`World.insist` does, as a host should.

To implement a world, subclass :class:`World`, provide the abstract methods, and call
:meth:`World.record` for each CHAIN_STATUS in the order of arrival.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from firmware_model.geometry import Geometry
from firmware_model.history import History
from firmware_model.oracle import Verdict, judge
from firmware_model.wire import Code, Counter, LinkCounter, Reg, SetWord, SourceFlag, TargetFlag

Side = Literal["source", "target"]
Command = tuple[int, int, bytes]

# One geometry for all scenarios, so that the gateware is built once. Volumes 0..2 start in set 0,
# 3 and 4 in set 1, set 2 is empty. Tracks up to 50, as in the seed's example; a number of tracks
# that is no power of two, and a group limit (10) that is no multiple of much.
GEOMETRY = Geometry(volumes=5, tracks_per_volume=51, track_bytes=32, sets=3, links=2,
                    chain_limit=5, spare_slots=8, staging_slots=24, groups_in_flight=4, window=8,
                    volumes_per_set=3, clock_hz=12_000_000, host_baud=2_400_000,
                    link_baud=1_200_000)

RETRIED = (Code.COLLISION, Code.DISCONNECTED, Code.FENCED)


class Unsupported(Exception):
    """This world cannot do that; a scenario that needs it names it in ``requires``."""


class WorldTimeout(AssertionError):
    """What was waited for did not happen."""


@dataclass(frozen=True)
class ChainAnswer:
    """A CHAIN_STATUS."""

    code: Code
    set: int
    detail: int

    @property
    def number(self) -> int:
        """Number of the chain within its set, if the code is OK."""
        return self.detail

    @property
    def place(self) -> tuple[int, int, int]:
        """Index in the write set, volume and track of the offending command."""
        return self.detail & 0xFF, self.detail >> 8 & 0xFF, self.detail >> 16


@dataclass(eq=False)
class Submission:
    """A chain on its way; ``answer`` is filled in by :meth:`World.record`."""

    commands: tuple[Command, ...]
    answer: ChainAnswer | None = None


@dataclass(frozen=True)
class Reconnect:
    """A RECONNECT notice."""

    volume: int
    track: int
    clocks: int = 0


class World(ABC):
    """Two storage systems, the links between them, and a host on each.

    ``history`` is what the host knows to have committed, in the order of the answers, with
    assignments and acknowledgements; :meth:`oracle` judges the target by it.
    """

    geometry: Geometry
    supports: frozenset[str] = frozenset()      # see Scenario.requires

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.history = History(geometry)
        self.reconnects: list[Reconnect] = []   # every notice so far, in order
        self.held = False
        self.restarted = False                  # a side has been reset at least once

    # -- chains ------------------------------------------------------------------------------

    @abstractmethod
    def submit(self, commands: Sequence[Command], *, resume: bool = False) -> Submission:
        """Send CHAIN and WRITE frames; do not wait for anything."""

    @abstractmethod
    def result(self, submission: Submission) -> ChainAnswer:
        """Wait for the chain's answer."""

    def record(self, submission: Submission, answer: ChainAnswer) -> None:
        """To be called for each CHAIN_STATUS, in the order in which they arrive."""
        submission.answer = answer
        if answer.code is Code.OK:
            if self.restarted:      # a resynchronisation takes chain numbers as well
                self.history.advance(answer.set, answer.number - 1)
            self.history.commit(answer.set, submission.commands, number=answer.number)

    def write(self, commands: Sequence[Command], *, resume: bool = False) -> ChainAnswer:
        """Submit one chain and wait for its answer, whatever it is."""
        return self.result(self.submit(commands, resume=resume))

    def insist(self, commands: Sequence[Command], *, attempts: int = 20) -> ChainAnswer:
        """Write one chain as a host should: after a refusal wait for the reconnect, then try again
        with RESUME. Fails if it is not committed after ``attempts``."""
        before = len(self.reconnects)
        answer = self.write(commands, resume=True)
        for _ in range(attempts):
            if answer.code not in RETRIED:
                assert answer.code is Code.OK, f"chain refused: {answer.code.name}"
                return answer
            if answer.code is not Code.FENCED:
                self.wait_reconnect(answer.place[1], since=before)
            before = len(self.reconnects)
            answer = self.write(commands, resume=True)
        raise WorldTimeout(f"chain refused {attempts} times, at last with {answer.code.name}")

    # -- the rest of the host ports ----------------------------------------------------------

    @abstractmethod
    def read(self, volume: int, track: int, count: int = 1, side: Side = "source") -> bytes:
        """Read consecutive tracks."""

    @abstractmethod
    def set_volume(self, volume: int, set_: int) -> Code:
        """Write the volume to set map; do not retry."""

    def assign(self, volume: int, set_: int) -> Code:
        """Write the volume to set map and keep it in the history."""
        code = self.set_volume(volume, set_)
        if code is Code.OK:
            self.history.assign(volume, set_)
        return code

    @abstractmethod
    def register(self, address: int, side: Side = "source") -> int:
        """Read one register."""

    @abstractmethod
    def page(self, set_: int, side: Side = "source") -> dict[SetWord, int]:
        """The words of a set's page that ``wire.SetWord`` names (those below GROUP)."""

    def counter(self, counter: Counter, side: Side = "source") -> int:
        return self.register(Reg.COUNTERS + counter, side)

    def link_counter(self, link: int, counter: LinkCounter, side: Side = "source") -> int:
        return self.register(Reg.LINK_COUNTERS + 16 * link + counter, side)

    @abstractmethod
    def raw_frame(self, type_: int, payload: bytes = b"", *, header: bytes | None = None,
                  side: Side = "source", expect: bool = True, **fields: int) -> Code | None:
        """Send a frame as it is, malformed or not, and return the code of the first answer with
        its tag; with ``expect=False`` do not wait. Use tags from 0xFF00. ``header`` gives the 8
        header bytes raw, for types that do not exist."""

    @abstractmethod
    def raw_answer(self, tag: int, side: Side = "source") -> Code:
        """Wait for an answer to a raw frame that came later."""

    # -- control -----------------------------------------------------------------------------

    @abstractmethod
    def set_poll(self, enabled: bool) -> None:
        """Background polling, as often as the board can."""

    @abstractmethod
    def set_timeout(self, enabled: bool) -> None:
        """Group time-out, as short as the board can."""

    @abstractmethod
    def destage(self, set_: int) -> None:
        """Ask for a destage of a set."""

    @abstractmethod
    def set_hold(self, held: bool) -> None:
        """Hold the target's commits at the next chain boundary; in effect when it returns."""

    def hold(self, held: bool) -> None:
        """Hold the target's commits, or let go."""
        self.set_hold(held)
        self.held = held

    # -- links -------------------------------------------------------------------------------

    @abstractmethod
    def cut(self, link: int, *, to_target: bool = True, to_source: bool = True) -> None:
        """Cut a link, or one direction of it."""

    @abstractmethod
    def restore(self, link: int) -> None:
        """Mend both directions of a link; it need not be up when this returns."""

    @abstractmethod
    def disturb(self, link: int, *, loss: float = 0.0, errors: float = 0.0) -> None:
        """Lose frames and damage bytes with these chances, both directions, until set again."""

    def cut_all(self) -> None:
        for link in range(self.geometry.links):
            self.cut(link)

    def restore_all(self) -> None:
        for link in range(self.geometry.links):
            self.restore(link)

    # -- time --------------------------------------------------------------------------------

    @abstractmethod
    def pass_time(self) -> None:
        """A short while."""

    @abstractmethod
    def quiesce(self) -> None:
        """Time enough for everything that the systems can do by themselves as things stand,
        including that cut links are noticed and restored ones come up. (On the gateware: until
        LINKS_UP is what it will be, and then until pages and counters of both sides stand
        still.)"""

    def wait_until(self, reached: Callable[[], bool], what: str, *, patience: int = 1000) -> None:
        """Let time pass until ``reached()``; :class:`WorldTimeout` if it never is."""
        for _ in range(patience):
            if reached():
                return
            self.pass_time()
        self.quiesce()
        if not reached():
            raise WorldTimeout(f"{what}: did not happen")

    def wait_reconnect(self, volume: int, *, since: int | None = None) -> Reconnect:
        """Wait for a RECONNECT of ``volume``: one not yet seen by an earlier call, or any after
        the first ``since`` notices."""
        start = self._noticed.get(volume, 0) if since is None else since

        def found() -> int | None:
            for at in range(start, len(self.reconnects)):
                if self.reconnects[at].volume == volume:
                    return at
            return None

        self.wait_until(lambda: found() is not None, f"reconnect of volume {volume}")
        at = found()
        assert at is not None
        self._noticed[volume] = at + 1
        return self.reconnects[at]

    @property
    def _noticed(self) -> dict[int, int]:
        return self.__dict__.setdefault("_noticed_until", {})

    def acked(self, set_: int) -> bool:
        """Whether the source knows that the set has nothing pending."""
        page = self.page(set_)
        return page[SetWord.UNSENT] == 0 and page[SetWord.DONE] == (page[SetWord.NEXT] - 1) & 0xFFFF

    def settle(self) -> None:
        """Destage every set and wait until nothing is pending. Links must be restored and commits
        not held. Then both systems agree, and the oracle finds no lag."""
        if self.restarted:          # it may not have been noticed yet
            self.quiesce()
            self.wait_in_step()
        for set_ in range(self.geometry.sets):
            for _ in range(100):
                if self.acked(set_):
                    break
                self.destage(set_)
                self.quiesce()
            else:
                raise WorldTimeout(f"set {set_} does not settle (I9): {self.page(set_)}")

    # -- verdicts ----------------------------------------------------------------------------

    @abstractmethod
    def image(self, side: Side) -> bytes:
        """All volumes, in order. At the target only while commits are held, or it may be torn."""

    def images(self) -> tuple[bytes, bytes]:
        """Both sides' images, when nothing is going on."""
        return self.image("source"), self.image("target")

    def target_image(self) -> bytes:
        """The target's image for :meth:`oracle`, while commits are held. A world where reading is
        slow may leave out what no command has named: :meth:`check_settled` reads everything."""
        return self.image("target")

    def chains(self, set_: int, side: Side = "source") -> int:
        """Chains committed there, from the set's page."""
        page = self.page(set_, side)
        return page[SetWord.CHAINS_HIGH] << 16 | page[SetWord.CHAINS_LOW]

    def oracle(self) -> Verdict:
        """Judge the target as it is now; fails unless every set is a prefix, at least as new as
        acknowledged, and the very one that the target's chain count says. After a restart those
        that say INCONSISTENT, or have not begun again, are left out."""
        was_held = self.held
        if not was_held:
            self.set_hold(True)
        for set_ in range(self.geometry.sets):
            page = self.page(set_)
            if self.restarted:      # what the target has, the source had before
                self.history.advance(set_, page[SetWord.CHAINS_HIGH] << 16
                                     | page[SetWord.CHAINS_LOW])
            acknowledged = page[SetWord.ACKED_HIGH] << 16 | page[SetWord.ACKED_LOW]
            self.history.acknowledge(set_, acknowledged)
        image = self.target_image()
        counts = [self.chains(set_, "target") for set_ in range(self.geometry.sets)]
        known = [set_ for set_ in range(self.geometry.sets) if self._judgeable(set_)]
        if not was_held:
            self.set_hold(False)
        verdict = judge(self.history, image)
        verdict = Verdict(tuple(verdict.sets[set_] for set_ in known))
        assert verdict.ok, f"\n{verdict}"
        for set_verdict in verdict.sets:
            count = counts[set_verdict.set]
            assert set_verdict.agrees(count), (
                f"set {set_verdict.set}: the target counts {count} chains, its image is one of "
                f"the prefixes {set_verdict.matches}")
        return verdict

    def _judgeable(self, set_: int) -> bool:
        """Whether this set of the target says that it is a prefix of this history."""
        if not self.restarted:
            return True
        if self.register(Reg.LIFE, "target") != self.register(Reg.LIFE):
            return False
        flags = self.flags(set_, "target")      # after the life: what is said is of this one
        return bool(flags & TargetFlag.FOLLOWING) and not flags & TargetFlag.INCONSISTENT

    def check_settled(self) -> None:
        """Settle; then source, target and history are one, chain for chain."""
        self.settle()
        verdict = self.oracle()
        assert len(verdict.sets) == self.geometry.sets
        assert all(v.lag_chains == 0 for v in verdict.sets), f"\n{verdict}"
        source, target = self.images()
        assert source == target == self.history.image()
        for set_ in range(self.geometry.sets):
            assert self.chains(set_) == self.chains(set_, "target") == self.history.committed(set_)

    # -- data --------------------------------------------------------------------------------

    def data(self, label: str) -> bytes:
        """A track's worth of bytes, the same for the same label."""
        size = self.geometry.track_bytes
        return hashlib.shake_128(label.encode()).digest(size)

    def chain(self, volume: int, tracks: Iterable[int], label: str) -> list[Command]:
        """Commands for some tracks of a volume."""
        return [(volume, t, self.data(f"{label}/{volume}:{t}")) for t in tracks]

    def occupy_slots(self, count: int) -> None:
        """Leave only ``count`` slots free at the source (requires "occupy")."""
        raise Unsupported("occupy")

    def host_session(self) -> None:
        """The host starts a new session at the source (requires "session")."""
        raise Unsupported("session")

    # -- restarts ----------------------------------------------------------------------------

    def restart(self, side: Side, *, keep: bool) -> None:
        """Reset a side; its memory is kept or lost (requires "restart"). Polling, time-out and
        what the channels do stay as this world has set them; a hold is over."""
        self.restarted = True
        if side == "target":
            self.held = False
        elif not keep:
            self.history = History(self.geometry)
        self.reset(side, keep=keep)

    def reset(self, side: Side, *, keep: bool) -> None:
        """What :meth:`restart` does to the board."""
        raise Unsupported("restart")

    def restart_in_commit(self, side: Side, commands: Sequence[Command] = ()) -> bool:
        """Reset a side, its memory kept, in the middle of a commit (requires "midway"): the
        source's of a chain of these commands; the target's of any chain that waits for it, which
        may be because commits are held: that ends. False if none does."""
        raise Unsupported("midway")

    def delay(self, link: int, *, late: bool = True) -> None:
        """Make a link so slow that nothing gets over it, while what is under way stays under way,
        until it is made fast again (requires "late")."""
        raise Unsupported("late")

    def read_says_inconsistent(self, volume: int) -> bool:
        """Whether a read of this volume at the target carries INCONSISTENT (requires
        "restart")."""
        raise Unsupported("restart")

    def flags(self, set_: int, side: Side) -> int:
        """FLAGS of a set's page: ``wire.SourceFlag`` or ``wire.TargetFlag``."""
        return self.page(set_, side)[SetWord.FLAGS]

    def in_step(self, set_: int) -> bool:
        """Whether the target follows this set and no resynchronisation is under way."""
        flags = self.flags(set_, "source")
        return bool(flags & SourceFlag.RUNNING) and not flags & SourceFlag.RESYNC

    def wait_in_step(self) -> None:
        """Wait until a restart has been overcome, in all sets."""
        self.wait_until(lambda: all(map(self.in_step, range(self.geometry.sets))),
                        "all sets in step", patience=20_000)


ScenarioFunction = Callable[[World], None]


@dataclass(frozen=True)
class Scenario:
    """A scenario with its name, the requirements it shows and what a world must support."""

    name: str
    function: ScenarioFunction
    requirements: tuple[str, ...]
    requires: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, world: World) -> None:
        self.function(world)


SCENARIOS: dict[str, Scenario] = {}


def scenario(*requirements: str,
             requires: Iterable[str] = ()) -> Callable[[ScenarioFunction], Scenario]:
    """Register a scenario under its function's name."""
    def register(function: ScenarioFunction) -> Scenario:
        name = function.__name__
        assert name not in SCENARIOS, name
        made = Scenario(name, function, requirements, frozenset(requires))
        SCENARIOS[name] = made
        return made
    return register


def parameters(pytest: Any) -> list[Any]:
    """``pytest.param`` for every scenario, with its requirement marks: for parametrize."""
    return [pytest.param(s, id=s.name, marks=pytest.mark.requirement(*s.requirements))
            for s in SCENARIOS.values()]
