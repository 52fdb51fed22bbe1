"""What a steward reads before deciding: what would leave, what it costs, what has changed."""

from collections.abc import Mapping
from difflib import unified_diff
from math import sqrt
from typing import Any

from gateway.desk.charging import code_bits, dataset_of
from gateway.desk.rules import update_bits
from gateway.model import Isolation
from gateway.release.rules import metric_bits
from protos.evaluation import Predictions
from protos.job_manifest import SHIPPED, Form, JobManifest
from protos.scores import BINS
from protos.training import OF, TrainingPlan
from protos.update_price import DELTA, epsilon, rho_per_patient

NO_BOUND = "no leakage bound"
DIFF_LINES_AT_MOST = 2000
STATISTICS = {
    Predictions.SCORES: (
        f"counts of held-out cases in {BINS} bins of the score, from 10 + 10 cases on"
    ),
    Predictions.BOXES: (
        f"sums over patients of findings hit and of false marks at {BINS} thresholds of the score, "
        "from 10 + 10 patients on (10 where nobody without the finding is tested)"
    ),
    Predictions.MASKS: (
        "counts of patients by Dice and by HD95, and two sums of Dice, from 10 + 10 patients on "
        "(10 where nobody without the finding is tested)"
    ),
}
COMPARISONS = {
    Predictions.SCORES: "the same patients by bins of this product's score and an earlier one's",
    Predictions.BOXES: (
        "of this product and an earlier one, on the same patients: both rows of sums, squares and "
        "products at the locked thresholds, findings that one alone hit, and how FROC's mean varies"
    ),
    Predictions.MASKS: (
        "of this product and an earlier one, on the same patients: sums of Dice, and counts of "
        "patients by how far apart the two are"
    ),
}
CALLS = "how often readers called cases alike, without a name, from 20 cases on"
DRAWINGS = f"{CALLS}; how alike they drew, and how many voxels who of them drew"
READINGS = {
    Predictions.SCORES: CALLS,
    Predictions.BOXES: DRAWINGS,
    Predictions.MASKS: DRAWINGS,
}


def leaves(manifest: JobManifest) -> list[str]:
    """Say exactly what would leave in each round, and under how much noise."""
    said = []
    if manifest.sends_tensors:
        what = "a table" if manifest.kind == "analytics" else "an update"
        values = sum(spec.count for spec in manifest.weights.values())
        norm = manifest.sigma * sqrt(values)
        noise = f"noise N(0, {manifest.sigma:g}^2) on every value, of norm {norm:.3g}"
        said += [
            f"{what} of {values} values, clipped jointly to norm {manifest.clip:g}, "
            + (noise if manifest.sigma > 0 else f"without noise: {NO_BOUND}"),
            *(
                f"  {name}: {spec.dtype} {list(spec.shape)}"
                for name, spec in sorted(manifest.weights.items())
            ),
        ]
    if manifest.kind != "analytics":
        predicted = manifest.protocol.predictions if manifest.protocol else Predictions.SCORES
        said.append(STATISTICS[predicted])
    if (protocol := manifest.protocol) is not None and protocol.compare_with is not None:
        said.append(COMPARISONS[protocol.predictions])
    if protocol is not None and protocol.readers:
        said.append(READINGS[protocol.predictions])
    if manifest.is_summed:
        said.insert(0, "in a secure sum, under masks: the coordinator learns the hospitals' sum of")
    said += [
        f"metric {spec.name} in [{spec.minimum:g}, {spec.maximum:g}], {spec.decimals} decimals, "
        "from 10 patients on"
        for spec in manifest.metrics
    ]
    if manifest.is_summed:
        said.append("keys of the round, shares and signatures of the secure sum")
    return [*said, "the number of patients with noise, and one closed word of how it ended"]


def becomes(plan: TrainingPlan) -> str:
    """Say what the coordinator makes of the updates: by which strategy, of how many hospitals."""
    own = [
        f"{name} {getattr(plan, name):g}"
        for name, strategies in OF.items()
        if plan.strategy in strategies and name != "weighting"
    ]
    weighting = (
        "each hospital once"
        if plan.weighting == "equal" or plan.sees_each_update
        else ("weighted by patients")
    )
    asked = f"{plan.sites_per_round} hospitals drawn" if plan.sites_per_round else "all hospitals"
    return f"{', '.join([plan.strategy, *own])}; {weighting}; {asked} in each round"


def runs(manifest: JobManifest, isolation: Isolation) -> str:
    """Say whose code runs, on what of a case where that is fixed, in which runtime and sandbox."""
    cards = manifest.resources.gpus
    where = f"in the runtime {manifest.runtime}, confined by {isolation.words}"
    where += f", with {cards} NVIDIA GPU{'s' * (cards > 1)} of its own" if cards else ""
    if manifest.form in SHIPPED:
        settings: Any = manifest.config
        bounds = zip(settings["features"], settings["minimum"], settings["maximum"], strict=True)
        read = ", ".join(f"{name} in [{low:g}, {high:g}]" for name, low, high in bounds)
        return f"this hospital's own code, {manifest.form}, on {read}; {where}"
    return f"{'a Flower App' if manifest.form is Form.FLOWER else 'job.py'} of the bundle; {where}"


def cost(manifest: JobManifest, spent: float, at_most: float) -> dict[str, Any]:
    """Say what the job would take from both budgets: bits and a patient's epsilon."""
    update = update_bits(manifest)
    message = code_bits(manifest) + sum(map(metric_bits, manifest.metrics))
    each = NO_BOUND if update < 0 else round(update + message, 1)
    facts: dict[str, Any] = {
        "dataset": dataset_of(manifest),
        "bits_per_round": each,  # a histogram's come on top: log2 C(n + bins - 1, bins - 1)
        "bits_all_rounds": each if isinstance(each, str) else round(each * manifest.rounds, 1),
        "vendor_bits_spent": round(spent, 1),
        "vendor_bits_at_most": at_most,
    }
    if manifest.sends_tensors and manifest.sigma > 0:
        rho = rho_per_patient(manifest.clip, manifest.sigma)
        facts["rho_per_round"] = round(rho, 3)
        facts["epsilon_all_rounds"] = f"{epsilon(rho * manifest.rounds):.4g} at delta {DELTA:g}"
    return facts


def changes(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> str:
    """Return a unified diff of two bundles; what is not text is named only."""
    lines: list[str] = []
    for name in sorted({*before, *now}):
        old, new = before.get(name, b""), now.get(name, b"")
        if old != new:
            lines += _diff(name, old, new)
    cut = len(lines) > DIFF_LINES_AT_MOST
    return "\n".join(lines[:DIFF_LINES_AT_MOST] + ["(and more: see --code)"] * cut)


def _diff(name: str, old: bytes, new: bytes) -> list[str]:
    try:
        before, now = (content.decode("utf-8").splitlines() for content in (old, new))
    except UnicodeDecodeError:
        return [f"{name}: other bytes ({len(old)} before, {len(new)} now)"]
    return list(unified_diff(before, now, f"before/{name}", f"now/{name}", lineterm=""))
