"""``farside build``: a bitstream for a board, and what became of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import BuildError, EnvironmentError_, UsageError
from . import common

if TYPE_CHECKING:
    from boards.board import Board
    from boards.report import Report

log = logging.getLogger("farside.build")

board_argument = click.argument("board", metavar="BOARD")
role_option = click.option("--role", type=click.Choice(["source", "target", "both"]),
                           required=True, help="What the board is to be.")
pins_option = click.option("--pins", metavar="FILE", type=click.Path(dir_okay=False),
                           help="TOML file that describes a generic board.")


def board_called(name: str, pins: str | None) -> Board:
    """The board of that name, or of that name and file."""
    from boards import board as boards

    try:
        if name not in boards.GENERIC:
            if pins is not None:
                raise UsageError(f"--pins is for {' and '.join(boards.GENERIC)}, not {name}")
            return boards.find(name)
        if pins is None:
            raise UsageError(f"{name} needs --pins FILE with its pins")
        from boards import generic

        return generic.read(Path(pins), name.removeprefix("generic-"))
    except boards.BoardError as error:
        raise UsageError(str(error)) from None


def show(report: Report) -> None:
    """The report for people."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("logic cells", str(report.cells))
    table.add_row("block RAM", str(report.block_rams))
    if report.sprams.available:
        table.add_row("SPRAM", str(report.sprams))
    if report.max_mhz:
        verdict = "met" if report.timing_met else "NOT met"
        table.add_row("clock", f"{report.max_mhz:.1f} MHz possible, {report.required_mhz:g} MHz "
                               f"required: {verdict}")
    for number, path in enumerate(report.paths, 1):
        table.add_row(f"critical path {number}", str(path))
    common.out().print(table)


def show_parts(report: Report) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("component", "LUTs", "flip-flops", "carries", "block RAMs"):
        table.add_column(column, justify="left" if column == "component" else "right")
    for part in report.parts:
        table.add_row(part.name, *map(str, (part.luts, part.flip_flops, part.carries,
                                            part.block_rams)))
    common.out().print(table)


@click.command()
@board_argument
@role_option
@click.option("--links", type=click.IntRange(1, 8), help="Links; the board's own number if left "
                                                        "out.")
@pins_option
@click.option("--out", metavar="FOLDER", type=click.Path(file_okay=False),
              help="Where to put everything; build/boards/BOARD-ROLE if left out.")
@click.option("--tools", type=click.Choice(["pypi", "system"]), default="pypi",
              help="Yosys and nextpnr as Python packages, or those on the PATH.")
@click.option("--seed", type=int, default=1,
              help="Seed of placement: another one is another try at the frequency.")
@click.option("--tries", type=click.IntRange(1, 100), default=4,
              help="While it is too slow, place with the next seeds as well, so many in all; the "
                   "fastest counts.")
@click.option("--placer", type=click.Choice(["heap", "static", "sa"]),
              help="nextpnr's placer; static on an ECP5 and heap on an iCE40 if left out.")
@click.option("--router", type=click.Choice(["router1", "router2"]),
              help="nextpnr's router; router2 on an ECP5 and router1 on an iCE40 if left out.")
@click.option("--parts", is_flag=True, help="Show also what each component takes.")
@common.json_option
def build(board: str, role: str, links: int | None, pins: str | None, out: str | None, tools: str,
          seed: int, tries: int, placer: str | None, router: str | None, parts: bool,
          as_json: bool) -> None:
    """Build the bitstream of BOARD in a role, and say how it fits and how fast it is.

    Takes minutes, and nearly as long again for each further try. Fails, saying by how much, when
    the design does not fit or is too slow.
    """
    described = board_called(board, pins)
    from boards import flow
    from boards.board import BoardError
    from firmware_model.geometry import GeometryError

    try:
        geometry = described.geometry(role, links)
    except (BoardError, GeometryError) as error:
        raise UsageError(str(error)) from None
    folder = Path(out) if out is not None else flow.default_folder(described, role)
    console = common.console()

    def say(text: str) -> None:
        log.info("%s", text)
        console.print(f"{board} {role}: {text}")

    try:
        report = flow.build(described, role, geometry, folder, tools=flow.Tools(tools), seed=seed,
                            tries=tries, placer=placer, router=router, say=say)
    except flow.MissingToolError as error:
        raise EnvironmentError_(str(error)) from error
    except flow.UnfitError as error:
        if as_json:
            common.print_json(error.result.as_dict())
        else:
            show(error.result)
            if parts:
                show_parts(error.result)
        raise BuildError(str(error)) from error
    except flow.FlowError as error:
        raise BuildError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from error
    if as_json:
        common.print_json({**report.as_dict(), "folder": str(folder)})
        return
    show(report)
    if parts:
        show_parts(report)
    console.print(f"in {folder}; next: farside flash {board} --role {role}")
