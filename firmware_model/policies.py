"""Three ways to mirror, behind one interface, so that they can be compared (R26).

* :class:`SimpleDelay`: after a delay of *k* chains, copy the tracks a chain wrote from the source
  as they are then. The description of the seed shows why this is wrong.
* :class:`ChainQueue`: keep a copy of every chain's data until it is sent. Right, but the queue
  needs memory without bound.
* :class:`FarsideMirror`: the reference model. Right, without any queue; a write that would destroy
  data still wanted is refused for a moment.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from .geometry import Geometry
from .history import History
from .system import Command, System
from .wire import Code, Type


class Mirror(ABC):
    """A source, its target, and some policy between them.

    ``history`` has every chain that committed at the source.
    """

    name: str
    geometry: Geometry
    history: History

    @abstractmethod
    def write(self, commands: Sequence[Command]) -> None:
        """Commit one chain, retrying if it is refused; the target may lag behind."""

    @abstractmethod
    def drain(self) -> None:
        """Bring the target up to date."""

    @abstractmethod
    def target_image(self) -> bytes:
        """All volumes as a host at the target would read them now."""

    @property
    @abstractmethod
    def peak_queue_bytes(self) -> int:
        """Most memory that copies of data waiting for the target have needed."""

    @property
    @abstractmethod
    def disconnects(self) -> int:
        """Times that a volume was disconnected."""


class _Plain(Mirror):
    """Two images and no gate between them: what both comparison policies start from."""

    def __init__(self, geometry: Geometry, delay: int) -> None:
        if delay < 0:
            raise ValueError(f"delay {delay} is negative")
        self.geometry = geometry
        self.delay = delay
        self.history = History(geometry)
        self._source = bytearray(geometry.image_bytes)
        self._target = bytearray(geometry.image_bytes)

    def _put(self, image: bytearray, volume: int, track: int, data: bytes) -> None:
        at = self.geometry.linear(volume, track) * self.geometry.track_bytes
        image[at:at + self.geometry.track_bytes] = data

    def _get(self, image: bytearray, volume: int, track: int) -> bytes:
        at = self.geometry.linear(volume, track) * self.geometry.track_bytes
        return bytes(image[at:at + self.geometry.track_bytes])

    def _commit(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._put(self._source, *command)
        self.history.commit(self.history.assignment[commands[0][0]], commands)

    def target_image(self) -> bytes:
        return bytes(self._target)

    @property
    def disconnects(self) -> int:
        return 0


class SimpleDelay(_Plain):
    """Copies what a chain wrote ``delay`` chains later, from the source as it is then."""

    name = "simple delay"

    def __init__(self, geometry: Geometry, delay: int = 2) -> None:
        super().__init__(geometry, delay)
        self._waiting: deque[list[tuple[int, int]]] = deque()

    def write(self, commands: Sequence[Command]) -> None:
        self._commit(commands)
        self._waiting.append([(volume, track) for volume, track, _ in commands])
        while len(self._waiting) > self.delay:
            self._copy()

    def _copy(self) -> None:
        for volume, track in self._waiting.popleft():
            self._put(self._target, volume, track, self._get(self._source, volume, track))

    def drain(self) -> None:
        while self._waiting:
            self._copy()

    @property
    def peak_queue_bytes(self) -> int:
        return 0


class ChainQueue(_Plain):
    """Keeps a copy of each chain's data, and applies it ``delay`` chains later."""

    name = "queue of chains"

    def __init__(self, geometry: Geometry, delay: int = 2) -> None:
        super().__init__(geometry, delay)
        self._queue: deque[list[Command]] = deque()
        self._bytes = 0
        self._peak = 0

    def write(self, commands: Sequence[Command]) -> None:
        self._commit(commands)
        self._queue.append([(v, t, bytes(data)) for v, t, data in commands])
        self._bytes += sum(len(data) for _, _, data in commands)
        self._peak = max(self._peak, self._bytes)
        while len(self._queue) > self.delay:
            self._apply()

    def _apply(self) -> None:
        for volume, track, data in self._queue.popleft():
            self._put(self._target, volume, track, data)
            self._bytes -= len(data)

    def drain(self) -> None:
        while self._queue:
            self._apply()

    @property
    def peak_queue_bytes(self) -> int:
        return self._peak


class FarsideMirror(Mirror):
    """The reference model; nothing goes to the target but what collisions ask for.

    Parameters
    ----------
    geometry : Geometry
    seed : int
        Of the order in which things happen between the systems.
    delay : int
        Background poll every so many chains; 0 for never.
    """

    name = "farside"

    def __init__(self, geometry: Geometry, delay: int = 0, seed: int = 0) -> None:
        self.geometry = geometry
        self.system = System(geometry, checked=False)
        self.history = self.system.history
        self._delay = delay
        self._random = random.Random(seed)
        self._disconnects = 0
        self._written = 0

    def write(self, commands: Sequence[Command]) -> None:
        answer = self.system.write(commands)
        while answer.code in (Code.COLLISION, Code.DISCONNECTED, Code.FENCED):
            if answer.code is Code.COLLISION:
                self._disconnects += 1
                volume = answer.fields["detail"] >> 8 & 0xFF
                self._await_reconnect(volume)
            answer = self.system.write(commands, resume=True)
        if answer.code is not Code.OK:
            raise ValueError(f"chain refused: {answer.code.name}")
        self._written += 1
        if self._delay and self._written % self._delay == 0:
            for set_ in range(self.geometry.sets):
                self.system.source.poll(set_)
            for _ in range(4):
                events = self.system.enabled_events()
                if events:
                    self.system.step(self._random.choice(events))

    def _await_reconnect(self, volume: int) -> None:
        def reconnected() -> bool:
            return not self.system.source.volumes[volume].disconnected

        self.system.run(choose=self._random, until=reconnected)
        self.system.source.answers = [a for a in self.system.source.answers
                                      if a.type is not Type.RECONNECT]

    def drain(self) -> None:
        self.system.settle(choose=self._random)

    def target_image(self) -> bytes:
        return self.system.target.image()

    @property
    def peak_queue_bytes(self) -> int:
        return 0

    @property
    def disconnects(self) -> int:
        return self._disconnects
