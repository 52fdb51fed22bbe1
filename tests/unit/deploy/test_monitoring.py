"""What is documented, drawn and alerted on is what is measured."""

import json
import re
from pathlib import Path

import pytest

from coordinator.app import metrics as centre
from gateway.app import metrics as hospital

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "deploy" / "monitoring"
NAME = re.compile(r"\bradfed_[a-z_]+\b")
ROW = re.compile(r"^\| `(radfed_[a-z_]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)
COUNTERS = {"radfed_instances_received", "radfed_associations", "radfed_custody_failures"}


def measured():
    """Return each metric's name as it is scraped, with its labels and its sentence."""
    return {
        metric.name + ("_total" if metric.name in COUNTERS else ""): (metric.labels, metric.says)
        for metric in (*hospital.ALL, *centre.ALL)
    }


def test_the_page_of_metrics_says_what_the_code_says():
    rows = ROW.findall((ROOT / "docs" / "metrics.md").read_text())

    documented = {
        name: (tuple(re.findall(r"`(\w+)`", labels)), says) for name, labels, says in rows
    }
    assert documented == measured()


def test_no_label_could_hold_an_identifier():
    labels = {label for labels, _ in measured().values() for label in labels}

    assert labels <= {
        "worker", "outcome", "place", "state", "certificate", "standing", "stage",
    }  # fmt: skip


@pytest.mark.parametrize("file", ["dashboard.json", "alerts.yaml"])
def test_every_metric_drawn_or_alerted_on_exists(file):
    text = (MONITORING / file).read_text()
    if file.endswith(".json"):
        panels = json.loads(text)["panels"]
        text = "\n".join(target["expr"] for panel in panels for target in panel["targets"])
        assert len({panel["id"] for panel in panels}) == len(panels)
    named = set(NAME.findall(text))

    assert len(named) > 15
    assert named <= measured().keys()


def test_every_alert_says_what_to_do():
    text = (MONITORING / "alerts.yaml").read_text()

    assert text.count("- alert:") == text.count("summary:") == text.count("severity:")
    assert "\t" not in text
