"""Values with units: what is accepted, and what the refusal says."""

import pytest

from host_tools import units
from host_tools.errors import UsageError


@pytest.mark.parametrize(("text", "value"), [
    ("20ms", 0.02), ("1.5s", 1.5), ("3us", 3e-6), ("7 ns", 7e-9), ("0", 0.0), (".5s", 0.5)])
def test_seconds(text, value):
    assert units.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "20 minutes", "", "1e", "nan s", "2msx"])
def test_seconds_refused(text):
    with pytest.raises(UsageError, match=r"is not a time.*as in 20ms") as error:
        units.seconds(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(("text", "value"), [
    ("1Mbaud", 1_000_000), ("115200", 115200), ("2.5Mbaud", 2_500_000), ("57.6kbaud", 57600),
    ("300 bd", 300)])
def test_baud(text, value):
    assert units.baud(text) == value


@pytest.mark.parametrize("text", ["0", "-5", "fast", "1.5", "1Gbaud", ""])
def test_baud_refused(text):
    with pytest.raises(UsageError, match="as in 1Mbaud"):
        units.baud(text)


@pytest.mark.parametrize(("text", "value"), [("1e-6", 1e-6), ("0", 0), ("2%", 0.02), ("1", 1)])
def test_chance(text, value):
    assert units.chance(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["1.1", "-1e-6", "101%", "often", ""])
def test_chance_refused(text):
    with pytest.raises(UsageError, match="from 0 to 1"):
        units.chance(text)


@pytest.mark.parametrize(("text", "value"), [("-2%", -0.02), ("+0.5", 0.5), ("3 %", 0.03)])
def test_signed_share(text, value):
    assert units.signed_share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "--2%", "fast", "2ms"])
def test_signed_share_refused(text):
    with pytest.raises(UsageError, match="is not a share"):
        units.signed_share(text)


@pytest.mark.parametrize(("text", "value"), [("0:17", (0, 17, 1)), ("2:3+8", (2, 3, 8))])
def test_place(text, value):
    assert units.place(text) == value


@pytest.mark.parametrize("text", ["0", "0:", ":3", "a:b", "0:1+", "0:1+0", "-1:2", "0:1+x"])
def test_place_refused(text):
    with pytest.raises(UsageError, match=r"place|at least 1"):
        units.place(text)


def test_assignment():
    assert units.assignment("1=2,3") == (1, [2, 3])
    with pytest.raises(UsageError, match="as in 1=2,3"):
        units.assignment("1=")


@pytest.mark.parametrize(("value", "text"), [
    (0, "0 s"), (4321, "4321 s"), (0.0213, "21.3 ms"), (2, "2 s"), (5e-6, "5 us"), (5e-9, "5 ns")])
def test_show_seconds(value, text):
    assert units.show_seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [
    (512, "512 bytes"), (2048, "2 KiB"), (3 << 20, "3 MiB")])
def test_show_bytes(value, text):
    assert units.show_bytes(value) == text


def test_show_count():
    assert [units.show_count(n, "chain") for n in (0, 1, 2)] == ["0 chains", "1 chain", "2 chains"]
