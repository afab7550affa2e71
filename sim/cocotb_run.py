"""Runs cocotb tests on the gateware: builds by content, starts the simulator, reads the verdict."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from firmware_model.geometry import Geometry

from .build import BuildError, Spec, build

__all__ = ["CocotbFailure", "run"]


class CocotbFailure(AssertionError):
    """A cocotb test failed; the message names it and ends with what the simulator printed."""


def run(module: str, geometry: Geometry, directory: Path, *, top: str = "sim.bridge:BridgedBoard",
        mutation: str | None = None, seed: int | None = None, testcase: str | None = None,
        environment: dict[str, str] | None = None, waves: Path | None = None,
        expose: bool = False, garbled: bool = False) -> list[str]:
    """Run the cocotb tests of ``module`` on ``top``; returns the names of those that passed.

    ``directory`` takes results and log. ``testcase`` picks tests by regular expression, ``seed``
    is cocotb's random seed, ``environment`` is seen by the test; ``garbled`` see
    :mod:`sim.garble`. Builds are shared with every other run of the same gateware. Raises
    :class:`CocotbFailure`, also if no test ran at all.
    """
    try:
        from cocotb_tools.runner import get_runner
    except ImportError:
        raise BuildError("cocotb is missing: pip install 'farside[test]'") from None
    trace = waves.suffix[1:] if waves is not None else ""
    made = build(Spec(geometry, mutation, top=top, flow="cocotb", trace=trace, expose=expose,
                      garbled=garbled))
    directory.mkdir(parents=True, exist_ok=True)
    results, log = directory / "results.xml", directory / "simulator.log"
    settings = {
        "FARSIDE_CLOCK_PS": str(2 * round(5e11 / geometry.clock_hz)),
        "COCOTB_ANSI_OUTPUT": "0",
        **(environment or {}),
    }
    if waves is not None:
        settings["FARSIDE_WAVES"] = str(waves.resolve())
    with contextlib.redirect_stdout(io.StringIO()), _cleared("COCOTB_RESULTS_FILE"):
        try:
            get_runner("verilator").test(
                test_module=module, hdl_toplevel="board", hdl_toplevel_lang="verilog",
                build_dir=made.executable.parent, test_dir=directory, results_xml=str(results),
                seed=seed, test_filter=testcase, extra_env=settings, log_file=str(log))
        except (SystemExit, RuntimeError) as error:
            raise CocotbFailure(f"the simulator ended early ({error})\n{_tail(log)}") from None
    return _verdict(results, log)


@contextlib.contextmanager
def _cleared(*names: str) -> Iterator[None]:
    """The runner reads the environment; what an outer cocotb left there is not for this run."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _tail(log: Path, lines: int = 60) -> str:
    if not log.is_file():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _verdict(results: Path, log: Path) -> list[str]:
    if not results.is_file():
        raise CocotbFailure(f"the simulator left no results\n{_tail(log)}")
    passed: list[str] = []
    failed: list[str] = []
    for case in ElementTree.parse(results).iter("testcase"):
        name = case.get("name", "?")
        if case.find("skipped") is not None:
            continue
        bad = case.find("failure") is not None or case.find("error") is not None
        (failed if bad else passed).append(name)
    if failed:
        text = re.sub(r"\n{2,}", "\n", _tail(log))
        raise CocotbFailure(f"{', '.join(failed)} failed\n{text}")
    if not passed:
        raise CocotbFailure(f"no test ran\n{_tail(log)}")
    return passed
