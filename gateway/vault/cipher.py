"""A sealed file: any number of bytes under a random key of its own, wrapped by the site's.

    magic (8) | nonce (12) | wrapped file key (48) | label nonce (12) | label (2048 + 16)
    then chunks: ciphertext of CHUNK bytes + tag (16), the last one shorter, possibly empty

AES-256-GCM throughout. A chunk's nonce is its number and its additional data says whether it is
the last: chunks cannot be reordered, dropped, or cut off unseen. The label (a JSON of what is known
of the instance) has a fixed place because its content is known last. Destroying the 48 bytes of
the wrapped key destroys the file.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import IntegrityFault

MAGIC: Final = b"RFVAULT2"
CHUNK: Final = 256 << 10  # an association holds two in memory while it seals
CHUNKS: Final = {b"RFVAULT1": 1 << 20, MAGIC: CHUNK}  # by magic: what older gateways wrote opens
TAG: Final = 16
NONCE: Final = 12
KEY_BYTES: Final = 32
WRAPPED_KEY_AT: Final = len(MAGIC) + NONCE
WRAPPED_KEY_BYTES: Final = KEY_BYTES + TAG
LABEL_AT: Final = WRAPPED_KEY_AT + WRAPPED_KEY_BYTES
LABEL_BYTES: Final = 2048
BODY_AT: Final = LABEL_AT + NONCE + LABEL_BYTES + TAG
_KEY_PURPOSE = b"radfed vault file key v1"
_LABEL_PURPOSE = b"radfed vault label v1"

Label = Mapping[str, Any]


def changed() -> IntegrityFault:
    return IntegrityFault("a vault file does not open: it was changed, cut, or is another site's")


class Erased(IntegrityFault):
    """Its key was destroyed and a crash kept its name: nothing of it is left but to be cleared."""

    def __init__(self) -> None:
        super().__init__("a vault file was erased: only its name is left")


class Encryptor:
    """Turns plain bytes into the body of a sealed file."""

    def __init__(self, vault_key: bytes) -> None:
        key = secrets.token_bytes(KEY_BYTES)
        nonce = secrets.token_bytes(NONCE)
        self.head = MAGIC + nonce + AESGCM(vault_key).encrypt(nonce, key, _KEY_PURPOSE)
        self._cipher = AESGCM(key)
        self._number = 0
        self._kept = bytearray()

    def update(self, plain: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Encrypt every whole chunk; the rest is kept until more comes."""
        view = memoryview(plain)
        if self._kept:
            wanted = CHUNK - len(self._kept)
            self._kept += view[:wanted]
            view = view[wanted:]
            if len(self._kept) < CHUNK or not view:
                return
            yield self._seal(self._kept, last=False)
            self._kept = bytearray()
        while len(view) > CHUNK:  # a chunk is sealed only when another byte follows it
            yield self._seal(view[:CHUNK], last=False)
            view = view[CHUNK:]
        self._kept += view

    def finish(self) -> bytes:
        return self._seal(self._kept, last=True)

    def label(self, label: Label) -> bytes:
        return seal_label(self._cipher, label)

    def _seal(self, chunk: bytes | bytearray | memoryview, *, last: bool) -> bytes:
        nonce, bound = _chunk_terms(self._number, last=last)
        self._number += 1
        return self._cipher.encrypt(nonce, chunk, bound)


class Decryptor:
    """Reads a sealed file; every method raises IntegrityFault on the first changed byte."""

    def __init__(self, descriptor: int, *vault_keys: bytes) -> None:
        self._descriptor = descriptor
        head = os.pread(descriptor, BODY_AT, 0)
        chunk = CHUNKS.get(head[: len(MAGIC)])
        if len(head) < BODY_AT or chunk is None:
            raise changed()
        self._sealed_chunk = chunk + TAG
        if head[WRAPPED_KEY_AT:LABEL_AT] == bytes(WRAPPED_KEY_BYTES):
            raise Erased
        self._cipher = AESGCM(_unwrapped(head, vault_keys))
        self._label = head[LABEL_AT:]

    def label(self) -> Label:
        nonce, body = self._label[:NONCE], self._label[NONCE:]
        label: Label = json.loads(_opened(self._cipher, nonce, body, _LABEL_PURPOSE))
        return label

    def chunks(self) -> Iterator[bytes]:
        """Return the plain bytes in order; trust none of them before the last was returned."""
        number, at = 0, BODY_AT
        sealed = os.pread(self._descriptor, self._sealed_chunk, at)
        while True:
            at += len(sealed)
            following = os.pread(self._descriptor, self._sealed_chunk, at)
            nonce, bound = _chunk_terms(number, last=not following)
            yield _opened(self._cipher, nonce, sealed, bound)
            if not following:
                return
            number, sealed = number + 1, following


def seal_label(cipher: AESGCM, label: Label) -> bytes:
    text = json.dumps(label, ensure_ascii=False).encode()
    if len(text) > LABEL_BYTES:
        raise IntegrityFault("what is known of an instance does not fit its vault label")
    nonce = secrets.token_bytes(NONCE)
    return nonce + cipher.encrypt(nonce, text.ljust(LABEL_BYTES), _LABEL_PURPOSE)


def destroy(descriptor: int, sync: Callable[[int], None] = os.fdatasync) -> None:
    """Overwrite the wrapped key: what is left cannot be read by anyone, this site included."""
    os.pwrite(descriptor, bytes(WRAPPED_KEY_BYTES), WRAPPED_KEY_AT)
    sync(descriptor)


def _chunk_terms(number: int, *, last: bool) -> tuple[bytes, bytes]:
    """Return nonce and additional data of a chunk; the file's key serves this file alone."""
    counted = number.to_bytes(NONCE, "big")
    return counted, b"radfed vault chunk v1 " + (b"last" if last else b"more")


def _unwrapped(head: bytes, vault_keys: Sequence[bytes]) -> bytes:
    """Return the file's key, whichever version of the site's wrapped it."""
    nonce, wrapped = head[len(MAGIC) : WRAPPED_KEY_AT], head[WRAPPED_KEY_AT:LABEL_AT]
    for vault_key in vault_keys:
        with suppress(InvalidTag):
            return AESGCM(vault_key).decrypt(nonce, wrapped, _KEY_PURPOSE)
    raise changed()


def _opened(cipher: AESGCM, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
    try:
        return cipher.decrypt(nonce, sealed, bound)
    except (InvalidTag, ValueError) as fault:
        raise changed() from fault
