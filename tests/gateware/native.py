"""A world on the board inside this process: to the clock the same in every run.

Between what the host does lie pauses that a seed chooses, so that scenarios meet other moments
with other seeds. Whole images are read in the model's memory, which takes no time of the board's.
And the board can be reset at any clock, which is what the scenarios of restarts need.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from firmware_model.geometry import Geometry
from firmware_model.mutations import Mutation
from firmware_model.wire import CHANNEL_TICK_BITS, Channel, Code, Reg, SetWord, Type
from hdl.recovery import CHAIN_RECORD, CHAIN_RECORD_HIGH, CHAIN_RECORD_LOW
from host_tools.transport import SerialTransport
from host_tools.trials.world import NativeTransport
from sim.board import SimulatedBoard
from sim.native import Event, NativeBoard
from sim.native import Side as NativeSide
from tests.scenarios.gateware_world import GatewareWorld
from tests.scenarios.world import GEOMETRY, Command, Side, WorldTimeout

# Three times what the longest scenario takes. Then it fails, or the process ends and the host
# library reports that the port has gone.
MAX_CLOCKS = 150_000_000

LONGEST_PAUSE = 3_000       # clocks: a track's frame, so that the host is late now and then
# How late a frame is that comes late, half a million clocks: longer than a new life of the source
# takes to begin, and less than an end waits for acknowledgements before it gives the link up.
LATE_TICKS = 6_000
COMMIT_CLOCKS = 20_000      # from a request on the host line until a commit that it allows begins
SIDES: dict[Side, NativeSide] = {"source": NativeSide.SOURCE, "target": NativeSide.TARGET}


class Clockwork:
    """Lets time pass on a board for the host's transports, up to clock ``limit``, and not while
    ``stop()``. Whoever wants something done at clock ``alarm_at`` sets ``alarm``; ``look`` is
    called in every clock in which something is logged."""

    def __init__(self, board: NativeBoard, seed: int, limit: int) -> None:
        self.board = board
        self.chance = random.Random(f"pauses {seed}")
        self.stop: Callable[[], bool] = lambda: False
        self.host_away: int | None = None       # never
        self.look: Callable[[], None] = lambda: None
        self.alarm: Callable[[], None] = lambda: None
        self.alarm_at = limit
        self._limit = limit

    def advance(self, clocks: int) -> None:
        if self.board.clock >= self._limit:
            raise WorldTimeout(f"no end after {self._limit} clocks")
        ahead = self.alarm_at - self.board.clock
        if ahead <= 0:
            self.alarm_at = self._limit
            self.alarm()
        elif not self.stop() and self.board.run(min(clocks, ahead)) & Event.LOGGED:
            self.look()

    def on_line(self, data: bytes) -> bytes:
        return data

    def pause(self) -> None:
        if self.chance.random() < 0.25:
            self.advance(self.chance.randrange(LONGEST_PAUSE))


class UnhurriedTransport(NativeTransport):
    """A host that takes a breath now and then."""

    def write(self, data: bytes) -> None:
        self._world.pause()
        super().write(data)


class NativeWorld(GatewareWorld):
    """A :class:`World` on a :class:`NativeBoard`.

    Parameters
    ----------
    seed : int
        Of the channels' generators, of the host's pauses, and of the clocks of resets in the
        middle of commits.
    mutation : Mutation or None
    limit : int
        Clocks after which nothing more is waited for.
    top : str
        Of a board with another gateware, which has no mutations.
    garbled : bool
        See :mod:`sim.garble`; only for such a board.
    """

    supports = GatewareWorld.supports | {"restart", "midway", "late"}

    def __init__(self, *, geometry: Geometry = GEOMETRY, seed: int = 1,
                 mutation: Mutation | None = None, limit: int = MAX_CLOCKS,
                 top: str = "", garbled: bool = False) -> None:
        # One build for scenarios and mutations.
        self.board = NativeBoard(geometry, seed=seed, mutation=mutation, faulty=not top, top=top,
                                 garbled=garbled)
        self._clockwork = Clockwork(self.board, seed, limit)
        self._watching = False
        self._settings: dict[Callable[[bool], None], bool] = {}
        source, target = (UnhurriedTransport(self._clockwork, side, geometry.clock_hz)
                          for side in NativeSide)
        super().__init__(source, target, geometry)

    def clocks(self) -> int:
        return self.board.clock

    def image(self, side: Side) -> bytes:
        return self.board.image(SIDES[side])

    def images(self) -> tuple[bytes, bytes]:
        return self.image("source"), self.image("target")

    def target_image(self) -> bytes:
        return self.image("target")

    # -- resets ------------------------------------------------------------------------------

    def set_poll(self, enabled: bool) -> None:
        self._settings[super().set_poll] = enabled
        super().set_poll(enabled)

    def set_timeout(self, enabled: bool) -> None:
        self._settings[super().set_timeout] = enabled
        super().set_timeout(enabled)

    def reset(self, side: Side, *, keep: bool) -> None:
        self._collect()
        while self.board.unsent(SIDES[side]):
            self._clockwork.advance(LONGEST_PAUSE)
        self._reset(side, keep=keep)

    def _reset(self, side: Side, *, keep: bool) -> None:
        """In this clock. The host gets a new session, and what it has set is set again."""
        client = self._clients[side]
        self.board.reset(SIDES[side], lose_memory=not keep)
        client.submissions.clear()
        client.raw.clear()
        before = client.peer.session_count
        self.wait_until(lambda: client.peer.up and client.peer.session_count != before,
                        f"the {side} begins a new session")
        if side == "source":
            for setter, enabled in self._settings.items():
                setter(enabled)

    def pass_time(self) -> None:
        if all(client.peer.up for client in self._clients.values()):
            super().pass_time()
        else:
            self._host.pump(LONGEST_PAUSE / self.geometry.clock_hz)

    def restart_in_commit(self, side: Side, commands: Sequence[Command] = ()) -> bool:
        self.restarted = True
        self._watch_commits()
        if side == "source":
            return self._restart_source_in_commit(commands)
        self.held = False
        self._clients["target"].ask(Type.REG_WRITE, address=Reg.HOLD, value=0)
        self._clients["target"].pump()
        tracks = self._run_until(lambda: max(
            self.board.pages(NativeSide.TARGET).word(set_, SetWord.TAIL) & 0xFF
            for set_ in range(self.geometry.sets)))
        if tracks:
            self._run(self._clockwork.chance.randrange(2 * tracks))
        self._reset("target", keep=True)
        return bool(tracks)

    def _restart_source_in_commit(self, commands: Sequence[Command]) -> bool:
        set_ = self.history.assignment[commands[0][0]]

        def record(word: int) -> int:
            return self.board.pages(NativeSide.SOURCE).word(set_, word)

        self._clockwork.stop = lambda: record(CHAIN_RECORD) != 0
        while not self._clockwork.stop():
            submission = self.submit(commands, resume=True)
            since = len(self.reconnects)
            self._host.wait_until(
                lambda given=submission: self._clockwork.stop() or self._answered(given))
            answer = submission.answer
            if answer is not None:
                assert answer.code is not Code.OK, "the commit was over before anyone looked"
                self.wait_reconnect(answer.place[1], since=since)
        self._clockwork.stop = lambda: False
        before = record(CHAIN_RECORD_LOW) | record(CHAIN_RECORD_HIGH) << 16
        self._run(self._clockwork.chance.randrange(3 * len(commands)))
        interrupted = record(CHAIN_RECORD) != 0
        self.history.advance(set_, before)
        self.history.commit(set_, commands, number=before + 1)
        self._reset("source", keep=True)
        return interrupted

    def _watch_commits(self) -> None:
        """From the first time on: it makes every run end at every commit."""
        if self._watching:
            return
        self._watching = True
        for set_ in range(self.geometry.sets):
            self.board.watch(NativeSide.TARGET, set_, SetWord.TAIL)
            self.board.watch(NativeSide.SOURCE, set_, CHAIN_RECORD)

    def _run(self, clocks: int) -> None:
        end = self.board.clock + clocks
        while self.board.clock < end:
            self.board.run(end - self.board.clock)

    def _run_until(self, found: Callable[[], int]) -> int:
        """Run, the host asleep, until what is watched gives something; 0 if nothing does."""
        end = self.board.clock + COMMIT_CLOCKS
        while not (what := found()) and self.board.clock < end:
            self.board.run(end - self.board.clock)
        return what

    # -- late frames -------------------------------------------------------------------------

    def delay(self, link: int, *, late: bool = True) -> None:
        """A channel forgets what it should have said already when its delay is cut short: what is
        under way comes out first."""
        if not late:
            bit = -(-self.geometry.clock_hz // self.geometry.link_baud)
            end = self.board.clock + LATE_TICKS * CHANNEL_TICK_BITS * bit
            self._host.wait_until(lambda: self.board.clock >= end)
        self._channel(link, Channel.DELAY, LATE_TICKS if late else 0)


@contextlib.contextmanager
def running_world(*, seed: int = 1, thorough: bool = True, garbled: bool = False,
                  top: str = "sim.top:Board", geometry: Geometry = GEOMETRY,
                  netlist: str = "", max_clocks: int = MAX_CLOCKS) -> Iterator[GatewareWorld]:
    """A world on the board that runs free in a process of its own: real time passes between the
    host's calls. Builds (or finds), starts and connects; stops at the end. ``seed`` is the
    channels', ``garbled`` see :mod:`sim.garble`, ``netlist`` :mod:`sim.netlist`."""
    with SimulatedBoard(geometry, seed=seed, top=top, max_clocks=max_clocks, garbled=garbled,
                        netlist=netlist) as board, \
            world_at(board.ports, geometry, thorough=thorough) as world:
        yield world


@contextlib.contextmanager
def world_at(ports: Mapping[str, str], geometry: Geometry, *,
             thorough: bool = True) -> Iterator[GatewareWorld]:
    """A world behind the host ports ``source`` and ``target`` of ``ports``."""
    with ExitStack() as stack:
        lines = [SerialTransport(ports[side], geometry.host_baud) for side in ("source", "target")]
        for line in lines:
            stack.callback(line.close)
        world = GatewareWorld(*lines, geometry, thorough=thorough)
        yield world
        print(f"{world.clocks() / 1e6:.1f} million clocks")
