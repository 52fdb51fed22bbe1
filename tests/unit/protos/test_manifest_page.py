"""docs/job-toml.md explains every field that a manifest may have, and none that it may not."""

import re
from pathlib import Path

import pytest

from protos.job_manifest import Condition, JobManifest, MetricSpec, Resources
from protos.tensors import TensorSpec
from protos.training import TrainingPlan

PAGE = (Path(__file__).parents[3] / "docs" / "job-toml.md").read_text()
PARTS = {"": JobManifest, "cohort": Condition, "weights": TensorSpec, "metrics": MetricSpec,
         "resources": Resources, "training": TrainingPlan}  # fmt: skip


def explained(part):
    """Return the fields in the table below a part's heading, or in the first table."""
    text = PAGE if not part else PAGE[re.search(rf"^\*\*`\[+{part}", PAGE, re.MULTILINE).start() :]
    rows = re.search(r"\|---\|---\|\n((?:\|.*\n)+)", text)[1].splitlines()
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.mark.parametrize("part", PARTS)
def test_every_field_is_explained(part):
    assert explained(part) == set(PARTS[part].model_fields)
