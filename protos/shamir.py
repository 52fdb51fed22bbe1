"""Shamir's secret sharing of 32 bytes over a prime field: t shares are it, t - 1 are nothing."""

from collections.abc import Callable, Iterable, Mapping

SECRET_BYTES, SHARE_BYTES = 32, 33
PRIME = 2**256 + 297  # the smallest above every secret

Below = Callable[[int], int]  # a uniform integer in [0, bound), from a CSPRNG


class NotEnoughShares(ValueError):
    """The shares do not make up the secret."""


def split(secret: bytes, places: Iterable[int], threshold: int, below: Below) -> dict[int, bytes]:
    """Return a share for each place; places are different and not 0, where the secret stands."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes")
    polynomial = [int.from_bytes(secret), *(below(PRIME) for _ in range(threshold - 1))]
    return {place: value_at(polynomial, place).to_bytes(SHARE_BYTES) for place in places}


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Return the secret behind at least `threshold` shares; more are not looked at."""
    if len(shares) < threshold:
        raise NotEnoughShares(f"{len(shares)} of {threshold} needed shares are here")
    points = [(place, int.from_bytes(share)) for place, share in sorted(shares.items())]
    value = value_at_zero(points[:threshold], PRIME)
    if value >= 1 << (8 * SECRET_BYTES):
        raise NotEnoughShares("the shares do not belong together")
    return value.to_bytes(SECRET_BYTES)


def value_at(polynomial: list[int], place: int, prime: int = PRIME) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * place + coefficient) % prime
    return value


def value_at_zero(points: list[tuple[int, int]], prime: int) -> int:
    """Interpolate by Lagrange."""
    total = 0
    for place, value in points:
        above, below = 1, 1
        for other, _ in points:
            if other != place:
                above = above * other % prime
                below = below * (other - place) % prime
        total += value * above * pow(below, -1, prime)
    return total % prime
