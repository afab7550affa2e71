"""Which reads at the target are marked INCONSISTENT."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["ReadMarks"]


class ReadMarks(wiring.Component):
    """Tells of a volume whether its set is INCONSISTENT, as well as the target can know.

    Only the source knows which set a volume belongs to, but every data frame names both. So the set
    that the volume's data came for last is the one that counts; a volume without any since reset is
    suspect while any set is.

    That never misses a volume of an INCONSISTENT set, if this component is reset with every life of
    the source: within a life a set becomes INCONSISTENT before its first data, never again, and a
    volume joins or leaves it only while it is not.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    staged : In(StructLayout valid, volume, set)
        Pulse: data of this volume came for this set.
    suspects : In(sets)
        Sets that are INCONSISTENT.
    volume : In(volume_bits)
    suspect : Out(1)
        The volume's set is, or may be, INCONSISTENT; in the same clock.
    """

    def __init__(self, geometry):
        self.geometry = geometry
        super().__init__({
            "staged": In(data.StructLayout({"valid": 1, "volume": geometry.volume_bits,
                                            "set": geometry.set_bits})),
            "suspects": In(geometry.sets),
            "volume": In(geometry.volume_bits),
            "suspect": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        heard = Signal(g.volumes)       # volumes of which ``sets`` holds the set
        m.submodules.sets = sets = Memory(shape=g.set_bits, depth=g.volumes, init=[])
        write, read = sets.write_port(), sets.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.staged.volume),
            write.data.eq(self.staged.set),
            write.en.eq(self.staged.valid),
            read.addr.eq(self.volume),
            self.suspect.eq(Mux(heard.bit_select(self.volume, 1),
                                self.suspects.bit_select(read.data, 1), self.suspects.any())),
        ]
        with m.If(self.staged.valid):
            m.d.sync += heard.bit_select(self.staged.volume, 1).eq(1)
        return m
