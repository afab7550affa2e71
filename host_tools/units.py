"""Values with units, as people type them: ``20ms``, ``1Mbaud``, ``1e-6``, ``2:17+8``."""

from __future__ import annotations

import re

from .errors import UsageError

_NUMBER = r"([0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?)"
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_BAUDS = {"": 1.0, "baud": 1.0, "bd": 1.0, "k": 1e3, "kbaud": 1e3, "m": 1e6, "mbaud": 1e6}


def seconds(text: str) -> float:
    """``20ms`` is 0.02; a bare number other than 0 is refused, since it could mean anything."""
    match = re.fullmatch(_NUMBER + r"\s*([a-zµ]*)", text.strip())
    if match and match[2] in _TIMES:
        return float(match[1]) * _TIMES[match[2]]
    if match and not match[2] and float(match[1]) == 0:
        return 0.0
    raise UsageError(f"{text!r} is not a time: write a number and s, ms, us or ns, as in 20ms")


def baud(text: str) -> int:
    """``1Mbaud`` is 1000000; a bare number is in baud."""
    match = re.fullmatch(_NUMBER + r"\s*([a-zA-Z]*)", text.strip())
    if match and match[2].lower() in _BAUDS:
        rate = float(match[1]) * _BAUDS[match[2].lower()]
        if rate >= 1 and rate == int(rate):
            return int(rate)
    raise UsageError(f"{text!r} is not a line rate: write baud, kbaud or Mbaud, as in 1Mbaud")


def chance(text: str) -> float:
    """A probability: ``1e-6``, ``0.02`` or ``2%``."""
    match = re.fullmatch(_NUMBER + r"\s*(%?)", text.strip())
    if match:
        value = float(match[1]) / (100 if match[2] else 1)
        if value <= 1:
            return value
    raise UsageError(f"{text!r} is not a chance: write a number from 0 to 1, as in 1e-6 or 2%")


def signed_share(text: str) -> float:
    """A share that may be negative: ``-2%`` or ``0.02``."""
    match = re.fullmatch(r"([-+]?)" + _NUMBER + r"\s*(%?)", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a share: write a number or a percentage, as in -2%")
    value = float(match[2]) / (100 if match[3] else 1)
    return -value if match[1] == "-" else value


def place(text: str) -> tuple[int, int, int]:
    """``VOL:TRACK`` or ``VOL:TRACK+COUNT`` as (volume, track, count); the count is 1 if absent."""
    match = re.fullmatch(r"([0-9]+):([0-9]+)(?:\+([0-9]+))?", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a place: write VOLUME:TRACK or VOLUME:TRACK+COUNT, "
                         "as in 0:17+8")
    count = int(match[3]) if match[3] else 1
    if count < 1:
        raise UsageError(f"{text!r} asks for {count} tracks: at least 1")
    return int(match[1]), int(match[2]), count


def assignment(text: str) -> tuple[int, list[int]]:
    """``SET=VOL,VOL...`` as (set, volumes)."""
    match = re.fullmatch(r"([0-9]+)=([0-9]+(?:,[0-9]+)*)", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not an assignment: write SET=VOLUME,VOLUME..., "
                         "as in 1=2,3")
    return int(match[1]), [int(v) for v in match[2].split(",")]


def show_seconds(value: float) -> str:
    """A time for people: three digits and the unit that fits."""
    if abs(value) >= 1000:
        return f"{value:.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns" if value else "0 s"


def show_bytes(value: int) -> str:
    """A size for people."""
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value} bytes"


def show_count(number: int, noun: str) -> str:
    """``1 track``, ``3 tracks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
