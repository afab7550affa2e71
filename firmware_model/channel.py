"""The channel emulator in plain Python: its units, its generator, and what it does to bytes.

Host tools use the conversions (seconds, bit errors and losses into register values); tests use
:class:`ByteChannel`, which predicts exactly what the gateware (``sim/channel.py``) lets through.
Nothing here imports Amaranth.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from . import wire

BITS_ON_LINE = 10           # start bit, eight data bits, stop bit
CHANCE_MAX = 0xFFFFFFFF     # every time: the generator never yields 0, so 0 means never
DIVISOR_UNIT = 256          # divisors count clocks a bit in 1/256
DEFAULT_DEPTH = 16384       # ticks a delay line holds: 147 ms at 1 Mbaud

SOURCE_TO_TARGET = 0
TARGET_TO_SOURCE = 1


class ChannelError(ValueError):
    """A setting is outside what the emulator can do; the message names value and bound."""


def tick_seconds(divisor: int, clock_hz: int) -> float:
    """Length of one tick of the delay line for a link ``divisor`` (clocks a bit in 1/256)."""
    return wire.CHANNEL_TICK_BITS * divisor / DIVISOR_UNIT / clock_hz


def delay_ticks(seconds: float, divisor: int, clock_hz: int,
                max_ticks: int = DEFAULT_DEPTH - 1) -> int:
    """Register value for a one-way delay, rounded to the nearest tick.

    Raises :class:`ChannelError` when the delay line is too short for it.
    """
    tick = tick_seconds(divisor, clock_hz)
    ticks = round(seconds / tick) if seconds >= 0 else -1
    if not 0 <= ticks <= max_ticks:
        raise ChannelError(f"delay {seconds * 1e3:g} ms is outside 0..{max_ticks * tick * 1e3:.4g} "
                           f"ms: the delay line holds {max_ticks} ticks of {tick * 1e6:.4g} us")
    return ticks


def delay_seconds(ticks: int, divisor: int, clock_hz: int) -> float:
    """Inverse of :func:`delay_ticks`."""
    return ticks * tick_seconds(divisor, clock_hz)


def byte_error_chance(ber: float) -> int:
    """Register value for a bit error rate.

    A byte is ten bits on the line and any of them destroys it, so a byte suffers with
    ``1 - (1 - ber) ** 10``. The emulator works on whole bytes: a byte that suffers has one
    of its eight data bits flipped, also where a real line would have lost a start or stop bit.
    """
    if not 0 <= ber <= 0.1:
        raise ChannelError(f"bit error rate {ber:g} is outside 0..0.1: "
                           "beyond that no frame ever arrives")
    return _chance(1 - (1 - ber) ** BITS_ON_LINE)


def bit_error_rate(chance: int) -> float:
    """Inverse of :func:`byte_error_chance`."""
    return float(1 - (1 - chance / CHANCE_MAX) ** (1 / BITS_ON_LINE))


def frame_loss_chance(loss: float) -> int:
    """Register value for the share of frames that vanish whole."""
    if not 0 <= loss <= 1:
        raise ChannelError(f"frame loss {loss:g} is outside 0..1: it is a share of all frames")
    return _chance(loss)


def frame_loss(chance: int) -> float:
    """Inverse of :func:`frame_loss_chance`."""
    return chance / CHANCE_MAX


def _chance(probability: float) -> int:
    return min(CHANCE_MAX, round(probability * CHANCE_MAX))


# -- the generator -------------------------------------------------------------------------


def salt(link: int, direction: int) -> int:
    """What makes the generators of all links and directions differ under one seed."""
    return zlib.crc32(bytes([link, direction, 0xFA]))


def start_state(seed: int, link: int, direction: int) -> int:
    """State of a generator after its seed register was written; never 0, its dead state."""
    return (seed ^ salt(link, direction)) & 0xFFFFFFFF or 1


def advance(state: int) -> int:
    """One step of a 32-bit xorshift (13, 17, 5): every value but 0 once a period."""
    state ^= state << 13 & 0xFFFFFFFF
    state ^= state >> 17
    return (state ^ state << 5) & 0xFFFFFFFF


@dataclass
class ByteChannel:
    """What one direction of a channel does to a stream of bytes, delays aside.

    Each byte takes three numbers from the generator: whether its frame is lost (used with the
    first byte after a delimiter), whether the byte suffers, and which bit is flipped.
    """

    seed: int = 1
    link: int = 0
    direction: int = SOURCE_TO_TARGET
    byte_error: int = 0
    frame_loss: int = 0
    errors: int = 0
    lost: int = 0

    def __post_init__(self) -> None:
        self._state = start_state(self.seed, self.link, self.direction)
        self._at_start = True
        self._swallowing = False

    def _draw(self) -> int:
        drawn, self._state = self._state, advance(self._state)
        return drawn

    def send(self, data: bytes) -> bytes:
        """The bytes of ``data`` that come out at the far end, as they come out."""
        out = bytearray()
        for byte in data:
            lose, suffer, which = self._draw(), self._draw(), self._draw()
            is_delimiter = byte == wire.DELIMITER
            if self._at_start and not is_delimiter:
                self._swallowing = lose <= self.frame_loss
                self.lost += self._swallowing
            swallow = self._swallowing
            self._at_start = is_delimiter
            if is_delimiter:
                self._swallowing = False
            if swallow:
                continue
            if suffer <= self.byte_error:
                byte ^= 1 << (which & 7)
                self.errors += 1
            out.append(byte)
        return bytes(out)
