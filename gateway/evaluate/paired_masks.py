"""Masks of two products against the same reference: how far apart their Dice is, by patient."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.evaluate.overlap import THOUSAND
from protos.overlap import DIFFERENCE_BINS, difference_bin


@dataclass(slots=True)
class PairedDice:
    """Sums over patients with the finding, in thousandths as each product's own are."""

    patients: int = 0
    first: int = 0
    second: int = 0
    squares: int = 0
    differences: list[int] = field(default_factory=lambda: [0] * DIFFERENCE_BINS)

    def add(self, first: float, second: float) -> None:
        one, other = round(first * THOUSAND), round(second * THOUSAND)
        self.patients += 1
        self.first += one
        self.second += other
        self.squares += (one - other) ** 2
        self.differences[difference_bin(one - other)] += 1


def paired_dice(compared: Iterable[tuple[float, float]]) -> PairedDice:
    sums = PairedDice()
    for pair in compared:
        sums.add(*pair)
    return sums
