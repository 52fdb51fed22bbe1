"""A test's statistics as one row of whole numbers, in an order that the protocol alone fixes.

What a hospital does not show is zero in its row, and so is counted in no sum.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from protos.evaluation import MODEL, EvaluationProtocol, model_bin
from protos.scores import BINS, JOINT_BINS
from protos.v1.job_pb2 import EvaluationCell, EvaluationStatistics, ProductComparison
from protos.vocabulary import OTHER, UNKNOWN, labels

ALL = ("", "")
UNSCORED = ("missing_positives", "missing_negatives", "unusable_positives", "unusable_negatives")
CELL = 2 * BINS + 3  # two histograms, two counts at the threshold, and who shows it
JOINT = JOINT_BINS**2
COMPARED = 2 * JOINT + 3  # two tables, two counts of calls, and who could compare


class NotAdditive(ValueError):
    """Statistics that have no place in the protocol's row."""


def places(protocol: EvaluationProtocol) -> list[tuple[str, str]]:
    """Return every cell that a hospital could show, all patients first."""
    return [
        ALL,
        *((field, bin_) for field in protocol.subgroups for bin_ in _bins(field, protocol)),
    ]


def length(protocol: EvaluationProtocol) -> int:
    beside = COMPARED if protocol.compare_with is not None else 0
    return len(places(protocol)) * CELL + len(UNSCORED) + 1 + beside


def row_of(protocol: EvaluationProtocol, said: EvaluationStatistics) -> list[int]:
    """Lay one hospital's statistics out; what only it can say of itself stays out."""
    known = places(protocol)
    cells = {(cell.field, cell.bin): cell for cell in said.cells}
    if cells.keys() - set(known) or len(cells) < len(said.cells):
        raise NotAdditive("a cell is not one of the protocol's")
    found = [*chain.from_iterable(_cell(cells.get(name)) for name in known)]
    found += [getattr(said.unscored, name) for name in UNSCORED]
    found.append(said.cells_withheld)
    if protocol.compare_with is not None:
        found += _comparison(said)
    return found


def statistics_of(
    protocol: EvaluationProtocol, row: Sequence[int]
) -> tuple[EvaluationStatistics, dict[tuple[str, str], int]]:
    """Read a sum of rows; beside it, how many hospitals each cell is of."""
    if len(row) != length(protocol):
        raise NotAdditive("a row is not as long as the protocol's")
    left = iter(row)
    said, shown = EvaluationStatistics(), dict[tuple[str, str], int]()
    for field, bin_ in places(protocol):
        cell = EvaluationCell(field=field, bin=bin_)
        cell.positives.extend(islice(left, BINS))
        cell.negatives.extend(islice(left, BINS))
        cell.true_positives, cell.false_positives = next(left), next(left)
        if hospitals := next(left):
            shown[field, bin_] = hospitals
            said.cells.append(cell)
    for name in UNSCORED:
        setattr(said.unscored, name, next(left))
    said.cells_withheld = next(left)
    if protocol.compare_with is not None:
        _read_comparison(said, left, bytes.fromhex(protocol.compare_with))
    return said, shown


def _bins(field: str, protocol: EvaluationProtocol) -> tuple[str, ...]:
    if field != MODEL:
        return labels(field)
    return (*(model_bin(at) for at, _ in enumerate(protocol.models, 1)), OTHER, UNKNOWN)


def _cell(cell: EvaluationCell | None) -> list[int]:
    if cell is None:
        return [0] * CELL
    return [*cell.positives, *cell.negatives, cell.true_positives, cell.false_positives, 1]


def _comparison(said: EvaluationStatistics) -> list[int]:
    joint, found = said.comparison, [0] * COMPARED
    for start, cells, counts in (
        (0, joint.positive_cells, joint.positive_counts),
        (JOINT, joint.negative_cells, joint.negative_counts),
    ):
        for cell, count in zip(cells, counts, strict=True):
            found[start + cell] = count
    found[2 * JOINT :] = joint.this_alone, joint.other_alone, said.HasField("comparison")
    return found


def _read_comparison(said: EvaluationStatistics, left: Iterator[int], other: bytes) -> None:
    sides = [[*islice(left, JOINT)] for _ in range(2)]
    this_alone, other_alone, hospitals = left
    if not hospitals:
        return
    joint = ProductComparison(other_bundle=other, this_alone=this_alone, other_alone=other_alone)
    for side, cells, counts in (
        (sides[0], joint.positive_cells, joint.positive_counts),
        (sides[1], joint.negative_cells, joint.negative_counts),
    ):
        kept = [(cell, count) for cell, count in enumerate(side) if count]
        cells.extend(cell for cell, _ in kept)
        counts.extend(count for _, count in kept)
    said.comparison.CopyFrom(joint)
