"""The cache of builds: what is a hit, what is not, and what happens to concurrent builders."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firmware_model.geometry import Geometry
from sim import build as module
from sim.build import BuildError, Spec, build

ECHO = "tests.sim.echo:Echo"
GEOMETRY = Geometry()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache that still finds the shared runtime, which takes long to compile."""
    shared = build(Spec(GEOMETRY, top=ECHO)).executable.parent.parent
    for entry in shared.glob("runtime-*"):
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.setenv("FARSIDE_CACHE", str(tmp_path))
    return tmp_path


def test_the_second_start_takes_no_time_and_no_amaranth():
    build(Spec(GEOMETRY, top=ECHO))
    code = ("import sys\n"
            "from firmware_model.geometry import Geometry\n"
            "from sim.build import Spec, build\n"
            f"assert build(Spec(Geometry(), top={ECHO!r}), print).cached\n"
            "assert not [name for name in sys.modules if name.startswith('amaranth')]\n"
            "import sim.board\n"
            "assert not [name for name in sys.modules if name.startswith('amaranth')]\n")
    started = time.monotonic()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             check=False, timeout=60)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert time.monotonic() - started < 2


def test_stages_and_keys(cache, monkeypatch):
    stages = []
    first = build(Spec(GEOMETRY, top=ECHO), stages.append)
    assert (first.cached, stages) == (False, ["elaborating", "verilating", "compiling"])
    stages.clear()
    again = build(Spec(GEOMETRY, top=ECHO), stages.append)
    assert (again.executable, again.cached, stages) == (first.executable, True, [])

    # Other sizes, but the same Verilog: elaborated, and then found.
    other = build(Spec(GEOMETRY.replace(volumes=2), top=ECHO), stages.append)
    assert (other.executable, other.cached, stages) == (first.executable, True, ["elaborating"])
    stages.clear()

    # A mutation that the echo knows changes the Verilog.
    mutated = build(Spec(GEOMETRY, "target_silent", top=ECHO), stages.append)
    assert (mutated.cached, stages) == (False, ["elaborating", "verilating", "compiling"])
    assert mutated.executable != first.executable

    # Other compiler flags: a new executable of the same Verilog.
    stages.clear()
    monkeypatch.setattr(module, "MODEL_FLAGS", ("-O0",))
    slow = build(Spec(GEOMETRY, top=ECHO), stages.append)
    assert (slow.cached, stages) == (False, ["verilating", "compiling"])
    assert slow.verilog.read_text() == first.verilog.read_text()


@pytest.mark.parametrize("top", ["sim.top:Board", "sim.tapped:TappedBoard",
                                 "sim.bridge:BridgedBoard", "sim.elaborate:"])
def test_whatever_shapes_the_gateware_is_in_its_key(top):
    """What a top imports of this project, or the key would not know of a change there."""
    name = top.split(":")[0]
    code = (f"import {name}, sys\n"
            "print(*(m.__file__ for name, m in sys.modules.items()\n"
            "        if name.startswith(('sim.', 'hdl.', 'firmware_model.'))), sep='\\n')\n")
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              check=True, timeout=60, cwd=module.ROOT).stdout.split()
    assert len(imported) > 1
    assert set(map(Path, imported)) <= set(module._source_files(Spec(GEOMETRY, top=top)))


def test_the_verilog_is_the_same_wherever_it_is_made(cache):
    """No machine paths in it; else two people never share a key, nor a bug report."""
    text = build(Spec(GEOMETRY, top=ECHO)).verilog.read_text()
    assert str(module.ROOT) not in text
    assert "/home" not in text


def test_concurrent_builders_build_once(cache):
    stages = []
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: build(Spec(GEOMETRY, top=ECHO), stages.append), range(4)))
    assert len({one.executable for one in made}) == 1
    assert sorted(stages) == ["compiling", "elaborating", "verilating"]
    assert [one.cached for one in made].count(False) == 1


def test_a_builder_that_died_leaves_nothing_half_done(cache, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_compile", die)
        with pytest.raises(KeyboardInterrupt):
            build(Spec(GEOMETRY, top=ECHO))
    assert not list(cache.glob("model-*/"))
    assert not list(cache.glob("making-*"))
    assert os.access(build(Spec(GEOMETRY, top=ECHO)).executable, os.X_OK)


def test_old_entries_go_recent_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEEP_ENTRIES", 2)
    old = time.time() - module.KEEP_SECONDS - 10
    for number in range(8):
        entry = tmp_path / f"model-{number}"
        entry.mkdir()
        (tmp_path / f"model-{number}.lock").touch()
        if number < 6:
            os.utime(entry, (old - number, old - number))
    module._prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "model-0", "model-1", "model-6", "model-7"]
    assert len(list(tmp_path.glob("*.lock"))) == 4


@pytest.mark.parametrize(("options", "message"), [
    ({"trace": "evcd"}, "trace format 'evcd' is not one of vcd and fst"),
    ({"flow": "icarus"}, "flow 'icarus' is not one of board, native, cocotb"),
])
def test_bad_specs(options, message):
    with pytest.raises(BuildError, match=message):
        Spec(GEOMETRY, **options)


def test_missing_compiler_names_the_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match=r"compiler g\+\+ is missing: install .* package g\+\+"):
        build(Spec(GEOMETRY, top=ECHO))


def test_unwritable_cache_names_the_remedy(monkeypatch):
    monkeypatch.setenv("FARSIDE_CACHE", "/proc/nowhere")
    with pytest.raises(BuildError, match=r"cannot create the cache directory .*set FARSIDE_CACHE"):
        build(Spec(GEOMETRY, top=ECHO))


def test_a_failing_tool_is_quoted_in_one_line(cache, monkeypatch):
    monkeypatch.setattr(module, "MODEL_FLAGS", ("-O2", "-std=c++03"))
    with pytest.raises(BuildError) as caught:
        build(Spec(GEOMETRY, top=ECHO))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("compiling ")
    assert (cache / "failed.log").read_text()


def test_fst_builds_or_names_the_packages():
    if Path("/usr/include/lz4.h").exists() and Path("/usr/include/zlib.h").exists():
        assert build(Spec(GEOMETRY, top=ECHO, trace="fst")).executable.is_file()
        return
    with pytest.raises(BuildError, match="liblz4-dev zlib1g-dev"):
        build(Spec(GEOMETRY, top=ECHO, trace="fst"))
