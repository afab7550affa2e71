"""``farside selftest`` on the simulated board: sound as it is, and not with a disturbed line."""

import json
import random

import pytest

from firmware_model.geometry import MIN_CLOCKS_A_BIT
from firmware_model.wire import Code, Role
from host_tools.cli import main
from host_tools.client import Client
from host_tools.errors import BoardError, Exit
from host_tools.selftest import LINE_BYTES, STEPS, _Bench, _examples, _rates
from sim.board import SimulatedBoard
from tests.geometries import BOARD
from tests.host_tools.fakeboard import FakeBoard


def run(capsys, ports, *more):
    code = main(["selftest", ports["source"], "--target", ports["target"], "--json", *more])
    captured = capsys.readouterr()
    print(captured.err)
    found = json.loads(captured.out)
    print(captured.out)
    return code, found, {step["step"]: step for step in found["steps"]}


def test_passes_on_the_simulated_board(capsys, monkeypatch):
    # A quarter of the bits: the other test sends them all, and the command does.
    monkeypatch.setattr("host_tools.selftest.LINE_BYTES", LINE_BYTES // 4)
    monkeypatch.setattr("host_tools.selftest.RATE_BITS", 100_000)
    with SimulatedBoard(BOARD) as board:
        code, _, steps = run(capsys, board.ports)
    assert code == Exit.OK
    assert list(steps) == ["board", "links", "line", "rates", "memory", "examples", "collision",
                           "recovery", "copies", "throughput"]
    assert all(step["ok"] for step in steps.values())
    assert steps["line"]["bits"] > 1_000_000
    assert steps["rates"]["clean_baud"] == BOARD.clock_hz // MIN_CLOCKS_A_BIT


def test_finds_a_bit_error_rate_of_1e_5(capsys, monkeypatch):
    monkeypatch.setattr("host_tools.selftest.STEPS",
                        tuple(step for step in STEPS if step.__name__ in ("_line", "_copies")))
    with SimulatedBoard(BOARD, ber=1e-5, seed=2) as board:
        code, _, steps = run(capsys, board.ports)
    assert code == Exit.FAILED
    assert not steps["line"]["ok"]
    assert steps["line"]["bits"] > 4_000_000
    assert steps["line"]["bit_error_rate"] == pytest.approx(1e-5, rel=0.6)
    assert steps["copies"]["ok"]        # damaged on the way, and whole at the end


def test_finds_the_highest_clean_rate():
    """A sender that is late by so many nanoseconds a bit is the worse the faster the line is."""
    with SimulatedBoard(BOARD) as board, Client.open(board.ports["source"]) as source, \
            Client.open(board.ports["target"]) as target:
        source.beside = [target]
        source.link(1).skew(0.02)
        found = _rates(_Bench(source, target, random.Random(1), clean=True))
        assert found.ok, found
        print(found)
        *clean, last = found.values["rates"]
        assert clean[-1]["baud"] == found.values["clean_baud"]
        assert last["damaged"]
        assert BOARD.link_baud < found.values["clean_baud"] < last["baud"]
        for side in (source, target):
            assert side.reg("link_divisor") == BOARD.divisor(BOARD.link_baud)
        assert source.read_image() == target.read_image()


def test_rates_that_cannot_be_set():
    """Without the target's port, and where all lines share an engine."""
    class Fixed(Client):
        def set_reg(self, name, value):
            if name == "link_divisor":
                raise BoardError("READ_ONLY", Code.READ_ONLY)
            super().set_reg(name, value)

    with FakeBoard() as board, Client.open(board.ports.source) as source, \
            Fixed.open(board.ports.target) as target:
        found = _rates(_Bench(source, None, random.Random(1), clean=True))
        assert (found.ok, "--target" in found.text) == (None, True)
        found = _rates(_Bench(source, target, random.Random(1), clean=True))
        assert (found.ok, "cannot be set" in found.text) == (None, True)
        assert source.reg("link_divisor") == board.geometry.divisor(board.geometry.link_baud)


def give_up(port, link):
    """Cut a link and wait until that is noticed."""
    with Client.open(port, role=Role.SOURCE) as source:
        source.link(link).cut()
        assert source.wait_until(lambda: not source.reg("links_up") >> link & 1, 30.0)


def test_a_link_that_is_down_is_named(capsys, monkeypatch):
    monkeypatch.setattr("host_tools.selftest.UP_SECONDS", 0.5)
    with SimulatedBoard(BOARD) as board:
        give_up(board.ports["source"], 1)
        code, _, steps = run(capsys, board.ports)
    assert code == Exit.FAILED
    assert steps["links"]["down"] == [1]
    assert "line" not in steps


@pytest.mark.requirement("R29", "R07", "R09")
def test_the_worked_examples_are_judged():
    """On the model. A target that has everything at once is not one that collisions filled."""
    with FakeBoard(poll_every=1e9) as board, Client.open(board.ports.source) as source, \
            Client.open(board.ports.target) as target:
        source.beside = [target]
        found = _examples(_Bench(source, target, random.Random(1)))
        assert found.ok, found
        assert "one set and two" in found.text
        found = _examples(_Bench(source, source, random.Random(2)))
        assert not found.ok
        assert "the track that it met" in found.text
