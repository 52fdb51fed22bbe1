import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import IntegrityFault
from gateway.vault.cipher import (
    BODY_AT,
    CHUNK,
    LABEL_AT,
    TAG,
    WRAPPED_KEY_AT,
    Decryptor,
    Encryptor,
    destroy,
)

KEY = b"v" * 32
SEALED_CHUNK = CHUNK + TAG
OLD_CHUNK = 1 << 20


def sealed(plain, steps=(CHUNK,), label=None):
    """A sealed file, written in chunks of the given sizes in turn."""
    encryptor = Encryptor(KEY)
    body, at, turn = b"", 0, 0
    while at < len(plain):
        step = steps[turn % len(steps)]
        body += b"".join(encryptor.update(memoryview(plain)[at : at + step]))
        at, turn = at + step, turn + 1
    return encryptor.head + encryptor.label(label or {"a": 1}) + body + encryptor.finish()


def opened(raw, key=KEY):
    descriptor = os.memfd_create("sealed")
    try:
        os.write(descriptor, raw)
        decryptor = Decryptor(descriptor, key)
        return decryptor.label(), b"".join(decryptor.chunks())
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7])
@pytest.mark.parametrize("steps", [(CHUNK,), (1000, CHUNK + 5, 3), (CHUNK // 2,)])
def test_what_was_sealed_opens(size, steps):
    plain = os.urandom(size)

    assert opened(sealed(plain, steps)) == ({"a": 1}, plain)


@pytest.mark.parametrize("size", [0, OLD_CHUNK, 2 * OLD_CHUNK + 7])
def test_what_an_older_gateway_sealed_opens(size, monkeypatch):
    monkeypatch.setattr("gateway.vault.cipher.MAGIC", b"RFVAULT1")
    monkeypatch.setattr("gateway.vault.cipher.CHUNK", OLD_CHUNK)
    plain = os.urandom(size)
    raw = sealed(plain)
    monkeypatch.undo()

    assert opened(raw) == ({"a": 1}, plain)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3 * SEALED_CHUNK - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(where, change):
    raw = bytearray(sealed(bytes(2 * CHUNK + 5000)))
    raw[where % len(raw)] ^= change

    with pytest.raises(IntegrityFault):
        opened(bytes(raw))


def test_cutting_adding_or_reordering_chunks_is_noticed():
    raw = sealed(os.urandom(3 * CHUNK))
    chunks = [raw[at : at + SEALED_CHUNK] for at in range(BODY_AT, len(raw), SEALED_CHUNK)]
    head = raw[:BODY_AT]

    for forged in (
        chunks[:-1],
        chunks[:1],
        [],
        [chunks[1], chunks[0], chunks[2]],
        [*chunks, chunks[-1]],
        [*chunks, b"x"],
        chunks[1:],
    ):
        with pytest.raises(IntegrityFault):
            opened(head + b"".join(forged))


def test_chunks_of_one_file_fit_no_other():
    one, other = sealed(b"a" * 5000), sealed(b"b" * 5000)

    with pytest.raises(IntegrityFault):
        opened(one[:BODY_AT] + other[BODY_AT:])
    with pytest.raises(IntegrityFault):
        opened(one[:LABEL_AT] + other[LABEL_AT:BODY_AT] + one[BODY_AT:])


def test_another_sites_key_opens_nothing():
    with pytest.raises(IntegrityFault):
        opened(sealed(b"x"), key=b"w" * 32)


def test_a_destroyed_key_leaves_nothing_to_open():
    raw = sealed(b"Doe^Jane")
    descriptor = os.memfd_create("sealed")
    os.write(descriptor, raw)

    destroy(descriptor)

    after = os.pread(descriptor, len(raw), 0)
    assert after[WRAPPED_KEY_AT:LABEL_AT] == bytes(48)
    with pytest.raises(IntegrityFault):
        Decryptor(descriptor, KEY)
    os.close(descriptor)


def test_a_label_has_one_size_whatever_it_says():
    sizes = {len(sealed(b"", label={"text": "x" * n})) for n in (0, 100, 1900)}

    assert len(sizes) == 1
    with pytest.raises(IntegrityFault):
        sealed(b"", label={"text": "x" * 3000})
