"""Histories as dm-log-writes files: the exact bytes, round trips, and every way to be broken."""

import struct

import pytest

from firmware_model.geometry import Geometry
from firmware_model.history import History
from firmware_model.logwrites import (
    BadMagic,
    BadVersion,
    HistoryWriter,
    LogError,
    LogFlag,
    LogWriter,
    NotAHistory,
    Truncated,
    read_history,
    read_log,
    sector_size,
    write_history,
)

G = Geometry(volumes=3, tracks_per_volume=4, sets=2, chain_limit=5, spare_slots=7,
             staging_slots=10, volumes_per_set=2)


def data(label, size=512):
    return (label.encode() * size)[:size]


@pytest.fixture
def history():
    made = History(G, image=data("i") + bytes(G.image_bytes - 512), numbers={1: 40})
    made.commit(0, [(0, 1, data("a")), (1, 3, data("b"))])
    made.commit(1, [(2, 0, data("c"))])
    made.acknowledge(0, 1)
    made.assign(1, 1)
    made.commit(1, [(1, 3, data("d")), (1, 3, data("e"))])
    return made


def test_bytes_are_those_of_the_format(tmp_path):
    """Written out by hand from the kernel's description of version 1."""
    path = tmp_path / "log"
    with LogWriter(path) as log:
        log.write(5, b"x" * 512)
        log.mark("hello")
    pad = lambda b: b.ljust(512, b"\0")     # noqa: E731
    assert path.read_bytes() == (
        pad(bytes.fromhex("7268737766736a00") + struct.pack("<QQI", 1, 2, 512))
        + pad(struct.pack("<QQQQ", 5, 1, 0, 0)) + b"x" * 512
        + pad(struct.pack("<QQQQ", 0, 0, 8, 5) + b"hello"))


@pytest.mark.parametrize(("track", "sector"), [(16, 128), (64, 128), (128, 128), (256, 256),
                                               (512, 512), (4096, 512)])
def test_sector_sizes(track, sector):
    assert sector_size(track) == sector


@pytest.mark.parametrize("track_bytes", [16, 64, 256, 512, 2048])
def test_round_trip(tmp_path, track_bytes):
    g = G.replace(track_bytes=track_bytes)
    history = History(g, assignment=[0, 1, 1])
    for n in range(5):
        history.commit(0, [(0, n % 4, data(f"{n}", track_bytes))])
        history.commit(1, [(2, 3, data(f"x{n}", track_bytes)), (1, 0, bytes(track_bytes))])
    history.assign(1, 0)
    write_history(tmp_path / "h", history)
    for again in (read_history(tmp_path / "h"), read_history(tmp_path / "h", g)):
        assert again.events == history.events
        assert again.image() == history.image()
        assert again.initial_assignment == history.initial_assignment
        assert again.geometry.track_bytes == track_bytes


def test_round_trip_with_a_past(tmp_path, history):
    write_history(tmp_path / "h", history)
    again = read_history(tmp_path / "h")
    assert again.events == history.events
    assert again.initial_image == history.initial_image
    assert again.first == [0, 40]
    assert again.acknowledged == history.acknowledged
    assert again.assignment == [0, 1, 1]


def test_replay_by_sector_gives_the_image(tmp_path, history):
    """What any other tool would do: apply the writes at their sectors."""
    write_history(tmp_path / "h", history)
    sectorsize, entries = read_log(tmp_path / "h")
    image = bytearray(G.image_bytes)
    for entry in entries:
        if not entry.flags & LogFlag.MARK:
            at = entry.sector * sectorsize
            image[at:at + len(entry.data)] = entry.data
    assert bytes(image) == history.image()


def test_a_crash_loses_only_what_was_not_marked(tmp_path):
    path = tmp_path / "h"
    writer = HistoryWriter(path, G)
    writer.commit(0, 1, [(0, 0, data("a"))])
    writer.log.write(0, data("half a chain"))       # and then the power goes
    writer.log._file.flush()
    assert read_history(path).committed(0) == 1
    assert read_history(path).image()[:512] == data("a")
    writer.commit(0, 2, [(0, 1, data("b"))])
    writer.close()


def test_writes_without_a_mark_are_no_chain(tmp_path):
    with HistoryWriter(tmp_path / "h", G) as writer:
        writer.commit(0, 1, [(0, 0, data("a"))])
        writer.log.write(0, data("b"))
        writer.log.flush()
    assert read_history(tmp_path / "h").image()[:512] == data("a")


def test_marks_and_flags_of_others_are_passed_over(tmp_path):
    with HistoryWriter(tmp_path / "h", G) as writer:
        writer.log.mark("dm-log-writes-end")
        writer.log.write(0, b"", LogFlag.FLUSH)
        writer.commit(0, 1, [(0, 0, data("a"))])
    assert read_history(tmp_path / "h").committed(0) == 1


def broken(path, change):
    content = bytearray(path.read_bytes())
    content = change(content) or content
    path.write_bytes(content)


def set_u64(at, value):
    def change(content):
        content[at:at + 8] = value.to_bytes(8, "little")
    return change


@pytest.mark.parametrize(("change", "error", "text"), [
    (set_u64(0, 1), BadMagic, "magic 0x0000000000000001, expected 0x006a736677736872"),
    (lambda c: c[:10], BadMagic, "10 bytes are too few"),
    (lambda c: bytearray(b"\0"), BadMagic, "too few"),
    (set_u64(8, 2), BadVersion, "version 2, only 1 is known"),
    (set_u64(24, 500), LogError, "sector size 500 is not a power of two"),
    (set_u64(24, 0), LogError, "sector size 0"),
    (lambda c: c[:-100], Truncated, "ends inside the head of entry"),
    (lambda c: c[:1024 + 512 + 200], Truncated, "ends inside the head of entry"),
    (set_u64(16, 99), Truncated, "of 99"),
    (set_u64(512 + 24, 600), LogError, "mark of 600 bytes in entry 0"),
    (set_u64(6 * 512 + 8, 1 << 40), Truncated, "claims 1099511627776 sectors"),
])
def test_broken_files_are_named(tmp_path, change, error, text):
    path = tmp_path / "h"
    # super, farside, 3 assign, begin, entry, data, chain
    with HistoryWriter(path, G) as writer:
        writer.commit(0, 1, [(0, 0, data("a"))])
    broken(path, change)
    with pytest.raises(error) as caught:
        read_history(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


def test_truncated_inside_data(tmp_path):
    path = tmp_path / "h"
    with HistoryWriter(path, G) as writer:
        writer.commit(0, 1, [(0, 0, data("a"))])
    broken(path, lambda c: c[:512 * 7 + 100])
    with pytest.raises(Truncated, match="ends inside the data of entry 5 of 7"):
        read_history(path)


def test_logs_that_are_no_history(tmp_path):
    path = tmp_path / "h"
    with LogWriter(path) as log:
        log.write(0, data("a"))
        log.mark("fsync")
    with pytest.raises(NotAHistory, match="farside run --history"):
        read_history(path)
    with LogWriter(path) as log:
        log.mark("fsync")
    with pytest.raises(NotAHistory, match="no marks of a farside history"):
        read_history(path)


@pytest.mark.parametrize(("do", "text"), [
    (lambda w: w.commit(0, 7, [(0, 0, data("a"))]), "chain 7 of set 0 does not follow chain 0"),
    (lambda w: w.log.mark("chain set=0"), "does not give 'number'"),
    (lambda w: w.log.mark("chain set=x number=1"), "does not give"),
    (lambda w: w.acknowledge(0, 3), "only 0 committed"),
    (lambda w: w.assign(9, 0), "volume 9 is outside 0..2"),
    (lambda w: w.log.write(12, data("a")), "writes track 12 of 12"),
])
def test_histories_that_contradict_themselves(tmp_path, do, text):
    with HistoryWriter(tmp_path / "h", G) as writer:
        do(writer)
        writer.log.flush()
    with pytest.raises(NotAHistory) as caught:
        read_history(tmp_path / "h")
    assert text in str(caught.value)


def test_another_board(tmp_path, history):
    write_history(tmp_path / "h", history)
    with pytest.raises(NotAHistory, match="tracks_per_volume is 4 in the history but 8 on the"):
        read_history(tmp_path / "h", G.replace(tracks_per_volume=8))


def test_long_marks_are_refused_and_the_longest_own_one_fits(tmp_path):
    with LogWriter(tmp_path / "l", 128) as log, pytest.raises(LogError, match="does not fit"):
        log.mark("m" * 96)
    g = Geometry(volumes=128, tracks_per_volume=511, track_bytes=64, sets=16, chain_limit=1,
                 spare_slots=3, staging_slots=1, links=1)
    with HistoryWriter(tmp_path / "h", g, numbers={15: (1 << 32) - 2}) as writer:
        writer.acknowledge(15, (1 << 32) - 2)
    assert read_history(tmp_path / "h").first[15] == (1 << 32) - 2
    with pytest.raises(LogError, match="sector size 64 is not a power of two in 128"):
        LogWriter(tmp_path / "l", 64)
