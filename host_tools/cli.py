"""The ``farside`` command: a lazily loaded group, and the way every failure is reported.

A command's module is imported when that command runs, so ``farside --help`` needs no more than
click. Every error that a user can cause ends as one line on stderr and an exit code of its family.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

import click

from .errors import Exit, FarsideError

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module under host_tools.commands, short help)
    "board": ("board", "Run a simulated board: source, links and target."),
    "info": ("inspect", "Say what a board is."),
    "sets": ("inspect", "Show consistency sets, or assign volumes to them."),
    "stats": ("inspect", "Show everything a board counts."),
    "watch": ("watch", "Watch a board at work: links, sets, disconnects, rates."),
    "link": ("inspect", "Cut, restore, delay or disturb a link of a simulated board."),
    "write": ("data", "Write a file to consecutive tracks."),
    "read": ("data", "Read consecutive tracks into a file."),
    "dump": ("data", "Read all volumes, in order, as one raw image."),
    "run": ("run", "Run a workload against a source and record its history."),
    "check": ("check", "Say which prefix of the history an image is."),
    "demo": ("demo", "The whole method in one go, on a simulated board."),
    "compare": ("compare", "Set the method against simple delay and a queue of chains."),
    "boards": ("boards", "List boards, their roles and sizes, and ports that look like one."),
    "build": ("build", "Build the bitstream of a board, and say how it fits."),
    "flash": ("flash", "Put a bitstream onto its board."),
    "selftest": ("selftest", "Check a board, its links and its target. Overwrites them."),
    "hub": ("hub", "Two ports for a board that is source and target at once."),
    "campaign": ("campaign", "Play thousands of random trials of the gateware with faults."),
    "replay": ("campaign", "Play one trial again from its scenario file."),
    "bench": ("bench", "Measure simulated clock, links, disconnects and destaging."),
}

EPILOG = """\b
Exit codes: 0 done, 1 a check failed, 2 usage, 3 port or board, 4 build,
5 something of this machine is missing, 130 interrupted.

\b
PORT is a serial device, the path of a pty, or socket://HOST:NUMBER.
Values with units: 20ms, 1Mbaud, 1e-6, 2%.  Tracks: VOLUME:TRACK or VOLUME:TRACK+COUNT.
"""


class LazyGroup(click.Group):
    """Knows the commands by name; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"host_tools.commands.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG,
             context_settings={"help_option_names": ["-h", "--help"], "show_default": True,
                               "max_content_width": 100})
@click.option("-v", "--verbose", count=True,
              help="Log to stderr what happens; twice: every byte on the line too.")
@click.version_option(package_name="farside", prog_name="farside")
def cli(verbose: int) -> None:
    """Mirror a storage system over several slow links so that the far copy is always a state the
    near one really had.
    """
    level = (logging.ERROR, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(relativeCreated)9.0f ms %(name)s: %(message)s"))
    logger = logging.getLogger("farside")
    logger.handlers[:] = [handler]
    logger.setLevel(level)


def report(message: str) -> None:
    """One line on stderr, whatever the message contains."""
    print("farside: " + " ".join(message.split()), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Never raises for what a user can cause."""
    try:
        result = cli.main(args=arguments, prog_name="farside", standalone_mode=False)
    except FarsideError as error:
        report(str(error))
        return error.exit_code
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx \
            else "farside"
        report(f"{error.format_message()} (see `{where} --help`)")
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPT
    except BrokenPipeError:
        sys.stdout = None   # the reader of our output has gone: nothing is left to say
        return Exit.OK
    return result if isinstance(result, int) else Exit.OK


if __name__ == "__main__":
    sys.exit(main())
