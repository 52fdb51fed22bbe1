"""What every test begins with, whatever ran before it in the same process."""

import os

import pytest

USUAL = 0o022


@pytest.fixture(autouse=True)
def _umask():
    """A command run inside this process makes its files private; the next test's need not be."""
    os.umask(USUAL)
    yield
    os.umask(USUAL)
