"""Waveforms of a real run: named signals, named states, and a save file that finds them."""

import contextlib
import re

import pytest
import pywellen
import serial

from firmware_model.geometry import Geometry
from sim.board import SimulatedBoard

ECHO = "tests.sim.echo:Echo"
CLOCKS = 20_000


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("waves") / "echo.vcd"
    board = SimulatedBoard(Geometry(), top=ECHO, waves=path, waves_window=(0, 50_000))
    with board, contextlib.closing(serial.serial_for_url(board.ports["source"], timeout=5)) as port:
        port.write(b"\x55\x00")
        assert port.read(2) == b"\x55\x00"
    return path


def signals_of(trace):
    return {str(var)[4:-1]: var for var in pywellen.Waveform(str(trace)).all_vars()}


def test_signals_keep_their_names(trace):
    signals = signals_of(trace)
    for name in ("source_rx", "source_tx", "target_tx", "clk", "watcher.watcher_state",
                 "watcher.colour"):
        assert f"TOP.board.{name}" in signals
    assert not [name for name in signals if "$" in name], "nobody can read unnamed signals"


def test_states_change_and_are_named(trace):
    text = trace.read_text()
    code = re.search(r"\$var wire 1 (\S+) watcher_state \$end", text)[1]
    values = re.findall(rf"^([01]){re.escape(code)}$", text, re.MULTILINE)
    assert len(values) > 4
    assert set(values) == {"0", "1"}
    names = trace.with_name("echo.vcd.names")
    assert (names / "board.watcher.watcher_state.txt").read_text() == (
        "0 AWAIT_FALL\n1 AWAIT_RISE\n")
    assert (names / "board.watcher.colour.txt").read_text() == "0 RED\n1 GREEN\n"
    assert (names / ".surfer/mappings/board.watcher.colour.txt").read_text() == (
        "Name = board.watcher.colour\nBits = 1\n0b0 RED\n0b1 GREEN\n")


def test_everything_in_the_save_file_is_in_the_trace(trace):
    signals = signals_of(trace)
    save = trace.with_name("echo.vcd.gtkw").read_text()
    shown = re.findall(r"^(TOP\..*)$", save, re.MULTILINE)
    assert len(shown) >= 5
    for line in shown:
        assert re.sub(r"\[\d+:0\]$", "", line) in signals, line
    assert f'[dumpfile] "{trace}"' in save


def test_the_window_bounds_the_file(tmp_path):
    path = tmp_path / "part.vcd"
    board = SimulatedBoard(Geometry(), top=ECHO, waves=path, waves_window=(1000, 2000),
                           max_clocks=5000)
    with board:
        assert board.wait(20)
    times = [int(line[1:]) for line in path.read_text().splitlines() if line.startswith("#")]
    period = 1e12 / Geometry().clock_hz
    assert times[0] == pytest.approx(1000 * period, rel=1e-3)
    assert times[-1] == pytest.approx(2000 * period, rel=1e-3)
