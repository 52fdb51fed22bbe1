"""Which documents reject, and what."""

import pytest

from gateway.store.rejection import TITLES, rejection_in
from tests.fakes.custody_house import dataset_of, shipped
from tests.fakes.rejecting import key_objects

CT = dataset_of(shipped("CT_small.dcm"))


@pytest.mark.parametrize("title", TITLES)
def test_each_of_the_four_titles_rejects_what_is_referenced(title):
    found = rejection_in(key_objects([CT], title))

    assert found is not None
    assert (found.title, found.rejected) == (title, {CT.SOPInstanceUID})


@pytest.mark.parametrize("title", ["113000", "113004", "113010", "113036", "", "1130011"])
def test_a_selection_for_another_reason_rejects_nothing(title):
    assert rejection_in(key_objects([CT], title)) is None


def test_the_same_code_of_another_scheme_rejects_nothing():
    assert rejection_in(key_objects([CT], scheme="99LOCAL")) is None


def test_a_document_without_a_title_rejects_nothing():
    document = key_objects([CT])
    del document.ConceptNameCodeSequence

    assert rejection_in(document) is None


def test_a_reference_counts_wherever_it_stands():
    evidence, content = key_objects([CT]), key_objects([CT])
    evidence.ContentSequence = []
    del content.CurrentRequestedProcedureEvidenceSequence

    assert rejection_in(evidence).rejected == rejection_in(content).rejected == {CT.SOPInstanceUID}
