"""Both languages of the federation's console are complete, and no page has a word outside them."""

import pytest

from coordinator.console.pages import ROOMS
from coordinator.console.rules import PEOPLE
from coordinator.evaluation.probast import known
from coordinator.evaluation.report import build
from coordinator.model import Standing
from protos.evaluation import Predictions
from protos.pages import languages
from tests.fakes.catalogues import acts_by_itself, extracted, templates, words_outside
from tests.fakes.tested import evidence, patients, released, statistics

TEMPLATES = templates("coordinator.console")
HOUSE = "coordinator.console"


@pytest.mark.parametrize("tag", languages.TAGS)
def test_the_catalogues_have_every_text_and_no_other(tag):
    assert set(languages.catalogue(HOUSE, tag)) == extracted(HOUSE)


def test_every_word_of_the_rooms_is_in_the_catalogues():
    words = {*Standing, *PEOPLE} | {page.name for room in ROOMS for page in room.PAGES}
    words |= {says for room in ROOMS for says in room.NOTICES.values()}

    assert {str(word) for word in words} <= extracted(HOUSE)


@pytest.mark.parametrize("predictions", Predictions)
def test_what_probast_ai_asks_and_says_is_in_the_catalogues(predictions):
    report = build(evidence([released("ankang", statistics(*patients(1, 150)))]))
    protocol = report.evidence.protocol.model_copy(update={"predictions": predictions})
    given = report.evidence.model_copy(update={"protocol": protocol})

    domains = known(report.model_copy(update={"evidence": given}))
    facts = [one for each in domains.values() for one in each]

    assert len(facts) == 13
    own = {"%(reference)s"}  # the protocol's words
    assert {one.sentence for one in facts} | {one.question for one in facts} <= own | extracted(
        HOUSE
    )
    assert {one.sentence % one.values for one in facts}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_of_the_federation_has_text_outside_the_catalogues(template):
    assert words_outside(template) == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_of_the_federation_acts_by_itself(template):
    assert acts_by_itself(template) == []
