"""What the commands share: typed parameters, output for people and programs, files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import units
from ..errors import UsageError
from ..transport import DEFAULT_BAUD

if TYPE_CHECKING:
    from rich.console import Console

    from firmware_model.wire import Role

    from ..client import Client


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
PLACE = Unit("vol:track", units.place)
ASSIGNMENT = Unit("set=vol,...", units.assignment)

json_option = click.option("--json", "as_json", is_flag=True,
                           help="Print one JSON object on stdout instead of text.")
baud_option = click.option("--baud", type=BAUD, default="2Mbaud",
                           help="Line rate of a real serial port; ptys and sockets have none.")
port_argument = click.argument("port")


def open_board(port: str, baud: int = DEFAULT_BAUD, role: Role | None = None) -> Client:
    """The board at ``port``."""
    from ..client import Client

    return Client.open(port, role=role, baud=baud)


def console() -> Console:
    """For people: on stderr, so that stdout carries results only."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def out() -> Console:
    """Results for people, on stdout."""
    from rich.console import Console

    return Console(highlight=False)


def print_json(value: Any) -> None:
    """One JSON object, on one line, at once."""
    print(json.dumps(value), flush=True)


def read_file(path: str) -> bytes:
    """Bytes of a file the user named."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def check_writable(path: str) -> None:
    """Raise UsageError if ``path`` cannot be written, before anything has been done for it."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise UsageError(f"cannot write {path}: it is a directory")
    if not os.path.isdir(folder):
        raise UsageError(f"cannot write {path}: no directory {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {path}: no permission in {folder}")


def replace_file(path: str, data: bytes) -> None:
    """Write a file wholly or not at all."""
    folder = os.path.dirname(path) or "."
    try:
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
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def progress(description: str, total: float, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr; yields a function that is given how much is done.

    Nothing is drawn when ``quiet`` or when stderr is no terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
