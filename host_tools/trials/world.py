"""The board of a trial: its clock, what goes wrong on it when, and the oracle's eyes on it."""

from __future__ import annotations

import collections
import dataclasses
import logging
import random

from firmware_model import channel, wire
from sim.native import Event, NativeBoard, Pages, Side

from ..errors import UsageError
from .oracle import Oracle, Violation
from .plan import Fault

__all__ = ["HOST_HZ", "HostGone", "NativeTransport", "World"]

log = logging.getLogger("farside.trials")

# All these are for the fastest lines.
SLICE_CLOCKS = 2_000        # between looks at whether something awaited has come
# From the last fault on, without any chain committing anywhere: a link that was cut waits at most
# 31 time-outs before it says hello again, and a target a thousand ticks away is told three times.
PATIENCE_CLOCKS = 6_000_000

# What the host library takes for a second. Its times are made for real boards, whose lines are so
# many times faster than the one here.
HOST_HZ = 200_000

# A warm start of the largest geometry takes less (see hdl/recovery.py), and a link needs longer to
# come up again: so long after a reset the target is at rest.
WARM_START_CLOCKS = 700

COUNTERS_AWAKE_CLOCKS = 5_000   # after a reset they are brought up to date when a link comes up

# What a whole and quiet link has in its channel's registers.
QUIET = dict.fromkeys((
    wire.Channel.CONTROL, wire.Channel.DELAY, wire.Channel.SKEW, wire.Channel.FLAP_UP,
    wire.Channel.FLAP_DOWN, wire.Channel.FRAME_LOSS, wire.Channel.FRAME_REPEAT,
    wire.Channel.BYTE_LOSS, wire.Channel.BYTE_INSERT, wire.Channel.BURST,
    wire.Channel.BYTE_ERROR), 0) | {
        wire.Channel.DIRECTIONS: channel.ALL_DIRECTIONS,
        wire.Channel.BURST_BYTES: channel.DEFAULT_BURST_BYTES}

# Counts of the board that a report shows, by the name they have there.
SOURCE_COUNTS = {
    "chains": wire.Counter.CHAINS, "groups": wire.Counter.GROUPS,
    "collisions": wire.Counter.COLLISIONS, "group resends": wire.Counter.GROUP_RESENDS,
    "resynchronisations": wire.Counter.RESYNCS, "resynchronised tracks": wire.Counter.RESYNC_TRACKS,
}
BOTH_COUNTS = {
    "warm starts": wire.Counter.RECOVERIES, "corrupt host frames": wire.Counter.HOST_BAD_FRAMES,
}
LINK_COUNTS = {
    "frames": wire.LinkCounter.FRAMES_SENT, "frame resends": wire.LinkCounter.RESENDS,
    "corrupt frames": wire.LinkCounter.BAD_FRAMES, "sessions": wire.LinkCounter.SESSIONS,
    "time-outs": wire.LinkCounter.TIMEOUTS,
}
CHANNEL_COUNTS = {
    "frames lost": wire.Channel.FRAMES_LOST, "frames repeated": wire.Channel.FRAMES_REPEATED,
    "bytes lost": wire.Channel.BYTES_LOST, "bytes inserted": wire.Channel.BYTES_INSERTED,
    "bursts": wire.Channel.BURSTS, "bytes damaged": wire.Channel.ERRORS,
    "flaps": wire.Channel.FLAPS,
}


class HostGone(Exception):
    """The host's program ends here."""


def _progress(pages: Pages) -> list[int]:
    """Changes with every chain that commits, and with every group that is cut."""
    return [pages.word(set_, word) for set_ in range(pages.sets)
            for word in (wire.SetWord.CHAINS_LOW, wire.SetWord.NEXT)]


class World:
    """A board, the faults that are still to come, and the oracle.

    Parameters
    ----------
    board : NativeBoard
        At power-up.
    faults : tuple of Fault
        In the order of their clocks.
    oracle : Oracle
    seed : int
        Of what is random on the host's line.
    pace : int
        How many times as long as on the fastest lines everything takes.

    Attributes
    ----------
    counts : Counter
        What has happened, under the names of the report.
    moved_at : int
        Clock of the last fault, or commit.
    registers_lost : bool
        The source has been reset, and its settings are those of power-up.
    host_away : int or None
        The host's program has to end, and comes back after so many clocks.
    flood : int
        Requests that the host is to send at once.
    """

    def __init__(self, board: NativeBoard, faults: tuple[Fault, ...], oracle: Oracle,
                 seed: int = 1, pace: int = 1) -> None:
        self.board = board
        self.pace = pace
        self.oracle = oracle
        self.counts: collections.Counter[str] = collections.Counter()
        self.moved_at = 0
        self.registers_lost = False
        self.host_away: int | None = None
        self.flood = 0
        self._faults = collections.deque(faults)
        self._links_up = 0
        self._touched: dict[tuple[int, wire.Channel], int] = {}
        self._chance = random.Random(f"host line {seed}")
        self._noise = 0.0
        self._unplugged = False
        # Restarts that wait for an event, and how far the side was when they began to.
        self._armed: dict[Side, tuple[Fault, list[int]]] = {}
        # A loss of memory leaves the counters something: see hdl/counters.py.
        self._counted_from: dict[Side, list[tuple[int, ...]]] = {}
        self._uncounted: dict[Side, int] = {}       # and at which clock that was
        self._rests_at: int | None = None       # the target has started again by then
        board.watch_commits()

    # -- time --------------------------------------------------------------------------------

    def advance(self, clocks: int) -> None:
        """Let time pass; less if a frame comes for the host or something is logged."""
        board = self.board
        now = board.clock
        end = now + clocks
        event = Event.NOTHING
        while not event and now < end:
            until = end
            if self._faults:
                until = min(end, self._faults[0].at)
            if self._rests_at is not None:
                until = min(until, self._rests_at)
            if until > now:
                event = board.run(until - now)
            if event & Event.LOGGED:
                self._look()
            now = board.clock
            if self._rests_at is not None and now >= self._rests_at:
                self._look_at_rest()
            while self._faults and self._faults[0].at <= now:
                self._apply(self._faults.popleft())
                now = board.clock
        self._watch_links()
        for side, lost_at in list(self._uncounted.items()):
            if now > lost_at + self.pace * COUNTERS_AWAKE_CLOCKS and board.links_up(side):
                self._counted_from[side] = self._counters(side)
                del self._uncounted[side]
        # Also while the host is still at its steps: what it waits for may never come.
        if not self._faults and now - self.moved_at > self.pace * PATIENCE_CLOCKS:
            raise Violation(f"clock {now}: nothing moves any more")

    def _look(self) -> None:
        # A link with a session: the tables behind it have long been in order.
        ready = bool(self.board.links_up(Side.SOURCE))
        for snapshot in self.board.snapshots():
            self.moved_at = snapshot.clock
            self.oracle.look(snapshot, ready=ready)
            for side, (fault, before) in list(self._armed.items()):
                if _progress(snapshot.pages(side)) != before:
                    del self._armed[side]
                    self._faults.appendleft(dataclasses.replace(
                        fault, kind="restart due", at=self.board.clock + fault.value))

    def _look_at_rest(self) -> None:
        """The target has started again and done nothing else: nothing half visible may be left."""
        self._rests_at = None
        board = self.board
        self.oracle.look_at_target(board.clock, board.image(Side.TARGET),
                                   board.pages(Side.SOURCE), board.pages(Side.TARGET))
        self.counts["looks after a restart"] += 1

    def _watch_links(self) -> None:
        """A link that falls while another stays up sends its sets' packets elsewhere."""
        up = self.board.links_up(Side.SOURCE)
        fallen = self._links_up & ~up
        self._links_up = up
        if not fallen:
            return
        self.counts["links given up"] += fallen.bit_count()
        if up:
            pages = self.board.pages(Side.SOURCE)
            self.counts["re-homings"] += sum(
                fallen >> set_ % self.board.geometry.links & 1 and not pages.settled(set_)
                for set_ in range(pages.sets))

    # -- faults ------------------------------------------------------------------------------

    def _apply(self, fault: Fault) -> None:
        log.debug("clock %d: %s", self.board.clock, fault)
        self.moved_at = self.board.clock
        if fault.kind == "channel":
            self._set_channel(fault.number, wire.Channel[fault.name], fault.value)
        elif fault.kind == "restart" and fault.name:
            side = Side(fault.number)
            self._armed[side] = fault, _progress(self.board.pages(side))
        elif fault.kind == "restart":
            self._restart(Side(fault.number), bool(fault.value))
        elif fault.kind == "restart due":
            self._restart_if_due(fault)
        elif fault.kind == "host":
            self._trouble_host(fault.name, fault.value)
        else:
            raise UsageError(f"no fault is called {fault.kind!r}")
        self._look()

    def _set_channel(self, link: int, register: wire.Channel, value: int) -> None:
        self.board.poke(link, register, value)
        self._touched[link, register] = value
        if value == QUIET[register]:
            return
        self.counts["link faults"] += 1
        if register is wire.Channel.CONTROL:
            self.counts["cuts" if value & 0b11 else "stuck lines"] += 1
        elif register is wire.Channel.SKEW:
            self.counts["skewed lines"] += 1
        elif register is wire.Channel.DELAY:
            self.counts["delays"] += 1

    def _restart_if_due(self, fault: Fault) -> None:
        """What ``fault`` waits for has happened, as far as that could be seen then."""
        side = Side(fault.number)
        pages = self.board.pages(side)
        # Of the target's groups, those of which some chains are visible: see SetWord.UNSENT.
        if fault.name == "WITHIN_GROUP" and not any(
                pages.word(set_, wire.SetWord.UNSENT) for set_ in range(pages.sets)):
            self._armed[side] = dataclasses.replace(fault, kind="restart"), _progress(pages)
        else:
            self._restart(side, lost=False)

    def _restart(self, side: Side, lost: bool) -> None:
        if lost:
            self.count(side)        # before it is forgotten
            self._uncounted[side] = self.board.clock
        self.board.reset(side, lose_memory=lost)
        self._look()                # at what came before the reset took hold
        self.oracle.restart(side, lost)
        if side is Side.TARGET:
            self._rests_at = None if lost else self.board.clock + WARM_START_CLOCKS
        self.counts[f"{side.name.lower()} restarts"] += 1
        self.counts["memories lost"] += lost
        self._links_up = self.board.links_up(Side.SOURCE)
        if side is Side.SOURCE:
            self.registers_lost = True
            if lost:
                self.host_away = 0      # its program cannot go on with another board's chains

    def _trouble_host(self, name: str, value: int) -> None:
        if name == "NOISE":
            self._noise = value / channel.CHANCE_MAX
        elif name == "UNPLUGGED":
            self._unplugged = bool(value)
            self.counts["host unplugged"] += bool(value)
        elif name == "GARBAGE":
            self.board.write(Side.SOURCE, self._chance.randbytes(value))
            self.counts["host garbage"] += 1
        elif name == "FLOOD":
            self.flood += value
            self.counts["host floods"] += 1
        elif name == "GONE":
            self.host_away = value
            self.counts["hosts gone"] += 1
        else:
            raise UsageError(f"no fault of the host is called {name!r}")

    def mend(self) -> None:
        """All lines are whole and quiet from here on."""
        for (link, register), value in self._touched.items():
            if value != QUIET[register]:
                self.board.poke(link, register, QUIET[register])
        self._touched.clear()
        self._look()                # at what happened in the clocks that took
        self._armed.clear()
        self.plug_in()
        self._noise = 0.0
        self.moved_at = self.board.clock

    # -- the host's line ---------------------------------------------------------------------

    def plug_in(self) -> None:
        self._unplugged = False

    def on_line(self, data: bytes) -> bytes:
        """What is left of bytes on the host's line."""
        if self._unplugged:
            return b""
        if not self._noise or self._chance.random() > self._noise:
            return data
        damaged = bytearray(data)
        damaged[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        return bytes(damaged)

    # -- looking -----------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """The target has all that the host has sent, and the source knows."""
        source, target = self.board.pages(Side.SOURCE), self.board.pages(Side.TARGET)
        return (self.oracle.all_told() and target.life == self.oracle.life
                and all(source.settled(s) and target.flags(s) & wire.TargetFlag.FOLLOWING
                        and not target.flags(s) & wire.TargetFlag.INCONSISTENT
                        and source.word(s, wire.SetWord.EPOCH)
                        == target.word(s, wire.SetWord.EPOCH) for s in range(source.sets)))

    def volume_sets(self) -> list[int]:
        """Set of each volume, as the source has it."""
        return [set_ for set_, _ in self.board.volumes()]

    def count(self, side: Side) -> None:
        """Add what a system has counted; nothing of the time shortly after a loss of memory."""
        if side in self._uncounted:
            return
        before = self._counted_from.get(side)
        counts, found = self.counts, self._counters(side)
        if before is not None:
            found = [tuple(now - then for now, then in zip(*both, strict=True))
                     for both in zip(found, before, strict=True)]
        counters, *of_links = found
        for name, counter in (SOURCE_COUNTS if side is Side.SOURCE else {}).items():
            counts[name] += counters[counter]
        for name, counter in BOTH_COUNTS.items():
            counts[name] += counters[counter]
        for of_link in of_links:
            for name, place in LINK_COUNTS.items():
                counts[name] += of_link[place]

    def _counters(self, side: Side) -> list[tuple[int, ...]]:
        """Those of a system, then those of each of its links."""
        return [self.board.counters(side), *(self.board.link_counters(side, link)
                                             for link in range(self.board.geometry.links))]

    def count_all(self) -> None:
        """Add what systems, channels and oracle have counted, at the end of a trial."""
        for side in Side:
            self.count(side)
        for link in range(self.board.geometry.links):
            words = self.board.channel(link)
            for name, register in CHANNEL_COUNTS.items():
                self.counts[name] += words[register]
        self.counts.update(self.oracle.counts)


class NativeTransport:
    """A host line whose seconds are the board's clocks.

    Raises HostGone by :meth:`read` when the world wants the host's program to end.
    """

    def __init__(self, world: World, side: Side, hz: int = HOST_HZ) -> None:
        self._world = world
        self._side = side
        self._hz = hz

    def read(self, timeout: float) -> bytes:
        """May come back earlier than :class:`~host_tools.transport.Transport` promises: after
        everything that a caller could be waiting for."""
        world = self._world
        data = world.board.read(self._side)
        if not data:
            # At least one clock, or a caller whose time is all but up would ask for ever.
            world.advance(max(1, min(round(timeout * self._hz), SLICE_CLOCKS)))
            data = world.board.read(self._side)
        if world.host_away is not None:
            raise HostGone
        return world.on_line(data) if data else data

    def write(self, data: bytes) -> None:
        data = self._world.on_line(data)
        if data:
            self._world.board.write(self._side, data)

    def close(self) -> None:
        pass

    def now(self) -> float:
        return self._world.board.clock / self._hz
