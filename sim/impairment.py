"""What a channel does to bytes by chance: it loses, repeats, inserts and damages.

The rules are those of :class:`firmware_model.channel.ByteChannel`, which predicts this component
byte for byte.
"""
# mypy: ignore-errors

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from firmware_model import channel as model
from firmware_model import wire
from firmware_model.wire import ChannelFault

__all__ = ["CHANCES", "Happened", "Impairment", "LineEvent"]

CHANCES = [fault for fault in ChannelFault if fault <= ChannelFault.BYTE_ERROR]

# A byte, and at a delimiter whether the frame that it ends comes a second time.
LineEvent = data.StructLayout({"byte": 8, "repeat": 1})

# What an impairment did to a byte, for the counters.
Happened = data.StructLayout({"frame_lost": 1, "byte_lost": 1, "inserted": 1, "burst": 1,
                              "error": 1})


class Impairment(wiring.Component):
    """Damages a stream of bytes by chance.

    While all chances are 0 a byte leaves in the clock after it was taken. Otherwise the generator
    is asked seven times for every byte, once a clock, and the byte leaves eight clocks after it was
    taken (if it does), a byte of chance behind it one clock later. Equal seeds and equal bytes
    give equal results.

    Parameters
    ----------
    link, direction : int
        Make the generators of one board differ under one seed.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
        Bytes before; at least eleven clocks apart.
    o : Out(stream.Signature(LineEvent, always_ready=True))
        Bytes after.
    possible : In(6)
        Which of the first six of ``ChannelFault`` have a chance other than 0.
    chance_at : Out(3)
        Number of the chance wanted in the next clock.
    chance : In(32)
        The chance that was asked for a clock ago; 0 is never, all ones is always.
    burst_bytes : In(8)
        Bytes of a burst.
    seed : In(32)
        Loaded into the generator while ``reseed`` is high. Do so while no byte is under way.
    happened : Out(Happened)
        Pulses.
    """

    i: In(stream.Signature(8, always_ready=True))
    o: Out(stream.Signature(LineEvent, always_ready=True))
    possible: In(len(CHANCES))
    chance_at: Out(range(len(CHANCES)))
    chance: In(32)
    burst_bytes: In(8)
    seed: In(32)
    reseed: In(1)
    happened: Out(Happened)

    def __init__(self, link=0, direction=model.SOURCE_TO_TARGET):
        self._salt = model.salt(link, direction)
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        number = Signal(32, init=1)     # of the generator
        byte = Signal(8)
        at_start = Signal(init=1)       # the byte is the first of its frame
        swallowing = Signal()
        burst_left = Signal(8)
        asked = Signal(range(len(CHANCES)))
        struck = Signal()               # the number of a clock ago was within the chance
        hit = Signal()
        repeat, lose, insert, flip = (Signal(name=name)
                                      for name in ("repeat", "lose", "insert", "flip"))
        is_delimiter = Signal()
        in_burst = Signal()
        extra = Signal(8)               # the byte that may follow
        m.d.comb += [
            hit.eq(struck & self.possible.bit_select(asked, 1)),
            is_delimiter.eq(byte == wire.DELIMITER),
            in_burst.eq(burst_left != 0),
            self.o.payload.byte.eq(byte),
            self.o.payload.repeat.eq(repeat),
        ]

        # Number and chance are there, and are compared, a clock before the answer is needed.
        m.d.sync += struck.eq(number <= self.chance)
        by_13 = Signal(32)
        by_17 = Signal(32)
        m.d.comb += [by_13.eq(number ^ (number << 13)[:32]), by_17.eq(by_13 ^ (by_13 >> 17))]

        def draw():
            m.d.sync += number.eq(by_17 ^ (by_17 << 5)[:32])

        def judge():
            with m.Switch(asked):
                with m.Case(ChannelFault.FRAME_LOSS):
                    with m.If(hit & at_start & ~is_delimiter):
                        m.d.sync += swallowing.eq(1)
                        m.d.comb += self.happened.frame_lost.eq(1)
                with m.Case(ChannelFault.FRAME_REPEAT):
                    m.d.sync += repeat.eq(hit & is_delimiter)
                with m.Case(ChannelFault.BYTE_LOSS):
                    m.d.sync += lose.eq(hit)
                with m.Case(ChannelFault.BYTE_INSERT):
                    m.d.sync += insert.eq(hit)
                with m.Case(ChannelFault.BURST):
                    with m.If(hit & ~in_burst):
                        m.d.sync += burst_left.eq(self.burst_bytes)
                        m.d.comb += self.happened.burst.eq(1)
                with m.Case(ChannelFault.BYTE_ERROR):
                    m.d.sync += flip.eq(hit)

        with m.FSM(name="impairment"):
            with m.State("TAKE BYTE"):
                m.d.sync += [byte.eq(self.i.payload), repeat.eq(0)]
                m.d.comb += self.chance_at.eq(self.i.valid)
                with m.If(~self.i.valid):
                    pass
                with m.Elif(self.possible.any() | swallowing | in_burst):
                    draw()
                    m.next = "ASK GENERATOR"
                with m.Else():
                    m.d.sync += [at_start.eq(self.i.payload == wire.DELIMITER),
                                 lose.eq(0), insert.eq(0)]
                    m.next = "GIVE BYTE"
            with m.State("ASK GENERATOR"):
                judge()
                m.d.comb += self.chance_at.eq(asked + 2)
                m.d.sync += asked.eq(asked + 1)
                with m.If(asked == len(CHANCES) - 1):
                    m.d.sync += asked.eq(0)
                    m.next = "DAMAGE BYTE"
                with m.Else():
                    draw()
            with m.State("DAMAGE BYTE"):
                draw()
                m.d.sync += [at_start.eq(is_delimiter), extra.eq(number[16:24])]
                m.next = "GIVE BYTE"
                with m.If(in_burst):
                    m.d.sync += burst_left.eq(burst_left - 1)
                with m.If(swallowing):
                    m.d.sync += swallowing.eq(~is_delimiter)
                    m.next = "TAKE BYTE"
                with m.Elif(lose):
                    m.d.comb += self.happened.byte_lost.eq(1)
                with m.Elif(in_burst):
                    m.d.sync += [byte.eq(byte ^ (number[8:16] | 1)), repeat.eq(0)]
                    m.d.comb += self.happened.error.eq(1)
                with m.Elif(flip):
                    m.d.sync += [byte.eq(byte ^ (1 << number[:3])), repeat.eq(0)]
                    m.d.comb += self.happened.error.eq(1)
            with m.State("GIVE BYTE"):
                m.d.comb += self.o.valid.eq(~lose)
                m.next = "TAKE BYTE"
                with m.If(insert):
                    m.d.comb += self.happened.inserted.eq(1)
                    m.d.sync += [byte.eq(extra), insert.eq(0), repeat.eq(0), lose.eq(0)]
                    m.next = "GIVE BYTE"

        with m.If(self.reseed):
            start = self.seed ^ self._salt
            m.d.sync += number.eq(Mux(start == 0, 1, start))
        return m
