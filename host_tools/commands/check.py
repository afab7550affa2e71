"""``farside check``: which prefix of the history is this image?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from firmware_model import wire

from .. import units
from ..errors import Exit, UsageError
from . import common

if TYPE_CHECKING:
    from firmware_model.oracle import Verdict


@click.command()
@click.option("--history", "path", required=True, metavar="FILE",
              help="History written by `farside run`.")
@click.option("--image", metavar="FILE", help="A raw image, as `farside dump` writes it.")
@click.option("--target", "port", metavar="PORT", help="Read the image from this target.")
@click.option("--force", is_flag=True,
              help="Also a target that is being resynchronised, as it is; sets of which that is "
                   "true are named.")
@common.baud_option
@common.json_option
def check(path: str, image: str | None, port: str | None, force: bool, baud: int,
          as_json: bool) -> int:
    """Say which prefix of the history an image is.

    For each consistency set: the newest prefix of its chains that the image equals, and how far
    that is behind the source. Exit code 0 if there is one for every set, none of them older than
    what the target had acknowledged; else 1, and the first track that fits no prefix.
    """
    from ..history import judge_image, load, same_sizes

    if (image is None) == (port is None):
        raise UsageError("give either --image FILE or --target PORT")
    history = load(path)
    torn: list[int] = []
    if image is not None:
        data = common.read_file(image)
    else:
        assert port is not None
        with common.open_board(port, baud, wire.Role.TARGET) as board, \
                common.progress("reading bytes", board.geometry.image_bytes, as_json) as show:
            if not same_sizes(history, board):
                raise UsageError(f"{path} was recorded on a board of another size than {port}: "
                                 "use the history of this board")
            torn = [page.set for page in board.pages() if page.inconsistent]
            data = board.read_image(show, force=force)
    verdict = judge_image(history, data, image or str(port))
    if as_json:
        common.print_json({**verdict.to_json(), "resynchronising": torn})
    else:
        show_verdict(verdict)
        for set_ in torn:
            common.out().print(f"  (set {set_} is being resynchronised: no prefix is expected "
                               "until that has finished)")
    return Exit.OK if verdict.ok else Exit.FAILED


def show_verdict(verdict: Verdict) -> None:
    """One line a set that has, or should have, something."""
    text = common.out()
    for line in describe(verdict):
        text.print(line)


def describe(verdict: Verdict) -> list[str]:
    lines = []
    for one in verdict.sets:
        if not one.committed and one.prefix is not None:
            continue
        where = f"set {one.set}: "
        if one.prefix is None:
            lines.append(f"{where}[bold red]no prefix[/] of its {one.committed} chains: "
                         f"{one.culprit}")
            if one.culprit is not None and not one.culprit.versions:
                lines.append("  (a history explains what was written until its end: was the "
                             "source written to since?)")
        elif not one.new_enough:
            lines.append(f"{where}[bold red]too old[/]: chains 1 to {one.prefix} of "
                         f"{one.committed}, but the target had acknowledged {one.acknowledged}")
        elif not one.lag_chains:
            lines.append(f"{where}[green]exactly[/] all {one.committed} chains, nothing behind")
        else:
            lines.append(
                f"{where}[green]exactly[/] chains 1 to {one.prefix} of {one.committed}: "
                f"{units.show_count(one.lag_chains, 'chain')}, "
                f"{units.show_bytes(one.lag_bytes or 0)} behind")
    return lines or ["no set has committed a chain, and the image is as it was at the start"]


def verdict_summary(verdict: Verdict) -> dict[str, Any]:
    """Totals over all sets, for programs."""
    return {
        "prefix": {str(one.set): one.prefix for one in verdict.sets if one.committed},
        "lag": {"chains": sum(one.lag_chains or 0 for one in verdict.sets),
                "bytes": sum(one.lag_bytes or 0 for one in verdict.sets)},
    }
