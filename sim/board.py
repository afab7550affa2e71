"""The simulated board as a Python object: builds it, starts it, names its ports, stops it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from firmware_model import channel
from firmware_model.geometry import Geometry

from . import waves as waves_module
from .build import Build, BuildError, Spec, build

__all__ = ["BuildError", "SimulatedBoard", "SimulationError"]

START_SECONDS = 20.0        # the executable answers in milliseconds; a loaded machine may take long
STOP_SECONDS = 10.0         # closing a large waveform file takes a while


class SimulationError(Exception):
    """The simulated board did not start or died; the message is one line."""


class SimulatedBoard:
    """A source, a target and the links between them, running free in a process of its own.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. The process also ends
    when this one does, however that happens.

    Parameters
    ----------
    geometry : Geometry
        Sizes and line rates.
    seed : int
        Of the channel emulators' generators.
    delay : float
        Seconds each way on every link.
    ber, loss : float
        Bit error rate, and share of frames that vanish.
    waves : path or None
        Write waveforms there; ``.vcd`` or ``.fst``. A GTKWave save file and tables of state
        names are put beside it.
    waves_window : (int, int) or None
        First and last clock to trace; a waveform file grows by gigabytes a minute.
    mutation : str or None
        A deliberate fault, for mutation tests only.
    progress : callable or None
        Called with the name of each stage of the build that is needed.
    max_clocks : int or None
        Stop by itself after so many clocks.
    idle_exit : float or None
        Stop by itself when no client was heard for so many seconds.
    garbled : bool
        Block RAM says nothing true where it is read and written at once.
    netlist, spoilt
        See :class:`sim.build.Spec`.
    check_every : int or None
        Every so many clocks, compare the activity filter with a full evaluation; fail if they
        differ.

    Attributes
    ----------
    ports : dict
        ``source``, ``target`` (pseudo-terminals), ``source_socket``, ``target_socket``
        (``socket://`` forms), ``clock_hz``, ``pid``.
    statistics : dict
        After :meth:`stop`: ``clocks``, ``busy_seconds`` (without naps), ``cpu_seconds`` (of the
        process), ``clock_rate`` (clocks a busy second), ``source_overruns``,
        ``target_overruns`` (bytes lost because nobody read them).
    """

    def __init__(self, geometry: Geometry, *, seed: int = 1, delay: float = 0.0,
                 ber: float = 0.0, loss: float = 0.0, waves: str | os.PathLike[str] | None = None,
                 waves_window: tuple[int, int] | None = None, mutation: str | None = None,
                 progress: Callable[[str], None] | None = None, max_clocks: int | None = None,
                 idle_exit: float | None = None, check_every: int | None = None,
                 filtered: bool = True, garbled: bool = False, netlist: str = "",
                 spoilt: int | None = None, top: str = "sim.top:Board") -> None:
        if not 0 <= seed <= 0xFFFFFFFF:
            raise SimulationError(f"seed {seed} is outside 0..{0xFFFFFFFF}: "
                                  "it is a 32-bit register")
        self.geometry = geometry
        self.ports: dict[str, Any] = {}
        self.statistics: dict[str, Any] = {}
        self._waves = Path(waves) if waves is not None else None
        self._process: subprocess.Popen[bytes] | None = None
        self._progress = progress
        self._errors: BinaryIO | None = None
        self._log = ""
        self._spec = Spec(geometry, mutation, top=top, trace=_trace_format(self._waves),
                          filtered=filtered, garbled=garbled, netlist=netlist,
                          spoilt=spoilt)

        link_divisor = geometry.divisor(geometry.link_baud)
        options: dict[str, object] = {
            "clock-hz": geometry.clock_hz,
            "host-divisor": geometry.divisor(geometry.host_baud),
            "link-divisor": link_divisor,
            "delay": channel.delay_ticks(delay, link_divisor, geometry.clock_hz),
            "byte-error": channel.byte_error_chance(ber),
            "frame-loss": channel.frame_loss_chance(loss),
            "seed": seed,
        }
        if self._waves is not None:
            options["waves"] = self._waves
        if waves_window is not None:
            options["waves-start"], options["waves-stop"] = waves_window
        if max_clocks is not None:
            options["max-clocks"] = max_clocks
        if idle_exit is not None:
            options["idle-exit"] = idle_exit
        if check_every is not None:
            options["check-every"] = check_every
        self._options = [text for name, value in options.items()
                         for text in (f"--{name}", str(value))]

    # -- life --------------------------------------------------------------------------------

    def build(self) -> Build:
        """Build the executable, or find it in the cache. Raises :class:`BuildError`."""
        return build(self._spec, self._progress)

    def start(self) -> SimulatedBoard:
        """Build if needed, start the process and wait until its ports exist."""
        if self._process is not None:
            raise SimulationError("the simulated board is already running")
        if self._waves is not None and not self._waves.parent.is_dir():
            raise SimulationError(f"cannot write waveforms to {self._waves}: "
                                  f"there is no directory {self._waves.parent}")
        made = self.build()
        # Its own process group: an interrupt from the keyboard reaches this process only, which
        # then stops the board in good order. Its standard input is a pipe that closes with us.
        self._errors = tempfile.TemporaryFile()     # noqa: SIM115 (closed with the process)
        process = subprocess.Popen(
            [made.executable, *self._options, "--stay-with-stdin"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True)
        self._process = process
        try:
            self.ports = json.loads(self._first_line(process))
            if self._waves is not None:
                waves_module.write_companions(made.signals, self._waves)
        except BaseException:
            self.kill()
            raise
        return self

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(START_SECONDS) else b""
        if not line.endswith(b"\n"):
            code = process.poll()
            self.kill()
            said = self.log.strip().splitlines()
            reason = said[-1].removeprefix("error: ") if said else f"no answer (exit code {code})"
            raise SimulationError(f"the simulated board did not start: {reason}")
        return line

    def stop(self) -> None:
        """End the process in good order (waveforms are complete) and collect ``statistics``."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SimulationError(
                f"the simulated board did not stop within {STOP_SECONDS:g} s") from None
        self._close()
        said = self.log.strip().splitlines()
        if code != 0:
            raise SimulationError("the simulated board failed: "
                                  + (said[-1] if said else f"exit code {code}"))
        self.statistics = json.loads(said[-1])

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def _close(self) -> None:
        assert self._process is not None
        assert self._errors is not None
        self._log = self.log
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()
        self._process = self._errors = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the process ends by itself; false if it did not within ``timeout``."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def log(self) -> str:
        """What the process has written to its standard error."""
        if self._errors is None:
            return self._log
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode(errors="replace")

    def __enter__(self) -> SimulatedBoard:
        return self if self.running else self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.stop()
            return
        with contextlib.suppress(SimulationError):      # the first failure is the one to report
            self.stop()


def _trace_format(waves: Path | None) -> str:
    if waves is None:
        return ""
    suffix = waves.suffix.lower()
    if suffix not in (".vcd", ".fst"):
        raise SimulationError(f"waveform file {waves} must end in .vcd or .fst")
    return suffix[1:]


def main() -> int:
    """``python -m sim.board``: run the default board until interrupted."""
    with SimulatedBoard(Geometry()) as board:
        print(json.dumps(board.ports), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            board.wait()
    print(board.statistics)
    return 0


if __name__ == "__main__":
    main()
