"""The proofs, by what they are about. Importing this package enters them all."""

from . import lines, sharing, small, storage

__all__ = ["lines", "sharing", "small", "storage"]
