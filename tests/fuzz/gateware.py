"""Malformed input for the receivers of the gateware, on boards inside this process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.wire import Type
from host_tools.linkpeer import LinkPeer
from host_tools.trials.plan import GEOMETRIES
from sim import native
from sim.native import NativeBoard, Side

from .mutate import Frame, Mutator, corpus

GEOMETRY = GEOMETRIES["pair"]
ROUND = 30                  # frames until everything is looked at
SLICE = 2_000               # clocks between two looks at the line
ANSWER = 4_000_000          # clocks: a session given up, found again, and an answer
LINE_BYTES = 8_000          # that may wait for the line: half of what the board takes


class Wrong(AssertionError):
    """A receiver did what it must not."""


class Line:
    """One end of a line of a board, with a session that behaves and input that does not."""

    def __init__(self, board: NativeBoard, side: Side, peer: LinkPeer, rng: random.Random) -> None:
        self.board, self.side, self.peer, self.rng = board, side, peer, rng
        self.frames: list[wire.Frame] = []

    @property
    def now(self) -> float:
        return self.board.clock / self.board.geometry.clock_hz

    def stale(self) -> int:
        """A sequence number that is out of every window, whatever is under way."""
        return (self.peer._state.tail + 128 + self.rng.randrange(64)) % 256

    def serve(self) -> None:
        data = self.peer.poll(self.now)
        if data and self.board.unsent(self.side) < LINE_BYTES:
            self.board.write(self.side, data)
        self.board.run(SLICE)
        self.frames += self.peer.feed(self.board.read(self.side), self.now)

    def throw(self, mutator: Mutator) -> list[Frame]:
        """One round of input; returns the frames with a good CRC that were in it."""
        frames = []
        for _ in range(ROUND):
            if self.rng.random() < 0.4:
                self.board.write(self.side, mutator.noise())
            else:
                frame = mutator.frame()
                frames.append(frame)
                if frame.sequenced:
                    self.peer.send_raw(frame.type, frame.header, frame.payload)
                else:
                    self.board.write(self.side, frame.line(self.rng.randrange(256)))
            while self.board.unsent(self.side) > LINE_BYTES:
                self.serve()
            if self.rng.random() < 0.3:
                self.serve()
        self.board.write(self.side, bytes([wire.DELIMITER]))
        return frames

    def wait(self, done: Callable[[], bool], what: str) -> None:
        end = self.board.clock + ANSWER
        while not done():
            if self.board.clock > end:
                raise Wrong(f"{what} within {ANSWER} clocks")
            self.serve()


class Tracks:
    """What the tracks of a system hold, and what may have got there."""

    def __init__(self, board: NativeBoard, side: Side, entries: Type, data: Type) -> None:
        self.board, self.side = board, side
        self._entries, self._data = entries, data
        self._places: set[tuple[int, int]] = set()
        self._contents: set[bytes] = set()
        self._image, self._chains = self._look()

    def _look(self) -> tuple[bytes, int]:
        pages = self.board.pages(self.side)
        return (self.board.image(self.side),
                sum(pages.chains(set_) for set_ in range(self.board.geometry.sets)))

    def offered(self, frames: Iterable[Frame]) -> None:
        """Frames that were sent well: no chain can hold anything else."""
        size = self.board.geometry.track_bytes
        for frame in frames:
            if frame.type == self._data and len(frame.payload) == size:
                self._contents.add(frame.payload)
            if frame.type == self._entries:
                payload = frame.payload[:len(frame.payload) // 3 * 3]
                self._places |= {(volume, track) for volume, track, _ in wire.entries(payload)}

    def check(self) -> None:
        """No track differs from the last look, unless chains have committed that could."""
        image, chains = self._look()
        g = self.board.geometry
        size = g.track_bytes
        for volume in range(g.volumes):
            for track in range(g.tracks_per_volume):
                at = g.linear(volume, track) * size
                now = image[at:at + size]
                if now == self._image[at:at + size]:
                    continue
                where = f"track {volume}:{track} of the {self.side.name.lower()}"
                if chains == self._chains:
                    raise Wrong(f"{where} has changed, and no chain has committed")
                if (volume, track) not in self._places or now not in self._contents:
                    raise Wrong(f"{where} holds {now.hex()}, which no chain wrote there")
        self._image, self._chains = image, chains


def _board(top: str, geometry: Geometry, seed: int) -> NativeBoard:
    before, native.TOP = native.TOP, top
    try:
        # A link that takes the place of the host's line runs at its rate.
        return NativeBoard(geometry, seed=seed, link_baud=geometry.host_baud)
    finally:
        native.TOP = before


def host_line(rng: random.Random, side: Side, rounds: int) -> int:
    """Malformed input on the host line of one system; returns the frames thrown."""
    board = NativeBoard(GEOMETRY, seed=rng.randrange(1, 1 << 32))
    line = Line(board, side, LinkPeer(wire.Role.HOST, session=7, patience=0.02), rng)
    mutator = Mutator(rng, corpus("host"), line.stale)
    images = [Tracks(board, which, Type.CHAIN, Type.WRITE) for which in Side]
    line.wait(lambda: line.peer.up, "no session")
    for number in range(rounds):
        if side == Side.SOURCE:
            _valid_chain(line, rng, number, images)
        thrown = line.throw(mutator)
        for tracks in images:
            tracks.offered(thrown)
        _ask(line, number)
        for tracks in images:
            tracks.check()
    if side == Side.SOURCE:
        _settle(line)
        for tracks in images:
            tracks.check()
    return ROUND * rounds


def _valid_chain(line: Line, rng: random.Random, number: int, images: list[Tracks]) -> None:
    """So that there is something to lose."""
    g = GEOMETRY
    places = [(rng.randrange(2), rng.randrange(g.tracks_per_volume)) for _ in range(2)]
    contents = [rng.randbytes(g.track_bytes) for _ in places]
    tag = (0xC000 + number).to_bytes(2, "little")
    frames = [Frame(Type.CHAIN, tag + bytes([1, len(places), 0, 0, 0, 0]),
                    b"".join(wire.entry(*place) for place in places))]
    frames += [Frame(Type.WRITE, tag + bytes([index, 0, 0, 0, 0, 0]), data)
               for index, data in enumerate(contents)]
    for frame in frames:
        line.peer.send_raw(frame.type, frame.header, frame.payload)
    for tracks in images:
        tracks.offered(frames)


def _ask(line: Line, number: int) -> None:
    """The board answers: nothing hangs."""
    tag = 0xA000 + number
    asked = -1

    def answered() -> bool:
        nonlocal asked
        if line.peer.up and asked != line.peer.session_count:
            asked = line.peer.session_count
            line.peer.send(Type.REG_READ, tag=tag, address=wire.Reg.MAGIC, count=1)
        return any(frame.type == Type.REG_DATA and frame.fields["tag"] == tag
                   and frame.payload == wire.MAGIC.to_bytes(4, "little") for frame in line.frames)

    line.wait(answered, f"the {line.side.name.lower()} does not answer")
    line.frames.clear()


def _settle(line: Line) -> None:
    """Whatever was thrown, in the end the target has what the source has."""
    g = GEOMETRY
    board = line.board
    for link in range(g.links):
        for register in wire.Channel:
            if register not in (wire.Channel.SEED, wire.Channel.DIRECTIONS):
                board.poke(link, register, 8 if register == wire.Channel.BURST_BYTES else 0)
    line.peer.send(Type.REG_WRITE, tag=0xB001, address=wire.Reg.LINK_DIVISOR,
                   value=g.divisor(g.link_baud))
    line.peer.send(Type.REG_WRITE, tag=0xB000, address=wire.Reg.DESTAGE, value=(1 << g.sets) - 1)
    line.wait(lambda: all(board.pages(Side.SOURCE).settled(set_) for set_ in range(g.sets))
              and board.image(Side.SOURCE) == board.image(Side.TARGET),
              "source and target do not become equal")


def link(rng: random.Random, side: Side, rounds: int) -> int:
    """Malformed input on the link of one system; returns the frames thrown.

    ``side`` is the system that is thrown at, by the other's name in the hello.
    """
    board = _board("tests.fuzz.line_board:LineBoard", GEOMETRY, rng.randrange(1, 1 << 32))
    to_target = side == Side.TARGET
    peer = LinkPeer(wire.Role.SOURCE if to_target else wire.Role.TARGET, ordered=False,
                    fingerprint=GEOMETRY.fingerprint, window=GEOMETRY.window, session=5,
                    patience=0.02)
    line = Line(board, Side.SOURCE if to_target else Side.TARGET, peer, rng)
    mutator = Mutator(rng, corpus("link"), line.stale)
    tracks = Tracks(board, side, Type.ORDER, Type.DATA)
    line.wait(lambda: peer.up, "no session")
    for _ in range(rounds):
        tracks.offered(line.throw(mutator))
        # A frame that counts is acknowledged: the engine and what is behind it go on.
        peer.send(Type.STATUS if not to_target else Type.DATA, b"", gseq=0x7FFF)
        line.wait(lambda: peer.up and peer.unsettled == 0, "the link does not go on")
        line.frames.clear()
        tracks.check()
    return ROUND * rounds
