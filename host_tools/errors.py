"""Errors that reach the user, each with the exit code of its family.

A command that ends with one of these prints one line: what was wrong, by value, and what to do.
"""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """Exit codes of ``farside``, documented in ``farside --help``."""

    OK = 0
    FAILED = 1              # a check found no prefix, a demonstration did not hold
    USAGE = 2               # an option, argument or file that cannot be meant
    DEVICE = 3              # a port or the board behind it
    BUILD = 4               # gateware could not be built
    ENVIRONMENT = 5         # something of this machine is missing
    INTERRUPT = 130


class FarsideError(Exception):
    """Base of all errors of the host tools; ``exit_code`` is the family's."""

    exit_code = Exit.FAILED


class UsageError(FarsideError):
    """A value the user gave cannot be meant; nothing has been changed."""

    exit_code = Exit.USAGE


class DeviceError(FarsideError):
    """The board or the way to it."""

    exit_code = Exit.DEVICE


class TransportError(DeviceError):
    """A port cannot be opened or has stopped working."""


class NoSuchPort(TransportError):
    """Nothing has that name."""


class PortBusy(TransportError):
    """Another program holds the port."""


class NoPermission(TransportError):
    """The port belongs to a group this user is not in."""


class NotASerialPort(TransportError):
    """The path exists but is no serial port."""


class PortLost(TransportError):
    """The port was open and went away, or takes no more data."""


class NotABoard(DeviceError):
    """The port is fine, but nothing on it answers like a Farside board."""


class WrongVersion(DeviceError):
    """The board speaks another protocol version."""


class WrongRole(DeviceError):
    """A source was needed and a target found, or the other way round."""


class NoAnswer(DeviceError):
    """The board was there and has stopped answering."""


class NotSettling(DeviceError):
    """Pending tracks make no progress towards the target."""


class Inconsistent(DeviceError):
    """The target's image is no prefix until a resynchronisation has finished."""


class BoardError(DeviceError):
    """The board refused a request; ``code`` is its answer (``wire.Code``)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class ProtocolError(DeviceError):
    """The board said something that the protocol does not allow."""


class BuildError(FarsideError):
    """The simulated board could not be built."""

    exit_code = Exit.BUILD


class EnvironmentError_(FarsideError):
    """A program or package is missing on this machine."""

    exit_code = Exit.ENVIRONMENT
