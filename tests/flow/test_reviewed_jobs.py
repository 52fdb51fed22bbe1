"""At the coordinator: a job is nobody's business until outsiders have signed it."""

import asyncio

import pytest

from coordinator.app.setup import issue_person
from coordinator.errors import NotFound, Refused
from protos import bundle
from protos.identity import Role
from protos.signatures import sign_review
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.brightness import a_bundle
from tests.fakes.federation import a_federation, connected
from tests.fakes.signers import Signatories, take_in

pytestmark = pytest.mark.flow


@pytest.fixture
def people():
    return Signatories()


@pytest.fixture
def raw(tmp_path):
    return a_bundle(tmp_path)


def submission(people, raw, project="nodules", vendor="acme"):
    return SubmitJobRequest(
        bundle_digest=bundle.digest(raw),
        vendor_key=people.public(vendor),
        vendor_signature=bundle.sign(raw, people.keys[vendor]),
        project=project,
    )


async def until(claim, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.05)


def beside(tmp_path, people, story):
    async def run():
        async with a_federation(tmp_path / "hub", reviews=True) as federation:
            alpha = await federation.enrolled("a")
            async with connected(alpha):
                take_in(federation, people)
                await until(lambda: federation.coordinator.rooms.roll.version == 1)
                await story(federation, alpha)
            return [e["event"] for e in federation.coordinator.rooms.audit.entries()]

    return asyncio.run(run())


def offers(gateway):
    return [m.job_offer for m in gateway.seen if m.WhichOneof("body") == "job_offer"]


def test_hospitals_see_a_job_when_two_outsiders_have_signed_it(tmp_path, people, raw):
    async def story(federation, alpha):
        from datetime import UTC, datetime

        from coordinator.api.client import Credential

        job_id = await federation.asked(
            lambda c: c.upload(raw) and c.submit(submission(people, raw))
        )
        into = federation.directory / "reviewer"
        settings = federation.directory / "coordinator.toml"
        issue_person(settings, Role.REVIEWER, "ruth", "", into, datetime.now(UTC))
        reviewer = Credential.load(into)

        async def review(name, **swap):
            offer = (await federation.asked(lambda c: c.job(job_id), reviewer)).offer
            for field, value in swap.items():
                setattr(offer, field, value)
            signed = sign_review(offer, "demo", people.keys[name])
            return await federation.asked(lambda c: c.review(job_id, signed), reviewer)

        assert await federation.asked(lambda c: c.bundle(job_id, bundle.digest(raw)), reviewer)
        with pytest.raises(Refused, match="wrong organisation"):
            await review("vera")
        with pytest.raises(Refused, match="unknown signer"):
            await review("stranger")
        with pytest.raises(Refused, match="bad signature"):
            await review("ruth", job_id="another")
        with pytest.raises(Refused, match="may not call"):
            await federation.asked(lambda c: c.review(job_id, sign_review_of_nothing(people)))
        assert (await review("ruth")).reviews == 1
        assert (await review("ruth")).reviews == 1  # twice is once
        assert (await federation.asked(lambda c: c.job(job_id))).job.stage == "in_review"
        assert offers(alpha) == []
        with pytest.raises(Exception, match="NOT_FOUND"):
            await alpha.fetch(bundle.digest(raw))
        assert (await review("rolf")).reviews == 2
        await until(lambda: offers(alpha))
        (offer,) = offers(alpha)
        assert len(offer.reviews) == 2
        assert list(offer.terms.sites) == ["a"]
        assert await alpha.fetch(bundle.digest(raw)) == raw

    events = beside(tmp_path, people, story)

    assert events.count("review_refused") == 3
    assert events.count("job_offered") == 1


def sign_review_of_nothing(people):
    from protos.v1.job_pb2 import JobOffer

    return sign_review(JobOffer(), "demo", people.keys["ruth"])


def test_what_every_hospital_would_refuse_is_refused_at_once(tmp_path, people, raw):
    async def story(federation, _alpha):
        for wishes, says in (
            ({"project": "weather"}, "no project"),
            ({"project": ""}, "no project"),
            ({"vendor": "stranger"}, "unknown signer"),
            ({"vendor": "rival"}, "not in the project"),
        ):
            request = submission(people, raw, **wishes)
            with pytest.raises(Refused, match=says):
                await federation.asked(lambda c, r=request: c.upload(raw) and c.submit(r))
        with pytest.raises(NotFound):
            await federation.asked(lambda c: c.job("none"))

    beside(tmp_path, people, story)


def test_a_manifest_reaches_connected_hospitals_and_those_that_enrol_later(tmp_path, people):
    async def story(federation, alpha):
        def versions():
            return [m.manifest for m in alpha.seen if m.WhichOneof("body") == "manifest"]

        await until(lambda: len(versions()) == 1)
        take_in(federation, people, version=2)
        await until(lambda: len(versions()) == 2)
        with pytest.raises(Refused, match="version 1 is older than 2"):
            take_in(federation, people, version=1)
        assert len(await federation.asked(lambda c: c.projects())) == 1

    beside(tmp_path, people, story)
