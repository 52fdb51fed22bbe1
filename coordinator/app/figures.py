"""The treaty's histograms, handed to the evaluation room's arithmetic and back."""

from collections.abc import Sequence

from coordinator.evaluation.pool import Histogram, auc_alone, pool
from protos.scores import BINS
from protos.v1.job_pb2 import ScoreHistogram


def pool_histograms(
    histograms: Sequence[ScoreHistogram],
) -> tuple[float | None, float | None, float | None]:
    """Return the pooled AUC and its 95 % interval; None where a class is missing."""
    each = {str(number): _counts(histogram) for number, histogram in enumerate(histograms)}
    found = pool(each, BINS).auc
    return (None, None, None) if found is None else (found.value, found.low, found.high)


def site_auc(histogram: ScoreHistogram) -> float | None:
    return auc_alone(_counts(histogram))


def _counts(histogram: ScoreHistogram) -> Histogram:
    return Histogram(tuple(histogram.positives), tuple(histogram.negatives))
