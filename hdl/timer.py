"""Time in bits of a line."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BitTimer"]


class BitTimer(wiring.Component):
    """Counts bit times, so that everything that waits suits every baud rate.

    Parameters
    ----------
    unit : int
        Bits a unit, a power of two.
    beat : int
        Units a beat, a power of two.

    Members
    -------
    tick : In(1)
        One clock a bit.
    unit : Out(1)
        One clock every ``unit`` bits.
    beat : Out(1)
        One clock every ``beat`` units, together with ``unit``.
    """

    tick: In(1)
    unit: Out(1)
    beat: Out(1)

    def __init__(self, unit, beat):
        for name, value in (("unit", unit), ("beat", beat)):
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name} {value} is not a power of two from 2 up: "
                                 "it is counted by wrapping around")
        self._bits = unit
        self._units = beat
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        bits = Signal(range(self._bits))
        units = Signal(range(self._units))
        m.d.comb += [
            self.unit.eq(self.tick & bits.all()),
            self.beat.eq(self.unit & units.all()),
        ]
        with m.If(self.tick):
            m.d.sync += bits.eq(bits + 1)
        with m.If(self.unit):
            m.d.sync += units.eq(units + 1)
        return m
