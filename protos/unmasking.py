"""How the masks come off a secure sum, once its hospitals have revealed what takes them off."""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from protos import masks
from protos.sums import SumContext, holders

if TYPE_CHECKING:
    from protos.v1.sum_pb2 import SumKeys


def is_genuine(secret: bytes, keys: "SumKeys", *, survived: bool) -> bool:
    """Compare a revealed secret with what its hospital certified of it."""
    if survived:
        return sha256(secret).digest() == keys.self_mask_digest
    return masks.public_of(secret) == keys.mask_key


def remover(
    context: SumContext,
    keys: Mapping[str, "SumKeys"],
    roster: bytes,
    secrets: Mapping[str, bytes],
    survivors: Collection[str],
) -> masks.Mask:
    """Return the mask that takes off what lies over the survivors' sum.

    `secrets` has, of each hospital that dealt, the seed of its own mask where it is in the sum,
    and its mask key where it is not.
    """
    over: list[bytes] = []
    under: list[bytes] = []
    for dealer, secret in secrets.items():
        if dealer in survivors:
            over.append(secret)
            continue
        for other in set(holders(keys, roster)[dealer]) & set(survivors):
            purpose = masks.mask_purpose(dealer, other)
            key = masks.pair_key(secret, keys[other].mask_key, context.digest, purpose)
            (over if other < dealer else under).append(key)
    return masks.Mask(plus=under, minus=over)
