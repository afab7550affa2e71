"""The microprogram as a text: what it names, how long it may take."""

import re

from hdl.lineprogram import INPUTS, OUTPUTS, WORDS, line_clocks, line_program


def test_everything_that_is_declared_is_used():
    listing = line_program(role=1, window=8, tries=5).listing()
    for name in [*WORDS, *INPUTS, *OUTPUTS]:
        assert re.search(rf"\b{name}\b", listing), name


def test_the_program_fits_three_block_rams():
    assert len(line_program(role=1, window=8, tries=5).code) <= 768


def test_the_longer_the_window_the_longer_its_scans():
    # Twice the entries, but not twice the heads of frames.
    assert line_clocks(4) < line_clocks(8) < 2 * line_clocks(4)
