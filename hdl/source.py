"""The source system: lines and core."""

from amaranth import *
from amaranth.lib.wiring import Out

from .sourcecore import SourceCore
from .system import System

__all__ = ["Source"]


class Source(System):
    """A whole source system.

    Parameters
    ----------
    geometry : Geometry
    channel : bool
        Whether the register window ``CHANNEL`` leads to a channel emulator.
    mutation : Mutation or None
        Deliberate fault of a test build.
    lines : str
        See :class:`.system.System`.

    Members
    -------
    Those of :class:`.system.System`, and

    destaging : Out(sets)
        Sets whose destage is wanted.
    disconnected : Out(1)
        Some volume is disconnected.
    fault : Out(1)
        An invariant was broken; held until reset.
    """

    def __init__(self, geometry, *, channel=True, mutation=None, lines="each"):
        super().__init__(SourceCore, geometry, channel=channel, mutation=mutation,
                         lines=lines, members={
            "destaging": Out(geometry.sets),
            "disconnected": Out(1),
            "fault": Out(1),
        })

    def elaborate(self, platform):
        m = super().elaborate(platform)
        core = m.submodules.core
        m.d.comb += [
            self.destaging.eq(core.destaging),
            self.disconnected.eq(core.disconnected.any()),
            self.fault.eq(core.fault),
        ]
        return m
