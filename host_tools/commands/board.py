"""``farside board``: a simulated board until interrupted."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any

import click

from boards.simulated import DEFAULT
from firmware_model.geometry import Geometry, GeometryError

from ..errors import BuildError, EnvironmentError_, FarsideError, UsageError
from . import common

log = logging.getLogger("farside.board")


def geometry_from(changes: dict[str, int | None]) -> Geometry:
    """The default geometry with the changes the user asked for."""
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        geometry = dataclasses.replace(DEFAULT, **given)
    except GeometryError as error:
        raise UsageError(f"no such board: {error}") from None
    return geometry


def start_board(geometry: Geometry, **options: Any) -> Any:
    """A simulated board as a context manager, its failures as errors of the host tools."""
    try:
        from sim.board import SimulatedBoard
    except ImportError as error:
        raise EnvironmentError_(f"the simulated board needs {error.name}: run `make`") from error
    return _Started(SimulatedBoard, geometry, options)


class _Started:
    """Enters a board; what goes wrong while it is built is a BuildError."""

    def __init__(self, kind: Any, geometry: Geometry, options: dict[str, Any]) -> None:
        self._kind, self._geometry, self._options = kind, geometry, options

    def __enter__(self) -> Any:
        try:
            self._board = self._kind(self._geometry, **self._options)
            return self._board.__enter__()
        except FarsideError:
            raise
        except ValueError as error:     # a setting of the channels out of bounds
            raise UsageError(str(error)) from error
        except FileNotFoundError as error:
            raise EnvironmentError_(f"cannot build the board: no {error.filename}: run `make`") \
                from error
        except Exception as error:
            log.info("building the board failed", exc_info=True)
            raise BuildError(f"cannot build the simulated board: {error} "
                             "(farside -v board shows where)") from error

    def __exit__(self, *error: Any) -> Any:
        return self._board.__exit__(*error)


def port_names(board: Any) -> dict[str, str]:
    """The four port names of a board."""
    ports = board.ports
    names = ("source", "target", "source_socket", "target_socket")
    if isinstance(ports, dict):
        return {name: ports[name] for name in names}
    return {name: getattr(ports, name) for name in names}


@click.command()
@click.option("--links", type=int, default=DEFAULT.links, help="Links between source and target.")
@click.option("--link-baud", type=common.BAUD, default="1Mbaud", help="Line rate of the links.")
@click.option("--host-baud", type=common.BAUD, default="2Mbaud",
              help="Line rate of both host ports.")
@click.option("--delay", type=common.TIME, default="0s", help="Delay of each link, each way.")
@click.option("--loss", type=common.CHANCE, default="0", help="Share of frames the links lose.")
@click.option("--ber", type=common.CHANCE, default="0", help="Bit error rate of the links.")
@click.option("--volumes", type=int, default=DEFAULT.volumes, help="Logical volumes.")
@click.option("--tracks-per-volume", type=int, default=DEFAULT.tracks_per_volume,
              help="Tracks of a volume.")
@click.option("--track-bytes", type=int, default=DEFAULT.track_bytes, help="Bytes of a track.")
@click.option("--sets", type=int, default=DEFAULT.sets, help="Consistency sets.")
@click.option("--seed", type=int, default=1, help="Seed of the links' disturbances.")
@click.option("--waves", metavar="FILE", help="Write waveforms to FILE (much slower).")
def board(links: int, link_baud: int, host_baud: int, delay: float, loss: float, ber: float,
          volumes: int, tracks_per_volume: int, track_bytes: int, sets: int, seed: int,
          waves: str | None) -> None:
    """Run a simulated board: the gateware of source, links and target, at full speed.

    The first line on stdout is a JSON object with the names of the ports: source and target are
    ptys, source_socket and target_socket the same two as socket:// addresses. The board then
    runs until it is interrupted.
    """
    if not 0 <= seed < 1 << 32:
        raise UsageError(f"seed {seed} is outside 0..{(1 << 32) - 1}")
    if waves is not None:
        common.check_writable(waves)
    geometry = geometry_from({
        "links": links, "link_baud": link_baud, "host_baud": host_baud, "volumes": volumes,
        "tracks_per_volume": tracks_per_volume, "track_bytes": track_bytes, "sets": sets,
        "chain_limit": min(DEFAULT.chain_limit, max(track_bytes // 3, 1))})
    with start_board(geometry, seed=seed, delay=delay, ber=ber, loss=loss, waves=waves,
                     progress=lambda text: log.info("%s", text)) as running:
        common.print_json(port_names(running))
        common.console().print("simulated board is running, Ctrl-C stops it")
        while True:
            _check_alive(running)
            time.sleep(0.2)


def _check_alive(running: Any) -> None:
    check = getattr(running, "check", None)
    if check is not None:
        check()
