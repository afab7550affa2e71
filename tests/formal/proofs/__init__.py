"""The proofs, by what they are about. Importing this package enters them all."""

from . import commit, lines, sharing, small, storage

__all__ = ["commit", "lines", "sharing", "small", "storage"]
