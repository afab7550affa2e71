"""The model itself: explicit events, invariants, and a state machine that tries any order."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from firmware_model.geometry import Geometry
from firmware_model.history import HistoryError
from firmware_model.mutations import Mutation
from firmware_model.oracle import judge
from firmware_model.system import (
    FAULTS,
    PROGRESS,
    RESTARTS,
    Event,
    InvariantError,
    Kind,
    NotEnabled,
    System,
)
from firmware_model.wire import Code, Counter, Type

# Small, so that everything meets everything: volumes 0, 1 in set 0, volume 2 in set 1.
G = Geometry(volumes=3, tracks_per_volume=3, track_bytes=16, sets=2, links=2, chain_limit=3,
             spare_slots=5, staging_slots=8, groups_in_flight=2, window=8, volumes_per_set=2)


def data(label):
    return str(label).encode().ljust(16, b".")


def drain(system, kinds=PROGRESS):
    """Let everything happen that can, first come first served."""
    while events := system.enabled_events(kinds):
        system.step(events[0])


def step(system, kind, **fields):
    """The first enabled event of this kind (and set, or link)."""
    for event in system.enabled_events({kind}):
        if all(getattr(event, name) == value for name, value in fields.items()):
            system.step(event)
            return event
    raise AssertionError(f"no {kind} with {fields} among {system.enabled_events()}")


class Machine(RuleBasedStateMachine):
    """Hosts, links and faults in any order. The oracle looks after every chain that commits at
    the target, the invariants are checked after every event."""

    mutations: tuple[Mutation, ...] = ()
    checked = True

    def __init__(self):
        super().__init__()
        self.system = System(G, mutations=self.mutations, checked=self.checked)
        self.system.commit_listeners.append(self._judge)
        self.label = 0

    def _judge(self, set_, number):
        verdict = self.system.target_verdict()
        assert verdict.consistent, f"after chain {number} of set {set_}:\n{verdict}"
        for found in verdict.sets:
            assert found.agrees(self.system.target.pages[found.set].chains)

    @rule(places=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4),
          resume=st.booleans())
    def write(self, places, resume):
        before = self.system.source.image()
        commands = []
        for volume, track in places:
            self.label += 1
            commands.append((volume, track, data(self.label)))
        answer = self.system.write(commands, resume=resume)
        assert answer.code is not Code.OK or len(commands) <= G.chain_limit
        if answer.code is not Code.OK:
            assert self.system.source.image() == before
        for volume, track, content in {(v, t): (v, t, c) for v, t, c in commands}.values():
            if answer.code is Code.OK:
                assert self.system.source.read_track(volume, track) == content

    @rule(pick=st.integers(0, 1 << 16))
    def progress(self, pick):
        events = self.system.enabled_events(PROGRESS)
        if events:
            self.system.step(events[pick % len(events)])

    @rule(picks=st.lists(st.integers(0, 1 << 16), min_size=5, max_size=15))
    def much_progress(self, picks):
        for pick in picks:
            self.progress(pick)

    @rule(pick=st.integers(0, 1 << 16))
    def fault(self, pick):
        events = self.system.enabled_events(FAULTS)
        if events:
            self.system.step(events[pick % len(events)])

    @rule(pick=st.integers(0, 1 << 16))
    def restart(self, pick):
        events = self.system.enabled_events(RESTARTS)
        self.system.step(events[pick % len(events)])

    @rule(places=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=3),
          swaps=st.integers(0, 3))
    def write_and_reset(self, places, swaps):
        """A reset in the middle of a commit at the source: the chain is there, whole."""
        sets = [volume.set for volume in self.system.source.volumes]
        places = [(v, t) for v, t in places if sets[v] == sets[places[0][0]]]
        pending = [self.system.source.tracks[G.index(v, t)].pending for v, t in places]
        out = [self.system.source.volumes[v].disconnected for v, _ in places]
        if any(pending) or any(out) or len(self.system.source.free) < len(places):
            return
        commands = []
        for volume, track in places:
            self.label += 1
            commands.append((volume, track, data(self.label)))
        self.system.write_and_reset(commands, min(swaps, len(commands)))
        for volume, track, content in {(v, t): (v, t, c) for v, t, c in commands}.values():
            assert self.system.source.read_track(volume, track) == content

    @rule(set_=st.integers(0, 1))
    def destage(self, set_):
        self.system.destage(set_)

    @rule(held=st.booleans())
    def hold(self, held):
        self.system.hold(held)

    @rule(volume=st.integers(0, 2), set_=st.integers(0, 1))
    def assign(self, volume, set_):
        old = self.system.source.volumes[volume].set
        pending = self.system.source.pages[old].pending
        resync = any(self.system.source.pages[s].resync for s in (old, set_))
        running = all(page.running for page in self.system.source.pages)
        full = self.system.source.pages[set_].volumes >= G.volumes_per_set
        code = self.system.assign(volume, set_)
        if old != set_ and (pending or resync):
            assert code is Code.SET_BUSY
        elif old != set_ and not running:
            assert code in (Code.SET_BUSY, Code.SET_FULL, Code.OK)
        elif old != set_ and full:
            assert code is Code.SET_FULL
        else:
            assert code is Code.OK

    @precondition(lambda self: self.system.pending)
    @rule(seed=st.integers(0, 99))
    def settle(self, seed):
        """However it stands: with links restored and commits free, it ends, and both agree."""
        self.system.hold(False)
        for link in range(G.links):
            self.system.restore_link(link)
        self.system.settle(choose=random.Random(seed), limit=5000)
        assert self.system.source.image() == self.system.target.image()
        for mine, there in zip(self.system.source.pages, self.system.target.pages, strict=True):
            assert mine.chains == mine.acked == there.chains
        assert not any(v.disconnected for v in self.system.source.volumes)      # I9

    @invariant()
    def target_is_a_prefix(self):
        verdict = self.system.target_verdict()
        assert verdict.consistent, str(verdict)
        torn = any(page.inconsistent or not page.following for page in self.system.target.pages)
        if not torn and self.system.target.life == self.system.source.life:
            verdict = judge(self.system.history, self.system.target.image())
            assert verdict.ok, str(verdict)


class TestMachine(Machine.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None, print_blob=True,
                        suppress_health_check=[HealthCheck.too_slow])


def drive(seed, mutations, checked, length=400, *, restarts=True):
    """What Machine does, from a seed: fast enough to hunt each mutation."""
    chance = random.Random(seed)
    machine = type("Driven", (Machine,), {"mutations": tuple(mutations), "checked": checked})()
    for _ in range(length):
        turn = chance.random()
        if turn < 0.2:
            places = [(chance.randrange(3), chance.randrange(3))
                      for _ in range(chance.randint(1, 4))]
            machine.write(places, chance.random() < 0.8)
        elif turn < 0.25:
            machine.destage(chance.randrange(2))
        elif turn < 0.35:
            machine.fault(chance.randrange(1 << 16))
        elif turn < 0.36:
            machine.settle(seed)
        elif restarts and turn < 0.39:
            machine.restart(chance.randrange(1 << 16))
        elif restarts and turn < 0.395:
            machine.write_and_reset([(chance.randrange(3), chance.randrange(3))
                                     for _ in range(chance.randint(1, 3))], chance.randrange(4))
        else:
            machine.progress(chance.randrange(1 << 16))
        machine.target_is_a_prefix()
    machine.settle(seed)


@pytest.mark.parametrize("seed", range(20))
def test_random_drive(seed):
    drive(seed, (), True)


# These need more than chance: see the tests below, and the scenarios.
NOT_BY_CHANCE = {Mutation.ABORT_COMMITS, Mutation.CHAINS_COUNTED_TWICE,
                 Mutation.OLD_SESSIONS_KEPT, Mutation.STATUS_REWINDS}


@pytest.mark.parametrize("mutation", sorted(set(Mutation) - NOT_BY_CHANCE))
def test_invariants_see_every_mutation(mutation):
    """With the model's own checks on, a few random runs suffice."""
    for seed in range(30):
        print(f"seed {seed}")
        try:
            drive(seed, [mutation], True)
        except (AssertionError, KeyError, IndexError, HistoryError) as error:
            print(repr(error)[:200])
            return
    pytest.fail(f"no run of 30 notices {mutation.name}")


@pytest.mark.parametrize("mutation", [
    Mutation.PENDING_NOT_SET, Mutation.SEQUENCE_NOT_CHECKED, Mutation.SLOT_FREED_WHILE_PENDING,
    Mutation.CRC_NOT_CHECKED])
def test_the_oracle_alone_sees_the_mutations_that_spoil_data(mutation):
    for seed in range(60):
        print(f"seed {seed}")
        try:
            drive(seed, [mutation], False)
        except (AssertionError, KeyError, IndexError):
            return
    pytest.fail(f"no run of 60 notices {mutation.name}")


# -- explicit events ---------------------------------------------------------------------------


def two_groups_in_flight(system):
    """Group 1 of set 0 is tracks 0:0 and 0:1, group 2 is 1:0."""
    system.write([(0, 0, data("a")), (0, 1, data("b"))])
    system.destage(0)
    step(system, Kind.CUT)
    system.write([(1, 0, data("c"))])
    system.destage(0)
    step(system, Kind.CUT)
    assert system.source.pages[0].in_flight == 2
    while system.enabled_events({Kind.DISPATCH}):
        step(system, Kind.DISPATCH)


def arrive(system, type_, gseq):
    """Every frame of this type and group that is in flight arrives."""
    for number, link in enumerate(system.links):
        for place in reversed(range(len(link.to_target.flights))):
            frame = link.to_target.flights[place].frame
            if frame.type is type_ and frame.fields["gseq"] == gseq:
                system.step(Event(Kind.ARRIVE, link=number, place=place))


@pytest.mark.requirement("R14", "R18", "R19", "R22")
@pytest.mark.parametrize("missing", [Type.DATA, Type.ORDER])
def test_a_later_group_waits_for_an_earlier_one(missing):
    system = System(G)
    two_groups_in_flight(system)
    other = Type.ORDER if missing is Type.DATA else Type.DATA
    arrive(system, Type.ORDER, 2)
    arrive(system, Type.DATA, 2)
    arrive(system, other, 1)
    assert system.target.pages[0].groups[2].whole
    assert not system.enabled_events({Kind.COMMIT})
    for number in range(G.links):
        for event in system.enabled_events({Kind.CORRUPT}):
            if event.link == number:
                system.step(event)      # the rest of group 1 is damaged, and goes out again
    assert not system.enabled_events({Kind.COMMIT})
    arrive(system, missing, 1)
    step(system, Kind.COMMIT)
    assert system.target.read_track(0, 1) == data("b")
    assert system.target.read_track(1, 0) == bytes(16)
    step(system, Kind.COMMIT)
    assert system.target.read_track(1, 0) == data("c")


@pytest.mark.requirement("R21")
def test_a_chain_commits_in_one_step():
    system = System(G)
    system.write([(0, t, data(t)) for t in range(3)])
    system.destage(0)
    seen = set()
    while events := system.enabled_events():
        system.step(events[0])
        seen.add(tuple(system.target.read_track(0, t) for t in range(3)))
    assert seen == {(bytes(16),) * 3, tuple(data(t) for t in range(3))}


@pytest.mark.requirement("R23")
def test_a_late_status_after_a_time_out_clears_only_its_own_group():
    system = System(G)
    two_groups_in_flight(system)
    arrive(system, Type.DATA, 1)
    arrive(system, Type.ORDER, 1)
    step(system, Kind.COMMIT)
    step(system, Kind.STATUS)
    step(system, Kind.TIMEOUT)          # the status is under way, but late
    assert system.source.pages[0].sent == 0
    step(system, Kind.ARRIVE_BACK)
    assert not system.source.tracks[G.index(0, 0)].pending
    assert system.source.tracks[G.index(1, 0)].packet
    assert system.source.pages[0].sent == system.source.pages[0].done == 1
    system.write([(0, 0, data("new"))])         # its frames of group 1 may still be in flight
    drain(system, PROGRESS - {Kind.STATUS, Kind.ARRIVE_BACK})
    assert system.target.read_track(0, 0) == data("a")
    assert system.target.read_track(1, 0) == data("c")
    system.settle()
    assert system.target.image() == system.source.image()
    assert system.target.counters[Counter.CHAINS] == 3


def test_frames_sent_again_while_their_group_commits_are_dropped():
    """Between two chains of a group its first tracks are no longer staged."""
    system = System(G)
    system.write([(0, 0, data("a"))])
    system.write([(0, 1, data("b"))])
    system.destage(0)
    drain(system, PROGRESS - {Kind.COMMIT})
    step(system, Kind.COMMIT)           # the first chain only
    step(system, Kind.TIMEOUT)
    drain(system, PROGRESS - {Kind.COMMIT, Kind.STATUS})
    assert all(t.staged is None for i, t in system.target.tracks.items() if i != G.index(0, 1))
    assert system.target.counters[Counter.DUPLICATES] == 3
    system.settle()
    assert system.target.image() == system.source.image()


def test_sequence_numbers_wrap():
    system = System(G)
    for page in system.source.pages:
        page.next, page.sent, page.done = 0xFFFE, 0xFFFD, 0xFFFD
    for page in system.target.pages:
        page.done = 0xFFFD
    for turn in range(6):
        system.write([(0, turn % 3, data(turn))])
        system.destage(0)
        step(system, Kind.CUT)
        drain(system)
    assert system.target.pages[0].done == 3
    assert not system.pending


@pytest.mark.requirement("R28")
def test_a_group_is_whole_chains_within_its_budget():
    g = G.replace(staging_slots=7, tracks_per_volume=8, chain_limit=3)
    assert g.group_limit == 5
    system = System(g)
    for n in range(3):
        system.write([(0, 2 * n, data("a")), (0, 2 * n + 1, data("b"))])
    system.destage(0)
    step(system, Kind.CUT)
    # 2 tracks leave 3 of 5, room for any chain; 4 do not.
    assert system.source.pages[0].groups[1].count == 4
    assert system.source.pages[0].unsent == 2
    assert system.source.credit == 3
    step(system, Kind.CUT)
    assert system.source.credit == 1
    system.write([(1, 0, data("c"))])
    system.destage(0)
    assert not system.enabled_events({Kind.CUT})
    system.settle()
    assert system.source.credit == 7


def test_destage_work_depends_on_the_tracks_sent_alone():
    """I10: the same walk, whatever the size of the volumes."""
    steps = []
    for tracks in (4, 256):
        system = System(G.replace(tracks_per_volume=tracks), checked=False)
        for n in range(4):
            system.write([(0, n, data(n))])
        system.settle()
        steps.append(system.source.walk_steps)
    assert steps[0] == steps[1] == 4 * 3        # cut, dispatch, clear


@pytest.mark.requirement("R15")
def test_any_link_may_take_any_track():
    system = System(G)
    system.write([(0, 0, data("a")), (0, 1, data("b"))])
    system.destage(0)
    step(system, Kind.CUT)
    assert {e.link for e in system.enabled_events({Kind.DISPATCH})} == {0, 1}
    step(system, Kind.DISPATCH, link=1)
    step(system, Kind.DISPATCH, link=0)
    # The order packet keeps to the set's own link while that is up.
    assert {e.link for e in system.enabled_events({Kind.DISPATCH})} == {0}
    system.cut_link(0)
    step(system, Kind.SESSION_LOST, link=0)
    for _ in range(2):
        step(system, Kind.DISPATCH)
    assert {e.link for e in system.enabled_events({Kind.DISPATCH})} == {1}


def test_events_that_cannot_happen_are_refused():
    system = System(G)
    with pytest.raises(NotEnabled, match=r"a chain becomes visible \(set 0\) cannot happen now"):
        system.step(Event(Kind.COMMIT, set=0))


def test_no_progress_is_an_error():
    system = System(G)
    system.write([(0, 0, data("a"))])
    system.hold(True)
    with pytest.raises(InvariantError, match="I9: sets \\[0\\] are pending and nothing moves"):
        system.settle()


@pytest.mark.parametrize(("spoil", "text"), [
    (lambda s: setattr(s.source.tracks[0], "packet", True), "I4: track 0:0"),
    (lambda s: setattr(s.source.tracks[G.index(1, 1)], "pending", False), "I1: track 1:1"),
    (lambda s: setattr(s.source.tracks[0], "pending", True), "I1: track 0:0"),
    (lambda s: s.source.slots.__setitem__(s.source.tracks[0].slot, data("x")), "I2: track 0:0"),
    (lambda s: s.source.slots.__setitem__(s.source.tracks[G.index(1, 1)].slot, data("x")),
     "I1: track 1:1"),
    (lambda s: s.source.free.append(s.source.tracks[0].slot), "I1: a source slot"),
    (lambda s: s.target.free.pop(), "I6: a target slot"),
    (lambda s: setattr(s.source.pages[0], "unsent", 0), "I1: track 1:1 pending is True"),
    (lambda s: s.target.slots.__setitem__(s.target.tracks[0].slot, data("x")), "I7: track 0:0"),
    (lambda s: setattr(s.target.pages[0], "chains", 9), "I7: set 0 is newer"),
    (lambda s: setattr(s.source.pages[1], "acked", 9), "I7: set 1 is older"),
    (lambda s: setattr(s.source.volumes[2], "disconnected", True), "I9: volume 2"),
    (lambda s: setattr(s.source, "credit", 3), "I6: 0 reserved and 3 credit"),
    (lambda s: setattr(s.source.links[G.index(1, 1)], "next", G.index(1, 1)), "I3: track 1:1"),
])
def test_every_invariant_can_fail(spoil, text):
    system = System(G)
    system.write([(1, 1, data("a"))])
    system.write([(1, 2, data("b"))])
    system.check()
    spoil(system)
    with pytest.raises(InvariantError) as caught:
        system.check()
    assert text in str(caught.value)


def test_counters_by_name():
    system = System(G)
    system.write([(0, 0, data("a")), (0, 1, data("b"))])
    system.write([(0, 0, data("c"))])
    system.settle()
    found = system.counters()
    assert {k: v for k, v in found["source"].items() if v} == {
        "host_frames": 5, "host_errors": 1, "chains": 1, "commands": 2, "collisions": 1,
        "reconnects": 1, "groups": 1, "group_tracks": 2, "groups_done": 1, "dispatches": 2,
        "lookups": 3}
    assert found["target"]["chains"] == 1
