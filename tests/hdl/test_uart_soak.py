"""Millions of bytes back to back, at the limits that hdl/uart.py states.

``FARSIDE_SOAK_SECONDS`` says how long each case runs (1).
"""

import contextlib
import os
import time

import pytest
import serial

from firmware_model.geometry import Geometry
from sim.board import SimulatedBoard
from tests.hdl.uart_soak import JITTER_BIT

SOAK = "tests.hdl.uart_soak:Soak"
SECONDS = float(os.environ.get("FARSIDE_SOAK_SECONDS", "1"))


def soak(clocks, offset, jitter):
    """Bytes received and bytes wrong, from a sender whose bits are longer by ``offset``."""
    geometry = Geometry(clock_hz=48_000_000, host_baud=3_000_000,
                        link_baud=round(48_000_000 / clocks / (1 + offset)))
    divisor = round(256 * clocks)
    with SimulatedBoard(geometry, top=SOAK, filtered=False,
                        seed=divisor | jitter << JITTER_BIT) as board:
        with contextlib.closing(serial.serial_for_url(board.ports["source"], timeout=10)) as port:
            time.sleep(SECONDS)
            port.write(b"?")
            said = port.read(6)
    assert len(said) == 6, "the board died"
    return int.from_bytes(said[:4], "little"), int.from_bytes(said[4:], "little")


# Clocks a bit, how much longer the sender's bits are, clocks of jitter. The sender's own fractions
# are one clock of jitter more, so that the limits of a perfect one are not quite reached.
@pytest.mark.parametrize(("clocks", "offset", "jitter"), [
    (4, 0.0, 0), (4, 0.02, 0), (16, 0.045, 0), (16, -0.035, 0), (16, 0.0, 5), (16, 0.02, 3),
    (16 + 2 / 3, -0.02, 3), (104, 0.05, 2)])
def test_millions_of_bytes_back_to_back(clocks, offset, jitter):
    count, wrong = soak(clocks, offset, jitter)
    assert wrong == 0
    assert count > SECONDS * 1000
    print(f"{count} bytes")


def test_beyond_the_limit_it_fails():
    """Or the others would show nothing."""
    for offset in (0.07, -0.07):
        assert soak(16, offset, 0)[1] > 0
