"""The proofs, by what they are about. Importing this package enters them all."""

from . import (
    chains,
    commit,
    dispatch,
    finishing,
    frames,
    groups,
    lines,
    packets,
    saying,
    sharing,
    small,
    staging,
    storage,
)

__all__ = ["chains", "commit", "dispatch", "finishing", "frames", "groups", "lines", "packets",
           "saying", "sharing", "small", "staging", "storage"]
