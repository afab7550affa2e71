"""The proofs, by what they are about. Importing this package enters them all."""

from . import sharing, small, storage

__all__ = ["sharing", "small", "storage"]
