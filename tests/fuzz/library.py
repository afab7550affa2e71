"""Malformed input for the host library: what a broken board, or no board at all, may say."""

from __future__ import annotations

import random

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.wire import Reg, Type
from host_tools.client import Client
from host_tools.errors import FarsideError, PortLost
from host_tools.linkpeer import LinkPeer

from .gateware import GEOMETRY, Wrong
from .mutate import Mutator, corpus

PATIENCE = 120.0            # seconds of the line's clock until its plug is pulled
READS = 50_000              # of one conversation: more is a library that goes round in circles


def registers(geometry: Geometry) -> dict[int, int]:
    """What a board of this geometry has in its registers."""
    g = geometry
    named = (wire.MAGIC, wire.PROTOCOL_VERSION, wire.Role.SOURCE, g.volumes, g.tracks_per_volume,
             g.track_bytes, g.sets, g.links, g.chain_limit, g.spare_slots, g.staging_slots,
             g.groups_in_flight, g.window, g.volumes_per_set, g.clock_hz,
             g.divisor(g.host_baud), g.divisor(g.link_baud), 1)
    return dict(enumerate(map(int, named), Reg.MAGIC))


class BrokenBoard:
    """A transport with a board behind it that answers well, but for now and then.

    Its clock is its own: nothing here waits.
    """

    def __init__(self, rng: random.Random, badness: float) -> None:
        self._rng = rng
        self._badness = badness
        self._mutator = Mutator(rng, corpus("answers"))
        self._peer = LinkPeer(wire.Role.SOURCE, session=3, fingerprint=GEOMETRY.fingerprint)
        self._registers = registers(GEOMETRY)
        self._out = bytearray()
        self._time = 0.0
        self._left = 0          # WRITE frames of the open chain
        self.reads = 0
        self.frames = 0
        self.closed = False

    def now(self) -> float:
        return self._time

    def close(self) -> None:
        self.closed = True

    def write(self, data: bytes) -> None:
        for frame in self._peer.feed(data, self._time):
            self._answer(frame)

    def read(self, timeout: float) -> bytes:
        self.reads += 1
        if self.reads > READS:
            raise Wrong(f"the library has read {READS} times")
        if self._time > PATIENCE:
            raise PortLost("the plug was pulled")
        if self._rng.random() < self._badness:
            self._out += self._mutator.noise()
            self.frames += 1
        self._out += self._peer.poll(self._time)
        if not self._out:
            self._time += max(timeout, 1e-3)
            self._out += self._peer.poll(self._time)
        self._time += 1e-4
        count = self._rng.randrange(1, len(self._out) + 1) if self._out else 0
        data = bytes(self._out[:count])
        del self._out[:count]
        return data

    def _answer(self, frame: wire.Frame) -> None:
        fields = frame.fields
        tag = fields.get("tag", 0)
        if self._rng.random() < self._badness:
            wrong = self._mutator.frame()
            header = bytearray(wrong.header)
            if self._rng.random() < 0.7:
                header[0:2] = tag.to_bytes(2, "little")
            self.frames += 1
            if wrong.sequenced:
                self._peer.send_raw(wrong.type, bytes(header), wrong.payload)
            else:
                self._out += wrong.line(self._rng.randrange(256))
            if self._rng.random() < 0.5:
                return
        if frame.type == Type.REG_READ:
            address, count = fields["address"], fields["count"]
            values = b"".join(self._registers.get(address + n, 0).to_bytes(4, "little")
                              for n in range(count))
            self._peer.send(Type.REG_DATA, values, tag=tag, count=count, address=address)
        elif frame.type == Type.REG_WRITE:
            self._peer.send(Type.REG_STATUS, tag=tag, address=fields["address"])
        elif frame.type == Type.READ:
            for number in range(fields["count"] % 256):
                self._peer.send(Type.READ_DATA, bytes(GEOMETRY.track_bytes), tag=tag,
                                volume=fields["volume"], track=fields["track"] + number)
        elif frame.type == Type.CHAIN:
            self._left = fields["count"]
        elif frame.type == Type.WRITE:
            self._left -= 1
            if self._left == 0:
                self._peer.send(Type.CHAIN_STATUS, tag=tag,
                                detail=self._rng.choice((1, 1, 2, self._rng.randrange(1 << 32))))


def conversation(rng: random.Random) -> int:
    """A program that uses the library with a broken board: every call returns, or raises one of
    the library's own errors. Returns the malformed pieces of it."""
    board = BrokenBoard(rng, rng.choice((0.0, 0.02, 0.1, 0.4)))
    track = rng.randbytes(GEOMETRY.track_bytes)
    try:
        client = Client(board, hello_timeout=5.0)
        for _ in range(20):
            match rng.randrange(6):
                case 0:
                    client.registers(rng.randrange(64), rng.randrange(1, 40))
                case 1:
                    client.read(0, 0, rng.randrange(1, GEOMETRY.tracks_per_volume + 1))
                case 2:
                    client.set_reg("poll_interval", rng.randrange(100))
                case 3:
                    client.write([(0, rng.randrange(5), track)], timeout=30.0)
                case 4:
                    client.stats()
                case _:
                    client.idle(0.5)
        client.close()
    except FarsideError:
        pass
    return board.frames


def line(rng: random.Random) -> int:
    """Nothing but noise and good frames out of turn for the parser alone: it never raises, and
    delivers nothing that is no frame."""
    peer = LinkPeer(wire.Role.HOST, session=1 + rng.randrange(255))
    mutator = Mutator(rng, corpus(rng.choice(("host", "link", "answers"))))
    now = 0.0
    for _ in range(200):
        data = mutator.noise()
        at = rng.randrange(len(data) + 1)
        for frame in (*peer.feed(data[:at], now), *peer.feed(data[at:], now)):
            if wire.unpack(frame.encode()) != frame:
                raise Wrong(f"{frame} was delivered and cannot be sent")
        peer.poll(now)
        deadline = peer.deadline(now)
        if deadline is not None and deadline < now:
            raise Wrong(f"a deadline {now - deadline} s ago")
        now += rng.random()
        if len(peer._partial) > 3 * 8192:
            raise Wrong("bytes without a delimiter are kept for ever")
    return 200
