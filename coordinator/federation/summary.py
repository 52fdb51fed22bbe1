"""Mean and quantiles of a number, read off its noisy histogram: nothing else went into them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from coordinator.federation.rules import TWO_SIDED_95
from protos.v1.federation_pb2 import Estimate, Quantile, Summary, TotalCell
from protos.vocabulary import FIELDS, Field

SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin of a histogram: where it lies, what was counted, and its noise's variance."""

    low: float
    high: float
    count: float
    variance: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


def summaries(name: str, group_by: Sequence[str], cells: Iterable[TotalCell]) -> Iterator[Summary]:
    """Yield a summary of a number for each combination of the question's other groups."""
    place, field = list(group_by).index(name), FIELDS[name]
    held: dict[tuple[str, ...], dict[str, TotalCell]] = {}
    for cell in cells:
        values = list(cell.values)
        label = values.pop(place)
        held.setdefault(tuple(values), {})[label] = cell
    for others, by_label in held.items():
        summary = _summary(field, by_label)
        if summary is not None:
            summary.values.extend(others)
            yield summary


def _summary(field: Field, by_label: Mapping[str, TotalCell]) -> Summary | None:
    """Return None where there is nothing to take a mean of: no bin with a figure."""
    bars = [bar for bar in _bars(field, by_label) if bar.count > 0]
    if not bars:
        return None
    summary = Summary(field=field.name, count=int(sum(bar.count for bar in bars)), mean=mean(bars))
    summary.hidden = sum(by_label[label].hidden for label in field.bins if label in by_label)
    for share in SHARES:
        summary.quantiles.append(Quantile(share=share, estimate=quantile(bars, share)))
    return summary


def _bars(field: Field, by_label: Mapping[str, TotalCell]) -> Iterator[Bar]:
    bounds = pairwise((field.span[0], *field.edges, field.span[1]))
    for label, (low, high) in zip(field.bins, bounds, strict=True):
        if label in by_label and by_label[label].sites:
            cell = by_label[label]
            yield Bar(low, high, cell.count, (cell.margin / TWO_SIDED_95) ** 2)


def mean(bars: Sequence[Bar]) -> Estimate:
    """Return the mean with every value in the middle of its bin.

    The interval runs from all values at their bins' beginnings to all at their ends, widened by
    the noise's 95 % margin (first order: a ratio's variance).
    """
    total = sum(bar.count for bar in bars)
    value = sum(bar.count * bar.middle for bar in bars) / total
    spread = sum(bar.variance * (bar.middle - value) ** 2 for bar in bars)
    margin = TWO_SIDED_95 * math.sqrt(spread) / total
    return Estimate(
        value=value,
        low=sum(bar.count * bar.low for bar in bars) / total - margin,
        high=sum(bar.count * bar.high for bar in bars) / total + margin,
    )


def quantile(bars: Sequence[Bar], share: float) -> Estimate:
    """Return where a share of the values lies below, spread evenly inside each bin.

    The interval is made of whole bins: those in which the count may cross, its noise at 95 %.
    """
    wanted = share * sum(bar.count for bar in bars)
    before, below = 0.0, 0.0  # count and variance up to the bin in question
    everything = sum(bar.variance for bar in bars)
    lows, highs, value = [], [], bars[-1].high
    found = False
    for bar in bars:
        after, upto = before + bar.count, below + bar.variance
        # The noise of what lies below, and of the total of which it is a share.
        noise = TWO_SIDED_95 * math.sqrt(
            (1 - share) ** 2 * max(below, upto) + share**2 * (everything - below)
        )
        if before - noise <= wanted <= after + noise:
            lows.append(bar.low)
            highs.append(bar.high)
        if not found and wanted <= after:
            value = bar.low + (bar.high - bar.low) * (wanted - before) / bar.count
            found = True
        before, below = after, upto
    return Estimate(value=value, low=min(lows), high=max(highs))
