"""Random scenarios: a seed makes a program of operations, which any world can play.

The program is made before anything runs, so the same seed is the same program on the model and on
the gateware. What the systems answer depends on timing and is not compared. What is: after every
operation the target is a prefix, at least as new as acknowledged (:meth:`World.oracle`), and at
the end both images are the same.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_model.geometry import Geometry
from firmware_model.wire import Code

from .world import RETRIED, Command, World

Place = tuple[int, int]


@dataclass(frozen=True)
class Operation:
    """One step: a name of ``_Player``'s methods, and numbers whose meaning it knows."""

    name: str
    numbers: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}{self.numbers}{list(self.places) if self.places else ''}"


# Weights: mostly chains, half of them on a few hot tracks that collide.
_WEIGHTS = {"chain": 30, "hot_chain": 30, "destage": 8, "poll": 4, "read": 6, "wait": 10,
            "quiesce": 2, "cut": 3, "restore": 5, "disturb": 3, "calm": 3, "hold": 2, "release": 4,
            "assign": 4}


_RESTARTS = {"reset_target": 3, "lose_target": 1, "reset_source": 1, "lose_source": 1}


def make_program(geometry: Geometry, seed: int, length: int, *,
                 restarts: bool = False) -> list[Operation]:
    """A program of ``length`` operations from a seed, with resets of both sides if asked for."""
    chance = random.Random(f"program {seed}")
    chances = _WEIGHTS | _RESTARTS if restarts else _WEIGHTS
    names, weights = list(chances), list(chances.values())
    hot = [(chance.randrange(geometry.volumes), chance.randrange(geometry.tracks_per_volume))
           for _ in range(2 * geometry.volumes)]

    def places(pool: list[Place] | None) -> tuple[Place, ...]:
        count = chance.randint(1, geometry.chain_limit)
        if pool is not None:
            return tuple(chance.choice(pool) for _ in range(count))
        return tuple((chance.randrange(geometry.volumes),
                      chance.randrange(geometry.tracks_per_volume)) for _ in range(count))

    program = []
    for name in chance.choices(names, weights, k=length):
        numbers = tuple(chance.randrange(1 << 16) for _ in range(3))
        found: tuple[Place, ...] = ()
        if name in ("chain", "hot_chain"):
            found = places(hot if name == "hot_chain" else None)
        program.append(Operation(name, numbers, found))
    return program


@dataclass
class _Player:
    """Plays operations on a world, as an orderly host: what a set refuses is kept and retried in
    order before anything newer of that set."""

    world: World
    backlog: dict[int, deque[list[Command]]] = field(default_factory=dict)
    written: int = 0

    def queue(self, set_: int) -> deque[list[Command]]:
        return self.backlog.setdefault(set_, deque())

    def chain(self, operation: Operation) -> None:
        """A chain on one set: places whose volume is in the set of the first one."""
        world, sets = self.world, self.world.history.assignment
        set_ = sets[operation.places[0][0]]
        self.written += 1
        commands = [(v, t, world.data(f"{self.written}/{n}"))
                    for n, (v, t) in enumerate(operation.places) if sets[v] == set_]
        self.queue(set_).append(commands)
        self.push(set_)

    hot_chain = chain

    def push(self, set_: int) -> None:
        """Send the set's whole backlog, pipelined; keep what is refused, in order."""
        queue = self.queue(set_)
        sent = [(commands, self.world.submit(commands, resume=first))
                for first, commands in zip([True] + [False] * len(queue), list(queue),
                                           strict=False)]
        left: deque[list[Command]] = deque()
        for commands, submission in sent:
            answer = self.world.result(submission)
            assert answer.code is Code.OK or answer.code in RETRIED, answer.code.name
            if answer.code is not Code.OK:
                left.append(commands)
            else:
                assert not left, "a chain overtook one that was refused"
        self.backlog[set_] = left

    def destage(self, operation: Operation) -> None:
        self.world.destage(operation.numbers[0] % self.world.geometry.sets)

    def poll(self, operation: Operation) -> None:
        self.world.set_poll(bool(operation.numbers[0] & 1))

    def read(self, operation: Operation) -> None:
        g = self.world.geometry
        volume, track = operation.numbers[0] % g.volumes, operation.numbers[1] % g.tracks_per_volume
        at = g.linear(volume, track) * g.track_bytes
        expected = self.world.history.image()[at:at + g.track_bytes]
        assert self.world.read(volume, track) == expected, f"read of {volume}:{track}"

    def wait(self, operation: Operation) -> None:
        for _ in range(operation.numbers[0] % 8):
            self.world.pass_time()

    def quiesce(self, operation: Operation) -> None:
        self.world.quiesce()

    def cut(self, operation: Operation) -> None:
        way = operation.numbers[1] % 3
        self.world.cut(operation.numbers[0] % self.world.geometry.links,
                       to_target=way != 1, to_source=way != 2)

    def restore(self, operation: Operation) -> None:
        self.world.restore(operation.numbers[0] % self.world.geometry.links)

    def disturb(self, operation: Operation) -> None:
        self.world.disturb(operation.numbers[0] % self.world.geometry.links,
                           loss=operation.numbers[1] % 40 / 100,
                           errors=operation.numbers[2] % 10 / 1000)

    def calm(self, operation: Operation) -> None:
        self.world.disturb(operation.numbers[0] % self.world.geometry.links)

    def hold(self, operation: Operation) -> None:
        self.world.hold(True)

    def release(self, operation: Operation) -> None:
        self.world.hold(False)

    def assign(self, operation: Operation) -> None:
        """Move a volume. What its old set still has to retry must go first."""
        g = self.world.geometry
        volume = operation.numbers[0] % g.volumes
        old = self.world.history.assignment[volume]
        if not self.queue(old):
            self.world.assign(volume, operation.numbers[1] % g.sets)

    def reset_target(self, operation: Operation) -> None:
        self.world.restart("target", keep=True)

    def lose_target(self, operation: Operation) -> None:
        self.world.restart("target", keep=False)

    def reset_source(self, operation: Operation) -> None:
        self.world.restart("source", keep=True)

    def lose_source(self, operation: Operation) -> None:
        """Volumes are in the sets of a new board again, and so what waits may span sets."""
        self.world.restart("source", keep=False)
        self.backlog.clear()

    def finish(self) -> None:
        """Everything mended; every chain gets through in the end."""
        world = self.world
        world.hold(False)
        world.set_poll(False)
        for link in range(world.geometry.links):
            world.disturb(link)
        world.restore_all()
        if world.restarted:
            world.quiesce()
            world.wait_in_step()
        for set_ in range(world.geometry.sets):
            for _ in range(1000):
                if not self.queue(set_):
                    break
                world.destage(set_)
                world.quiesce()
                self.push(set_)
            assert not self.queue(set_), f"set {set_} never takes its chains (I9)"
        world.check_settled()


def play(world: World, seed: int, length: int = 60, *, restarts: bool = False,
         each: Callable[[Operation], None] | None = None) -> None:
    """Play the program of ``seed``; the failure of any step names seed, step and operation."""
    player = _Player(world)
    print(f"random scenario: seed {seed}, {length} operations")
    for step, operation in enumerate(make_program(world.geometry, seed, length,
                                                  restarts=restarts)):
        try:
            getattr(player, operation.name)(operation)
            world.oracle()
            if each is not None:
                each(operation)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {step}, {operation}: {error}") from error
    try:
        player.finish()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, after {length} steps: {error}") from error
