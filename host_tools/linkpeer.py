"""The PC's end of a line: the protocol of ``hdl/link.py`` without any input or output.

:class:`LinkPeer` is fed the bytes that arrive and asked for the bytes to send; time is an
argument. So the same code serves a serial port, a socket, a simulation and a test, and nothing
in it can block.
"""

from __future__ import annotations

import logging
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_model import wire

log = logging.getLogger("farside.linkpeer")

HELLO_FIRST = 0.02          # seconds between hellos, growing to HELLO_LAST: quick on a fast line,
HELLO_LAST = 0.25           # and not the whole of a slow one
PATIENCE = 0.25             # constant part of the time-out: a board may be a slow simulation
INITIAL_TRIP = 0.25         # round trip assumed until one was measured
BUSY_RETRY = 0.01           # seconds until a frame that a busy receiver refused is sent again
TRIES = 8                   # time-outs in a row that end the session, each twice the one before
LONGEST_LINE = 8192         # bytes without a delimiter that may still be a frame


@dataclass
class LineCounters:
    """What has happened on the line, under the names of ``wire.LinkCounter``."""

    frames_sent: int = 0
    resends: int = 0
    frames_received: int = 0
    duplicates: int = 0
    bad_frames: int = 0
    timeouts: int = 0
    sessions: int = 0
    acks_sent: int = 0


@dataclass
class _Entry:
    """One frame of the transmit window."""

    line: bytes
    order: int              # number of its last transmission
    sent_at: float          # last transmission
    first_at: float         # first transmission
    acked: bool = False
    lost: bool = False
    again: bool = False     # transmitted more than once
    refused: bool = False   # an acknowledgement came without it since it was sent
    waited: bool = False    # that has ever been so: it says nothing about the line


@dataclass
class _Window:
    """State that begins anew with every session."""

    tail: int = 0           # oldest unacknowledged, counted without wrapping
    entries: deque[_Entry] = field(default_factory=deque)
    # The frame of each copy sent to which no acknowledgement has been put down yet. The other side
    # answers them in the order sent, a copy of what it already had as well. One that the line broke
    # stays until something sent after it is acknowledged.
    unanswered: deque[_Entry] = field(default_factory=deque)
    order: int = 0
    newest: int = -1        # newest transmission known to have arrived
    trip: float = INITIAL_TRIP
    tries: int = 0
    waiting_since: float = 0.0
    base: int = 0           # next number expected, 0..255
    early: dict[int, wire.Frame | None] = field(default_factory=dict)
    ack_due: bool = False


class LinkPeer:
    """One end of a line.

    Session, window and acknowledgement work as ``hdl.link.LinkEngine`` describes them, with one
    addition: an acknowledgement that acknowledges nothing, from a receiver that keeps nothing out
    of turn, means that it was too busy to take a frame, so the oldest is sent again every
    ``BUSY_RETRY`` seconds until it is taken. The acknowledgement of a copy too many acknowledges
    nothing either; it is told from the other by counting what has been sent.

    Parameters
    ----------
    role : wire.Role
        Who we are. An end of the same role is refused.
    ordered : bool
        Deliver frames in the order sent: what comes early is acknowledged and kept until its
        turn. Otherwise frames are delivered as they come.
    fingerprint : int
        Of the geometry; 0 matches any.
    window : int
        Most unacknowledged frames, and most that are kept early; 4..32.
    session : int or None
        Number of the first session, 1..255; by default at random, so that what a former
        process left in the buffers of the line does not fit.
    patience : float
        Constant part of the time-out in seconds.

    Attributes
    ----------
    up : bool
        A session is established.
    session_count : int
        Sessions so far. When it grows, everything sent before and not answered may be lost.
    mismatch : int or None
        The other end's protocol version if its last hello had another one than ours.
    refusal : str or None
        Why the other end's last hello was refused, in words; None after a good one.
    counters : LineCounters
    """

    def __init__(self, role: wire.Role = wire.Role.HOST, *, ordered: bool = True,
                 fingerprint: int = 0, window: int = 32, session: int | None = None,
                 patience: float = PATIENCE) -> None:
        if not 4 <= window <= 32:
            raise ValueError(f"window {window} is outside 4..32: an acknowledgement has 32 bits")
        if session is None:
            session = random.SystemRandom().randint(1, 255)
        if not 1 <= session <= 255:
            raise ValueError(f"session {session} is outside 1..255: 0 stands for none")
        self.role = wire.Role(role)
        self.ordered = ordered
        self.fingerprint = fingerprint
        self.window = window
        self.patience = patience
        self.up = False
        self.mismatch: int | None = None
        self.refusal: str | None = None
        self.counters = LineCounters()
        self._my = session
        self._peer = 0
        self._partial = b""
        self._queue: deque[Callable[[int], bytes]] = deque()     # lseq to frame, before COBS
        self._state = _Window()
        self._answer_hello = False
        self._probe = False
        self._next_hello = 0.0
        self._hello_interval = HELLO_FIRST

    @property
    def session_count(self) -> int:
        return self.counters.sessions

    @property
    def unsettled(self) -> int:
        """Frames queued or not yet acknowledged."""
        return len(self._queue) + len(self._state.entries)

    # -- the user's side -------------------------------------------------------------------

    def send(self, type_: wire.Type, payload: bytes = b"", **fields: int) -> None:
        """Queue a sequenced frame. Frames queued while the line is down wait for it to come up;
        what is queued when a session falls is dropped with it."""
        if type_ < wire.FIRST_SEQUENCED:
            raise ValueError(f"{wire.Type(type_).name} frames are sent by the line itself")
        wire.pack(type_, 0, payload, **fields)      # complain here, not from poll
        self._queue.append(lambda lseq: wire.pack(type_, lseq, payload, **fields))

    def send_raw(self, type_: int, header: bytes, payload: bytes = b"") -> None:
        """Queue a sequenced frame of any type, known or not, with all header bytes given."""
        if not wire.FIRST_SEQUENCED <= type_ <= 0xFF or len(header) != wire.HEADER_BYTES:
            raise ValueError(f"frame type 0x{type_:02x} with {len(header)} header bytes: types "
                             f"are 0x{wire.FIRST_SEQUENCED:02x}..0xff, headers "
                             f"{wire.HEADER_BYTES} bytes")
        self._queue.append(lambda lseq: wire.seal(bytes([type_, lseq]) + header + payload))

    def restart(self) -> None:
        """Begin a new session, as a program does that has just been started."""
        self._fall("asked for")

    def probe(self) -> None:
        """Ask the other end to say hello: the answer tells whether it is still in this session,
        or has begun another one, with somebody else or after a reset."""
        self._probe = self.up

    def feed(self, data: bytes, now: float) -> list[wire.Frame]:
        """Take bytes from the line; returns the frames they complete, in order of delivery."""
        parts = (self._partial + data).split(b"\0")
        self._partial = parts.pop()
        if len(self._partial) > LONGEST_LINE:
            self._partial = b"\xff"     # no frame: spoilt until the next delimiter
        delivered: list[wire.Frame] = []
        for part in parts:
            if not part:
                continue
            try:
                frame = wire.unpack(wire.cobs_decode(part))
            except wire.WireError as error:
                self.counters.bad_frames += 1
                log.debug("bad frame of %d line bytes: %s", len(part), error)
                continue
            if frame.type == wire.Type.HELLO:
                self._on_hello(frame.fields, now)
            elif not self.up:
                continue
            elif frame.type == wire.Type.ACK:
                self._on_ack(frame, now)
            else:
                self._on_sequenced(frame, delivered)
        return delivered

    def poll(self, now: float) -> bytes:
        """Bytes to send now."""
        out: list[bytes] = []
        if self.up:
            self._check_timeout(now)
        if self._answer_hello or self._probe or (not self.up and now >= self._next_hello):
            out.append(self._hello(now))
        if self.up:
            state = self._state
            if state.ack_due:
                out.append(self._ack())
            if self._retry_at(state) <= now:
                state.entries[0].lost = True
            for entry in state.entries:
                if entry.lost and not entry.acked:
                    self._transmit(entry, now)
                    out.append(entry.line)
            while self._queue and len(state.entries) < self.window:
                out.append(self._send_fresh(now))
        return b"".join(out)

    def deadline(self, now: float) -> float | None:
        """When to call :meth:`poll` next even if nothing arrives; None if never."""
        if self._answer_hello or self._probe:
            return now
        if not self.up:
            return max(now, self._next_hello)
        state = self._state
        has_room = self._queue and len(state.entries) < self.window
        if state.ack_due or has_room or any(e.lost and not e.acked for e in state.entries):
            return now
        if state.entries:
            return max(now, min(state.waiting_since + self._timeout(), self._retry_at(state)))
        return None

    @staticmethod
    def _retry_at(state: _Window) -> float:
        """When to send the oldest frame again because the receiver refused it."""
        if not state.entries or not state.entries[0].refused:
            return math.inf
        return state.entries[0].sent_at + BUSY_RETRY

    # -- session ---------------------------------------------------------------------------

    def _hello(self, now: float) -> bytes:
        # A hello that does not claim the session is always answered: that is the probe.
        claim = self.up and not self._probe
        self._answer_hello = self._probe = False
        self._next_hello = now + self._hello_interval
        self._hello_interval = min(1.5 * self._hello_interval, HELLO_LAST)
        return wire.to_line(wire.pack(
            wire.Type.HELLO, 0, version=wire.PROTOCOL_VERSION, role=self.role, session=self._my,
            echo=self._peer, flags=wire.HelloFlag.UP if claim else 0,
            fingerprint=self.fingerprint))

    def _on_hello(self, fields: dict[str, int], now: float) -> None:
        self.mismatch = None
        self.refusal = self._objection(fields)
        if self.refusal is not None:
            if fields["version"] != wire.PROTOCOL_VERSION:
                self.mismatch = fields["version"]
            return
        knows_me = fields["echo"] == self._my
        same = knows_me and fields["session"] == self._peer
        self._peer = fields["session"]
        answer = not knows_me or not fields["flags"] & wire.HelloFlag.UP
        if self.up and not same:
            self._fall("the other side has started anew")
            answer = True
        elif not self.up and knows_me:
            self._rise(now)
            answer = True
        self._answer_hello |= answer

    def _objection(self, fields: dict[str, int]) -> str | None:
        if fields["version"] != wire.PROTOCOL_VERSION:
            return (f"the other side speaks protocol version {fields['version']}, "
                    f"this one version {wire.PROTOCOL_VERSION}")
        if fields["role"] == self.role:
            return f"the other side is a {self.role.name.lower()} too: is the line looped back?"
        if self.fingerprint and fields["fingerprint"] not in (0, self.fingerprint):
            return (f"the other side's geometry has fingerprint 0x{fields['fingerprint']:04x}, "
                    f"this one's 0x{self.fingerprint:04x}")
        return None

    def _rise(self, now: float) -> None:
        self.up = True
        self.counters.sessions += 1
        self._state = _Window(waiting_since=now)
        self._hello_interval = HELLO_FIRST

    def _fall(self, why: str) -> None:
        log.info("session %d ends: %s", self._my, why)
        self.up = False
        self._my = self._my % 255 + 1
        self._state = _Window()
        self._queue.clear()
        self._next_hello = 0.0

    # -- receiving -------------------------------------------------------------------------

    def _on_sequenced(self, frame: wire.Frame, delivered: list[wire.Frame]) -> None:
        state = self._state
        state.ack_due = True
        if (frame.lseq - state.base) % 256 >= self.window or frame.lseq in state.early:
            self.counters.duplicates += 1
            return
        self.counters.frames_received += 1
        if self.ordered:
            state.early[frame.lseq] = frame
        else:
            state.early[frame.lseq] = None
            delivered.append(frame)
        while state.base in state.early:
            kept = state.early.pop(state.base)
            if kept is not None:
                delivered.append(kept)
            state.base = (state.base + 1) % 256

    def _ack(self) -> bytes:
        state = self._state
        state.ack_due = False
        self.counters.acks_sent += 1
        bits = sum(1 << (lseq - state.base) % 256 for lseq in state.early)
        return wire.to_line(wire.pack(wire.Type.ACK, state.base, map=bits, session=self._peer))

    # -- sending ---------------------------------------------------------------------------

    def _send_fresh(self, now: float) -> bytes:
        state = self._state
        frame = self._queue.popleft()
        lseq = (state.tail + len(state.entries)) % 256
        if not state.entries:
            state.waiting_since = now
        entry = _Entry(wire.to_line(frame(lseq)), state.order, now, now)
        state.order += 1
        state.entries.append(entry)
        state.unanswered.append(entry)
        self.counters.frames_sent += 1
        return entry.line

    def _transmit(self, entry: _Entry, now: float) -> None:
        entry.order = self._state.order
        entry.sent_at = now
        entry.lost = entry.refused = False
        entry.again = True
        self._state.order += 1
        self._state.unanswered.append(entry)
        self.counters.resends += 1

    def _on_ack(self, frame: wire.Frame, now: float) -> None:
        state = self._state
        below = (frame.lseq - state.tail) % 256     # frames below the other side's base
        if frame.fields["session"] != self._my or below > len(state.entries):
            return
        bits = frame.fields["map"]
        fresh: list[_Entry] = []
        for place, entry in enumerate(state.entries):
            if entry.acked or not (place < below or bits >> (place - below) & 1):
                continue
            entry.acked = True
            fresh.append(entry)
            if not entry.lost:
                state.newest = max(state.newest, entry.order)
            if entry.waited:
                state.tries = 0     # it waited for the receiver, not for the line
                continue
            if entry.again:
                # Which copy is meant is not known. Taking the first makes the time too long
                # for once; taking the last could make it too short for good.
                state.trip = max(state.trip, now - entry.first_at)
            else:
                state.trip = now - entry.sent_at
                state.tries = 0
        if fresh:
            state.waiting_since = now
            self._put_down(fresh)
        elif not bits and self._take_refusal():
            # The receiver is alive and was too busy to take it: time-outs do not count.
            state.entries[0].refused = state.entries[0].waited = True
            state.waiting_since = now
            state.tries = 0
        for entry in state.entries:
            entry.lost |= entry.order < state.newest and not entry.acked
        while state.entries and state.entries[0].acked:
            state.entries.popleft()
            state.tail += 1

    def _put_down(self, fresh: list[_Entry]) -> None:
        """Something has been acknowledged: the first copy of each has been answered, and what was
        sent before it."""
        unanswered = self._state.unanswered
        waiting = {id(entry) for entry in fresh} & {id(entry) for entry in unanswered}
        while waiting:
            waiting.discard(id(unanswered.popleft()))

    def _take_refusal(self) -> bool:
        """Nothing has been acknowledged: puts down the first copy without an answer, which this
        answers; true if it is one of the oldest frame."""
        state = self._state
        entry = state.unanswered.popleft() if state.unanswered else None
        return bool(state.entries) and entry is state.entries[0]

    def _timeout(self) -> float:
        return (2 * self._state.trip + self.patience) * (1 << self._state.tries)

    def _check_timeout(self, now: float) -> None:
        state = self._state
        if not state.entries or now < state.waiting_since + self._timeout():
            return
        self.counters.timeouts += 1
        state.tries += 1
        state.waiting_since = now
        state.entries[0].lost = True
        if state.tries == TRIES:
            self._fall(f"{TRIES} time-outs without an answer")
