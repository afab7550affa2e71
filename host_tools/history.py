"""Histories of real boards: recorded while a client writes, loaded to judge images.

The formats and the oracle are the model's (:mod:`firmware_model.logwrites`,
:mod:`firmware_model.oracle`); here they meet a :class:`~host_tools.client.Client`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

from firmware_model import logwrites, oracle
from firmware_model.geometry import GeometryError
from firmware_model.history import History

from .chains import Write
from .client import Client
from .errors import FarsideError, UsageError

log = logging.getLogger("farside.history")

MARK_EVERY = 16         # chains between acknowledgement marks: a page read each is cheap then


class Recorder:
    """Writes down every chain that a client commits, in commit order, as it is answered.

    The chain is in the file before the client goes on, so a history is never behind what the
    caller knows. :meth:`mark` asks the source how far the target has acknowledged, for the
    oracle's lower bound. ``history`` is the same in memory.
    """

    def __init__(self, client: Client, path: str, image: bytes | None = None,
                 numbers: dict[int, int] | None = None) -> None:
        self.client = client
        geometry = client.geometry
        self.history = History(geometry, image=image, assignment=client.volume_set,
                               numbers=numbers)
        try:
            self._file = logwrites.HistoryWriter(path, geometry, image=image,
                                                 assignment=client.volume_set, numbers=numbers)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
        self.chains = 0
        self.tracks = 0
        self.bytes = 0
        self._next_mark = MARK_EVERY
        client.on_commit = self._commit

    @classmethod
    def begin(cls, client: Client, path: str,
              progress: Callable[[int], None] = lambda _: None) -> Recorder:
        """A recorder for a source in whatever state it is.

        A source that has committed chains before is drained first, and its image becomes the
        start of the history: then everything older is equal on both sides. ``progress`` gets
        the bytes of it that have been read.
        """
        pages = client.pages()
        numbers = {page.set: page.chains for page in pages}
        if not any(numbers.values()):
            return cls(client, path)
        log.info("the source has chains already: draining it, and reading it as the start")
        client.wait_settled()
        return cls(client, path, client.read_image(progress), numbers)

    def _commit(self, set_: int, number: int, writes: tuple[Write, ...]) -> None:
        if number > self.history.committed(set_) + 1:       # a resynchronisation took some
            self._file.advance(set_, number - 1)
            self.history.advance(set_, number - 1)
        self._file.commit(set_, number, writes)
        self.history.commit(set_, writes, number)
        self.chains += 1
        self.tracks += len(writes)
        self.bytes += sum(len(data) for _, _, data in writes)

    def assign(self, volume: int, set_: int) -> None:
        """Move a volume on the board and in the history."""
        self.client.assign(volume, set_)
        self.history.assign(volume, set_)
        self._file.assign(volume, set_)

    @property
    def acknowledged(self) -> dict[str, int]:
        """Chains known to be committed at the target, for each set that has any."""
        return {str(s): n for s, n in enumerate(self.history.acknowledged) if n}

    def mark(self) -> None:
        """Record how far the target has acknowledged by now."""
        for page in self.client.pages():
            # What the source says was acknowledged it had committed, and answered, before.
            if page.acked > self.history.acknowledged[page.set]:
                if page.acked > self.history.committed(page.set):   # the rest was scanned
                    self.history.advance(page.set, page.acked)
                    self._file.advance(page.set, page.acked)
                self.history.acknowledge(page.set, page.acked)
                self._file.acknowledge(page.set, page.acked)
        self._next_mark = self.chains + MARK_EVERY

    def mark_now_and_then(self) -> None:
        """:meth:`mark`, every few chains."""
        if self.chains >= self._next_mark:
            self.mark()

    def finish(self) -> None:
        """Let the client begin no further chain, and record what those under way come to."""
        try:
            self.client.finish()
        except FarsideError as error:
            log.error("chains under way are not in the history: %s", error)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def load(path: str) -> History:
    """Read a history file; whatever is wrong with it is a UsageError that says what."""
    try:
        return logwrites.read_history(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, GeometryError) as error:
        text = str(error)
        named = text if path in text else f"{path}: {text}"
        raise UsageError(f"{named}: give a history that `farside run` wrote") from None


def same_sizes(history: History, client: Client) -> bool:
    """Whether an image of ``client``'s board can be judged by ``history``."""
    names = ("volumes", "tracks_per_volume", "track_bytes", "sets")
    return all(getattr(history.geometry, n) == getattr(client.geometry, n) for n in names)


def judge_image(history: History, image: bytes, name: str) -> oracle.Verdict:
    """The oracle's verdict; an image of the wrong size is a UsageError."""
    if len(image) != history.geometry.image_bytes:
        raise UsageError(f"{name} has {len(image)} bytes, an image of this history has "
                         f"{history.geometry.image_bytes}: give what `farside dump` wrote")
    return oracle.judge(history, image)
