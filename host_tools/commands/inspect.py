"""Commands that look at a board and set it up: info, sets, stats, link."""

from __future__ import annotations

from typing import Any

import click

from firmware_model import channel, wire

from .. import units
from ..client import Client
from ..errors import UsageError
from . import common


@click.command()
@common.port_argument
@common.baud_option
@common.json_option
def info(port: str, baud: int, as_json: bool) -> None:
    """Say what the board at PORT is: its role, its geometry, what is up."""
    with common.look_at_board(port, baud) as board:
        geometry = board.geometry
        up = board.reg("links_up")
        source = board.role == wire.Role.SOURCE
        values: dict[str, Any] = {
            "port": port, "role": board.role.name.lower(),
            "protocol_version": wire.PROTOCOL_VERSION,
            "generation": board.reg("generation"),
            **{name: getattr(geometry, name) for name in geometry.__dataclass_fields__},
            "fingerprint": geometry.fingerprint,
            "links_up": [n for n in range(geometry.links) if up >> n & 1],
            "free_slots": board.reg("free_slots"),
            "disconnected": board.reg("disconnected") if source else None,
            "cycles": board.cycles(),
        }
    if as_json:
        common.print_json(values)
        return
    text = common.out()
    text.print(f"[bold]{values['role']}[/] at {port}, protocol version "
               f"{wire.PROTOCOL_VERSION}, generation {values['generation']}")
    text.print(f"  {geometry.volumes} volumes of {geometry.tracks_per_volume} tracks of "
               f"{geometry.track_bytes} bytes ({units.show_bytes(geometry.image_bytes)}), "
               f"{geometry.sets} consistency sets")
    text.print(f"  chains of up to {geometry.chain_limit} commands, "
               f"{geometry.groups_in_flight} groups of a set in flight")
    text.print(f"  {geometry.links} links at {geometry.link_baud} baud, up: "
               f"{', '.join(map(str, values['links_up'])) or 'none'}")
    text.print(f"  host port at {geometry.host_baud} baud, clock "
               f"{geometry.clock_hz / 1e6:g} MHz, {values['cycles']} clocks since reset")
    if source:
        text.print(f"  {values['disconnected']} volumes disconnected")


@click.command()
@common.port_argument
@click.option("--assign", type=common.ASSIGNMENT, multiple=True, metavar="SET=VOL,VOL...",
              help="Move volumes to a set, after draining the set they are in.")
@common.baud_option
@common.json_option
def sets(port: str, assign: tuple[tuple[int, list[int]], ...], baud: int, as_json: bool) -> None:
    """Show the consistency sets of the board at PORT, or assign volumes to them."""
    if assign:
        with common.open_board(port, baud, wire.Role.SOURCE) as holder:
            _check_assignments(holder, assign)
            for set_, volumes in assign:
                for volume in volumes:
                    holder.assign(volume, set_)
    with common.look_at_board(port, baud) as board:
        pages = board.pages()
        volume_set = board.read_volume_sets()
        source = board.role == wire.Role.SOURCE
    rows = []
    for page in pages:
        row: dict[str, Any] = {"set": page.set, "chains": page.chains}
        if source:
            row |= {"volumes": [v for v, s in enumerate(volume_set) if s == page.set],
                    "acked": page.acked, "unsent_tracks": page.unsent,
                    "groups_in_flight": page.in_flight}
        rows.append(row)
    if as_json:
        common.print_json({"port": port, "sets": rows})
        return
    text = common.out()
    for row in rows:
        line = f"set {row['set']}: {row['chains']} chains committed"
        if source:
            names = ", ".join(map(str, row["volumes"])) or "none"
            line += (f", {row['acked']} known at the target, {row['unsent_tracks']} tracks "
                     f"unsent, {row['groups_in_flight']} groups in flight; volumes: {names}")
        text.print(line)


def _check_assignments(board: Client, assign: tuple[tuple[int, list[int]], ...]) -> None:
    """Refuse the whole command before its first effect."""
    geometry = board.geometry
    seen: set[int] = set()
    after = list(board.volume_set)
    for set_, volumes in assign:
        if set_ >= geometry.sets:
            raise UsageError(f"set {set_} is outside 0..{geometry.sets - 1} of this board")
        for volume in volumes:
            board.check_place(volume, 0)
            if volume in seen:
                raise UsageError(f"volume {volume} is assigned twice: name it once")
            seen.add(volume)
            after[volume] = set_
            if after.count(set_) > geometry.volumes_per_set:
                raise UsageError(f"set {set_} cannot have more than {geometry.volumes_per_set} "
                                 "volumes: move one away first")


@click.command()
@common.port_argument
@common.baud_option
@common.json_option
def stats(port: str, baud: int, as_json: bool) -> None:
    """Show everything the board at PORT counts: the side, its links, its sets."""
    with common.look_at_board(port, baud) as board:
        values = board.stats()
    if as_json:
        common.print_json({"port": port, **values.as_dict()})
        return
    from rich.table import Table

    text = common.out()
    text.print(f"[bold]{values.role}[/] at {port}: {values.cycles} clocks since reset, "
               f"{values.free_slots} slots free")
    side = Table(title="counters", title_justify="left")
    side.add_column("counter")
    side.add_column("value", justify="right")
    for name, value in values.counters.items():
        side.add_row(name, str(value))
    text.print(side)
    links = Table(title="links", title_justify="left")
    links.add_column("counter")
    for number in range(len(values.links)):
        mark = "" if number in values.links_up else " (down)"
        links.add_column(f"link {number}{mark}", justify="right")
    for name in values.links[0]:
        links.add_row(name, *(str(link_values[name]) for link_values in values.links))
    text.print(links)
    pages = Table(title="sets", title_justify="left")
    for name in ("set", "chains", "acked", "unsent", "next", "sent", "done", "epoch", "age"):
        pages.add_column(name, justify="right")
    for page in values.sets:
        fields = page.as_dict()
        pages.add_row(*(str(fields[str(column.header)]) for column in pages.columns))
    text.print(pages)


@click.command()
@common.port_argument
@click.argument("number", metavar="N", type=click.IntRange(min=0))
@click.option("--cut", is_flag=True, help="Let nothing through any more.")
@click.option("--restore", is_flag=True, help="Undo --cut.")
@click.option("--delay", type=common.TIME, metavar="T", help="Delay each way, e.g. 20ms.")
@click.option("--ber", type=common.CHANCE, metavar="P", help="Bit error rate, e.g. 1e-6.")
@click.option("--loss", type=common.CHANCE, metavar="P", help="Share of frames lost, e.g. 2%.")
@common.baud_option
@common.json_option
def link(port: str, number: int, cut: bool, restore: bool, delay: float | None,
         ber: float | None, loss: float | None, baud: int, as_json: bool) -> None:
    """Cut, restore, delay or disturb link N through the port of a simulated board."""
    if cut and restore:
        raise UsageError("--cut and --restore contradict each other: give one")
    with common.look_at_board(port, baud) as board:
        control = board.link(number)
        control.read()      # says at once whether there is an emulator
        if delay is not None:
            control.delay(delay)
        if ber is not None:
            control.ber(ber)
        if loss is not None:
            control.loss(loss)
        if cut:
            control.cut()
        if restore:
            control.restore()
        values = control.read()
        wait = channel.delay_seconds(values["delay"], board.geometry.divisor(
            board.geometry.link_baud), board.geometry.clock_hz)
        up = bool(board.reg("links_up") >> number & 1)
    if as_json:
        common.print_json({"link": number, "up": up, "delay_seconds": wait, **values})
        return
    state = "cut" if values["control"] else "whole"
    session = "up" if up else "down"
    if up and values["control"]:
        session = "still up: an end notices when frames it sends are not acknowledged"
    elif not up and not values["control"]:
        session = "still down: the ends say hello until both have heard it"
    text = common.out()
    text.print(f"link {number}: {state}; session {session}")
    text.print(f"  each way: delay {units.show_seconds(wait)}, {values['errors']} bytes changed "
               f"and {values['lost']} frames swallowed so far")
