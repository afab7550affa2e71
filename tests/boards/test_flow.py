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


def test_yosys_reads_cleared_memories_that_are_said_once(tmp_path):
    """The short form means the same as Amaranth's long one."""
    from amaranth.back import rtlil
    from amaranth.hdl import Module
    from amaranth.lib.memory import Memory

    def made():
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=16, init=[])
        write, read = memory.write_port(), memory.read_port()
        return rtlil.convert(m, emit_src=False, ports=[
            write.addr, write.data, write.en, read.addr, read.data, read.en])

    def contents(text):
        zeros = re.search(r"connect \\DATA (\d+)'([0-9]+)\n", text[text.index("$meminit_v2"):])
        assert set(zeros[2]) == {"0"}
        return int(zeros[1])

    long = made()
    with flow.short_memories():
        short = made()
    assert contents(long) == contents(short) == 8 * 16
    assert made() == long


@pytest.mark.parametrize("name", boards.NAMES)
def test_every_board_knows_its_chip(name):
    options = flow._chip_options(find(name))
    assert options[0].startswith("--")
    assert "--package" in options
