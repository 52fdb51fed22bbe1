"""A job as its pages tell it: from the vendor over two reviewers to hospitals and a model."""

import re
import time
from datetime import UTC, datetime
from html import unescape

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from coordinator.api.client import Credential
from coordinator.app.setup import issue_person
from coordinator.cli import job as commands
from coordinator.config import write_private
from protos import bundle
from protos.identity import Role
from protos.signatures import sign_review
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.federation_console import a_console_federation
from tests.fakes.signers import Signatories, take_in
from tests.flow.test_coordinator_rounds import a_bundle, moving_by

pytestmark = pytest.mark.flow


def test_a_job_is_followed_from_its_submission_to_its_end(tmp_path):
    people = Signatories()
    with a_console_federation(tmp_path / "hub", "a", "b", reviews=True) as federation:
        running = federation.running
        take_in(running, people)
        until(lambda: running.coordinator.rooms.roll.version == 1)
        for gateway in federation.gateways:
            gateway.working = moving_by(1.0, 30)
        raw = a_bundle(tmp_path)

        job = ask(federation, lambda c: c.upload(raw) and c.submit(submission(people, raw)))
        path = f"/jobs/{job}"
        reviewer = federation.somebody("ruth", Role.REVIEWER, "ethics-board")
        said = [words(reviewer.get(path))]
        said.append(words(sign_by_page(reviewer, path, people, raw, tmp_path)))
        review(federation, people, job, "rolf")
        said.append(words(reviewer.get(path)))
        until(lambda: "lesions · finished" in words(reviewer.get(path)))
        last = words(reviewer.get(path))

    assert "2 of 2 reviews are missing. They can come from ethics-board, uni." in said[0]
    assert "Your review counts." in said[1]
    assert "reviewer ruth (ethics-board): counts" in said[1]
    assert "1 of 2 reviews are missing. They can come from uni." in said[1]
    assert "All 2 reviews are there." in said[2]
    assert "final model 2 0 0 0 0" in last  # both hospitals released, in what comes after round 2
    assert "a approved released" in last


def submission(people, raw):
    return SubmitJobRequest(
        bundle_digest=bundle.digest(raw),
        vendor_key=people.public("acme"),
        vendor_signature=bundle.sign(raw, people.keys["acme"]),
        project="nodules",
    )


def ask(federation, call, credential=None):
    return federation.do(federation.running.asked(call, credential))


def sign_by_page(reviewer, path, people, raw, home):
    """Save the review, sign it where the key lies, bring it back: what does not count says so."""
    file = home / "review.json"
    file.write_text(reviewer.get(f"{path}/review.json").text)
    token = reviewer.get(path).token
    unsigned = reviewer.post(f"{path}/review", token, signed=file.read_text())
    assert unsigned.status == 400
    for name, status in (("vera", 403), ("stranger", 403), ("ruth", 200)):
        key = home / f"{name}.key"
        private = people.keys[name]
        write_private(key, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        typed = ("sign", str(file), "--key", str(key), "--yes")
        assert run(*typed, "--bundle", "0" * 64).exit_code == 9
        assert run(*typed, "--bundle", bundle.digest(raw).hex()).exit_code == 0
        signed = (home / "review.signed.json").read_text()
        answer = reviewer.post(f"{path}/review", token, signed=signed)
        assert answer.status == status, name
    other = reviewer.post("/jobs/another/review", token, signed=signed)
    assert other.status == 400
    assert reviewer.post(f"{path}/review", token, signed="<b>\u202e").status == 400
    return answer


def run(*words):
    return CliRunner().invoke(commands, [*words, "--json"], catch_exceptions=False)


def review(federation, people, job, name):
    """Sign where the key is, as `radfed job review` does."""
    home = federation.running.directory
    into = home / f"as-{name}"
    issue_person(home / "coordinator.toml", Role.REVIEWER, name, "", into, datetime.now(UTC))
    credential = Credential.load(into)
    offer = ask(federation, lambda c: c.job(job), credential).offer
    signed = sign_review(offer, "demo", people.keys[name])
    ask(federation, lambda c: c.review(job, signed), credential)


def words(page):
    """Return what a page says, without its markup."""
    inline = re.sub(r"</?(?:bdi|span|a)\b[^>]*>", "", page.text)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", inline)).split())


def until(claim, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
