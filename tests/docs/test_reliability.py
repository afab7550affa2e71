"""docs/reliability.md says what was recorded, and what was not run."""

import pytest

from firmware_model.mutations import Mutation
from tests.docs import pages
from tests.docs.pages import DOCS
from tests.scenarios.traps import TRAPS, shown_by

CAMPAIGN = {"runs": 1200, "seed": 1, "mutation": None, "clocks": 3_000_000, "seconds": 60.0,
            "workers": 2,
            "versions": {"gateware": "abc"}, "found_after": None, "violations": [],
            "contained": {"cuts": 7, "chains": 10}}


@pytest.fixture(scope="module")
def page():
    return pages.generator("reliability")


def test_the_page_is_up_to_date(page):
    assert page.document() == (DOCS / "reliability.md").read_text(), "run docs/reliability.py"


def test_what_has_not_been_run_says_so(page):
    for part in (page.campaigns, page.traps, page.small_worlds, page.fuzz):
        assert page.NOT_RUN in "\n".join(part({})), part.__name__


def test_campaigns_are_added_up(page):
    text = "\n".join(page.campaigns({"campaign-1": CAMPAIGN,
                                     "campaign-2": CAMPAIGN | {"seed": 1201}}))
    assert "| 1,200 | 1201 to 2400 | 3 million | 0 | 60 s, 2 processes | abc |" in text
    assert "| cuts | 14 |" in text


def test_every_trap_is_listed_with_what_was_found(page):
    mutation, name = next(iter(shown_by().items()))
    records = {f"mutation-{mutation.value}": CAMPAIGN | {"found_after": 17},
               "traps": {"mutations": {mutation.value: {
                   "scenario": name, "model": {"seed": 0}, "gateware": {"seed": 2}}}}}
    text = "\n".join(page.traps(records))
    assert all(trap.name in text for trap in TRAPS)
    assert all(mutation.value.replace("_", " ") in text for mutation in Mutation)
    assert f"`{name}`: both; gateware seed 2 | 17 |" in text


def test_records_are_known_by_what_they_say(page, tmp_path, monkeypatch):
    import json

    monkeypatch.setattr(page, "FRESH", tmp_path)
    monkeypatch.setattr(page, "RECORDS", tmp_path / "none")
    (tmp_path / "whatever.json").write_text(json.dumps(CAMPAIGN | {"mutation": "crc_not_checked"}))
    (tmp_path / "campaign-1.json").write_text(json.dumps(CAMPAIGN))
    assert list(page.gather()) == ["campaign-1", "mutation-crc_not_checked"]
