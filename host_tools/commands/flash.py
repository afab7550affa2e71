"""``farside flash``: a bitstream onto a board."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click

from ..errors import DeviceError, EnvironmentError_, UsageError
from . import common
from .build import board_argument, board_called, pins_option, role_option


def manifest_of(folder: Path) -> dict[str, Any]:
    """What ``farside build`` said about the bitstream in ``folder``."""
    from boards.flow import MANIFEST

    try:
        found = json.loads((folder / MANIFEST).read_text())
        assert isinstance(found, dict)
    except FileNotFoundError:
        raise UsageError(f"there is no bitstream in {folder}: build it first") from None
    except (OSError, ValueError, AssertionError):
        raise UsageError(f"{folder / MANIFEST} cannot be read: build again") from None
    return found


def checked_bitstream(folder: Path, board: str, role: str) -> Path:
    """The bitstream in ``folder`` if it is the one for ``board`` in ``role``, else UsageError."""
    manifest = manifest_of(folder)
    for name, wanted in (("board", board), ("role", role)):
        if manifest.get(name) != wanted:
            raise UsageError(f"the bitstream in {folder} is for {name} {manifest.get(name)}, not "
                             f"{wanted}")
    bitstream = folder / Path(str(manifest.get("bitstream"))).name
    try:
        digest = hashlib.sha256(bitstream.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {bitstream}: {error.strerror}") from None
    if digest != manifest.get("sha256"):
        raise UsageError(f"{bitstream} is not what was built there: build again")
    if not manifest.get("timing_met"):
        raise UsageError(f"{bitstream} does not meet its timing: it would fail on the board")
    return bitstream


@click.command()
@board_argument
@role_option
@pins_option
@click.option("--from", "folder", metavar="FOLDER", type=click.Path(file_okay=False),
              help="Where farside build put it; build/boards/BOARD-ROLE if left out.")
@click.option("--permanent", is_flag=True,
              help="Into the board's flash memory, to be there after power-up.")
@click.option("--dry-run", is_flag=True, help="Check everything and show the command only.")
def flash(board: str, role: str, pins: str | None, folder: str | None, permanent: bool,
          dry_run: bool) -> None:
    """Put the bitstream built for BOARD in a role onto the board.

    Refuses a bitstream that was built for another board or role, or changed since.
    """
    from boards.flow import default_folder

    described = board_called(board, pins)
    if role not in described.roles:
        raise UsageError(f"{board} has no role {role}: it can be {' or '.join(described.roles)}")
    where = Path(folder) if folder is not None else default_folder(described, role)
    bitstream = checked_bitstream(where, described.name, role)
    programmer = described.programmer
    arguments = programmer.arguments
    if permanent:
        if programmer.permanent is None:
            raise UsageError(f"{board} has no flash memory that {programmer.tool} could write")
        arguments = programmer.permanent
    tool = shutil.which(programmer.tool)
    command = [tool or programmer.tool, *arguments, str(bitstream)]
    if dry_run:
        common.out().print(shlex.join(command), soft_wrap=True)
        return
    if tool is None:
        hint = described.notes or f"Debian package {programmer.package}"
        raise EnvironmentError_(f"{programmer.tool} is not on the PATH ({hint})")
    if subprocess.run(command).returncode:
        raise DeviceError(f"{programmer.tool} could not write to the board: is it plugged in, and "
                          "may you use it (group plugdev)?")
