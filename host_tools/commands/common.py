"""What the commands share: typed parameters, output for people and programs, files."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import units
from ..errors import PortBusy, PortLost, UsageError
from ..transport import DEFAULT_BAUD

# Character devices that are lines: ttys, serial ports, ptys, USB serial adapters (Linux).
TERMINAL_MAJORS = {4, 5, *range(136, 144), 166, 188, 204}

if TYPE_CHECKING:
    from rich.console import Console

    from firmware_model.wire import Role

    from ..client import Client
    from ..sharing import SharedBoard

YIELD_SECONDS = 1.0     # in which a holder that only looks lets its port go


class Unit(click.ParamType):
    """A parameter parsed by one function of :mod:`host_tools.units`."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None,
                ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


TIME = Unit("time", units.seconds)
BAUD = Unit("baud", units.baud)
CHANCE = Unit("chance", units.chance)
SHARE = Unit("share", units.signed_share)
PLACE = Unit("vol:track", units.place)
ASSIGNMENT = Unit("set=vol,...", units.assignment)

json_option = click.option("--json", "as_json", is_flag=True,
                           help="Print one JSON object on stdout instead of text.")
baud_option = click.option("--baud", type=BAUD, default="2Mbaud",
                           help="Line rate of a real serial port; ptys and sockets have none.")
port_argument = click.argument("port")


def open_board(port: str, baud: int = DEFAULT_BAUD, role: Role | None = None) -> Client:
    """The board at ``port``, held by this program and shared with others who want to look.

    A program that holds the port and only looks gives it up.
    """
    from ..client import Client

    try:
        board = Client.open(port, role=role, baud=baud)
    except PortBusy:
        if not _ask_for_port(port):
            raise
        board = _open_soon(port, baud, role)
    board.share(port, program())
    return board


def look_at_board(port: str, baud: int = DEFAULT_BAUD) -> Client | SharedBoard:
    """The board at ``port`` for somebody who only looks: through the program that holds the
    port, if one does."""
    from ..sharing import SharedBoard

    try:
        return SharedBoard(port)
    except FileNotFoundError:
        return open_board(port, baud)


def program() -> str:
    """What other programs are told about this one."""
    context = click.get_current_context(silent=True)
    return context.command_path if context else "a program"


def _ask_for_port(port: str) -> bool:
    """Ask the holder of a busy port to give it up; PortBusy names the holder if it does not.
    False if nobody is there to be asked."""
    from ..sharing import SharedBoard

    try:
        with SharedBoard(port) as holder:
            if holder.ask_for_port():
                return True
            found = holder.activity()
    except FileNotFoundError:
        return False
    except PortLost:
        return True     # it has just ended
    raise PortBusy(f"port {port} is in use by `{found.program}` (process {found.process}): wait "
                   "for it or interrupt it")


def _open_soon(port: str, baud: int, role: Role | None) -> Client:
    """Open a port whose holder is about to let it go."""
    from ..client import Client

    end = time.monotonic() + YIELD_SECONDS
    while True:
        try:
            return Client.open(port, role=role, baud=baud)
        except PortBusy:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def console() -> Console:
    """For people: on stderr, so that stdout carries results only."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def out() -> Console:
    """Results for people, on stdout; what is no terminal gets one line a thing to say."""
    from rich.console import Console

    whole_lines = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, soft_wrap=whole_lines)


def print_json(value: Any) -> None:
    """One JSON object, on one line, at once."""
    print(json.dumps(value), flush=True)


def read_file(path: str) -> bytes:
    """Bytes of a file the user named."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def check_writable(path: str, *, regular: bool = False) -> None:
    """Raise UsageError if ``path`` cannot be written, before anything has been done for it.

    ``regular``: pipes and devices will not do.
    """
    folder = os.path.dirname(os.path.realpath(path))
    if "://" in path:
        raise UsageError(f"cannot write {path}: it is a port, name a file")
    if os.path.isdir(path):
        raise UsageError(f"cannot write {path}: it is a directory")
    if not os.path.isdir(folder):
        raise UsageError(f"cannot write {path}: no directory {folder}")
    if is_special(path):
        if regular or _is_terminal(path):
            raise UsageError(f"cannot write {path}: it is a device, name a file")
    elif os.path.exists(path) and not os.access(path, os.W_OK):
        raise UsageError(f"cannot write {path}: no permission")
    elif not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {path}: no permission in {folder}")


def check_waves(path: str | None) -> None:
    """As :func:`check_writable`, for a waveform file if one is asked for."""
    if path is None:
        return
    if Path(path).suffix.lower() not in (".vcd", ".fst"):
        raise UsageError(f"waveform file {path} must end in .vcd or .fst")
    check_writable(path, regular=True)


def is_special(path: str) -> bool:
    """A pipe or a device: something to write to, not to put a file in the place of."""
    return os.path.exists(path) and not os.path.isfile(path)


def _is_terminal(path: str) -> bool:
    mode = os.stat(path).st_mode
    return stat.S_ISCHR(mode) and os.major(os.stat(path).st_rdev) in TERMINAL_MAJORS


def replace_file(path: str, data: bytes) -> None:
    """Write a file wholly or not at all; a pipe or device is written to."""
    path = os.path.realpath(path)       # a link stays one, and what it names is replaced
    folder = os.path.dirname(path)
    try:
        if is_special(path):
            Path(path).write_bytes(data)
            return
        handle, temporary = tempfile.mkstemp(prefix=".farside-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def progress(description: str, total: float, quiet: bool,
             transient: bool = False) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr; yields a function that is given how much is done.

    Nothing is drawn when ``quiet`` or when stderr is no terminal. A ``transient`` bar goes away
    at the end.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console(), transient=transient) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
