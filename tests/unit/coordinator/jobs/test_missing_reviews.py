"""Whose signatures are there, which of them count, and whose are missing."""

import pytest

from coordinator.jobs.reviews import read_reviews
from protos.manifest import Signer
from tests.fakes.signers import Signatories, at

RAW = b"a bundle"


@pytest.fixture(scope="module")
def people():
    return Signatories()


def read(people, reviewers, needed=2, manifest=None, **changes):
    offer = people.offer(RAW, reviewers, **changes)
    return read_reviews(offer, manifest or people.manifest, needed, people.now)


def test_without_a_review_every_outsiders_organisation_may_give_one(people):
    found = read(people, ())

    assert (found.counted, found.missing) == (0, 2)
    assert found.may_come_from == ("ethics-board", "uni")  # acme made it
    assert [(one.role, one.name, one.fault) for one in found.signatures] == [("vendor", "acme", "")]


def test_a_second_one_comes_from_another_organisation(people):
    found = read(people, ("ruth",))

    assert (found.counted, found.missing) == (1, 1)
    assert found.may_come_from == ("uni",)  # rosa is of ruth's own house


def test_two_of_one_organisation_count_as_one(people):
    found = read(people, ("ruth", "rosa"))

    assert (found.counted, found.missing) == (1, 1)
    assert found.may_come_from == ("uni",)


def test_enough_ask_for_nobody(people):
    found = read(people, ("ruth", "rolf"))

    assert (found.counted, found.missing, found.may_come_from) == (2, 0, ())
    assert {one.organisation for one in found.signatures} == {"acme", "ethics-board", "uni"}


@pytest.mark.parametrize(
    ("reviewers", "fault"),
    [(("vera",), "wrong_organisation"), (("stranger",), "unknown_signer")],
)
def test_what_does_not_count_says_why(people, reviewers, fault):
    found = read(people, reviewers)

    assert [one.fault for one in found.signatures] == ["", fault]
    assert found.missing == 2


def test_of_an_unknown_vendor_nothing_counts(people):
    found = read(people, ("ruth", "rolf"), vendor="stranger")

    assert found.signatures[0].fault == "unknown_signer"
    assert found.signatures[0].name == people.public("stranger").hex()[:16]
    assert (found.counted, found.may_come_from) == (0, ())
    assert read_reviews(people.offer(RAW), None, 2, people.now).signatures[0].fault == "no_manifest"


def test_a_reviewer_whose_time_ran_out_is_not_named(people):
    late = tuple(
        Signer(**one.model_dump() | {"expires": at(people.now)}) if one.name == "rolf" else one
        for one in people.manifest.signers
    )

    found = read(people, ("ruth",), manifest=people.make(signers=late))

    assert found.may_come_from == ()
