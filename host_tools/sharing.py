"""One port, one program, and others who want to look.

A board has one line a side, and a line serves one program. The program that holds it shares it:
through a local socket named after the port, others read the board's registers and set its channel
emulators, while the holder's own work goes on. So ``farside stats``, ``farside link`` and
``farside watch`` work beside a running workload, on a real board as on a simulated one. A holder
that only looks (``farside watch``) gives the port up to whoever asks.

The socket speaks lines of JSON, a request and its answer at a time:

* ``{"about": true}``: geometry, role, program, process, and :class:`Activity`
* ``{"read": [[address, count], ...]}``: ``{"values": [[...], ...]}``
* ``{"write": [[address, value], ...]}``: ``{"values": []}``, for channel emulators only
* ``{"yield": true}``: ``{"yielded": true or false}``

or ``{"error": text, "code": wire code or 0}``. It belongs to the user who runs the holder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware_model import wire
from firmware_model.geometry import Geometry

from .errors import NoAnswer, PortLost, UsageError
from .registers import Registers, Window, code_name, refused
from .session import Request, values_of_window

if TYPE_CHECKING:
    from .client import Client

log = logging.getLogger("farside.sharing")

LOOK_SECONDS = 0.02     # between looks for guests: a look costs microseconds
GUEST_SECONDS = 5.0     # a holder serves its line all the time; one that computes takes a while
LONGEST_LINE = 1 << 16  # bytes of a request
MOST_REGISTERS = 4096   # of one request: everything a board of any size has, once
LAST_DISCONNECTS = 16   # told to guests


@dataclass(frozen=True)
class Activity:
    """What the holder of a port knows beyond the board's registers.

    ``waiting``: volumes whose reconnect it awaits, and for how many seconds already;
    ``ended``: disconnects that have ended, of which ``last`` are the newest (volume, track,
    clocks); ``note``: how far it is, for people.
    """

    program: str = ""
    process: int = 0
    note: str = ""
    waiting: dict[int, float] = field(default_factory=dict)
    ended: int = 0
    last: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, client: Client, program: str, note: str = "") -> Activity:
        now = client.transport.now()
        return cls(program, os.getpid(), note,
                   {volume: now - since for volume, since in client.waiting.items()},
                   len(client.disconnects),
                   [(d.volume, d.track, d.clocks) for d in client.disconnects[-LAST_DISCONNECTS:]])

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Activity:
        return cls(values["program"], values["process"], values["note"],
                   {int(volume): since for volume, since in values["waiting"].items()},
                   values["ended"], [(v, t, c) for v, t, c in values["last"]])


def socket_path(port: str) -> Path:
    """Where the holder of ``port`` is found; the folder is the user's own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = (Path(runtime) / "farside" if runtime
              else Path(tempfile.gettempdir()) / f"farside-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(f"{folder} is not a directory of this user")
    name = port if "://" in port else os.path.realpath(port)
    return folder / (hashlib.sha256(name.encode()).hexdigest()[:16] + ".sock")


# -- the holder's side -------------------------------------------------------------------------


class _Guest:
    """One connection of somebody who looks."""

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line = line
        self._received = b""
        self._asked: list[list[Request]] | None = None

    def serve(self, share: Share) -> bool:
        """Take and answer what there is; False when the guest has gone or makes no sense."""
        try:
            if self._asked is not None:
                if not all(request.done for window in self._asked for request in window):
                    return True
                self._finish()
            data = self._line.recv(LONGEST_LINE)
            if not data:
                return False
            self._received += data
            line, end, rest = self._received.partition(b"\n")
            if end:
                self._received = rest
                self._take(json.loads(line), share)
        except BlockingIOError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("a guest: %s", error)
            return False
        return len(self._received) <= LONGEST_LINE

    def _take(self, request: dict[str, Any], share: Share) -> None:
        client = share.client
        if "about" in request:
            self.say({"geometry": dataclasses.asdict(client.geometry), "role": int(client.role),
                      **dataclasses.asdict(share.activity())})
        elif "yield" in request:
            self.say({"yielded": share.gives_way, **dataclasses.asdict(share.activity())})
            share.asked_for |= share.gives_way
        elif "read" in request:
            windows = [(int(address), int(count)) for address, count in request["read"]]
            if not 0 < sum(count for _, count in windows) <= MOST_REGISTERS:
                raise ValueError(f"{windows} is not 1..{MOST_REGISTERS} registers")
            self._asked = client.ask_windows(windows)
        else:
            values = [(int(address), int(value)) for address, value in request["write"]]
            links = wire.CHANNEL_STRIDE * client.geometry.links
            if all(0 <= address - wire.Reg.CHANNEL < links for address, _ in values):
                self._asked = [[client.ask(wire.Type.REG_WRITE, address=address, value=value)]
                               for address, value in values]
            else:
                self.say({"error": "only channel emulators are set beside another program",
                          "code": 0})

    def _finish(self) -> None:
        assert self._asked is not None
        asked, self._asked = self._asked, None
        code = next((r.error for window in asked for r in window if r.error), 0)
        if code:
            self.say({"error": code_name(code), "code": code})
            return
        reads = [window for window in asked if window[0].type == wire.Type.REG_READ]
        self.say({"values": [values_of_window(window) for window in reads]})

    def say(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode() + b"\n"
        if self._line.send(data) != len(data):      # never waits: a guest reads what it asked for
            raise OSError("takes no more")

    def close(self) -> None:
        self._line.close()


class Share:
    """Lets others look at the board behind ``client`` while this program holds its port.

    Parameters
    ----------
    client : Client
    port : str
        The port as others name it.
    program : str
        What others are told about this program.
    gives_way : bool
        Promise the port to whoever asks for it; ``asked_for`` says that somebody has.

    Attributes
    ----------
    note : callable
        How far the program is, for people.
    """

    def __init__(self, client: Client, port: str, program: str, *,
                 gives_way: bool = False) -> None:
        self.client = client
        self.program = program
        self.gives_way = gives_way
        self.asked_for = False
        self.note: Callable[[], str] = lambda: ""
        self._guests: list[_Guest] = []
        self._look_at = 0.0
        self._listener: socket.socket | None = None
        try:
            self._path = socket_path(port)
            self._path.unlink(missing_ok=True)      # of a holder that was killed
            listener = socket.socket(socket.AF_UNIX)
            try:
                listener.bind(str(self._path))
                listener.listen(4)
                listener.setblocking(False)
            except OSError:
                listener.close()
                raise
            self._listener = listener
        except OSError as error:
            log.info("%s is not shared: %s", port, error)
        client.chores.append(self._look)

    def activity(self) -> Activity:
        return Activity.of(self.client, self.program, self.note())

    def _look(self) -> None:
        now = self.client.transport.now()
        if self._listener is None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        with contextlib.suppress(BlockingIOError):
            self._guests.append(_Guest(self._listener.accept()[0]))
        for guest in list(self._guests):
            if not guest.serve(self):
                guest.close()
                self._guests.remove(guest)

    def close(self) -> None:
        """Send the guests away."""
        if self._listener is None:
            return
        self.client.chores.remove(self._look)
        self._listener.close()
        self._listener = None
        self._path.unlink(missing_ok=True)
        for guest in self._guests:
            guest.close()
        self._guests.clear()


# -- the other side ----------------------------------------------------------------------------


class SharedBoard(Registers):
    """A board whose port another program holds: its registers, through that program.

    Raises
    ------
    FileNotFoundError
        By the constructor: nobody shares ``port``.
    PortLost
        By any call: the holder has gone.
    NoAnswer, BoardError
        By any call.
    """

    def __init__(self, port: str) -> None:
        self.name = port
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(GUEST_SECONDS)
        self._received = b""
        try:
            try:
                self._line.connect(str(socket_path(port)))
            except OSError as error:
                raise FileNotFoundError(f"nobody shares {port}: {error}") from None
            about = self._ask({"about": True})
            self.geometry = Geometry(**about["geometry"])
            self.role = wire.Role(about["role"])
        except BaseException:
            self._line.close()
            raise

    def close(self) -> None:
        self._line.close()

    def __enter__(self) -> SharedBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def activity(self) -> Activity:
        """What the holder is doing."""
        return Activity.of_json(self._ask({"about": True}))

    def ask_for_port(self) -> bool:
        """Ask the holder to give the port up; whether it does."""
        return bool(self._ask({"yield": True})["yielded"])

    def read_windows(self, windows: Sequence[Window]) -> list[list[int]]:
        answer = self._ask({"read": [list(window) for window in windows]})
        values: list[list[int]] = answer["values"]
        return values

    def set_registers(self, values: Sequence[tuple[int, int]]) -> None:
        self._ask({"write": [list(value) for value in values]})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        end = time.monotonic() + GUEST_SECONDS
        try:
            self._line.sendall(json.dumps(request).encode() + b"\n")
            while b"\n" not in self._received:
                data = self._line.recv(LONGEST_LINE)
                if not data:
                    raise PortLost(f"the program that held {self.name} has ended")
                self._received += data
                if time.monotonic() > end:
                    raise TimeoutError
        except TimeoutError:
            raise NoAnswer(f"the program that holds {self.name} has not answered for "
                           f"{GUEST_SECONDS:.0f} s: is it stopped?") from None
        except OSError as error:
            raise PortLost(f"the program that held {self.name} has ended: {error}") from error
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("code"):
            raise refused(self.name, "registers", answer["code"])
        if "error" in answer:
            raise UsageError(f"{self.name}: {answer['error']}")
        return answer
