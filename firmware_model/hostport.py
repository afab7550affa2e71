"""What both storage systems' host ports have in common: frames in, answers out, registers.

A host frame is given as its type, its header and its payload, since malformed ones must be
possible; an answer is a decoded :class:`Answer`.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass

from . import wire
from .geometry import MAX_DIVISOR, MIN_DIVISOR, Geometry
from .wire import Code, Counter, LinkCounter, Reg, Role, Type


@dataclass(frozen=True)
class Answer:
    """A frame towards the host: its type, its header fields by name, its payload."""

    type: Type
    fields: dict[str, int]
    payload: bytes = b""

    @property
    def code(self) -> Code:
        """Code of the answer (RECONNECT has none: OK)."""
        return Code(self.fields.get("code", Code.OK))


_WRITABLE = {r.address for r in wire.REGISTERS if r.writable}
_ROLES = {r.address: r.roles for r in wire.REGISTERS}


class HostPort:
    """Base of :class:`Source` and :class:`Target`: dispatches host frames, keeps counters.

    Answers are appended to :attr:`answers` in the order in which they would be sent.
    """

    role: Role

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.answers: list[Answer] = []
        self.counters: Tally[Counter] = Tally()
        self.link_counters: list[Tally[LinkCounter]] = [Tally() for _ in range(geometry.links)]
        self.registers: dict[int, int] = {}

    def count(self, counter: Counter, by: int = 1) -> None:
        self.counters[counter] += by

    def answer(self, type_: Type, payload: bytes = b"", **fields: int) -> None:
        self.answers.append(Answer(type_, fields, payload))

    def error(self, tag: int, code: Code, type_: int) -> None:
        """A well-formed frame that cannot be acted on."""
        self.count(Counter.HOST_ERRORS)
        self.answer(Type.ERROR, tag=tag, code=code, type=type_)

    def take_answers(self) -> list[Answer]:
        """Answers so far, and forget them."""
        answers, self.answers = self.answers, []
        return answers

    # -- frames ------------------------------------------------------------------------------

    def host(self, type_: int, payload: bytes = b"", header: bytes | None = None,
             **fields: int) -> None:
        """One sequenced frame from the host. Give ``header`` raw, or ``fields`` by name."""
        if header is None:
            header = bytes(wire.HEADER_BYTES)
            if type_ in wire.FRAMES:
                frame = wire.pack(Type(type_), 0, b"", **fields)
                header = frame[wire.PREFIX_BYTES:wire.PREFIX_BYTES + wire.HEADER_BYTES]
        self.count(Counter.HOST_FRAMES)
        tag = header[0] | header[1] << 8
        if type_ == Type.CHAIN:
            self.host_chain(tag, header[2], header[3], payload)
        elif type_ == Type.WRITE:
            self.host_write(tag, header[2], payload)
        elif type_ == Type.READ:
            self._host_read(tag, header[2], header[3] | header[4] << 8,
                            header[5] | header[6] << 8, payload)
        elif type_ == Type.REG_READ:
            self._host_reg_read(tag, header[2] | header[3] << 8, header[4], payload)
        elif type_ == Type.REG_WRITE:
            self._host_reg_write(tag, header[2] | header[3] << 8,
                                 int.from_bytes(header[4:8], "little"), payload)
        else:
            self.error(tag, Code.UNKNOWN_TYPE, type_)

    def host_session(self) -> None:
        """A new session on the host line."""

    def host_chain(self, tag: int, flags: int, count: int, payload: bytes) -> None:
        """A target takes no chains: refused whole, its WRITE frames are swallowed."""
        self.count(Counter.HOST_ERRORS)
        self.answer(Type.CHAIN_STATUS, tag=tag, code=Code.WRONG_ROLE, set=0, detail=0)

    def host_write(self, tag: int, index: int, payload: bytes) -> None:
        """Belongs to a chain that was refused."""

    def read_track(self, volume: int, track: int) -> bytes:
        raise NotImplementedError

    def read_flags(self, volume: int) -> int:
        """READ_DATA.flags of a track of this volume."""
        return 0

    def image(self) -> bytes:
        """All volumes, in order, as the host would read them."""
        g = self.geometry
        return b"".join(self.read_track(v, t)
                        for v in range(g.volumes) for t in range(g.tracks_per_volume))

    def _host_read(self, tag: int, volume: int, track: int, count: int, payload: bytes) -> None:
        g = self.geometry
        code = Code.OK
        if payload:
            self.error(tag, Code.BAD_LENGTH, Type.READ)
            return
        if volume >= g.volumes:
            code = Code.BAD_VOLUME
        elif track >= g.tracks_per_volume:
            code = Code.BAD_TRACK
        elif count == 0 or track + count > g.tracks_per_volume:
            code = Code.BAD_VALUE
        if code is not Code.OK:
            self.count(Counter.HOST_ERRORS)
            self.answer(Type.READ_DATA, tag=tag, code=code, volume=volume, track=track, flags=0)
            return
        for at in range(track, track + count):
            self.count(Counter.READS)
            self.answer(Type.READ_DATA, self.read_track(volume, at), tag=tag, code=code,
                        volume=volume, track=at, flags=self.read_flags(volume))

    # -- registers ---------------------------------------------------------------------------

    def _host_reg_read(self, tag: int, address: int, count: int, payload: bytes) -> None:
        code, values = Code.OK, bytearray()
        if payload:
            self.error(tag, Code.BAD_LENGTH, Type.REG_READ)
            return
        if not 1 <= count <= wire.MAX_REGISTERS:
            code = Code.BAD_VALUE
        else:
            for at in range(address, address + count):
                value = self.read_register(at)
                if value is None:
                    code, values = Code.BAD_REGISTER, bytearray()
                    break
                values += (value & 0xFFFFFFFF).to_bytes(4, "little")
        if code is not Code.OK:
            self.count(Counter.HOST_ERRORS)
        self.answer(Type.REG_DATA, bytes(values), tag=tag, code=code,
                    count=len(values) // 4, address=address)

    def _host_reg_write(self, tag: int, address: int, value: int, payload: bytes) -> None:
        if payload:
            self.error(tag, Code.BAD_LENGTH, Type.REG_WRITE)
            return
        code = self.write_register(address, value)
        if code is not Code.OK:
            self.count(Counter.HOST_ERRORS)
        self.answer(Type.REG_STATUS, tag=tag, code=code, address=address)

    def read_register(self, address: int) -> int | None:
        """Value of a register, or None if there is none."""
        g = self.geometry
        if address in _ROLES and self.role not in _ROLES[Reg(address)]:
            return None
        special = self.read_special(address)
        if special is not None:
            return special
        if Reg.COUNTERS <= address < Reg.COUNTERS + len(Counter):
            return self.counters[Counter(address - Reg.COUNTERS)]
        link, which = divmod(address - Reg.LINK_COUNTERS, wire.LINK_COUNTER_STRIDE)
        if 0 <= link < g.links and which < len(LinkCounter):
            return self.link_counters[link][LinkCounter(which)]
        set_, word = divmod(address - Reg.SET_PAGES, wire.SET_PAGE_WORDS)
        if 0 <= set_ < g.sets:
            return self.page_words(set_).get(word, 0)
        fixed = {
            Reg.MAGIC: wire.MAGIC, Reg.VERSION: wire.PROTOCOL_VERSION, Reg.ROLE: int(self.role),
            Reg.VOLUMES: g.volumes, Reg.TRACKS_PER_VOLUME: g.tracks_per_volume,
            Reg.TRACK_BYTES: g.track_bytes, Reg.SETS: g.sets, Reg.LINKS: g.links,
            Reg.CHAIN_LIMIT: g.chain_limit, Reg.SPARE_SLOTS: g.spare_slots,
            Reg.STAGING_SLOTS: g.staging_slots, Reg.GROUPS_IN_FLIGHT: g.groups_in_flight,
            Reg.WINDOW: g.window, Reg.VOLUMES_PER_SET: g.volumes_per_set,
            Reg.CLOCK_HZ: g.clock_hz, Reg.HOST_DIVISOR: g.divisor(g.host_baud),
            Reg.LINK_DIVISOR: g.divisor(g.link_baud),
        }
        if address in _ROLES:
            return self.registers.get(address, fixed.get(Reg(address), 0))
        return None

    def write_register(self, address: int, value: int) -> Code:
        """Write a register; anything but OK leaves it as it was."""
        if self.read_register(address) is None:
            return Code.BAD_REGISTER
        code = self.write_special(address, value)
        if code is not None:
            return code
        if address not in _WRITABLE:
            return Code.READ_ONLY
        self.registers[address] = value
        return Code.OK

    def read_special(self, address: int) -> int | None:
        """Registers of one role; None for the others."""
        return None

    def write_special(self, address: int, value: int) -> Code | None:
        """Write a register that is more than a value; None for the others."""
        if address == Reg.LINK_DIVISOR and not MIN_DIVISOR <= value <= MAX_DIVISOR:
            return Code.BAD_VALUE
        return None

    def page_words(self, set_: int) -> dict[int, int]:
        raise NotImplementedError
