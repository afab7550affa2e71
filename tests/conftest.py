"""Shared fixtures, and the table of claims that is written from the tests that really ran."""

from __future__ import annotations

import gc
from collections import defaultdict
from pathlib import Path

import pytest

from tests.requirements import REQUIREMENTS

# Python's collector looks around after each 700 new objects, and Amaranth makes millions that stay:
# a twentieth of the time of these tests.
gc.set_threshold(50_000, 20, 20)

_shown: dict[str, set[str]] = defaultdict(set)


def pytest_addoption(parser):
    parser.addoption("--claims", metavar="FILE",
                     help="write a table of requirements and the tests that showed them")


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in item.iter_markers("requirement"):
            for identifier in mark.args:
                if identifier not in REQUIREMENTS:
                    raise pytest.UsageError(f"{item.nodeid}: no requirement {identifier!r}")
                item.user_properties.append(("requirement", identifier))


def pytest_runtest_logreport(report):
    if report.when != "call" or not report.passed:
        return
    # Parameters are left out: the table names what was shown, not how often.
    test = report.nodeid.split("[")[0]
    for name, value in report.user_properties:
        if name == "requirement":
            _shown[value].add(f"{test}")


def pytest_sessionfinish(session):
    target = session.config.getoption("--claims")
    if target is None or hasattr(session.config, "workerinput"):
        return
    lines = ["# Requirements and the tests that show them", "",
             "Written by `make docs` from the tests that ran and passed; `make test` compares.", "",
             "| id | requirement | source | tests |", "| --- | --- | --- | --- |"]
    for identifier, (text, source) in REQUIREMENTS.items():
        tests = "<br>".join(f"`{name.removeprefix('tests/')}`"
                            for name in sorted(_shown[identifier])) or "not yet"
        lines.append(f"| {identifier} | {text} | {source} | {tests} |")
    Path(target).write_text("\n".join(lines) + "\n")
