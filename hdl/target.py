"""The target system: lines and core."""

from .system import System
from .targetcore import TargetCore

__all__ = ["Target"]


class Target(System):
    """A whole target system.

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
    Those of :class:`.system.System`.
    """

    def __init__(self, geometry, *, channel=False, mutation=None, lines="each"):
        super().__init__(TargetCore, geometry, channel=channel, mutation=mutation,
                         lines=lines, members={})
