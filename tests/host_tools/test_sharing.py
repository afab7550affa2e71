"""A port that one program holds, and others who look at the board behind it."""

import contextlib
import json
import os
import socket
import threading

import pytest

from firmware_model import wire
from host_tools import sharing
from host_tools.client import Client
from host_tools.errors import BoardError, NoAnswer, PortLost, UsageError
from host_tools.sharing import SharedBoard, socket_path
from tests.host_tools.fakeboard import SMALL


def data(fill):
    return bytes([fill]) * SMALL.track_bytes


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def holder(board):
    """A client that serves its line all the time, in a thread of its own."""
    with Client.open(board.ports.source) as client:
        client.share(board.ports.source, "a workload").note = lambda: "half done"
        stop = threading.Event()
        thread = threading.Thread(
            target=lambda: client.wait_until(stop.is_set))
        thread.start()
        try:
            yield client
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def guest(board, holder):
    with SharedBoard(board.ports.source) as shared:
        yield shared


def test_guest_sees_what_the_holder_sees(board, guest):
    with board.lock:
        board.system.submit([(1, 2, data(3))])
    assert guest.geometry == board.geometry
    assert guest.role is wire.Role.SOURCE
    assert guest.reg("magic") == wire.MAGIC
    assert guest.page(0).chains == 1
    assert guest.read_volume_sets() == [0, 0, 0, 0]
    stats = guest.stats()
    assert stats.counters["chains"] == 1
    assert stats.links_up == [0, 1]
    assert stats.disconnected == 0
    activity = guest.activity()
    assert (activity.program, activity.note) == ("a workload", "half done")
    assert activity.process == os.getpid()


def test_guest_cuts_a_link_and_nothing_else(board, guest):
    guest.link(1).cut()
    assert board.channels[1][wire.Channel.CONTROL] == 3
    with pytest.raises(UsageError, match="only channel emulators"):
        guest.set_reg("poll_interval", 7)
    assert guest.reg("poll_interval") == 1


def test_refusals_of_the_board_reach_the_guest(guest):
    with pytest.raises(BoardError, match="BAD_REGISTER") as error:
        guest.registers(0x700, 1)
    assert error.value.code == wire.Code.BAD_REGISTER
    assert guest.reg("magic") == wire.MAGIC     # and the conversation goes on


@pytest.mark.parametrize("gives_way", [False, True])
def test_holder_keeps_or_gives_up_the_port(board, gives_way):
    port = board.ports.source
    with Client.open(port) as client:
        share = client.share(port, "watch", gives_way=gives_way)
        answers = []
        Guests(port, client).run(lambda shared: answers.append(shared.ask_for_port()))
        assert answers == [gives_way]
        assert share.asked_for is gives_way


class Guests:
    """Uses guests in a thread while this one serves the holder's line."""

    def __init__(self, port, client):
        self.port, self.client = port, client

    def run(self, what):
        errors = []

        def work():
            try:
                with SharedBoard(self.port) as guest:
                    what(guest)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert self.client.wait_until(lambda: not thread.is_alive(), 10)
        if errors:
            raise errors[0]


def test_disconnected_volumes_are_told(board):
    port = board.ports.source
    with Client.open(port) as client:
        client.share(port, "run")
        client.cut_links()
        client.write([(2, 0, data(1))])
        client.submit([(2, 0, data(2))])
        assert client.run_dry(5)
        found = []
        guests = Guests(port, client)
        guests.run(lambda shared: found.append(shared.activity()))
        assert list(found[0].waiting) == [2]
        assert found[0].waiting[2] > 0
        client.cut_links(False)
        client.flush(timeout=10)
        guests.run(lambda shared: found.append(shared.activity()))
        assert found[1].waiting == {}
        assert (found[0].ended, found[1].ended) == (0, 1)
        assert found[1].last[0][:2] == (2, 0)


@pytest.mark.parametrize("nonsense", [
    b"\n", b"no json\n", b"[]\n", b"{}\n", b'{"read": 5}\n', b'{"read": [[0, 99999]]}\n',
    b'{"read": [[0, 0]]}\n', b'{"write": [[0]]}\n', b"\0" * 100_000])
def test_a_guest_that_makes_no_sense_is_sent_away(board, holder, nonsense):
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(str(socket_path(board.ports.source)))
        line.sendall(nonsense)
        with contextlib.suppress(ConnectionResetError):     # it left with nonsense unread
            assert line.recv(100) == b""
    with SharedBoard(board.ports.source) as guest:
        assert guest.reg("magic") == wire.MAGIC


def test_nobody_shares(board):
    with pytest.raises(FileNotFoundError, match="nobody shares"):
        SharedBoard(board.ports.source)
    with Client.open(board.ports.source) as client:
        client.share(board.ports.source, "x")
    assert not socket_path(board.ports.source).exists()


def test_socket_left_by_a_holder_that_was_killed(board):
    path = socket_path(board.ports.source)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(FileNotFoundError):
        SharedBoard(board.ports.source)
    with Client.open(board.ports.source) as client:
        client.share(board.ports.source, "x")
        Guests(board.ports.source, client).run(lambda shared: shared.cycles())


def test_holder_that_ends(board):
    client = Client.open(board.ports.source)
    client.share(board.ports.source, "x")
    guests = Guests(board.ports.source, client)
    kept = []

    def stay(shared):
        kept.append(SharedBoard(board.ports.source))

    guests.run(stay)
    client.close()
    with kept[0] as guest, pytest.raises(PortLost, match="has ended"):
        guest.cycles()


def test_holder_that_is_stopped(board, monkeypatch):
    monkeypatch.setattr(sharing, "GUEST_SECONDS", 0.2)
    with Client.open(board.ports.source) as client:
        client.share(board.ports.source, "x")
        with pytest.raises(NoAnswer, match="is it stopped"):
            SharedBoard(board.ports.source)     # nobody serves the holder's line


def test_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch, board):
    (tmp_path / "farside").symlink_to("/")
    with pytest.raises(OSError, match="not a directory of this user"):
        socket_path("x")
    with Client.open(board.ports.source) as client:
        client.share(board.ports.source, "x")       # not shared, and nothing else goes wrong
        assert client.reg("magic") == wire.MAGIC


def test_requests_are_lines_of_json(board, holder):
    """What the module's text promises to other programs."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(str(socket_path(board.ports.source)))
        line.sendall(json.dumps({"read": [[wire.Reg.MAGIC, 1]]}).encode() + b"\n")
        assert json.loads(line.recv(1000)) == {"values": [[wire.MAGIC]]}
