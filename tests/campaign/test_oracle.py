"""The oracle's own judgement, on tables that are made up."""

import itertools

import pytest

from firmware_model import wire
from firmware_model.wire import SetWord, TargetFlag
from host_tools.trials.oracle import Oracle, Violation
from host_tools.trials.plan import GEOMETRIES
from sim.native import Pages, Side, TrackState

GEOMETRY = GEOMETRIES["line"]       # one set, 2 volumes of 7 tracks
SIZE = GEOMETRY.track_bytes
LIFE_WORD = SetWord.GROUP + 2 * wire.GROUP_WORDS - 1
GOES_ON = TargetFlag.FOLLOWING | TargetFlag.WRITTEN | TargetFlag.ASKED
TORN = GOES_ON | TargetFlag.INCONSISTENT


class Tables:
    """Both systems' tables, to be changed by hand; stands for a snapshot, too."""

    def __init__(self):
        self.clock = 0
        self.words = {Side.SOURCE: {SetWord.NEXT: 1}, Side.TARGET: {}}
        self.images = {side: bytearray(GEOMETRY.image_bytes) for side in Side}
        self.rows = [TrackState(slot, False, False, False) for slot in Oracle(GEOMETRY)._slots]
        self.list = [(0, True)] * len(self.rows)
        self.disconnected = [False] * GEOMETRY.volumes

    def set(self, side, **words):
        self.words[side] |= {SetWord[name.upper()]: value for name, value in words.items()}

    def write(self, side, track, value, slot=None):
        self.images[side][track * SIZE:(track + 1) * SIZE] = bytes([value]) * SIZE
        if slot is not None:
            index = GEOMETRY.index(*divmod(track, GEOMETRY.tracks_per_volume))
            self.rows[index] = TrackState(slot, False, False, False)

    def pages(self, side):
        words = [0] * wire.SET_PAGE_WORDS
        for word, value in self.words[side].items():
            words[word] = value
        return Pages(b"".join(word.to_bytes(2, "little") for word in words), 1)

    def image(self, side):
        return bytes(self.images[side])

    def slots(self):
        return tuple(row.slot for row in self.rows)

    def tracks(self):
        return self.rows

    def links(self):
        return self.list

    def volumes(self):
        return [(0, disconnected) for disconnected in self.disconnected]


class Bench:
    """An oracle and what it looks at. Tables are only checked where a test is about them."""

    def __init__(self):
        self.oracle = Oracle(GEOMETRY)
        self.tables = Tables()
        self.slot = 100

    def look(self, ready=False):
        self.tables.clock += 1
        self.oracle.look(self.tables, ready=ready)

    def source(self, number, *writes, told=True):
        """Chain ``number`` of (track, value) commits at the source."""
        chain = tuple((*divmod(track, GEOMETRY.tracks_per_volume), bytes([value]) * SIZE)
                      for track, value in writes)
        self.oracle.sent(0, chain)
        for track, value in writes:
            self.slot += 1
            self.tables.write(Side.SOURCE, track, value, self.slot)
        self.tables.set(Side.SOURCE, chains_low=number)
        self.look()
        if told:
            self.oracle.told(0, number, chain)
        return chain

    def begin(self, flags=GOES_ON, chains=0, epoch=1, life=1):
        self.tables.set(Side.SOURCE, epoch=epoch)
        self.tables.set(Side.TARGET, epoch=epoch, flags=flags, chains_low=chains)
        self.tables.words[Side.TARGET][LIFE_WORD] = life
        self.look()

    def target(self, number, *writes):
        for track, value in writes:
            self.tables.write(Side.TARGET, track, value)
        self.tables.set(Side.TARGET, chains_low=number)
        self.look()


@pytest.fixture
def bench():
    """Two chains at the source, none of them at the target."""
    bench = Bench()
    bench.begin()
    bench.source(1, (0, 1))
    bench.source(2, (1, 2), (3, 3))
    return bench


def test_prefixes_pass(bench):
    bench.target(1, (0, 1))
    bench.target(2, (1, 2), (3, 3))
    assert bench.oracle.target == bench.oracle.source
    assert bench.oracle.all_told()
    assert bench.oracle.unheard() == 0


@pytest.mark.parametrize(("number", "writes", "message"), [
    (1, [(1, 2)], "wrong in 0:0, 0:1"),
    (1, [(0, 1), (1, 2)], "wrong in 0:1"),
    (2, [(0, 1), (1, 2), (3, 3)], "had 0 before"),
    (1, [], "wrong in 0:0"),
])
def test_a_target_that_shows_no_prefix(bench, number, writes, message):
    with pytest.raises(Violation, match=message):
        bench.target(number, *writes)


def test_a_target_that_is_ahead_of_the_source(bench):
    bench.target(1, (0, 1))
    bench.target(2, (1, 2), (3, 3))
    with pytest.raises(Violation, match="what the source never committed"):
        bench.target(3, (4, 4))


def test_a_target_that_is_older_than_acknowledged(bench):
    bench.tables.set(Side.SOURCE, acked_low=2)
    with pytest.raises(Violation, match="older than the source believes: 2"):
        bench.target(1, (0, 1))


def test_a_target_that_changes_unasked(bench):
    bench.target(1, (0, 1))
    bench.tables.set(Side.TARGET, flags=TargetFlag.WRITTEN)
    bench.tables.write(Side.TARGET, 8, 9)
    with pytest.raises(Violation, match="volume 1 changed at the target"):
        bench.look()


# -- the source -----------------------------------------------------------------------------------


def test_half_a_chain_at_the_source():
    bench = Bench()
    bench.oracle.sent(0, ((0, 1, b"a" * SIZE), (0, 2, b"b" * SIZE)))
    bench.tables.write(Side.SOURCE, 1, ord("a"), 99)
    bench.tables.set(Side.SOURCE, chains_low=1)
    with pytest.raises(Violation, match=r"wrote \[\(0, 1\)\], the host's next chain"):
        bench.look()


def test_a_chain_that_nobody_sent(bench):
    bench.tables.write(Side.SOURCE, 5, 5, 99)
    bench.tables.set(Side.SOURCE, chains_low=3)
    with pytest.raises(Violation, match="which no host has sent"):
        bench.look()


def test_a_host_that_is_told_too_much(bench):
    with pytest.raises(Violation, match="the source has no such chain"):
        bench.oracle.told(0, 3, ((0, 1, b"?" * SIZE),))


def test_what_a_host_has_forgotten_may_commit_or_not(bench):
    bench.oracle.sent(0, ((0, 6, b"\6" * SIZE),))
    bench.oracle.sent(0, ((0, 5, b"\5" * SIZE),))
    bench.oracle.forget()
    bench.tables.write(Side.SOURCE, 6, 6, 98)
    bench.tables.set(Side.SOURCE, chains_low=3)
    bench.look()
    bench.source(4, (5, 7))
    assert bench.oracle.all_told()
    assert bench.oracle.unheard() == 0


# -- tables ---------------------------------------------------------------------------------------


def pending(bench, *tracks, packet=False, waiter=False):
    for index in tracks:
        slot = bench.tables.rows[index].slot
        bench.tables.rows[index] = TrackState(slot, True, packet, waiter)


def unsent(bench, *tracks):
    bench.tables.set(Side.SOURCE, first=tracks[0], unsent=len(tracks))
    for one, other in itertools.pairwise(tracks):
        bench.tables.list[one] = other, True


def look_at_tables(bench):
    """They are looked at when certain words change; here, whatever has changed."""
    bench.oracle._pages = None
    bench.look(ready=True)


def test_tables_in_order(bench):
    unsent(bench, 3, 1)
    pending(bench, 3, 1)
    look_at_tables(bench)


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda b: b.tables.rows.__setitem__(1, TrackState(1, False, False, False)),
     "commitment pending of 0:1 is False"),
    (lambda b: pending(b, 3, 1, 4), "commitment pending of 0:4 is True"),
    (lambda b: pending(b, 3, 1, packet=True), "packet pending of 0:1 is True"),
    (lambda b: pending(b, 3, 1, waiter=True), "the volume of 0:1 is connected before"),
    (lambda b: b.tables.list.__setitem__(3, (3, True)), "has 0:3 twice"),
    (lambda b: b.tables.set(Side.SOURCE, next=9), "8 groups of set 0 are in flight"),
])
def test_tables_that_contradict_themselves(bench, spoil, message):
    unsent(bench, 3, 1)
    pending(bench, 3, 1)
    spoil(bench)
    with pytest.raises(Violation, match=message):
        look_at_tables(bench)


def test_a_group_that_is_cleared_before_it_has_committed(bench):
    bench.tables.set(Side.SOURCE, next=2)
    bench.oracle._pages = bench.tables.pages(Side.SOURCE)
    bench.tables.set(Side.SOURCE, done=1)
    with pytest.raises(Violation, match="cleared group 1 of set 0"):
        bench.look(ready=True)


# -- lives ----------------------------------------------------------------------------------------


def lose(bench, side):
    fresh = Tables()
    bench.tables.words[side] = fresh.words[side]
    bench.tables.images[side] = fresh.images[side]
    if side is Side.SOURCE:
        bench.tables.rows = fresh.rows
    bench.oracle.restart(side, lost=True)


def test_a_lost_target_is_blank_and_torn_until_it_is_whole(bench):
    bench.target(1, (0, 1))
    lose(bench, Side.TARGET)
    bench.look()
    bench.begin(TORN, chains=1, epoch=2)
    bench.tables.set(Side.SOURCE, chains_low=3)     # the scan takes a number
    bench.look()
    bench.target(2, (1, 2), (3, 3))
    bench.target(3, (0, 1))
    bench.tables.set(Side.TARGET, flags=GOES_ON)
    bench.look()


@pytest.mark.parametrize(("writes", "flags", "message"), [
    ([(1, 7)], TORN, "wrong in 0:1"),           # neither blank nor what the source has
    ([(1, 2), (3, 3)], GOES_ON, "wrong in 0:0"),        # it says that it is whole
])
def test_a_torn_target_may_not_show_anything(bench, writes, flags, message):
    lose(bench, Side.TARGET)
    bench.begin(TORN, chains=1, epoch=2)
    bench.tables.set(Side.TARGET, flags=flags)
    with pytest.raises(Violation, match=message):
        bench.target(2, *writes)


def test_a_target_goes_on_with_the_old_life_until_it_hears_of_the_new(bench):
    lose(bench, Side.SOURCE)
    bench.look()
    bench.source(1, (6, 6))
    bench.target(1, (0, 1))
    bench.target(2, (1, 2), (3, 3))
    bench.tables.set(Side.TARGET, flags=TargetFlag.WRITTEN)
    bench.look()
    bench.begin(TORN, chains=1, epoch=2, life=2)
    bench.tables.images[Side.TARGET][:] = bench.tables.images[Side.SOURCE]
    bench.tables.set(Side.TARGET, flags=GOES_ON)
    bench.look()
    assert bench.oracle.counts["rewinds"] == 1


def test_a_blank_target_that_is_begun_although_chains_were_acknowledged(bench):
    lose(bench, Side.TARGET)
    with pytest.raises(Violation, match="wrong in 0:0"):
        bench.begin(chains=1, epoch=2)


def test_half_a_chain_that_a_restart_leaves_visible(bench):
    bench.target(1, (0, 1))
    tables = bench.tables
    pages = tables.pages(Side.SOURCE), tables.pages(Side.TARGET)
    bench.oracle.look_at_target(9, tables.image(Side.TARGET), *pages)
    tables.write(Side.TARGET, 1, 2)
    with pytest.raises(Violation, match="clock 9: set 0 of the target, with 1 chains, is wrong in "
                                        "0:1"):
        bench.oracle.look_at_target(9, tables.image(Side.TARGET), *pages)


@pytest.mark.parametrize("more", [0, 1])
def test_groups_that_the_target_has_no_room_for(bench, more):
    first = GEOMETRY.staging_slots // 2
    sizes = first, GEOMETRY.staging_slots - first + more
    indices = [GEOMETRY.index(*divmod(track, GEOMETRY.tracks_per_volume))
               for track in range(sum(sizes))]
    for index, following in itertools.pairwise([*indices, 0]):
        bench.tables.list[index] = following, True
        bench.tables.rows[index] = TrackState(index, True, True, False)
    words = bench.tables.words[Side.SOURCE]
    words[SetWord.NEXT] = 3
    for number, head, count in zip((1, 2), (0, indices[first]), sizes, strict=True):
        record = SetWord.GROUP + wire.GROUP_WORDS * (number % GEOMETRY.groups_in_flight)
        words[record + wire.GROUP_HEAD], words[record + wire.GROUP_COUNT] = head, count
    if more:
        with pytest.raises(Violation, match="11 tracks are in groups, and the target has room for "
                                            "10"):
            bench.look(ready=True)
    else:
        bench.look(ready=True)


def test_a_volume_takes_its_content_to_its_new_set():
    oracle = Oracle(GEOMETRIES["pair"])
    oracle.source = bytes(range(240))
    oracle.assigned([0, 1, 0])
    assert oracle.lives[1].joined == {1: (0, bytes(range(80, 160)))}
    assert oracle.lives[1].sets == [0, 1, 0]
    assert oracle.counts["moves"] == 1
