"""From looks to samples: rates, wrap-around, down times, events; and the picture of them."""

import dataclasses
import io
import threading

import pytest
from rich.console import Console

from firmware_model import wire
from firmware_model.geometry import Geometry
from host_tools.client import Client
from host_tools.commands.watch import _ranges, picture
from host_tools.sharing import Activity
from host_tools.stats import SetPage, Stats
from host_tools.watching import Look, Tracker, Watch, Watched

GEOMETRY = Geometry(links=2, sets=2)
SECOND = GEOMETRY.clock_hz


def look_at(cycles, *, at=None, role="source", up=(0, 1), links=({}, {}), pages=({}, {}),
            disconnected=0, waiting=None, **counters):
    """A look in which everything is 0 but what is named."""
    def page(number, words):
        values = [0] * wire.SET_PAGE_WORDS
        for name, value in words.items():
            values[wire.SetWord[name]] = value
        return SetPage(number, tuple(values))

    names = {c.name.lower(): 0 for c in wire.Counter}
    link_names = {c.name.lower(): 0 for c in wire.LinkCounter}
    stats = Stats(role, cycles, 100, list(up), disconnected, names | counters,
                  [link_names | values for values in links],
                  [page(n, words) for n, words in enumerate(pages)])
    return Look(cycles / SECOND if at is None else at, "PORT", GEOMETRY, stats, [0, 0, 0, 1],
                Activity("a program", 1, "", waiting or {}))


def test_first_look_only_says_where_the_counters_start():
    tracker = Tracker()
    assert tracker.take(look_at(0, chains=50)) is None
    assert tracker.take(look_at(SECOND, chains=53))["rates"]["chains"] == pytest.approx(3)


def test_rates_are_of_the_boards_clock_and_survive_wrap_around():
    tracker = Tracker()
    tracker.take(look_at(0, at=0.0, chains=0xFFFFFFFE))
    sample = tracker.take(look_at(SECOND // 2, at=2.0, chains=3))
    assert sample["rates"]["chains"] == pytest.approx(10)
    assert sample["seconds"] == pytest.approx(0.5)
    assert sample["speed"] == pytest.approx(0.25)


def test_load_of_a_link():
    tracker = Tracker()
    tracker.take(look_at(0))
    sample = tracker.take(look_at(SECOND, links=({"frames_sent": 60, "resends": 20}, {})))
    # 80 frames of 512 bytes and what is around them, ten bits a byte, at 1 Mbaud
    assert sample["links"][0]["load"] == pytest.approx(80 * 529 * 10 / 1e6)
    assert sample["links"][1]["load"] == 0
    assert sample["links"][0]["frames_per_second"] == pytest.approx(60)


def test_a_link_that_goes_down_and_comes_back():
    tracker = Tracker()
    told = []

    def take(seconds, **values):
        sample = tracker.take(look_at(int(seconds * SECOND), **values))
        told.append(tracker.events[:])
        tracker.events.clear()
        return sample and sample["links"][1]

    def link(down, sessions=0):
        """Its counters, down for so many seconds altogether."""
        return ({}, {"timeouts": 1, "sessions": sessions,
                     "down_time": (round(down * SECOND / wire.SLOW_TICK) - 1) & 0xFFFFFFFF})

    first = take(0, links=({}, {"down_time": 0xFFFFFFFF}))
    assert first is None
    assert take(1, links=link(0))["silent"]
    assert not take(2, links=link(0))["silent"]
    assert not take(3, up=(0,), links=link(0.4))["up"]
    assert take(4, up=(0,), links=link(1.4))["down_seconds"] == pytest.approx(1.4, rel=0.02)
    back = take(5, links=link(2, 1))
    assert back["down_seconds"] == pytest.approx(2, rel=0.02)
    assert back["up"]
    take(6, links=link(2, 2))
    assert told == [[], ["link 1 does not answer"], [], ["link 1 went down"], [],
                    ["link 1 came up again after about 2 s"],
                    ["link 1 was down for less than a sample"]]


def test_a_board_that_was_reset():
    tracker = Tracker()
    tracker.take(look_at(SECOND * 9, chains=500))
    assert tracker.take(look_at(SECOND, chains=2)) is None
    assert tracker.events == ["the source was reset"]
    assert tracker.take(look_at(SECOND * 2, chains=3))["rates"]["chains"] == pytest.approx(1)


def test_sets():
    tracker = Tracker()
    tracker.take(look_at(0))
    sample = tracker.take(look_at(SECOND, pages=(
        {"CHAINS_LOW": 7, "ACKED_LOW": 4, "UNSENT": 5, "NEXT": 3, "DONE": 1},
        {"CHAINS_LOW": 1, "CHAINS_HIGH": 1})))
    first, second = sample["sets"]
    assert first == {"set": 0, "chains": 7, "chains_per_second": pytest.approx(7), "acked": 4,
                     "behind": 3, "unsent": 5, "in_flight": 1, "resyncing": False,
                     "volumes": [0, 1, 2]}
    assert (second["chains"], second["volumes"]) == (65537, [3])


def test_a_resynchronisation():
    tracker = Tracker()
    pages = {"FLAGS": int(wire.SourceFlag.RESYNC)}, {}
    tracker.take(look_at(0))
    sample = tracker.take(look_at(SECOND, pages=pages))
    assert [one["resyncing"] for one in sample["sets"]] == [True, False]
    tracker.take(look_at(2 * SECOND))
    assert tracker.events == ["set 0: its resynchronisation has begun",
                              "set 0: its resynchronisation has ended"]


def test_disconnects_worth_an_event_and_in_the_time_of_the_board():
    tracker = Tracker()
    tracker.take(look_at(0, at=0.0))
    sample = tracker.take(look_at(SECOND, at=4.0, waiting={2: 0.1, 3: 2.0}))
    assert sample["disconnected"]["waiting"] == {"2": pytest.approx(0.025),
                                                 "3": pytest.approx(0.5)}
    assert [e.split()[1] for e in tracker.events] == ["3"]
    tracker.events.clear()
    tracker.take(look_at(2 * SECOND, waiting={3: 3.0}))
    assert tracker.events == []
    tracker.take(look_at(3 * SECOND))
    assert tracker.events == ["volume 3 is connected again"]


def test_ranges_of_volumes():
    assert _ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert _ranges([]) == ""


@pytest.mark.parametrize("width", [80, 120])
def test_picture_fits(width):
    """Nothing is cut off, also with large numbers."""
    large = {name.name.lower(): 1_234_567 for name in wire.LinkCounter}
    pages = ({"CHAINS_HIGH": 9, "ACKED_HIGH": 8, "UNSENT": 4321, "NEXT": 4, "DONE": 1}, {})

    def side(role):
        tracker = Tracker()
        tracker.take(look_at(0, role=role))
        return tracker.take(dataclasses.replace(
            look_at(SECOND, role=role, up=(0,), links=(large, large), pages=pages,
                    disconnected=1 if role == "source" else None, waiting={2: 0.3},
                    commands=5000), activity=Activity(
                        "farside run", 1, "hot, 14 of 400 chains", {2: 0.3}, 7, [(2, 5, 250_000)])))

    file = io.StringIO()
    console = Console(file=file, width=width)
    console.print(picture({"time": 0.0, "source": side("source"), "target": side("target"),
                           "events": []}, ["12:00:00  PORT: link 1 went down"]))
    text = file.getvalue()
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    words = " ".join(text.split())
    for expected in ("hot, 14 of 400 chains", "DOWN", "589824", "4321", "5000 tracks/s",
                     "volume 2 for 300 ms", "the last after 20.8 ms", "link 1 went down"):
        assert expected in words


# -- ports -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_watching_beside_a_workload_and_without(board):
    """The watcher holds the port, gives it up, looks through the workload, and holds it again."""
    port = board.ports.source
    one = Watched(port, 2_000_000, "watch")
    try:
        assert one.look().activity.program == "watch"
        stop = threading.Event()
        ready = threading.Event()

        def work():
            from host_tools.commands import common

            with common.open_board(port) as client:
                ready.set()
                for fill in range(20):
                    client.write([(0, fill, bytes([fill]) * 512)])
                client.wait_until(stop.is_set)

        worker = threading.Thread(target=work)
        worker.start()
        while not ready.is_set():
            one.serve(0.02)
            assert worker.is_alive()
        while (seen := one.look()) is None or seen.stats.counters["chains"] < 20:
            one.serve(0.02)
        assert seen.activity.program == "a program"
        stop.set()
        worker.join()
        while (seen := one.look()) is None:
            one.serve(0.02)
        assert seen.activity.program == "watch"
    finally:
        one.close()


def test_a_program_that_shares_nothing(board):
    one = Watched(board.ports.source, 2_000_000, "watch")
    one.close()
    with Client.open(board.ports.source):
        assert one.look() is None
        assert Watch([one]).sample()["source"] is None
