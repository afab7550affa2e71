# amaranth: UnusedElaboratable=no, UnusedProperty=no
"""The quick proofs, each with its covers and its mutations; and what carries them out."""

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import proofs  # noqa: F401  (enters them)
from .bench import Bench, Part, StuckAt
from .engine import Goal, Run, run, runs_of
from .proof import PROOFS, Bounded, Induction, Proof, proof
from .runner import DOCUMENT, document

QUICK = [what for p in PROOFS.values() if p.quick for what in runs_of(p)]


@pytest.mark.parametrize("what", QUICK, ids=lambda what: what.title)
def test_proof(what):
    verdict = run(what)
    assert verdict.ok, f"{what.title}: {verdict.detail} {verdict.trace}"


def test_every_proof_has_a_mutation_and_a_claim():
    for p in PROOFS.values():
        assert p.faults, p.name
        assert p.claim.endswith("."), p.name
    with pytest.raises(ValueError, match="proves nothing"):
        proof(component="", claim="", rule="", method=Bounded(1), faults={})


def test_a_condition_of_several_bits_is_refused():
    bench = Bench()
    with pytest.raises(ValueError, match="wide has 2 bits"):
        bench.prove(~Signal(2), "wide")


def test_document_is_up_to_date():
    assert DOCUMENT.read_text() == document(), "`make docs` rewrites it"


class Doubling(wiring.Component):
    """Counts up to 9 and starts over."""

    step: In(1)
    count: Out(4)

    def elaborate(self, platform):
        m = Module()
        last = Signal()
        m.d.comb += last.eq(self.count == 9)
        with m.If(self.step):
            m.d.sync += self.count.eq(Mux(last, 0, self.count + 1))
        return m


def scratch(limit, method, fault=None):
    """A proof about the counter that belongs to no list."""
    def build(bench):
        part = bench.add(Doubling())
        bench.prove(part.component.count < limit, "in_range")
        bench.cover(part.component.count == 9, "last")

    return Proof("scratch", "", "", "", build, method, "", {"fault": fault}, 20, 12, "yices", 1,
                 True)


@pytest.mark.parametrize("method", [Bounded(15), Induction(12)])
def test_engine_tells_right_from_wrong(method, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(Run(scratch(10, method), Goal.PROOF)).ok
    wrong = run(Run(scratch(9, method), Goal.PROOF))
    assert (wrong.ok, wrong.detail) == (False, "in_range does not hold")
    assert run(Run(scratch(9, method), Goal.PROOF)).cached


def test_engine_tells_what_is_not_inductive(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(Run(scratch(15, Bounded(30)), Goal.PROOF)).ok
    verdict = run(Run(scratch(15, Induction(1)), Goal.PROOF))
    assert (verdict.ok, verdict.detail) == (False, "in_range not inductive")


def test_engine_wants_mutations_found_and_covers_reached(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = run(Run(scratch(10, Bounded(15), StuckAt("last")), Goal.FAULT, "fault"))
    assert (found.ok, found.detail) == (True, "breaks in_range")
    missed = run(Run(scratch(10, Bounded(15), StuckAt("step")), Goal.FAULT, "fault"))
    assert not missed.ok
    covered = scratch(10, Bounded(15))
    assert run(Run(covered, Goal.COVER)).ok
    early = Proof(**{**vars(covered), "cover_depth": 5})
    assert run(Run(early, Goal.COVER)).detail == "last does not hold"


def test_faults_and_taps_name_signals_that_exist():
    with pytest.raises(LookupError, match="0 signals called 'nothing'"):
        Part(Doubling()).tap("nothing")
    with pytest.raises(LookupError, match="0 signals called 'nothing'"):
        Bench(StuckAt("nothing")).add(Doubling())


def test_properties_have_names_of_their_own():
    bench = Bench()
    bench.prove(C(1), "one")
    with pytest.raises(ValueError, match="'one'"):
        bench.prove(C(1), "one")
    with pytest.raises(ValueError, match="'a b'"):
        bench.prove(C(1), "a b")
