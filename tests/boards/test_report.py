"""Reports: numbers and names from what the tools write."""

import json

import pytest

from boards import board as boards
from boards import report

LOG = """
Info: Device utilisation:
Info: 	         ICESTORM_LC:    7105/   5280   134%
Info: 	        ICESTORM_RAM:      19/     30    63%
Info: 	      ICESTORM_SPRAM:       4/      4   100%
ERROR: Unable to place cell
"""


def end(cell, nanoseconds, event="posedge clk"):
    return {"cell": cell, "port": "D", "delay": [1.0, nanoseconds], "event": event}


TIMING = {
    "fmax": {"slow": {"achieved": 310.0, "constraint": 25.0},
             "clk": {"achieved": 23.5, "constraint": 12.0}},
    "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [
        {"from": {"cell": "target.core.chain.count_SB_DFFE_Q_D_SB_LUT4_O_3_LC"},
         "to": {"cell": "target.link_0.speaker.x_LC"}, "delay": 1.5, "type": "clk-to-q"},
        {"from": {"cell": "target.link_0.speaker.x_LC"},
         "to": {"cell": "target.link_0.speaker.y_LC"}, "delay": 2.0, "type": "routing"}]}, {
             "from": "<async>", "to": "posedge clk", "path": [{
                 "from": {"cell": "pin"}, "to": {"cell": "cd_sync.x"}, "delay": 99.0}]}, {
                     "from": "posedge slow", "to": "posedge clk", "path": [{
                         "from": {"cell": "start.r"}, "to": {"cell": "cd_sync.x"},
                         "delay": 88.0}]}],
    "detailed_net_timings": [
        # Of an endpoint that is reached from two clocks both are told, and of either net one name.
        {"driver": "target.core.bus.a_LC", "event": "posedge slow", "endpoints": [
            end("target.core.commit.z_LC", 77.0),
            end("target.core.reader.z_LC", 55.0), end("target.core.reader.z_LC", 2.4)]},
        {"driver": "target.core.bus.a_LC", "event": "posedge clk", "endpoints": [
            end("pin", 66.0, "<async>"),
            end("target.core.poller.z_LC", 50.0),       # of the other clock, later than any can be
            end("target.link_0.speaker.z_LC", 3.4),
            end("target.core.status.z_LC", 3.0), end("target.core.status.z_LC", 44.0),
            end("target.core.bus.z_LC", 2.3)]},
        {"driver": "start.step_LC", "event": "posedge slow", "endpoints": [
            end("start.reset_LC", 3.2, "posedge slow")]}],
}


def cell(type_, output, **inputs):
    port = {"SB_DFF": "Q", "SB_LUT4": "O", "SB_CARRY": "CO", "SB_RAM40_4K": "RDATA"}[type_]
    return {"type": type_, "connections": {port: [output]} | {p: [b] for p, b in inputs.items()},
            "port_directions": {port: "output"} | dict.fromkeys(inputs, "input")}


@pytest.fixture
def folder(tmp_path):
    cells = {
        # Of two ways to the last table the one with two more is longer, the carries count little.
        "target.core.metadata.r": cell("SB_DFF", 2, D=9),
        "target.core.reader.l": cell("SB_LUT4", 3, I0=2, I1="0"),
        "target.core.commit.l": cell("SB_LUT4", 4, I0=3, I3=7),
        "target.core.counters.r": cell("SB_DFF", 5, D=9),
        "target.core.counters.c": cell("SB_CARRY", 6, I0=5, CI="1"),
        "target.core.counters.d": cell("SB_CARRY", 7, CI=6),
        "target.core.bus.a": cell("SB_LUT4", 9, I2=4, I3=7),
        "target.core.chain.a_SB_LUT4_O": {"type": "SB_LUT4"},
        "target.core.chain.b_SB_DFF_Q": {"type": "SB_DFFESR"},
        "target.core.chain.c_SB_CARRY_CO": {"type": "SB_CARRY"},
        "target.core.chain.memory.0.0": {"type": "SB_RAM40_4K"},
        "lonely_SB_LUT4_O": {"type": "SB_LUT4"},
    }
    (tmp_path / "top.json").write_text(json.dumps({"modules": {
        "SB_LUT4": {"cells": {}}, "top": {"attributes": {"top": "1"}, "cells": cells}}}))
    (tmp_path / "top.report.json").write_text(json.dumps(TIMING))
    return tmp_path


def read(folder, log=LOG):
    board = boards.find("icebreaker")
    return report.read(board, "target", board.geometry("target"), folder, log, seed=1,
                       placer="heap", router="router1")


def test_says_by_how_much_it_does_not_fit(folder):
    found = read(folder)
    assert found.excess() == "7105 logic cells of 5280, 1825 too many"
    assert str(found.block_rams) == "19 of 30 (63%)"
    assert read(folder, LOG.replace("7105", "5280")).excess() == ""


def test_timing_is_compared_with_the_design_clock(folder):
    found = read(folder)
    assert (found.max_mhz, found.required_mhz, found.timing_met) == (23.5, 12.0, True)


def test_paths_are_told_by_component(folder):
    assert [str(path) for path in read(folder).paths] == [
        "3.5 ns  target.core.chain -> target.link_0.speaker",
        "3.0 ns  target.core.metadata -> target.core.reader -> target.core.commit -> "
        "target.core.bus -> target.core.status",
        "2.4 ns  target.core.metadata -> target.core.reader -> target.core.commit -> "
        "target.core.bus -> target.core.reader"]


def test_a_way_may_begin_in_a_block_ram_or_be_unknown(folder):
    netlist = folder / "top.json"
    netlist.write_text(netlist.read_text().replace(
        '"target.core.metadata.r": {"type": "SB_DFF"', '"target.core.pages.r": {"type": "SB_DFF"'))
    assert read(folder).paths[1].start == "target.core.pages"
    ram = json.dumps(cell("SB_RAM40_4K", 5, RADDR=9))
    modules = json.loads(netlist.read_text())
    modules["modules"]["top"]["cells"]["target.core.counters.r"] = json.loads(ram)
    netlist.write_text(json.dumps(modules))
    assert read(folder).paths[1].start == "target.core.counters"
    netlist.write_text(netlist.read_text().replace("target.core.bus.a", "target.core.bus.b"))
    assert read(folder).paths[1].start == "..."


def test_cells_are_counted_by_component(folder):
    parts = {part.name: part for part in read(folder).parts}
    assert parts["target.core.chain"].luts == 1
    assert (parts["target.core.chain"].flip_flops, parts["target.core.chain"].carries) == (1, 1)
    assert parts["top"].luts == 1
    assert sum(part.block_rams for part in parts.values()) == 1


def test_a_build_that_never_got_so_far_has_no_numbers(tmp_path):
    found = read(tmp_path, "")
    assert (found.cells.used, found.max_mhz, found.parts, found.paths) == (0, 0.0, (), ())
    assert found.cells.available == 5280


@pytest.mark.parametrize(("cell", "owner"), [
    ("source.core.chain.count_SB_DFFE_Q", "source.core.chain"),
    ("source.link_0.session$167.up_LC", "source.link_0.session"),
    ("$abc$123$lut", "top"),
])
def test_component_of_a_cell(cell, owner):
    assert report.component(cell) == owner
