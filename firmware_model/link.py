"""One remote link, untimed: frames in flight each way, sessions, cuts.

The link engine delivers every frame once or reports that the session is lost; in between, frames
may be lost and sent again, so they arrive in any order. The model keeps the frames in flight in a
list and lets the caller choose which one arrives next, and how. An end that restarts, or begins
a new session for other reasons, hears nothing more of the old one; the other end goes on until it
notices, and frames that are under way still reach it. That a cut is noticed, also by an end that
has nothing to say (the gateware knows by the silence), is an event of the system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
    source_up: bool = True      # as the source sees it
    target_up: bool = True
    sessions: int = 1
    to_target: Line = field(default_factory=Line)
    to_source: Line = field(default_factory=Line)

    @property
    def up(self) -> bool:
        """Both ends have the same session."""
        return self.source_up and self.target_up

    @property
    def broken(self) -> bool:
        """An end has a session that is no more, and will notice, idle or not."""
        cut = self.to_target.cut or self.to_source.cut
        return self.source_up != self.target_up or (self.up and cut)

    def sending(self, line: Line) -> bool:
        """Whether the end that sends this way thinks that the link is up."""
        return self.source_up if line is self.to_target else self.target_up

    def listening(self, line: Line) -> bool:
        """Whether what arrives this way is heard."""
        return self.target_up if line is self.to_target else self.source_up

    def room(self, line: Line) -> bool:
        """Whether another frame may be handed to this direction."""
        return self.sending(line) and len(line.flights) < self.window

    def send(self, line: Line, frame: Outgoing) -> None:
        """Hand a frame to one direction; requires :meth:`room`."""
        line.flights.append(Flight(frame))
        line.frames_sent += 1

    def arrive(self, line: Line, place: int, deliver: Deliver) -> None:
        """The frame at ``place`` arrives whole. Its payload is fetched now: the latest moment
        at which the gateware may read it. Without a way back for the acknowledgement it stays
        in flight, and will be a duplicate when it arrives again."""
        back = self.to_source if line is self.to_target else self.to_target
        back_cut = back.cut or not self.sending(line)
        flight = line.flights[place]
        if flight.heard:
            line.duplicates += 1
        else:
            flight.heard = True
            line.frames_received += 1
            deliver(flight.frame, flight.frame.fetch())
        if not back_cut and flight in line.flights:     # delivery may have ended the session
            line.flights.remove(flight)

    def lose(self, line: Line, place: int) -> None:
        """The frame at ``place`` is lost, or damaged and dropped for its CRC: it goes out again
        behind the others."""
        line.resends += 1
        line.flights.append(line.flights.pop(place))

    def end_source(self) -> None:
        """The source's end begins anew: it hears nothing of the old session, and sends nothing
        again. What is under way keeps the content that it was sent with."""
        self.source_up = False
        self.to_source.flights.clear()
        self.to_target.flights = [replace(f, frame=f.frame.frozen())
                                  for f in self.to_target.flights]

    def end_target(self) -> None:
        """The same for the target's end."""
        self.target_up = False
        self.to_target.flights.clear()

    def down(self) -> None:
        """The session ends; whatever was in flight is dropped on both sides."""
        self.source_up = self.target_up = False
        self.to_target.flights.clear()
        self.to_source.flights.clear()

    def establish(self) -> None:
        """A new session, possible while neither direction is cut."""
        self.source_up = self.target_up = True
        self.sessions += 1
