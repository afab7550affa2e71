"""Boards from a TOML file."""

import pytest

from boards import generic
from boards.board import BoardError

GOOD = """
name = "mine"
chip = "LFE5U-25F"
package = "BG256"
oscillator = "25MHz"
clock_pin = "P6"
clock = "50MHz"
host = { rx = "A2", tx = "A3", baud = "1Mbaud" }
links = [ { rx = "B1", tx = "B2" }, { rx = "C1", tx = "C2" } ]
link_baud = "500kbaud"
leds = ["E1"]
flash = "openFPGALoader -c ft232"

[geometry]
volumes = 2
"""


def read(tmp_path, text, family="ecp5"):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return generic.read(path, family)


def test_a_file_becomes_a_board(tmp_path):
    board = read(tmp_path, GOOD)
    assert board.name == "mine"
    assert board.roles == ("source", "target", "both")
    geometry = board.geometry("source")
    assert (geometry.clock_hz, geometry.host_baud, geometry.link_baud) == (
        50_000_000, 1_000_000, 500_000)
    assert (geometry.volumes, geometry.links) == (2, 2)
    assert board.programmer.arguments == ("-c", "ft232")
    platform = board.new_platform()
    assert platform.default_clk_frequency == 25_000_000
    assert platform.lookup("led", 0)


@pytest.mark.parametrize(("old", "new", "message"), [
    ('name = "mine"', "", "name is missing"),
    ('"LFE5U-25F"', '"XC7A35T"', "chip XC7A35T is not one of LFE5U-12F"),
    ('"LFE5U-25F"', '"iCE40UP5K"', "chip iCE40UP5K is not one of LFE5U-12F"),
    ('"25MHz"', '"fast"', "oscillator is 'fast': a number with MHz"),
    ('leds = ["E1"]', "lamps = 3", "lamps means nothing here"),
    ('leds = ["E1"]', "leds = 3", "leds must be a list of pins"),
    ('rx = "A2", ', "", "host.rx is missing"),
    ('links = [ { rx = "B1", tx = "B2" }, { rx = "C1", tx = "C2" } ]', "links = []",
     "links must be a list of 1 to 8"),
    ("volumes = 2", "volumes = 0", "volumes 0 is outside 1..128"),
    ("volumes = 2", "colours = 2", "geometry.colours means nothing here"),
    ("volumes = 2", "volumes = ", "is not TOML"),
])
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(BoardError) as error:
        read(tmp_path, GOOD.replace(old, new))
    assert message in str(error.value)
    assert "mine.toml" in str(error.value)


def test_ice40_runs_at_its_oscillator(tmp_path):
    text = GOOD.replace("LFE5U-25F", "iCE40UP5K").replace("25MHz", "12MHz")
    with pytest.raises(BoardError, match="on iCE40 the design runs at that"):
        read(tmp_path, text, "ice40")
    board = read(tmp_path, text.replace('clock = "50MHz"', ""), "ice40")
    assert board.roles == ("source", "target")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BoardError, match=r"cannot read .*nothing\.toml: No such file"):
        generic.read(tmp_path / "nothing.toml", "ecp5")
