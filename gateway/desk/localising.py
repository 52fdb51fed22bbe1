"""Boxes and masks of one look, laid on the reference standard and counted by patient."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

from gateway.desk.beside import BesideBoxes, BesideMasks
from gateway.desk.locked_sets import Earlier
from gateway.desk.references import Reference, References
from gateway.evaluate.boxes import read_boxes
from gateway.evaluate.cells import C, Key, Unscored, by_patient, gather, shown_of_places
from gateway.evaluate.detections import COLUMNS, Searched, Searches, search
from gateway.evaluate.masks import Packed, read_masks, unpacked
from gateway.evaluate.overlap import (
    Case,
    Overlapped,
    Overlaps,
    compare,
    dice_counts,
    overlapped,
)
from gateway.evaluate.predictions import Fault
from gateway.evaluate.readers import FEWEST_CASES, voxel_readings
from gateway.evaluate.statistics import NoStatistics, StatisticsCode
from gateway.evaluate.votes import CaseVotes
from gateway.model import Box
from gateway.sandbox.workspace import Workspace
from protos.evaluation import EvaluationProtocol, Predictions
from protos.scores import BINS
from protos.tensors import Buffer
from protos.v1 import job_pb2

Groups = Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Localising:
    """One look at where things are: the cohort, the label and the readers' drawings of it."""

    references: References
    workspace: Workspace
    label: str
    protocol: EvaluationProtocol
    groups: Groups
    earlier: Earlier | None = None  # the product it is compared with
    unreferenced: int = 0  # patients
    _votes: list[CaseVotes] = field(default_factory=list)  # of cases that somebody drew
    _drawn: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    _files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def fill(self, said: job_pb2.EvaluationStatistics, raw: Buffer) -> StatisticsCode | None:
        """Put what may leave into the statistics, or say why nothing does."""
        truth = self.workspace.truth
        self._files = self.workspace.files()
        self._drawn = self.references.who_drew(sorted(truth), self.label)
        found_in = [case for case, positive in truth.items() if positive]
        if found_in and not any(case in self._drawn for case in found_in):
            return StatisticsCode.REFERENCE_MISSING
        boxes = self.protocol.predictions is Predictions.BOXES
        found = self._boxes(said, raw) if boxes else self._masks(said, raw)
        said.unreferenced = self.unreferenced
        self._agree(said)
        return found

    def _agree(self, said: job_pb2.EvaluationStatistics) -> None:
        """Add how readers drew the same cases, where they are enough."""
        agreed = [alike for case in self._votes if (alike := case.pairs_dice()) is not None]
        if len(agreed) >= FEWEST_CASES:
            said.reader_dice.extend(dice_counts(agreed))
        found = voxel_readings(self._votes)
        if found is not None:
            said.voxel_readers.readers, said.voxel_readers.cases = found.readers, found.cases
            said.voxel_readers.voxels.extend(found.patterns)

    def _boxes(self, said: job_pb2.EvaluationStatistics, raw: Buffer) -> StatisticsCode | None:
        read = read_boxes(raw, self.workspace.truth)
        if isinstance(read, NoStatistics):
            return read.code
        hit, beside = self.protocol.hit, None
        assert hit is not None
        if self.earlier is not None:
            beside = BesideBoxes(self.earlier, self.protocol, self.workspace.truth)
        patients = []
        for cases, positive, groups in self._patients():
            findings = [self._findings(case) for case in cases]
            if any(each is None for each in findings):
                self.unreferenced += 1
                continue
            fault = next((read.faults[case] for case in cases if case in read.faults), None)
            found = None
            if fault is None:
                searched = (
                    search(each or [], read.marks[case], hit, self.protocol.locked)
                    for case, each in zip(cases, findings, strict=True)
                )
                found = reduce(add, searched)
                if beside is not None:
                    beside.look(cases, findings, read, positive=positive)
            patients.append(Searched(found, fault, positive, groups))
        counted = gather(patients, self.protocol.subgroups, Searches, Searches.add)
        if beside is not None:
            beside.tell(said)
        return _take(said, counted, lambda *one: said.detections.append(_detection(*one)))

    def _masks(self, said: job_pb2.EvaluationStatistics, raw: Buffer) -> StatisticsCode | None:
        read = read_masks(raw, self.workspace.truth)
        if isinstance(read, NoStatistics):
            return read.code
        beside = None
        if self.earlier is not None:
            beside = BesideMasks(self.earlier, self.workspace.truth)
        patients = []
        for cases, positive, groups in self._patients():
            laid = [self._laid(case, read.get(case), beside) for case in cases]
            found = [each for each in laid if each is not None]
            if len(found) < len(laid):
                self.unreferenced += 1
                continue
            measured = [case for case, _ in found if isinstance(case, Case)]
            fault = next((case for case, _ in found if isinstance(case, Fault)), None)
            patient = (
                overlapped(measured, groups, positive=positive)
                if fault is None
                else Overlapped(fault, positive, groups)
            )
            patients.append(patient)
            if beside is not None:
                beside.add(patient, [other for _, other in found])
        counted = gather(patients, self.protocol.subgroups, Overlaps, Overlaps.add)
        if beside is not None:
            beside.tell(said)
        return _take(said, counted, lambda *one: said.overlaps.append(_overlap(*one)))

    def _patients(self) -> Iterator[tuple[list[str], bool, Mapping[str, str]]]:
        truth = self.workspace.truth
        for cases in by_patient(truth, self.workspace.patients()):
            yield cases, any(truth[case] for case in cases), self.groups.get(cases[0], {})

    def _reference(self, case: str) -> Reference | None:
        """Return where a case's findings are; None where its label says so and no drawing does."""
        drawn = self._drawn.get(case, ()) if self.workspace.truth[case] else ()
        found = self.references.of(self._files[case], drawn, self.label)
        if found is not None and found.votes is not None and self.protocol.readers:
            self._votes.append(found.votes.case())
        return None if self.workspace.truth[case] and not drawn else found

    def _findings(self, case: str) -> list[Box] | None:
        if not self.workspace.truth[case]:
            return []  # whatever one reader drew: the word that stands is another
        reference = self._reference(case)
        return (reference.findings() or None) if reference is not None else None

    def _laid(
        self, case: str, packed: Packed | None, beside: BesideMasks | None
    ) -> tuple[Case | Fault, float | Fault | None] | None:
        """Lay a case's mask on the reference, and beside it the earlier product's."""
        reference = self._reference(case)
        if reference is None:
            return None
        grid, drawn = reference.grid, reference.mask()
        if self.workspace.truth[case] and (drawn is None or not drawn.any()):
            return None
        other = None if beside is None else beside.lay(case, grid, drawn)
        if packed is None:
            return Fault.MISSING, other
        mask = unpacked(packed, grid.shape, grid.affine)
        if isinstance(mask, Fault):
            return mask, other
        return compare(mask, mask & False if drawn is None else drawn, grid.spacing), other


def _take(
    said: job_pb2.EvaluationStatistics,
    counted: tuple[dict[Key, C], Unscored],
    into: Callable[[Key, C], None],
) -> StatisticsCode | None:
    """Put the cells that may leave into the statistics."""
    cells, unscored = counted
    kept = shown_of_places(cells)
    if not kept:
        return StatisticsCode.TOO_FEW_CASES
    for key, cell in kept.items():
        into(key, cell)
    said.cells_withheld = len(cells) - len(kept)
    for name in Unscored.__slots__:
        setattr(said.unscored, name, getattr(unscored, name))
    return None


def _detection(key: Key, cell: Searches) -> job_pb2.DetectionCell:
    columns = {name: cell.columns[name][:BINS].tolist() for name in COLUMNS}
    return job_pb2.DetectionCell(
        field=key[0],
        bin=key[1],
        positives=cell.positives,
        negatives=cell.negatives,
        lesions=cell.lesions,
        lesions2=cell.lesions2,
        at_threshold=[int(cell.columns[name][BINS]) for name in COLUMNS],
        **columns,
    )


def _overlap(key: Key, cell: Overlaps) -> job_pb2.OverlapCell:
    counted = {name: getattr(cell, name) for name in Overlaps.__slots__}
    return job_pb2.OverlapCell(field=key[0], bin=key[1], **counted)
