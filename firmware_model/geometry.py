"""The one validated description of a pair of storage systems.

Gateware, model, host library and simulated board all take a :class:`Geometry`; nothing else
says how large anything is. Every bound carries its reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property

from . import wire

MIN_CLOCKS_A_BIT = 4        # see hdl/uart.py
NO_MIDDLE = (f"with fewer than {MIN_CLOCKS_A_BIT} clocks a bit the receiver cannot find the middle "
             "of a bit")

# Clocks a bit as registers and gateware have them: 16 bits whole, 8 behind the point.
DIVISOR_BITS = 24
FRACTION_BITS = 8
MIN_DIVISOR = MIN_CLOCKS_A_BIT << FRACTION_BITS
MAX_DIVISOR = (1 << DIVISOR_BITS) - 1


class GeometryError(ValueError):
    """A parameter is outside its bound; the message names parameter, value, bound and reason."""


def _bits(count: int) -> int:
    """Bits that number ``count`` things (at least one, so that no signal is zero wide)."""
    return max(1, (count - 1).bit_length())


@dataclass(frozen=True)
class Geometry:
    """Sizes shared by a source, its target and everything that talks to them.

    Parameters
    ----------
    volumes : int
        Logical volumes, numbered from 0.
    tracks_per_volume : int
        Tracks of each volume, numbered from 0; need not be a power of two.
    track_bytes : int
        Bytes of a track; a power of two.
    sets : int
        Consistency sets.
    links : int
        Remote links between source and target.
    chain_limit : int
        Most commands in one chain (R24).
    spare_slots : int
        Source slots beyond one a track: where a chain's private data waits for its commit.
    staging_slots : int
        Target slots beyond one a track: where groups wait for theirs.
    groups_in_flight : int
        Uncommitted groups of one set at once (R18); a power of two.
    window : int
        Unacknowledged frames of one link; a power of two.
    volumes_per_set : int
        Most volumes of one set (R24: the seed's "approximately twenty").
    clock_hz, host_baud, link_baud : int
        Clock frequency in hertz and line rates in baud.
    """

    volumes: int = 4
    tracks_per_volume: int = 64
    track_bytes: int = 512
    sets: int = 4
    links: int = 2
    chain_limit: int = 100
    spare_slots: int = 104
    staging_slots: int = 256
    groups_in_flight: int = 4
    window: int = 32
    volumes_per_set: int = 20
    clock_hz: int = 12_000_000
    host_baud: int = 2_000_000
    link_baud: int = 1_000_000

    def __post_init__(self) -> None:
        def bound(name: str, low: int, high: int, reason: str) -> None:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise GeometryError(f"{name} must be a whole number, not {value!r}")
            if not low <= value <= high:
                raise GeometryError(f"{name} {value} is outside {low}..{high}: {reason}")

        def power(name: str, reason: str) -> None:
            value = getattr(self, name)
            if value & (value - 1):
                raise GeometryError(f"{name} {value} is not a power of two: {reason}")

        bound("volumes", 1, 128, "an order entry keeps one bit of the volume byte for end of chain")
        bound("tracks_per_volume", 1, 65536, "a track number is 16 bits on the wire")
        bound("track_bytes", 16, 4096, "a frame must be short against the resend time-out")
        power("track_bytes", "slot and offset are joined, not multiplied")
        bound("sets", 1, 16, "per-set state is 16 pages of 32 words")
        bound("links", 1, 8, "register windows are laid out for eight links")
        bound("window", 4, 32, "a selective acknowledgement carries a 32-bit map")
        power("window", "window places are the low bits of the sequence number")
        bound("groups_in_flight", 1, 4, "a set page has room for four group records")
        power("groups_in_flight", "record places are the low bits of the group sequence number")
        bound("volumes_per_set", 1, 128, "there are at most 128 volumes")
        most = min(self.track_bytes // wire.ENTRY_BYTES, 255)
        bound("chain_limit", 1, most,
              "a write set or order packet must fit one track-sized slot and an 8-bit count")
        bound("spare_slots", self.chain_limit + 2, 65536,
              "the longest chain needs its private slots, and the receiver holds two")
        bound("staging_slots", self.chain_limit, 65536, "a group is at least one whole chain")
        bound("clock_hz", 1_000_000, 500_000_000, "boards run between 1 MHz and 500 MHz")
        for name in ("host_baud", "link_baud"):
            bound(name, 300, self.clock_hz // MIN_CLOCKS_A_BIT, NO_MIDDLE)
        if self.track_index_bits > 16:
            raise GeometryError(
                f"{self.volumes} volumes of {self.tracks_per_volume} tracks need "
                f"{self.track_index_bits} index bits; order list pointers are 16-bit words")
        if max(self.source_slots, self.target_slots) > 65536:
            raise GeometryError(
                f"{max(self.source_slots, self.target_slots)} slots exceed 65536: "
                "slot numbers are 16 bits")
        if self.volumes > self.sets * self.volumes_per_set:
            raise GeometryError(
                f"{self.volumes} volumes do not fit {self.sets} sets of at most "
                f"{self.volumes_per_set} volumes")

    # -- derived sizes ---------------------------------------------------------------------

    @property
    def tracks(self) -> int:
        """Tracks of all volumes."""
        return self.volumes * self.tracks_per_volume

    @cached_property
    def volume_bits(self) -> int:
        return _bits(self.volumes)

    @cached_property
    def track_bits(self) -> int:
        """Bits of a track number within its volume."""
        return _bits(self.tracks_per_volume)

    @property
    def track_index_bits(self) -> int:
        """Bits of a track index: volume above, track below, so no multiplier is needed."""
        return self.volume_bits + self.track_bits

    @property
    def set_bits(self) -> int:
        return _bits(self.sets)

    @property
    def offset_bits(self) -> int:
        """Bits of a byte offset within a track."""
        return _bits(self.track_bytes)

    @property
    def source_slots(self) -> int:
        return self.tracks + self.spare_slots

    @property
    def target_slots(self) -> int:
        """One a track, the staging area, and two a link: one being filled, one ready."""
        return self.tracks + self.staging_slots + 2 * self.links

    @property
    def group_limit(self) -> int:
        """Most tracks of one group: an order packet must fit one slot and an 8-bit count."""
        return min(self.staging_slots, self.track_bytes // wire.ENTRY_BYTES, 255)

    @property
    def image_bytes(self) -> int:
        """Bytes of all volumes, in order."""
        return self.tracks * self.track_bytes

    def index(self, volume: int, track: int) -> int:
        """Track index of ``volume:track`` as the gateware forms it."""
        self.check(volume, track)
        return (volume << self.track_bits) | track

    def place(self, index: int) -> tuple[int, int]:
        """Inverse of :meth:`index`."""
        return index >> self.track_bits, index & ((1 << self.track_bits) - 1)

    def linear(self, volume: int, track: int) -> int:
        """Position of ``volume:track`` in a raw image, in tracks."""
        self.check(volume, track)
        return volume * self.tracks_per_volume + track

    def check(self, volume: int, track: int) -> None:
        """Raise :class:`GeometryError` unless ``volume:track`` exists."""
        if not 0 <= volume < self.volumes:
            raise GeometryError(f"volume {volume} is outside 0..{self.volumes - 1}")
        if not 0 <= track < self.tracks_per_volume:
            raise GeometryError(f"track {track} is outside 0..{self.tracks_per_volume - 1}")

    def initial_set(self, volume: int) -> int:
        """Set of ``volume`` after reset: as few sets as the limit a set allows."""
        return volume // self.volumes_per_set

    @property
    def fingerprint(self) -> int:
        """16 bits that two ends compare in their hello: sizes both must agree on."""
        names = ("volumes", "tracks_per_volume", "track_bytes", "sets", "chain_limit",
                 "staging_slots", "groups_in_flight")
        text = ",".join(f"{n}={getattr(self, n)}" for n in names)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:2], "little")

    def replace(self, **changes: int) -> Geometry:
        return dataclasses.replace(self, **changes)

    def divisor(self, baud: int) -> int:
        """Clocks a bit in 1/256 (24-bit fixed point: 16 whole, 8 fraction), rounded."""
        most = self.clock_hz // MIN_CLOCKS_A_BIT
        if not 300 <= baud <= most:
            raise GeometryError(f"baud {baud} is outside 300..{most}: {NO_MIDDLE}")
        return round((self.clock_hz << FRACTION_BITS) / baud)
