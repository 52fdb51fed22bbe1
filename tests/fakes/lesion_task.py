"""The generated lesion task as hospitals hold it: frozen cohorts of phantoms, rounds on them."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event

from coordinator.evaluation.pool import Histogram, pool
from deploy.demo.phantoms import SiteProfile, make_cohort
from gateway.evaluate.statistics import read_predictions, score_histogram
from gateway.model import Pseudonym, PseudoUID
from gateway.sandbox.rules import split_of
from gateway.sandbox.runner import Finished, Runner
from gateway.sandbox.workspace import CohortSeries, Workspace, freeze
from protos.scores import BINS

KEY = b"k" * 32  # of the split: the same patients are held out, whoever freezes them


def drawn(
    folder: Path, profile: SiteProfile, patients: int, seed: int = 20
) -> tuple[list[CohortSeries], dict[str, int]]:
    """Write one hospital's phantoms; return its series and their labels."""
    cohort, labels = [], {}
    for number, (study, lesion) in enumerate(make_cohort(seed, profile, patients)):
        files = []
        for dataset in study:
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            files.append(folder / f"{number}-{len(files)}.dcm")
            dataset.save_as(files[-1], enforce_file_format=True)
        first = study[0]
        cohort.append(
            CohortSeries(
                PseudoUID(first.SeriesInstanceUID),
                PseudoUID(first.StudyInstanceUID),
                Pseudonym(first.PatientID),
                tuple(files),
            )
        )
        labels[first.SeriesInstanceUID] = int(lesion)
    return cohort, labels


def frozen(root: Path, cohort: Sequence[CohortSeries], labels: dict[str, int]) -> Workspace:
    return freeze(root, cohort, labels, lambda patient: split_of(patient, KEY))


def a_hospital(folder: Path, profile: SiteProfile, patients: int, seed: int = 20) -> Workspace:
    return frozen(folder / "workspace", *drawn(folder, profile, patients, seed))


def a_round(runner: Runner, code: Path, hospital: Workspace, weights: Path, number: int, **more):
    """Run a job's round in the sandbox; return what it put out."""
    outcome = runner.run(code, hospital, weights, {"round": number, **more}, 300, Event())
    assert isinstance(outcome, Finished), outcome.log.decode()
    return outcome.outputs


def pooled_auc(runner: Runner, code: Path, hospitals: dict[str, Workspace], weights: Path) -> float:
    """Return a model's AUC on all hospitals' held-out patients, of the counts that may leave."""
    histograms = {}
    for name, hospital in hospitals.items():
        outputs = a_round(runner, code, hospital, weights, 1, evaluate_only=True)
        scores = read_predictions(outputs["predictions.csv"], hospital.truth)
        found = score_histogram(scores, hospital.truth)
        histograms[name] = Histogram(found.positives, found.negatives)
    return pool(histograms, BINS).auc.value
