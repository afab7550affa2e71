"""The harness of the simulated board, with an echo in place of the storage systems."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest
import serial

from firmware_model.geometry import Geometry
from sim.board import SimulatedBoard, SimulationError
from sim.build import BuildError, Spec, build

ECHO = "tests.sim.echo:Echo"
GEOMETRY = Geometry()
DOORS = ("source", "source_socket", "target", "target_socket")


@pytest.fixture
def board():
    with SimulatedBoard(GEOMETRY, top=ECHO) as running:
        yield running


def open_port(board, door, timeout=5.0):
    return serial.serial_for_url(board.ports[door], timeout=timeout)


def some_bytes(count):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed).randbytes(count)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_carries_every_byte(board, door):
    data = bytes(range(256)) + some_bytes(3000)
    with contextlib.closing(open_port(board, door)) as port:
        port.write(data)
        assert port.read(len(data)) == data


def test_two_lines_do_not_hear_each_other(board):
    with contextlib.closing(open_port(board, "source")) as source, \
            contextlib.closing(open_port(board, "target", timeout=0.3)) as target:
        source.write(b"for the source")
        assert source.read(14) == b"for the source"
        assert target.read(1) == b""


def test_whoever_spoke_last_gets_the_answers(board):
    with contextlib.closing(open_port(board, "source")) as pty, \
            contextlib.closing(open_port(board, "source_socket")) as tcp:
        for speaker, silent in ((pty, tcp), (tcp, pty), (pty, tcp)):
            speaker.write(b"hello")
            assert speaker.read(5) == b"hello"
            silent.timeout = 0.1
            assert silent.read(1) == b""
            silent.timeout = 5.0


def test_a_second_tcp_client_is_told_and_closed(board):
    address = ("127.0.0.1", int(board.ports["source_socket"].rpartition(":")[2]))
    with socket.create_connection(address, 5) as first, \
            socket.create_connection(address, 5) as second:
        told = b""
        while piece := second.recv(200):
            told += piece
        assert told == b"farside: the source port has another client\n"
        first.sendall(b"still mine")
        got = b""
        while len(got) < 10:
            got += first.recv(10 - len(got))
        assert got == b"still mine"
    with contextlib.closing(open_port(board, "source_socket")) as third:
        third.write(b"x")
        assert third.read(1) == b"x", "the port is free again after the client has gone"


def test_a_line_serves_one_program_that_locks_it(board):
    """A serial program's lock shuts out TCP clients, and the other way round."""
    address = ("127.0.0.1", int(board.ports["source_socket"].rpartition(":")[2]))
    with contextlib.closing(serial.serial_for_url(board.ports["source"], timeout=5.0,
                                                  exclusive=True)) as pty:
        with socket.create_connection(address, 5) as tcp:
            assert b"another client" in tcp.recv(200)
        pty.write(b"mine")
        assert pty.read(4) == b"mine"
    with socket.create_connection(address, 5) as tcp:
        tcp.sendall(b"x")
        assert tcp.recv(1) == b"x"
        with pytest.raises(serial.SerialException, match="lock"):
            serial.serial_for_url(board.ports["source"], exclusive=True)
    for _ in range(100):
        with contextlib.suppress(serial.SerialException):
            serial.serial_for_url(board.ports["source"], exclusive=True).close()
            break
        time.sleep(0.05)
    else:
        pytest.fail("the lock outlives its client")


class _SmallSocket:
    """A client whose kernel does not hold megabytes for it, in either direction."""

    def __init__(self, url):
        self._socket = socket.socket()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, 1 << 14)
        self._socket.settimeout(20)
        self._socket.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        self.write = self._socket.sendall
        self.close = self._socket.close

    def read(self, count):
        got = b""
        while len(got) < count:
            got += self._socket.recv(count - len(got))
        return got


@pytest.mark.parametrize("door", ["source", "source_socket"])
def test_a_megabyte_that_nobody_reads_back_blocks_nothing(board, door):
    """The writer feels the speed of the line; the lost answers are counted, nothing hangs."""
    data = some_bytes(1 << 20)
    port = _SmallSocket(board.ports[door]) if "socket" in door else open_port(board, door, 20.0)
    with contextlib.closing(port):
        port.write(data)
        with contextlib.closing(open_port(board, "target", 20.0)) as other:
            other.write(b"alive")
            assert other.read(5) == b"alive"
        assert port.read(4096) == data[:4096], "what was kept is the oldest, in order"
    board.stop()
    assert board.statistics["source_overruns"] > 1 << 18
    assert board.statistics["target_overruns"] == 0


def test_writes_larger_than_the_buffers_lose_nothing_when_they_are_read(board):
    data = some_bytes(200_000)
    address = ("127.0.0.1", int(board.ports["target_socket"].rpartition(":")[2]))
    with socket.create_connection(address, 5) as connection:
        connection.setblocking(False)
        sent, got = 0, bytearray()
        deadline = time.monotonic() + 30
        while len(got) < len(data):
            assert time.monotonic() < deadline, f"{len(got)} of {len(data)} bytes came back"
            with contextlib.suppress(BlockingIOError):
                sent += connection.send(data[sent:sent + 4096])
            with contextlib.suppress(BlockingIOError):
                got += connection.recv(65536)
    assert bytes(got) == data


def test_flushing_the_input_forgets_stale_answers(board):
    with contextlib.closing(open_port(board, "source")) as port:
        port.write(b"stale" * 10_000)
        while board.running and port.in_waiting < 4000:
            time.sleep(0.01)
        time.sleep(0.5)
        port.reset_input_buffer()
        time.sleep(0.1)
        port.reset_input_buffer()
        port.write(b"fresh")
        assert port.read(5) == b"fresh"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_in_good_order(board, number):
    time.sleep(0.05)
    os.kill(board.ports["pid"], number)
    assert board.wait(5)
    board.stop()
    assert board.statistics["clocks"] > 0
    assert not board.running


def test_it_ends_when_its_owner_is_killed(tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c",
         "import json, time\n"
         "from firmware_model.geometry import Geometry\n"
         "from sim.board import SimulatedBoard\n"
         f"board = SimulatedBoard(Geometry(), top={ECHO!r}).start()\n"
         "print(json.dumps(board.ports), flush=True)\n"
         "time.sleep(60)\n"], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout:
        pid = json.loads(owner.stdout.readline())["pid"]
        owner.kill()
        owner.wait()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and "(zombie)" not in _status(pid):
        assert time.monotonic() < deadline, "the simulated board outlives its owner"
        time.sleep(0.05)


def _status(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return file.read()
    except OSError:
        return "(zombie)"


def test_max_clocks_and_idle_exit_end_it():
    with SimulatedBoard(GEOMETRY, top=ECHO, max_clocks=12345) as board:
        assert board.wait(20)
    assert board.statistics["clocks"] == 12345
    with SimulatedBoard(GEOMETRY, top=ECHO, idle_exit=0.2) as board:
        assert board.wait(20)


def test_it_naps_when_nobody_is_there():
    with SimulatedBoard(GEOMETRY, top=ECHO) as board:
        time.sleep(4.0)
        used = _cpu_seconds(board.ports["pid"])
        time.sleep(1.0)
        assert _cpu_seconds(board.ports["pid"]) - used < 0.5
        with contextlib.closing(open_port(board, "source")) as port:
            port.write(b"wake up")
            assert port.read(7) == b"wake up"


def _cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_odd_divisors():
    """A line of 7.3 clocks a bit, where the fraction decides where a bit is sampled."""
    geometry = GEOMETRY.replace(clock_hz=7_300_000, host_baud=1_000_000, link_baud=1_000_000)
    data = some_bytes(2000)
    with SimulatedBoard(geometry, top=ECHO) as board, \
            contextlib.closing(open_port(board, "source")) as port:
        port.write(data)
        assert port.read(len(data)) == data
        assert board.ports["clock_hz"] == 7_300_000


def test_start_twice_and_stop_twice(board):
    with pytest.raises(SimulationError, match="already running"):
        board.start()
    board.stop()
    board.stop()


def test_kill_is_a_power_cut(board):
    board.kill()
    assert not board.running
    board.stop()
    assert board.statistics == {}


@pytest.mark.parametrize(("arguments", "message"), [
    (["--speed", "3"], "unknown option --speed"),
    (["--seed", "x"], "option --seed: 'x' is no number"),
    (["--seed", "-1"], "option --seed: '-1' is no number"),
    (["--seed"], "option --seed needs a value"),
    (["--waves", "/tmp/never.vcd"], "this model was built without waveforms"),
])
def test_bad_options_of_the_harness(arguments, message):
    made = build(Spec(GEOMETRY, top=ECHO))
    process = subprocess.run([made.executable, *arguments], capture_output=True, text=True,
                             timeout=20, check=False)
    assert (process.returncode, process.stderr) == (1, f"error: {message}\n")


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"seed": -1}, SimulationError, "seed -1 is outside"),
    ({"delay": 10.0}, ValueError, "delay 10000 ms is outside"),
    ({"ber": 0.5}, ValueError, "bit error rate 0.5 is outside"),
    ({"loss": 1.5}, ValueError, "frame loss 1.5 is outside"),
    ({"waves": "x.txt"}, SimulationError, r"waveform file x.txt must end in .vcd or .fst"),
    ({"waves": "/nowhere/x.vcd"}, SimulationError, "there is no directory /nowhere"),
])
def test_bad_options_of_the_class(options, error, message):
    with pytest.raises(error, match=message):
        SimulatedBoard(GEOMETRY, top=ECHO, **options).start()


def test_a_start_that_fails_says_why(monkeypatch, tmp_path):
    board = SimulatedBoard(GEOMETRY, top=ECHO)
    broken = tmp_path / "board"
    broken.write_text("#!/bin/sh\necho error: no such luck >&2\nexit 1\n")
    broken.chmod(0o755)
    made = board.build()
    monkeypatch.setattr(board, "build",
                        lambda: type(made)(broken, made.verilog, made.signals, True))
    with pytest.raises(SimulationError, match="did not start: no such luck"):
        board.start()


def test_build_errors_are_not_hidden(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="install the Debian package g"):
        SimulatedBoard(GEOMETRY, top=ECHO).start()
