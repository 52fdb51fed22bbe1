"""A coordinator has one story of a job's rounds; each other one is named."""

import pytest

from gateway.desk.chain import ChainFault, judge
from protos.transcripts import (
    AT_MOST,
    TRANSCRIPT_BYTES,
    bears_its_signature,
    part_of,
    update_statement,
)
from protos.v1.job_pb2 import JobOffer, RoundTask, TaskOutcome
from tests.fakes.story import Story, weights_of

BUNDLE, X = b"b" * 32, b"x" * 32
OFFER = JobOffer(job_id="job1", bundle_digest=BUNDLE)
OFFER.terms.weights_digest = weights_of(1)


@pytest.fixture(scope="module")
def story():
    return Story(BUNDLE)


def a_task(number, told, **changes):
    fields = {"weights_digest": weights_of(number), "job_id": "job1", "round": number}
    return RoundTask(**fields | changes, transcripts=told)


def test_an_honest_story_holds_from_the_beginning_in_pieces_and_repeated(story):
    told = story.told(4)

    assert judge(a_task(5, told), OFFER, [], b"") is None
    parts = {"parts": story.parts, "parts_round": 3}
    assert judge(a_task(5, told[2:], **parts), OFFER, told[:3], weights_of(1)) is None
    assert judge(a_task(5, told, **parts), OFFER, told[:1], b"") is None  # as after a restore
    assert judge(a_task(5, told[3:]), OFFER, told[:3], b"") is None
    assert judge(a_task(5, told), OFFER, told, b"") is None
    assert judge(a_task(3, told[:2]), OFFER, told, b"") is None  # an older task, come late
    assert judge(a_task(1, []), OFFER, [], b"") is None


def lies(story):
    told, other = story.told(3), Story(BUNDLE)
    forged = story.told(3)
    forged[-1].weights_after = X
    skipped = [told[0], *story.told(3)[2:]]
    return {
        "no word": (a_task(4, []), [], ChainFault.UNSIGNED),
        "weights swapped": (a_task(4, told, weights_digest=X), [], ChainFault.OTHER_WEIGHTS),
        "word altered": (a_task(4, forged, weights_digest=X), [], ChainFault.FORGED),
        "told anew": (
            a_task(4, story.told(3, weights_after=X), weights_digest=X), told, ChainFault.FORKED,
        ),
        "another before": (a_task(4, story.told(3, weights_before=X)), told[:2], ChainFault.BROKEN),
        "another predecessor": (a_task(4, story.told(3, previous=X)), told[:2], ChainFault.BROKEN),
        "only the last, from elsewhere": (
            a_task(4, story.told(3, previous=X)[2:]), told[:2], ChainFault.BROKEN,
        ),
        "a round left out": (a_task(4, skipped), [], ChainFault.BROKEN),
        "the first rounds left out": (a_task(4, told[1:]), [], ChainFault.GAP),
        "a round too few": (a_task(5, told), [], ChainFault.GAP),
        "another key": (a_task(4, other.told(3)), told[:1], ChainFault.OTHER_KEY),
        "another bundle": (a_task(4, Story(X).told(3)), [], ChainFault.OTHER_JOB),
        "another job": (a_task(4, Story(BUNDLE, "job2").told(3)), [], ChainFault.OTHER_JOB),
        "other parts": (a_task(4, told, parts=[X], parts_round=2), [], ChainFault.OTHER_PARTS),
        "of no round": (a_task(4, told, parts=[X], parts_round=9), [], ChainFault.OTHER_PARTS),
    }  # fmt: skip


@pytest.mark.parametrize("lie", lies(Story(BUNDLE)))
def test_each_lie_is_named(story, lie):
    task, kept, fault = lies(story)[lie]

    assert judge(task, OFFER, kept, b"") is fault


def test_a_story_begins_with_what_reviewers_signed_and_with_what_was_given_here(story):
    elsewhere = story.told(1, weights_before=X)

    assert judge(a_task(2, elsewhere), OFFER, [], b"") is ChainFault.OTHER_START
    assert judge(a_task(2, story.told(1)), OFFER, [], X) is ChainFault.OTHER_START
    assert judge(a_task(2, story.told(1, previous=X)), OFFER, [], b"") is ChainFault.OTHER_START
    unsigned = JobOffer(job_id="job1", bundle_digest=BUNDLE)
    assert judge(a_task(2, elsewhere), unsigned, [], b"") is None


def test_a_long_story_has_room_in_one_message(story):
    one = story.told(1)[0]
    one.job_id, one.round = "j" * 64, 1000

    assert one.ByteSize() <= TRANSCRIPT_BYTES
    assert AT_MOST * (TRANSCRIPT_BYTES + 3) < 40 << 10


def test_an_updates_signature_is_for_one_task_one_digest_and_one_weight(story):
    signed = TaskOutcome(task_id="t1", update_digest=X, weight=12.5)
    signed.update_key = story.key.public_key().public_bytes_raw()
    signed.update_signature = story.key.sign(update_statement("t1", X, 12.5))

    assert bears_its_signature(signed)
    assert bears_its_signature(TaskOutcome(task_id="t1", update_digest=X))
    for change in ({"task_id": "t2"}, {"update_digest": b"y" * 32}, {"weight": 13.0}):
        other = TaskOutcome.FromString(signed.SerializeToString())
        for field, value in change.items():
            setattr(other, field, value)
        assert not bears_its_signature(other)
    assert part_of("t1", X, 12.5) != part_of("t1", X, 12.0) != part_of("t2", X, 12.0)
