"""The secure sum as both houses must see it: what is signed, who holds what, how wide a sum is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from protos.canonical import canonical_bytes

if TYPE_CHECKING:
    from protos.v1.sum_pb2 import SumKeys

ROSTER_AT_MOST = 200  # what a control message carries; more hospitals take part in turns
NEIGHBOURS = 64  # of each hospital, at the most: up to 65 are all each other's (ADR 177)
TOTAL_WEIGHT_BELOW = 1 << 32
WIDTHS = range(4, 9)  # bytes of one value in a sum
GRID_BITS = (24, 28, 32)  # of one hospital's value, its sign included
TAIL = 8.7  # of the gate's noise: none of it lies beyond so many sigmas (ADR 157)


@dataclass(frozen=True, slots=True)
class SumContext:
    """One round of one approved job: no signature and no key of it is good for another."""

    job_id: str
    round: int
    bundle_digest: bytes
    weights_digest: bytes

    def fields(self) -> dict[str, str | int]:
        return {
            "job": self.job_id,
            "round": self.round,
            "bundle": self.bundle_digest.hex(),
            "weights": self.weights_digest.hex(),
        }

    @property
    def digest(self) -> bytes:
        return sha256(canonical_bytes("sum context", self.fields())).digest()


def keys_statement(context: SumContext, keys: "SumKeys") -> bytes:
    """Return what a hospital certifies when it enters a sum."""
    fields = context.fields() | {
        "site": keys.site,
        "weight": keys.weight,
        "mask_key": keys.mask_key.hex(),
        "seal_key": keys.seal_key.hex(),
        "self_mask": keys.self_mask_digest.hex(),
    }
    return canonical_bytes("sum keys", fields)


def roster_digest(context: SumContext, roster: "Iterable[SumKeys]") -> bytes:
    """Name who takes part, with which keys and weights."""
    statements = [sha256(keys_statement(context, keys)).hexdigest() for keys in roster]
    fields = context.fields() | {"hospitals": sorted(statements)}
    return sha256(canonical_bytes("sum roster", fields)).digest()


def transcript_statement(context: SumContext, roster: bytes, survivors: Sequence[str]) -> bytes:
    """Return what a survivor signs: roster, weights and who is in the sum."""
    fields = context.fields() | {"roster": roster.hex(), "survivors": sorted(survivors)}
    return canonical_bytes("sum transcript", fields)


def threshold(holders: int) -> int:
    """Return how many of so many holders make up a secret, or are needed to agree.

    More than two thirds: two different stories of a round cannot both find so many unless more
    than a third tell both, and an honest hospital tells one.
    """
    return 2 * holders // 3 + 1


def holders(sites: Iterable[str], roster: bytes) -> Mapping[str, tuple[str, ...]]:
    """Return who holds shares of whose secrets and has a mask with whom, each beside itself.

    Everybody; in a large roster the neighbours on circles whose orders hang on all keys of the
    roster, so that nobody picks his. Places of shares count from 1 in the order given here.
    """
    return _holders(tuple(sorted(sites)), roster)


@lru_cache(maxsize=8)
def _holders(sites: tuple[str, ...], roster: bytes) -> Mapping[str, tuple[str, ...]]:
    if len(sites) <= NEIGHBOURS + 1:
        return dict.fromkeys(sites, sites)
    beside = {site: {site} for site in sites}
    for number in range(NEIGHBOURS // 2):
        seed = roster + number.to_bytes(2)
        circle = sorted(sites, key=lambda site: sha256(seed + site.encode()).digest())
        for one, other in pairwise([*circle, circle[0]]):
            beside[one].add(other)
            beside[other].add(one)
    return {site: tuple(sorted(known)) for site, known in beside.items()}


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole numbers that stand for values: so many bits, so many steps to one unit."""

    bits: int
    scale: float  # a power of two: scaling rounds nothing


def grid_of(clip: float, sigma: float, count: int) -> Grid:
    """Return the narrowest grid on which rounding shortens the clipped norm by little.

    A value is within the clipped norm and the noise's tail; rounding every one of `count` values
    lengthens the joint norm by less than the square root of `count`. ValueError where no grid is
    fine enough beside so much noise.
    """
    for bits in GRID_BITS:
        steps = (2 ** (bits - 1) - 2) / (clip + TAIL * sigma)
        scale = 2.0 ** math.floor(math.log2(steps))
        if math.sqrt(count) * 64 <= clip * scale:
            return Grid(bits, scale)
    raise ValueError("sigma is too large beside clip for a sum of whole numbers")


def width_of(grid_bits: int, weights: Iterable[int]) -> int:
    """Return how many bytes hold the sum of values of so many bits, each times its weight.

    |sum| <= total weight x 2^(bits - 1), so that bits + log2(total) bits never wrap.
    """
    return max(WIDTHS[0], -(-(grid_bits + sum(weights).bit_length()) // 8))


def weights_of(roster: "Iterable[SumKeys]") -> Mapping[str, int]:
    return {keys.site: keys.weight for keys in roster}
