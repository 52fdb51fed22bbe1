"""The exact discrete Gaussian (Canonne, Kamath, Steinke: arXiv 2004.00010), integers only."""

import hmac
from collections.abc import Iterator, Sequence
from fractions import Fraction
from hashlib import sha256
from math import isqrt


class Bits:
    """An endless stream of uniform integers below any bound, a function of its seed alone."""

    def __init__(self, seed: bytes) -> None:
        self._blocks = _blocks(seed)
        self._pool = 0
        self._left = 0

    def below(self, bound: int) -> int:
        """Return a uniform integer in [0, bound), by rejection."""
        width = (bound - 1).bit_length()
        while True:
            value = self._take(width)
            if value < bound:
                return value

    def _take(self, width: int) -> int:
        while self._left < width:
            self._pool = (self._pool << 256) | int.from_bytes(next(self._blocks))
            self._left += 256
        self._left -= width
        value = self._pool >> self._left
        self._pool &= (1 << self._left) - 1
        return value


def _blocks(seed: bytes) -> Iterator[bytes]:
    counter = 0
    while True:
        yield hmac.digest(seed, counter.to_bytes(8), sha256)
        counter += 1


def discrete_gaussian(sigma: Fraction, bits: Bits) -> int:
    """Draw from the discrete Gaussian N_Z(0, sigma^2) (Algorithm 3)."""
    variance = sigma * sigma
    scale = isqrt(variance.numerator // variance.denominator) + 1
    while True:
        candidate = _discrete_laplace(scale, bits)
        distance = abs(candidate) - variance / scale
        if _bernoulli_exp(distance * distance / (2 * variance), bits):
            return candidate


def _discrete_laplace(scale: int, bits: Bits) -> int:
    """Draw an integer with probability proportional to exp(-|x| / scale) (Algorithm 2)."""
    while True:
        low = bits.below(scale)
        if not _bernoulli_exp(Fraction(low, scale), bits):
            continue
        high = 0
        while _bernoulli_exp(Fraction(1), bits):
            high += 1
        magnitude = low + scale * high
        negative = bits.below(2)
        if not (negative and magnitude == 0):
            return -magnitude if negative else magnitude


def _bernoulli_exp(gamma: Fraction, bits: Bits) -> bool:
    """Return True with probability exp(-gamma) (Algorithm 1)."""
    while gamma > 1:
        if not _bernoulli_exp_below_one(Fraction(1), bits):
            return False
        gamma -= 1
    return _bernoulli_exp_below_one(gamma, bits)


def _bernoulli_exp_below_one(gamma: Fraction, bits: Bits) -> bool:
    draws = 1
    while bits.below(gamma.denominator * draws) < gamma.numerator:
        draws += 1
    return draws % 2 == 1


def seed(noise_key: bytes, question: bytes, epoch: str, cell: Sequence[str]) -> bytes:
    """Bind the noise to question, epoch and cell: never to the asker, never to the count."""
    parts = (b"radfed noise v1", question, epoch.encode(), *(word.encode() for word in cell))
    message = b"".join(len(part).to_bytes(4) + part for part in parts)
    return hmac.digest(noise_key, message, sha256)
