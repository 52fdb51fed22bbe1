"""What a steward reads of a job is what its kind sends."""

import pytest

from gateway.desk import dossier
from gateway.model import Isolation
from protos.job_manifest import JobManifest, ManifestFault, parse_manifest
from protos.training import TrainingPlan

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


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({}, "fedavg; weighted by patients; all hospitals in each round"),
        (
            {"strategy": "fedprox", "mu": 0.1, "weighting": "equal"},
            "fedprox, mu 0.1; each hospital",
        ),
        (
            {"strategy": "trimmed_mean", "sites_per_round": 5},
            "trim 0.1; each hospital once; 5 hosp",
        ),
        ({"strategy": "fedyogi", "tau": 0.5}, "server_rate 0.1, beta1 0.9, beta2 0.99, tau 0.5;"),
    ],
)
def test_a_steward_reads_what_becomes_of_the_updates(plan, says):
    assert says in dossier.becomes(TrainingPlan(**plan))


@pytest.mark.parametrize(
    ("protocol", "says"),
    [
        ('predictions = "boxes"\nendpoint = "froc"\nthreshold = 0.5\nhit = {}', "findings hit"),
        ('predictions = "masks"\nendpoint = "dice"', "by Dice and by HD95"),
    ],
)
def test_a_test_of_places_says_what_sums_would_leave(protocol, says):
    test = '[protocol]\ntest_set = "a"\nreference = "b"\n' + protocol

    assert any(says in line for line in dossier.leaves(manifest("evaluation", test)))
    more = f'{test}\nreaders = true\ncompare_with = "{"ab" * 32}"'
    told = "\n".join(dossier.leaves(manifest("evaluation", more)))
    assert "and an earlier one, on the same patients" in told
    assert "how many voxels" in told
    with pytest.raises(ManifestFault, match="hyphens"):
        parse_manifest(MANIFEST.format(kind="evaluation").replace("nodule", "Nodule") + test)
    with pytest.raises(ManifestFault, match="is it `threshold`"):
        manifest("evaluation", test + "\ntreshold = 0.5")


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
        dossier.runs(JobManifest.model_validate(plain | more), isolation)
        for more, isolation in (
            ({}, Isolation.BUBBLEWRAP),
            ({"resources": {"gpus": 1}}, Isolation.BUBBLEWRAP),
            ({"form": "flower", "runtime": "flower"}, Isolation.GVISOR),
            (own, Isolation.BUBBLEWRAP),
        )
    ]

    beginning = "in the runtime python-numpy, confined by bubblewrap"
    assert said == [
        f"job.py of the bundle; {beginning}",
        f"job.py of the bundle; {beginning}, with 1 NVIDIA GPU of its own",
        "a Flower App of the bundle; in the runtime flower, confined by gVisor within bubblewrap",
        f"this hospital's own code, moments, on PatientAge in [0, 100]; {beginning}",
    ]
