"""Plays a trial on the compiled gateware, and judges every step that the systems take.

The host's side is the library that users have, on a line whose clock is the board's. Faults come
at their clock, whatever the host is doing. The oracle looks at the model's memory in the very
clock in which something commits: see :mod:`.oracle`.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.mutations import Mutation
from sim.native import SHARED_TOP, NativeBoard, Side

from ..chains import Place, Ticket, Write
from ..client import Client
from ..errors import BoardError, FarsideError, UsageError
from ..linkpeer import LinkPeer
from .oracle import Oracle, Violation
from .plan import BAD_ENDS, GEOMETRIES, SHARED_LINES, Step, Trial, pace
from .world import HOST_HZ, PATIENCE_CLOCKS, SLICE_CLOCKS, HostGone, NativeTransport, World

__all__ = ["JudgedClient", "Outcome", "check_thrift", "play", "top_of"]

MOVE_CLOCKS = 30_000        # that a volume's set is given to drain; then it stays where it is
MISBEHAVE_CLOCKS = 10_000   # that a bad chain waits for its turn; then it stays away
UNKNOWN_TYPE = 0x7E


@dataclass
class Outcome:
    """What a trial has come to. ``violation`` is None if all was well."""

    seed: int
    violation: str | None = None
    clocks: int = 0
    counts: collections.Counter[str] = field(default_factory=collections.Counter)


def play(trial: Trial, *, waves: str | os.PathLike[str] | None = None, waves_start: int = 0,
         progress: Callable[[str], None] | None = None) -> Outcome:
    """Play a trial. Raises what has nothing to do with it: BuildError, SimulationError."""
    geometry = GEOMETRIES[trial.geometry]
    mutation = None if trial.mutation is None else Mutation(trial.mutation)
    board = NativeBoard(geometry, seed=trial.seed & 0xFFFFFFFF, link_baud=trial.link_baud,
                        mutation=mutation, top=top_of(trial.geometry),
                        waves=waves, waves_start=waves_start, progress=progress)
    oracle = Oracle(geometry)
    world = World(board, trial.faults, oracle, trial.seed, pace(trial.geometry))
    outcome = Outcome(trial.seed, counts=world.counts)
    try:
        _Host(trial, world).play()
        _check_end(world)
        if trial.orderly:
            check_thrift(world)
    except (Violation, FarsideError) as error:
        if isinstance(error, UsageError):
            raise
        outcome.violation = str(error)
    outcome.clocks = board.clock
    world.count_all()
    if waves is not None:
        board.close()
    return outcome


def top_of(geometry: str) -> str:
    """The board of a geometry, as :class:`NativeBoard` takes it."""
    return SHARED_TOP if geometry in SHARED_LINES else ""


class JudgedClient(Client):
    """A host whose chains the oracle knows. It leaves nothing to chance, as the number of a real
    client's first session is.

    Parameters
    ----------
    world : World
    session : int
        That number, 1..255.
    """

    def __init__(self, world: World, session: int) -> None:
        self._world = world
        self._session_number = session
        super().__init__(NativeTransport(world, Side.SOURCE, world.pace * HOST_HZ), name="source",
                         role=wire.Role.SOURCE)
        self.on_commit = world.oracle.told

    def make_peer(self) -> LinkPeer:
        return LinkPeer(wire.Role.HOST, ordered=True, session=self._session_number)

    def submit(self, writes: Iterable[Write], *, depth: int | None = None) -> Ticket:
        writes = tuple(writes)
        self._world.oracle.sent(self.set_of(writes), writes)
        return super().submit(writes, depth=depth)


class _Client(JudgedClient):
    """Knows what the board would answer to its first questions, which take long on a slow line;
    and asks too much if it is told to."""

    def __init__(self, world: World, session: int) -> None:
        super().__init__(world, session)
        self.chores.append(self._flood)

    def _read_geometry(self) -> tuple[Geometry, wire.Role]:
        self.life = self._world.oracle.life
        return self._world.board.geometry, wire.Role.SOURCE

    def read_volume_sets(self) -> list[int]:
        return self._world.volume_sets()

    def _read_committed(self) -> list[int]:
        pages = self._world.board.pages(Side.SOURCE)
        return [pages.chains(set_) for set_ in range(pages.sets)]

    def _flood(self) -> None:
        """More questions at once than the board has room for, and some that are none."""
        if not self._world.flood or not self.can_send_bad_chain():
            return
        self.send_bad_chain([(v, 0) for v in range(self.geometry.volumes)])     # maybe of many sets
        self.send_bad_chain([(0, n % self.geometry.tracks_per_volume)
                             for n in range(self.geometry.chain_limit + 1)])
        for number in range(self._world.flood):
            if number % 3 == 0:
                self.ask(wire.Type.READ, volume=0, track=0, count=1)
            elif number % 3 == 1:
                self.ask(wire.Type.REG_READ, address=wire.Reg.MAGIC, count=4)
            else:
                self.peer.send_raw(UNKNOWN_TYPE, bytes([0xFF] * wire.HEADER_BYTES))
        self._world.flood = 0

    def can_send_bad_chain(self) -> bool:
        """Not while another chain is going out, nor while a volume may be moving: which chain is
        bad then?"""
        return self.peer.up and self._open is None and not self._requests

    def send_bad_chain(self, places: Sequence[Place], sent: int | None = None,
                       end: int | None = None) -> None:
        """One that must not commit, past the library: it spans sets, is too long, or is broken off
        after ``sent`` commands in the way ``end`` of BAD_ENDS. Nothing if it would be none."""
        geometry = self.geometry
        sent = len(places) if sent is None else sent
        bad = (len(places) > geometry.chain_limit or sent < len(places)
               or len({self.volume_set[volume] for volume, _ in places}) > 1)
        if not bad or len(places) * wire.ENTRY_BYTES > geometry.track_bytes:   # no frame at all
            return
        self._world.counts["bad chains"] += 1
        tag = self.next_tag()
        self.peer.send(wire.Type.CHAIN, b"".join(wire.entry(*place) for place in places), tag=tag,
                       count=len(places))
        for index in range(sent):
            self.peer.send(wire.Type.WRITE, bytes(geometry.track_bytes), tag=tag, index=index)
        if sent == len(places) or end is None:
            return
        if BAD_ENDS[end] == "a WRITE out of turn":
            self.peer.send(wire.Type.WRITE, bytes(geometry.track_bytes), tag=tag, index=sent + 1)
        elif BAD_ENDS[end] == "a WRITE too short":
            self.peer.send(wire.Type.WRITE, bytes(geometry.track_bytes - 1), tag=tag, index=sent)
        else:
            self.peer.send(wire.Type.CHAIN, b"", tag=self.next_tag(), count=0)


class _Host:
    """Does the host's steps, in order, through the host library. If its program ends, another one
    goes on with the next step."""

    def __init__(self, trial: Trial, world: World) -> None:
        self.trial = trial
        self.world = world
        self.steps = collections.deque(trial.steps)
        self.sessions = 0

    def play(self) -> None:
        while True:
            try:
                self._begin()
                self._do_steps()
                self._finish()
                return
            except HostGone:
                self._leave()

    def _begin(self) -> None:
        self.sessions += 1
        self.client = _Client(self.world, 1 + (self.trial.seed + 7 * self.sessions) % 255)
        self.world.oracle.assigned(self.client.volume_set)
        self.world.registers_lost = True

    def _leave(self) -> None:
        world = self.world
        self._count()
        world.oracle.forget()
        away, world.host_away = world.host_away or 0, None
        end = world.board.clock + away
        while world.board.clock < end:
            world.advance(end - world.board.clock)
        world.board.read(Side.SOURCE)       # what came meanwhile
        world.plug_in()

    def _count(self) -> None:
        client = self.client
        self.world.counts["disconnects"] += len(client.disconnects)
        self.world.counts["refusals"] += sum(client.refusals.values())
        self.world.counts["host sessions lost"] += client.sessions_lost

    def _do_steps(self) -> None:
        board = self.world.board
        while self.steps:
            step = self.steps.popleft()
            if board.clock < step.at:
                self.client.wait_until(lambda at=step.at: board.clock >= at)  # type: ignore[misc]
            self._settings()
            self._do(step)
        self.client.wait_until(lambda: board.clock >= self.trial.mend_at)

    def _finish(self) -> None:
        client, world = self.client, self.world
        world.mend()
        self._settings()
        self._wait(lambda: not client.outstanding, "the host's chains do not commit")
        if not self.trial.poll_interval:
            client.destage()
        self._wait(lambda: world.settled, "the target does not become equal by itself")
        self._count()

    def _settings(self) -> None:
        """Those of the trial, if the source has not got them."""
        if self.world.registers_lost:
            self.world.registers_lost = False
            self.client.set_registers([(wire.Reg.POLL_INTERVAL, self.trial.poll_interval),
                                       (wire.Reg.GROUP_TIMEOUT, self.trial.group_timeout)])

    def _do(self, step: Step) -> None:
        if step.kind == "chain":
            self._write(step)
        elif step.kind == "destage":
            self.client.destage([step.number])
        elif step.kind == "assign":
            self._move(step.number, step.set)
        elif step.kind == "bad":
            self._misbehave(step)
        else:
            raise UsageError(f"no step is called {step.kind!r}")

    def _write(self, step: Step) -> None:
        """A chain; of its places those that are in the set of the first, wherever volumes are."""
        sets = self.client.volume_set
        set_ = sets[step.places[0][0]]
        writes: tuple[Write, ...] = tuple(
            (v, t, self.trial.data(step.serial, n))
            for n, (v, t) in enumerate(step.places) if sets[v] == set_)
        self.client.submit(writes, depth=self.trial.depth)

    def _misbehave(self, step: Step) -> None:
        client = self.client
        if client.wait_until(client.can_send_bad_chain, MISBEHAVE_CLOCKS / HOST_HZ):
            client.send_bad_chain(step.places, step.number, step.serial)

    def _move(self, volume: int, set_: int) -> None:
        """Move a volume, unless its set has something pending for too long."""
        client, world = self.client, self.world
        old = client.volume_set[volume]
        if old == set_:
            return
        seconds = MOVE_CLOCKS / HOST_HZ
        if not client.wait_until(lambda: not client.outstanding, seconds):
            return
        if world.board.pages(Side.SOURCE).chains(old):
            client.destage([old])
            client.wait_until(lambda: world.board.pages(Side.SOURCE).settled(old), seconds)
        try:
            client.set_reg(wire.Reg.VOLUME_SET + volume, set_)
        except BoardError as error:
            if error.code not in (wire.Code.SET_BUSY, wire.Code.SET_FULL):
                raise
            world.counts["moves refused"] += 1
            return
        client.volume_set[volume] = set_
        world.oracle.assigned(client.volume_set)

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        world = self.world

        def ended() -> bool:
            return reached() or world.board.clock - world.moved_at > (
                world.pace * PATIENCE_CLOCKS - SLICE_CLOCKS)

        self.client.wait_until(ended)
        if not reached():
            raise Violation(f"clock {world.board.clock}: {what}")


def _check_end(world: World) -> None:
    """Both images are what the host has written, and it knows."""
    oracle, board = world.oracle, world.board
    if oracle.unheard():
        raise Violation(f"clock {board.clock}: {oracle.unheard()} chains have committed that the "
                        "host was never told of")
    oracle.compare(board.image(Side.SOURCE), oracle.source, f"clock {board.clock}: the source")
    oracle.compare(board.image(Side.TARGET), oracle.source,
                   f"clock {board.clock}: the target at the end")


def check_thrift(world: World) -> None:
    """Nothing went wrong: no group may have been sent twice."""
    board = world.board
    again = board.counters(Side.SOURCE)[wire.Counter.GROUP_RESENDS]
    if again:
        raise Violation(f"clock {board.clock}: {again} groups were sent again, and nothing had "
                        "happened to the first")
