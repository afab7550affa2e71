"""One remote link, untimed: frames in flight each way, sessions, cuts.

The link engine delivers every frame once or reports that the session is lost; in between, frames
may be lost and sent again, so they arrive in any order. The model keeps the frames in flight in a
list and lets the caller choose which one arrives next, and how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .source import Outgoing

Deliver = Callable[[Outgoing, bytes], None]


@dataclass
class Flight:
    """A frame in flight; ``heard`` once it has arrived but its acknowledgement has not."""

    frame: Outgoing
    heard: bool = False


@dataclass
class Line:
    """One direction of a link."""

    flights: list[Flight] = field(default_factory=list)
    cut: bool = False
    frames_sent: int = 0
    resends: int = 0
    bad_frames: int = 0
    frames_received: int = 0
    duplicates: int = 0


@dataclass
class Link:
    """Both directions, and the session that spans them."""

    window: int
    up: bool = True
    sessions: int = 1
    to_target: Line = field(default_factory=Line)
    to_source: Line = field(default_factory=Line)

    def room(self, line: Line) -> bool:
        """Whether another frame may be handed to this direction."""
        return self.up and len(line.flights) < self.window

    def send(self, line: Line, frame: Outgoing) -> None:
        """Hand a frame to one direction; requires :meth:`room`."""
        line.flights.append(Flight(frame))
        line.frames_sent += 1

    def arrive(self, line: Line, place: int, deliver: Deliver) -> None:
        """The frame at ``place`` arrives whole. Its payload is fetched now: the latest moment
        at which the gateware may read it. Without a way back for the acknowledgement it stays
        in flight, and will be a duplicate when it arrives again."""
        back = self.to_source if line is self.to_target else self.to_target
        flight = line.flights[place]
        if flight.heard:
            line.duplicates += 1
        else:
            flight.heard = True
            line.frames_received += 1
            deliver(flight.frame, flight.frame.fetch())
        if not back.cut:
            line.flights.remove(flight)

    def lose(self, line: Line, place: int) -> None:
        """The frame at ``place`` is lost, or damaged and dropped for its CRC: it goes out again
        behind the others."""
        line.resends += 1
        line.flights.append(line.flights.pop(place))

    def down(self) -> None:
        """The session ends; whatever was in flight is dropped on both sides."""
        self.up = False
        self.to_target.flights.clear()
        self.to_source.flights.clear()

    def establish(self) -> None:
        """A new session, possible while neither direction is cut."""
        self.up = True
        self.sessions += 1
