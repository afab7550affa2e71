"""The host tools on the gateware: the simulated board, its ports, and its links cut forty times.

The boards are built once and kept (see ``sim.build``); every wait in here ends by itself, since
the library gives up on a board that makes no progress.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from firmware_model import wire
from host_tools import cli
from host_tools.campaign import campaign
from host_tools.client import Client
from host_tools.errors import Exit, PortLost
from host_tools.linkpeer import LinkPeer
from host_tools.transport import SerialTransport
from sim.board import SimulatedBoard
from tests.geometries import BOARD

CUTS = 20
CHAINS = 100
STOP_SECONDS = 30


@pytest.fixture(scope="module")
def board_process():
    """``farside board`` as a user starts it: its ports, and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "host_tools", "board", "--tracks-per-volume", "16", "--delay",
         "2ms", "--ber", "1e-6"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A test run in the background ignores interrupts, and so would the board.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    line = process.stdout.readline()
    try:
        yield json.loads(line), process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=STOP_SECONDS)


def wait_for_links(port):
    """Wait until both links have a session."""
    with Client.open(port) as client:
        for _ in range(1000):
            if client.reg("links_up") == 3:
                return
            client.idle(0.05)
    pytest.fail("the links never came up")


@pytest.fixture(scope="module")
def ports(board_process):
    wait_for_links(board_process[0]["source"])
    wait_for_links(board_process[0]["target"])
    return board_process[0]


@pytest.fixture
def farside(capfd):
    def run(*arguments, code=0):
        got = cli.main([str(a) for a in arguments])
        text, errors = capfd.readouterr()
        assert got == code, text + errors
        return text if code == 0 else errors

    return run


@pytest.mark.parametrize("kind", ["", "_socket"])
@pytest.mark.parametrize("role", ["source", "target"])
def test_info(ports, farside, role, kind):
    values = json.loads(farside("info", ports[role + kind], "--json"))
    assert values["role"] == role
    assert values["fingerprint"] == BOARD.fingerprint
    assert values["links_up"] == [0, 1]


@pytest.mark.requirement("R01", "R17")
def test_commands_end_to_end(ports, farside, tmp_path):
    source, target = ports["source"], ports["target"]
    log, image, track = tmp_path / "h.log", tmp_path / "image.bin", tmp_path / "track.bin"
    track.write_bytes(random.Random(1).randbytes(1024))
    assert "2 tracks committed to 3:14" in farside("write", source, "3:14", track)
    farside("read", source, "3:14+2", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == track.read_bytes()
    farside("sets", source, "--assign", "1=2,3")
    values = json.loads(farside("run", "hot", "--source", source, "--history", log, "--chains",
                                25, "--settle", "--json"))
    assert values["chains"] == 25
    assert values["disconnects"]["count"] > 0
    assert values["disconnects"]["median_ms"] > 4       # there and back through 2 ms of delay
    farside("dump", target, image)
    assert image.read_bytes()[(3 * 16 + 14) * 512:] != bytes(1024)
    verdict = json.loads(farside("check", "--history", log, "--image", image, "--json"))
    assert [s["lag_chains"] for s in verdict["sets"]] == [0, 0, 0, 0]
    assert "exactly all" in farside("check", "--history", log, "--target", target)
    counters = json.loads(farside("stats", source, "--json"))["counters"]
    assert counters["chains"] == 26
    assert counters["collisions"] > 0
    farside("write", source, "4:0", track, code=Exit.USAGE)
    farside("write", target, "0:0", track, code=Exit.DEVICE)


def test_links_go_down_and_come_up(ports, farside):
    farside("link", ports["source"], 1, "--cut")
    with Client.open(ports["source"]) as source:
        source.write([(0, 0, bytes(512))])
        source.wait_settled()           # the other link is enough
    farside("link", ports["source"], 1, "--restore")
    wait_for_links(ports["source"])


@pytest.mark.requirement("R19")
def test_both_ends_say_that_an_idle_link_is_cut(ports, farside):
    farside("link", ports["source"], 1, "--cut")
    for port in (ports["source"], ports["target"]):
        end = time.monotonic() + 30
        while json.loads(farside("stats", port, "--json"))["links_up"] != [0]:
            assert time.monotonic() < end, "the cut is not noticed"
        assert "link 1 (down)" in " ".join(farside("stats", port).split())
    farside("link", ports["source"], 1, "--restore")
    wait_for_links(ports["source"])


def test_a_line_serves_one_program(ports, farside):
    for held, other in (("source", "source_socket"), ("source_socket", "source")):
        with Client.open(ports[held]) as client:
            assert "in use" in farside("info", ports[other], code=Exit.DEVICE)
            assert client.reg("magic") == wire.MAGIC


def state_of(port):
    """What a host that misbehaves must leave as it is."""
    with Client.open(port) as client:
        client.wait_settled()
        pages = [page.chains for page in client.pages()]
        return pages, client.reg("free_slots"), client.read_image()


def still_works(port, fill):
    with Client.open(port) as client:
        before = client.page(0).chains
        assert client.write([(0, 7, bytes([fill]) * 512)]) == before + 1
        assert client.read(0, 7) == bytes([fill]) * 512


@pytest.mark.requirement("R22")
def test_host_that_goes_away_in_the_middle_of_a_chain(ports):
    before = state_of(ports["source"])
    with Client.open(ports["source"]) as client:
        entries = b"".join(wire.entry(0, track) for track in range(4))
        client.peer.send(wire.Type.CHAIN, entries, tag=77, count=4, flags=int(wire.Flag.RESUME))
        for index in range(3):
            client.peer.send(wire.Type.WRITE, b"\xaa" * 512, tag=77, index=index)
        assert client.wait_until(lambda: not client.peer.unsettled, 10)
    assert state_of(ports["source"]) == before
    still_works(ports["source"], 1)


@pytest.mark.requirement("R22")
def test_host_that_floods(ports):
    """Requests without end, numbered as they should be or not, and nobody reads the answers."""
    before = state_of(ports["source"])
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    line, peer = SerialTransport(ports["source_socket"]), LinkPeer()
    while not peer.up:
        line.write(peer.poll(line.now()))
        peer.feed(line.read(0.05), line.now())
    with contextlib.suppress(PortLost):         # the board may take no more, as it should
        for lseq in range(1500):
            kind = rng.choice((wire.Type.READ, wire.Type.REG_READ, wire.Type.CHAIN))
            lseq = lseq if rng.random() < 0.9 else rng.randrange(256)
            line.write(wire.to_line(wire.pack(kind, lseq % 256, tag=lseq, count=16)))
            if rng.random() < 0.1:
                line.write(rng.randbytes(rng.randrange(1, 200)))
    line.close()
    assert state_of(ports["source"]) == before
    still_works(ports["source"], 2)


def test_a_workload_survives_a_program_that_takes_no_lock(ports, tmp_path):
    """Another program greets the board in the middle of a workload, and goes away."""
    with Client.open(ports["source_socket"]) as client:
        first = client.page(0).chains
        seen = []
        client.on_commit = lambda s, n, w: seen.append(n)
        for fill in range(60):
            client.submit([(0, fill % 16, bytes([fill]) * 512)], depth=8)
            if fill % 20 == 10:
                file = os.open(ports["source"], os.O_RDWR | os.O_NOCTTY)
                stranger = LinkPeer()
                os.write(file, stranger.poll(0.0))
                time.sleep(0.05)
                os.close(file)
        client.flush(timeout=60)
        assert seen == list(range(first + 1, first + 61))
        assert client.sessions_lost > 0
        assert client.read(0, 0, 16) == b"".join(
            bytes([fill]) * 512 for fill in (*range(48, 60), *range(44, 48)))


def test_watch_sees_a_link_cut_and_restored_beside_a_workload(ports, farside, tmp_path):
    """The reader is there before the workload, gives it the port, and sees what happens to it."""
    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "host_tools", *map(str, arguments)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

    log = tmp_path / "h.log"
    watch = start("watch", ports["source"], ports["target"], "--json", "--interval", "200ms")
    workload = None
    seen = []

    def wait_for(what, done):
        end = time.monotonic() + 90
        while time.monotonic() < end:
            seen.append(json.loads(watch.stdout.readline()))
            if done(seen[-1]):
                return
        pytest.fail(f"{what} was not seen: {seen[-1]}")

    def event(text):
        return lambda sample: any(text in one["event"] and one["port"] == ports["source"]
                                  for one in sample["events"])

    try:
        wait_for("the source", lambda sample: sample["source"] is not None)
        assert seen[-1]["source"]["program"].endswith("watch")
        workload = start("run", "hot", "--source", ports["source"], "--history", log, "--chains",
                         1_000_000)
        wait_for("the workload", lambda sample: sample["source"] is not None
                 and "chains" in sample["source"]["note"] and sample["source"]["rates"]["chains"])
        farside("link", ports["source"], 1, "--cut")
        wait_for("the cut", event("link 1 went down"))
        assert not seen[-1]["source"]["links"][1]["up"]
        farside("link", ports["source"], 1, "--restore")
        wait_for("the restoring", event("link 1 came up again"))
        assert seen[-1]["source"]["links"][1]["down_seconds"] > 0
        workload.send_signal(signal.SIGINT)
        _, errors = workload.communicate(timeout=STOP_SECONDS)
        assert workload.returncode == Exit.INTERRUPT, errors
        assert "Traceback" not in errors
        wait_for("the end of the workload", lambda sample: sample["source"] is not None
                 and sample["source"]["program"].endswith("watch"))
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=STOP_SECONDS)
        assert watch.returncode == 0, errors
        assert errors == ""
    finally:
        for process in (watch, workload):
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()
    farside("check", "--history", log, "--target", ports["target"])


def test_interrupt_ends_the_board(board_process):
    _, process = board_process
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0, errors
    assert text == ""
    assert "Traceback" not in errors


@pytest.mark.requirement("R02", "R14", "R15", "R21")
@pytest.mark.parametrize("workload", ["bank", "hot"])
def test_twenty_cuts_find_twenty_prefixes(tmp_path, workload):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with SimulatedBoard(BOARD, seed=seed, delay=0.02, ber=1e-6) as board, \
            Client.open(board.ports["source"]) as source, \
            Client.open(board.ports["target"]) as target:
        found = campaign(source, target, str(tmp_path / "h.log"), workload=workload,
                         chains=CHAINS, cuts=CUTS, seed=seed)
    for cut in found.cuts:
        assert cut.ok, f"after chain {cut.after_chain}: {cut.verdict} {cut.audit}"
    assert found.exact == len(found.cuts) == CUTS
    assert found.chains == CHAINS
    assert found.identical
    assert any(cut.verdict.sets[0].lag_chains for cut in found.cuts)
