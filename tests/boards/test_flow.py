"""What is handed to the tools: netlist and pins."""

import re

import pytest

from boards import board as boards
from boards import flow
from boards.board import find


def elaborate(tmp_path, name, role, links=1):
    board = find(name)
    flow.elaborate(board, role, board.geometry(role, links), tmp_path)
    pins = next(tmp_path.glob("top.[lp][pc]f")).read_text()
    return (tmp_path / "top.il").read_text(), pins


def test_both_systems_on_one_ecp5(tmp_path):
    netlist, pins = elaborate(tmp_path, "ulx3s-12f", "both")
    assert "cell \\EHXPLLL" in netlist
    for part in ("source", "target", "hub", "channel_0"):
        assert re.search(rf"cell \\top\.{part} ", netlist), part
    assert re.search(r'"clk25_0__io" SITE "G2"', pins)
    assert "link" not in pins           # they meet inside the chip


def test_a_target_on_an_ice40(tmp_path):
    netlist, pins = elaborate(tmp_path, "icebreaker", "target", links=2)
    assert netlist.count("cell \\SB_SPRAM256KA") == 4
    assert "EHXPLLL" not in netlist
    for pin in ("35", "6", "9", "4", "3"):      # clock, host line, pins 1 and 7 of PMOD 1A
        assert re.search(rf"set_io \S+ {pin}$", pins, re.MULTILINE), pin


def test_leds_of_several_colours(tmp_path):
    _, pins = elaborate(tmp_path, "ecpix5-45f", "target")
    assert re.search(r'"rgb_led_0__g__io" SITE "R21"', pins)


@pytest.mark.parametrize("name", boards.NAMES)
def test_every_board_knows_its_chip(name):
    options = flow._chip_options(find(name))
    assert options[0].startswith("--")
    assert "--package" in options
