"""A little malformed input for every receiver; ``python -m tests.fuzz`` for more."""

import random

import pytest

from firmware_model import wire
from firmware_model.wire import Type
from host_tools.errors import ProtocolError
from sim.native import Side

from . import gateware, library
from .__main__ import CASES, main, run_case
from .gateware import GEOMETRY, Tracks, Wrong
from .mutate import Frame, Mutator, corpus

SHORT = {"library line": 5, "library": 12, "source host": 1, "target host": 1, "source link": 1,
         "target link": 1}


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("name", CASES)
def test_malformed_input(name):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    assert sum(run_case(name, seed, number) for number in range(SHORT[name])) > 0


def test_a_volume_in_a_set_that_is_not_there():
    """A board that said so once made the library fall over at the next chain."""
    assert run_case("library", 1, 7103) > 0


@pytest.mark.parametrize("name", ["host", "link", "answers"])
def test_the_corpus_is_made_of_frames(name):
    frames = corpus(name)
    assert len(frames) > 10
    for frame in frames:
        known = wire.unpack(wire.cobs_decode(frame.line(3)[:-1]))
        assert known.payload == frame.payload


def test_equal_seeds_make_equal_input():
    def some(seed):
        mutator = Mutator(random.Random(seed), corpus("host"))
        return [(mutator.frame(), mutator.noise()) for _ in range(50)]
    assert some(4) == some(4) != some(5)


def test_input_is_malformed_in_many_ways():
    """Good CRCs behind wrong heads, and bytes that are no frames."""
    mutator = Mutator(random.Random(1), corpus("host"))
    good = corpus("host")
    framed = [mutator.frame() for _ in range(400)]
    assert 100 < sum(frame not in good for frame in framed) < 400
    assert len({frame.type for frame in framed}) > 15
    bad = 0
    for _ in range(200):
        try:
            wire.unpack(wire.cobs_decode(mutator.noise()[:-1]))
        except wire.WireError:
            bad += 1
    assert bad > 100


class FakeSystem:
    """Tracks and chain counts that a test sets as it likes."""

    geometry = GEOMETRY

    def __init__(self):
        self.tracks = bytearray(GEOMETRY.image_bytes)
        self.count = 0

    def image(self, side):
        return bytes(self.tracks)

    def pages(self, side):
        return self

    def chains(self, set_):
        return self.count if set_ == 0 else 0


def test_a_track_that_changes_is_noticed():
    system = FakeSystem()
    tracks = Tracks(system, Side.SOURCE, Type.CHAIN, Type.WRITE)
    tracks.check()
    system.tracks[0] = 1
    with pytest.raises(Wrong, match="track 0:0 of the source has changed, and no chain"):
        tracks.check()
    system.count = 1
    with pytest.raises(Wrong, match="which no chain wrote there"):
        tracks.check()
    data = bytes(system.tracks[:GEOMETRY.track_bytes])
    tracks.offered([Frame(Type.WRITE, bytes(8), data)])
    with pytest.raises(Wrong, match="which no chain wrote there"):
        tracks.check()
    tracks.offered([Frame(Type.CHAIN, bytes(8), wire.entry(0, 0))])
    tracks.check()


def test_a_failure_says_how_to_repeat_it(monkeypatch, capsys):
    def fails(rng):
        raise Wrong(str(rng.random()))
    monkeypatch.setitem(CASES, "library", fails)
    said = []
    for arguments in (["--seconds", "5"], ["--case", "0"]):
        with pytest.raises(Wrong) as error:
            main(["--seed", "9", "--only", "library", *arguments])
        said.append(str(error.value))
        assert error.value.__notes__ == [
            "again: python -m tests.fuzz --seed 9 --only 'library' --case 0"]
    assert said[0] == said[1]
    assert "seed 9" in capsys.readouterr().out


def test_a_board_that_answers_with_too_little_is_named():
    class Stingy(library.BrokenBoard):
        def _answer(self, frame):
            self._peer.send(Type.REG_DATA, bytes(4), tag=frame.fields["tag"], count=1)

    with pytest.raises(ProtocolError, match=r"answers REG_READ .* with REG_DATA and 4 bytes"):
        library.Client(Stingy(random.Random(1), 0.0))


def test_a_line_that_does_not_answer_is_noticed(monkeypatch):
    monkeypatch.setattr(gateware, "ANSWER", 10)
    with pytest.raises(Wrong, match="no session within 10 clocks"):
        gateware.host_line(random.Random(1), Side.SOURCE, 1)
