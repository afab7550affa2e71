"""When an end of a line has to be heard, and when the other has not been heard for too long."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire

__all__ = ["BEAT_BITS", "Keepalive", "check_silence"]

# What both counters count: the bit times between two hellos of an end that is not up.
BEAT_BITS = 1024

# The shortest silence: two beats a keepalive, since the first beat may come at once.
MIN_SILENCE = 2 * BEAT_BITS * wire.KEEPALIVES_IN_SILENCE


def check_silence(bits):
    """Raise ``ValueError`` unless a silence of ``bits`` can be counted."""
    if bits < MIN_SILENCE or bits & (bits - 1):
        raise ValueError(f"silence_bits {bits} is not a power of two from {MIN_SILENCE} up: beats "
                         f"of {BEAT_BITS} bits are counted by wrapping around, and there are "
                         f"{wire.KEEPALIVES_IN_SILENCE} keepalives of two beats in it")


class Keepalive(wiring.Component):
    """Keeps an idle session from looking like a dead one, and ends the one that is dead.

    While the session is up, ``speak`` pulses when nothing has been said for a keepalive, and
    ``lost`` when nothing has been heard for ``silence_bits``, ``wire.KEEPALIVES_IN_SILENCE`` times
    as long. Both are up to one beat early.

    Parameters
    ----------
    silence_bits : int
        A power of two, at least 32 beats.

    Members
    -------
    beat : In(1)
        One clock every ``BEAT_BITS`` bit times.
    up : In(1)
        A session is up. Nothing is counted otherwise.
    said : In(1)
        A frame goes out.
    heard : In(1)
        A frame with a good CRC has come in.
    speak : Out(1)
        One clock, with ``beat``: say something.
    lost : Out(1)
        One clock, with ``beat``: end the session.
    """

    beat: In(1)
    up: In(1)
    said: In(1)
    heard: In(1)
    speak: Out(1)
    lost: Out(1)

    def __init__(self, silence_bits=wire.SILENCE_BITS):
        check_silence(silence_bits)
        self._silence = silence_bits // BEAT_BITS
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        unsaid = Signal(range(self._silence // wire.KEEPALIVES_IN_SILENCE))
        unheard = Signal(range(self._silence))
        m.d.comb += [
            self.speak.eq(self.beat & self.up & unsaid.all()),
            self.lost.eq(self.beat & self.up & unheard.all()),
        ]
        for count, ended in ((unsaid, self.said), (unheard, self.heard)):
            with m.If(ended | ~self.up):
                m.d.sync += count.eq(0)
            with m.Elif(self.beat):
                m.d.sync += count.eq(count + 1)
        return m
