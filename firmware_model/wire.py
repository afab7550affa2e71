"""The wire: every frame, code, register and limit, defined once.

Gateware, model, host library and ``docs/protocol.md`` all read this module; it imports nothing
but the standard library.

A frame on the line is the COBS encoding of ``type | lseq | header[8] | payload | crc32``
followed by one zero byte. ``crc32`` is ``zlib.crc32`` of everything before it. All integers are
little-endian.
"""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass

PROTOCOL_VERSION = 2
MAGIC = 0x46415253          # "FARS" read as a register

DELIMITER = 0x00
HEADER_BYTES = 8            # the same for every frame: the receiver needs no length table
PREFIX_BYTES = 2            # type, lseq
CRC_BYTES = 4
ENTRY_BYTES = 3             # one (volume, track) of a write set or order packet
END_OF_CHAIN = 0x80         # in an entry's volume byte; hence at most 128 volumes
CRC_RESIDUE = 0xDEBB20E3    # register value after a good frame and its CRC (before inversion)


class Role(enum.IntEnum):
    """Who speaks in a hello."""

    HOST = 0
    SOURCE = 1
    TARGET = 2


class Type(enum.IntEnum):
    """Frame types. Below 0x10: not sequenced, never resent by themselves."""

    HELLO = 0x01
    ACK = 0x02
    DATA = 0x10
    ORDER = 0x11
    ASK = 0x12
    BEGIN = 0x13
    RESYNC = 0x14
    RESYNCED = 0x15
    STATUS = 0x18
    CHAIN = 0x20
    WRITE = 0x21
    READ = 0x22
    REG_READ = 0x23
    REG_WRITE = 0x24
    CHAIN_STATUS = 0x30
    READ_DATA = 0x31
    REG_DATA = 0x32
    REG_STATUS = 0x33
    RECONNECT = 0x34
    ERROR = 0x35


FIRST_SEQUENCED = 0x10


class Code(enum.IntEnum):
    """Answers of the host port. Everything but OK leaves every track as it was."""

    OK = 0
    COLLISION = 1           # Fig. 4: commitment pending; volume disconnected, destage requested
    DISCONNECTED = 2        # the volume is still disconnected
    FENCED = 3              # an earlier chain of the set was refused and RESUME is not set
    BAD_VOLUME = 4
    BAD_TRACK = 5
    SPANS_SETS = 6
    CHAIN_TOO_LONG = 7
    CHAIN_EMPTY = 8
    NO_SLOTS = 9            # fewer free slots than commands
    BAD_LENGTH = 10         # payload length does not match the frame's type or count
    UNEXPECTED_WRITE = 11   # no chain open with this tag, or index out of turn: chain aborted
    CHAIN_ABORTED = 12      # a new CHAIN or other fault ended the open chain
    UNKNOWN_TYPE = 13
    WRONG_ROLE = 14         # chains to a target
    BAD_REGISTER = 15
    READ_ONLY = 16
    BAD_VALUE = 17
    SET_BUSY = 18           # the volume's old set has something pending, or a chain is open
    SET_FULL = 19           # the new set already has volumes_per_set volumes


class Flag(enum.IntFlag):
    """CHAIN.flags."""

    RESUME = 1              # the host has seen every refusal of this set: lift its fence


class SourceFlag(enum.IntFlag):
    """FLAGS of a set's page at the source."""

    RUNNING = 1             # the target has confirmed EPOCH: groups may be sent
    RESYNC = 2              # the target's image is not a prefix yet
    USED = 4                # the target may hold something of this set's volumes


class TargetFlag(enum.IntFlag):
    """FLAGS of a set's page at the target; STATUS.flags. They survive a reset."""

    FOLLOWING = 1           # begun (BEGIN or RESYNC) in the source's present life
    WRITTEN = 2             # the image is not known to be blank
    INCONSISTENT = 4        # RESYNC has come and RESYNCED has not: the image is no prefix
    ASKED = 8               # EPOCH is of the source's present life


class ReadFlag(enum.IntFlag):
    """READ_DATA.flags."""

    INCONSISTENT = 1        # a resynchronisation of the volume's set has not finished


class HelloFlag(enum.IntFlag):
    """HELLO.flags."""

    UP = 1                  # the sender considers the session established


@dataclass(frozen=True)
class Field:
    name: str
    size: int               # bytes
    doc: str


@dataclass(frozen=True)
class FrameSpec:
    type: Type
    direction: str
    fields: tuple[Field, ...]
    payload: str
    doc: str

    @property
    def sequenced(self) -> bool:
        return self.type >= FIRST_SEQUENCED

    def offset(self, name: str) -> int:
        """Byte offset of a field within the header."""
        at = 0
        for field in self.fields:
            if field.name == name:
                return at
            at += field.size
        raise KeyError(name)


def _spec(type_: Type, direction: str, fields: list[tuple[str, int, str]], payload: str,
          doc: str) -> FrameSpec:
    spec = FrameSpec(type_, direction, tuple(Field(*f) for f in fields), payload, doc)
    used = sum(f.size for f in spec.fields)
    assert used <= HEADER_BYTES, (type_, used)
    return spec


_TAG = ("tag", 2, "chosen by the host, returned in the answer")
_SET = ("set", 1, "consistency set")
_EPOCH = ("epoch", 1, "epoch of the set")
_GSEQ = ("gseq", 2, "group sequence number within (set, epoch), modulo 65536")
_VOLUME = ("volume", 1, "logical volume")
_TRACK = ("track", 2, "track within the volume")
_CODE = ("code", 1, "see the table of codes")
_LIFE = ("life", 2, "number of the source's life; 0 for none")
_BEGIN = [_SET, _EPOCH, ("gseq", 2, "groups come after this one"),
          ("chains", 4, "chains of the set up to there")]

FRAMES: dict[Type, FrameSpec] = {spec.type: spec for spec in (
    _spec(Type.HELLO, "both", [
        ("version", 1, "PROTOCOL_VERSION of the sender"),
        ("role", 1, "0 host, 1 source, 2 target"),
        ("session", 1, "the sender's session, 1..255"),
        ("echo", 1, "the last session heard from the other side, 0 for none"),
        ("flags", 1, "bit 0: the sender is up"),
        ("generation", 1, "counts the sender's resets where it can"),
        ("fingerprint", 2, "of the geometry; a host sends 0, which matches any"),
    ], "none", "Starts a session of one line. Not sequenced; repeated until both sides are up."),
    _spec(Type.ACK, "both", [
        ("map", 4, "bit i: frame base+i has been received (bit 0 is always 0)"),
        ("session", 1, "session of the side whose frames are acknowledged"),
    ], "none", "Selective acknowledgement; lseq holds base, the next frame expected."),
    _spec(Type.DATA, "source to target", [_SET, _EPOCH, _GSEQ, _VOLUME, _TRACK],
          "track_bytes of data", "One track of a group, sent from the cache slot that holds it."),
    _spec(Type.ORDER, "source to target", [
        _SET, _EPOCH, _GSEQ, ("count", 1, "tracks of the group")],
          "count entries of 3 bytes: volume with END_OF_CHAIN in bit 7, then track",
          "The order packet: the tracks of a group in commit order, chains marked off."),
    _spec(Type.ASK, "source to target", [_SET, _LIFE, _EPOCH],
          "none", "Asks where the target is with a set; answered by STATUS."),
    _spec(Type.BEGIN, "source to target", _BEGIN, "none",
          "The set's groups come under this epoch; the target's image is a prefix."),
    _spec(Type.RESYNC, "source to target", _BEGIN, "none",
          "As BEGIN, but the image is no prefix until RESYNCED: all tracks will be sent."),
    _spec(Type.RESYNCED, "source to target", [_SET, _EPOCH], "none",
          "The resynchronisation is complete: the image is a prefix from here on."),
    _spec(Type.STATUS, "target to source", [
        _SET, _EPOCH, ("gseq", 2, "every group up to this one has committed"),
        ("flags", 1, "of the set: bit 0 FOLLOWING, 1 WRITTEN, 2 INCONSISTENT, 3 ASKED"),
        ("life", 2, "the source's life that the target follows, 0 for none"),
        ("generation", 1, "the target's resets, where it can count them")],
          "none", "Commit status, cumulative and repeatable."),
    _spec(Type.CHAIN, "host to source", [
        _TAG, ("flags", 1, "bit 0: RESUME"), ("count", 1, "commands of the chain")],
          "count entries of 3 bytes: volume, track",
          "Opens a chain with its whole write set; count WRITE frames must follow."),
    _spec(Type.WRITE, "host to source", [
        _TAG, ("index", 1, "place in the write set, counting up from 0")],
          "track_bytes of data", "Data of one command of the open chain."),
    _spec(Type.READ, "host to board", [
        _TAG, _VOLUME, _TRACK, ("count", 2, "consecutive tracks of the volume, at least 1")],
          "none", "Reads the last committed version; answered by count READ_DATA frames."),
    _spec(Type.REG_READ, "host to board", [
        _TAG, ("address", 2, "first register"), ("count", 1, "registers, 1..MAX_REGISTERS")],
          "none", "Answered by one REG_DATA."),
    _spec(Type.REG_WRITE, "host to board", [
        _TAG, ("address", 2, "register"), ("value", 4, "new value")],
          "none", "Answered by one REG_STATUS."),
    _spec(Type.CHAIN_STATUS, "source to host", [
        _TAG, _CODE, ("set", 1, "consistency set of the chain"),
        ("detail", 4, "OK: number of the chain within its set, from 1; "
                      "else index in bits 0..7, volume in 8..15, track in 16..31")],
          "none", "The single answer to a chain."),
    _spec(Type.READ_DATA, "board to host", [
        _TAG, _CODE, _VOLUME, _TRACK, ("flags", 1, "bit 0: INCONSISTENT")],
          "track_bytes of data if code is OK, else none", "One track."),
    _spec(Type.REG_DATA, "board to host", [
        _TAG, _CODE, ("count", 1, "registers that follow"), ("address", 2, "first register")],
          "count values of 4 bytes if code is OK, else none", "Register values."),
    _spec(Type.REG_STATUS, "board to host", [_TAG, _CODE, ("address", 2, "register")],
          "none", "Answer to REG_WRITE."),
    _spec(Type.RECONNECT, "source to host", [
        _VOLUME, _TRACK, ("reserved", 1, "0"),
        ("clocks", 4, "how long the volume was disconnected, in clocks, saturating")],
          "none", "The volume is connected again: retry what was refused, in order."),
    _spec(Type.ERROR, "board to host", [
        _TAG, _CODE, ("type", 1, "type of the offending frame")],
          "none", "A well-formed frame that the board cannot act on."),
)}

MAX_REGISTERS = 32

# Links only: a PC that has nothing to ask may be silent for as long as it likes.
#
# An end that is up and has said nothing for so long says an ACK: 170 bits, one in a hundred of an
# idle line.
KEEPALIVE_BITS = 1 << 14
# An end that is up and has heard no whole frame for so many keepalives ends the session. With half
# of all frames lost, an idle link at 1 Mbaud then begins another session every ten minutes or so;
# with one in four lost, every few months. And a dead one is known in 0.26 seconds.
KEEPALIVES_IN_SILENCE = 16
SILENCE_BITS = KEEPALIVES_IN_SILENCE * KEEPALIVE_BITS


@dataclass(frozen=True)
class Frame:
    """One frame, decoded. ``fields`` has every header field of the type by name."""

    type: Type
    lseq: int
    fields: dict[str, int]
    payload: bytes = b""

    def encode(self) -> bytes:
        """Bytes before COBS, with the CRC."""
        return pack(self.type, self.lseq, self.payload, **self.fields)


class WireError(ValueError):
    """Bytes that are no frame; the message says why."""


def pack(type_: Type, lseq: int, payload: bytes = b"", **fields: int) -> bytes:
    """Frame bytes before COBS, with CRC. Fields not given are 0.

    Raises :class:`WireError` naming a field that is unknown or does not fit.
    """
    spec = FRAMES[type_]
    header = bytearray(HEADER_BYTES)
    at = 0
    unknown = fields.keys() - {f.name for f in spec.fields}
    if unknown:
        raise WireError(f"{type_.name} has no field {sorted(unknown)[0]!r}")
    for field in spec.fields:
        value = fields.get(field.name, 0)
        if not 0 <= value < 1 << (8 * field.size):
            raise WireError(f"{type_.name}.{field.name} {value} does not fit {field.size} bytes")
        header[at:at + field.size] = value.to_bytes(field.size, "little")
        at += field.size
    return seal(bytes([type_, lseq]) + bytes(header) + payload)


def seal(body: bytes) -> bytes:
    """``body`` with its CRC."""
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def unpack(body: bytes) -> Frame:
    """Inverse of :func:`pack`; raises :class:`WireError`."""
    if len(body) < PREFIX_BYTES + HEADER_BYTES + CRC_BYTES:
        raise WireError(f"frame of {len(body)} bytes is shorter than the shortest frame")
    if zlib.crc32(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
        raise WireError("CRC does not match")
    try:
        spec = FRAMES[Type(body[0])]
    except ValueError:
        raise WireError(f"unknown frame type 0x{body[0]:02x}") from None
    fields = {}
    at = PREFIX_BYTES
    for field in spec.fields:
        fields[field.name] = int.from_bytes(body[at:at + field.size], "little")
        at += field.size
    return Frame(spec.type, body[1], fields, body[PREFIX_BYTES + HEADER_BYTES:-CRC_BYTES])


def cobs_encode(data: bytes) -> bytes:
    """Consistent Overhead Byte Stuffing, without the delimiter."""
    out = bytearray()
    code_at = -1            # place of the open block's code; -1: opened by the next byte
    for byte in data:
        if code_at < 0:
            code_at = len(out)
            out.append(0)
        if byte:
            out.append(byte)
            if len(out) - code_at == 255:
                out[code_at] = 255
                code_at = -1
        else:
            out[code_at] = len(out) - code_at
            code_at = len(out)
            out.append(0)
    if code_at >= 0:
        out[code_at] = len(out) - code_at
    return bytes(out or b"\x01")


def cobs_decode(data: bytes) -> bytes:
    """Inverse of :func:`cobs_encode`; raises :class:`WireError`."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        if code == 0:
            raise WireError("zero inside a COBS frame")
        block = data[at + 1:at + code]
        if len(block) != code - 1:
            raise WireError("COBS frame ends inside a block")
        if 0 in block:
            raise WireError("zero inside a COBS frame")
        out += block
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


def to_line(body: bytes) -> bytes:
    """What goes on the line for one frame: COBS and the delimiter."""
    return cobs_encode(body) + bytes([DELIMITER])


def entry(volume: int, track: int, end_of_chain: bool = False) -> bytes:
    """One entry of a write set or order packet."""
    return bytes([volume | (END_OF_CHAIN if end_of_chain else 0)]) + track.to_bytes(2, "little")


def entries(payload: bytes) -> list[tuple[int, int, bool]]:
    """(volume, track, end_of_chain) of each entry of a payload."""
    if len(payload) % ENTRY_BYTES:
        raise WireError(f"{len(payload)} bytes are no whole number of entries")
    return [(payload[i] & 0x7F, payload[i + 1] | payload[i + 2] << 8,
             bool(payload[i] & END_OF_CHAIN))
            for i in range(0, len(payload), ENTRY_BYTES)]


# -- registers --------------------------------------------------------------------------------


class Reg(enum.IntEnum):
    """Register addresses; every register is 32 bits, read only unless marked in REGISTERS."""

    MAGIC = 0x0000
    VERSION = 0x0001
    ROLE = 0x0002
    VOLUMES = 0x0003
    TRACKS_PER_VOLUME = 0x0004
    TRACK_BYTES = 0x0005
    SETS = 0x0006
    LINKS = 0x0007
    CHAIN_LIMIT = 0x0008
    SPARE_SLOTS = 0x0009
    STAGING_SLOTS = 0x000A
    GROUPS_IN_FLIGHT = 0x000B
    WINDOW = 0x000C
    VOLUMES_PER_SET = 0x000D
    CLOCK_HZ = 0x000E
    HOST_DIVISOR = 0x000F
    LINK_DIVISOR = 0x0010
    GENERATION = 0x0011
    LIFE = 0x0012

    CYCLES = 0x0020
    CYCLES_HIGH = 0x0021
    FREE_SLOTS = 0x0022
    LINKS_UP = 0x0023
    DISCONNECTED = 0x0024
    CREDIT = 0x0025

    POLL_INTERVAL = 0x0030
    GROUP_TIMEOUT = 0x0031
    DESTAGE = 0x0032
    HOLD = 0x0033

    COUNTERS = 0x0040
    LINK_COUNTERS = 0x0080
    SET_PAGES = 0x0200
    VOLUME_SET = 0x0400
    CHANNEL = 0x0800


@dataclass(frozen=True)
class Register:
    address: int
    name: str
    writable: bool
    doc: str
    roles: tuple[Role, ...] = (Role.SOURCE, Role.TARGET)


_S = (Role.SOURCE,)
_T = (Role.TARGET,)

REGISTERS: tuple[Register, ...] = (
    Register(Reg.MAGIC, "magic", False, "0x46415253: this is a Farside board"),
    Register(Reg.VERSION, "version", False, "protocol version"),
    Register(Reg.ROLE, "role", False, "1 source, 2 target"),
    Register(Reg.VOLUMES, "volumes", False, "logical volumes"),
    Register(Reg.TRACKS_PER_VOLUME, "tracks_per_volume", False, "tracks a volume"),
    Register(Reg.TRACK_BYTES, "track_bytes", False, "bytes a track"),
    Register(Reg.SETS, "sets", False, "consistency sets"),
    Register(Reg.LINKS, "links", False, "remote links"),
    Register(Reg.CHAIN_LIMIT, "chain_limit", False, "most commands in a chain"),
    Register(Reg.SPARE_SLOTS, "spare_slots", False, "source slots beyond one a track"),
    Register(Reg.STAGING_SLOTS, "staging_slots", False, "target slots beyond one a track"),
    Register(Reg.GROUPS_IN_FLIGHT, "groups_in_flight", False, "uncommitted groups of a set"),
    Register(Reg.WINDOW, "window", False, "unacknowledged frames of a link"),
    Register(Reg.VOLUMES_PER_SET, "volumes_per_set", False, "most volumes of a set"),
    Register(Reg.CLOCK_HZ, "clock_hz", False, "clock frequency in hertz"),
    Register(Reg.HOST_DIVISOR, "host_divisor", False, "clocks a bit of the host port, in 1/256"),
    Register(Reg.LINK_DIVISOR, "link_divisor", True, "clocks a bit of the links, in 1/256, 1024 "
             "to 16777215; the other end has to follow. READ_ONLY where lines share an engine"),
    Register(Reg.GENERATION, "generation", False, "resets of this side, where it can count them"),
    Register(Reg.LIFE, "life", False, "number of the source's life; target: the one it follows, "
             "0 for none"),
    Register(Reg.CYCLES, "cycles", False, "clocks since reset, low word; reading it latches the "
             "high word"),
    Register(Reg.CYCLES_HIGH, "cycles_high", False, "high word latched by the last read of cycles"),
    Register(Reg.FREE_SLOTS, "free_slots", False, "slots on the free list"),
    Register(Reg.LINKS_UP, "links_up", False, "bit n: link n has a session"),
    Register(Reg.DISCONNECTED, "disconnected", False, "volumes disconnected now", _S),
    Register(Reg.CREDIT, "credit", False, "target staging slots not reserved", _S),
    Register(Reg.POLL_INTERVAL, "poll_interval", True, "clocks between background polls in units "
             "of 256, 0 for never", _S),
    Register(Reg.GROUP_TIMEOUT, "group_timeout", True, "time without commit status until a set's "
             "groups are sent again, in units of 65536 clocks, 0 for never", _S),
    Register(Reg.DESTAGE, "destage", True, "write 1 << set: destage that set now", _S),
    Register(Reg.HOLD, "hold", True, "hold commits at the next chain boundary for this many units "
             "of 65536 clocks (so that a reader that goes away cannot stop the mirror); 0 lets go",
             _T),
)

POLL_UNIT = 256
SLOW_TICK = 65536


class Counter(enum.IntEnum):
    """Counters of a side, 32 bits, wrapping; register COUNTERS + value."""

    HOST_FRAMES = 0         # sequenced frames accepted from the host
    HOST_BAD_FRAMES = 1     # host frames dropped for CRC, COBS or length
    HOST_RESENDS = 2
    HOST_ERRORS = 3         # host frames answered with a code other than OK
    CHAINS = 4              # source: chains committed; target: chains committed
    COMMANDS = 5            # tracks written by committed chains
    COLLISIONS = 6          # chains refused for a collision
    RECONNECTS = 7
    READS = 8               # tracks read by the host
    GROUPS = 9              # source: groups cut; target: groups committed
    GROUP_TRACKS = 10       # tracks in those groups
    GROUPS_DONE = 11        # source: groups cleared after commit status
    POLLS = 12              # cuts caused by background polling
    GROUP_RESENDS = 13      # sets whose groups were sent again
    DUPLICATES = 14         # target: frames of staged tracks or committed groups, dropped
    REJECTED = 15           # frames from the other system dropped as malformed
    DISPATCHES = 16         # tracks handed to links
    DISPATCH_CLOCKS = 17    # clocks the cut, dispatch and clear walks used
    LOOKUPS = 18            # collision lookups
    LOOKUP_CLOCKS = 19      # clocks those took
    RESYNCS = 20            # source: sets that were resynchronised to the end
    RESYNC_TRACKS = 21      # source: tracks that a resynchronisation put in
    RECOVERIES = 22         # starts that found the memory kept


class LinkCounter(enum.IntEnum):
    """Counters of one link; register LINK_COUNTERS + 16 * link + value."""

    FRAMES_SENT = 0         # sequenced frames, first transmissions
    RESENDS = 1
    FRAMES_RECEIVED = 2     # sequenced frames delivered
    DUPLICATES = 3
    BAD_FRAMES = 4          # CRC, COBS or length
    TIMEOUTS = 5
    SESSIONS = 6            # times the link came up
    ACKS_SENT = 7           # grows also while there is nothing to do: see KEEPALIVE_BITS
    DOWN_TIME = 8           # slow ticks (of SLOW_TICK clocks) that found it down


LINK_COUNTER_STRIDE = 16


class SetWord(enum.IntEnum):
    """16-bit words of a set's page (32 words); register SET_PAGES + 32 * set + word.

    The page is the consistency set object of the seed (description of Fig. 3). GROUP holds
    groups_in_flight records of four words: head, count, received, reserved.
    """

    FIRST = 0               # source: track index of the oldest track not in a group
    TAIL = 1                # source: track index of the newest pending track
    UNSENT = 2              # source: tracks not in a group; target: chains of group DONE + 1
                            # that are visible already
    NEXT = 3                # source: sequence number of the next group to cut
    SENT = 4                # source: last group dispatched
    DONE = 5                # source: last group acknowledged; target: last group committed
    EPOCH = 6
    VOLUMES = 7             # source: volumes assigned to the set
    CHAINS_LOW = 8          # source: chains committed here; target: chains committed there
    CHAINS_HIGH = 9
    ACKED_LOW = 10          # source: chains known to be committed at the target
    ACKED_HIGH = 11
    AGE = 12                # source: slow ticks since the last progress
    FLAGS = 13              # SourceFlag or TargetFlag
    RESYNC_LOW = 14         # source: a resynchronisation ends with this chain; all ones while
    RESYNC_HIGH = 15        # its scan goes on
    GROUP = 16


SET_PAGE_WORDS = 32
GROUP_WORDS = 4
GROUP_HEAD = 0
GROUP_COUNT = 1
GROUP_RECEIVED = 2          # target: data frames staged

FIRST_GROUP = 1             # group sequence numbers start here; DONE starts at 0


class Channel(enum.IntEnum):
    """Registers of one channel emulator; CHANNEL + CHANNEL_STRIDE * link + value.

    Chances are in 2**-32: 0 is never, all ones is always. Which directions a fault concerns is
    said by CONTROL or DIRECTIONS.
    """

    CONTROL = 0             # faults of the whole line: bit 2 * LineFault + direction
    DIRECTIONS = 1          # bit 2 * ChannelFault + direction; after reset all ones
    DELAY = 2               # ticks of CHANNEL_TICK_BITS bit times each
    MAX_DELAY = 3           # largest DELAY, read only
    SEED = 4                # of the generators; write only while idle for reproducibility
    SKEW = 5                # what a bit lasts longer than it should, in 1/256 clock, signed
    BURST_BYTES = 6         # length of a burst of errors, 1..255; after reset 8
    FLAP_UP = 7             # flapping: whole so long, in units of CHANNEL_FLAP_TICKS ticks;
    FLAP_DOWN = 8           # then cut so long; 0 in either for no flapping
    FRAME_LOSS = 9          # chance that a frame is swallowed whole
    FRAME_REPEAT = 10       # chance that a frame comes twice
    BYTE_LOSS = 11          # chance that a byte is lost
    BYTE_INSERT = 12        # chance that a byte is followed by one nobody sent
    BURST = 13              # chance that a burst of errors begins with a byte
    BYTE_ERROR = 14         # chance that a byte has one flipped bit
    FRAMES_LOST = 15        # read only, as are all counts: frames swallowed
    FRAMES_REPEATED = 16
    BYTES_LOST = 17         # by chance
    BYTES_INSERTED = 18
    BURSTS = 19
    ERRORS = 20             # bytes changed
    FLAPS = 21              # times that flapping cut the link
    OVERRUNS = 22           # bytes lost because the emulator was full


class LineFault(enum.IntEnum):
    """Faults of a whole line, by their place in Channel.CONTROL."""

    CUT = 0                 # nothing passes; the line idles
    STUCK_LOW = 1           # an endless break, from this very clock
    STUCK_HIGH = 2          # idle from this very clock


class ChannelFault(enum.IntEnum):
    """What else can be set, by its place in Channel.DIRECTIONS: first what happens by chance, in
    the order in which the generator is asked."""

    FRAME_LOSS = 0
    FRAME_REPEAT = 1
    BYTE_LOSS = 2
    BYTE_INSERT = 3
    BURST = 4
    BYTE_ERROR = 5
    DELAY = 6
    SKEW = 7
    FLAP = 8


CHANNEL_STRIDE = 32
CHANNEL_TICK_BITS = 9       # below ten, so that a fast sender never finds its tick taken
CHANNEL_FLAP_TICKS = 64
