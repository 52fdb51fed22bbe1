from datetime import UTC, datetime, timedelta

import pytest

from protos import bundle
from protos.signatures import Distrust, Distrusted, verify_offer, verify_question
from protos.v1 import job_pb2
from protos.v1.question_pb2 import COUNT_UNIT_STUDIES
from tests.fakes.signers import FEDERATION, SITE, Signatories, at

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RAW = b"a packed bundle"


@pytest.fixture(scope="module")
def people():
    return Signatories(NOW)


def refusal(check, *words):
    with pytest.raises(Distrusted) as refused:
        check(*words)
    return refused.value.why


def test_a_question_its_requester_signed_is_of_that_requester(people):
    asker = verify_question(people.question(), people.manifest, SITE, NOW)

    assert (asker.name, asker.organisation) == ("alice", "uni")


@pytest.mark.parametrize(
    "change",
    [
        lambda q: setattr(q, "project", "nodules-2"),
        lambda q: setattr(q, "unit", COUNT_UNIT_STUDIES),
        lambda q: q.where[0].values.append("MR"),
        lambda q: setattr(q.where[0], "field", "BodyPartExamined"),
        lambda q: setattr(q.where[0], "operator", 2),
        lambda q: q.where.pop(),
        lambda q: q.group_by.append("PatientSex"),
        lambda q: setattr(q.signed, "nonce", b"another nonce 16"),
        lambda q: q.signed.expires_at.FromDatetime(NOW + timedelta(hours=9)),
        lambda q: setattr(q.signed, "signature", b""),
    ],
)
def test_whatever_the_coordinator_changes_breaks_the_signature(people, change):
    question = people.question()
    change(question)

    assert refusal(verify_question, question, people.manifest, SITE, NOW) is Distrust.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"by": "stranger"}, Distrust.UNKNOWN_SIGNER),
        ({"by": "ruth"}, Distrust.WRONG_ROLE),
        ({"by": "acme"}, Distrust.WRONG_ROLE),
        ({"minutes": -1}, Distrust.SIGNATURE_EXPIRED),
        ({"minutes": 3 * 24 * 60}, Distrust.VALID_TOO_LONG),
        ({"project": "weather"}, Distrust.UNKNOWN_PROJECT),
        ({"project": ""}, Distrust.UNKNOWN_PROJECT),
    ],
)
def test_a_question_of_the_wrong_person_or_hour_is_refused(people, wishes, why):
    assert refusal(verify_question, people.question(**wishes), people.manifest, SITE, NOW) is why


def test_a_question_without_a_signature_or_a_manifest_is_refused(people):
    bare = people.question()
    bare.ClearField("signed")

    assert refusal(verify_question, bare, people.manifest, SITE, NOW) is Distrust.UNSIGNED
    assert refusal(verify_question, people.question(), None, SITE, NOW) is Distrust.NO_MANIFEST


def test_a_signature_of_another_federation_does_not_count_here(people):
    elsewhere = people.make(federation="other")

    assert refusal(verify_question, people.question(), elsewhere, SITE, NOW) is (
        Distrust.BAD_SIGNATURE
    )


def _project(people, **changes):
    return people.make(projects=(people.manifest.projects[0].model_copy(update=changes),))


def test_what_the_manifest_takes_back_counts_no_more(people):
    question = people.question()
    short = tuple(s.model_copy(update={"expires": at(NOW)}) for s in people.manifest.signers)

    for manifest, why in (
        (people.make(expires=at(NOW)), Distrust.MANIFEST_EXPIRED),
        (people.make(not_before=at(NOW) + 1), Distrust.MANIFEST_EXPIRED),
        (people.make(without="alice"), Distrust.UNKNOWN_SIGNER),
        (people.make(signers=short), Distrust.SIGNER_EXPIRED),
        (_project(people, expires=at(NOW)), Distrust.PROJECT_EXPIRED),
        (_project(people, organisations=("acme",)), Distrust.WRONG_ORGANISATION),
        (_project(people, hospitals=("hefei",)), Distrust.WRONG_HOSPITAL),
    ):
        assert refusal(verify_question, question, manifest, SITE, NOW) is why


def verify(people, offer, site=SITE, reviewers=2, now=NOW):
    return verify_offer(offer, people.manifest, site, reviewers, now)


def test_a_third_reviewer_may_be_of_either_organisation(people):
    offer = people.offer(RAW, reviewers=("ruth", "rosa", "rolf"))

    assert verify(people, offer, reviewers=3).name == "acme"


def test_a_job_that_two_outsiders_reviewed_is_its_vendors(people):
    assert verify(people, people.offer(RAW)).name == "acme"


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"reviewers": ()}, Distrust.TOO_FEW_REVIEWS),
        ({"reviewers": ("ruth",)}, Distrust.TOO_FEW_REVIEWS),
        ({"reviewers": ("ruth", "ruth")}, Distrust.TOO_FEW_REVIEWS),
        ({"reviewers": ("ruth", "rosa")}, Distrust.TOO_FEW_REVIEWS),  # of one organisation
        ({"reviewers": ("ruth", "vera")}, Distrust.WRONG_ORGANISATION),
        ({"reviewers": ("ruth", "alice")}, Distrust.WRONG_ROLE),
        ({"reviewers": ("ruth", "acme")}, Distrust.WRONG_ROLE),
        ({"reviewers": ("ruth", "rolf", "stranger")}, Distrust.UNKNOWN_SIGNER),
        ({"vendor": "stranger"}, Distrust.UNKNOWN_SIGNER),
        ({"vendor": "ruth"}, Distrust.WRONG_ROLE),
        ({"vendor": "rival"}, Distrust.WRONG_ORGANISATION),
        ({"days": -1}, Distrust.SIGNATURE_EXPIRED),
        ({"rounds": 4}, Distrust.TERMS_DIFFER),
    ],
)
def test_a_job_without_the_right_signatures_is_refused(people, wishes, why):
    assert refusal(verify, people, people.offer(RAW, **wishes)) is why


@pytest.mark.parametrize(
    "change",
    [
        lambda o: setattr(o, "job_id", "job2"),
        lambda o: setattr(o.terms, "rounds", 300),
        lambda o: setattr(o.terms, "weights_digest", b"x" * 32),
        lambda o: o.terms.sites.append("hefei"),
        lambda o: o.terms.expires_at.FromDatetime(NOW + timedelta(days=3000)),
        lambda o: setattr(o.reviews[0], "signature", bytes(64)),
    ],
)
def test_a_review_holds_for_one_job_and_its_terms(people, change):
    offer = people.offer(RAW)
    change(offer)

    assert refusal(verify, people, offer) is Distrust.BAD_SIGNATURE


def test_a_review_does_not_move_to_another_bundle(people):
    offer, other = people.offer(RAW), b"another bundle"
    offer.bundle_digest = bundle.digest(other)
    offer.vendor_signature = bundle.sign(other, people.keys["acme"])

    assert refusal(verify, people, offer) is Distrust.BAD_SIGNATURE


def test_a_job_is_for_the_hospitals_the_reviewers_saw(people):
    assert refusal(verify, people, people.offer(RAW), "hefei") is Distrust.WRONG_HOSPITAL


def test_an_offer_of_an_older_coordinator_has_too_few_reviews(people):
    offer = people.offer(RAW)
    offer.ClearField("terms")

    assert refusal(verify, people, offer) is Distrust.TOO_FEW_REVIEWS


def test_a_signature_says_in_the_open_what_it_is_for(people):
    from protos.signatures import question_statement, review_statement

    assert question_statement(people.question(), FEDERATION).startswith(b"radfed question v1\n{")
    assert review_statement(job_pb2.JobOffer(), FEDERATION).startswith(b"radfed review v1\n{")
