"""``farside build``, ``flash`` and ``boards`` with tools that only pretend."""

import hashlib
import json
import os

import pytest

from boards import flow
from host_tools.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Programs called like the real ones; nextpnr fits and is as fast as ``speed`` says, each time
    as its next line says, and fails where that is 0."""
    folder = tmp_path / "bin"
    folder.mkdir()
    speed = tmp_path / "speed"
    speed.write_text("20")
    scripts = {
        "yosys": 'echo \'{"modules":{"top":{"attributes":{"top":"1"},"cells":{}}}}\' > top.json',
        "nextpnr-ice40": """root=../../..
echo "$@" > $root/arguments
echo "Info: ICESTORM_LC: $(cat $root/cells 2>/dev/null || echo 5000)/ 5280 94%"
test -e $root/cells && { echo "ERROR: no room"; exit 1; }
achieved=$(sed -n 1p $root/speed)
sed -i '1{$!d}' $root/speed
test $achieved = 0 && { echo "ERROR: no way"; exit 1; }
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
    assert ("--tmg-ripup" in given) == (router == "router2")


@pytest.mark.parametrize(("speeds", "arguments", "code", "seed", "mhz"), [
    ("9 10 11 12.5 13", ["--seed", "5"], 0, 8, 12.5),           # four of its own accord
    ("9 11 10 12.5", ["--tries", "3"], 4, 2, 11),               # a fourth would do
    ("9 0 11 0", [], 4, 3, 11),                                 # some cannot be routed
], ids=["until-fast-enough", "not-more-than-asked-for", "without-those-that-fail"])
def test_while_it_is_too_slow_the_next_seeds_are_tried(capsys, tools, speeds, arguments, code,
                                                       seed, mhz):
    (tools / "speed").write_text(speeds.replace(" ", "\n"))
    said, out, err = build(capsys, "--json", *arguments)
    assert said == code
    folder = tools / "build/boards/icebreaker-target"
    for found in (json.loads(out), json.loads((folder / flow.REPORT).read_text())):
        assert (found["seed"], found["max_mhz"]) == (seed, mhz)
    assert f"--seed {seed} " in (folder / "top.bin").read_text(), "the bitstream is of another"
    assert f"9.0 MHz are too slow: placing and routing with seed {6 if code == 0 else 2}" in err
    assert ("too slow: 11.0 MHz of 12.0 MHz" in err) == (code == 4)


def test_what_cannot_be_routed_at_once_is_an_error(capsys, tools):
    (tools / "speed").write_text("0")
    code, _, err = build(capsys)
    assert code == 4
    assert "nextpnr-ice40 failed: no way" in err
    assert not list((tools / "build/boards/icebreaker-target").glob("top.bin"))


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
