"""The oracle and its history: right answers, and above all that it can say no."""

import itertools
import random

import pytest

from firmware_model.geometry import Geometry
from firmware_model.history import Acknowledgement, Assignment, History, HistoryError, intersect
from firmware_model.oracle import judge

G = Geometry(volumes=3, tracks_per_volume=4, track_bytes=16, sets=2, chain_limit=5,
             spare_slots=7, staging_slots=10, volumes_per_set=2)      # volumes 0, 1 | 2


def data(label):
    return label.encode().ljust(16, b".")


def put(image, volume, track, content):
    image = bytearray(image)
    at = G.linear(volume, track) * 16
    image[at:at + 16] = content
    return bytes(image)


@pytest.fixture
def history():
    made = History(G)
    made.commit(0, [(0, 0, data("a1")), (1, 0, data("a1'"))])
    made.commit(0, [(0, 1, data("a2"))])
    made.commit(1, [(2, 0, data("b1"))])
    made.commit(0, [(0, 0, data("a3")), (0, 1, data("a3'"))])
    made.commit(1, [(2, 0, data("b2")), (2, 1, data("b2'"))])
    return made


def test_every_combination_of_prefixes_is_found(history):
    for a, b in itertools.product(range(4), range(3)):
        verdict = judge(history, history.image({0: a, 1: b}), {})
        assert verdict.ok
        assert verdict.prefixes == {0: a, 1: b}
        zero, one = verdict.sets
        assert (zero.lag_chains, one.lag_chains) == (3 - a, 2 - b)
        assert zero.lag_bytes == 16 * [5, 3, 2, 0][a]
        assert one.lag_bytes == 16 * [3, 2, 0][b]


def test_lags_are_in_the_text(history):
    text = str(judge(history, history.image({0: 2, 1: 2}), {}))
    assert text.splitlines()[0] == "set 0: exactly chain 2 of 3, 1 chains (32 bytes) behind"


def test_wrong_order_is_refused(history):
    """Chain 2 without chain 1."""
    image = put(bytes(G.image_bytes), 0, 1, data("a2"))
    verdict = judge(history, image, {})
    assert not verdict.consistent
    assert verdict.sets[0].prefix is None
    assert verdict.sets[1].prefix == 0
    culprit = verdict.sets[0].culprit
    assert (culprit.volume, culprit.track, culprit.nearest) in {(0, 1, 0), (0, 0, 2), (1, 0, 2)}


def test_skipped_chain_is_refused(history):
    image = put(history.image({0: 3, 1: 2}), 0, 1, data("a2"))
    verdict = judge(history, image, {})
    assert not verdict.consistent
    assert "track 0:" in str(verdict.sets[0].culprit)


def test_half_a_chain_is_refused_and_the_track_named(history):
    image = put(history.image({0: 1, 1: 2}), 2, 1, bytes(16))
    culprit = judge(history, image, {}).sets[1].culprit
    assert (culprit.volume, culprit.wrong) == (2, 1)
    assert judge(history, image, {}).sets[0].prefix == 1


def test_stale_track_is_refused(history):
    image = put(history.image(), 1, 0, bytes(16))
    culprit = judge(history, image, {}).sets[0].culprit
    assert (culprit.volume, culprit.track) == (1, 0)
    assert culprit.versions == ((0, 0),)
    assert culprit.nearest == 3
    assert str(culprit) == ("track 1:0 is as after chain 0, but the nearest prefix is 3")


def test_content_that_nobody_wrote_is_named_first(history):
    image = put(history.image(), 1, 3, b"?" * 16)
    image = put(image, 0, 0, data("a1"))
    culprit = judge(history, image, {}).sets[0].culprit
    assert (culprit.volume, culprit.track, culprit.versions) == (1, 3, ())
    assert "holds what no chain wrote there (2 tracks in all)" in str(culprit)


def test_a_single_flipped_bit_is_seen(history):
    image = history.image()
    for at in range(0, G.image_bytes, 37):
        broken = bytearray(image)
        broken[at] ^= 1
        assert not judge(history, bytes(broken), {}).consistent


def test_older_than_acknowledged_is_a_prefix_but_not_ok(history):
    history.acknowledge(0, 2)
    verdict = judge(history, history.image({0: 1, 1: 0}))
    assert verdict.consistent
    assert not verdict.ok
    assert not verdict.sets[0].new_enough
    assert verdict.sets[1].ok
    assert "OLDER than acknowledged chain 2" in str(verdict)
    assert judge(history, history.image({0: 2, 1: 0})).ok


def test_repeated_contents_give_several_prefixes():
    history = History(G)
    for content in "xyxyz":
        history.commit(0, [(0, 0, data(content))])
    verdict = judge(history, history.image({0: 1}), {}).sets[0]
    assert verdict.matches == ((1, 1), (3, 3))
    assert verdict.prefix == 3
    assert verdict.agrees(1)
    assert not verdict.agrees(2)
    history.acknowledge(0, 2)
    assert judge(history, history.image({0: 1})).sets[0].ok      # it may be chain 3


def test_chains_that_change_nothing_are_prefixes_too():
    history = History(G)
    for _ in range(3):
        history.commit(0, [(0, 0, bytes(16))])
    assert judge(history, bytes(G.image_bytes), {}).sets[0].matches == ((0, 3),)


def test_last_write_of_a_chain_wins():
    history = History(G)
    history.commit(0, [(0, 0, data("p")), (0, 0, data("q"))])
    assert judge(history, history.image(), {}).sets[0].prefix == 1
    assert not judge(history, put(history.image(), 0, 0, data("p")), {}).consistent
    history.commit(0, [(0, 0, data("p")), (0, 0, data("q"))])
    assert judge(history, history.image(), {}).sets[0].matches == ((1, 2),)


def test_initial_image_and_numbers():
    start = put(bytes(G.image_bytes), 2, 3, data("old"))
    history = History(G, image=start, numbers={1: 7})
    history.commit(1, [(2, 0, data("new"))], number=8)
    assert judge(history, start).prefixes == {0: 0, 1: 7}
    assert judge(history, start).sets[1].lag_bytes == 16
    assert judge(history, history.image()).prefixes == {0: 0, 1: 8}
    assert not judge(history, bytes(G.image_bytes)).consistent


class TestMovedVolumes:
    """Volume 1 goes from set 0 to set 1 and back."""

    @pytest.fixture
    def moved(self):
        history = History(G)
        history.commit(0, [(0, 0, data("a1")), (1, 0, data("a1'"))])
        history.commit(1, [(2, 0, data("b1"))])
        history.assign(1, 1)
        history.commit(1, [(1, 0, data("b2")), (2, 1, data("b2'"))])
        history.commit(0, [(0, 0, data("a2"))])
        history.assign(1, 0)
        history.commit(0, [(1, 0, data("a3"))])
        return history

    def test_now(self, moved):
        verdict = judge(moved, moved.image())
        assert verdict.ok
        assert verdict.prefixes == {0: 3, 1: 2}
        assert verdict.sets[0].volumes == (0, 1)

    def test_behind_in_the_set_that_got_it(self, moved):
        image = put(put(moved.image(), 1, 0, data("b2")), 0, 0, data("a1"))
        assert judge(moved, image).prefixes == {0: 1, 1: 2}

    def test_an_image_from_before_the_move_back(self, moved):
        """Taken while volume 1 belonged to set 1: its bytes depend on set 1's prefix."""
        image = put(put(bytes(G.image_bytes), 0, 0, data("a2")), 1, 0, data("a1'"))
        verdict = judge(moved, put(image, 2, 0, data("b1")), {})
        assert verdict.consistent
        assert verdict.sets[1].volumes == (1, 2)
        assert verdict.prefixes == {0: 2, 1: 1}
        assert not judge(moved, put(image, 2, 0, data("b1"))).ok      # set 1 had acknowledged 2

    def test_the_old_set_was_settled_before_the_move(self, moved):
        """Set 1 beyond the move, but the chain of set 0 before it missing: impossible."""
        image = put(put(bytes(G.image_bytes), 2, 0, data("b1")), 1, 0, data("b2"))
        image = put(image, 2, 1, data("b2'"))
        assert not judge(moved, image, {}).consistent

    def test_against_brute_force(self):
        """Every possible history of the target, played out, is accepted; and an image that no
        play produces is not."""
        for seed in range(40):
            print(f"seed {seed}")
            chance = random.Random(seed)
            history, possible = _play(chance)
            for image in possible:
                assert judge(history, image, {}).consistent
            for _ in range(60):
                at = chance.randrange(G.tracks) * 16
                image = bytearray(chance.choice(sorted(possible)))
                other = chance.choice(sorted(possible))
                image[at:at + 16] = other[at:at + 16]
                verdict = judge(history, bytes(image), {})
                assert verdict.consistent == (bytes(image) in possible), verdict


def _play(chance):
    """A random history, and every image the target may show at any time during it: at each
    moment every combination of prefixes from the acknowledged to the committed."""
    history, possible = History(G), set()
    done = [0, 0]
    images = {(0, 0): bytes(G.image_bytes)}     # by prefixes reached, in this span
    for _ in range(7):
        if chance.random() < 0.25:
            volume, set_ = chance.randrange(3), chance.randrange(2)
            old = history.assignment[volume]
            if old != set_:
                done[old] = history.committed(old)
                images = {k: v for k, v in images.items() if k[old] == done[old]}
                history.assign(volume, set_)
        else:
            set_ = chance.randrange(2)
            volumes = [v for v in range(3) if history.assignment[v] == set_]
            if not volumes:
                continue
            writes = [(chance.choice(volumes), chance.randrange(2), data(chance.choice("xyz")))
                      for _ in range(chance.randint(1, 2))]
            number = history.commit(set_, writes).number
            for prefixes, image in list(images.items()):
                if prefixes[set_] == number - 1:
                    for write in writes:
                        image = put(image, *write)
                    reached = list(prefixes)
                    reached[set_] = number
                    images[tuple(reached)] = image
        possible |= set(images.values())
    return history, possible


def test_history_refuses_what_cannot_be(history):
    for text, call in {
        "chain 5 of set 0 does not follow chain 3": lambda: history.commit(
            0, [(0, 0, bytes(16))], number=5),
        "writes volume 2 of set 1": lambda: history.commit(0, [(2, 0, bytes(16))]),
        "15 bytes for 0:0, a track has 16": lambda: history.commit(0, [(0, 0, bytes(15))]),
        "writes nothing": lambda: history.commit(0, []),
        "set 2 is outside 0..1": lambda: history.commit(2, [(0, 0, bytes(16))]),
        "set 9 is outside 0..1": lambda: history.assign(0, 9),
        "only 3 committed": lambda: history.acknowledge(0, 4),
        "initial image has 5 bytes": lambda: History(G, image=b"12345"),
        "assignment [0, 0]": lambda: History(G, assignment=[0, 0]),
    }.items():
        with pytest.raises(HistoryError) as caught:
            call()
        assert text in str(caught.value)
    assert history.committed(0) == 3


def test_assignment_implies_acknowledgement(history):
    history.assign(0, 1)
    assert history.events[-2:] == [Acknowledgement(0, 3), Assignment(0, 1)]


def test_image_of_the_wrong_size(history):
    with pytest.raises(ValueError, match="image has 3 bytes, the geometry has 192"):
        judge(history, b"abc")


def test_thousands_of_chains_are_searched_fast():
    """One pass over the tracks, whatever the number of chains: a hundred judgements of a history
    of 5000 chains are a matter of a second, not of minutes."""
    chance = random.Random(1)
    g = Geometry(volumes=2, tracks_per_volume=32, track_bytes=16, sets=1, chain_limit=5)
    history = History(g)
    for _ in range(5000):
        history.commit(0, [(chance.randrange(2), chance.randrange(32), bytes([chance.randrange(4)]
                            * 16)) for _ in range(3)])
    for prefix in chance.sample(range(5001), 5):
        assert judge(history, history.image({0: prefix}), {}).sets[0].agrees(prefix)


def test_intersect():
    assert intersect([(0, 9)], [(2, 3), (5, 20)]) == [(2, 3), (5, 9)]
    assert intersect([(0, 2), (4, 4), (7, 9)], [(2, 4), (8, 8)]) == [(2, 2), (4, 4), (8, 8)]
    assert intersect([(0, 2)], [(3, 4)]) == []
    assert intersect([], [(3, 4)]) == []


def test_json(history):
    found = judge(history, put(history.image(), 1, 0, bytes(16)), {}).to_json()
    assert found["ok"] is False
    assert found["sets"][0]["reason"].startswith("track 1:0 is as after chain 0")
    assert found["sets"][1]["prefix"] == 2
