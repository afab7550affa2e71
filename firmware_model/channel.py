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
DEFAULT_BURST_BYTES = 8
MAX_BURST_BYTES = 255       # eight bits
MAX_SKEW = 0.03             # 8N1 stands no more (see hdl/uart.py)
MAX_INSERT = 0.1
INSERT_REASON = "a busy line has room for one more byte in nine"    # ticks of nine bits

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


def share_chance(what: str, share: float, most: float = 1.0,
                 reason: str = "it is a part of them all") -> int:
    """Register value for any other chance; ``what`` names it in the error."""
    if not 0 <= share <= most:
        raise ChannelError(f"{what} {share:g} is outside 0..{most:g}: {reason}")
    return _chance(share)


def burst_bytes(count: int) -> int:
    """Register value for the length of bursts."""
    if not 1 <= count <= MAX_BURST_BYTES:
        raise ChannelError(f"burst of {count} bytes is outside 1..{MAX_BURST_BYTES}: "
                           "the length is eight bits")
    return count


def skew_units(share: float, divisor: int) -> int:
    """Register value for bits that last ``share`` longer (or shorter, if negative)."""
    if not -MAX_SKEW <= share <= MAX_SKEW:
        raise ChannelError(f"baud offset {share * 100:g} % is outside -{MAX_SKEW * 100:g}.."
                           f"{MAX_SKEW * 100:g} %: with more, not even a good receiver follows")
    return round(share * divisor) & 0xFFFFFFFF


def skew_share(value: int, divisor: int) -> float:
    """Inverse of :func:`skew_units`."""
    return (value - (value >> 31 << 32)) / divisor


def flap_units(seconds: float, divisor: int, clock_hz: int) -> int:
    """Register value for a time of flapping, up or down; at least one unit."""
    unit = wire.CHANNEL_FLAP_TICKS * tick_seconds(divisor, clock_hz)
    units = round(seconds / unit) if seconds > 0 else -1
    if not 1 <= units <= 0xFFFF:
        raise ChannelError(f"{seconds * 1e3:g} ms of flapping is outside {unit * 1e3:.4g}.."
                           f"{0xFFFF * unit * 1e3:.6g} ms: the time is sixteen bits of "
                           f"{unit * 1e3:.4g} ms")
    return units


def flap_seconds(units: int, divisor: int, clock_hz: int) -> float:
    """Inverse of :func:`flap_units`."""
    return units * wire.CHANNEL_FLAP_TICKS * tick_seconds(divisor, clock_hz)


def both(fault: wire.LineFault | wire.ChannelFault) -> int:
    """Bits of a fault in CONTROL or DIRECTIONS."""
    return 0b11 << 2 * fault


ALL_DIRECTIONS = (1 << 2 * len(wire.ChannelFault)) - 1


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

    While any chance is not 0, each byte takes seven numbers from the generator: one for each of
    the first six of ``wire.ChannelFault``, and one for what a damaged or inserted byte becomes.
    Every byte is then judged so:

    * The first byte of a frame (after a delimiter, and no delimiter itself) decides whether the
      frame is swallowed, delimiter and all.
    * Otherwise it may be lost.
    * Otherwise, within a burst its bits are flipped at random, at least one; or one bit is.
    * If it then is a delimiter, and was one before, everything since the delimiter before it
      may come a second time.
    * Lost or not, a byte of chance may follow.

    The gateware repeats no frame that is too long for its delay line, and loses bytes if more are
    inserted than there is room for; that does not happen here.
    """

    seed: int = 1
    link: int = 0
    direction: int = SOURCE_TO_TARGET
    frame_loss: int = 0
    frame_repeat: int = 0
    byte_loss: int = 0
    byte_insert: int = 0
    burst: int = 0
    byte_error: int = 0
    burst_bytes: int = DEFAULT_BURST_BYTES
    frames_lost: int = 0
    frames_repeated: int = 0
    bytes_lost: int = 0
    bytes_inserted: int = 0
    bursts: int = 0
    errors: int = 0

    def __post_init__(self) -> None:
        self._state = start_state(self.seed, self.link, self.direction)
        self._at_start = True
        self._swallowing = False
        self._burst_left = 0
        self._frame = bytearray()       # what came out since the last delimiter

    def _draw(self) -> int:
        drawn, self._state = self._state, advance(self._state)
        return drawn

    def send(self, data: bytes) -> bytes:
        """The bytes of ``data`` that come out at the far end, as they come out."""
        out = bytearray()
        chances = [getattr(self, fault.name.lower()) for fault in wire.ChannelFault
                   if fault <= wire.ChannelFault.BYTE_ERROR]
        for byte in data:
            if not any(chances) and not self._swallowing and not self._burst_left:
                self._at_start = byte == wire.DELIMITER
                out += self._emit(byte, False)
                continue
            lose_frame, repeat, lose, insert, burst, flip = (
                self._draw() <= chance for chance in chances)
            noise = self._draw()
            is_delimiter = byte == wire.DELIMITER
            if self._at_start and not is_delimiter and lose_frame:
                self._swallowing = True
                self.frames_lost += 1
            self._at_start = is_delimiter
            if burst and not self._burst_left:
                self._burst_left = self.burst_bytes
                self.bursts += 1
            in_burst = self._burst_left > 0
            self._burst_left -= in_burst
            if self._swallowing:
                self._swallowing = not is_delimiter
                continue
            if lose:
                self.bytes_lost += 1
            else:
                if in_burst:
                    byte ^= noise >> 8 & 0xFF | 1
                elif flip:
                    byte ^= 1 << (noise & 7)
                self.errors += in_burst or flip
                out += self._emit(byte, repeat and is_delimiter)
            if insert:
                self.bytes_inserted += 1
                out += self._emit(noise >> 16 & 0xFF, False)
        return bytes(out)

    def _emit(self, byte: int, repeat: bool) -> bytes:
        self._frame.append(byte)
        if byte != wire.DELIMITER:
            return bytes([byte])
        frame, self._frame = bytes(self._frame), bytearray()
        if not repeat or len(frame) == 1:
            return bytes([byte])
        self.frames_repeated += 1
        return bytes([byte]) + frame
