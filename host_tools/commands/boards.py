"""``farside boards``: what can be built for, and what is plugged in."""

from __future__ import annotations

from typing import Any

import click

from . import common


def plugged_in(usb: tuple[tuple[int, int], ...]) -> list[str]:
    """Serial ports of this machine whose USB ids are among ``usb``."""
    from serial.tools import list_ports

    return sorted(port.device for port in list_ports.comports() if (port.vid, port.pid) in usb)


def _sizes(geometry: Any) -> str:
    return (f"{geometry.tracks} tracks of {geometry.track_bytes} bytes in {geometry.volumes} "
            f"volumes")


@click.command()
@common.json_option
def boards(as_json: bool) -> None:
    """List boards, their roles and sizes, and serial ports that look like one.

    Several boards have the same USB chip, so that a port may appear with each of them.
    """
    from boards import board as described

    found = [(board, plugged_in(board.usb)) for board in described.all_boards()]
    if as_json:
        common.print_json({"boards": [{
            "name": board.name, "title": board.title, "chip": board.chip.name,
            "roles": {role: {
                "tracks": geometry.tracks, "track_bytes": geometry.track_bytes,
                "volumes": geometry.volumes, "links": geometry.links,
                "clock_hz": board.clock_hz[role], "host_baud": geometry.host_baud,
                "link_baud": geometry.link_baud,
            } for role, geometry in board.geometries.items()},
            "most_links": len(board.links), "ports": ports,
        } for board, ports in found], "generic": list(described.GENERIC)})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "chip", "roles", "links", "holds", "port"):
        table.add_column(column)
    for board, ports in found:
        for sizes, roles in _alike(board):
            table.add_row(board.name, board.chip.name, ", ".join(roles),
                          f"up to {len(board.links)}", sizes, ", ".join(ports) or "-")
    common.out().print(table)
    common.out().print(f"{' and '.join(described.GENERIC)} take any other: farside build "
                       f"{described.GENERIC[0]} --pins FILE (docs/hardware.md)")


def _alike(board: Any) -> list[tuple[str, list[str]]]:
    """Roles of equal sizes together."""
    alike: dict[str, list[str]] = {}
    for role, geometry in board.geometries.items():
        alike.setdefault(_sizes(geometry), []).append(role)
    return list(alike.items())
