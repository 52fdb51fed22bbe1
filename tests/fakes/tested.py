"""A test at made-up hospitals: scores are drawn, counted by the gateway's own rules, and signed."""

from base64 import b64encode
from hashlib import sha256

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.evaluation.document import Evidence, SiteEvidence
from gateway.evaluate.cells import ALL, Unit, count, shown
from protos.evaluation import EvaluationProtocol
from protos.reports import statistics_statement
from protos.v1 import job_pb2

PROTOCOL = EvaluationProtocol(
    test_set="lungs-2026",
    reference="Two radiologists and a third where they differed.",
    threshold=0.4,
    subgroups=("PatientSex", "ManufacturerModelName"),
    models=("Alpha", "Beta <2>"),
    readers=True,
)
UNLIKE = ("wall_limit", "code_failed", "too_few_cases")


def patients(seed, number, separation=1.5, shift=0.0):
    """Return scores, truth and sexes of one hospital's patients."""
    rng = np.random.default_rng(seed)
    truth = rng.random(number) < 0.4
    logits = rng.normal(0, 1, number) + separation * truth - separation / 2 + shift
    return 1 / (1 + np.exp(-logits)), truth, rng.choice(["F", "M"], number)


def signature_of(site):
    return Ed25519PrivateKey.from_private_bytes(sha256(site.encode()).digest())


def statistics(scores, truth, sexes, comparison=None, readers=None):
    units = [
        Unit(float(score), None, positive=bool(side), groups={"PatientSex": str(sex),
                                                              "ManufacturerModelName": "model 2"})
        for score, side, sex in zip(scores, truth, sexes, strict=True)
    ]  # fmt: skip
    cells, unscored = count(units, PROTOCOL.threshold, PROTOCOL.subgroups)
    kept = shown(cells)
    said = job_pb2.EvaluationStatistics(
        protocol_digest=b"p" * 32, cells_withheld=len(cells) - len(kept), look=1, looks_left=2
    )
    said.unscored.missing_positives = 2 + unscored.missing_positives
    for key, cell in kept.items():
        field, bin_ = ("", "") if key == ALL else key
        said.cells.add(
            field=field, bin=bin_, positives=cell.positives, negatives=cell.negatives,
            true_positives=cell.true_positives, false_positives=cell.false_positives,
        )  # fmt: skip
    if comparison is not None:
        said.comparison.CopyFrom(comparison)
    if readers is not None:
        said.readers.readers = 2
        said.readers.counts.extend(readers)
    return said


def released(site, said):
    raw = said.SerializeToString(deterministic=True)
    task = f"task-{site}"
    key = signature_of(site)
    return SiteEvidence(
        site=site, decision="approved", state="released", code="", task=task,
        statistics=b64encode(raw).decode(), public_key=key.public_key().public_bytes_raw().hex(),
        signature=key.sign(statistics_statement(task, raw)).hex(), leakage_bits=500.0,
    )  # fmt: skip


def ended(site, state, code):
    return SiteEvidence(
        site=site, decision="approved", state=state, code=code, task=f"task-{site}",
        statistics="", public_key="", signature="", leakage_bits=0.0,
    )  # fmt: skip


def evidence(sites, **changes):
    facts = {
        "federation": "lungs", "job": "j1", "name": "nodule-finder", "project": "lung-nodules",
        "purpose": "Find <nodules> & say so.", "bundle": "ab" * 32, "weights": "cd" * 32,
        "vendor_key": "ef" * 32, "reviews": 2, "submitted_at": "2026-11-25T00:00:00+00:00",
        "label": "nodule", "inclusion": ("Modality equal CT",), "protocol": PROTOCOL,
        "protocol_sha256": "70" * 32, "sites": tuple(sites),
    }  # fmt: skip
    return Evidence(**(facts | changes))
