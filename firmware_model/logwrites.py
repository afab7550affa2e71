"""Histories as files: dm-log-writes, version 1.

The format is that of the Linux device mapper target ``log-writes`` (and of QEMU's ``blklogwrites``
driver), so their tools can replay a history. All integers are little-endian::

    super   magic u64 = 0x6a736677736872, version u64 = 1, nr_entries u64, sectorsize u32,
            padded to one sector
    entry   sector u64, nr_sectors u64, flags u64, data_len u64, padded to one sector;
            a MARK has its text (data_len bytes) in the entry's own sector;
            other entries are followed by nr_sectors sectors of data, except DISCARD

Here an entry is one command of a chain, at the position of its track in a raw image of all volumes,
and the MARK after it says what the entries before it were::

    farside volumes=.. tracks_per_volume=.. track_bytes=.. sets=..      the first entry
    start set=S number=N    the set had committed N chains before
    base                the writes so far are the initial image; the rest starts with zeroes
    begin               end of the preamble
    assign volume=V set=S   (in the preamble: where the volume was at the start)
    chain set=S number=N    the writes since the last mark are this chain, committed whole
    ack set=S number=N      the target has committed up to chain N
    resync set=S number=N   numbers up to N went to a resynchronisation, which changes nothing

Writes without a following mark are a chain that nobody knows to have committed: left out.

Sector size: 512 for tracks of 512 bytes or more; for 128 and 256 the track size; below that 128,
and each track takes a sector of its own, padded with zeroes, since a mark needs the room.
"""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .geometry import Geometry, GeometryError
from .history import Acknowledgement, Assignment, Chain, History, HistoryError, Resync, Write

MAGIC = 0x6A736677736872
VERSION = 1
_SUPER = struct.Struct("<QQQL")
_ENTRY = struct.Struct("<QQQQ")
_NR_ENTRIES = struct.Struct("<Q")
_NR_ENTRIES_AT = 16
MIN_SECTOR = 128            # the longest mark must fit next to an entry
MAX_SECTOR = 1 << 23        # largest that QEMU accepts


class LogFlag(enum.IntFlag):
    """Flags of an entry."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8
    METADATA = 16


class LogError(ValueError):
    """The file is not a usable log; the message names the file, the place and the reason."""


class BadMagic(LogError):
    """Not a dm-log-writes file at all."""


class BadVersion(LogError):
    """A version of the format other than 1."""


class Truncated(LogError):
    """The file ends inside an entry that its super block counts."""


class NotAHistory(LogError):
    """A sound log, but without the marks that make it a history of chains."""


@dataclass(frozen=True)
class LogEntry:
    """One entry. ``data`` is the text of a MARK, or what was written."""

    sector: int
    nr_sectors: int
    flags: LogFlag
    data: bytes

    @property
    def mark(self) -> str | None:
        """Text of a mark; None for other entries."""
        if not self.flags & LogFlag.MARK:
            return None
        return self.data.decode("utf-8", "replace")


def sector_size(track_bytes: int) -> int:
    """Sector size of a history of tracks of this size."""
    return min(512, max(MIN_SECTOR, track_bytes))


class LogWriter:
    """Appends entries to a log.

    A mark makes everything before it count: only then ``nr_entries`` in the super block is
    brought up to date, so a file left behind by a crash is whole up to its last mark.

    Parameters
    ----------
    path : path
        Created, or overwritten.
    sectorsize : int
        A power of two, at least 128.
    """

    def __init__(self, path: str | os.PathLike[str], sectorsize: int = 512) -> None:
        if sectorsize & (sectorsize - 1) or not MIN_SECTOR <= sectorsize <= MAX_SECTOR:
            raise LogError(f"sector size {sectorsize} is not a power of two in "
                           f"{MIN_SECTOR}..{MAX_SECTOR}: a mark must fit one sector")
        self.path = Path(path)
        self.sectorsize = sectorsize
        self.entries = 0
        self._file: BinaryIO = open(path, "w+b")    # noqa: SIM115 - lives as long as the writer
        self._file.write(_SUPER.pack(MAGIC, VERSION, 0, sectorsize).ljust(sectorsize, b"\0"))
        self._file.flush()

    def _pad(self, data: bytes) -> bytes:
        return data + bytes(-len(data) % self.sectorsize)

    def write(self, sector: int, data: bytes, flags: int = 0) -> None:
        """A write of ``data`` at ``sector``, padded to whole sectors."""
        data = self._pad(data)
        head = _ENTRY.pack(sector, len(data) // self.sectorsize, flags, 0)
        self._file.write(self._pad(head) + data)
        self.entries += 1

    def mark(self, text: str) -> None:
        """A mark; everything up to and with it counts from now on."""
        data = text.encode()
        # The kernel keeps a zero after the text.
        if len(data) > self.sectorsize - _ENTRY.size - 1:
            raise LogError(f"mark of {len(data)} bytes does not fit a sector of "
                           f"{self.sectorsize}: {text!r}")
        self._file.write(self._pad(_ENTRY.pack(0, 0, LogFlag.MARK, len(data)) + data))
        self.entries += 1
        self.flush()

    def flush(self) -> None:
        """Bring ``nr_entries`` up to date, after everything that it counts."""
        self._file.flush()
        self._file.seek(_NR_ENTRIES_AT)
        self._file.write(_NR_ENTRIES.pack(self.entries))
        self._file.flush()
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_log(path: str | os.PathLike[str]) -> tuple[int, Iterator[LogEntry]]:
    """Sector size of a log, and its entries in order.

    Raises :class:`BadMagic`, :class:`BadVersion` or :class:`LogError` at once, and
    :class:`Truncated` when the iterator gets to the entry that is not all there. ``OSError`` is
    passed on. What follows the entries that the super block counts is not read.
    """
    with open(path, "rb") as file:
        head = file.read(_SUPER.size)
    if len(head) < _SUPER.size:
        raise BadMagic(f"{path}: {len(head)} bytes are too few for a dm-log-writes file")
    magic, version, entries, sectorsize = _SUPER.unpack(head)
    if magic != MAGIC:
        raise BadMagic(f"{path}: not a dm-log-writes file (magic 0x{magic:016x}, "
                       f"expected 0x{MAGIC:016x})")
    if version != VERSION:
        raise BadVersion(f"{path}: dm-log-writes version {version}, only {VERSION} is known")
    if sectorsize < _ENTRY.size or sectorsize & (sectorsize - 1) or sectorsize > MAX_SECTOR:
        raise LogError(f"{path}: sector size {sectorsize} is not a power of two in "
                       f"{_ENTRY.size}..{MAX_SECTOR}")
    return sectorsize, _entries(path, entries, sectorsize)


def _entries(path: str | os.PathLike[str], count: int, sectorsize: int) -> Iterator[LogEntry]:
    with open(path, "rb") as file:
        file.seek(sectorsize)

        def sectors(number: int, what: str, index: int) -> bytes:
            data = file.read(number * sectorsize)
            if len(data) < number * sectorsize:
                raise Truncated(f"{path}: ends inside the {what} of entry {index} of {count} "
                                f"(at byte {file.tell()})")
            return data

        size = os.fstat(file.fileno()).st_size
        for index in range(count):
            head = sectors(1, "head", index)
            sector, nr_sectors, flags, data_len = _ENTRY.unpack_from(head)
            if flags & LogFlag.MARK:
                if data_len > sectorsize - _ENTRY.size:
                    raise LogError(f"{path}: mark of {data_len} bytes in entry {index} does not "
                                   f"fit its sector of {sectorsize}")
                yield LogEntry(sector, nr_sectors, LogFlag(flags),
                               head[_ENTRY.size:_ENTRY.size + data_len])
                continue
            data = b""
            if not flags & LogFlag.DISCARD:
                if nr_sectors > size // sectorsize:     # before anybody reserves the memory
                    raise Truncated(f"{path}: entry {index} of {count} claims {nr_sectors} "
                                    f"sectors, more than the file has")
                data = sectors(nr_sectors, "data", index)
            yield LogEntry(sector, nr_sectors, LogFlag(flags), data)


# -- histories --------------------------------------------------------------------------------

_GEOMETRY = ("volumes", "tracks_per_volume", "track_bytes", "sets")


class HistoryWriter:
    """Writes a history while it happens.

    Parameters
    ----------
    path : path
    geometry : Geometry
    image : bytes, optional
        What all volumes hold at the start; zeroes need not be given.
    assignment : sequence of int, optional
        Set of each volume at the start; as after a reset unless given.
    numbers : mapping of set to int, optional
        Chains that each set has committed before.

    Call :meth:`commit`, :meth:`assign` and :meth:`acknowledge` in the order in which they are
    known. Every call is in the file when it returns (as far as the operating system).
    """

    def __init__(self, path: str | os.PathLike[str], geometry: Geometry, *,
                 image: bytes | None = None, assignment: Sequence[int] | None = None,
                 numbers: Mapping[int, int] | None = None) -> None:
        self.geometry = geometry
        self.log = LogWriter(path, sector_size(geometry.track_bytes))
        self.log.mark("farside " + " ".join(f"{n}={getattr(geometry, n)}" for n in _GEOMETRY))
        for set_, number in sorted((numbers or {}).items()):
            if number:
                self.log.mark(f"start set={set_} number={number}")
        if assignment is None:
            assignment = [geometry.initial_set(v) for v in range(geometry.volumes)]
        for volume, set_ in enumerate(assignment):
            self.log.mark(f"assign volume={volume} set={set_}")
        if image is not None and any(image):
            for linear in range(geometry.tracks):
                at = linear * geometry.track_bytes
                data = image[at:at + geometry.track_bytes]
                if any(data):
                    self.log.write(linear * self._track_sectors, data)
            self.log.mark("base")
        self.log.mark("begin")
        self._acknowledged: dict[int, int] = {}

    @property
    def _track_sectors(self) -> int:
        return max(1, self.geometry.track_bytes // self.log.sectorsize)

    def commit(self, set_: int, number: int, writes: Sequence[tuple[int, int, bytes]]) -> None:
        """Chain ``number`` of ``set_`` committed at the source."""
        for volume, track, data in writes:
            self.log.write(self.geometry.linear(volume, track) * self._track_sectors, data)
        self.log.mark(f"chain set={set_} number={number}")

    def assign(self, volume: int, set_: int) -> None:
        """A volume moved to a set."""
        self.log.mark(f"assign volume={volume} set={set_}")

    def acknowledge(self, set_: int, number: int) -> None:
        """The target has committed up to chain ``number``."""
        if number > self._acknowledged.get(set_, 0):
            self._acknowledged[set_] = number
            self.log.mark(f"ack set={set_} number={number}")

    def advance(self, set_: int, number: int) -> None:
        """Chain numbers up to ``number`` went to a resynchronisation."""
        self.log.mark(f"resync set={set_} number={number}")

    def close(self) -> None:
        self.log.close()

    def __enter__(self) -> HistoryWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_history(path: str | os.PathLike[str], history: History) -> None:
    """Write a whole history."""
    numbers = dict(enumerate(history.first))
    with HistoryWriter(path, history.geometry, image=history.initial_image,
                       assignment=history.initial_assignment, numbers=numbers) as out:
        for event in history.events:
            if isinstance(event, Chain):
                out.commit(event.set, event.number,
                           [(w.volume, w.track, w.data) for w in event.writes])
            elif isinstance(event, Assignment):
                out.assign(event.volume, event.set)
            elif isinstance(event, Resync):
                out.advance(event.set, event.number)
            else:
                out.acknowledge(event.set, event.number)


def read_history(path: str | os.PathLike[str], geometry: Geometry | None = None) -> History:
    """Read a history back.

    ``geometry`` supplies what the file does not say (slots, links, rates); its sizes must be those
    of the file. Without it the file's sizes are used with defaults for the rest. Raises
    :class:`NotAHistory` if the marks are missing or contradict each other, and what
    :func:`read_log` raises.
    """
    sectorsize, entries = read_log(path)
    reader = _HistoryReader(Path(path), sectorsize, geometry)
    try:
        for index, entry in enumerate(entries):
            reader.take(index, entry)
    except (HistoryError, GeometryError) as error:
        raise NotAHistory(f"{path}: {error}") from error
    return reader.finish()


class _HistoryReader:
    """Collects writes until a mark says what they were."""

    def __init__(self, path: Path, sectorsize: int, geometry: Geometry | None) -> None:
        self.path = path
        self.sectorsize = sectorsize
        self.geometry = geometry
        self.history: History | None = None
        self.started = False
        self.numbers: dict[int, int] = {}
        self.assignment: list[int] = []
        self.image = bytearray()
        self.writes: list[Write] = []

    def take(self, index: int, entry: LogEntry) -> None:
        text = entry.mark
        if text is not None:
            self._mark(index, text)
        elif not self.started:
            raise NotAHistory(f"{self.path}: entry {index} is not the mark of a farside history; "
                              "record one with 'farside run --history FILE'")
        elif not entry.flags & LogFlag.DISCARD and entry.nr_sectors:
            self._write(index, entry)

    def _write(self, index: int, entry: LogEntry) -> None:
        g = self._require(index)
        sectors = max(1, g.track_bytes // self.sectorsize)
        if entry.sector % sectors or entry.nr_sectors % sectors:
            raise NotAHistory(f"{self.path}: entry {index} writes no whole tracks")
        for n in range(entry.nr_sectors // sectors):
            linear = entry.sector // sectors + n
            if linear >= g.tracks:
                raise NotAHistory(f"{self.path}: entry {index} writes track {linear} of "
                                  f"{g.tracks}")
            at = n * sectors * self.sectorsize
            volume, track = divmod(linear, g.tracks_per_volume)
            self.writes.append(Write(volume, track, entry.data[at:at + g.track_bytes]))

    def _require(self, index: int) -> Geometry:
        if self.geometry is None or not self.started:
            raise NotAHistory(f"{self.path}: entry {index} comes before the geometry")
        return self.geometry

    def _mark(self, index: int, text: str) -> None:
        word, _, rest = text.partition(" ")
        try:
            values = {k: int(v) for k, _, v in (part.partition("=") for part in rest.split())}
        except ValueError:
            values = {}
        try:
            if word == "farside":
                self._start(values)
            elif word == "chain" and self.started:
                self._open().commit(values["set"], self.writes, number=values["number"])
                self.writes = []
            elif word == "ack" and self.started:
                self._open().acknowledge(values["set"], values["number"])
            elif word == "resync" and self.started:
                self._open().advance(values["set"], values["number"])
            elif word == "assign" and self.started:
                self._assign(values["volume"], values["set"])
            elif word == "start" and self.started and self.history is None:
                self.numbers[values["set"]] = values["number"]
            elif word == "base" and self.started and self.history is None:
                self._base()
            elif word == "begin" and self.started:
                self._open()
            # Marks of other tools mean nothing here.
        except KeyError as missing:
            raise NotAHistory(f"{self.path}: mark {text!r} in entry {index} does not give "
                              f"{missing.args[0]!r}") from missing

    def _start(self, values: dict[str, int]) -> None:
        sizes = {name: values[name] for name in _GEOMETRY}
        if self.geometry is None:
            self.geometry = _fill(sizes)
        for name, value in sizes.items():
            if getattr(self.geometry, name) != value:
                raise NotAHistory(f"{self.path}: {name} is {value} in the history but "
                                  f"{getattr(self.geometry, name)} on the board")
        self.started = True
        self.assignment = [self.geometry.initial_set(v) for v in range(self.geometry.volumes)]
        self.image = bytearray(self.geometry.image_bytes)

    def _assign(self, volume: int, set_: int) -> None:
        if self.history is not None:
            self.history.assign(volume, set_)
            return
        assert self.geometry is not None
        self.geometry.check(volume, 0)
        self.assignment[volume] = set_

    def _base(self) -> None:
        assert self.geometry is not None
        size = self.geometry.track_bytes
        for write in self.writes:
            at = self.geometry.linear(write.volume, write.track) * size
            self.image[at:at + size] = write.data
        self.writes = []

    def _open(self) -> History:
        """The history; its preamble ends here."""
        assert self.geometry is not None
        if self.history is None:
            self.history = History(self.geometry, image=bytes(self.image),
                                   assignment=self.assignment, numbers=self.numbers)
        return self.history

    def finish(self) -> History:
        if not self.started:
            raise NotAHistory(f"{self.path}: no marks of a farside history; record one with "
                              "'farside run --history FILE'")
        return self._open()


def _fill(sizes: dict[str, int]) -> Geometry:
    """A geometry with these sizes, and of everything else the least that is valid."""
    per_set = max(20, -(-sizes["volumes"] // max(1, sizes["sets"])))
    return Geometry(**sizes, links=1, chain_limit=1, spare_slots=3, staging_slots=1,
                    volumes_per_set=min(128, per_set))


__all__ = ["Acknowledgement", "BadMagic", "BadVersion", "HistoryWriter", "LogEntry", "LogError",
           "LogFlag", "LogWriter", "NotAHistory", "Truncated", "read_history", "read_log",
           "sector_size", "write_history"]
