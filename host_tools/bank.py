"""The bank: a SQLite database whose pages are tracks of a source, one chain a transaction.

SQLite runs with ``journal_mode=OFF``: it keeps no journal, and nothing but the atomicity of
chains protects it. If the mirror applied half a chain, the far copy would in most cases be a
broken database, or its books would not balance. A real program's opinion is worth having and is
not enough: two transfers between other accounts may change places and nobody could tell from the
books. The exact check is the oracle's (:mod:`firmware_model.oracle`), byte for byte.

``cache_spill=off`` keeps SQLite from writing before it commits, ``synchronous=FULL`` makes it
call ``xSync`` once a commit, ``locking_mode=EXCLUSIVE`` saves it rewriting page 1 every time.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw

from firmware_model.geometry import Geometry

from .chains import State, Ticket, Write
from .errors import FarsideError, UsageError

if TYPE_CHECKING:
    from .workloads import Store

SMALLEST_PAGE = 512     # SQLite's lower bound
HEADER = b"SQLite format 3\0"
PAGE_SIZE_AT = 16
PAGE_COUNT_AT = 28
START_BALANCE = 1000
OPENED_AT_ONCE = 250    # accounts opened by one transaction: about thirty pages of 512 bytes
MOST_ACCOUNTS = 1000    # about a hundred pages: so many that neighbours in time rarely collide
NOTE_BYTES = 24         # longest note; its changing length makes SQLite rearrange pages
ROW_BYTES = 24 + NOTE_BYTES
FULLEST = 0.5           # pages half empty after splits must still fit
TRANSFERS = 3           # most transfers of one transaction
SPARE_PAGES = 6         # a transaction also rewrites the books, parents and a split's neighbours

_serial = itertools.count()


class BankError(FarsideError):
    """The database cannot live on this board, or SQLite refuses it."""


@dataclass(frozen=True)
class Extent:
    """Where the database lies: the volumes of one set, end to end."""

    geometry: Geometry
    volumes: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Geometry, volume_set: Sequence[int]) -> Extent:
        """All volumes in the set of volume 0."""
        return cls(geometry, tuple(v for v, s in enumerate(volume_set) if s == volume_set[0]))

    @property
    def tracks(self) -> int:
        return len(self.volumes) * self.geometry.tracks_per_volume

    @property
    def page_size(self) -> int:
        return max(SMALLEST_PAGE, self.geometry.track_bytes)

    def place(self, number: int) -> tuple[int, int]:
        volume, track = divmod(number, self.geometry.tracks_per_volume)
        return self.volumes[volume], track

    def extract(self, image: bytes) -> bytes:
        """The database's bytes out of an image of all volumes."""
        size = self.geometry.tracks_per_volume * self.geometry.track_bytes
        return b"".join(image[v * size:(v + 1) * size] for v in self.volumes)

    @property
    def chain_pages(self) -> int:
        """Pages that the longest chain can change, beyond those any transaction may."""
        return (self.geometry.chain_limit * self.geometry.track_bytes // self.page_size
                - SPARE_PAGES)

    def accounts(self) -> int:
        """How many accounts fit with room to spare."""
        room = int(self.tracks * self.geometry.track_bytes * FULLEST) - 4 * self.page_size
        return min(MOST_ACCOUNTS, room // ROW_BYTES)


def database_bytes(data: bytes) -> int:
    """Length of the database that starts at ``data``; 0 if there is none."""
    if not data.startswith(HEADER):
        return 0
    page = int.from_bytes(data[PAGE_SIZE_AT:PAGE_SIZE_AT + 2], "big")
    count = int.from_bytes(data[PAGE_COUNT_AT:PAGE_COUNT_AT + 4], "big")
    return (65536 if page == 1 else page) * count


class _File:
    """The database as SQLite's VFS sees it: writes gather until ``xSync`` makes them a chain."""

    def __init__(self, store: Store, extent: Extent, submitted: Callable[[Ticket], None],
                 depth: int) -> None:
        self.store = store
        self.extent = extent
        self.submitted = submitted
        self.depth = depth
        self.tickets: list[Ticket] = []
        self.error: BaseException | None = None
        self._cache: dict[int, bytes] = {}
        self._dirty: dict[int, None] = {}
        self._size = database_bytes(self._track(0) if extent.geometry.track_bytes >= 32
                                    else self._track(0) + self._track(1))

    def _track(self, number: int) -> bytes:
        """A track as last written, from the cache or the board."""
        if number not in self._cache:
            try:
                self._cache[number] = self.store.read(*self.extent.place(number))
            except BaseException as error:
                self.error = error
                raise
        return self._cache[number]

    def xRead(self, amount: int, offset: int) -> bytes:
        size = self.extent.geometry.track_bytes
        amount = max(0, min(amount, self._size - offset))
        tracks = range(offset // size, -(-(offset + amount) // size))
        data = b"".join(map(self._track, tracks))
        start = offset - tracks.start * size
        return data[start:start + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        size = self.extent.geometry.track_bytes
        if offset + len(data) > self.extent.tracks * size:
            self.error = BankError(
                f"the database needs more than the {self.extent.tracks} tracks of its set")
            raise apsw.FullError
        at = 0
        while at < len(data):
            number, start = divmod(offset + at, size)
            piece = data[at:at + size - start]
            old = self._track(number) if len(piece) < size else b""
            self._cache[number] = old[:start] + piece + old[start + len(piece):]
            self._dirty[number] = None
            at += len(piece)
        self._size = max(self._size, offset + len(data))

    def xSync(self, flags: int) -> bool:
        chain: list[Write] = [(*self.extent.place(n), self._cache[n]) for n in self._dirty]
        self._dirty.clear()
        if not chain:
            return True
        try:
            ticket = self.store.submit(chain, depth=self.depth)
            self.tickets = [t for t in self.tickets if not t.done] + [ticket]
            self.submitted(ticket)
        except BaseException as error:      # an interrupt too must find its way around SQLite
            self.error = error
            raise apsw.IOError from error
        return True

    def xTruncate(self, size: int) -> bool:
        self._size = size
        return True

    def xFileSize(self) -> int:
        return self._size

    def xLock(self, level: int) -> None: ...

    def xUnlock(self, level: int) -> None: ...

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return self.extent.page_size

    def xDeviceCharacteristics(self) -> int:
        return 0

    def xClose(self) -> None: ...

    def raise_failed(self) -> None:
        for ticket in self.tickets:
            if ticket.state is State.FAILED and ticket.error is not None:
                raise ticket.error


class _VFS(apsw.VFS):
    def __init__(self, name: str, file: _File) -> None:
        self._file = file
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        if not flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            raise apsw.CantOpenError    # nothing but the database goes to a file
        flags[1] = flags[0]
        return self._file

    def xDelete(self, name: str, sync_dir: bool) -> None: ...

    def xAccess(self, path: str, flags: int) -> bool:
        return False

    def xFullPathname(self, name: str) -> str:
        return name


@contextmanager
def database(store: Store, submitted: Callable[[Ticket], None] = lambda _: None,
             depth: int = 1) -> Iterator[apsw.Connection]:
    """An SQLite connection to the database on ``store``; every transaction becomes one chain.

    What goes wrong between SQLite and the board is raised as the board's error, not as SQLite's.
    """
    extent = Extent.of(store.geometry, store.volume_set)
    file = _File(store, extent, submitted, depth)
    name = f"farside-{next(_serial)}"
    vfs = _VFS(name, file)
    connection = None
    try:
        connection = apsw.Connection("bank", vfs=name)
        for pragma in ("locking_mode=EXCLUSIVE", f"page_size={extent.page_size}",
                       "journal_mode=OFF", "synchronous=FULL", "cache_spill=OFF",
                       "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        yield connection
        file.raise_failed()
    except (apsw.Error, OSError) as error:
        if file.error is not None:
            raise file.error from None
        raise BankError(f"SQLite: {error}") from error
    finally:
        if connection is not None:
            connection.close()
        vfs.unregister()


def _open_accounts(connection: apsw.Connection, first: int, count: int) -> None:
    """One transaction: ``count`` new accounts, and the books' idea of what they add up to."""
    with connection:
        connection.executemany(
            "INSERT INTO account(id, balance, note) VALUES(?, ?, ?)",
            [(n, START_BALANCE, "n" * NOTE_BYTES) for n in range(first, first + count)])
        connection.execute("UPDATE books SET accounts = accounts + ?, total = total + ?",
                           (count, count * START_BALANCE))


def _transfer(connection: apsw.Connection, rng: random.Random, accounts: int,
              most: int) -> None:
    """One transaction: a few transfers, which keep the sum of all balances."""
    with connection:
        for _ in range(rng.randint(1, most)):
            giver, taker = rng.sample(range(accounts), 2)
            amount = rng.randint(1, 100)
            note = "x" * rng.randint(0, NOTE_BYTES)
            connection.execute("UPDATE account SET balance = balance - ?, note = ? WHERE id = ?",
                               (amount, note, giver))
            connection.execute("UPDATE account SET balance = balance + ? WHERE id = ?",
                               (amount, taker))


def run_bank(store: Store, chains: int, seed: int,
             submitted: Callable[[Ticket], None] = lambda _: None, depth: int = 1) -> None:
    """Open the bank if it is not there yet, and do transfers, ``chains`` chains in all."""
    rng = random.Random(f"bank {seed}")
    extent = Extent.of(store.geometry, store.volume_set)
    accounts = extent.accounts()
    if accounts < 2:
        raise UsageError(f"{extent.tracks} tracks of {store.geometry.track_bytes} bytes are too "
                         "few for the bank: give its set more volumes")
    if extent.chain_pages < 2:
        raise UsageError(f"chains of {store.geometry.chain_limit} tracks of "
                         f"{store.geometry.track_bytes} bytes are too short for the bank")
    at_once = min(OPENED_AT_ONCE, extent.chain_pages * extent.page_size // ROW_BYTES)
    most = max(1, min(TRANSFERS, extent.chain_pages // 2))
    done = 0

    def count(ticket: Ticket) -> None:
        nonlocal done
        done += 1
        submitted(ticket)

    with database(store, count, depth) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'books'").fetchall():
            with connection:
                connection.execute("CREATE TABLE account(id INTEGER PRIMARY KEY, "
                                   "balance INTEGER NOT NULL, note TEXT NOT NULL)")
                connection.execute("CREATE TABLE books(accounts INTEGER, total INTEGER)")
                connection.execute("INSERT INTO books VALUES(0, 0)")
        opened: int = _row(connection, "SELECT count(*) FROM account")[0]
        while done < chains and opened < accounts:
            some = min(at_once, accounts - opened)
            _open_accounts(connection, opened, some)
            opened += some
        while done < chains:
            _transfer(connection, rng, opened, most)


@dataclass(frozen=True)
class Audit:
    """What SQLite and the books say about one image."""

    integrity: str          # "ok", or SQLite's first complaint
    accounts: int
    total: int
    expected_accounts: int
    expected_total: int

    @property
    def empty(self) -> bool:
        """No database yet: the state before the first chain."""
        return self.integrity == "ok" and self.expected_accounts < 0

    @property
    def ok(self) -> bool:
        return self.empty or (self.integrity == "ok" and self.accounts == self.expected_accounts
                              and self.total == self.expected_total)

    def as_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "integrity": self.integrity, "accounts": self.accounts,
                "total": self.total, "expected_accounts": self.expected_accounts,
                "expected_total": self.expected_total}


def _row(connection: apsw.Connection, query: str) -> tuple[Any, ...]:
    """The first row of an answer."""
    return connection.execute(query).fetchall()[0]


def audit(data: bytes) -> Audit:
    """Open the database in ``data`` (see :meth:`Extent.extract`) and check it.

    Nothing is written anywhere: SQLite works on a copy in memory.
    """
    size = database_bytes(data)
    if size == 0 and not any(data):
        return Audit("ok", 0, 0, -1, -1)
    if size == 0 or size > len(data):
        return Audit("no SQLite header", 0, 0, -1, -1)
    connection = apsw.Connection(":memory:")
    try:
        connection.deserialize("main", data[:size])
        complaint, = _row(connection, "PRAGMA integrity_check")
        total, accounts = _row(
            connection, "SELECT coalesce(sum(balance), 0), count(*) FROM account")
        expected, expected_total = _row(connection, "SELECT accounts, total FROM books")
    except apsw.Error as error:
        return Audit(str(error), 0, 0, -1, -1)
    finally:
        connection.close()
    return Audit(str(complaint), accounts, total, expected, expected_total)
