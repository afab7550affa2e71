"""Commands that move tracks: write, read, dump."""

from __future__ import annotations

import os

import click

from firmware_model import wire

from .. import units
from ..errors import UsageError
from . import common


@click.command()
@common.port_argument
@click.argument("place", type=common.PLACE, metavar="VOL:TRACK")
@click.argument("file")
@click.option("--wait", type=common.TIME, default="60s", metavar="T",
              help="Give up when a chain has not committed after this time.")
@common.baud_option
@common.json_option
def write(port: str, place: tuple[int, int, int], file: str, wait: float, baud: int,
          as_json: bool) -> None:
    """Write FILE to consecutive tracks from VOL:TRACK on.

    FILE is a whole number of tracks long. It is one chain, committed at once, if it has no more
    tracks than a chain may have; else it is several, and the command says so.
    """
    volume, track, _ = place
    data = common.read_file(file)
    with common.open_board(port, baud, wire.Role.SOURCE) as board:
        geometry = board.geometry
        size = geometry.track_bytes
        board.check_place(volume, track)
        if not data or len(data) % size:
            raise UsageError(f"{file} has {len(data)} bytes, and a track has {size}: pad it to "
                             f"{-(-max(len(data), 1) // size) * size}")
        count = len(data) // size
        if track + count > geometry.tracks_per_volume:
            raise UsageError(f"{file} has {count} tracks, and volume {volume} only "
                             f"{geometry.tracks_per_volume - track} from track {track} on")
        writes = [(volume, track + i, data[i * size:(i + 1) * size]) for i in range(count)]
        tickets = [board.submit(writes[at:at + geometry.chain_limit])
                   for at in range(0, count, geometry.chain_limit)]
        with common.progress("writing chains", len(tickets), as_json) as show:
            for done, ticket in enumerate(tickets):
                board.wait(ticket, wait)
                show(done + 1)
    numbers = [ticket.number for ticket in tickets]
    if as_json:
        common.print_json({"set": tickets[0].set, "tracks": count, "chains": numbers})
        return
    text = f"{units.show_count(count, 'track')} committed to {volume}:{track} as chain {numbers[0]}"
    if len(numbers) > 1:
        text += (f" to {numbers[-1]}: {len(numbers)} chains, since one has at most "
                 f"{geometry.chain_limit} commands; they commit one after the other")
    common.out().print(f"{text} of set {tickets[0].set}")


@click.command()
@common.port_argument
@click.argument("place", type=common.PLACE, metavar="VOL:TRACK[+COUNT]")
@click.argument("file")
@common.baud_option
@common.json_option
def read(port: str, place: tuple[int, int, int], file: str, baud: int, as_json: bool) -> None:
    """Read COUNT consecutive tracks (one by default) from VOL:TRACK on into FILE."""
    common.check_writable(file)
    with common.open_board(port, baud) as board:
        data = board.read(*place)
        torn = board.read_inconsistent
    common.replace_file(file, data)
    volume, track, count = place
    if as_json:
        common.print_json({"port": port, "volume": volume, "track": track, "tracks": count,
                           "bytes": len(data), "file": file, "inconsistent": torn})
        return
    if torn:
        common.console().print("note: a resynchronisation has not finished: what was read belongs "
                               "to no state of the source")
    _say(file, f"{units.show_count(count, 'track')} from {volume}:{track} of {port} in {file}")


@click.command()
@common.port_argument
@click.argument("file")
@click.option("--force", is_flag=True,
              help="Also from a target that is being resynchronised, whose image is no state.")
@common.baud_option
@common.json_option
def dump(port: str, file: str, force: bool, baud: int, as_json: bool) -> None:
    """Read all volumes of the board at PORT, in order, into FILE as one raw image.

    From a target it is a consistent image: commits are held between two chains meanwhile. FILE
    is replaced as a whole, once everything has been read.
    """
    common.check_writable(file)
    with common.open_board(port, baud) as board, \
            common.progress("reading bytes", board.geometry.image_bytes, as_json) as show:
        image = board.read_image(show, force=force)
        role = board.role.name.lower()
    common.replace_file(file, image)
    if as_json:
        common.print_json({"port": port, "role": role, "bytes": len(image), "file": file})
        return
    _say(file, f"image of the {role} at {port}, {units.show_bytes(len(image))}, in {file}")


def _say(file: str, text: str) -> None:
    """Tell people what was written, but not into what they asked to be written."""
    if not (common.is_special(file) and os.path.samestat(os.stat(file), os.fstat(1))):
        common.out().print(text)
