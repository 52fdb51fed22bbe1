"""The proof: what reached the coordinator, and a control with all of it hidden inside."""

import base64
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from deploy.demo.scan import CODECS, SHORTEST_RUN, tellable

LENGTH = struct.Struct(">I")
RUN = 2 * SHORTEST_RUN


@dataclass(frozen=True, slots=True)
class Received:
    """One recorded message, as the coordinator received it."""

    sender: str
    method: str
    message: bytes


def recorded(directory: Path) -> Iterator[Received]:
    """Yield every complete frame: u32 length, method; u32 length, message."""
    for path in sorted(directory.glob("*.bin")):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            method, at = _field(raw, at)
            message, at = _field(raw, at)
            yield Received(path.stem, method.decode("ascii"), message)


# The roles a hospital speaks in: while it is invited, at work, and back after a long absence.
HOSPITALS = ("gateway.", "invitation.", "renewal.")


def received_totals(directory: Path, site: str) -> list[int]:
    """Return how many bytes one hospital's messages came to, after each of them.

    The last is the total now; the enrolment counts from the start.
    """
    received = list(recorded(directory))
    earlier = sum(
        len(r.message) for r in received if r.sender in {f"{o}{site}" for o in HOSPITALS[1:]}
    )
    at_work = (len(r.message) for r in received if r.sender == f"gateway.{site}")
    return list(accumulate(at_work, initial=earlier))


def leaky_control(
    honest: bytes, texts: Sequence[str], images: Mapping[str, Sequence[bytes]], seed: int
) -> bytes:
    """Return what was received with every planted text and a piece of every image hidden in it.

    Each is dressed differently: other character sets, base64, hexadecimal, compressed, floats.
    """
    rng = random.Random(seed)  # noqa: S311 - a control, not a secret
    pieces = [_dress(text.encode(_codec(text, rng)), rng) for text in texts]
    for forms in images.values():
        pieces += [_dress(piece, rng) for piece in (_telling_piece(forms),) if piece]
    cuts = sorted(rng.randrange(len(honest) + 1) for _ in pieces)
    parts, last = [], 0
    for cut, piece in zip(cuts, pieces, strict=True):
        parts += [honest[last:cut], b"\n", piece, b"\n"]
        last = cut
    return b"".join([*parts, honest[last:]])


def scannable(images: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes]]:
    """Return the images that are more than background: the others say nothing about anyone."""
    return {name: list(forms) for name, forms in images.items() if _telling_piece(forms)}


def _codec(text: str, rng: random.Random) -> str:
    able = [codec for codec in CODECS[:4] if _can(text, codec)]
    return rng.choice(able)


def _can(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _dress(piece: bytes, rng: random.Random) -> bytes:
    dresses: Sequence[Callable[[bytes], bytes]] = (
        bytes,
        base64.b64encode,
        base64.urlsafe_b64encode,
        lambda raw: raw.hex().encode(),
        zlib.compress,
    )
    return rng.choice(dresses)(piece)


def _telling_piece(forms: Sequence[bytes]) -> bytes | None:
    """Return 64 bytes out of the image that the scanner can tell from background."""
    for form in forms:
        for at in tellable(form):
            piece = form[int(at) : int(at) + RUN]
            if len(piece) == RUN:
                return piece
    return None


def _field(raw: bytes, at: int) -> tuple[bytes, int]:
    """Return one length-prefixed field; a field cut short by a crash counts as far as it goes."""
    (size,) = LENGTH.unpack_from(raw.ljust(at + LENGTH.size, b"\0"), at)
    begin = at + LENGTH.size
    return raw[begin : begin + size], begin + size
