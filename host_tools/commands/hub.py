"""``farside hub``: two ports for a board that is source and target at once."""

from __future__ import annotations

import contextlib
import signal

import click

from . import common


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@click.command()
@common.port_argument
@common.baud_option
def hub(port: str, baud: int) -> None:
    """Give a board built with --role both a port for its source and one for its target.

    The first line on stdout is a JSON object with their names, as that of `farside board`. Runs
    until it is interrupted, and ends with exit code 0.
    """
    from ..hub import Hub
    from ..transport import SerialTransport

    signal.signal(signal.SIGTERM, _stop)
    line = SerialTransport(port, baud)
    try:
        with Hub(line) as joined, contextlib.suppress(KeyboardInterrupt):
            common.print_json(joined.ports)
            common.console().print("hub is running, Ctrl-C stops it")
            while True:
                joined.step()
    finally:
        line.close()
