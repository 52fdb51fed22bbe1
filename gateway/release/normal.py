"""Gaussian noise for the gate: a keystream of AES-256 in counter mode through Box and Muller."""

import os

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

KEY_BYTES, BLOCK_BYTES = 32, 16
DRAWN_BYTES = 8  # of keystream for each value: 53 bits of them are used


class SecureNormal:
    """Draws from N(0, 1): one key of the system's CSPRNG for each update, kept nowhere.

    docs/adr/0157 argues tails and grain. What a call returns is overwritten by the next.
    """

    def __init__(self) -> None:
        self._stream = Cipher(AES(os.urandom(KEY_BYTES)), CTR(bytes(BLOCK_BYTES))).encryptor()
        self._zeros, self._drawn = b"", bytearray()
        self._uniform = self._normal = np.empty(0)

    def __call__(self, count: int) -> npt.NDArray[np.float64]:
        pairs = (count + 1) // 2
        self._make_room(2 * pairs)
        self._stream.update_into(self._zeros[: 2 * pairs * DRAWN_BYTES], self._drawn)
        drawn = np.frombuffer(self._drawn, "<u8", 2 * pairs)
        uniform, normal = self._uniform[: 2 * pairs], self._normal[: 2 * pairs]
        np.right_shift(drawn, np.uint64(11), out=drawn)
        np.add(drawn, 0.5, out=uniform)
        uniform *= 2.0**-53  # in (0, 1): the logarithm is finite
        radius, angle = uniform[:pairs], uniform[pairs:]
        np.log(radius, out=radius)
        radius *= -2.0
        np.sqrt(radius, out=radius)
        angle *= 2.0 * np.pi
        np.cos(angle, out=normal[:pairs])
        np.sin(angle, out=normal[pairs:])
        normal[:pairs] *= radius
        normal[pairs:] *= radius
        return normal[:count]

    def _make_room(self, count: int) -> None:
        if count > len(self._normal):
            self._zeros = bytes(count * DRAWN_BYTES)
            self._drawn = bytearray(count * DRAWN_BYTES + BLOCK_BYTES)
            self._uniform, self._normal = np.empty(count), np.empty(count)
