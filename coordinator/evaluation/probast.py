"""PROBAST+AI's four domains, with the facts the platform knows; the judgement stays a person's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from coordinator.evaluation.document import (
    Domain,
    Evidence,
    Flow,
    Report,
    SiteReport,
    Statement,
    SubgroupReport,
)
from protos.evaluation import Design, Predictions

Name = Literal["participants", "predictors", "outcome", "analysis"]
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


@dataclass(frozen=True, slots=True)
class Known:
    """A signalling question, and what the platform knows: a sentence, and what stands in it."""

    question: str
    sentence: str
    values: Mapping[str, object] = field(default_factory=dict)


def domains(
    evidence: Evidence,
    flow: Flow,
    patients: tuple[int, int],
    sites: Sequence[SiteReport],
    subgroups: Sequence[SubgroupReport],
) -> tuple[Domain, ...]:
    """Return the four domains as a report has them, in English; `patients`: with, without."""
    return tuple(
        Domain(
            domain=name,
            statements=tuple(
                Statement(question=one.question, known=one.sentence % one.values)
                for one in statements
            ),
        )
        for name, statements in _known(evidence, flow, patients, sites, subgroups).items()
    )


def known(report: Report) -> Mapping[Name, Sequence[Known]]:
    """Return what stands in a report's four domains, for readers of other languages."""
    figures = report.pooled or report.detection or report.overlap
    patients = (figures.positives, figures.negatives) if figures else (0, 0)
    return _known(report.evidence, report.flow, patients, report.sites, report.subgroups)


def _known(
    evidence: Evidence,
    flow: Flow,
    patients: tuple[int, int],
    sites: Sequence[SiteReport],
    subgroups: Sequence[SubgroupReport],
) -> dict[Name, Sequence[Known]]:
    return {
        "participants": _participants(evidence, flow),
        "predictors": _predictors(evidence, subgroups),
        "outcome": _outcome(evidence),
        "analysis": _analysis(evidence, flow, patients, sites),
    }


def _participants(evidence: Evidence, flow: Flow) -> Sequence[Known]:
    return (
        Known(
            "Were appropriate data sources used?",
            "routine images of %(reporting)s of %(asked)s hospitals asked; %(design)s",
            {
                "reporting": flow.hospitals_reporting,
                "asked": flow.hospitals_asked,
                "design": DESIGNS[evidence.protocol.design],
            },
        ),
        Known(
            "Were inclusions and exclusions appropriate?",
            "fixed beforehand: %(inclusion)s; and a word on %(label)s",
            {"inclusion": "; ".join(evidence.inclusion), "label": evidence.label},
        ),
        Known(
            "Are training and test patients apart?",
            (
                "within a hospital by a keyed hash before any job saw them; whether a patient was "
                "in two hospitals is unknown"
            ),
        ),
    )


def _predictors(evidence: Evidence, subgroups: Sequence[SubgroupReport]) -> Sequence[Known]:
    return (
        Known(
            "Were predictors the same for all participants?",
            (
                "images de-identified under one profile within each hospital; "
                "%(shown)s subgroups could be shown of %(fields)s fields"
            ),
            {"shown": len(subgroups), "fields": len(evidence.protocol.subgroups)},
        ),
        Known(
            "Were predictors assessed without knowledge of the outcome?",
            "yes: the product ran without a network and saw no label of a tested patient",
        ),
        Known(
            "Are all predictors available when the product is used?",
            "not known to the platform",
        ),
    )


def _outcome(evidence: Evidence) -> Sequence[Known]:
    return (
        Known(
            "Was the outcome determined appropriately?",
            "%(reference)s",
            {"reference": evidence.protocol.reference},
        ),
        Known(
            "Was it determined without knowledge of the predictors?",
            (
                "labels stood in the hospital's index before the product ran; what their readers "
                "knew is not known to the platform"
            ),
        ),
        Known(
            "Is it the same for all participants?",
            "one label, %(label)s, in every hospital",
            {"label": evidence.label},
        ),
    )


def _analysis(
    evidence: Evidence, flow: Flow, patients: tuple[int, int], sites: Sequence[SiteReport]
) -> Sequence[Known]:
    said = evidence.protocol.predictions
    return (
        _enough(said, patients),
        Known(
            "Were all participants in the analysis?",
            (
                "%(scored)s were scored; %(unscored)s were not, and are counted; "
                "%(silent)s hospitals gave no figures, and each is named; "
                "%(timeouts)s of them ran out of time"
            ),
            {
                "scored": flow.patients_scored,
                "unscored": sum(flow.patients_unscored.values()),
                "silent": flow.hospitals_asked - flow.hospitals_reporting,
                "timeouts": flow.timeouts,
            },
        ),
        _fixed(evidence, max((one.look for one in sites), default=0)),
        Known("Were discrimination and calibration both assessed?", ASSESSED[said]),
    )


def _enough(said: Predictions, patients: tuple[int, int]) -> Known:
    """Say how many there are of whom there are fewest."""
    if said is Predictions.SCORES:
        count = min(patients)
        enough, few = (
            "%(count)s of the rarer class",
            "%(count)s of the rarer class (fewer than 100)",
        )
    else:
        count = patients[0]
        enough, few = (
            "%(count)s with the finding",
            "%(count)s with the finding (fewer than 100)",
        )
    question = "Were there enough participants with the outcome?"
    return Known(question, few if count < FEW_EVENTS else enough, {"count": count})


def _fixed(evidence: Evidence, most: int) -> Known:
    threshold = evidence.protocol.threshold
    sentence = (
        (
            "bundle and protocol were signed before the set was unlocked (%(reviews)s reviews); "
            "at most look %(look)s of this product"
        )
        if threshold is None
        else (
            "bundle, threshold %(threshold)s and protocol were signed before the set was unlocked "
            "(%(reviews)s reviews); at most look %(look)s of this product"
        )
    )
    values = {"threshold": threshold, "reviews": evidence.reviews, "look": most}
    return Known("Was the model fixed before the test?", sentence, values)
