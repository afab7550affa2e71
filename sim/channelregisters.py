"""The registers of a channel emulator: settings and counts, in one memory."""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import channel as model
from firmware_model import wire
from firmware_model.wire import ChannelFault, Code, LineFault
from hdl.interfaces import RegisterPort

from .delayline import DELAY_BITS
from .impairment import CHANCES
from .linedriver import SKEW_BITS

__all__ = ["ChannelEvents", "ChannelPage", "ChannelSettings", "Live"]

WORDS = 32
FIRST_COUNT = wire.Channel.FRAMES_LOST
CONTROL_BITS = 2 * len(LineFault)
DIRECTIONS_BITS = 2 * len(ChannelFault)

# One bit for each count of a direction, in the order of the registers.
ChannelEvents = data.StructLayout({
    r.name.lower(): 1 for r in wire.Channel if r >= FIRST_COUNT})

# The settings that are needed at every clock.
Live = data.StructLayout({
    "control": CONTROL_BITS, "directions": DIRECTIONS_BITS, "delay": DELAY_BITS, "seed": 32,
    "skew": signed(SKEW_BITS), "burst_bytes": 8, "flap_up": 16, "flap_down": 16})


def ChannelSettings():
    """What the registers of a channel can be told to hold when it leaves reset."""
    return data.StructLayout({"control": CONTROL_BITS, "delay": DELAY_BITS, "byte_error": 32,
                              "frame_loss": 32, "seed": 32})


class ChannelPage(wiring.Component):
    """Holds the registers ``wire.Channel``.

    They are words of one memory. Settings that are needed all the time are in registers besides;
    chances are read when they are needed, through a port a direction. Counts are added to one at
    a time, in two clocks each: events of one kind and direction are at least 34 clocks apart, and
    all of them are served in that time.

    A register is answered after one to 3 clocks, after reset after up to 70. Writing one that is
    read only answers READ_ONLY, a value out of its range or unknown bits BAD_VALUE, an address
    beyond the last BAD_REGISTER; none of these changes anything.

    Parameters
    ----------
    depth : int
        Ticks that the delay lines hold.

    Members
    -------
    initial : In(ChannelSettings())
        Taken over in the first 64 clocks after reset; what it does not name is 0, but
        DIRECTIONS are all and bursts ``model.DEFAULT_BURST_BYTES`` long.
    bus : In(RegisterPort())
        The low five bits of ``addr`` count.
    live : Out(Live)
        Settings.
    possible : Out(6)
        Which chances are not 0.
    reseed, reflap : Out(1)
        Pulse when SEED, or a time of flapping, has been written.
    chance_at : In(3) of each direction
        Number of a chance.
    chance : Out(32) of each direction
        The chance that was asked for a clock ago.
    events : In(ChannelEvents) of each direction
        What to count.
    """

    def __init__(self, depth):
        self.depth = depth
        super().__init__({
            "initial": In(ChannelSettings()),
            "bus": In(RegisterPort()),
            "live": Out(Live),
            "possible": Out(len(CHANCES)),
            "reseed": Out(1),
            "reflap": Out(1),
            "chance_at": In(range(len(CHANCES))).array(2),
            "chance": Out(32).array(2),
            "events": In(ChannelEvents).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(shape=32, depth=WORDS, init=[])
        # A word that is read while it is written counts as read before: the old one.
        write, read = words.write_port(), words.read_port()
        for number in range(2):
            chance = words.read_port()
            where = Array(wire.Channel[fault.name] for fault in CHANCES)
            m.d.comb += [chance.addr.eq(where[self.chance_at[number]]),
                         self.chance[number].eq(chance.data)]

        waiting = [Signal(ChannelEvents, name=f"waiting_{number}") for number in range(2)]
        left = [events.as_value() for events in waiting]
        first = Signal(range(len(left[0])))
        second_only = Signal()
        event = Signal.like(first)              # at hand, if there is ``one``
        direction = Signal()
        one = Signal()
        looks = Signal()
        for number, events in enumerate(waiting):
            taken = (looks & (direction == number)) << event
            m.d.sync += events.eq((left[number] & ~taken) | self.events[number].as_value())
        m.d.comb += second_only.eq(~left[0].any())
        for number in reversed(range(len(left[0]))):
            with m.If(Mux(second_only, left[1], left[0])[number]):
                m.d.comb += first.eq(number)
        # The one that is looked up has left by the time it is counted.
        with m.If(~looks):
            m.d.sync += [event.eq(first), direction.eq(second_only), one.eq(Cat(left).any())]

        start = Signal(6)       # twice through all words, by when ``initial`` is known
        self._take_over(m, write)
        m.d.comb += self.bus.rdata.eq(read.data)
        allowed = Signal()      # what is asked for is a write, and sound
        judgement = self._judge()
        # A request stands for a clock before it is answered.
        m.d.sync += [self.bus.code.eq(judgement), allowed.eq(self.bus.we & (judgement == Code.OK))]
        with m.FSM(name="page"):
            with m.State("START UP"):
                m.d.comb += [write.addr.eq(start), write.en.eq(1),
                             write.data.eq(self._first(start))]
                m.d.sync += start.eq(start + 1)
                with m.If(start.all()):
                    m.next = "SERVE"
            with m.State("SERVE"):
                m.d.comb += read.addr.eq(self.bus.addr[:5])
                with m.If(self.bus.req):
                    m.next = "ANSWER"
                with m.Elif(one):
                    m.d.comb += [read.addr.eq(event + FIRST_COUNT), looks.eq(1)]
                    m.next = "COUNT"
            with m.State("ANSWER"):
                m.d.comb += [self.bus.ack.eq(1), write.addr.eq(self.bus.addr[:5]),
                             write.data.eq(self.bus.wdata),
                             write.en.eq(allowed)]
                m.next = "SERVE"
            with m.State("COUNT"):
                m.d.comb += [write.addr.eq(event + FIRST_COUNT), write.data.eq(read.data + 1),
                             write.en.eq(1)]
                m.next = "SERVE"
        return m

    def _first(self, address):
        """What a word holds after reset."""
        named = {
            wire.Channel.CONTROL: self.initial.control,
            wire.Channel.DIRECTIONS: C(model.ALL_DIRECTIONS, 32),
            wire.Channel.DELAY: Mux(self.initial.delay < self.depth, self.initial.delay,
                                    self.depth - 1),
            wire.Channel.MAX_DELAY: C(self.depth - 1, 32),
            wire.Channel.SEED: self.initial.seed,
            wire.Channel.BURST_BYTES: C(model.DEFAULT_BURST_BYTES, 32),
            wire.Channel.FRAME_LOSS: self.initial.frame_loss,
            wire.Channel.BYTE_ERROR: self.initial.byte_error,
        }
        return Array([named.get(number, C(0, 32)) for number in range(WORDS)])[address[:5]]

    def _judge(self):
        """The code that answers the request."""
        address, value = self.bus.addr[:5], self.bus.wdata
        bounds = {
            wire.Channel.CONTROL: value >> CONTROL_BITS != 0,
            wire.Channel.DIRECTIONS: value >> DIRECTIONS_BITS != 0,
            wire.Channel.DELAY: value >= self.depth,
            wire.Channel.SKEW: value[SKEW_BITS - 1:].any() & ~value[SKEW_BITS - 1:].all(),
            wire.Channel.BURST_BYTES: (value == 0) | (value > model.MAX_BURST_BYTES),
            wire.Channel.FLAP_UP: value >> 16 != 0,
            wire.Channel.FLAP_DOWN: value >> 16 != 0,
        }
        bad = Cat((address == register) & wrong for register, wrong in bounds.items()).any()
        refusal = Mux((address == wire.Channel.MAX_DELAY) | (address >= FIRST_COUNT),
                      Code.READ_ONLY, Mux(bad, Code.BAD_VALUE, Code.OK))
        return Mux(address > max(wire.Channel), Code.BAD_REGISTER,
                   Mux(self.bus.we, refusal, Code.OK))

    def _take_over(self, m, write):
        """Settings that are needed all the time follow what is written, two clocks later."""
        addr, value, written = Signal.like(write.addr), Signal.like(write.data), Signal()
        m.d.sync += [addr.eq(write.addr), value.eq(write.data), written.eq(write.en),
                     self.reseed.eq(0), self.reflap.eq(0)]
        with m.If(written):
            with m.Switch(addr):
                for name in Live.members:
                    with m.Case(wire.Channel[name.upper()]):
                        m.d.sync += self.live[name].eq(value)
                        if name == "seed":
                            m.d.sync += self.reseed.eq(1)
                        if name.startswith("flap"):
                            m.d.sync += self.reflap.eq(1)
                for fault in CHANCES:
                    with m.Case(wire.Channel[fault.name]):
                        m.d.sync += self.possible.bit_select(fault, 1).eq(value != 0)
