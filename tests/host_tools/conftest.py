"""A fresh board in Python for each test that asks for one."""

import pytest

from tests.host_tools.fakeboard import FakeBoard


@pytest.fixture
def board():
    with FakeBoard() as running:
        yield running
