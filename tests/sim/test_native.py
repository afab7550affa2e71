"""The board inside the process: deterministic, and what is seen in its memory is what it says."""

import pytest

from firmware_model import wire
from host_tools.client import Client
from host_tools.linkpeer import LinkPeer
from host_tools.trials.plan import GEOMETRIES
from host_tools.trials.play import NativeTransport, Oracle, World
from sim.board import SimulationError
from sim.native import Event, NativeBoard, Side

GEOMETRY = GEOMETRIES["pair"]
LONG = 2_000_000


class PlainClient(Client):
    """Its first session has a number of its own choice: nothing is left to chance."""

    def make_peer(self):
        return LinkPeer(wire.Role.HOST, session=7)


def connect(board):
    world = World(board, (), Oracle(board.geometry))
    return world, PlainClient(NativeTransport(world, Side.SOURCE), role=wire.Role.SOURCE)


def write_a_little(board):
    """Two chains, destaged; every byte that the host got on the way."""
    world, client = connect(board)
    client.on_commit = world.oracle.commit
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
    board.watch_commits()
    world, client = connect(board)
    client.on_commit = world.oracle.commit
    assert client.geometry == GEOMETRY
    for number in range(3):
        client.write([(0, 4, bytes([number + 1] * 16)), (1, number, bytes([number + 9] * 16))])
        client.wait_settled()
    assert world.oracle.prefix[0] == 3
    assert client.read_image() == board.image(Side.SOURCE) == board.image(Side.TARGET)
    assert any(board.image(Side.TARGET))
    assert board.pages(Side.SOURCE).chains(0) == board.pages(Side.TARGET).chains(0) == 3
    assert board.pages(Side.SOURCE).settled(0)
    assert board.counters(Side.SOURCE)[wire.Counter.CHAINS] == client.counters()["chains"] == 3


def test_a_snapshot_is_taken_in_the_clock_of_the_commit():
    board = NativeBoard(GEOMETRY)
    board.watch_commits()
    _, client = connect(board)
    client.submit([(0, 4, bytes([7] * 16)), (1, 1, bytes([8] * 16))])
    client.destage()
    taken = []
    client.transport._world._look = lambda: taken.extend(board.snapshots())
    client.wait_until(lambda: bool(taken), 1.0)
    one, = taken
    assert (one.source.chains(0), one.target.chains(0), one.source.acked(0)) == (1, 1, 0)
    assert one.image == board.image(Side.TARGET)
    assert one.image.count(7) == one.image.count(8) == 16
    assert one.clock <= board.clock


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
    sessions = wire.LinkCounter.SESSIONS + 32
    before = board.counters(Side.SOURCE)[sessions]
    board.reset(Side.TARGET)
    assert board.links_up(Side.TARGET) == 0
    assert board.contents(name) == kept
    end = board.clock + 100_000
    while board.links_up(Side.SOURCE) != 3 or board.counters(Side.SOURCE)[sessions] == before:
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
