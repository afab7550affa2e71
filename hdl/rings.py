"""Bytes between serial lines and rings in block RAM, for all lines of a system."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .processor import StatePort

__all__ = ["RING_BITS", "Ferry", "RingWord"]

# A ring must hold a longest frame of 512 bytes whole, and what comes while others are served.
RING_BITS = 10


class RingWord:
    """Words of a line's state that say where its rings begin and end."""

    RX_BEGIN = 0        # the processor's: of the frame to be looked at next
    RX_END = 1          # the ferry's: where the next byte goes
    RX_WHOLE = 2        # the ferry's: behind the last delimiter
    TX_BEGIN = 3        # the ferry's: what the line takes next
    TX_END = 4          # the processor's: behind the last whole frame


class Ferry(wiring.Component):
    """Carries bytes from receivers into rings and from rings to transmitters, one at a time.

    All rings of a direction are one memory. Where a ring begins and ends is said by words of the
    state memory (``RingWord``), which are read when a byte wants to be carried: at most 4 turns, 8
    clocks, a byte. A received byte that finds its ring full is dropped, with ``overflow``. Nothing
    is carried before ``ready``, when those words mean something.

    A delimiter that is a byte without a stop bit is stored twice. So whoever reads the ring sees
    that it has cut a frame: an empty one follows.

    Parameters
    ----------
    lines : int

    Members
    -------
    ready : In(1)
    rx : In(stream.Signature(8, always_ready=True)).array(lines)
        From receivers, at least 8 * 2 * lines clocks apart; twice that after one that is stored
        twice.
    cuts : In(lines)
        With a byte of ``rx``: it is to be stored twice.
    tx : Out(stream.Signature(8)).array(lines)
        To transmitters.
    overflow : Out(lines)
    whole : Out(lines)
        One clock: the delimiter of a frame was stored, ``RX_WHOLE`` has moved.
    wake : In(lines)
        One clock: ``TX_END`` has moved.
    state : Out(StatePort)
    take_addr : In(line, place), take_en : In(1), take_data : Out(8)
        Read port of the receive rings: data in the next clock, until ``take_en`` again.
    give_addr : In(line, place), give_data : In(8), give_en : In(1)
        Write port of the transmit rings.
    """

    def __init__(self, lines):
        self.lines = lines
        ring = RING_BITS + max(1, (lines - 1).bit_length())
        super().__init__({
            "ready": In(1),
            "rx": In(stream.Signature(8, always_ready=True)).array(lines),
            "cuts": In(lines),
            "tx": Out(stream.Signature(8)).array(lines),
            "overflow": Out(lines),
            "whole": Out(lines),
            "wake": In(lines),
            "state": Out(StatePort(9)),
            "take_addr": In(ring), "take_en": In(1), "take_data": Out(8),
            "give_addr": In(ring), "give_data": In(8), "give_en": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.lines << RING_BITS
        m.submodules.rx_ring = rx_ring = Memory(shape=8, depth=depth, init=[])
        m.submodules.tx_ring = tx_ring = Memory(shape=8, depth=depth, init=[])
        # Neither reads where it writes: only whole frames are read.
        store, take = rx_ring.write_port(), rx_ring.read_port()
        give, fetch = tx_ring.write_port(), tx_ring.read_port()
        m.d.comb += [
            take.addr.eq(self.take_addr), take.en.eq(self.take_en), self.take_data.eq(take.data),
            give.addr.eq(self.give_addr), give.data.eq(self.give_data), give.en.eq(self.give_en),
        ]

        # -- one byte in hand for each line and direction --------------------------------------

        arrived = Signal(self.lines)        # waits to be stored
        twice = Signal(self.lines)          # ... and once more
        alive = Signal(self.lines)          # the ring to the line is not known to be empty
        byte = Array(Signal(8, name=f"byte_{n}") for n in range(self.lines))
        stored, dry, given = (Signal(self.lines, name=name) for name in ("stored", "dry", "given"))
        wanting = Signal(self.lines)
        for n, (rx, tx) in enumerate(zip(self.rx, self.tx, strict=True)):
            with m.If(rx.valid):
                m.d.sync += byte[n].eq(rx.payload)
            with m.If(tx.ready):
                m.d.sync += tx.valid.eq(0)
            with m.If(given[n]):
                m.d.sync += [tx.valid.eq(1), tx.payload.eq(fetch.data)]
            m.d.comb += wanting[n].eq(alive[n] & ~tx.valid)
        carrying = self.ready.replicate(self.lines)
        m.d.sync += [
            twice.eq((twice & ~stored) | (self.cuts & carrying)),
            arrived.eq((arrived & ~(stored & ~twice))
                       | (Cat(rx.valid for rx in self.rx) & carrying)),
            alive.eq((alive & ~dry) | self.wake),
        ]

        # -- one of them at a time -------------------------------------------------------------

        at = Signal(range(self.lines))
        here = Signal(self.lines)
        limit = Signal(RING_BITS)
        place = Signal(RING_BITS)
        after = Signal(RING_BITS)
        port = self.state
        word = Signal(7)
        m.d.comb += [
            here.eq(1 << at),
            port.addr.eq(Cat(word, at, C(0, 9 - 7 - len(at)))),
            port.waddr.eq(port.addr),
            port.wdata.eq(after),
            place.eq(port.data),
            after.eq(place + 1),
            store.addr.eq(Cat(place, at)),
            store.data.eq(byte[at]),
            fetch.addr.eq(Cat(place, at)),
        ]

        def seek(requests, state):
            for n in range(self.lines):
                with m.If(requests[n]):
                    m.d.sync += at.eq(n)
            with m.If(requests.any()):
                m.next = state

        with m.FSM():
            with m.State("SEEK BYTE"):
                # Receivers cannot wait. Begin with a turn, or what comes next is an older answer.
                with m.If(port.turn):
                    pass
                with m.Elif(arrived.any()):
                    seek(arrived, "READ RX BEGIN")
                with m.Else():
                    seek(wanting, "READ TX END")
            with m.State("READ RX BEGIN"):
                m.d.comb += word.eq(RingWord.RX_BEGIN)
                with m.If(port.valid):
                    m.d.sync += limit.eq(place)
                    m.next = "STORE BYTE"
            with m.State("STORE BYTE"):
                m.d.comb += word.eq(RingWord.RX_END)
                with m.If(port.valid):
                    m.d.comb += stored.eq(here)
                    m.d.sync += limit.eq(after)
                    m.next = "SEEK BYTE"
                    with m.If(after == limit):
                        m.d.comb += self.overflow.eq(here)
                    with m.Else():
                        m.d.comb += [store.en.eq(1), port.we.eq(1)]
                        with m.If(store.data == 0):
                            m.next = "MARK FRAME"
            with m.State("MARK FRAME"):
                m.d.comb += [word.eq(RingWord.RX_WHOLE), port.wdata.eq(limit)]
                with m.If(port.valid):
                    m.d.comb += [port.we.eq(1), self.whole.eq(here)]
                    m.next = "SEEK BYTE"
            with m.State("READ TX END"):
                m.d.comb += word.eq(RingWord.TX_END)
                with m.If(port.valid):
                    m.d.sync += limit.eq(place)
                    m.next = "FETCH BYTE"
            with m.State("FETCH BYTE"):
                m.d.comb += word.eq(RingWord.TX_BEGIN)
                with m.If(port.valid):
                    m.d.comb += fetch.en.eq(1)
                    m.next = "GIVE BYTE"
                    with m.If(place == limit):
                        m.d.comb += dry.eq(here)
                        m.next = "SEEK BYTE"
                    with m.Else():
                        m.d.comb += port.we.eq(1)
            with m.State("GIVE BYTE"):
                m.d.comb += given.eq(here)
                m.next = "SEEK BYTE"
        return m
