"""A transmitter and a receiver that never rest, for millions of bytes in the compiled simulation.

Bytes of a pseudo-random sequence follow each other without a gap, over a line whose every edge is
late by chance, to a receiver with another bit length. Any byte on the source's host line is
answered with how many were received (four bytes) and how many of them were wrong (two).
"""

from amaranth import *

from hdl.uart import UartRx, UartTx
from sim.top import BoardPorts

JITTER_BIT = 24             # of ``init_seed``: below it the receiver's divisor, above the jitter


class Soak(BoardPorts):
    """Has the ports of :class:`sim.top.Board`.

    Members
    -------
    link_divisor : In(24)
        Of the transmitter.
    init_seed : In(32)
        Bits 0..23: of the receiver. Bits 24..26: edges are up to so many clocks late.
    """

    def __init__(self, geometry, mutation=None):
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = UartTx()
        m.submodules.receiver = receiver = UartRx()
        m.submodules.ear = ear = UartRx()
        m.submodules.mouth = mouth = UartTx()

        setting = Signal(32)
        divisors = Signal(24), Signal(24)
        settled = Signal(8)         # clocks: until the settings are known nothing is said
        m.d.sync += [setting.eq(self.init_seed), divisors[0].eq(self.link_divisor),
                     divisors[1].eq(self.host_divisor),
                     settled.eq(settled + ~settled.all())]

        # The line: late by ``late`` clocks, which is drawn anew at every edge.
        line = Signal(8, init=0xFF)
        chance = Signal(16, init=1)
        late = Signal(3)
        m.d.sync += [line.eq(Cat(sender.tx, line)),
                     chance.eq(Cat(chance[15] ^ chance[13] ^ chance[12] ^ chance[10], chance))]
        with m.If(sender.tx != line[0]):
            m.d.sync += late.eq(Mux(chance[:3] > setting[JITTER_BIT:JITTER_BIT + 3], 0,
                                    chance[:3]))
        m.d.comb += [
            sender.divisor.eq(divisors[0]), receiver.divisor.eq(setting[:JITTER_BIT]),
            receiver.rx.eq(line.bit_select(late, 1)),
        ]

        said, heard = Signal(16, init=0xACE1), Signal(16, init=0xACE1)

        def following(state):
            return Cat(state[15] ^ state[13] ^ state[12] ^ state[10], state)[:16]

        count, wrong = Signal(32), Signal(16)
        m.d.comb += [sender.i.valid.eq(settled.all()), sender.i.payload.eq(said),
                     self.activity.eq(count)]       # or the harness would take it for idle
        with m.If(sender.i.valid & sender.i.ready):
            m.d.sync += said.eq(following(said))
        with m.If(receiver.o.valid & settled.all()):
            m.d.sync += [heard.eq(following(heard)), count.eq(count + 1)]
            with m.If((receiver.o.payload != heard[:8]) & ~wrong.all()):
                m.d.sync += wrong.eq(wrong + 1)

        report, left = Signal(48), Signal(range(7))
        m.d.comb += [ear.divisor.eq(divisors[1]), ear.rx.eq(self.source_rx),
                     mouth.divisor.eq(divisors[1]), self.source_tx.eq(mouth.tx),
                     mouth.i.valid.eq(left != 0), mouth.i.payload.eq(report)]
        with m.If(ear.o.valid):
            m.d.sync += [report.eq(Cat(count, wrong)), left.eq(6)]
        with m.Elif(mouth.i.valid & mouth.i.ready):
            m.d.sync += [report.eq(report >> 8), left.eq(left - 1)]
        return m
