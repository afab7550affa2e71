"""docs/hardware.md says what the boards' descriptions say."""

import pytest

from boards.board import all_boards
from tests.docs import pages
from tests.docs.pages import DOCS


@pytest.fixture(scope="module")
def generator():
    return pages.generator("hardware")


@pytest.mark.parametrize("table", ["boards_table", "wiring_table"])
def test_tables_are_up_to_date(generator, table):
    assert getattr(generator, table)(all_boards()) in (DOCS / "hardware.md").read_text(), \
        "run docs/hardware.py"


def test_figures_are_those_that_were_measured(generator):
    import json

    known = json.loads((DOCS / "hardware.json").read_text())
    page = (DOCS / "hardware.md").read_text()
    assert generator.figures_table(known) in page
    assert generator.paths_table(known) in page
    assert generator.parts_table(known) in page
