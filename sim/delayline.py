"""A delay line for bytes, which can also say a frame twice."""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire

from .impairment import LineEvent

__all__ = ["DELAY_BITS", "DelayLine"]

DELAY_BITS = 16
INPUT_BYTES = 16            # inserted bytes wait here for their ticks

# A tick of the past: a byte, or none. ``byte`` is 0 in an empty tick, and 1 in one that holds
# the delimiter of a frame to be said twice.
Tick = data.StructLayout({"byte": 8, "valid": 1})


class DelayLine(wiring.Component):
    """Holds every byte for a number of ticks.

    A circular memory is written once a tick, with a byte or a gap, and read some ticks behind.
    A byte leaves exactly ``delay`` ticks (and three clocks) after the tick that took it, which is
    the first tick after it was offered, unless bytes were inserted or frames repeated shortly
    before. That takes time on the line, so all that follows comes later; the lag is made up by
    leaving out gaps, one a tick, while the line ahead is ``dry``. A frame that is longer than what
    the memory has room for is not repeated.

    ``delay`` may change at any time. Made longer, what is inside just comes out later. Made
    shorter, what would now have to be out already is lost. Nothing is ever reordered or invented:
    only the last ``behind`` ticks are still inside, whatever ``delay`` says.

    Parameters
    ----------
    depth : int
        Ticks of memory, a power of two; ``delay`` must stay below it.

    Members
    -------
    i : In(stream.Signature(LineEvent, always_ready=True))
        Bytes. Up to 16 wait for their ticks; one more is lost with ``overrun``.
    o : Out(stream.Signature(8, always_ready=True))
        Valid for one clock a byte.
    room : In(1)
        While low nothing comes out: the lag grows. If the memory is full the byte whose turn
        it is is lost with ``overrun``.
    dry : In(1)
        Whoever takes the bytes has run out of them, so the lag may be made up.
    tick : In(1)
        Time passes; at least nine clocks apart.
    delay : In
        In ticks.
    clear : In(1)
        While high everything inside and everything offered is lost. At least 16 clocks.
    repeated, overrun : Out(1)
        Pulse when a frame begins to be said again, and for a byte lost for want of room.
    """

    def __init__(self, depth):
        if not 2 <= depth <= 1 << DELAY_BITS or depth & (depth - 1):
            raise ValueError(f"depth {depth} is not a power of two in 2..{1 << DELAY_BITS}: "
                             "the place in the memory wraps, and DELAY is 16 bits")
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(LineEvent, always_ready=True)),
            "o": Out(stream.Signature(8, always_ready=True)),
            "room": In(1, init=1),
            "dry": In(1, init=1),
            "tick": In(1),
            "delay": In(range(depth)),
            "clear": In(1),
            "repeated": Out(1),
            "overrun": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.line = line = memory.Memory(shape=Tick, depth=self.depth, init=[])
        # Reading comes one clock after writing, never with it: no rule for both is needed.
        write, read = line.write_port(), line.read_port()
        m.submodules.offered = offered = fifo.SyncFIFO(width=9, depth=INPUT_BYTES)

        place = Signal(range(self.depth))       # where this tick was written
        behind = Signal(range(self.depth))      # ticks before it that have not come out
        lag = Signal(range(self.depth))         # more of them than ``delay`` says
        length = Signal(range(self.depth))      # ticks of the frame that is coming out
        again = Signal()                        # it comes out for the second time
        made_up = Signal()                      # a gap has been left out in this tick
        full = Signal()
        wanted = Signal(DELAY_BITS + 1)         # how far behind to be
        event = data.View(LineEvent, offered.r_data)
        now = Signal(Tick)
        m.d.comb += [
            offered.w_en.eq(self.i.valid),
            offered.w_data.eq(self.i.payload),
            write.addr.eq(place),
            write.data.byte.eq(Mux(event.repeat, 1, event.byte)),
            write.data.valid.eq(~event.repeat),
            self.o.payload.eq(Mux(now.valid, now.byte, wire.DELIMITER)),
            full.eq(behind == self.depth - 1),
        ]
        m.d.sync += wanted.eq(self.delay + lag)
        with m.If(~offered.r_rdy):
            m.d.comb += write.data.eq(0)

        is_byte = Signal()
        is_end = Signal()
        wants_repeat = Signal()
        longer = Signal(len(length) + 1)        # how far behind a repeated frame leads
        m.d.comb += [
            is_end.eq(self.o.payload == wire.DELIMITER),
            is_byte.eq(now.valid | now.byte[0]),
            longer.eq(behind + length + 1),
            wants_repeat.eq(~now.valid & ~again & (length != 0) & ~longer[-1]),
        ]

        def end_tick():
            m.d.sync += [place.eq(place + 1), made_up.eq(0)]
            m.next = "AWAIT TICK"

        def look_back():
            m.d.comb += [read.addr.eq(place - behind), read.en.eq(1)]
            m.next = "LOOK"

        def follow_frame():
            """A tick has come out: count it, and go back to the frame's first if so wanted."""
            with m.If(~is_byte | ~is_end):
                with m.If((is_byte | (length != 0)) & ~length.all()):
                    m.d.sync += length.eq(length + 1)
            with m.Else():
                m.d.sync += [length.eq(0), again.eq(wants_repeat)]
                with m.If(wants_repeat):
                    m.d.comb += self.repeated.eq(1)
                    m.d.sync += [behind.eq(longer), lag.eq(lag + length + 1)]

        with m.FSM(name="delay_line"):
            with m.State("AWAIT TICK"):
                with m.If(self.tick):
                    m.d.comb += [write.en.eq(1), offered.r_en.eq(1)]
                    m.next = "FIND PLACE"
            with m.State("FIND PLACE"):
                with m.If((behind < wanted) & ~full):
                    m.d.sync += behind.eq(behind + 1)
                    end_tick()
                with m.Elif(behind > wanted):
                    m.d.sync += behind.eq(wanted)
                    m.next = "LOOK BACK"
                with m.Else():
                    look_back()
            with m.State("LOOK BACK"):
                look_back()
            with m.State("LOOK"):
                m.d.sync += now.eq(read.data)
                m.next = "LET OUT"
            with m.State("LET OUT"):
                end_tick()
                with m.If(is_byte & ~self.room):
                    m.d.comb += self.overrun.eq(full)
                    with m.If(~full):
                        m.d.sync += [behind.eq(behind + 1), lag.eq(lag + 1)]
                with m.Else():
                    m.d.comb += self.o.valid.eq(is_byte)
                    follow_frame()
                with m.If(~is_byte & self.dry & (lag != 0) & ~made_up):
                    m.d.sync += [behind.eq(behind - 1), lag.eq(lag - 1), made_up.eq(1),
                                 place.eq(place)]
                    m.next = "LOOK BACK"

        with m.If(self.i.valid & ~offered.w_rdy):
            m.d.comb += self.overrun.eq(1)
        with m.If(self.clear):
            m.d.comb += [self.o.valid.eq(0), offered.r_en.eq(1), self.overrun.eq(0)]
            m.d.sync += [behind.eq(0), lag.eq(0), length.eq(0), again.eq(0)]
        return m
