"""From gateware to cells and back: what is simulated is what synthesis made, faults and all."""

import contextlib
import random

import pytest
import serial

from firmware_model.geometry import Geometry
from sim import netlist
from sim.board import SimulatedBoard
from sim.build import FAMILIES, BuildError, Spec

TOP = "tests.sim.detour:DetourBoard"
GEOMETRY = Geometry()
DATA = bytes(range(256))


def echo(family, spoilt=None):
    """What comes back of DATA through the cells."""
    with SimulatedBoard(GEOMETRY, top=TOP, netlist=f"{family}:source", spoilt=spoilt) as board, \
            contextlib.closing(serial.serial_for_url(board.ports["source"], timeout=2)) as port:
        port.write(DATA)
        return port.read(len(DATA))


@pytest.mark.parametrize("family", FAMILIES)
def test_cells_do_what_was_written(family):
    assert echo(family) == DATA


def test_a_single_wrong_table_shows():
    assert echo("ice40", spoilt=0) != DATA


def test_formulas_say_what_their_tables_say():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    names = ("a", "b", "c", "d")
    for table in (0, 0xFFFF, 0x6996, 0x8000, 0x5555, *(rng.randrange(1 << 16) for _ in range(500))):
        _, text = netlist.formula(table, names)
        code = compile(text.replace("1'h", ""), "formula", "eval")
        for row in range(16):
            values = {name: row >> place & 1 for place, name in enumerate(names)}
            assert eval(code, values) & 1 == table >> row & 1, (hex(table), text)


def test_refusals():
    with pytest.raises(BuildError, match="'ice41:source' is of no family of ice40 and ecp5"):
        Spec(GEOMETRY, netlist="ice41:source")
    with pytest.raises(BuildError, match="netlist 'ecp5' names no part"):
        Spec(GEOMETRY, netlist="ecp5")
