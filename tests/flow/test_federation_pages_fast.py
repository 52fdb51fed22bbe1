"""Every page of the federation's console answers in time: a small form of the bench."""

import pytest

from tests.bench.federation_pages import GOAL_MS, PAGES, bench

pytestmark = pytest.mark.flow


def test_no_page_works_longer_than_it_may(tmp_path):
    rows = list(bench(tmp_path, sites=40, questions=20, events=2000, times=3))

    assert {row["page"] for row in rows} > set(PAGES)
    worked = {row["page"]: row["cpu_p95_ms"] for row in rows}
    assert {page: took for page, took in worked.items() if took > GOAL_MS} == {}
