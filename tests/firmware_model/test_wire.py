"""The wire, byte by byte. Every other side is compared with the vectors below."""

import random
import zlib

import pytest
from cobs import cobs

from firmware_model import wire
from firmware_model.wire import Type

# (type, lseq, payload, fields, bytes on the line). Written down once; a change of any of them is
# a change of the protocol and needs a new PROTOCOL_VERSION.
GOLDEN = [
    (Type.HELLO, 0, b"",
     {"version": 1, "role": 1, "session": 1, "echo": 0, "flags": 0,
      "generation": 0, "fingerprint": 0},
     "0201040101010101010105c7dbc9ad00"),
    (Type.HELLO, 0, b"",
     {"version": 1, "role": 2, "session": 7, "echo": 255, "flags": 1,
      "generation": 3, "fingerprint": 0xBEEF},
     "02010d010207ff0103efbe5f4dd9cf00"),
    (Type.ACK, 0x80, b"", {"map": 0x80000002, "session": 9},
     "04028002010380090101056140e10f00"),
    (Type.DATA, 255, b"\x00\x01\x00\xff",
     {"set": 3, "epoch": 1, "gseq": 0x1234, "volume": 2, "track": 5},
     "0910ff0301341202050101020106ffe82104e300"),
    (Type.ORDER, 1, wire.entry(2, 5) + wire.entry(3, 0x0102, end_of_chain=True),
     {"set": 3, "epoch": 1, "gseq": 2, "count": 2},
     "0611010301020202010103020508830201f8545c7700"),
    (Type.WRITE, 17, bytes(range(1, 255)) + bytes(2), {"tag": 0x0102, "index": 4},
     "06211102010401010101ff" + bytes(range(1, 255)).hex() + "010105ca1263f500"),
]


def line(vector):
    type_, lseq, payload, fields, _ = vector
    return wire.to_line(wire.pack(type_, lseq, payload, **fields))


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda v: f"{v[0].name}-{v[1]}")
def test_golden_vectors(vector):
    type_, lseq, payload, fields, expected = vector
    assert line(vector).hex() == expected
    frame = wire.unpack(wire.cobs_decode(bytes.fromhex(expected)[:-1]))
    assert (frame.type, frame.lseq, frame.payload) == (type_, lseq, payload)
    assert {name: frame.fields[name] for name in fields} == fields
    assert wire.to_line(frame.encode()).hex() == expected


@pytest.mark.parametrize("length", [0, 1, 2, 253, 254, 255, 256, 508, 509, 1016])
@pytest.mark.parametrize("fill", ["zeros", "ones", "zero last", "zero first", "random"])
def test_cobs_equals_the_package(length, fill):
    rng = random.Random(length)
    data = {
        "zeros": bytes(length),
        "ones": b"\x01" * length,
        "zero last": b"\x01" * (length - 1) + bytes(length > 0),
        "zero first": bytes(length > 0) + b"\x01" * (length - 1),
        "random": rng.randbytes(length),
    }[fill]
    assert len(data) == length
    assert wire.cobs_encode(data) == cobs.encode(data)
    assert wire.cobs_decode(wire.cobs_encode(data)) == data


@pytest.mark.parametrize(("data", "reason"), [
    (b"\x02", "ends inside a block"),
    (b"\x05\x01\x02", "ends inside a block"),
    (b"\x02\x00", "zero inside"),
    (b"\x00", "zero inside"),
])
def test_broken_cobs_is_refused(data, reason):
    with pytest.raises(wire.WireError, match=reason):
        wire.cobs_decode(data)


def test_broken_frames_are_refused():
    body = wire.pack(Type.STATUS, 3, gseq=9)
    assert zlib.crc32(body[:-4]).to_bytes(4, "little") == body[-4:]
    for place in range(len(body)):
        for bit in range(8):
            broken = bytearray(body)
            broken[place] ^= 1 << bit
            with pytest.raises(wire.WireError, match="CRC"):
                wire.unpack(bytes(broken))
    with pytest.raises(wire.WireError, match="shorter"):
        wire.unpack(body[:13])
    unknown = b"\x7f" + body[1:-4]
    with pytest.raises(wire.WireError, match="unknown frame type 0x7f"):
        wire.unpack(unknown + zlib.crc32(unknown).to_bytes(4, "little"))


def test_fields_that_do_not_fit_are_named():
    with pytest.raises(wire.WireError, match=r"DATA\.set 256 does not fit 1 bytes"):
        wire.pack(Type.DATA, 0, set=256)
    with pytest.raises(wire.WireError, match="no field 'colour'"):
        wire.pack(Type.DATA, 0, colour=1)


def test_residue():
    """What the gateware's CRC register holds after a good frame and its CRC."""
    register = 0xFFFFFFFF
    for byte in wire.pack(Type.STATUS, 3, gseq=9):
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    assert register == wire.CRC_RESIDUE
