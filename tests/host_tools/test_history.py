"""Histories recorded from a board, and what the oracle says about images by them."""

import pytest

from firmware_model import logwrites
from host_tools import history, workloads
from host_tools.client import Client
from host_tools.errors import UsageError
from host_tools.history import Recorder


@pytest.fixture
def source(board):
    with Client.open(board.ports.source) as client:
        yield client


@pytest.fixture
def target(board):
    with Client.open(board.ports.target) as client:
        yield client


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "history.log")


@pytest.mark.parametrize("workload", list(workloads.WORKLOADS))
def test_recorded_history_is_the_boards_own(board, source, log, workload):
    with Recorder.begin(source, log) as recorder:
        workloads.run(workload, source, 60, 4, lambda _: recorder.mark_now_and_then())
        source.wait_settled()
        recorder.mark()
        assert (recorder.chains, recorder.bytes) == (60, recorder.tracks * 512)
        assert recorder.acknowledged == {"0": 60}
    loaded = history.load(log)
    truth = board.system.history
    assert loaded.chains(0) == truth.chains(0)
    assert loaded.acknowledged == truth.acknowledged
    assert loaded.chains(0) == recorder.history.chains(0)
    assert any(entry.mark and entry.mark.startswith("ack")
               for entry in logwrites.read_log(log)[1])


@pytest.mark.requirement("R21")
def test_images_while_the_links_are_cut(board, source, target, log):
    with Recorder.begin(source, log) as recorder:
        for cut in range(5):
            stream = workloads.synthetic("random", source.geometry, source.volume_set, cut)
            for _ in range(12):
                source.submit(next(stream), depth=6)
            source.cut_links()
            source.idle(0.05)
            recorder.mark()
            verdict = history.judge_image(recorder.history, target.read_image(), "target")
            assert verdict.ok, str(verdict)
            source.cut_links(False)
            source.flush()
    assert verdict.sets[0].committed >= 48


def test_second_run_starts_from_the_image(board, source, target, log):
    stream = workloads.synthetic("random", source.geometry, source.volume_set, 1)
    for _ in range(10):
        source.write(next(stream))
    with Recorder.begin(source, log) as recorder:
        source.write(next(stream))
        source.wait_settled()
        recorder.mark()
    loaded = history.load(log)
    assert [chain.number for chain in loaded.chains(0)] == [11]
    verdict = history.judge_image(loaded, target.read_image(), "target")
    assert verdict.ok
    assert verdict.sets[0].prefix == 11


def test_assignment_is_part_of_the_history(board, source, target, log):
    with Recorder.begin(source, log) as recorder:
        source.write([(1, 0, bytes(range(256)) * 2)])
        recorder.assign(1, 3)
        source.write([(1, 0, b"\1" * 512)])
        source.wait_settled()
        recorder.mark()
    loaded = history.load(log)
    assert loaded.assignment == [0, 3, 0, 0]
    verdict = history.judge_image(loaded, target.read_image(), "target")
    assert verdict.ok
    assert verdict.prefixes[3] == 1


def test_an_image_that_is_no_prefix(board, source, target, log):
    with Recorder.begin(source, log) as recorder:
        source.write([(0, 0, b"\1" * 512), (0, 1, b"\2" * 512)])
        source.wait_settled()
        recorder.mark()
    image = bytearray(target.read_image())
    image[512:1024] = bytes(512)
    verdict = history.judge_image(history.load(log), bytes(image), "target")
    assert not verdict.consistent
    assert "0:1" in str(verdict.sets[0].culprit) or "0:0" in str(verdict.sets[0].culprit)
    assert not history.judge_image(history.load(log), bytes(len(image)), "target").ok


@pytest.mark.parametrize(("content", "words"), [
    (b"", "too few"), (b"x" * 4096, "not a dm-log-writes file")])
def test_malformed_files(tmp_path, content, words):
    path = tmp_path / "bad.log"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as error:
        history.load(str(path))
    assert str(path) in str(error.value)


def test_truncated_file(board, source, log, tmp_path):
    with Recorder.begin(source, log) as recorder:
        source.write([(0, 0, b"\1" * 512)])
        recorder.mark()
    cut = tmp_path / "cut.log"
    with open(log, "rb") as file:
        cut.write_bytes(file.read()[:-700])
    with pytest.raises(UsageError, match=r"cut\.log.*ends inside"):
        history.load(str(cut))


def test_missing_and_unwritable_files(board, source, tmp_path):
    with pytest.raises(UsageError, match=r"cannot read.*No such file"):
        history.load(str(tmp_path / "none.log"))
    with pytest.raises(UsageError, match="cannot write"):
        Recorder.begin(source, str(tmp_path / "no" / "such.log"))


def test_image_of_the_wrong_size(board, source, log):
    with Recorder.begin(source, log):
        pass
    with pytest.raises(UsageError, match="5 bytes, an image of this history has 65536"):
        history.judge_image(history.load(log), b"12345", "x.img")
