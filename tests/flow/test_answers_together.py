"""Answers that come together are stored in one transaction, and each learns what became of it."""

import asyncio
from collections import Counter

import pytest

from coordinator.store.database import Database
from coordinator.store.questions import Questions, Taken
from coordinator.store.sites import Sites

pytestmark = pytest.mark.flow

SITES = [f"site-{number}" for number in range(40)]


async def a_question(directory):
    database = await Database.open(directory / "coordinator.db")
    sites, questions = Sites(database), Questions(database)
    for site in SITES:
        await sites.invite(site, f"serial-{site}", "operator", 0.0, 10.0)
    await questions.ask("q1", b"body", SITES, 0.0, 10.0, "uni")
    return database, questions


def test_each_site_is_taken_once_whoever_answers_beside_it(tmp_path):
    async def story():
        database, questions = await a_question(tmp_path)
        said = [questions.answer("q1", site, 1, site.encode(), 1.0) for site in SITES * 2]
        said += [questions.answer("q1", "stranger", 1, b"", 1.0)]
        said += [questions.answer("another", SITES[0], 1, b"", 1.0)]
        taken = Counter(await asyncio.gather(*said))
        assert taken == {Taken.NEW: 40, Taken.KNOWN: 40, Taken.NOT_ASKED: 2}
        assert await questions.outstanding(SITES[0], 1.0) == []
        assert (await questions.newest(1))[0].answered == 40
        await database.close()

    asyncio.run(story())


def test_what_cannot_be_stored_is_its_senders_failure_alone(tmp_path):
    async def story():
        database, questions = await a_question(tmp_path)
        said = [questions.answer("q1", site, 1, b"a", 1.0) for site in SITES[:5]]
        said.insert(2, questions.answer("q1", SITES[9], 1, object(), 1.0))
        found = await asyncio.gather(*said, return_exceptions=True)
        assert isinstance(found.pop(2), Exception)
        assert found == [Taken.NEW] * 5
        assert await questions.answer("q1", SITES[9], 1, b"b", 2.0) is Taken.NEW
        await database.close()

    asyncio.run(story())
