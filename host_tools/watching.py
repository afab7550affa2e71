"""What changes on a board from one look to the next: rates, down times, events.

:class:`Watched` looks at one port, whichever way it can be reached at the moment;
:class:`Tracker` turns looks into samples, plain dictionaries that ``farside watch --json`` prints
and the live view shows. All rates are per second of the board's own clock, so that a simulated
board and a real one show the same numbers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from firmware_model import wire
from firmware_model.geometry import Geometry

from .client import Client
from .errors import PortBusy, PortLost
from .registers import Registers
from .sharing import Activity, Share, SharedBoard
from .stats import SetPage, Stats, down_seconds
from .units import show_seconds

BITS_PER_BYTE = 10          # start bit, eight data bits, stop bit
FRAME_BYTES = 1 + 1 + wire.HEADER_BYTES + 4 + 3     # around a payload: CRC, COBS and delimiter
AWAY_SECONDS = 1.5          # a port given up is not tried again before: its asker is about to open

LONG_SECONDS = 0.5          # of a disconnect that is worth an event: a collision ends far sooner

Sample = dict[str, Any]
"""One side's state and what it did since the look before; the keys are in docs/commands.md."""


@dataclass(frozen=True)
class Look:
    """One side at one moment; ``at`` is in seconds of this machine."""

    at: float
    port: str
    geometry: Geometry
    stats: Stats
    volume_set: list[int]
    activity: Activity


def look(board: Registers, activity: Activity, port: str) -> Look:
    """Read everything there is to see."""
    stats, volume_set = board.stats(), board.read_volume_sets()
    return Look(time.monotonic(), port, board.geometry, stats, volume_set, activity)


class Watched:
    """One port to look at: through the program that holds it, or held here for as long as nobody
    else asks for it.

    The constructor raises what :class:`~host_tools.client.Client` does; later calls raise
    PortLost when the board itself has gone.
    """

    def __init__(self, port: str, baud: int, program: str) -> None:
        self.port = port
        self._baud = baud
        self._program = program
        self._board: Client | SharedBoard | None = None
        self._share: Share | None = None
        self._not_before = 0.0
        self._reach()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
            self._board = None

    def look(self) -> Look | None:
        """What there is to see, or None while another program holds the port and shares nothing."""
        if self._board is None and not self._reach_again():
            return None
        board = self._board
        if isinstance(board, SharedBoard):
            try:
                return look(board, board.activity(), self.port)
            except PortLost:        # its holder has ended: the port may be free now
                self.close()
                return self.look() if self._reach_again() else None
        assert board is not None
        return look(board, Activity.of(board, self._program), self.port)

    def serve(self, seconds: float) -> None:
        """Keep a line that is held here alive, and give it up if somebody asks for it."""
        if not isinstance(self._board, Client):
            time.sleep(seconds)
            return
        assert self._share is not None
        self._board.idle(seconds)
        if self._share.asked_for:
            self.close()
            self._not_before = time.monotonic() + AWAY_SECONDS

    def _reach(self) -> None:
        try:
            self._board = SharedBoard(self.port)
        except (FileNotFoundError, PortLost):
            if time.monotonic() < self._not_before:
                raise PortBusy(self.port) from None
            self._board = Client.open(self.port, baud=self._baud)
            self._share = self._board.share(self.port, self._program, gives_way=True)

    def _reach_again(self) -> bool:
        try:
            self._reach()
        except PortBusy:
            return False
        return True


@dataclass
class _Link:
    """What is remembered of a link."""

    up: bool
    silent: bool = False                # a time-out in the last sample
    down_since: int | None = None       # its DOWN_TIME when it was last seen up


class Tracker:
    """Turns looks at one side into samples.

    :meth:`take` gives a sample for every look but the first; ``events`` collects what has
    happened, in words, for the caller to take out.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self._before: Look | None = None
        self._links: list[_Link] = []
        self._waiting: set[int] = set()

    def take(self, now: Look) -> Sample | None:
        before, self._before = self._before, now
        if before is not None and now.stats.cycles < before.stats.cycles:
            self.events.append(f"the {now.stats.role} was reset")
            before = None
        if before is None or before.geometry != now.geometry:
            self._links = [_Link(n in now.stats.links_up) for n in range(now.geometry.links)]
            return None
        self._resyncs(before, now)
        clocks = now.stats.cycles - before.stats.cycles
        seconds = max(clocks, 1) / now.geometry.clock_hz
        elapsed = max(now.at - before.at, 1e-9)
        activity = now.activity
        return {
            "port": now.port, "role": now.stats.role, "program": activity.program,
            "note": activity.note, "seconds": seconds, "speed": seconds / elapsed,
            "clock_hz": now.geometry.clock_hz, "track_bytes": now.geometry.track_bytes,
            "rates": {name: _change(now.stats.counters, before.stats.counters, name) / seconds
                      for name in now.stats.counters},
            "counters": now.stats.counters,
            "links": [self._link(number, before, now, seconds)
                      for number in range(now.geometry.links)],
            "sets": [_set(now.stats.role, page, old, now.volume_set, seconds)
                     for page, old in zip(now.stats.sets, before.stats.sets, strict=True)],
            "disconnected": self._disconnected(now, seconds / elapsed),
        }

    def _resyncs(self, before: Look, now: Look) -> None:
        if now.stats.role != "source":
            return
        for old, page in zip(before.stats.sets, now.stats.sets, strict=True):
            if old.resyncing != page.resyncing:
                self.events.append(f"set {page.set}: its resynchronisation "
                                   + ("has begun" if page.resyncing else "has ended"))

    def _link(self, number: int, before: Look, now: Look, seconds: float) -> Sample:
        link = self._links[number]
        counters, old = now.stats.links[number], before.stats.links[number]
        up = number in now.stats.links_up
        sessions = _change(counters, old, "sessions")
        if link.up and not up:
            link.down_since = old["down_time"]
            self.events.append(f"link {number} went down")
        elif up and not link.up:
            since = link.down_since
            self.events.append(f"link {number} came up again" if since is None else
                               f"link {number} came up again after about " + show_seconds(
                                   down_seconds(counters["down_time"] - since, now.geometry)))
            link.down_since = None
        elif up and sessions:
            self.events.append(f"link {number} was down for less than a sample")
        silent = up and _change(counters, old, "timeouts") > 0
        if silent and not link.silent:
            self.events.append(f"link {number} does not answer")
        link.up, link.silent = up, silent
        frames = _change(counters, old, "frames_sent")
        sent = frames + _change(counters, old, "resends")
        line_bytes = sent * (now.geometry.track_bytes + FRAME_BYTES)
        return {
            "link": number, "up": up, "silent": silent,
            "down_seconds": down_seconds(counters["down_time"], now.geometry),
            "frames_per_second": frames / seconds,
            "received_per_second": _change(counters, old, "frames_received") / seconds,
            # Track frames are the bulk of what a source sends; a target sends short ones.
            "load": (min(1.0, line_bytes * BITS_PER_BYTE / now.geometry.link_baud / seconds)
                     if now.stats.role == "source" else None),
            **counters,
        }

    def _disconnected(self, now: Look, speed: float) -> Sample:
        activity = now.activity
        long = {volume for volume, since in activity.waiting.items() if since > LONG_SECONDS}
        for volume in sorted(long - self._waiting):
            self.events.append(f"volume {volume} is disconnected for longer than a collision takes")
        for volume in sorted(self._waiting - set(activity.waiting)):
            self.events.append(f"volume {volume} is connected again")
        self._waiting = long | self._waiting & set(activity.waiting)
        clocks = [clocks for _, _, clocks in activity.last]
        per_ms = now.geometry.clock_hz / 1e3
        return {
            "volumes": now.stats.disconnected,
            "waiting": {str(volume): since * speed for volume, since in activity.waiting.items()},
            "ended": activity.ended,
            "last_ms": clocks[-1] / per_ms if clocks else None,
            "median_ms": statistics.median(clocks) / per_ms if clocks else None,
        }


def _change(now: dict[str, int], before: dict[str, int], name: str) -> int:
    return (now[name] - before[name]) & 0xFFFFFFFF      # counters are 32 bits and wrap


def _set(role: str, page: SetPage, before: SetPage, volume_set: Sequence[int],
         seconds: float) -> Sample:
    found: Sample = {
        "set": page.set, "chains": page.chains,
        "chains_per_second": ((page.chains - before.chains) & 0xFFFFFFFF) / seconds,
    }
    if role == "source":
        found |= {"acked": page.acked, "behind": page.chains - page.acked, "unsent": page.unsent,
                  "in_flight": page.in_flight, "resyncing": page.resyncing,
                  "volumes": [v for v, set_ in enumerate(volume_set) if set_ == page.set]}
    else:
        found["inconsistent"] = page.inconsistent
    return found


class Watch:
    """Looks at one or two ports, again and again.

    ``sample`` has ``time`` (seconds since 1970), ``source`` and ``target`` (each a
    :data:`Sample`, or None while it cannot be seen) and ``events``.
    """

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = [(one, Tracker()) for one in watched]

    def serve(self, until: float) -> None:
        """Keep the lines alive until then, on the clock of ``time.monotonic``."""
        while (left := until - time.monotonic()) > 0:
            for one, _ in self._watched:
                one.serve(min(left, 0.05))

    def sample(self) -> Sample:
        """Look at all of them."""
        found: Sample = {"time": time.time(), "source": None, "target": None, "events": []}
        for one, tracker in self._watched:
            seen = one.look()
            if seen is not None and (sample := tracker.take(seen)) is not None:
                found[sample["role"]] = sample
            found["events"] += [{"port": one.port, "event": text} for text in tracker.events]
            tracker.events.clear()
        return found


