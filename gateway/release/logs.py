"""A job's log as a person may read it and hand it on: only words the reviewed code already has."""

import builtins
import re
import tokenize
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO

LINES_AT_MOST, BYTES_AT_MOST = 40, 4096
MASK = "#"
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[^A-Za-z0-9_\s]+")
PLAIN = re.compile(r"[(){}\[\]<>.,:;=+*/^~'\"!?|&%@-]+")
LINE_NUMBER = re.compile(r"(?<=, line )[0-9]{1,5}(?=, in )")
_PYTHON = """
Traceback most recent call last File line in job code runtime packages lib py module During handling
of the above exception another occurred numpy pydicom scipy safetensors torch sklearn flwr
radfed_job radfed_flower radfed_features radfed_shipped harness
shape shapes array dtype operands could not be broadcast together with expected got object has no
attribute named missing
"""
PYTHON = frozenset(dir(builtins)) | frozenset(_PYTHON.split())


def words_of(files: Mapping[str, bytes]) -> frozenset[str]:
    """Return the identifiers of a bundle's code; its strings and comments have none."""
    return frozenset(
        word
        for name, content in files.items()
        if name.endswith(".py")
        for word in _identifiers(content)
    )


def _identifiers(source: bytes) -> Iterator[str]:
    with suppress(SyntaxError, tokenize.TokenError, UnicodeDecodeError):
        for token in tokenize.tokenize(BytesIO(source).readline):
            if token.type == tokenize.NAME and token.string.isascii():
                yield token.string


def redacted(log: bytes, words: frozenset[str]) -> str:
    """Return a log's tail with every other word, and every number but a line's, masked."""
    text = log.decode("ascii", "replace").replace("\ufffd", MASK)
    lines = [_line(line, words | PYTHON) for line in text.splitlines()[-LINES_AT_MOST:]]
    return "\n".join(lines)[-BYTES_AT_MOST:]


def _line(line: str, words: frozenset[str]) -> str:
    kept = {found.span() for found in LINE_NUMBER.finditer(line)}

    def word(found: re.Match[str]) -> str:
        text = found[0]
        if text in words or found.span() in kept or PLAIN.fullmatch(text):
            return text
        return MASK * min(len(text), 3)  # a length is a number, too

    return WORD.sub(word, "".join(one if one.isprintable() else " " for one in line))
