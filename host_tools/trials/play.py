"""Plays a trial on the compiled gateware, and judges every chain that commits at the target.

The host's side is the library that users have, on a line whose clock is the board's. Faults come
at their clock, whatever the host is doing. The oracle looks at the model's memory in the very
clock in which a chain commits: the whole visible image of the target must be what the source's
host had written up to there, neither older than acknowledged nor newer than committed.
"""

from __future__ import annotations

import collections
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.mutations import Mutation
from sim.native import Event, NativeBoard, Side, Snapshot

from ..chains import Write
from ..client import Client
from ..errors import BoardError, FarsideError, UsageError
from ..linkpeer import LinkPeer
from .plan import GEOMETRIES, Fault, Step, Trial

__all__ = ["Outcome", "play"]

log = logging.getLogger("farside.trials")

SLICE_CLOCKS = 2_000        # between looks at whether something awaited has come
# From the last fault on, without any chain committing anywhere: a link that was cut waits at most
# 31 time-outs before it says hello again, and the host library retries after two seconds.
PATIENCE_CLOCKS = 6_000_000

LINK_COUNTERS = 32          # place of a link's counters in the memory; see hdl/counters.py
COUNTERS_PER_LINK = 8


class Violation(Exception):
    """Something that must never be; the message says what, and at which clock."""


@dataclass
class Outcome:
    """What a trial has come to. ``violation`` is None if all was well."""

    seed: int
    violation: str | None = None
    clocks: int = 0
    counts: collections.Counter[str] = field(default_factory=collections.Counter)


class Oracle:
    """Holds the truth about the source, and each look at the target against it."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.chains: list[list[tuple[Write, ...]]] = [[] for _ in range(geometry.sets)]
        self.source = bytearray(geometry.image_bytes)       # after every chain
        self.target = bytearray(geometry.image_bytes)       # after the prefixes
        self.prefix = [0] * geometry.sets
        self._unjudged: collections.deque[Snapshot] = collections.deque()

    def commit(self, set_: int, number: int, writes: tuple[Write, ...]) -> None:
        """The host was told that a chain has committed."""
        assert number == len(self.chains[set_]) + 1
        self.chains[set_].append(writes)
        self._write(self.source, writes)
        self.judge_waiting()

    def _write(self, image: bytearray, writes: tuple[Write, ...]) -> None:
        size = self.geometry.track_bytes
        for volume, track, data in writes:
            at = self.geometry.linear(volume, track) * size
            image[at:at + size] = data

    def look(self, snapshot: Snapshot) -> None:
        self._unjudged.append(snapshot)
        self.judge_waiting()

    def judge_waiting(self) -> None:
        """The target may be faster than the answer to the host: those looks wait for it."""
        while self._unjudged:
            snapshot = self._unjudged[0]
            if any(snapshot.target.chains(s) > len(self.chains[s])
                   and snapshot.source.chains(s) > len(self.chains[s])
                   for s in range(self.geometry.sets)):
                return
            self._unjudged.popleft()
            self._judge(snapshot)

    def _judge(self, snapshot: Snapshot) -> None:
        clock, source, target = snapshot.clock, snapshot.source, snapshot.target
        for set_ in range(self.geometry.sets):
            count = target.chains(set_)
            if not source.acked(set_) <= count <= source.chains(set_):
                raise Violation(
                    f"clock {clock}: the target has {count} chains of set {set_}, the source "
                    f"committed {source.chains(set_)} and believes {source.acked(set_)} arrived")
            if count not in (self.prefix[set_], self.prefix[set_] + 1):
                raise Violation(f"clock {clock}: the target's chains of set {set_} went from "
                                f"{self.prefix[set_]} to {count}")
            if count > self.prefix[set_]:
                self._write(self.target, self.chains[set_][count - 1])
                self.prefix[set_] = count
        self.compare(snapshot.image, self.target,
                     f"clock {clock}: the target after chains {self.prefix}")

    def compare(self, image: bytes, expected: bytes | bytearray, what: str) -> None:
        if image == expected:
            return
        size, tracks = self.geometry.track_bytes, self.geometry.tracks_per_volume
        wrong = [divmod(n, tracks) for n in range(self.geometry.tracks)
                 if image[n * size:(n + 1) * size] != expected[n * size:(n + 1) * size]]
        named = ", ".join(f"{v}:{t}" for v, t in wrong[:4]) + (", ..." if len(wrong) > 4 else "")
        raise Violation(f"{what}: wrong in {named}")

    @property
    def waiting(self) -> int:
        return len(self._unjudged)


class World:
    """The board, the faults that are still to come, and the oracle's eyes on it."""

    def __init__(self, board: NativeBoard, faults: tuple[Fault, ...], oracle: Oracle) -> None:
        self.board = board
        self.oracle = oracle
        self.counts: collections.Counter[str] = collections.Counter()
        self.moved_at = 0           # clock of the last fault, or commit at the target
        self._faults = collections.deque(faults)
        self._links_up = 0

    def advance(self, clocks: int) -> None:
        """Let time pass; less if a frame comes for the host or a chain commits."""
        board = self.board
        now = board.clock
        end = now + clocks
        event = Event.NOTHING
        while not event and now < end:
            until = end
            if self._faults:
                until = min(end, self._faults[0].at)
            if until > now:
                event = board.run(until - now)
            if event & Event.LOGGED:
                self._look()
            now = board.clock
            while self._faults and self._faults[0].at <= now:
                self._apply(self._faults.popleft())
                now = board.clock
        self._watch_links()
        # Also while the host is still at its steps: what it waits for may never come.
        if not self._faults and now - self.moved_at > PATIENCE_CLOCKS:
            raise Violation(f"clock {now}: nothing moves any more")

    def _look(self) -> None:
        for snapshot in self.board.snapshots():
            self.moved_at = snapshot.clock
            self.oracle.look(snapshot)

    def _apply(self, fault: Fault) -> None:
        log.debug("clock %d: %s", self.board.clock, fault)
        self.moved_at = self.board.clock
        if fault.kind == "channel":
            register = wire.Channel[fault.name]
            self.board.poke(fault.number, register, fault.value)
            if register is wire.Channel.CONTROL and fault.value:
                self.counts["cuts"] += 1
            self.counts["faults"] += 1
        else:
            raise UsageError(f"no fault is called {fault.kind!r}")
        self._look()

    def _watch_links(self) -> None:
        """A link that falls while another stays up sends its sets' packets elsewhere."""
        up = self.board.links_up(Side.SOURCE)
        fallen = self._links_up & ~up
        if fallen:
            self.counts["links given up"] += fallen.bit_count()
            if up:
                self.counts["re-homings"] += fallen.bit_count()
        self._links_up = up

    def mend(self) -> None:
        """All links are whole and quiet from here on."""
        for link in range(self.board.geometry.links):
            for register in wire.Channel:
                if register.name in QUIET:
                    self.board.poke(link, register, QUIET[register.name])

    @property
    def settled(self) -> bool:
        pages = self.board.pages(Side.SOURCE)
        return all(pages.settled(s) and pages.chains(s) == len(self.oracle.chains[s])
                   for s in range(pages.sets))


# What a whole and quiet link has in its channel's registers.
QUIET = dict.fromkeys(
    ("CONTROL", "DELAY", "BYTE_ERROR", "FRAME_LOSS", "FRAME_REPEAT", "BYTE_LOSS", "BYTE_INSERT",
     "BURST", "SKEW", "FLAP_UP", "FLAP_DOWN"), 0)


class NativeTransport:
    """A host line whose seconds are the board's clocks."""

    def __init__(self, world: World, side: Side) -> None:
        self._world = world
        self._side = side
        self._hz = world.board.geometry.clock_hz

    def read(self, timeout: float) -> bytes:
        """May come back earlier than :class:`~host_tools.transport.Transport` promises: after
        everything that a caller could be waiting for."""
        data = self._world.board.read(self._side)
        if not data:
            # At least one clock, or a caller whose time is all but up would ask for ever.
            self._world.advance(max(1, min(round(timeout * self._hz), SLICE_CLOCKS)))
            data = self._world.board.read(self._side)
        return data

    def write(self, data: bytes) -> None:
        self._world.board.write(self._side, data)

    def close(self) -> None:
        pass

    def now(self) -> float:
        return self._world.board.clock / self._hz


def play(trial: Trial, *, waves: str | os.PathLike[str] | None = None, waves_start: int = 0,
         progress: Callable[[str], None] | None = None) -> Outcome:
    """Play a trial. Raises what has nothing to do with it: BuildError, SimulationError."""
    geometry = GEOMETRIES[trial.geometry]
    mutation = None if trial.mutation is None else Mutation(trial.mutation)
    board = NativeBoard(geometry, seed=trial.seed & 0xFFFFFFFF, link_baud=trial.link_baud,
                        mutation=mutation, waves=waves, waves_start=waves_start, progress=progress)
    board.watch_commits()
    outcome = Outcome(trial.seed)
    oracle = Oracle(geometry)
    world = World(board, trial.faults, oracle)
    outcome.counts = world.counts
    try:
        _Host(trial, world).play()
        _check_end(world)
    except (Violation, FarsideError) as error:
        if isinstance(error, UsageError):
            raise
        outcome.violation = str(error)
    outcome.clocks = board.clock
    _count(board, outcome.counts)
    if waves is not None:
        board.close()
    return outcome


class _Client(Client):
    """Knows what the board would answer to its first questions, which take long on a slow line;
    and leaves nothing to chance, as the number of a real client's first session is."""

    def __init__(self, geometry: Geometry, transport: NativeTransport, seed: int) -> None:
        self._known = geometry
        self._session_number = 1 + seed % 255
        super().__init__(transport, name="source", role=wire.Role.SOURCE)

    def make_peer(self) -> LinkPeer:
        return LinkPeer(wire.Role.HOST, ordered=True, session=self._session_number)

    def _read_geometry(self) -> tuple[Geometry, wire.Role]:
        return self._known, wire.Role.SOURCE

    def read_volume_sets(self) -> list[int]:
        return [self._known.initial_set(v) for v in range(self._known.volumes)]

    def _read_committed(self) -> list[int]:
        return [0] * self._known.sets


class _Host:
    """Does the host's steps, in order, through the host library."""

    def __init__(self, trial: Trial, world: World) -> None:
        self.trial = trial
        self.world = world
        self.client = _Client(world.board.geometry, NativeTransport(world, Side.SOURCE),
                              trial.seed)
        self.client.on_commit = world.oracle.commit

    def play(self) -> None:
        client, board = self.client, self.world.board
        client.set_registers([(wire.Reg.POLL_INTERVAL, self.trial.poll_interval),
                              (wire.Reg.GROUP_TIMEOUT, self.trial.group_timeout)])
        for step in self.trial.steps:
            if board.clock < step.at:
                client.wait_until(lambda at=step.at: board.clock >= at)  # type: ignore[misc]
            self._do(step)
        client.wait_until(lambda: board.clock >= self.trial.mend_at)
        self.world.mend()
        self.world.moved_at = board.clock
        self._wait(lambda: not client.outstanding, "the host's chains do not commit")
        if not self.trial.poll_interval:
            client.destage()
        self._wait(lambda: self.world.settled, "the target does not become equal by itself")
        self.world.counts["disconnects"] += len(client.disconnects)
        self.world.counts["refusals"] += sum(client.refusals.values())

    def _do(self, step: Step) -> None:
        client = self.client
        if step.kind == "chain":
            client.submit([(v, t, self.trial.data(step.serial, n))
                           for n, (v, t) in enumerate(step.places)], depth=self.trial.depth)
        elif step.kind == "destage":
            client.destage([step.number])
        elif step.kind == "assign":
            try:
                client.assign(step.number, step.set)
            except BoardError as error:
                if error.code != wire.Code.SET_BUSY:
                    raise
        else:
            raise UsageError(f"no step is called {step.kind!r}")

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        world = self.world

        def ended() -> bool:
            return reached() or world.board.clock - world.moved_at > PATIENCE_CLOCKS - SLICE_CLOCKS

        self.client.wait_until(ended)
        if not reached():
            raise Violation(f"clock {world.board.clock}: {what}")


def _check_end(world: World) -> None:
    """Both images are what the host has written, and nothing waits to be judged."""
    oracle, board = world.oracle, world.board
    if oracle.waiting:
        raise Violation(f"clock {board.clock}: {oracle.waiting} commits at the target of chains "
                        "that the source's host was never told of")
    oracle.compare(board.image(Side.SOURCE), oracle.source, f"clock {board.clock}: the source")
    oracle.compare(board.image(Side.TARGET), oracle.source,
                   f"clock {board.clock}: the target at the end")


def _count(board: NativeBoard, counts: collections.Counter[str]) -> None:
    """What the board itself has counted."""
    source, target = (board.counters(side) for side in Side)
    counts["chains"] += source[wire.Counter.CHAINS]
    counts["collisions"] += source[wire.Counter.COLLISIONS]
    counts["groups"] += source[wire.Counter.GROUPS]
    counts["group resends"] += source[wire.Counter.GROUP_RESENDS]
    for link in range(board.geometry.links):
        for side in (source, target):
            base = LINK_COUNTERS + COUNTERS_PER_LINK * link
            counts["corrupt frames"] += side[base + wire.LinkCounter.BAD_FRAMES]
            counts["frame resends"] += side[base + wire.LinkCounter.RESENDS]
            counts["frames"] += side[base + wire.LinkCounter.FRAMES_SENT]
