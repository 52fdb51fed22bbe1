"""What every test begins with, whatever ran before it in the same process."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes import postgres

# How fast a machine is says nothing about what is tested.
settings.register_profile(
    "radfed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("radfed")

USUAL = 0o022


@pytest.fixture(autouse=True)
def _umask():
    """A command run inside this process makes its files private; the next test's need not be."""
    os.umask(USUAL)
    yield
    os.umask(USUAL)


@pytest.fixture(scope="session")
def cluster():
    """One PostgreSQL for all tests of this process."""
    found = postgres.programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres.a_cluster(found) as running:
        yield running


@pytest.fixture
def shared_url(cluster):
    """The URL of an empty database of this test alone."""
    return cluster.database()


@pytest.fixture(params=["sqlite", "postgres"])
def tables_in(request):
    """The settings of a coordinator whose tables are in a file, and of one on PostgreSQL."""
    if request.param == "sqlite":
        return ""
    return f'[store]\nurl = "{request.getfixturevalue("shared_url")}"\n'
