"""Signatures and layouts shared by the gateware's components.

Everything the components say to each other is one of the shapes below. Frame fields come from
:mod:`firmware_model.wire`, sizes from :class:`firmware_model.geometry.Geometry`.
"""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire
from firmware_model.geometry import Geometry

__all__ = [
    "DESCRIPTOR_WORDS",
    "LENGTH_BITS",
    "Descriptor",
    "Entry",
    "Event",
    "LineByte",
    "Link",
    "MemoryPort",
    "MetadataPort",
    "PayloadByte",
    "PayloadKind",
    "PayloadPort",
    "PayloadSink",
    "RegisterPort",
    "SourceState",
    "TargetState",
    "Volume",
    "descriptor_word",
    "header",
    "header_const",
    "index_shape",
    "late_domain",
    "quick_if_small",
    "slot_shape",
]

LENGTH_BITS = 13        # payload length counter: 4096 data bytes and one to notice too many


class PayloadKind(enum.Enum, shape=3):
    """Where the payload of an outgoing frame comes from; ``arg`` says which one."""

    NONE = 0
    SLOT = 1            # arg: slot; track_bytes bytes of it
    ORDER = 2           # arg: set in bits 16.., group sequence number in bits 0..15
    TRACK = 3           # arg: track index; its last committed version when the frame is sent
    REGS = 4            # arg: address in bits 0..15, count in bits 16..23


# An outgoing frame. ``type`` and ``header`` are sent as they are (header byte 0 in bits 0..7),
# the payload is fetched when (and each time) the frame is sent.
Descriptor = data.StructLayout({
    "type": 8,
    "header": 64,
    "kind": PayloadKind,
    "arg": 24,
})

# Words of 16 bits that a Descriptor is looked at by.
DESCRIPTOR_WORDS = ("type", "header0", "header1", "header2", "header3", "arg", "arg_high")


def descriptor_word(m, descriptor, word):
    """Number ``word`` of ``DESCRIPTOR_WORDS`` of a Descriptor; ``kind`` is above ``type``.

    Combinational. Any word above the last is the last.
    """
    words = [Cat(descriptor.type, Value.cast(descriptor.kind)),
             *(descriptor.header.word_select(n, 16) for n in range(4)),
             descriptor.arg[:16], descriptor.arg[16:]]
    chosen = Signal(16)
    with m.Switch(word):
        for n, said in enumerate(words[:-1]):
            with m.Case(n):
                m.d.comb += chosen.eq(said)
        with m.Default():
            m.d.comb += chosen.eq(words[-1])
    return chosen


# A frame that arrived whole, for the first time, with a good CRC. Its payload went to the sink.
Event = data.StructLayout({
    "type": 8,
    "header": 64,
    "length": LENGTH_BITS,
})

# One payload byte towards a line; ``last`` ends the frame's payload.
PayloadByte = data.StructLayout({"data": 8, "last": 1})

# One byte inside the frame pipelines; ``last`` marks the last byte of the frame.
LineByte = data.StructLayout({"data": 8, "last": 1})


def header(type_):
    """64-bit ``StructLayout`` of a frame type's header fields, padded with ``_pad``."""
    fields = {f.name: 8 * f.size for f in wire.FRAMES[type_].fields}
    room = 8 * wire.HEADER_BYTES - sum(fields.values())
    if room:
        fields["_pad"] = room
    return data.StructLayout(fields)


def header_const(m, type_, **fields):
    """A 64-bit view of the header of ``type_`` with ``fields`` driven in ``m``; others are 0."""
    view = Signal(header(type_))
    for name, value in fields.items():
        m.d.comb += view[name].eq(value)
    return view


def slot_shape(geometry: Geometry):
    """Shape of a slot number that serves both sides."""
    return unsigned(max(1, (max(geometry.source_slots, geometry.target_slots) - 1).bit_length()))


def index_shape(geometry: Geometry):
    """Shape of a track index: ``Cat(track, volume)``."""
    return unsigned(geometry.track_index_bits)


def quick_if_small(depth, platform):
    """Attributes of a memory of ``depth`` words whose answers come late in a fast clock.

    A platform with ``quick_words`` has faster memory than block RAM for that many words.
    """
    return {"ram_style": "distributed"} if depth <= getattr(platform, "quick_words", 0) else {}


def late_domain(platform):
    """Where what is late in a fast clock goes: a register, but on a platform that has no quick
    memory at all: such a chip has time rather than cells to spare."""
    return "comb" if getattr(platform, "quick_words", None) == 0 else "sync"


def SourceState(geometry):
    """Source table entry of one track (Fig. 3; the set column is the volume's).

    pending: the slot's data is not known to be committed at the target (I1).
    packet: the track is in a cut group; implies pending (I4).
    waiter: a volume is disconnected until this track is cleared.
    """
    return data.StructLayout({"slot": slot_shape(geometry), "pending": 1, "packet": 1,
                              "waiter": 1})


def TargetState(geometry):
    """Target table entry of one track: the visible slot, and the staged one if ``staged``."""
    return data.StructLayout({"slot": slot_shape(geometry), "staged_slot": slot_shape(geometry),
                              "staged": 1})


def Link(geometry):
    """Order list link of a track: its successor, and whether the track ends a chain.

    Written when the successor is appended, so the newest track of a list has no valid link: it
    always ends a chain, and walkers stop by count.
    """
    return data.StructLayout({"next": index_shape(geometry), "end_of_chain": 1})


def Volume(geometry):
    """Volume entry: the set it belongs to (claims 74, 77) and whether it is disconnected."""
    return data.StructLayout({"set": geometry.set_bits, "disconnected": 1})


def Entry(geometry):
    """One command of the open chain's write set."""
    return data.StructLayout({"index": index_shape(geometry), "slot": slot_shape(geometry)})


class MemoryPort(wiring.Signature):
    """Client side of the byte-wide cache data memory.

    Hold ``req``, ``we``, ``addr`` (slot above, offset below) and ``wdata`` until ``ack``, a pulse
    of one clock; ``rdata`` is valid in that clock. A new request may stand in the next clock.
    """

    def __init__(self, addr_width):
        self.addr_width = addr_width
        super().__init__({
            "req": Out(1), "we": Out(1), "addr": Out(addr_width), "wdata": Out(8),
            "ack": In(1), "rdata": In(8),
        })

    def __eq__(self, other):
        return type(self) is type(other) and self.addr_width == other.addr_width


class MetadataPort(wiring.Signature):
    """Client side of the metadata: track states, order links, set pages, volumes, under one lock.

    Raise ``req`` and wait for ``gnt``; from that clock on the four memories are this client's
    until it lowers ``req`` (``gnt`` falls with it, in the same clock). Each memory has one
    address for reading and writing; what is read is valid in the next clock. What is written can be
    read from the clock after the next one on: a look at the same word in the clock of the write, or
    in the next one, reads anything. So a read-modify-write can never meet another one.

    ``page_addr`` is the set above, the word (5 bits, ``wire.SetWord``) below.
    """

    def __init__(self, geometry: Geometry, state):
        self.geometry = geometry
        self.state = state
        index = index_shape(geometry)
        super().__init__({
            "req": Out(1), "gnt": In(1),
            "state_addr": Out(index), "state_we": Out(1), "state_wdata": Out(state),
            "state_rdata": In(state),
            "link_addr": Out(index), "link_we": Out(1), "link_wdata": Out(Link(geometry)),
            "link_rdata": In(Link(geometry)),
            "page_addr": Out(geometry.set_bits + 5), "page_we": Out(1), "page_wdata": Out(16),
            "page_rdata": In(16),
            "volume_addr": Out(geometry.volume_bits), "volume_we": Out(1),
            "volume_wdata": Out(Volume(geometry)), "volume_rdata": In(Volume(geometry)),
        })

    def __eq__(self, other):
        return (type(self) is type(other) and self.geometry == other.geometry
                and self.state == other.state)


class RegisterPort(wiring.Signature):
    """Initiator side of the register bus.

    Hold ``req``, ``we``, ``addr`` and ``wdata`` until ``ack``, a pulse of one clock in which
    ``rdata`` and ``code`` (``wire.Code``) are valid. A responder answers every address it is
    given within a bounded time.
    """

    def __init__(self):
        super().__init__({
            "req": Out(1), "we": Out(1), "addr": Out(16), "wdata": Out(32),
            "ack": In(1), "rdata": In(32), "code": In(8),
        })

    def __eq__(self, other):
        return type(self) is type(other)


class PayloadPort(wiring.Signature):
    """Line side of a payload provider.

    ``start`` pulses for one clock with ``kind`` and ``arg`` valid; they stay so until the byte
    with ``last`` is taken. The provider then offers the bytes; the line takes every one (frames
    are never abandoned halfway), a new ``start`` comes only after ``last``.
    """

    def __init__(self):
        super().__init__({
            "start": Out(1), "kind": Out(PayloadKind), "arg": Out(24),
            "bytes": In(stream.Signature(PayloadByte)),
        })

    def __eq__(self, other):
        return type(self) is type(other)


class PayloadSink(wiring.Signature):
    """Line side of what takes the payload of a frame while it arrives.

    ``valid`` with ``data``, its ``index`` within the payload, and the frame's ``type`` and
    ``header``, held until ``ready``. Nothing is known of the frame's CRC yet: a sink must not
    let these bytes have an effect until the frame's Event is offered. A frame that fails just
    never becomes an Event; the next byte with ``index`` 0 starts over.
    """

    def __init__(self):
        super().__init__({
            "valid": Out(1), "ready": In(1), "data": Out(8), "index": Out(LENGTH_BITS),
            "type": Out(8), "header": Out(64),
        })

    def __eq__(self, other):
        return type(self) is type(other)
