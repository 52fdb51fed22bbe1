"""A seeded slice of `python -m tests.planting`: the real path, scored from outside."""

import pytest

from gateway.line.encoding import silence_pydicom
from tests.planting.clean import clean_pass
from tests.planting.planted import planted_pass

pytestmark = pytest.mark.attack
EVERY = 24


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_was_planted_is_left_in_what_is_stored(tmp_path):
    silence_pydicom()

    seen = planted_pass(tmp_path, seed=20, every=EVERY)

    assert seen["left"] == {}
    assert seen["sound"]
    assert seen["totals"]["planted"] > 1000
    assert seen["totals"]["express"] > 3


@pytest.mark.filterwarnings("ignore")
def test_what_should_stay_stays_in_files_as_they_are(tmp_path):
    silence_pydicom()

    seen = clean_pass(tmp_path, every=EVERY)

    assert seen["totals"]["pixels identical"]
    assert "pixels changed" not in seen["totals"]
    assert "lost" not in seen["totals"]
    assert seen["uids with two pseudonyms"] == 0
    assert seen["patients with two shifts"] == 0
