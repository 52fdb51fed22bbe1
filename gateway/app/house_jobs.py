"""Vendors' jobs for the console: whose signatures count, what would leave, and what it costs."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from difflib import unified_diff
from typing import Any

from gateway.app.approving import approval, approvals, approve
from gateway.app.build import build_audit, build_book, build_pins
from gateway.config import GatewayConfig
from gateway.desk.offers import offer_of
from gateway.durable import replace_durably
from gateway.errors import ConfigurationFault
from gateway.policy import Policy, load_policy, parse_policy
from protos.manifest import Manifest
from protos.signatures import Distrusted, verify_review, verify_vendor
from protos.v1 import job_pb2

DECISIONS = "SELECT body FROM report WHERE kind = 'decision' AND subject = ?"
NO_BOUND = "no leakage bound"
DIFF_LINES = 4000
STANDING = """
[[jobs.standing]]
vendor = "{vendor}"
bundle = "{bundle}"
kind = "{kind}"
max_rounds = {rounds}
max_leakage_bits = {bits}
"""


class Inbox:
    def __init__(self, config: GatewayConfig) -> None:
        self._config = config

    def everything(self) -> list[dict[str, Any]]:
        return list(reversed(approvals(self._config)))

    def show(self, job_id: str) -> dict[str, Any]:
        """Return all that a steward decides by."""
        job = approval(self._config, job_id, with_code=True)
        policy = load_policy(self._config.policy_file)
        manifest = build_pins(self._config).manifest()
        with closing(build_book(self._config)) as book:
            row = book.job(job_id)
            tasks = [
                {
                    "round": task.round,
                    "stage": str(task.stage),
                    "code": task.code,
                    "at": task.taken_at,
                }
                for task in book.tasks_of(job_id)
            ]
        assert row is not None  # `approval` has found it
        offer = offer_of(row)
        return job | {
            "tasks": tasks,
            "signatures": list(_signatures(offer, manifest)),
            "reviewers_demanded": policy.trust.reviewers,
            "project_says": _project(offer, manifest),
            "costs": _costs(job, policy),
            "changes": self._changes(job),
            "size": offer.bundle_size,
        }

    def approve_always(self, job_id: str, by: str) -> str:
        """Approve, and let the policy approve this bundle from now on; the same file as pinning."""
        job = approval(self._config, job_id, with_code=False)
        bits = job["leakage_bits_per_round"]
        if bits == NO_BOUND:
            raise ConfigurationFault(
                "a standing rule needs a leakage bound, and this job has none: approve it once"
            )
        rule = STANDING.format(
            vendor=job["vendor"],
            bundle=job["bundle_digest"],
            kind=job["kind"],
            rounds=job["rounds"],
            bits=repr(round(bits * job["rounds"] + 1.0, 1)),
        )
        load_policy(self._config.policy_file)
        text = self._config.policy_file.read_text("utf-8") + rule
        parse_policy(text)
        stage = str(approve(self._config, job_id, by)["stage"])
        replace_durably(self._config.policy_file, text.encode())
        with closing(build_audit(self._config)) as audit:
            audit.record(
                "standing_rule_added", vendor=job["vendor"], bundle=job["bundle_digest"], by=by
            )
        return stage

    def _changes(self, job: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what differs from the vendor's last approved bundle of this name."""
        earlier = [
            other
            for other in approvals(self._config)
            if (other["vendor"], other["name"]) == (job["vendor"], job["name"])
            and other["bundle_digest"] != job["bundle_digest"]
            and self._was_approved(other["job_id"])
        ]
        if not earlier or not job["files"]:
            return None
        last = approval(self._config, earlier[-1]["job_id"], with_code=True)
        lines = list(_differ(last["files"], job["files"]))
        return {
            "since": last["job_id"],
            "lines": lines[:DIFF_LINES],
            "more": len(lines) > DIFF_LINES,
        }

    def _was_approved(self, job_id: str) -> bool:
        """Say whether this hospital ever approved a job: one that is over by now counts too."""
        desk = sqlite3.connect(self._config.desk_dir / "desk.db", timeout=30)
        with closing(desk):
            rows = desk.execute(DECISIONS, (job_id,)).fetchall()
        said = [job_pb2.JobDecision.FromString(body).decision for (body,) in rows]
        return job_pb2.DECISION_APPROVED in said


def _differ(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, after = (files.get(name, "").splitlines() for files in (old, new))
        yield from unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="")


def _signatures(offer: job_pb2.JobOffer, manifest: Manifest | None) -> Iterator[dict[str, str]]:
    """Yield who signed, as the pinned manifest knows them, and whether each signature counts."""
    now = datetime.now(UTC)
    try:
        vendor = verify_vendor(offer, manifest, now)
    except Distrusted as fault:
        yield _signature("vendor", offer.vendor_key, manifest, str(fault.why))
        return
    yield _signature("vendor", offer.vendor_key, manifest, "")
    for review in offer.reviews:
        try:
            verify_review(offer, review, manifest, vendor, now)
        except Distrusted as fault:
            yield _signature("reviewer", review.public_key, manifest, str(fault.why))
        else:
            yield _signature("reviewer", review.public_key, manifest, "")


def _signature(
    role: str, public_key: bytes, manifest: Manifest | None, fault: str
) -> dict[str, str]:
    signer = manifest.signer(public_key) if manifest else None
    return {
        "role": role,
        "name": signer.name if signer else public_key.hex()[:16],
        "organisation": signer.organisation if signer else "",
        "fault": fault,
    }


def _project(offer: job_pb2.JobOffer, manifest: Manifest | None) -> dict[str, Any] | None:
    project = manifest.project(offer.terms.project) if manifest else None
    return None if project is None else project.model_dump()


def _costs(job: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """Return what the job takes of both budgets, all its rounds together."""
    rounds, clip, sigma = job["rounds"], job["clip"], job["sigma"]
    bits = job["leakage_bits_per_round"]
    bounded = bits != NO_BOUND
    rho = 2 * clip**2 / sigma**2 if sigma else None  # a clipped update can move by 2 C
    return {
        "bits": bits * rounds if bounded else None,
        "bits_at_most": policy.jobs.leakage_bits_per_job_at_most,
        "rho_per_round": rho,
        "rho": None if rho is None else rho * rounds,
        # Its patients are counted once, with noise, and the year's budget pays for that.
        "count_rho": 1 / (2 * policy.questions.sigma**2),
        "rho_per_year": policy.questions.rho_per_year,
    }
