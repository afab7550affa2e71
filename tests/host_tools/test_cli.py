"""The command: what it prints, and one line and an exit code for every bad input."""

import contextlib
import errno
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest
import serial

from firmware_model import channel, wire
from firmware_model.geometry import Geometry
from host_tools import cli, transport
from host_tools.client import Client
from host_tools.commands import board as board_command
from host_tools.errors import Exit
from host_tools.transport import SerialTransport
from tests.host_tools.fakeboard import SMALL, FakeBoard


@pytest.fixture
def farside(capfd):
    """Runs the command: (exit code, stdout, stderr)."""
    def run(*arguments):
        code = cli.main([str(a) for a in arguments])
        text, errors = capfd.readouterr()
        return code, text, errors

    return run


@pytest.fixture
def refused(farside):
    """Runs the command and expects one line on stderr, nothing on stdout."""
    def run(code, words, *arguments):
        got, text, errors = farside(*arguments)
        assert got == code, errors
        assert text == ""
        lines = errors.strip().splitlines()
        assert len(lines) == 1, errors
        assert lines[0].startswith("farside: ")
        for word in [words] if isinstance(words, str) else words:
            assert word in lines[0]
        return lines[0]

    return run


@pytest.fixture
def track_file(tmp_path):
    path = tmp_path / "track.bin"
    path.write_bytes(bytes(range(256)) * 2)
    return path


# -- what works ---------------------------------------------------------------------------------


def test_info(board, farside):
    code, text, _ = farside("info", board.ports.source)
    assert code == 0
    assert "source at" in text
    assert "4 volumes of 32 tracks of 512 bytes" in text
    code, text, _ = farside("info", board.ports.target, "--json")
    values = json.loads(text)
    assert values["role"] == "target"
    assert values["fingerprint"] == SMALL.fingerprint
    assert values["links_up"] == [0, 1]


def test_write_read_dump(board, farside, track_file, tmp_path):
    code, text, _ = farside("write", board.ports.source, "1:2", track_file)
    assert code == 0
    assert "1 track committed to 1:2 as chain 1 of set 0" in text
    back = tmp_path / "back.bin"
    assert farside("read", board.ports.source, "1:2", back)[0] == 0
    assert back.read_bytes() == track_file.read_bytes()
    image = tmp_path / "image.bin"
    image.write_text("old")
    code, text, _ = farside("dump", board.ports.source, image)
    assert code == 0
    assert "image of the source" in text
    code, text, _ = farside("dump", board.ports.source, image, "--json")
    assert json.loads(text)["bytes"] == SMALL.image_bytes
    at = (32 + 2) * 512
    assert image.read_bytes()[at:at + 512] == track_file.read_bytes()
    assert image.stat().st_size == SMALL.image_bytes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.bin", "image.bin", "track.bin"]


def test_write_of_several_chains_says_so(farside, tmp_path):
    path = tmp_path / "long.bin"
    path.write_bytes(os.urandom(10 * 512))
    geometry = SMALL.replace(chain_limit=4)
    with FakeBoard(geometry) as board:
        _, text, _ = farside("write", board.ports.source, "0:0", path)
        assert "as chain 1 to 3: 3 chains" in text
        _, text, _ = farside("write", board.ports.source, "0:16", path, "--json")
        assert json.loads(text) == {"set": 0, "tracks": 10, "chains": [4, 5, 6]}
        back = tmp_path / "back.bin"
        farside("read", board.ports.source, "0:16+10", back)
        assert back.read_bytes() == path.read_bytes()


def test_sets(board, farside):
    code, text, _ = farside("sets", board.ports.source, "--assign", "1=2,3", "--assign", "2=0")
    assert code == 0
    assert "set 1: 0 chains committed" in text
    code, text, _ = farside("sets", board.ports.source, "--json")
    assert [row["volumes"] for row in json.loads(text)["sets"]] == [[1], [2, 3], [0], []]
    assert farside("sets", board.ports.target)[0] == 0


def test_sets_that_would_overflow_change_nothing(refused):
    with FakeBoard(SMALL.replace(volumes_per_set=2, sets=4)) as board:
        refused(Exit.USAGE, "set 1 cannot have more than 2 volumes",
                "sets", board.ports.source, "--assign", "2=0", "--assign", "1=1")
        assert [v.set for v in board.system.source.volumes] == [0, 0, 1, 1]


def test_stats(board, farside, track_file):
    farside("write", board.ports.source, "0:0", track_file)
    code, text, _ = farside("stats", board.ports.source, "--json")
    assert code == 0
    values = json.loads(text)
    assert values["counters"]["chains"] == 1
    assert len(values["links"]) == 2
    assert values["sets"][0]["chains"] == 1
    _, text, _ = farside("stats", board.ports.source)
    assert "frames_sent" in text
    assert "link 1" in text


def test_link(board, farside):
    code, text, _ = farside("link", board.ports.source, 1, "--cut", "--delay", "20ms", "--ber",
                            "1e-6", "--loss", "1%", "--json")
    assert code == 0
    values = json.loads(text)
    assert values["control"] == 3
    assert values["delay"] > 0
    code, text, _ = farside("link", board.ports.source, 1, "--restore")
    assert "link 1: whole" in text
    assert "delay: 20 ms" in text


def test_link_has_every_fault(board, farside):
    port = board.ports.source
    code, text, _ = farside(
        "link", port, 0, "--skew", "-2.5%", "--burst", "1e-3", "--burst-bytes", 20, "--byte-loss",
        "0.1%", "--byte-insert", "2%", "--repeat", "5%", "--flap", "200ms", "--flap-down", "50ms",
        "--seed", 77, "--json")
    assert code == 0
    values = json.loads(text)
    divisor = SMALL.divisor(SMALL.link_baud)
    assert values["skew"] == round(-0.025 * divisor) & 0xFFFFFFFF
    chances = {"burst": 1e-3, "byte_loss": 1e-3, "byte_insert": 0.02, "frame_repeat": 0.05}
    for name, chance in chances.items():
        assert values[name] == pytest.approx(chance * 2**32, rel=1e-6)
    assert (values["burst_bytes"], values["seed"]) == (20, 77)
    assert values["flap_up"] == pytest.approx(3 * values["flap_down"], abs=2)
    code, text, _ = farside("link", port, 0)
    assert code == 0
    for line in ("skew: -2.5", "flap: 150 ms whole, 50", "burst: 0.001 of bytes, 20 bytes",
                 "byte loss: 0.001", "byte insert: 0.02", "frame repeat: 0.05 of frames",
                 "0 frames lost"):
        assert line in text
    code, text, _ = farside("link", port, 0, "--clear", "--json")
    values = json.loads(text)
    assert values["directions"] == channel.ALL_DIRECTIONS
    assert not any(values[name] for name in (*chances, "skew", "flap_up", "flap_down"))


def test_link_in_one_direction(board, farside):
    port = board.ports.source
    farside("link", port, 0, "--stuck", "low", "--towards", "source")
    code, text, _ = farside("link", port, 0, "--cut", "--loss", "10%", "--towards", "target",
                            "--json")
    values = json.loads(text)
    assert (code, values["control"]) == (0, 0b001001)
    assert values["directions"] == channel.ALL_DIRECTIONS & ~0b10
    _, text, _ = farside("link", port, 0)
    assert "cut towards the target, stuck low towards the source" in text
    assert "frame loss: 0.1 of frames towards the target" in text
    farside("link", port, 0, "--restore", "--towards", "source")
    _, text, _ = farside("link", port, 0, "--stuck", "high", "--json")
    assert json.loads(text)["control"] == 0b110001


def test_watch(board, farside):
    source, target = board.ports.source, board.ports.target
    code, text, _ = farside("watch", source, target, "--json", "--samples", 2, "--interval",
                            "50ms")
    assert code == 0
    for line in text.splitlines():
        values = json.loads(line)
        assert values["source"]["port"] == source
        assert [link["up"] for link in values["target"]["links"]] == [True, True]
    assert len(text.splitlines()) == 2
    code, text, _ = farside("watch", source, "--samples", 1, "--interval", "50ms")
    assert code == 0
    assert "source: links up; 0.0 chains/s" in text


def begin_resynchronisation(board):
    """The source loses its memory; the resynchronisation begins and gets nowhere."""
    with board.lock:
        board.pace = 0
        board.system.submit([(0, 0, bytes(512))])
        board.system.run()
        board.system.restart_source(warm=False)
        while not board.system.target.pages[0].inconsistent:
            board.system.step(board.system.enabled_events()[0])


@pytest.mark.requirement("R22")
def test_target_that_is_being_resynchronised(board, farside, refused, tmp_path):
    target, out = board.ports.target, tmp_path / "out"
    begin_resynchronisation(board)
    _, text, _ = farside("info", target)
    assert "set 0: inconsistent" in text
    assert json.loads(farside("info", board.ports.source, "--json")[1])["resynchronising"] == [0]
    refused(Exit.DEVICE, ["set 0", "resynchronised", "--force"], "dump", target, out)
    assert not out.exists()
    assert farside("dump", target, out, "--force")[0] == 0
    code, text, errors = farside("read", target, "0:0", out)
    assert code == 0
    assert "resynchronisation has not finished" in errors
    assert json.loads(farside("read", target, "0:0", out, "--json")[1])["inconsistent"] is True



@pytest.mark.requirement("R22")
def test_check_of_a_target_that_is_being_resynchronised(board, farside, refused, tmp_path):
    log, target = tmp_path / "h.log", board.ports.target
    run_and_check(farside, board, "random", log)
    begin_resynchronisation(board)
    refused(Exit.DEVICE, ["set 0", "resynchronised", "--force"], "check", "--history", log,
            "--target", target)
    code, text, _ = farside("check", "--history", log, "--target", target, "--force")
    assert code in (Exit.OK, Exit.FAILED), "whatever the image happens to be"
    assert "set 0 is being resynchronised: no prefix is expected" in " ".join(text.split())
    text = farside("check", "--history", log, "--target", target, "--force", "--json")[1]
    assert json.loads(text)["resynchronising"] == [0]


def run_and_check(farside, board, workload, log):
    code, text, _ = farside("run", workload, "--source", board.ports.source, "--history", log,
                            "--chains", 40, "--seed", 5, "--settle", "--json")
    assert code == 0
    return json.loads(text)


def test_run_and_check(board, farside, tmp_path):
    log, image = tmp_path / "history.log", tmp_path / "image.bin"
    values = run_and_check(farside, board, "hot", log)
    assert values["chains"] == 40
    assert values["acknowledged"] == {"0": 40}
    assert values["disconnects"]["count"] > 0
    code, text, _ = farside("check", "--history", log, "--target", board.ports.target)
    assert code == 0
    assert "exactly all 40 chains" in text
    farside("dump", board.ports.target, image)
    code, text, _ = farside("check", "--history", log, "--image", image, "--json")
    assert code == 0
    assert json.loads(text)["sets"][0]["prefix"] == 40


def test_check_finds_a_wrong_track(board, farside, tmp_path):
    log, image = tmp_path / "history.log", tmp_path / "image.bin"
    run_and_check(farside, board, "random", log)
    farside("dump", board.ports.target, image)
    data = bytearray(image.read_bytes())
    data[700] ^= 1
    image.write_bytes(data)
    code, text, _ = farside("check", "--history", log, "--image", image)
    assert code == Exit.FAILED
    assert "no prefix" in text
    assert "track 0:1" in text
    code, text, _ = farside("check", "--history", log, "--image", image, "--json")
    assert code == Exit.FAILED
    assert json.loads(text)["consistent"] is False


def test_check_finds_an_image_older_than_acknowledged(board, farside, tmp_path):
    log, image = tmp_path / "history.log", tmp_path / "image.bin"
    run_and_check(farside, board, "random", log)
    image.write_bytes(bytes(SMALL.image_bytes))
    code, text, _ = farside("check", "--history", log, "--image", image)
    assert code == Exit.FAILED
    assert "too old" in text


def test_run_without_a_terminal_prints_a_summary(board, farside, tmp_path):
    code, text, errors = farside("run", "bank", "--source", board.ports.source, "--history",
                                 tmp_path / "h.log", "--chains", 20)
    assert code == 0
    assert text.startswith("20 chains")
    assert errors == ""


def test_compare(farside):
    code, text, _ = farside("compare", "--json")
    assert code == 0
    outcomes = {o["policy"]: o for o in json.loads(text)["outcomes"]}
    assert len(outcomes) == 3
    assert [o["consistent"] for o in outcomes.values()].count(False) == 1
    assert "chain" in farside("compare")[1]


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)])
def test_help(farside, command):
    code, text, _ = farside(*command, "--help")
    assert code == 0
    assert "Usage: farside" in text
    if not command:
        assert "130 interrupted" in text
        for name in cli.COMMANDS:
            assert f"\n  {name}" in text


def test_help_is_quick():
    """Help imports neither Amaranth nor SQLite nor rich."""
    code = ("import sys; from host_tools.cli import main; main(['--help']); "
            "print([m for m in ('amaranth', 'apsw', 'rich', 'serial') if m in sys.modules])")
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert text.stdout.strip().endswith("[]")


class StandIn(FakeBoard):
    """Looks like ``sim.board.SimulatedBoard``."""

    def __init__(self, geometry, **options):
        super().__init__(geometry)
        self.options = options
        self.log = ""

    @property
    def ports(self):
        found = super().ports
        return {name: getattr(found, name) for name in found.__dataclass_fields__}


@pytest.fixture
def stand_in(monkeypatch):
    @contextlib.contextmanager
    def start(geometry, **options):
        with StandIn(geometry, **options) as running:
            yield running

    monkeypatch.setattr(board_command, "start_board", start)
    from host_tools.commands import demo

    monkeypatch.setattr(demo, "start_board", start)


def test_demo(stand_in, farside, tmp_path):
    code, text, errors = farside("demo", "--json", "--chains", 40, "--keep", tmp_path)
    assert code == 0, errors
    values = json.loads(text)
    assert values["ok"]
    for name in ("chains", "prefix", "lag", "disconnects", "integrity", "clock_rate_hz"):
        assert name in values
    code, text, _ = farside("check", "--history", tmp_path / "history.log", "--image",
                            tmp_path / "target.img", "--json")
    assert json.loads(text)["sets"][0]["prefix"] == values["prefix"]["0"]


def test_demo_for_people(stand_in, farside):
    code, text, errors = farside("demo", "--chains", 40)
    assert code == 0, errors
    assert "byte-identical" in text
    assert "exactly chains 1 to" in " ".join(text.split())
    assert "writing bank transactions" in errors


# -- bad input ----------------------------------------------------------------------------------

PORT_COMMANDS = {
    "info": ["info", "PORT"],
    "sets": ["sets", "PORT"],
    "assign": ["sets", "PORT", "--assign", "1=0"],
    "stats": ["stats", "PORT"],
    "watch": ["watch", "PORT"],
    "link": ["link", "PORT", "0", "--cut"],
    "write": ["write", "PORT", "0:0", "TRACK"],
    "read": ["read", "PORT", "0:0", "OUT"],
    "dump": ["dump", "PORT", "OUT"],
    "run": ["run", "random", "--source", "PORT", "--history", "OUT"],
    "check": ["check", "--history", "HISTORY", "--target", "PORT"],
}


@pytest.fixture
def with_port(track_file, tmp_path):
    """Arguments of a command with files that exist."""
    from firmware_model import logwrites

    log = tmp_path / "good.log"
    logwrites.HistoryWriter(log, SMALL).close()
    names = {"TRACK": track_file, "OUT": tmp_path / "out", "HISTORY": log}
    yield lambda name, port: [names.get(a, port if a == "PORT" else a)
                              for a in PORT_COMMANDS[name]]
    assert not (tmp_path / "out").exists()      # nothing was changed


@pytest.mark.parametrize("name", PORT_COMMANDS)
def test_missing_port(refused, with_port, name):
    refused(Exit.DEVICE, "/dev/no-such-port", *with_port(name, "/dev/no-such-port"))


@pytest.mark.parametrize("name", PORT_COMMANDS)
def test_busy_port(board, refused, with_port, name):
    held = SerialTransport(board.ports.source)
    refused(Exit.DEVICE, [board.ports.source, "in use"], *with_port(name, board.ports.source))
    held.close()


@pytest.mark.parametrize("name", PORT_COMMANDS)
def test_no_permission(refused, with_port, monkeypatch, name):
    def refuse(*_, **__):
        raise serial.SerialException(errno.EACCES, "could not open port")

    monkeypatch.setattr(transport.serial, "serial_for_url", refuse)
    refused(Exit.DEVICE, ["/dev/ttyUSB7", "join the group"], *with_port(name, "/dev/ttyUSB7"))


@pytest.mark.parametrize("name", PORT_COMMANDS)
def test_port_that_is_a_file(refused, with_port, track_file, name):
    before = track_file.read_bytes()
    refused(Exit.DEVICE, [str(track_file), "not a serial port"],
            *with_port(name, str(track_file)))
    assert track_file.read_bytes() == before


@pytest.mark.parametrize("name", PORT_COMMANDS)
def test_port_that_is_no_board(refused, with_port, monkeypatch, name):
    from host_tools.client import Client

    monkeypatch.setitem(Client.__init__.__kwdefaults__, "hello_timeout", 0.1)
    master, slave = pty.openpty()
    try:
        refused(Exit.DEVICE, [os.ttyname(slave), "does not answer like a Farside board"],
                *with_port(name, os.ttyname(slave)))
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("name", PORT_COMMANDS)
def test_wrong_protocol_version(refused, with_port, name):
    with FakeBoard(version=7) as board:
        refused(Exit.DEVICE, ["version 7", f"version {wire.PROTOCOL_VERSION}", "git pull"],
                *with_port(name, board.ports.source))


def test_second_client_of_a_simulated_board(refused):
    """The board's listener says so and hangs up: that is a busy port, not one that went away."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def refuse():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"farside: the source port has another client\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        port = f"socket://127.0.0.1:{server.getsockname()[1]}"
        refused(Exit.DEVICE, [port, "in use"], "info", port)
        thread.join()


@pytest.mark.parametrize(("port", "words"), [
    ("", "empty"), ("socket://127.0.0.1", "socket://HOST:NUMBER"),
    ("socket://127.0.0.1:99999", "socket://HOST:NUMBER"), ("socket://:5", "socket://HOST:NUMBER")])
def test_names_that_are_no_port(refused, port, words):
    refused(Exit.DEVICE, [port, words], "info", port)


@pytest.fixture
def holder(board, tmp_path, monkeypatch):
    """A program that holds the source's port and shares it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with Client.open(board.ports.source) as client:
        share = client.share(board.ports.source, "farside run")
        stop = threading.Event()
        thread = threading.Thread(target=lambda: client.wait_until(
            lambda: stop.is_set() or share.asked_for))
        thread.start()
        yield share
        stop.set()
        thread.join()


def test_looking_beside_another_program(board, holder, farside):
    port = board.ports.source
    for command in ("info", "sets", "stats"):
        code, text, errors = farside(command, port, "--json")
        assert code == 0, errors
        assert json.loads(text)["port"] == port
    code, text, errors = farside("link", port, 1, "--cut", "--json")
    assert code == 0, errors
    assert board.channels[1][wire.Channel.CONTROL] == 3


@pytest.mark.parametrize("name", ["assign", "write", "read", "dump", "run"])
def test_port_of_another_program_names_it(board, holder, refused, with_port, name):
    refused(Exit.DEVICE, [board.ports.source, "in use by `farside run`", str(os.getpid())],
            *with_port(name, board.ports.source))


def test_nobody_at_the_socket(refused):
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    refused(Exit.DEVICE, "farside board", "info", f"socket://127.0.0.1:{number}")


@pytest.mark.parametrize(("arguments", "words"), [
    (["write", "SOURCE", "4:0", "TRACK"], "volume 4 is outside 0..3"),
    (["write", "SOURCE", "0:32", "TRACK"], "track 32 is outside 0..31"),
    (["write", "SOURCE", "0:31", "LONG"], ["2 tracks", "only 1 from track 31"]),
    (["write", "SOURCE", "0:0", "ODD"], ["700 bytes", "a track has 512", "1024"]),
    (["write", "SOURCE", "0:0", "EMPTY"], ["0 bytes", "pad it to 512"]),
    (["read", "SOURCE", "4:0", "OUT"], "volume 4 is outside 0..3"),
    (["read", "SOURCE", "0:30+3", "OUT"], "ends at track 31"),
    (["sets", "SOURCE", "--assign", "4=0"], "set 4 is outside 0..3"),
    (["sets", "SOURCE", "--assign", "1=4"], "volume 4 is outside 0..3"),
    (["sets", "SOURCE", "--assign", "1=2,2"], "volume 2 is assigned twice"),
    (["sets", "SOURCE", "--assign", "1=2", "--assign", "9=1"], "set 9"),
    (["link", "SOURCE", "2", "--cut"], "link 2 is outside 0..1"),
    (["link", "SOURCE", "0", "--delay", "10s"], "delay 10000 ms is outside"),
    (["link", "SOURCE", "0", "--ber", "0.5"], "bit error rate 0.5 is outside"),
    (["link", "SOURCE", "0", "--cut", "--restore"], "--cut and --restore contradict"),
    (["link", "SOURCE", "0", "--stuck", "low", "--restore"], "--stuck and --restore contradict"),
    (["link", "SOURCE", "0", "--skew", "4%"], "baud offset 4 % is outside -3..3 %"),
    (["link", "SOURCE", "0", "--burst", "1%", "--burst-bytes", "300"],
     "burst of 300 bytes is outside 1..255"),
    (["link", "SOURCE", "0", "--burst-bytes", "3"], "give it too"),
    (["link", "SOURCE", "0", "--byte-insert", "20%"],
     "share of inserted bytes 0.2 is outside 0..0.1"),
    (["link", "SOURCE", "0", "--flap", "1us"], "of flapping is outside"),
    (["link", "SOURCE", "0", "--flap", "10ms", "--flap-down", "10ms"],
     "cannot be cut for 10 ms of every 10 ms"),
    (["link", "SOURCE", "0", "--flap-down", "10ms"], "give --flap too"),
    (["link", "SOURCE", "0", "--seed", "-1"], "seed -1 is outside 0..4294967295"),
])
def test_values_outside_the_board(board, refused, track_file, tmp_path, arguments, words):
    untouched = [dict(channel) for channel in board.channels]
    files = {"TRACK": track_file.read_bytes(), "LONG": bytes(1024), "ODD": bytes(700),
             "EMPTY": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = {"SOURCE": board.ports.source, "OUT": tmp_path / "out",
             **{name: tmp_path / name for name in files}}
    refused(Exit.USAGE, words, *(names.get(a, a) for a in arguments))
    assert not (tmp_path / "out").exists()
    assert board.system.source.pages[0].chains == 0
    assert [v.set for v in board.system.source.volumes] == [0, 0, 0, 0]
    assert board.channels == untouched


@pytest.mark.parametrize(("arguments", "words"), [
    (["link", "x", "0", "--delay", "20"], ["'20' is not a time", "20ms"]),
    (["link", "x", "0", "--ber", "often"], ["'often' is not a chance", "1e-6"]),
    (["link", "x", "0", "--skew", "fast"], ["'fast' is not a share", "-2%"]),
    (["link", "x", "zero", "--cut"], "zero"),
    (["info", "x", "--baud", "fast"], ["'fast' is not a line rate", "1Mbaud"]),
    (["write", "x", "nowhere", "file"], ["'nowhere' is not a place", "VOLUME:TRACK"]),
    (["read", "x", "0:0+0", "file"], "at least 1"),
    (["sets", "x", "--assign", "many"], ["'many' is not an assignment", "1=2,3"]),
    (["run", "sleep", "--source", "x", "--history", "y"], ["sleep", "zipf"]),
    (["run", "bank", "--source", "x", "--history", "y", "--chains", "0"], "0"),
    (["run", "bank", "--source", "x"], "--history"),
    (["board", "--delay", "soon"], "'soon' is not a time"),
    (["board", "--links", "9"], "links 9 is outside 1..8"),
    (["board", "--track-bytes", "500"], "track_bytes 500 is not a power of two"),
    (["board", "--volumes", "200"], "volumes 200"),
    (["board", "--link-baud", "100Mbaud"], "link_baud 100000000"),
    (["board", "--seed", "-1"], "seed -1"),
    (["board", "--waves", "/no/such/dir/x.vcd"], "/no/such/dir"),
    (["board", "--waves", "/tmp/x.txt"], ["/tmp/x.txt", ".vcd or .fst"]),
    (["board", "--waves", "/tmp/x.vcd", "--waves-window", "9:3"], ["'9:3'", "FIRST:LAST"]),
    (["board", "--waves-window", "1:3"], "needs --waves"),
    (["demo", "--waves", "/tmp/x.txt"], ["/tmp/x.txt", ".vcd or .fst"]),
    (["demo", "--chains", "2"], "2"),
    (["demo", "--keep", "/no/such/dir"], "/no/such/dir is no directory"),
    (["compare", "--chains", "-1"], "-1"),
    (["nonsense"], "nonsense"),
    (["info", "--nonsense", "x"], "--nonsense"),
    (["info"], "PORT"),
    (["watch"], "SOURCE"),
    (["watch", "x", "x"], "the source's port"),
    (["watch", "x", "--interval", "1ms"], ["1 ms", "at least 50 ms"]),
    (["watch", "x", "--samples", "0"], "0"),
    (["check", "--history", "x"], "--image FILE or --target PORT"),
    (["check", "--history", "x", "--image", "y", "--target", "z"], "either"),
])
def test_usage(refused, arguments, words):
    refused(Exit.USAGE, words, *arguments)


def test_files_that_cannot_be_read(board, refused, tmp_path):
    none = tmp_path / "none"
    refused(Exit.USAGE, [str(none), "No such file"], "write", board.ports.source, "0:0", none)
    refused(Exit.USAGE, [str(tmp_path), "directory"], "write", board.ports.source, "0:0",
            tmp_path)
    refused(Exit.USAGE, [str(none), "No such file"], "check", "--history", none, "--image", none)


def test_files_that_cannot_be_written(board, refused, tmp_path):
    for path in (tmp_path, tmp_path / "no" / "file"):
        for arguments in (["read", board.ports.source, "0:0", path],
                          ["dump", board.ports.source, path],
                          ["run", "hot", "--source", board.ports.source, "--history", path]):
            refused(Exit.USAGE, ["cannot write", str(path)], *arguments)
    assert list(tmp_path.iterdir()) == []


def test_devices_and_links_are_not_replaced(board, farside, refused, tmp_path):
    """What is written to a device or a link goes there; neither becomes a file."""
    pipe, link, real = tmp_path / "pipe", tmp_path / "link", tmp_path / "real"
    os.mkfifo(pipe)
    link.symlink_to(real)
    with open(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0) as reader:
        assert farside("read", board.ports.source, "0:0+2", pipe)[0] == 0
        assert reader.read(4096) == bytes(1024)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert farside("dump", board.ports.source, link)[0] == 0
    assert link.is_symlink()
    assert real.stat().st_size == SMALL.image_bytes
    for arguments in (["dump", board.ports.source, board.ports.target],
                      ["run", "hot", "--source", board.ports.source, "--history", pipe],
                      ["run", "hot", "--source", board.ports.source, "--history",
                       board.ports.target]):
        refused(Exit.USAGE, "name a file", *arguments)


def test_malformed_history(refused, tmp_path):
    bad = tmp_path / "bad.log"
    bad.write_bytes(b"nothing of the kind" * 100)
    refused(Exit.USAGE, [str(bad), "not a dm-log-writes file"],
            "check", "--history", bad, "--image", bad)


def test_image_of_the_wrong_size(refused, tmp_path):
    from firmware_model import logwrites

    log, image = tmp_path / "h.log", tmp_path / "image"
    logwrites.HistoryWriter(log, SMALL).close()
    image.write_bytes(b"short")
    refused(Exit.USAGE, [str(image), "5 bytes", "65536"],
            "check", "--history", log, "--image", image)


def test_history_of_another_board(board, refused, tmp_path):
    from firmware_model import logwrites

    log = tmp_path / "h.log"
    logwrites.HistoryWriter(log, Geometry()).close()
    refused(Exit.USAGE, "another size", "check", "--history", log, "--target",
            board.ports.target)


def test_wrong_role(board, refused, track_file, tmp_path):
    target, out = board.ports.target, tmp_path / "out"
    for arguments in (["write", target, "0:0", track_file], ["sets", target, "--assign", "1=0"],
                      ["run", "hot", "--source", target, "--history", out]):
        refused(Exit.DEVICE, ["is a target", "needs the source"], *arguments)
    assert not out.exists()


def test_write_that_cannot_finish(board, refused, farside, track_file):
    for link in range(2):
        farside("link", board.ports.source, link, "--cut")
    farside("write", board.ports.source, "0:0", track_file)
    refused(Exit.DEVICE, "are the links up", "write", board.ports.source, "0:0", track_file,
            "--wait", "200ms")


@pytest.mark.parametrize("workload", ["random", "bank"])
def test_interrupted_run_leaves_a_whole_history(board, tmp_path, workload):
    log = tmp_path / "history.log"
    process = subprocess.Popen(
        [sys.executable, "-m", "host_tools", "run", workload, "--source",
         board.ports.source_socket, "--history", log, "--chains", "1000000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 20
    while time.monotonic() < end and not (log.exists() and log.stat().st_size > 100_000):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPT, errors
    assert "Traceback" not in errors
    from host_tools import history

    loaded = history.load(str(log))
    assert loaded.chains(0) == board.system.history.chains(0)
    assert f"{loaded.committed(0)} chains" in text


def test_build_failures_are_one_line(refused, monkeypatch):
    from sim import board as simulated

    def refuse(*_, **__):
        raise simulated.BuildError("no C++ compiler: install g++")

    monkeypatch.setattr(simulated, "SimulatedBoard", refuse)
    refused(Exit.BUILD, "no C++ compiler: install g++", "board")


def test_simulation_failures_are_one_line(refused, monkeypatch):
    from sim import board as simulated

    def refuse(*_, **__):
        raise simulated.SimulationError("the simulated board did not start: no pty")

    monkeypatch.setattr(simulated, "SimulatedBoard", refuse)
    refused(Exit.ENVIRONMENT, "no pty", "board")
