"""The proofs, by what they are about. Importing this package enters them all."""

from . import storage

__all__ = ["storage"]
