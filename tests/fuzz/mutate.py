"""Makes malformed input out of a corpus of good frames.

A frame of the corpus is a line of ``corpus/*.txt``: type, header and payload in hexadecimal. What
is made of it is either a :class:`Frame`, to be sent with a good CRC and the right sequence number
so that it reaches the code behind the line, or bytes for the line itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware_model import wire

CORPUS = Path(__file__).with_name("corpus")
NUMBERS = (0, 1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 32, 0x7F, 0x80, 0xFE, 0xFF)
LONGEST = 300       # bytes of a payload: many times what the boards here take


@dataclass(frozen=True)
class Frame:
    """A frame before the line numbers and seals it."""

    type: int
    header: bytes
    payload: bytes = b""

    def line(self, lseq: int) -> bytes:
        return wire.to_line(wire.seal(bytes([self.type, lseq]) + self.header + self.payload))

    @property
    def sequenced(self) -> bool:
        return self.type >= wire.FIRST_SEQUENCED


def corpus(name: str) -> list[Frame]:
    """The frames of ``corpus/name.txt``; what follows a # is a comment."""
    frames = []
    for line in (CORPUS / f"{name}.txt").read_text().splitlines():
        if text := line.partition("#")[0].strip():
            data = bytes.fromhex(text)
            frames.append(Frame(data[0], data[1:1 + wire.HEADER_BYTES],
                                data[1 + wire.HEADER_BYTES:]))
    return frames


class Mutator:
    """Equal seeds and corpora give equal input."""

    def __init__(self, rng: random.Random, frames: list[Frame],
                 stale: Callable[[], int] | None = None) -> None:
        self.rng = rng
        self.frames = frames
        # Sequence numbers for good frames among the noise. No line error forges one that is still
        # to come, and a receiver could not know it from a true one.
        self._stale = stale or (lambda: rng.randrange(256))

    def frame(self) -> Frame:
        """A frame with a good CRC, and something wrong in it; now and then nothing."""
        rng = self.rng
        base = rng.choice(self.frames)
        type_, header, payload = base.type, bytearray(base.header), bytearray(base.payload)
        for _ in range(rng.randrange(4)):
            match rng.randrange(8):
                case 0:
                    type_ = rng.choice((*wire.Type, rng.randrange(256)))
                case 1 | 2:
                    header[rng.randrange(len(header))] = rng.choice(NUMBERS)
                case 3:
                    header[rng.randrange(len(header))] ^= 1 << rng.randrange(8)
                case 4:
                    del payload[rng.randrange(len(payload) + 1):]
                case 5:
                    payload += rng.randbytes(rng.choice((1, 2, 3, 16, LONGEST)))
                case 6 if payload:
                    payload[rng.randrange(len(payload))] = rng.choice(NUMBERS)
                case _:
                    payload = bytearray(rng.choice(self.frames).payload)
        return Frame(type_, bytes(header), bytes(payload))

    def noise(self) -> bytes:
        """Bytes for the line that are no good frame, or a good one out of turn."""
        rng = self.rng
        line = bytearray(self.frame().line(self._stale()))
        match rng.randrange(8):
            case 0:
                line[rng.randrange(len(line))] ^= 1 << rng.randrange(8)
            case 1:
                del line[rng.randrange(len(line)):]
            case 2:
                other = self.frame().line(self._stale())
                line = line[:rng.randrange(len(line))] + other[rng.randrange(len(other)):]
            case 3:
                at = rng.randrange(len(line))
                line[at:at + rng.randrange(12)] = rng.randbytes(rng.randrange(12))
            case 4:
                line = bytearray(rng.randbytes(rng.randrange(1, LONGEST)))
            case 5:
                line = bytearray(rng.randrange(1, 256) for _ in range(LONGEST))
            case 6:
                line = line + line
            case _:
                line = bytearray(rng.randrange(20))
        return bytes(line)
