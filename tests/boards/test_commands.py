"""``farside build``, ``flash`` and ``boards`` with tools that only pretend."""

import hashlib
import json
import os

import pytest

from boards import flow
from host_tools.cli import main

FITS = """Info: ICESTORM_LC: 5000/ 5280 94%
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Programs called like the real ones; nextpnr fits and is as fast as ``speed`` says, each time
    as its next line says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    speed = tmp_path / "speed"
    speed.write_text("20")
    scripts = {
        "yosys": 'echo \'{"modules":{"top":{"attributes":{"top":"1"},"cells":{}}}}\' > top.json',
        "nextpnr-ice40": """cd ../../..
echo "$@" > arguments
echo "Info: ICESTORM_LC: $(cat cells 2>/dev/null || echo 5000)/ 5280 94%"
test -e cells && { echo "ERROR: no room"; exit 1; }
achieved=$(sed -n 1p speed)
sed -i '1{$!d}' speed
cd - > /dev/null
echo "{\\"fmax\\":{\\"clk\\":{\\"achieved\\":$achieved}}}" > top.report.json
echo "$@" > top.asc""",
        "icepack": "cp $1 $2",
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(flow, "elaborate",
                        lambda board, role, geometry, where: where.mkdir(parents=True))
    return tmp_path


def run(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def build(capsys, *more):
    return run(capsys, "build", "icebreaker", "--role", "target", "--tools", "system", *more)


def test_build_reports_and_leaves_a_bitstream(capsys, tools):
    code, out, _ = build(capsys, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["cells"] == {"used": 5000, "available": 5280}
    assert found["timing_met"]
    manifest = json.loads((tools / found["folder"] / flow.MANIFEST).read_text())
    assert (manifest["board"], manifest["role"]) == ("icebreaker", "target")


@pytest.mark.parametrize(("arguments", "seed", "placer", "router"), [
    ([], 1, "heap", "router1"),
    (["--seed", "7", "--placer", "static", "--router", "router2"], 7, "static", "router2")])
def test_how_to_place_and_route_is_passed_on_and_told(capsys, tools, arguments, seed, placer,
                                                      router):
    code, out, _ = build(capsys, "--json", *arguments)
    assert code == 0
    found = json.loads(out)
    assert (found["seed"], found["placer"], found["router"]) == (seed, placer, router)
    given = (tools / "arguments").read_text()
    assert f"--seed {seed} --placer {placer} --router {router} " in given


def test_while_it_is_too_slow_the_next_seeds_are_tried(capsys, tools):
    (tools / "speed").write_text("10\n11\n12.5\n13")
    code, out, err = build(capsys, "--json", "--seed", "5")
    assert code == 0
    found = json.loads(out)
    assert (found["seed"], found["max_mhz"]) == (7, 12.5)
    assert "with seed 6: 10.0 MHz were too slow" in err


def test_of_several_tries_the_fastest_counts(capsys, tools):
    (tools / "speed").write_text("9\n11\n10\n8")
    code, out, err = build(capsys, "--json", "--tries", "3")
    assert code == 4
    found = json.loads(out)
    assert (found["seed"], found["max_mhz"]) == (2, 11)
    assert "too slow: 11.0 MHz of 12.0 MHz" in err
    assert "--seed 2 " in (tools / "build/boards/icebreaker-target/top.bin").read_text()


def test_build_says_by_how_much_it_is_too_slow(capsys, tools):
    (tools / "speed").write_text("10")
    code, _, err = build(capsys)
    assert code == 4
    assert "too slow: 10.0 MHz of 12.0 MHz, 20% too little" in err


def test_build_says_by_how_much_it_does_not_fit(capsys, tools):
    (tools / "cells").write_text("7105")
    code, out, err = build(capsys, "--json")
    assert code == 4
    assert "does not fit: 7105 logic cells of 5280, 1825 too many" in err
    assert json.loads(out)["cells"]["used"] == 7105


def test_a_missing_tool_is_named_with_its_package(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = build(capsys)
    assert code == 5
    assert "yosys is not on the PATH (Debian package yosys)" in err


@pytest.mark.parametrize(("arguments", "message"), [
    (["nexys", "--role", "source"], "no board is called nexys: there are ulx3s-12f"),
    (["icebreaker", "--role", "both"], "icebreaker has no role both: it can be source or target"),
    (["icebreaker", "--role", "source", "--links", "5"], "pins for 1 to 3 links, not 5"),
    (["generic-ecp5", "--role", "source"], "generic-ecp5 needs --pins FILE"),
    (["icebreaker", "--role", "source", "--pins", "x"], "--pins is for generic-ecp5"),
])
def test_build_refuses_what_cannot_be_meant(capsys, arguments, message):
    code, _, err = run(capsys, "build", *arguments)
    assert code == 2
    assert message in err


def bitstream(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "top.bin").write_bytes(b"bits")
    manifest = {"board": "icebreaker", "role": "target", "bitstream": "top.bin",
                "sha256": hashlib.sha256(b"bits").hexdigest(), "timing_met": True, **changes}
    (folder / flow.MANIFEST).write_text(json.dumps(manifest))
    return folder


def flash(capsys, folder, *more):
    return run(capsys, "flash", "icebreaker", "--role", "target", "--from", str(folder), *more)


def test_flash_calls_the_tool(capsys, tools, tmp_path):
    script = tmp_path / "bin" / "iceprog"
    script.write_text('#!/bin/sh\necho "$@" > called\n')
    script.chmod(0o755)
    folder = bitstream(tmp_path / "built")
    assert flash(capsys, folder)[0] == 0
    assert (tmp_path / "called").read_text() == f"-S {folder}/top.bin\n"
    assert flash(capsys, folder, "--permanent")[0] == 0
    assert (tmp_path / "called").read_text() == f"{folder}/top.bin\n"


def test_flash_shows_the_command(capsys, tmp_path):
    code, out, _ = flash(capsys, bitstream(tmp_path / "built"), "--dry-run")
    assert code == 0
    assert "iceprog -S" in out


@pytest.mark.parametrize(("changes", "message"), [
    ({"board": "icesugar"}, "is for board icesugar, not icebreaker"),
    ({"role": "source"}, "is for role source, not target"),
    ({"sha256": "0"}, "is not what was built there"),
    ({"timing_met": False}, "does not meet its timing"),
])
def test_flash_refuses_what_is_not_for_this_board(capsys, tmp_path, changes, message):
    code, _, err = flash(capsys, bitstream(tmp_path / "built", **changes), "--dry-run")
    assert code == 2
    assert message in err


def test_flash_names_what_is_missing(capsys, tmp_path, monkeypatch):
    code, _, err = flash(capsys, tmp_path / "nothing")
    assert (code, "build it first" in err) == (2, True)
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = flash(capsys, bitstream(tmp_path / "built"))
    assert code == 5
    assert "iceprog is not on the PATH (Debian package fpga-icestorm)" in err


def test_boards_lists_all_of_them(capsys):
    code, out, _ = run(capsys, "boards", "--json")
    assert code == 0
    found = {board["name"]: board for board in json.loads(out)["boards"]}
    assert len(found) == 8
    assert found["icebreaker"]["roles"]["target"]["tracks"] == 128
    assert run(capsys, "boards")[0] == 0
