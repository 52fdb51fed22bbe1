"""PROBAST+AI's four domains, with the facts the platform knows; the judgement stays a person's."""

from collections.abc import Sequence
from typing import Literal

from coordinator.evaluation.document import (
    Domain,
    Evidence,
    Flow,
    SiteReport,
    Statement,
    SubgroupReport,
)
from protos.evaluation import Design, Predictions

DESIGNS = {
    Design.EXTERNAL: "external: all patients of hospitals whose gateways refuse to train on it",
    Design.INTERNAL: "internal: the test split of hospitals that may train on the label",
}
ASSESSED = {
    Predictions.SCORES: (
        "yes, each patient once; by DeLong's, Wilson's and likelihood intervals, pooled and "
        "within hospitals"
    ),
    Predictions.BOXES: (
        "localisation, by FROC with intervals over patients; boxes' scores were not calibrated"
    ),
    Predictions.MASKS: "overlap and distance of masks, each patient once; masks have no scores",
}
FEW_EVENTS = 100  # of the rarer class: below, figures of a validation are unstable (Collins 2016)


def domains(
    evidence: Evidence,
    flow: Flow,
    patients: tuple[int, int],
    sites: Sequence[SiteReport],
    subgroups: Sequence[SubgroupReport],
) -> tuple[Domain, ...]:
    return (
        _domain("participants", _participants(evidence, flow)),
        _domain("predictors", _predictors(evidence, subgroups)),
        _domain("outcome", _outcome(evidence)),
        _domain("analysis", _analysis(evidence, flow, patients, sites)),
    )


def _domain(
    name: Literal["participants", "predictors", "outcome", "analysis"], known: dict[str, str]
) -> Domain:
    statements = tuple(Statement(question=q, known=k) for q, k in known.items())
    return Domain(domain=name, statements=statements)


def _participants(evidence: Evidence, flow: Flow) -> dict[str, str]:
    return {
        "Were appropriate data sources used?": (
            f"routine images of {flow.hospitals_reporting} of {flow.hospitals_asked} hospitals "
            f"asked; {DESIGNS[evidence.protocol.design]}"
        ),
        "Were inclusions and exclusions appropriate?": (
            f"fixed beforehand: {'; '.join(evidence.inclusion)}; and a word on {evidence.label}"
        ),
        "Are training and test patients apart?": (
            "within a hospital by a keyed hash before any job saw them; whether a patient was "
            "in two hospitals is unknown"
        ),
    }


def _predictors(evidence: Evidence, subgroups: Sequence[SubgroupReport]) -> dict[str, str]:
    shown = len(subgroups)
    return {
        "Were predictors the same for all participants?": (
            "images de-identified under one profile within each hospital; "
            f"{shown} subgroups could be shown of {len(evidence.protocol.subgroups)} fields"
        ),
        "Were predictors assessed without knowledge of the outcome?": (
            "yes: the product ran without a network and saw no label of a tested patient"
        ),
        "Are all predictors available when the product is used?": "not known to the platform",
    }


def _outcome(evidence: Evidence) -> dict[str, str]:
    return {
        "Was the outcome determined appropriately?": evidence.protocol.reference,
        "Was it determined without knowledge of the predictors?": (
            "labels stood in the hospital's index before the product ran; what their readers "
            "knew is not known to the platform"
        ),
        "Is it the same for all participants?": f"one label, {evidence.label}, in every hospital",
    }


def _analysis(
    evidence: Evidence, flow: Flow, patients: tuple[int, int], sites: Sequence[SiteReport]
) -> dict[str, str]:
    """Say what is known of the analysis; `patients` are those with and without the finding."""
    said = evidence.protocol.predictions
    rarer = min(patients) if said is Predictions.SCORES else patients[0]
    whom = "of the rarer class" if said is Predictions.SCORES else "with the finding"
    unscored = sum(flow.patients_unscored.values())
    most = max((one.look for one in sites), default=0)
    return {
        "Were there enough participants with the outcome?": (
            f"{rarer} {whom}" + (" (fewer than 100)" if rarer < FEW_EVENTS else "")
        ),
        "Were all participants in the analysis?": (
            f"{flow.patients_scored} were scored; {unscored} were not, and are counted; "
            f"{flow.hospitals_asked - flow.hospitals_reporting} hospitals gave no figures, and "
            f"each is named; {flow.timeouts} of them ran out of time"
        ),
        "Was the model fixed before the test?": (
            f"{_locked(evidence)} were signed before the "
            f"set was unlocked ({evidence.reviews} reviews); at most look {most} of this product"
        ),
        "Were discrimination and calibration both assessed?": (ASSESSED[said]),
    }


def _locked(evidence: Evidence) -> str:
    threshold = evidence.protocol.threshold
    return (
        "bundle and protocol"
        if threshold is None
        else f"bundle, threshold {threshold} and protocol"
    )
