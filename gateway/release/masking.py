"""Putting the mask over an update's whole numbers, file to file: what is left looks like noise."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from gateway.release.integers import WIRE
from gateway.release.tensors import Written
from protos.masks import PIECE, Mask, packed
from protos.tensors import Buffer, chunks


@dataclass(frozen=True, slots=True)
class Masking:
    """What a masked update is made with."""

    mask: Mask
    values: int  # of the update, which count as often as the hospital weighs; counts follow them
    weight: int
    width: int  # bytes of a masked value


def summand(task_id: str) -> str:
    """Name what is under a task's mask; no wire can name it."""
    return f"{task_id}/summand"


def write_masked(plain: Buffer, masking: Masking, out: Written) -> tuple[int, bytes]:
    """Write weight x update and the counts behind it under the mask; return size and SHA-256."""
    whole, digest, size = np.frombuffer(plain, WIRE), sha256(), 0
    for part in chunks(len(whole), PIECE):
        words = whole[part].astype(np.int64)
        weighed = max(0, min(masking.values - part.start, len(words)))
        words[:weighed] *= masking.weight
        values = words.view(np.uint64)
        masking.mask.put_on(values)
        piece = packed(values, masking.width)
        digest.update(piece)
        out.write(piece)
        size += len(piece)
    return size, digest.digest()
