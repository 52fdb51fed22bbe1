"""What a steward reads before deciding: what would leave, what it costs, what has changed."""

from collections.abc import Mapping
from difflib import unified_diff
from math import sqrt
from typing import Any

from gateway.desk.charging import code_bits, dataset_of
from gateway.desk.rules import update_bits
from gateway.release.bits import DELTA, epsilon
from gateway.release.rules import metric_bits
from gateway.release.tensors import rho_per_patient
from protos.bundle import SHIPPED, Form, JobManifest
from protos.scores import BINS

NO_BOUND = "no leakage bound"
DIFF_LINES_AT_MOST = 2000


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
        said.append(f"counts of held-out cases in {BINS} bins of the score, from 10 + 10 cases on")
    said += [
        f"metric {spec.name} in [{spec.minimum:g}, {spec.maximum:g}], {spec.decimals} decimals, "
        "from 10 patients on"
        for spec in manifest.metrics
    ]
    return [*said, "the number of patients with noise, and one closed word of how it ended"]


def runs(manifest: JobManifest) -> str:
    """Say whose code runs, on what of a case where that is fixed, and in which runtime."""
    where = f"in the runtime {manifest.runtime}"
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
