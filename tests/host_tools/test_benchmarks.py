"""The measurements, on the model: its clocks mean little, but every number must be there."""

import json

import pytest

from firmware_model import wire
from host_tools import benchmarks
from host_tools.client import Client
from tests.host_tools.fakeboard import SMALL


@pytest.fixture
def source(board):
    with Client.open(board.ports.source) as client:
        yield client


def test_link_efficiency(board, source):
    source.set_reg("poll_interval", 9)
    found = benchmarks.link_efficiency(source)
    assert found.tracks == SMALL.tracks
    assert found.links == 2
    assert found.clocks > 0
    assert 0.95 < found.bound < 0.98
    assert source.reg("poll_interval") == 9
    assert board.system.target.image() == board.system.source.image()


def test_clock_rate(board, source):
    found = benchmarks.clock_rate(source, chains=5)
    assert found.chains == 5
    assert found.clocks > 0
    assert found.clock_rate_hz > 0
    assert board.system.target.image() == board.system.source.image()


def test_disconnect_time(board, source):
    found = benchmarks.disconnect_time(source, 0.005, samples=3, tracks=16)
    assert found.samples == 3
    assert found.median_clocks > 0
    # 16 tracks over two links at 12 clocks a bit, and 10 ms of delay.
    tracks = 16 * 530 * 10 * 12 / 2
    assert found.bound_clocks == pytest.approx(tracks + 0.01 * 12e6, rel=0.03)
    assert all(c[wire.Channel.DELAY] == 0 for c in board.channels)


def test_destage_cost(board, source):
    found = benchmarks.destage_cost(source, tracks=50)
    assert (found.tracks, found.destaged) == (SMALL.tracks, 50)
    assert board.system.target.image() == board.system.source.image()


def test_frame_bytes_are_those_of_the_line():
    size = benchmarks.frame_bytes(SMALL, wire.Type.DATA, bytes(512))
    assert 512 + wire.PREFIX_BYTES + wire.HEADER_BYTES + wire.CRC_BYTES + 2 <= size <= 540


def test_bench_command(capfd, monkeypatch):
    import contextlib

    from host_tools import cli
    from host_tools.commands import bench
    from tests.host_tools.test_cli import StandIn

    @contextlib.contextmanager
    def start(geometry, **options):
        with StandIn(geometry, **options) as running:
            yield running

    monkeypatch.setattr(bench, "start_board", start)
    monkeypatch.setattr(bench, "SIZES", (256, 512))
    assert cli.main(["bench", "--links", "1,2", "--samples", "3", "--json"]) == 0
    values = json.loads(capfd.readouterr().out)
    assert set(values["link_efficiency"]) == {"1", "2"}
    assert set(values["destage_clocks_per_track"]) == {"256", "512"}
    assert values["disconnect"]["samples"] == 3
    assert {row["measure"] for row in values["goals"]} >= {
        "simulated clock, Hz", "link efficiency, 2 links"}
    assert cli.main(["bench", "--links", "1,2", "--samples", "1"]) == 0
    assert "link efficiency, 2 links" in capfd.readouterr().out


@pytest.mark.parametrize(("counts", "words"), [("one", "no list of link counts"),
                                               ("9", "9 links are outside 1..8")])
def test_bench_usage(capfd, counts, words):
    from host_tools import cli

    assert cli.main(["bench", "--links", counts]) == 2
    assert words in capfd.readouterr().err
