"""The board inside the process: deterministic, and what is seen in its memory is what it says."""

import pytest

from firmware_model import wire
from host_tools.trials.oracle import Oracle
from host_tools.trials.plan import GEOMETRIES
from host_tools.trials.play import JudgedClient
from host_tools.trials.world import World
from sim.board import SimulationError
from sim.native import Event, NativeBoard, Side

GEOMETRY = GEOMETRIES["pair"]
LONG = 2_000_000


def connect(board):
    world = World(board, (), Oracle(board.geometry))
    return world, JudgedClient(world, 7)


def write_a_little(board):
    """Two chains, destaged; every byte that the host got on the way."""
    world, client = connect(board)
    for number in range(2):
        client.write([(0, number, bytes([number + 1] * GEOMETRY.track_bytes))])
    client.wait_settled()
    return world


def state(board):
    return board.clock, [board.contents(name) for name in board.memories]


def test_equal_calls_give_equal_results_to_the_last_bit():
    """Also when another board has run in the same library meanwhile."""
    seen = []
    for _ in range(2):
        board = NativeBoard(GEOMETRY, seed=5)
        write_a_little(board)
        seen.append(state(board))
        NativeBoard(GEOMETRY, seed=6, byte_error=1 << 28).run(50_000)
    assert seen[0] == seen[1]


def test_what_is_seen_is_what_the_host_reads():
    board = NativeBoard(GEOMETRY)
    world, client = connect(board)
    assert client.geometry == GEOMETRY
    for number in range(3):
        client.write([(0, 4, bytes([number + 1] * 16)), (1, number, bytes([number + 9] * 16))])
        client.wait_settled()
    assert world.oracle.source == client.read_image()
    assert client.read_image() == board.image(Side.SOURCE) == board.image(Side.TARGET)
    assert any(board.image(Side.TARGET))
    assert board.pages(Side.SOURCE).chains(0) == board.pages(Side.TARGET).chains(0) == 3
    assert board.pages(Side.SOURCE).settled(0)
    assert board.counters(Side.SOURCE)[wire.Counter.CHAINS] == client.counters()["chains"] == 3


def test_a_snapshot_is_taken_in_the_clock_of_the_change():
    board = NativeBoard(GEOMETRY)
    world, client = connect(board)
    taken = []

    def look():
        for snapshot in board.snapshots():
            taken.append(snapshot)
            world.oracle.look(snapshot)

    world._look = look
    client.submit([(0, 4, bytes([7] * 16)), (1, 1, bytes([8] * 16))])
    client.destage()

    def at(side):
        return [one for one in taken if one.pages(side).chains(0) == 1]

    client.wait_until(lambda: bool(at(Side.TARGET)), 5.0)
    here, there = at(Side.SOURCE)[0], at(Side.TARGET)[0]
    assert here.clock < there.clock <= board.clock
    assert here.pages(Side.SOURCE).acked(0) == there.pages(Side.SOURCE).acked(0) == 0
    assert not any(here.image(Side.TARGET))
    assert here.image(Side.SOURCE) == there.image(Side.TARGET) == board.image(Side.TARGET)
    assert here.image(Side.SOURCE).count(7) == here.image(Side.SOURCE).count(8) == 16
    written = [GEOMETRY.index(0, 4), GEOMETRY.index(1, 1)]
    assert [n for n, track in enumerate(here.tracks()) if track.pending] == written
    assert not any(track.packet or track.waiter for track in here.tracks())
    assert [track.slot for track in here.tracks()] == list(here.slots())
    assert here.links()[written[0]] == (written[1], False)
    assert here.volumes() == board.volumes() == [(0, False)] * GEOMETRY.volumes
    assert all(there.tracks()[index].packet for index in written)


def test_a_poke_reaches_the_channel_and_leaves_the_host_line_alone():
    board = NativeBoard(GEOMETRY)
    _, client = connect(board)
    before = board.clock
    board.poke(1, wire.Channel.DELAY, 77)
    assert board.clock - before < 20
    assert client.link(1).read()["delay"] == 77
    assert client.link(0).read()["delay"] == 0
    assert client.sessions_lost == 0


def test_a_reset_ends_sessions_and_memory_is_lost_only_when_asked():
    board = NativeBoard(GEOMETRY)
    write_a_little(board)
    name = "target.core.data_memory.memory"
    kept = board.contents(name)
    assert any(kept)

    def begun():
        return board.link_counters(Side.SOURCE, 0)[wire.LinkCounter.SESSIONS]

    before = begun()
    board.reset(Side.TARGET)
    assert board.links_up(Side.TARGET) == 0
    assert board.contents(name) == kept
    end = board.clock + 100_000
    while board.links_up(Side.SOURCE) != 3 or begun() == before:
        board.run(1000)
        board.read(Side.SOURCE)
        assert board.clock < end
    board.reset(Side.TARGET, lose_memory=True)
    assert not any(board.contents(name))
    assert any(board.contents("source.core.data_memory.memory"))


def test_a_run_ends_with_a_frame():
    board = NativeBoard(GEOMETRY)
    assert board.run(LONG) & (Event.SOURCE_FRAME | Event.TARGET_FRAME)
    assert board.clock < 20_000
    assert (board.read(Side.SOURCE) + board.read(Side.TARGET)).endswith(b"\0")


def test_a_board_that_has_ended_says_so():
    first = NativeBoard(GEOMETRY)
    second = NativeBoard(GEOMETRY)
    with pytest.raises(SimulationError, match="another of the same gateware"):
        first.run(1)
    second.run(1)
    second.close()
    with pytest.raises(SimulationError, match="ended"):
        second.run(1)


def test_a_full_host_line_is_an_error():
    board = NativeBoard(GEOMETRY)
    board.write(Side.SOURCE, bytes(16384))
    assert board.unsent(Side.SOURCE) == 16384
    with pytest.raises(SimulationError, match="the host line is full"):
        board.write(Side.SOURCE, b"x")


def test_bad_waves():
    with pytest.raises(SimulationError, match=r"must end in \.vcd or \.fst"):
        NativeBoard(GEOMETRY, waves="here.txt")
