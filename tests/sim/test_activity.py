"""The activity filter: the same results as without it, on the whole board under traffic."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from sim.activity import (
    Unexpected,
    _conflicts,
    _Order,
    _split,
    _Statement,
    _strong,
    _tell_writes,
    _together,
    add_filter,
)
from sim.board import SimulatedBoard
from sim.build import Spec, build
from tests.geometries import BOARD


def test_the_board_has_the_filter():
    log = build(Spec(BOARD, filtered=True)).executable.with_name("build.log").read_text()
    assert "activity filter:" in log


def test_filtered_clocks_equal_full_ones_under_traffic(tmp_path):
    """Every 211th clock of a noisy run is evaluated twice, in full and filtered, and compared."""
    with SimulatedBoard(BOARD, filtered=True, check_every=211, delay=0.002, ber=1e-5,
                        loss=0.01) as board:
        command = [sys.executable, "-m", "host_tools", "run", "hot", "--chains", "12", "--seed",
                   "5", "--source", board.ports["source"], "--history", str(tmp_path / "history")]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stderr + board.log
        assert board.running, board.log
    assert board.statistics["clocks"] > 500_000


def test_statements_are_cut_at_the_top_level():
    text = "a = (b ? c : d); if (x) { y = 1; } else if (z) { y = 2; } else { y = 3; } f(g, h);"
    assert list(_split(text)) == [
        "a = (b ? c : d);", "if (x) { y = 1; } else if (z) { y = 2; } else { y = 3; }", "f(g, h);"]
    with pytest.raises(Unexpected):
        list(_split("a = 1; b ="))


def statement(reads, *writes):
    return _Statement("", set(reads.split()), set(writes), set())


def test_what_holds_statements_together():
    # q is written twice; its reader in between and both writers must stay one group.
    statements = [statement("a", "q"), statement("q", "r"), statement("b", "q"),
                  statement("q", "s")]
    group = _together(statements, _conflicts(statements))
    assert group[0] == group[1] == group[2]


def test_order_is_kept_where_it_matters():
    statements = [statement("a", "x"), statement("x", "y"), statement("c", "a")]
    before = _conflicts(statements)
    assert before == [set(), {0}, {0}], "read after write, and write after read"


def test_groups_that_something_runs_between_are_not_united():
    order = _Order({0: set(), 1: {0}, 2: {1}, 3: set()})
    assert not order.unite(0, 2), "1 runs between them"
    assert order.unite(0, 1)
    assert order.unite(0, 2), "and is one of them now"
    assert not order.unite(1, 2), "they are one"
    assert order.unite(3, 1)


@pytest.mark.parametrize("seed", range(20))
def test_united_groups_never_wait_for_each_other(seed):
    rng = random.Random(seed)
    edges = {of: {other for other in range(of) if rng.random() < 0.1} for of in range(30)}
    order = _Order(edges)
    group = list(range(30))
    for one, other in (rng.sample(range(30), 2) for _ in range(200)):
        if order.unite(one, other):
            group = [group[one] if of == group[other] else of for of in group]
            united = {of: set() for of in group}
            for of, needed in edges.items():
                united[group[of]] |= {group[other] for other in needed} - {group[of]}
            assert all(len(circle) == 1 for circle in _strong(united)), f"seed {seed}"
    assert len(set(group)) < 30


def test_only_what_is_written_is_told():
    text = "if (set) { vlSelfRef.ring[at] = value; } vlSelfRef.seen = vlSelfRef.ring[0U];"
    assert _tell_writes(text, {"ring"}).count("wrote = true;") == 1
    assert _tell_writes(text, set()) == text


def test_code_of_another_form_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "Vboard___024root.h").write_text("")
    source = tmp_path / "Vboard___024root__0.cpp"
    source.write_text("void Vboard___024root___eval_nba(Vboard___024root* vlSelf) {\n"
                      "    // Body\n    something_else();\n}\n")
    before = source.read_text()
    with pytest.raises(Unexpected):
        add_filter(tmp_path, "Vboard")
    assert source.read_text() == before
    assert list(tmp_path.glob("farside*")) == []
