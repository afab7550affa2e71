"""``farside board``: a simulated board until interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from boards.simulated import DEFAULT
from firmware_model.channel import ChannelError
from firmware_model.geometry import Geometry, GeometryError

from ..errors import BuildError, DeviceError, EnvironmentError_, UsageError
from . import common

if TYPE_CHECKING:
    from sim.board import SimulatedBoard

log = logging.getLogger("farside.board")


def geometry_from(changes: dict[str, int | None]) -> Geometry:
    """The default geometry with the changes the user asked for."""
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        geometry = dataclasses.replace(DEFAULT, **given)
    except GeometryError as error:
        raise UsageError(f"no such board: {error}") from None
    return geometry


@contextlib.contextmanager
def start_board(geometry: Geometry, **options: Any) -> Iterator[SimulatedBoard]:
    """A running simulated board (``sim.board``), its failures as errors of the host tools."""
    try:
        from sim import board as simulated
    except ImportError as error:
        raise EnvironmentError_(f"the simulated board needs {error.name}: run `make`") from error
    try:
        with simulated.SimulatedBoard(geometry, **options) as running:
            yield running
    except simulated.BuildError as error:
        raise BuildError(str(error)) from error
    except simulated.SimulationError as error:
        raise EnvironmentError_(str(error)) from error
    except ChannelError as error:
        raise UsageError(str(error)) from error


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


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
@click.option("--waves", metavar="FILE",
              help="Write waveforms to FILE (.vcd or .fst; much slower, some 100 MB a second).")
@click.option("--waves-window", metavar="FIRST:LAST",
              help="Write only these clocks, counted from the start.")
def board(links: int, link_baud: int, host_baud: int, delay: float, loss: float, ber: float,
          volumes: int, tracks_per_volume: int, track_bytes: int, sets: int, seed: int,
          waves: str | None, waves_window: str | None) -> None:
    """Run a simulated board: the gateware of source, links and target, at full speed.

    The first line on stdout is a JSON object with the names of the ports: source and target are
    ptys, source_socket and target_socket the same two as socket:// addresses. The board then
    runs until it is interrupted, and ends with exit code 0. A board of sizes never asked for
    before is compiled first, which takes about a minute.
    """
    if not 0 <= seed < 1 << 32:
        raise UsageError(f"seed {seed} is outside 0..{(1 << 32) - 1}")
    common.check_waves(waves)
    window = _parse_window(waves, waves_window)
    geometry = geometry_from({
        "links": links, "link_baud": link_baud, "host_baud": host_baud, "volumes": volumes,
        "tracks_per_volume": tracks_per_volume, "track_bytes": track_bytes, "sets": sets,
        "chain_limit": min(DEFAULT.chain_limit, max(track_bytes // 3, 1))})
    signal.signal(signal.SIGTERM, _stop)
    with contextlib.suppress(KeyboardInterrupt), \
            start_board(geometry, seed=seed, delay=delay, ber=ber, loss=loss, waves=waves,
                        waves_window=window, progress=_say_stage()) as running:
        common.print_json(running.ports)
        common.console().print("simulated board is running, Ctrl-C stops it")
        while not running.wait(0.2):
            pass
        raise DeviceError(f"the simulated board ended by itself: {_last_line(running.log)}")


def _parse_window(waves: str | None, window: str | None) -> tuple[int, int] | None:
    if window is None:
        return None
    if waves is None:
        raise UsageError("--waves-window needs --waves FILE")
    first, colon, last = window.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise UsageError(f"--waves-window {window!r} is no range of clocks: write FIRST:LAST, as "
                         "in 100000:400000")
    return int(first), int(last)


def _say_stage() -> Callable[[str], None]:
    """Names each stage of a build once, on stderr, so that the first minute is not silent."""
    said: set[str] = set()

    def say(text: str) -> None:
        log.info("%s", text)
        if text not in said:
            said.add(text)
            common.console().print(f"building the simulated board: {text}")

    return say


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it says nothing"
