"""A job's cohort: selected, frozen once, and counted through the budget before it is spoken of."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from gateway.cohort.count import select, truths
from gateway.cohort.privacy import Exhausted
from gateway.cohort.rules import NotSupported, conditions
from gateway.desk.rules import Refusal
from gateway.errors import IntegrityFault
from gateway.model import Pseudonym, PseudoUID
from gateway.quality.grade import Grade
from gateway.sandbox.rules import Split, split_of
from gateway.sandbox.workspace import CohortSeries, Workspace, freeze, side_of
from gateway.store.tally import Selected, Tally
from protos.evaluation import Design
from protos.job_manifest import JobManifest, predicates

TESTED = {Design.EXTERNAL: frozenset(Split), Design.INTERNAL: frozenset({Split.TEST})}


class Weighing(Protocol):
    def noisy_patients(self, what: str, requester: str, true: int) -> int | Exhausted: ...


class Cohorts:
    def __init__(
        self,
        tally: Tally,
        weighing: Weighing,
        store_dir: Path,
        split_key: bytes,
        is_rotating: Callable[[], bool] = lambda: False,
        root_of: Callable[[Pseudonym], Pseudonym | None] = lambda patient: patient,
    ) -> None:
        """Take the split's key, and what leads from a pseudonym to the one it is drawn by."""
        self._is_rotating = is_rotating
        self._root_of = root_of
        self._tally = tally
        self._weighing = weighing
        self._store_dir = store_dir
        self._split_key = split_key

    def frozen(self, root: Path, manifest: JobManifest) -> Workspace | Refusal:
        """Return the job's workspace: the one of its first round, for all its rounds.

        Unless something in it was withdrawn or rejected since, or somebody is in it who is a test's
        by now: then it is frozen anew without, and nothing joins it. A job never runs on nobody,
        nor where more is broken than it allows.
        """
        if self._is_rotating():
            return Refusal("rotation_under_way")
        found = self._kept_or_frozen(root, manifest)
        if isinstance(found, Refusal):
            return found
        if found.bad_share > manifest.bad_cases_at_most:
            return Refusal("too_many_bad_cases")
        return Refusal("cohort_too_small") if found.is_empty else found

    def _kept_or_frozen(self, root: Path, manifest: JobManifest) -> Workspace | Refusal:
        protocol = manifest.protocol
        tested = TESTED[protocol.design] if protocol is not None else frozenset[Split]()
        earlier: Mapping[str, int] | None = None
        with suppress(IntegrityFault):
            workspace = Workspace.load(root)
            earlier = workspace.cases()
            if self._may_see(workspace, tested) and self._tally.still_shows(earlier):
                return workspace
        cohort = self._select(manifest)
        if isinstance(cohort, Refusal):
            return cohort
        root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if earlier is not None:
            cohort = [series for series in cohort if series.series_uid in earlier]
        return freeze(root, cohort, self.labels(manifest), self.split, tested)

    def _may_see(self, workspace: Workspace, tested: frozenset[Split]) -> bool:
        """Ask the split as it is now: a gateway before this one had no test to keep out."""
        patients = {Pseudonym(patient) for patient in workspace.patients().values()}
        return all(side_of(self.split(patient), tested) is not None for patient in patients)

    def weigh(self, job_id: str, vendor: str, manifest: JobManifest) -> float | Refusal:
        """Return the job's patients with noise on: a count like any other, paid for like one."""
        cohort = self._select(manifest)
        if isinstance(cohort, Refusal):
            return cohort
        patients = len({series.patient for series in cohort})
        noisy = self._weighing.noisy_patients(f"job {job_id}", f"vendor {vendor}", patients)
        return Refusal(noisy.rule) if isinstance(noisy, Exhausted) else float(max(1, noisy))

    def selected(self, manifest: JobManifest) -> list[CohortSeries] | Refusal:
        """Return the series a round would run on."""
        found = self._select(manifest)
        return found if isinstance(found, Refusal) else list(found)

    def labels(self, manifest: JobManifest) -> dict[str, int]:
        return truths(manifest.label, self._tally)

    def split(self, patient: Pseudonym) -> Split | None:
        """Return the side a patient is on for ever; None where nobody can tell: then on none."""
        root = self._root_of(patient)
        return None if root is None else split_of(root, self._split_key)

    def _select(self, manifest: JobManifest) -> Sequence[CohortSeries] | Refusal:
        """Select labelled series whose files are all in place."""
        if self._is_rotating():
            return Refusal("rotation_under_way")
        where = conditions(predicates(manifest))
        if isinstance(where, NotSupported):
            return Refusal(where.rule)
        labels = truths(manifest.label, self._tally)

        def is_labelled(series: Selected) -> bool:
            return series.series_uid in labels or series.study_uid in labels

        found = select(where, self._tally, is_labelled)
        chosen = list(filter(is_labelled, found))
        if len(found) - len(chosen) > manifest.unlabelled_share_at_most * len(found):
            return Refusal("labels_missing")
        return [
            CohortSeries(
                PseudoUID(series.series_uid),
                PseudoUID(series.study_uid),
                Pseudonym(series.patient),
                tuple(self._store_dir / path for path in self._tally.files(series.series_uid)),
                is_usable=series.grade != Grade.D,
            )
            for series in chosen
        ]
