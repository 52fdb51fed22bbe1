"""One look at a locked test set: a product's predictions become statistics, signed, or a word."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.cohort.count import public_word
from gateway.cohort.rules import bin_of
from gateway.desk.localising import Localising
from gateway.desk.locked_sets import LockedSets
from gateway.desk.references import References
from gateway.evaluate.cells import ALL, Cell, Key, Unit, compare, count, shown, units
from gateway.evaluate.predictions import read_scored
from gateway.evaluate.readers import readings
from gateway.evaluate.statistics import NoStatistics, StatisticsCode
from gateway.release.rules import Rule, Withheld
from gateway.release.statistics import LARGEST_BYTES, statistics_bits
from gateway.sandbox.workspace import Workspace
from gateway.store.strata import Strata
from protos.evaluation import MODEL, EvaluationProtocol, Predictions, model_bin
from protos.job_manifest import JobManifest, protocol_digest
from protos.tensors import Buffer
from protos.v1 import job_pb2
from protos.vocabulary import FIELDS, OTHER, UNKNOWN

Groups = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look is about: the task, whose product, which bundle."""

    task_id: str
    vendor: str
    bundle: bytes
    bits_at_most: float  # what the policy lets one job carry


class Examiner:
    def __init__(self, strata: Strata, sets: LockedSets, references: References) -> None:
        self._strata = strata
        self._references = references
        self.sets = sets

    def examine(
        self,
        raw: Buffer | None,
        look: Look,
        manifest: JobManifest,
        workspace: Workspace,
        weight: float,
    ) -> job_pb2.TaskOutcome | Withheld:
        """Return an outcome with signed statistics, and the whole as its histogram; or why not."""
        protocol = manifest.protocol
        assert protocol is not None
        if raw is None:
            return Withheld(StatisticsCode.MISSING)
        groups = self._groups(protocol, workspace)
        said = job_pb2.EvaluationStatistics(protocol_digest=protocol_digest(manifest))
        if protocol.predictions is Predictions.SCORES:
            fault = self._score(said, bytes(raw), look, protocol, workspace, groups)
        else:
            places = Localising(
                self._references, workspace, manifest.label, protocol, groups,
                self.sets.kept(protocol),
            )  # fmt: skip
            fault = places.fill(said, raw)
            if fault is None:
                self.sets.keep(protocol, look.bundle, raw)
        if fault is not None:
            return Withheld(fault)
        said.look, said.looks_left = self.sets.count(look.task_id, look.vendor, manifest)
        self._read(said, manifest, workspace)
        return self._outcome(look, said, weight)

    def _score(
        self,
        said: job_pb2.EvaluationStatistics,
        raw: bytes,
        look: Look,
        protocol: EvaluationProtocol,
        workspace: Workspace,
        groups: Groups,
    ) -> StatisticsCode | None:
        """Count patients by score, and beside an earlier product's; keep the scores here."""
        tested = _tested(raw, workspace, groups)
        if isinstance(tested, NoStatistics):
            return tested.code
        cells, unscored = count(tested, protocol.locked, protocol.subgroups)
        kept = shown(cells)
        if not kept:
            return StatisticsCode.TOO_FEW_CASES
        said.cells.extend(_cell(key, cell) for key, cell in kept.items())
        said.cells_withheld = len(cells) - len(kept)
        for name in type(unscored).__slots__:
            setattr(said.unscored, name, getattr(unscored, name))
        self._compare(said, tested, protocol, workspace, groups)
        self.sets.keep(protocol, look.bundle, raw)
        return None

    def _outcome(
        self, look: Look, said: job_pb2.EvaluationStatistics, weight: float
    ) -> job_pb2.TaskOutcome | Withheld:
        statistics = said.SerializeToString(deterministic=True)
        if len(statistics) > LARGEST_BYTES:
            return Withheld(StatisticsCode.TOO_LARGE)
        bits = statistics_bits(said)
        if bits > look.bits_at_most:
            return Withheld(Rule.LEAKAGE_BUDGET)
        key, signature = self.sets.sign(look.task_id, statistics)
        outcome = job_pb2.TaskOutcome(
            task_id=look.task_id,
            state=job_pb2.TASK_STATE_RELEASED,
            weight=weight,
            leakage_bits=bits,
            statistics=statistics,
            statistics_key=key,
            statistics_signature=signature,
        )
        if said.cells:
            outcome.validation.positives.extend(said.cells[0].positives)
            outcome.validation.negatives.extend(said.cells[0].negatives)
        return outcome

    def _groups(self, protocol: EvaluationProtocol, workspace: Workspace) -> Groups:
        spelt = self._strata.of_series(workspace.truth)
        return {
            case: {name: _bin(name, words[name], protocol) for name in protocol.subgroups}
            for case, words in spelt.items()
        }

    def _compare(
        self,
        said: job_pb2.EvaluationStatistics,
        tested: list[Unit],
        protocol: EvaluationProtocol,
        workspace: Workspace,
        groups: Groups,
    ) -> None:
        """Add the comparison, where the other product was tested here on the same patients."""
        earlier = self.sets.kept(protocol)
        if earlier is None:
            return
        other = _tested(bytes(earlier.predictions), workspace, groups, earlier=True)
        if isinstance(other, NoStatistics):
            return
        found = compare(tested, other, (protocol.locked, earlier.threshold))
        if found is None:
            return
        comparison = said.comparison
        comparison.other_bundle = earlier.bundle
        for side, cells, counts in (
            (found.positives, comparison.positive_cells, comparison.positive_counts),
            (found.negatives, comparison.negative_cells, comparison.negative_counts),
        ):
            cells.extend(sorted(side))
            counts.extend(side[cell] for cell in sorted(side))
        comparison.this_alone, comparison.other_alone = found.first_alone, found.second_alone

    def _read(
        self, said: job_pb2.EvaluationStatistics, manifest: JobManifest, workspace: Workspace
    ) -> None:
        """Add how readers of the label agree, where the protocol asks and there are enough."""
        if manifest.protocol is None or not manifest.protocol.readers:
            return
        field = FIELDS["Label"]
        calls = [
            (case, reader, public_word(field, word))
            for case, reader, word in self._strata.calls(workspace.truth, manifest.label)
        ]
        found = readings(
            (case, reader, int(word == "POSITIVE"))
            for case, reader, word in calls
            if word in field.bins
        )
        if found is not None:
            said.readers.readers = found.readers
            said.readers.counts.extend(found.patterns)


def _tested(
    raw: bytes, workspace: Workspace, groups: Groups, *, earlier: bool = False
) -> list[Unit] | NoStatistics:
    scored = read_scored(raw, workspace.truth, earlier=earlier)
    if isinstance(scored, NoStatistics):
        return scored
    return units(scored, workspace.truth, workspace.patients(), groups)


def _cell(key: Key, cell: Cell) -> job_pb2.EvaluationCell:
    field, bin_ = ("", "") if key == ALL else key
    return job_pb2.EvaluationCell(
        field=field,
        bin=bin_,
        positives=cell.positives,
        negatives=cell.negatives,
        true_positives=cell.true_positives,
        false_positives=cell.false_positives,
    )


def _bin(name: str, spelt: str, protocol: EvaluationProtocol) -> str:
    """Return the closed word of a subgroup: the vocabulary's, or the place of a model."""
    if name != MODEL:
        return bin_of(FIELDS[name], public_word(FIELDS[name], spelt))
    known = [model.casefold() for model in protocol.models]
    if not spelt:
        return UNKNOWN
    word = spelt.strip().casefold()
    return model_bin(known.index(word) + 1) if word in known else OTHER
