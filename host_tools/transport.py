"""Byte transports: serial ports, ptys and ``socket://`` addresses.

The client library asks for no more than :class:`Transport`, so a simulation can implement it
with its own idea of time: all waiting of the library is done in :meth:`Transport.read`, and it
takes the time of day from :meth:`Transport.now` only.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from typing import Any, Protocol
from urllib.parse import urlsplit

import serial

from .errors import NoPermission, NoSuchPort, NotASerialPort, PortBusy, PortLost, TransportError

log = logging.getLogger("farside.transport")

DEFAULT_BAUD = 2_000_000
WRITE_CHUNK = 4096      # a pty carries 256-byte writes 200 times faster than single bytes
READ_CHUNK = 65536
WRITE_TIMEOUT = 5.0     # a line without flow control always drains; a dead reader never does
JOIN_SECONDS = 2.0      # the reader thread ends at once unless the system is stuck


class Transport(Protocol):
    """A duplex line of bytes with a clock."""

    def read(self, timeout: float) -> bytes:
        """Bytes that have arrived: at least one, or none once ``timeout`` seconds have passed."""

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""

    def close(self) -> None:
        """Let the line go; more than once does no harm."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""


class Hexdump:
    """Formats bytes only when a log record is really written."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __str__(self) -> str:
        text = self.data[:32].hex(" ")
        return text + (f" ... ({len(self.data)} bytes)" if len(self.data) > 32 else "")


def _group_of(port: str) -> str:
    """Name of the group that may open ``port``; ``dialout`` where that cannot be found out."""
    try:
        import grp

        name = grp.getgrgid(os.stat(port).st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "dialout"
    return "dialout" if name == "root" else name


def explain(port: str, error: BaseException) -> TransportError:
    """The specific error for what opening ``port`` raised."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number is None and isinstance(error.__context__, OSError):
        number = error.__context__.errno
    if number is None and error.args and isinstance(error.args[0], int):
        number = error.args[0]      # termios.error keeps it there
    if "lock port" in text or number in (errno.EBUSY, errno.EAGAIN):
        return PortBusy(f"port {port} is in use: close the program that holds it")
    if number in (errno.EACCES, errno.EPERM):
        group = _group_of(port)
        return NoPermission(f"no permission for port {port}: join the group {group} "
                            f"(sudo usermod -aG {group} $USER), then log in again")
    if number == errno.ENOENT:
        return NoSuchPort(f"no port {port}: is the board plugged in, or `farside board` running?")
    if number == errno.ECONNREFUSED or "refused" in text:
        return NoSuchPort(f"nobody answers at {port}: is `farside board` running?")
    if number in (errno.ENOTTY, errno.EINVAL, errno.ENODEV, errno.EISDIR, errno.ENXIO) \
            or "configure port" in text:
        return NotASerialPort(f"{port} is not a serial port: give a device, a pty or socket://")
    if "Name or service not known" in text or "name resolution" in text:
        return NoSuchPort(f"no host of that name: {port}")
    if isinstance(error, ValueError):
        return NoSuchPort(f"no port {port}: {text}")
    return TransportError(f"cannot open port {port}: {text}")


def check_name(port: str) -> None:
    """Refuse a name that pyserial would only stumble over."""
    if not port:
        raise NoSuchPort("the name of the port is empty: give a device, a pty or "
                         "socket://HOST:NUMBER")
    if port.startswith("socket://"):
        try:
            whole = urlsplit(port).port is not None and urlsplit(port).hostname is not None
        except ValueError:      # a number beyond 65535
            whole = False
        if not whole:
            raise NoSuchPort(f"{port} names no port: write socket://HOST:NUMBER")


class SerialTransport:
    """A port opened with pyserial, exclusively, read by one thread of its own.

    Parameters
    ----------
    port : str
        Serial device, path of a pty, or any URL pyserial knows (``socket://host:number``).
    baud : int
        Line rate; a pty and a socket ignore it.

    Raises one of the :class:`~host_tools.errors.TransportError` family, whose message is one
    line that names the port and the remedy.
    """

    def __init__(self, port: str, baud: int = DEFAULT_BAUD) -> None:
        self.port = port
        self._serial = self._open(port, baud)
        self._arrived = bytearray()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._spoken_to = False     # something that may be a frame has arrived
        self._closing = False
        self._wake_read, self._wake_write = os.pipe()   # ends the reader's wait
        self._thread = threading.Thread(target=self._read_port, name=f"read {port}", daemon=True)
        self._thread.start()

    @staticmethod
    def _open(port: str, baud: int) -> Any:
        check_name(port)
        if "://" not in port and os.path.isdir(port):
            raise NotASerialPort(f"{port} is a directory: give a device, a pty or socket://")
        try:
            return serial.serial_for_url(port, baudrate=baud, timeout=0, exclusive=True,
                                         write_timeout=WRITE_TIMEOUT)
        except (OSError, ValueError) as error:      # SerialException is an OSError
            raise explain(port, error) from error
        except Exception as error:      # termios.error is neither
            raise explain(port, error) from error

    # -- reader thread ---------------------------------------------------------------------

    def _wait_readable(self) -> None:
        try:
            number = self._serial.fileno()
        except Exception:       # loop://, rfc2217:// and Windows have none
            time.sleep(0.001)
            return
        select.select([number, self._wake_read], [], [])

    def _read_port(self) -> None:
        while not self._closing:
            try:
                self._wait_readable()
                if self._closing:
                    return
                data = self._serial.read(READ_CHUNK)
            except Exception as error:      # anything from here means: the port has gone
                if not self._closing:
                    log.debug("%s: reader ends: %s", self.port, error)
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            if data:
                log.debug("%s > %s", self.port, Hexdump(data))
                with self._changed:
                    self._arrived += data
                    self._spoken_to |= b"\0" in data
                    self._changed.notify_all()

    # -- Transport -------------------------------------------------------------------------

    def read(self, timeout: float) -> bytes:
        with self._changed:
            if not self._arrived and self._error is None and timeout > 0:
                self._changed.wait_for(lambda: self._arrived or self._error, timeout)
            if self._arrived:
                data = bytes(self._arrived)
                self._arrived.clear()
                return data
            if self._error is not None:
                raise self._lost() from self._error
            return b""

    def write(self, data: bytes) -> None:
        log.debug("%s < %s", self.port, Hexdump(data))
        try:
            for at in range(0, len(data), WRITE_CHUNK):
                self._serial.write(data[at:at + WRITE_CHUNK])
        except serial.SerialTimeoutException as error:
            raise PortLost(f"port {self.port} takes no data: does anything listen there?") \
                from error
        except Exception as error:
            raise self._lost() from error

    def _lost(self) -> TransportError:
        if self.port.startswith("socket://") and not self._spoken_to:
            # A simulated board serves one client and hangs up on the next.
            return PortBusy(f"port {self.port} hung up at once: if it is a board's, it is in use: "
                            "close the program that holds it")
        return PortLost(f"port {self.port} went away: was the board unplugged or "
                        "`farside board` stopped?")

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        os.write(self._wake_write, b"x")
        self._thread.join(JOIN_SECONDS)
        line = getattr(self._serial, "_socket", None)
        try:
            self._serial.close()
        except Exception as error:
            log.debug("%s: close: %s", self.port, error)
        if line is not None:
            line.close()        # pyserial leaves it open if the other end has hung up
        os.close(self._wake_read)
        os.close(self._wake_write)

    def now(self) -> float:
        return time.monotonic()
