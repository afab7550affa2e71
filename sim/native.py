"""The simulated board inside this process: cycle-exact, and time passes only when it is told to.

The same gateware, model and host lines as :mod:`sim.board`, as a shared library. Nothing depends on
the machine's clock, so equal calls give equal results, to the last clock. Python is at work once
a frame, never once a clock. What is to be judged (tables, images) is read in the model's memory:
looking takes no simulated time and disturbs nothing.
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_model import wire
from firmware_model.geometry import Geometry
from firmware_model.mutations import Mutation

from . import waves as waves_module
from .board import SimulationError
from .build import Build, Spec, build, gateware_digest

__all__ = ["SHARED_TOP", "Event", "Layout", "Memory", "NativeBoard", "Pages", "Side", "Snapshot",
           "TrackState", "gateware", "prepare"]

TOP = "sim.tapped:TappedBoard"
FAULTY_TOP = "sim.tapped:FaultyBoard"
SHARED_TOP = "sim.tapped:SharedTappedBoard"
READ_CHUNK = 4096
DOWN_TIMES = 24         # where the links' are in the counters' memory, see hdl/counters.py
LINK_COUNTERS = 32      # and their other counters
RESET_CLOCKS = 4        # the inputs are registered; a line engine resets its parts a clock later


class Side(enum.IntEnum):
    """One of the two systems, or its host line."""

    SOURCE = 0
    TARGET = 1


class Event(enum.IntFlag):
    """Why :meth:`NativeBoard.run` has ended early."""

    NOTHING = 0
    SOURCE_FRAME = 1
    TARGET_FRAME = 2
    LOGGED = 4


@dataclass(frozen=True)
class Memory:
    """A memory of the gateware: ``rows`` of ``element`` bytes each from ``address`` on."""

    number: int
    name: str
    address: int
    element: int
    rows: int


class Pages:
    """The set pages of one system at one moment."""

    def __init__(self, data: bytes, sets: int) -> None:
        self._words: tuple[int, ...] = struct.unpack(f"<{sets * wire.SET_PAGE_WORDS}H", data)
        self.sets = sets

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pages) and self._words == other._words

    __hash__ = None     # type: ignore[assignment]

    def word(self, set_: int, word: int) -> int:
        return self._words[wire.SET_PAGE_WORDS * set_ + word]

    def chains(self, set_: int) -> int:
        """Chains committed on this side."""
        return (self.word(set_, wire.SetWord.CHAINS_LOW)
                | self.word(set_, wire.SetWord.CHAINS_HIGH) << 16)

    def acked(self, set_: int) -> int:
        """Source: chains known to be committed at the target."""
        return (self.word(set_, wire.SetWord.ACKED_LOW)
                | self.word(set_, wire.SetWord.ACKED_HIGH) << 16)

    @property
    def life(self) -> int:
        """Target: the source's life that it follows. See hdl/recovery.py for the place."""
        return self.word(0, wire.SetWord.GROUP + 2 * wire.GROUP_WORDS - 1)

    def flags(self, set_: int) -> wire.TargetFlag:
        """Target's, of a set."""
        return wire.TargetFlag(self.word(set_, wire.SetWord.FLAGS))

    def settled(self, set_: int) -> bool:
        """Source: the target has everything, and the source knows."""
        return (self.word(set_, wire.SetWord.UNSENT) == 0
                and (self.word(set_, wire.SetWord.NEXT) - 1) & 0xFFFF
                == self.word(set_, wire.SetWord.DONE)
                and self.acked(set_) == self.chains(set_))


@dataclass(frozen=True)
class TrackState:
    """Source table entry of one track; see :func:`hdl.interfaces.SourceState`."""

    slot: int
    pending: bool
    packet: bool
    waiter: bool


@dataclass(frozen=True)
class Layout:
    """Where the tables of a geometry lie in a snapshot: (offset, element, rows) of each memory by
    its name, which is ``page``, ``state`` and ``data`` of a side, ``link`` and ``volume`` of the
    source."""

    geometry: Geometry
    at: dict[tuple[Side, str], tuple[int, int, int]]
    size: int

    @property
    def slot_bits(self) -> int:
        return slot_bits(self.geometry)


class Snapshot:
    """The tables of both systems in the clock in which a word changed that is watched.

    What is asked for is taken out of them then, so a look costs no more than what it sees.

    Parameters
    ----------
    clock : int
    layout : Layout
    data : bytes
        The memories, as :class:`Layout` has them.
    """

    def __init__(self, clock: int, layout: Layout, data: bytes) -> None:
        self.clock = clock
        self._layout = layout
        self._data = data

    def _rows(self, side: Side, name: str) -> tuple[int, ...]:
        offset, element, rows = self._layout.at[side, name]
        return struct.unpack_from(f"<{rows}{_FORMATS[element]}", self._data, offset)

    def pages(self, side: Side) -> Pages:
        offset, element, rows = self._layout.at[side, "page"]
        return Pages(self._data[offset:offset + element * rows], self._layout.geometry.sets)

    def image(self, side: Side) -> bytes:
        """All volumes, in order; torn while a chain is being committed there."""
        g = self._layout.geometry
        size, mask = g.track_bytes, (1 << self._layout.slot_bits) - 1
        offset, element, rows = self._layout.at[side, "data"]
        states = self._rows(side, "state")
        pieces = []
        for volume in range(g.volumes):
            first = g.index(volume, 0)
            for state in states[first:first + g.tracks_per_volume]:
                at = (state & mask) * size
                pieces.append(self._data[offset + at:offset + at + size]
                              if at + size <= element * rows else b"\xee" * size)
        return b"".join(pieces)

    def slots(self) -> tuple[int, ...]:
        """Slot of each track of the source, by track index."""
        mask = (1 << self._layout.slot_bits) - 1
        return tuple(state & mask for state in self._rows(Side.SOURCE, "state"))

    def tracks(self) -> list[TrackState]:
        """Source table, by track index."""
        bits = self._layout.slot_bits
        return [TrackState(state & (1 << bits) - 1, bool(state >> bits & 1),
                           bool(state >> bits + 1 & 1), bool(state >> bits + 2 & 1))
                for state in self._rows(Side.SOURCE, "state")]

    def links(self) -> list[tuple[int, bool]]:
        """Order list of the source by track index: (next, end of chain)."""
        bits = self._layout.geometry.track_index_bits
        return [(link & (1 << bits) - 1, bool(link >> bits & 1))
                for link in self._rows(Side.SOURCE, "link")]

    def volumes(self) -> list[tuple[int, bool]]:
        """(set, disconnected) of each volume of the source."""
        return _volumes(self._layout.geometry, self._rows(Side.SOURCE, "volume"))


def _volumes(geometry: Geometry, rows: Sequence[int]) -> list[tuple[int, bool]]:
    """(set, disconnected) out of the rows of the volume table."""
    bits = geometry.set_bits
    return [(row & (1 << bits) - 1, bool(row >> bits & 1)) for row in rows[:geometry.volumes]]


_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}

# What a snapshot holds of each side, and where that lies below its core.
_TABLES = {
    Side.SOURCE: {"page": "metadata.page", "state": "metadata.state",
                  "data": "data_memory.memory", "link": "metadata.link",
                  "volume": "metadata.volume"},
    Side.TARGET: {"page": "metadata.page", "state": "metadata.state",
                  "data": "data_memory.memory"},
}

# A change of these words ends a run: commits and cuts at the source, and what it has cleared;
# commits at the target, and what it follows.
_WATCHED = {
    Side.SOURCE: (wire.SetWord.CHAINS_LOW, wire.SetWord.NEXT, wire.SetWord.DONE),
    Side.TARGET: (wire.SetWord.CHAINS_LOW, wire.SetWord.FLAGS),
}


def slot_bits(geometry: Geometry) -> int:
    """Bits of a slot number in the tables, as in :func:`hdl.interfaces.slot_shape`."""
    return max(1, (max(geometry.source_slots, geometry.target_slots) - 1).bit_length())


class _Library:
    """A loaded board. There is one model in it, so one :class:`NativeBoard` at a time."""

    _by_spec: dict[Spec, _Library] = {}
    _by_path: dict[Path, _Library] = {}    # specs may share a Verilog

    def __init__(self, made: Build) -> None:
        self.signals = made.signals
        library = ctypes.CDLL(str(made.executable))
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        word, long = ctypes.c_uint32, ctypes.c_int64
        numbers = ctypes.POINTER(word)
        signatures: dict[str, tuple[object, list[object]]] = {
            "error": (ctypes.c_char_p, []),
            "start": (long, [ctypes.c_double, *[word] * 7, ctypes.c_char_p,
                             ctypes.c_uint64]),
            "stop": (None, []),
            "clock": (ctypes.c_uint64, []),
            "run": (long, [ctypes.c_uint64]),
            "write": (long, [ctypes.c_int, ctypes.c_char_p, size]),
            "read": (long, [ctypes.c_int, pointer, size]),
            "unsent": (long, [ctypes.c_int]),
            "links_up": (long, [ctypes.c_int]),
            "poke": (long, [word, word]),
            "reset": (None, [ctypes.c_int, ctypes.c_int, word]),
            "memories": (long, []),
            "memory": (long, [long, *[ctypes.POINTER(kind) for kind in (
                ctypes.c_char_p, pointer, size, size)]]),
            "forget": (long, [long]),
            "image": (long, [long, long, numbers, size, word, size, pointer]),
            "watch": (long, [long, size]),
            "record": (long, [long]),
            "record_image": (long, [long, long, numbers, size, word, size]),
            "log": (pointer, [ctypes.POINTER(size)]),
        }
        self.functions: dict[str, Callable[..., int]] = {}
        for name, (result, arguments) in signatures.items():
            function = getattr(library, f"farside_{name}")
            function.restype, function.argtypes = result, arguments
            self.functions[name] = function
        self.owner: weakref.ref[NativeBoard] | None = None

    @classmethod
    def load(cls, spec: Spec, progress: Callable[[str], None] | None) -> _Library:
        """Loaded before, found in the cache or built; sources are looked at once a process."""
        if spec not in cls._by_spec:
            made = build(spec, progress)
            if made.executable not in cls._by_path:
                cls._by_path[made.executable] = cls(made)
            cls._by_spec[spec] = cls._by_path[made.executable]
        return cls._by_spec[spec]


def _spec(geometry: Geometry, faulty: bool, trace: str = "", top: str = "",
          garbled: bool = False) -> Spec:
    return Spec(geometry, top=top or (FAULTY_TOP if faulty else TOP), flow="native", trace=trace,
                garbled=garbled)


def prepare(geometry: Geometry, faulty: bool = False,
            progress: Callable[[str], None] | None = None, *, top: str = "") -> None:
    """Build the gateware of a geometry if that was not done before; ``faulty`` is the one that
    can have a mutation, ``top`` as of :class:`NativeBoard`. Raises BuildError."""
    build(_spec(geometry, faulty, top=top), progress)


def gateware() -> str:
    """Short name of the source text that all boards here are made from."""
    return gateware_digest(_spec(Geometry(), False))


class NativeBoard:
    """A source, a target and the links between them, at power-up.

    Boards of the same gateware share one loaded library with one model in it: starting one ends
    the one before, which raises :class:`~sim.board.SimulationError` if it is used again.

    Parameters
    ----------
    geometry : Geometry
        Sizes and line rates.
    seed : int
        Of the channel emulators' generators.
    delay, byte_error, frame_loss : int
        What the channels' registers hold at the start (``wire.Channel``).
    link_baud : int or None
        Another line rate of the links than the geometry's.
    mutation : Mutation or None
        A deliberate fault, for mutation tests only.
    faulty : bool
        Take the gateware that can have a mutation, which is the same to the clock, also without.
    top : str
        ``module:class`` of another board with the ports of :class:`sim.tapped.TappedBoard`.
    garbled : bool
        See :mod:`sim.garble`.
    waves : path or None
        Write waveforms there, ``.vcd`` or ``.fst``; complete after :meth:`close`.
    waves_start : int
        First clock to trace.
    progress : callable or None
        Called with the name of each stage of the build that is needed.

    Attributes
    ----------
    memories : dict
        :class:`Memory` by name without ``board.``.

    Raises
    ------
    BuildError
        By the constructor.
    SimulationError
        By any call that the board cannot follow.
    """

    def __init__(self, geometry: Geometry, *, seed: int = 1, delay: int = 0, byte_error: int = 0,
                 frame_loss: int = 0, link_baud: int | None = None,
                 mutation: Mutation | None = None, faulty: bool = False, top: str = "",
                 garbled: bool = False, waves: str | os.PathLike[str] | None = None,
                 waves_start: int = 0, progress: Callable[[str], None] | None = None) -> None:
        self.geometry = geometry
        path = Path(waves) if waves is not None else None
        if path is not None and path.suffix not in (".vcd", ".fst"):
            raise SimulationError(f"waveform file {path} must end in .vcd or .fst")
        self._library = library = _Library.load(
            _spec(geometry, faulty or mutation is not None,
                  path.suffix[1:] if path is not None else "", top, garbled), progress)
        self._library.owner = weakref.ref(self)
        self._functions = self._library.functions
        self._generation = [0, 0]
        self._buffer = ctypes.create_string_buffer(READ_CHUNK)
        self._call("start", geometry.clock_hz, geometry.divisor(geometry.host_baud),
                   geometry.divisor(link_baud or geometry.link_baud), delay, byte_error,
                   frame_loss, seed, _fault_number(mutation),
                   None if path is None else os.fsencode(path), waves_start)
        if path is not None:
            waves_module.write_companions(library.signals, path)
        self.memories = dict(self._find_memories())
        self._layouts = [self._layout(side) for side in Side]
        self._tables: Layout | None = None

    def _call(self, name: str, *arguments: object) -> int:
        if self._library.owner is None or self._library.owner() is not self:
            raise SimulationError(
                "this board has ended, or another of the same gateware was started")
        result = self._functions[name](*arguments)
        if isinstance(result, int) and result < 0:
            raise SimulationError(_text(self._functions["error"]()))
        return result

    def close(self) -> None:
        """End the board; waveforms are complete then. More than once does no harm."""
        if self._library.owner is not None and self._library.owner() is self:
            self._functions["stop"]()
            self._library.owner = None

    # -- time --------------------------------------------------------------------------------

    @property
    def clock(self) -> int:
        """Clocks since power-up."""
        return self._call("clock")

    def run(self, clocks: int) -> Event:
        """Run at most so many clocks; less if a frame arrives on a host line or something is
        logged."""
        return Event(self._call("run", clocks))

    # -- host lines --------------------------------------------------------------------------

    def write(self, side: Side, data: bytes) -> None:
        """Queue bytes for a host line; 16 KiB may wait."""
        self._call("write", side, data, len(data))

    def read(self, side: Side) -> bytes:
        """Bytes that have arrived on a host line."""
        pieces = []
        while (count := self._call("read", side, self._buffer, READ_CHUNK)) > 0:
            pieces.append(self._buffer.raw[:count])
        return b"".join(pieces)

    def unsent(self, side: Side) -> int:
        """Bytes that wait to be sent to a system."""
        return self._call("unsent", side)

    def links_up(self, side: Side) -> int:
        """Bit n: link n has a session."""
        return self._call("links_up", side)

    # -- faults ------------------------------------------------------------------------------

    def poke(self, link: int, register: wire.Channel, value: int) -> None:
        """Write a register of a link's channel emulator, from outside of both systems."""
        self._call("poke", wire.CHANNEL_STRIDE * link + register, value)

    def reset(self, side: Side, *, lose_memory: bool = False) -> None:
        """Reset a system; takes a few clocks. Its memories keep their contents unless they are
        to be lost: then they are as at power-up."""
        self._generation[side] = (self._generation[side] + 1) % 256
        self._call("reset", side, 1, self._generation[side])
        self._pass(RESET_CLOCKS)
        if lose_memory:
            scope = f"{side.name.lower()}."
            for name, memory in self.memories.items():
                if name.startswith(scope):
                    self._call("forget", memory.number)
        self._call("reset", side, 0, self._generation[side])

    def _pass(self, clocks: int) -> None:
        end = self.clock + clocks
        while self.clock < end:
            self.run(end - self.clock)

    # -- memories ----------------------------------------------------------------------------

    def _find_memories(self) -> Iterator[tuple[str, Memory]]:
        name, data = ctypes.c_char_p(), ctypes.c_void_p()
        element, rows = ctypes.c_size_t(), ctypes.c_size_t()
        for number in range(self._call("memories")):
            self._call("memory", number, *map(ctypes.byref, (name, data, element, rows)))
            known = _text(name.value).removeprefix("board.")
            yield known, Memory(number, known, data.value or 0, element.value, rows.value)

    def contents(self, name: str) -> bytes:
        """A memory as it is, row after row."""
        memory = self.memories[name]
        return ctypes.string_at(memory.address, memory.element * memory.rows)

    def _layout(self, side: Side) -> tuple[object, ...]:
        g = self.geometry
        core = f"{side.name.lower()}.core"
        rows = [g.index(v, t) for v in range(g.volumes) for t in range(g.tracks_per_volume)]
        return (self._memory(f"{core}.metadata.state").number,
                self._memory(f"{core}.data_memory.memory").number,
                (ctypes.c_uint32 * len(rows))(*rows), len(rows), (1 << slot_bits(g)) - 1,
                g.track_bytes)

    def _memory(self, name: str) -> Memory:
        if name not in self.memories:
            raise SimulationError(f"the model has no memory {name}: has Verilator renamed it?")
        return self.memories[name]

    def image(self, side: Side) -> bytes:
        """All volumes, in order, as their last committed versions are now."""
        into = ctypes.create_string_buffer(self.geometry.image_bytes)
        self._call("image", *self._layouts[side], into)
        return into.raw

    def pages(self, side: Side) -> Pages:
        """The set pages of a system as they are now."""
        return Pages(self.contents(f"{side.name.lower()}.core.metadata.page"), self.geometry.sets)

    def counters(self, side: Side) -> tuple[int, ...]:
        """The counters of a system: ``wire.Counter``."""
        return self._counters(side)[:len(wire.Counter)]

    def link_counters(self, side: Side, link: int) -> tuple[int, ...]:
        """The counters of one of its links: ``wire.LinkCounter``."""
        values, each = self._counters(side), len(wire.LinkCounter) - 1
        at = LINK_COUNTERS + each * link
        return (*values[at:at + each], values[DOWN_TIMES + link])

    def _counters(self, side: Side) -> tuple[int, ...]:
        data = self.contents(f"{side.name.lower()}.core.counters.memory")
        return struct.unpack(f"<{len(data) // 4}I", data)

    def volumes(self) -> list[tuple[int, bool]]:
        """(set, disconnected) of each volume of the source."""
        data = self.contents("source.core.metadata.volume")
        element = self._memory("source.core.metadata.volume").element
        return _volumes(self.geometry, struct.unpack(f"<{len(data) // element}{_FORMATS[element]}",
                                                     data))

    def channel(self, link: int) -> tuple[int, ...]:
        """The registers of a link's channel emulator, by ``wire.Channel``."""
        data = self.contents(f"channel_{link}.page.words")
        return struct.unpack(f"<{len(data) // 4}I", data)

    # -- the log -----------------------------------------------------------------------------

    def watch_commits(self) -> None:
        """From now on take a :class:`Snapshot` whenever a chain commits on either side, a group is
        cut or cleared, or the target follows the source in another way."""
        at: dict[tuple[Side, str], tuple[int, int, int]] = {}
        size = 0
        for side, tables in _TABLES.items():
            for name, place in tables.items():
                memory = self._memory(f"{side.name.lower()}.core.{place}")
                self._call("record", memory.number)
                at[side, name] = size, memory.element, memory.rows
                size += memory.element * memory.rows
            page = self._memory(f"{side.name.lower()}.core.metadata.page").number
            for set_ in range(self.geometry.sets):
                for word in _WATCHED[side]:
                    self._call("watch", page, wire.SET_PAGE_WORDS * set_ + word)
        self._tables = Layout(self.geometry, at, size)

    def watch(self, side: Side, set_: int, word: int) -> None:
        """From now on :meth:`run` ends, with LOGGED, in the clock in which this word of a set's
        page changes. Not together with :meth:`watch_commits`."""
        page = self._memory(f"{side.name.lower()}.core.metadata.page")
        self._call("watch", page.number, wire.SET_PAGE_WORDS * set_ + word)

    def snapshots(self) -> Sequence[Snapshot]:
        """What was logged since the last call."""
        size = ctypes.c_size_t()
        address = self._call("log", ctypes.byref(size))
        if not size.value or self._tables is None:
            return ()
        data = ctypes.string_at(address, size.value)
        length = 8 + self._tables.size
        return [Snapshot(int.from_bytes(data[at:at + 8], "little"), self._tables,
                         data[at + 8:at + length])
                for at in range(0, len(data), length)]


def _fault_number(mutation: Mutation | None) -> int:
    """As :class:`hdl.mutations.Selected` numbers it, without importing Amaranth."""
    return 0 if mutation is None else 1 + list(Mutation).index(Mutation(mutation))


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
