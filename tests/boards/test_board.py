"""Boards: what is said about each can be true."""

import pytest

from boards import board as boards
from boards.clock import pll_dividers
from hdl.linebank import check_shared


@pytest.fixture(params=boards.NAMES)
def board(request):
    return boards.find(request.param)


def test_names_are_the_ones_the_command_takes():
    assert boards.NAMES == ("ulx3s-12f", "ulx3s-25f", "ulx3s-85f", "icepi-zero", "icebreaker",
                            "icesugar", "hx8k-evn", "ecpix5-45f")
    assert [board.name for board in boards.all_boards()] == list(boards.NAMES)


def test_an_unknown_name_is_told_the_others():
    with pytest.raises(boards.BoardError, match=r"called nexys: there are ulx3s-12f, .*generic-"):
        boards.find("nexys")


def test_roles_are_those_of_the_family(board):
    assert board.roles == (("source", "target", "both") if board.chip.family == "ecp5"
                           else ("source", "target"))


def test_source_and_target_of_any_board_accept_each_other(board):
    fingerprints = {board.geometry(role).fingerprint for role in ("source", "target")}
    assert len(fingerprints) == 1


def test_tracks_fit_the_memory(board):
    for role in board.roles:
        geometry = board.geometry(role)
        slots = {"source": geometry.source_slots, "target": geometry.target_slots,
                 "both": geometry.source_slots + geometry.target_slots}[role]
        chip = board.chip
        room = chip.spram_bytes or chip.block_rams * chip.block_ram_bytes
        assert slots * geometry.track_bytes <= room


def test_rates_are_possible(board):
    for role in board.roles:
        geometry = board.geometry(role)
        for baud in (geometry.host_baud, geometry.link_baud):
            real = geometry.clock_hz * 256 / geometry.divisor(baud)
            assert real == pytest.approx(baud, rel=0.01)
    if "both" in board.roles:       # the hub's lines inside are faster by an eighth
        assert board.geometry("both").divisor(board.geometry("both").host_baud) >= 6 * 256


def test_one_engine_keeps_up_with_all_links_there_are_pins_for(board):
    if board.lines == "shared":
        for role in board.roles:
            check_shared(board.geometry(role, len(board.links)))


def test_links_are_limited_by_the_pins(board):
    most = len(board.links)
    assert board.geometry("source", most).links == most
    with pytest.raises(boards.BoardError, match=f"pins for 1 to {most} links, not {most + 1}"):
        board.geometry("source", most + 1)
    with pytest.raises(boards.BoardError, match="not 0"):
        board.geometry("source", 0)


def test_a_role_a_board_cannot_have_is_refused():
    with pytest.raises(boards.BoardError, match="no role both: it can be source or target"):
        boards.find("icebreaker").geometry("both")


def test_pins_are_those_of_the_package(board):
    platform = board.new_platform()
    assert platform.device == board.chip.name
    assert platform.default_clk_frequency == board.oscillator_hz
    asked = [platform.lookup("uart", 0)]
    asked += [platform.lookup(name, number) for name, number, _ in board.leds]
    names = [(pins.connector, pin) for pins in board.links for pin in (pins.rx, pins.tx)]
    assert all(asked)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("from_hz", "to_hz"), [
    (25_000_000, 50_000_000), (25_000_000, 80_000_000), (100_000_000, 50_000_000),
    (12_000_000, 48_000_000),
])
def test_the_pll_runs_within_its_limits(from_hz, to_hz):
    divide, feedback, output = pll_dividers(from_hz, to_hz)
    assert from_hz / divide * feedback == to_hz
    assert 400e6 <= to_hz * output <= 800e6
    assert from_hz / divide >= 3.125e6


def test_a_clock_no_pll_can_make_is_refused():
    with pytest.raises(ValueError, match="no PLL setting makes 33333333 Hz out of 25000000 Hz"):
        pll_dividers(25_000_000, 33_333_333)
