"""The PC's end of a board with two systems behind one USB port.

On that port every frame has the number of its node in front: ``node | COBS frame | 0``. Here the
frames are sorted out onto one pty a node, so that everything that talks to a board talks to each
of the two as if it had a port of its own. The other end is ``boards/hub.py``.
"""

from __future__ import annotations

import logging
import os
import select
import tty
from collections.abc import Iterator

from firmware_model.wire import DELIMITER, Role

from .transport import Transport

log = logging.getLogger("farside.hub")

NODES = (Role.SOURCE, Role.TARGET)
FRAME_LIMIT = 1 << 16       # bytes without a zero: more is noise
READ_CHUNK = 4096


class Deframer:
    """Cuts a stream of bytes at its zeros."""

    def __init__(self) -> None:
        self._open = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whole frames, each with its zero; nothing for zeros that follow each other."""
        *whole, rest = data.split(bytes([DELIMITER]))
        for part in whole:
            frame = bytes(self._open) + part
            self._open.clear()
            if frame:
                yield frame + bytes([DELIMITER])
        self._open += rest
        if len(self._open) > FRAME_LIMIT:
            self._open.clear()


class Hub:
    """Joins a transport with a pty for each node.

    A frame that a pty cannot take, because nobody reads it, is dropped: the board sends it again
    to whoever comes next. Use as a context manager.

    Attributes
    ----------
    ports : dict of str to str
        Path of the pty of ``source`` and ``target``.
    """

    def __init__(self, line: Transport) -> None:
        self._line = line
        self._masters: dict[int, int] = {}
        self._slaves: list[int] = []        # held open, so that a client may come and go
        self.ports: dict[str, str] = {}
        for role in NODES:
            master, slave = os.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            self._masters[role] = master
            self._slaves.append(slave)
            self.ports[role.name.lower()] = os.ttyname(slave)
        self._down: dict[int, Deframer] = {role: Deframer() for role in NODES}
        self._up = Deframer()

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the ptys; the transport belongs to whoever opened it."""
        for number in (*self._masters.values(), *self._slaves):
            os.close(number)
        self._masters.clear()
        self._slaves.clear()

    def step(self, timeout: float = 0.002) -> None:
        """Pass on what is there, waiting up to ``timeout`` seconds for the board."""
        for frame in self._up.feed(self._line.read(timeout)):
            self._deliver(frame)
        ready, _, _ = select.select(list(self._masters.values()), [], [], 0)
        for role, master in self._masters.items():
            if master in ready:
                for frame in self._down[role].feed(os.read(master, READ_CHUNK)):
                    self._line.write(bytes([role]) + frame)

    def _deliver(self, frame: bytes) -> None:
        master = self._masters.get(frame[0])
        if master is None:
            log.debug("a frame for node %d, which does not exist", frame[0])
            return
        try:
            taken = os.write(master, frame[1:])
        except BlockingIOError:
            taken = 0
        if taken < len(frame) - 1:
            log.info("a frame for %s is lost: nobody reads there", Role(frame[0]).name.lower())
