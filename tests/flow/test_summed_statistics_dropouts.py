"""Hospitals drop out of the sum of a test's statistics: it is of those that are left."""

from base64 import b64encode
from datetime import UTC, datetime

import numpy as np
import pytest

from coordinator.evaluation.document import Evidence, SumEvidence
from coordinator.evaluation.report import figures
from coordinator.evaluation.summed import add_up
from protos import job_manifest
from protos.statistics_vector import ALL
from protos.v1.job_pb2 import EvaluationStatistics
from tests.fakes.summing import (
    BUNDLE,
    TEST_TOML,
    SumOfOneRound,
    a_look,
    acquainted,
    enter_test,
)
from tests.flow.test_sum_dropouts import NAMES, run

pytestmark = pytest.mark.flow


@pytest.fixture
def looks(tmp_path):
    """Let five hospitals look at a locked set; return the round, and what each counted."""
    draw = np.random.default_rng(7)
    hospitals = acquainted(tmp_path, None, NAMES, least=3)
    tasks, counted = {}, {}
    for name, hospital in hospitals.items():
        hospital.now = datetime.now(UTC)
        sides = draw.integers(0, 3, (2, 200)).tolist()
        counted[name] = a_look(hospital, f"job1.1.{name}", *sides)
        tasks[name] = enter_test(hospital, *sides)
    return SumOfOneRound(hospitals, tasks), counted


def evidence_of(sums):
    """Return what a report would hold of this sum."""
    secrets = sums.circle.secrets(sums.said, sums.dealers, sums.survivors)
    masked = {site: sums.update(site).read_bytes() for site in sums.survivors}
    return Evidence.model_construct(
        job=sums.context.job_id,
        bundle=BUNDLE.hex(),
        weights=sums.context.weights_digest.hex(),
        protocol=job_manifest.parse_manifest(TEST_TOML).protocol,
        sum=SumEvidence(
            round=1,
            roster=b64encode(sums.roster.SerializeToString()).decode(),
            transcript="",
            secrets={site: secret.hex() for site, secret in secrets.items()},
            masked={site: b64encode(raw).decode() for site, raw in masked.items()},
        ),
    )


@pytest.mark.parametrize("at", ["masks", "transcript"])
def test_the_figures_are_those_of_who_is_in_the_sum(looks, at):
    sums, counted = looks

    run(sums, gone=["h3"], at=at)
    added = add_up(evidence_of(sums))

    inside = [statistics(counted[site]) for site in sums.survivors]
    assert ("h3" in sums.survivors) == (at == "transcript")
    assert added.shown == {ALL: len(inside), ("PatientSex", "F"): len(inside)}
    for at_cell, cell in enumerate(added.statistics.cells):
        assert figures([cell]) == figures([each.cells[at_cell] for each in inside])
    assert added.statistics.unscored.missing_positives == 3 * len(inside)


def statistics(outcome):
    return EvaluationStatistics.FromString(outcome.statistics)
