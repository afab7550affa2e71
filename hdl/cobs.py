"""Consistent Overhead Byte Stuffing: a frame becomes bytes without a zero, a zero ends it.

A receiver that joins anywhere, or meets garbage, is in step again at the next zero.
"""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from firmware_model import wire

from .interfaces import LineByte

__all__ = ["CobsDecoder", "CobsEncoder", "CobsWriter", "DecodedByte"]

LONGEST_BLOCK = 255         # code byte and 254 bytes

# One beat out of the decoder: a byte of the frame, or (``end``) its end, with ``bad`` if the
# encoding was broken. ``data`` is meaningless at an end, ``bad`` without one.
DecodedByte = data.StructLayout({"data": 8, "end": 1, "bad": 1})


def _check_depth(depth):
    if not isinstance(depth, int) or depth < 512 or depth & (depth - 1):
        raise ValueError(f"depth {depth!r} is not a power of two of at least 512: a block of "
                         f"{LONGEST_BLOCK} bytes must fit beside what the line is sending")


class CobsWriter(wiring.Component):
    """Frames to blocks, written into a ring.

    Every block is preceded by its length, so it must be seen whole before its first byte can
    leave. The place of the code is left open, and filled in when the block is complete. One write
    a clock.

    The encoding is canonical (no empty block after a final full one): equal to
    :func:`firmware_model.wire.to_line` and to the ``cobs`` package.

    Throughput: one byte in one clock, up to three at the end of a block or frame.

    Parameters
    ----------
    depth : int
        Bytes of the ring, a power of two of at least 512.

    Members
    -------
    i : In(stream.Signature(LineByte))
        Bytes of frames; ``last`` ends a frame. A frame has at least one byte.
    has_room : In(1)
        Four places of the ring are free: one step may open a block, write, reopen and delimit.
    move, place : In(1), In(range(depth))
        Go on at ``place``. Only between two frames.
    end : Out(range(depth))
        Where the next byte goes.
    code_at : Out(range(depth))
        Code of the open block.
    released : Out(range(depth))
        Up to here blocks are complete.
    addr, data, en : Out(range(depth)), Out(8), Out(1)
        Write port of the ring.
    """

    def __init__(self, depth):
        _check_depth(depth)
        place = range(depth)
        super().__init__({
            "i": In(stream.Signature(LineByte)),
            "has_room": In(1),
            "move": In(1),
            "place": In(place),
            "end": Out(place),
            "code_at": Out(place),
            "released": Out(place),
            "addr": Out(place),
            "data": Out(8),
            "en": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        end, code_at, released = self.end, self.code_at, self.released
        is_open = Signal()
        length = Signal.like(end)   # of the open block with its code
        m.d.comb += length.eq(end - code_at)

        def append(value):
            return [self.addr.eq(end), self.data.eq(value), self.en.eq(1)]

        def open_block():
            return [code_at.eq(end), end.eq(end + 1), is_open.eq(1)]

        encoded = Signal()          # the zero in hand has its code; only the frame's end is left
        with m.FSM():
            with m.State("TAKE BYTE"):
                with m.If(~self.i.valid | ~self.has_room):
                    pass
                with m.Elif(~is_open):
                    m.d.sync += open_block()
                with m.Elif(self.i.payload.data == 0):
                    m.next = "CLOSE BLOCK"
                with m.Else():
                    m.d.comb += append(self.i.payload.data)
                    m.d.sync += end.eq(end + 1)
                    with m.If(self.i.payload.last | (length == LONGEST_BLOCK - 1)):
                        m.next = "CLOSE BLOCK"
                    with m.Else():
                        m.d.comb += self.i.ready.eq(1)
            with m.State("CLOSE BLOCK"):
                m.d.comb += [self.addr.eq(code_at), self.data.eq(length), self.en.eq(1)]
                m.d.sync += [released.eq(end), is_open.eq(0)]
                with m.If((self.i.payload.data == 0) & ~encoded):
                    # The zero is said by the block's end, and a block must follow it.
                    m.d.sync += [*open_block(), encoded.eq(self.i.payload.last)]
                    with m.If(~self.i.payload.last):
                        m.d.comb += self.i.ready.eq(1)
                        m.next = "TAKE BYTE"
                with m.Elif(self.i.payload.last):
                    m.next = "DELIMIT FRAME"
                with m.Else():
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "TAKE BYTE"
            with m.State("DELIMIT FRAME"):
                m.d.comb += [*append(wire.DELIMITER), self.i.ready.eq(1)]
                m.d.sync += [end.eq(end + 1), released.eq(end + 1), encoded.eq(0)]
                m.next = "TAKE BYTE"
        with m.If(self.move):
            m.d.sync += end.eq(self.place)
        return m


class CobsEncoder(wiring.Component):
    """Frames to line bytes.

    A :class:`CobsWriter` with its ring in block RAM; the line reads what is released.

    The ring also is what keeps the line from running dry. When the writer has to wait for room,
    at most one incomplete block of it is not yet released: ``depth - 263`` bytes are ahead of
    the line, so whatever feeds the encoder may pause for as long as those last, also between two
    frames.

    Throughput: one byte in one clock, up to three at the end of a block or frame.

    Parameters
    ----------
    depth : int
        Bytes of the ring: a power of two, at least 512 (a longest block must fit beside what
        the line is sending). 512 is one iCE40 block RAM.

    Members
    -------
    i : In(stream.Signature(LineByte))
        Bytes of frames; ``last`` ends a frame. A frame has at least one byte.
    o : Out(stream.Signature(8))
        Line bytes, one zero after each frame.
    """

    i: In(stream.Signature(LineByte))
    o: Out(stream.Signature(8))

    def __init__(self, depth=512):
        _check_depth(depth)
        self._depth = depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        place = range(self._depth)
        m.submodules.writer = writer = CobsWriter(self._depth)
        wiring.connect(m, wiring.flipped(self.i), writer.i)

        m.submodules.ring = ring = Memory(shape=8, depth=self._depth, init=[])
        # The released part is never written, so what a read during a write returns is of no
        # concern: the default, old data.
        write = ring.write_port()
        read = ring.read_port()

        begin = Signal(place)       # what the line reads
        used = Signal(place)
        released = Signal(place)
        # The address runs one clock ahead of the byte on offer.
        ahead = Signal(place)
        m.d.comb += [
            used.eq(writer.end - begin),
            ahead.eq(begin + (self.o.valid & self.o.ready)),
            read.addr.eq(ahead),
            read.en.eq(1),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [
            # The room of a clock ago: eight places less are four, whatever is written meanwhile.
            writer.has_room.eq(~used[3:].all()),
            # Bytes are chosen in one clock and written in the next, and then let go of.
            write.addr.eq(writer.addr),
            write.data.eq(writer.data),
            write.en.eq(writer.en),
            released.eq(writer.released),
            begin.eq(ahead),
            self.o.valid.eq(ahead != released),
        ]
        return m


class CobsDecoder(wiring.Component):
    """Line bytes to frames.

    Each line byte gives at most one beat, in the clock in which it is taken. A zero anywhere
    ends the frame: within a block with ``bad`` set. Delimiters with nothing between them are
    skipped. After any garbage the decoder is in step from the next zero on.

    Members
    -------
    i : In(stream.Signature(8))
        Line bytes.
    o : Out(stream.Signature(DecodedByte))
        Bytes of frames, and one beat for the end of each.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(DecodedByte))

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)            # bytes of the block still to come
        inside = Signal()           # a frame has begun
        owes_zero = Signal()        # the last block stands for a zero, if another follows
        speaks = Signal()           # this byte gives a beat
        is_end = Signal()
        is_code = Signal()
        m.d.comb += [
            is_end.eq(self.i.payload == wire.DELIMITER),
            is_code.eq(~is_end & (left == 0)),
            speaks.eq(Mux(is_end, inside, ~is_code | owes_zero)),
            self.o.valid.eq(self.i.valid & speaks),
            self.i.ready.eq(self.o.ready | ~speaks),
            self.o.payload.data.eq(Mux(is_code, 0, self.i.payload)),
            self.o.payload.end.eq(is_end),
            self.o.payload.bad.eq(left != 0),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(is_end):
                m.d.sync += [left.eq(0), inside.eq(0), owes_zero.eq(0)]
            with m.Elif(is_code):
                m.d.sync += [inside.eq(1), owes_zero.eq(self.i.payload != LONGEST_BLOCK)]
            with m.If(~is_end):
                m.d.sync += left.eq(Mux(is_code, self.i.payload, left) - 1)
        return m
