"""What a steward reads of a job is what its kind sends."""

import pytest

from gateway.desk import dossier
from protos.bundle import JobManifest, parse_manifest

MANIFEST = """
name = "volumes"
kind = "{kind}"
purpose = "How large nodules are."
label = "nodule"
clip = 1.0
sigma = 0.5
[[cohort]]
field = "Modality"
operator = "equal"
values = ["CT"]
"""
TENSOR = '[{name}.found]\ndtype = "F32"\nshape = [4]\n'


def manifest(kind, tensors=""):
    return parse_manifest(MANIFEST.format(kind=kind) + tensors)


@pytest.mark.parametrize(
    ("kind", "tensors", "begins"),
    [
        ("training", TENSOR.format(name="weights"), "an update of 4 values"),
        ("analytics", TENSOR.format(name="outputs"), "a table of 4 values"),
    ],
)
def test_tensors_leave_clipped_noised_and_at_a_price(kind, tensors, begins):
    job = manifest(kind, tensors)

    said, price = dossier.leaves(job), dossier.cost(job, 0.0, 100.0)

    assert said[0].startswith(begins)
    assert "noise N(0, 0.5^2)" in said[0]
    assert (price["rho_per_round"], price["bits_per_round"] > 2) == (8.0, True)


@pytest.mark.parametrize(("kind", "tests"), [("evaluation", True), ("analytics", False)])
def test_held_out_cases_are_counted_where_something_predicts(kind, tests):
    job = manifest(kind, TENSOR.format(name="outputs") if kind == "analytics" else "")

    assert any("held-out cases" in line for line in dossier.leaves(job)) is tests


def test_a_steward_reads_whose_code_runs_and_on_what():
    own = {
        "form": "moments",
        "kind": "analytics",
        "config": {"features": ["PatientAge"], "minimum": [0], "maximum": [100]},
        "weights": {name: {"shape": [1]} for name in ("present", "first", "second")},
    }
    plain = {
        "name": "x",
        "purpose": "A test.",
        "label": "lesion",
        "cohort": [{"field": "Modality", "values": ["CT"]}],
        "kind": "training",
        "weights": {"w": {"shape": [2]}},
    }

    said = [
        dossier.runs(JobManifest.model_validate(plain | more))
        for more in ({}, {"form": "flower", "runtime": "flower"}, own)
    ]

    assert said == [
        "job.py of the bundle; in the runtime python-numpy",
        "a Flower App of the bundle; in the runtime flower",
        "this hospital's own code, moments, on PatientAge in [0, 100]; in the runtime python-numpy",
    ]
