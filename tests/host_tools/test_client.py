"""The client library against the model behind a real line."""

import random
import threading
import time

import pytest

from firmware_model import wire
from firmware_model.geometry import Geometry
from host_tools import session as session_module
from host_tools.client import Client
from host_tools.errors import (
    BoardError,
    Inconsistent,
    NoAnswer,
    NotABoard,
    NotSettling,
    ProtocolError,
    UsageError,
    WrongRole,
    WrongVersion,
)
from host_tools.transport import SerialTransport
from tests.host_tools.fakeboard import SMALL, FakeBoard


def data(fill, geometry=SMALL):
    return bytes([fill]) * geometry.track_bytes


@pytest.fixture
def source(board):
    with Client.open(board.ports.source) as client:
        yield client


@pytest.fixture
def target(board):
    with Client.open(board.ports.target) as client:
        yield client


@pytest.mark.parametrize("name", ["source", "source_socket"])
def test_hello_and_geometry(board, name):
    with Client.open(getattr(board.ports, name)) as client:
        assert client.geometry == board.geometry
        assert client.role is wire.Role.SOURCE
        assert client.volume_set == [0, 0, 0, 0]


def test_write_and_read_back(source):
    assert source.write([(0, 1, data(1)), (2, 3, data(2))]) == 1
    assert source.write([(0, 2, data(3))]) == 2
    assert source.read(0, 1, 2) == data(1) + data(3)
    assert source.read(2, 3) == data(2)
    assert source.committed(0) == 2


def test_reading_many_tracks_in_several_requests(source):
    for track in range(32):
        source.submit([(1, track, data(track))])
    source.flush()
    assert source.read(1, 0, 32) == b"".join(map(data, range(32)))


@pytest.mark.requirement("R04", "R06")
def test_collision_is_retried_until_it_commits(board, source):
    commits = []
    source.on_commit = lambda s, n, w: commits.append((s, n, w[0][2][0]))
    for fill in range(1, 30):
        source.submit([(0, 5, data(fill))])
    source.flush()
    assert commits == [(0, n, n) for n in range(1, 30)]
    assert source.refusals["COLLISION"] >= 1
    assert len(source.disconnects) >= 1
    assert all(d.volume == 0 and d.track == 5 and d.clocks > 0 for d in source.disconnects)
    assert source.read(0, 5) == data(29)


def test_reconnects_are_reported(source):
    seen = []
    source.on_reconnect = seen.append
    for fill in range(3):
        source.submit([(0, 5, data(fill))])
    source.flush()
    assert seen == source.disconnects != []


@pytest.mark.requirement("R01")
def test_mirror_settles_and_images_agree(source, target):
    rng = random.Random(7)
    for _ in range(40):
        source.submit([(rng.randrange(4), rng.randrange(32), rng.randbytes(512))], depth=8)
    behind = []
    source.wait_settled(progress=behind.append)
    assert behind[-1] == 0
    assert source.read_image() == target.read_image()
    assert [page.acked for page in source.pages()] == [40, 0, 0, 0]
    assert target.page(0).chains == 40


@pytest.mark.requirement("R17")
def test_assignment_drains_the_old_set(board):
    with Client.open(board.ports.source) as source:
        source.write([(3, 0, data(9))])
        source.assign(3, 2)
        assert source.volume_set == [0, 0, 0, 2]
        assert source.page(0).settled
        assert source.write([(3, 0, data(1))]) == 1
        assert source.committed(2) == 1
    with Client.open(board.ports.source) as again:
        assert again.volume_set == [0, 0, 0, 2]


def test_assignment_to_a_full_set():
    geometry = SMALL.replace(volumes_per_set=1, sets=4)
    with FakeBoard(geometry) as board, Client.open(board.ports.source) as source:
        with pytest.raises(UsageError, match="already has 1 volumes"):
            source.assign(0, 1)
        assert source.volume_set == [0, 1, 2, 3]


def test_chains_of_other_sets_go_on_while_one_waits(board, source):
    source.assign(1, 1)
    source.cut_links()
    source.write([(0, 0, data(1))])
    stuck = source.submit([(0, 0, data(2))])
    for fill in range(5):
        source.write([(1, fill, data(fill))], timeout=5)
    assert not stuck.done
    source.cut_links(False)
    assert source.wait(stuck, 10) == 2


def test_cut_links_keep_the_mirror_waiting(source):
    source.link(0).cut()
    source.link(1).cut()
    source.write([(0, 0, data(1))])
    with pytest.raises(NotSettling, match="are the links up"):
        source.wait_settled(stalled=0.3)
    with pytest.raises(NotSettling, match="are the links up"):
        source.write([(0, 0, data(2))], timeout=0.3)
    source.link(0).restore()
    source.flush(timeout=10)
    source.wait_settled()
    assert source.read(0, 0) == data(2)


def test_counters_and_stats(source, target):
    source.write([(0, 0, data(1)), (0, 1, data(2))])
    source.wait_settled()
    counters = source.counters()
    assert (counters["chains"], counters["commands"]) == (1, 2)
    stats = source.stats()
    assert stats.role == "source"
    assert stats.links_up == [0, 1]
    assert stats.sets[0].chains == 1
    assert set(stats.links[0]) == {c.name.lower() for c in wire.LinkCounter}
    assert stats.as_dict()["sets"][0]["acked"] == 1
    assert target.stats().counters["chains"] == 1


def test_registers_by_name(source):
    assert source.reg("magic") == wire.MAGIC
    source.set_reg("poll_interval", 77)
    assert source.reg("poll_interval") == 77
    with pytest.raises(BoardError, match="READ_ONLY"):
        source.set_reg("magic", 1)
    with pytest.raises(UsageError, match="no register 'nonsense'"):
        source.reg("nonsense")
    with pytest.raises(UsageError, match="32 bits"):
        source.set_reg("poll_interval", 1 << 32)


@pytest.mark.parametrize(("writes", "words"), [
    ([], "at least one command"),
    ([(0, t % 32, data(1)) for t in range(101)], "limit of 100"),
    ([(4, 0, data(1))], "volume 4 is outside 0..3"),
    ([(0, 32, data(1))], "track 32 is outside 0..31"),
    ([(0, 0, b"short")], "5 bytes for 0:0: a track has 512"),
])
def test_chains_refused_before_they_are_sent(source, writes, words):
    with pytest.raises(UsageError, match=words):
        source.submit(writes)
    assert source.counters()["host_errors"] == 0
    assert source.page(0).chains == 0


def test_chain_across_sets_is_refused(source):
    source.assign(1, 1)
    with pytest.raises(UsageError, match=r"one consistency set.*0 and 1"):
        source.submit([(0, 0, data(1)), (1, 0, data(1))])


def test_places_outside_the_board(source):
    with pytest.raises(UsageError, match="volume 9"):
        source.read(9, 0)
    with pytest.raises(UsageError, match="ends at track 31"):
        source.read(0, 30, 3)
    with pytest.raises(UsageError, match="set 4 is outside"):
        source.assign(0, 4)
    with pytest.raises(UsageError, match="link 2 is outside"):
        source.link(2)


def test_roles(board, target):
    with pytest.raises(WrongRole, match="chains go to the source"):
        target.submit([(0, 0, data(1))])
    with pytest.raises(WrongRole, match="sets are chosen at the source"):
        target.assign(0, 1)
    with pytest.raises(WrongRole, match="is a source, and this needs the target"):
        Client.open(board.ports.source_socket, role=wire.Role.TARGET)


def test_links_without_an_emulator():
    with FakeBoard(emulator=False) as board, Client.open(board.ports.source) as source, \
            pytest.raises(UsageError, match="no channel emulator on link 1"):
        source.link(1).cut()


def test_link_settings_reach_the_registers(source):
    link = source.link(1)
    link.delay(0.02)
    link.ber(1e-6)
    link.loss(0.5)
    values = link.read()
    tick = wire.CHANNEL_TICK_BITS / SMALL.link_baud
    assert values["delay"] == pytest.approx(0.02 / tick, abs=1)
    assert values["byte_error"] == pytest.approx(1e-5 * 2**32, rel=0.01)
    assert values["frame_loss"] == pytest.approx(0.5 * 2**32, rel=0.01)
    for change in (lambda: link.delay(60), lambda: link.ber(0.5)):
        with pytest.raises(UsageError, match="outside"):
            change()
    assert link.read() == values


def test_port_that_is_no_board(monkeypatch):
    import os
    import pty

    master, slave = pty.openpty()
    try:
        start = time.monotonic()
        with pytest.raises(NotABoard, match="does not answer like a Farside board"):
            Client(SerialTransport(os.ttyname(slave)), hello_timeout=0.3)
        assert time.monotonic() - start < 3
    finally:
        os.close(master)
        os.close(slave)


def test_other_protocol_version():
    words = rf"version 9.*version {wire.PROTOCOL_VERSION}.*git pull"
    with FakeBoard(version=9) as board, pytest.raises(WrongVersion, match=words):
        Client.open(board.ports.source)


def test_two_clients_at_one_board_are_noticed(board, source):
    source.write([(0, 0, data(1))])
    with board.lock:
        board.system.submit([(1, 0, data(5))], tag=60000)
    with pytest.raises(ProtocolError, match="another program"):
        source.write([(0, 1, data(1))])


def test_board_that_dies(monkeypatch):
    monkeypatch.setattr(session_module, "SILENCE_SECONDS", 0.5)
    with FakeBoard() as board, Client.open(board.ports.source) as source:
        board.lock.acquire()
        try:
            with pytest.raises(NoAnswer, match="has not answered"):
                source.cycles()
        finally:
            board.lock.release()


@pytest.mark.parametrize("answered", [True, False])
def test_each_chain_commits_once_over_lost_sessions(board, source, answered):
    """The session is lost again and again, with and without the answers."""
    commits = []
    source.on_commit = lambda s, n, w: commits.append((n, w[0][2]))
    stop = threading.Event()

    def disturb():
        while not stop.wait(0.1):
            board.answer_chains = answered
            stop.wait(0.01)
            board.forget_session()
            board.answer_chains = True

    disturber = threading.Thread(target=disturb)
    disturber.start()
    rng = random.Random(3)
    contents = []
    try:
        while source.sessions_lost < 3 and len(contents) < 20_000:
            contents.append(rng.randbytes(512))
            source.submit([(0, len(contents) % 32, contents[-1])], depth=8)
        source.flush(timeout=60)
    finally:
        stop.set()
        disturber.join()
    assert source.sessions_lost >= 3
    assert [c for _, c in commits] == contents
    assert [n for n, _ in commits] == list(range(1, len(contents) + 1))
    chains = board.system.history.chains(0)
    assert [chain.writes[0].data for chain in chains] == contents


@pytest.mark.parametrize("trespass", [False, True])
def test_chains_that_commit_while_a_session_is_lost_are_looked_at(board, source, trespass):
    """The board holds one chain more than was answered: ours, or another program's?"""
    source.write([(0, 0, data(1))])
    with board.lock:
        ticket = source.submit([(0, 1, data(2)), (0, 2, data(3))])
        stranger = [(0, 1, data(2)), (0, 2, data(9 if trespass else 3))]
        board.system.submit(stranger, tag=60000)
        board.forget_session()          # what was sent meanwhile is of the old session
    if trespass:
        with pytest.raises(ProtocolError, match=r"0:2 does not hold.*another program"):
            source.wait(ticket, 10)
    else:
        assert source.wait(ticket, 10) == 2
    assert board.system.source.pages[0].chains == 2     # nothing was sent again


def test_a_session_taken_over_by_another_program_is_noticed(board, source):
    """Everything sent has been acknowledged, the answer is owed, and another program comes and
    goes: the board says nothing any more, until it is asked whether it is still there."""
    board.answer_chains = False
    ticket = source.submit([(0, 1, data(2))])
    assert source.wait_until(lambda: source.page(0).chains == 1 and not source.peer.unsettled, 5)
    board.answer_chains = True
    board.take_over()
    start = time.monotonic()
    assert source.wait(ticket) == 1
    assert time.monotonic() - start < session_module.SILENCE_SECONDS / 2
    assert source.sessions_lost == 1
    assert source.write([(0, 1, data(3))]) == 2


def test_a_silent_line_is_no_dead_line(board, source, monkeypatch):
    monkeypatch.setattr(session_module, "SILENCE_SECONDS", 0.1)
    source.cut_links()
    source.write([(0, 0, data(1))])
    source.submit([(0, 0, data(2))])
    source.idle(0.4)
    assert source.run_dry(1)
    assert source.outstanding == 1
    source.cut_links(False)
    source.flush(timeout=10)


def test_nothing_commits_after_finish(board, source):
    """Chains that were refused or not begun stay behind; the others are all accounted for."""
    commits = []
    source.on_commit = lambda s, n, w: commits.append(w[0][2][0])
    for fill in range(40):
        source.submit([(0, 5 + fill % 2, data(fill))])
    source.wait_until(lambda: len(commits) > 3, 10)
    source.finish()
    assert source.outstanding > 0
    assert commits == list(range(len(commits)))
    source.close()
    time.sleep(0.3)
    assert board.system.source.pages[0].chains == len(commits)


@pytest.mark.requirement("R22")
def test_target_that_is_being_resynchronised_says_so(board, source, target):
    """The source has lost its memory: until everything has been sent again the image is none."""
    for track in range(8):
        source.submit([(0, track, data(track))])
    source.wait_settled()
    assert target.page(0).inconsistent is False
    assert target.read(0, 3) == data(3)
    assert target.read_inconsistent is False
    with board.lock:
        board.pace = 0          # the resynchronisation begins and gets nowhere
        board.system.restart_source(warm=False)
        while not board.system.target.pages[0].inconsistent:
            board.system.step(board.system.enabled_events()[0])
    assert target.page(0).inconsistent
    target.read(0, 3)
    assert target.read_inconsistent
    with pytest.raises(Inconsistent, match=r"set 0 .*resynchronised.*--force"):
        target.read_image()
    assert len(target.read_image(force=True)) == SMALL.image_bytes
    board.pace = 40
    with Client.open(board.ports.source_socket) as again:
        assert again.page(0).resyncing or again.page(0).settled
        again.wait_settled()
        assert again.page(0).resyncing is False
        assert again.read_image() == target.read_image()


def test_reads_survive_a_lost_session(board, source):
    for track in range(32):
        source.submit([(0, track, data(track))])
    source.flush()
    timer = threading.Timer(0.02, board.drop_session)
    timer.start()
    for _ in range(20):
        assert source.read(0, 0, 32) == b"".join(map(data, range(32)))
    timer.join()
    assert source.sessions_lost == 1


def test_a_second_client_lifts_the_fence_of_the_first(board):
    with Client.open(board.ports.source) as first:
        first.cut_links()
        first.write([(0, 0, data(1))])
        first.submit([(0, 0, data(2))])
        first.idle(0.1)
        assert first.refusals == {"COLLISION": 1}
    with Client.open(board.ports.source_socket) as second:
        second.cut_links(False)
        assert second.write([(0, 0, data(3))], timeout=10) == 2
        assert second.read(0, 0) == data(3)


@pytest.mark.requirement("R30")
def test_image_is_one_moment_while_the_mirror_works(board, source, target):
    """Both tracks of every chain are equal; so they are in every image of the target."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source.beside, target.beside = [target], [source]
    rng = random.Random(seed)
    for n in range(60):
        content = rng.randbytes(512)
        source.submit([(0, 0, content), (3, 31, content)], depth=4)
        if n % 12 == 0:
            image = target.read_image()
            assert image[:512] == image[-512:]
    source.wait_settled()
    image = target.read_image()
    assert image[:512] == image[-512:] == content


def test_hold_is_released_after_an_image(board, source, target):
    target.read_image()
    assert target.reg("hold") == 0
    source.write([(0, 0, data(1))])
    source.wait_settled()


def test_a_board_of_another_shape():
    geometry = Geometry(volumes=3, tracks_per_volume=5, track_bytes=64, sets=2, links=1,
                        chain_limit=4, spare_slots=8, staging_slots=16, window=4,
                        volumes_per_set=2)
    with FakeBoard(geometry) as board, Client.open(board.ports.source) as source, \
            Client.open(board.ports.target) as target:
        assert source.geometry == geometry
        assert source.volume_set == [0, 0, 1]
        for fill in range(30):
            source.submit([(fill % 3, fill % 5, bytes([fill]) * 64)])
        source.wait_settled()
        assert source.read_image() == target.read_image()


class SimulatedTime:
    """A transport without threads whose clock moves only when somebody waits."""

    def __init__(self, inner):
        self.inner = inner
        self.time = 0.0
        self.waited = []

    def read(self, timeout):
        self.waited.append(timeout)
        got = self.inner.read(0.001)
        self.time += 0.0005 if got else min(timeout, 0.001)
        return got

    def write(self, data):
        self.inner.write(data)

    def close(self):
        self.inner.close()

    def now(self):
        return self.time


def test_all_waiting_is_done_in_the_transport(board, monkeypatch):
    """Nothing in the library sleeps or looks at another clock."""
    transport = SimulatedTime(SerialTransport(board.ports.source))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("the library slept"))
    with Client(transport) as source:
        for fill in range(10):
            source.submit([(0, 0, data(fill))])
        source.wait_settled()
        assert source.read(0, 0) == data(9)
    assert transport.time > 0


@pytest.mark.requirement("R02")
@pytest.mark.parametrize("what", ["target", "source"])
def test_writing_goes_on_while_everything_is_resynchronised(board, source, target, what):
    """The resynchronisation takes chain numbers; it goes on over a restart of the source."""
    seen = []
    source.on_commit = lambda set_, number, writes: seen.append((number, writes[0][1]))
    for track in range(3):
        source.write([(0, track, data(track + 1))])
    source.wait_settled()
    with board.lock:
        if what == "target":
            board.system.restart_target(warm=False)
        else:
            board.system.restart_source(warm=True)
            board.forget_session()
    tickets = [source.submit([(0, track, data(20 + track))]) for track in range(8)]
    for ticket in tickets:
        source.wait(ticket, 20)
    assert [track for _, track in seen] == [0, 1, 2, *range(8)]
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers))
    source.wait_settled()
    assert source.page(0).chains > len(seen), "nothing was resynchronised"
    for track in range(8):
        assert source.read(0, track) == target.read(0, track) == data(20 + track)
