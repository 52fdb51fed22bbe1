"""What the line and the process that looks at pixels tell each other, over a pipe."""

import json
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from gateway.deid.pixel_rules import Corners

HEAD_BYTES, BODY_BYTES = 4, 8  # lengths, in network order


class PipeEnded(Exception):
    """The other side is gone, or went in the middle of a sentence."""


@dataclass(frozen=True, slots=True)
class Question:
    """One image: what its pixels are and how they are stored, nothing of whom they show."""

    dataset: bytes
    transfer_syntax_uid: str
    seconds: float = 120.0
    decoded_bytes_at_most: int = 1 << 30
    known: list[Corners] = field(default_factory=list)  # blanked unseen
    only_decode: bool = False  # whatever they show


@dataclass(frozen=True, slots=True)
class Answer:
    """How a look ended: a doubt, or how many boxes were blanked and the pixels without them."""

    doubt: str = ""
    boxes: int = 0
    photometric: str = ""
    pixels: bytes = b""  # empty where nothing was blanked: they stay as they came


def write(stream: IO[bytes], said: Question | Answer, body: str) -> None:
    """Write a question or an answer; `body` names its field that is bytes."""
    head = asdict(said)
    raw: bytes = head.pop(body)
    text = json.dumps(head).encode()
    stream.write(len(text).to_bytes(HEAD_BYTES, "big") + text)
    stream.write(len(raw).to_bytes(BODY_BYTES, "big"))
    stream.write(raw)
    stream.flush()


def read_question(stream: IO[bytes]) -> Question | None:
    """Read the next question; None where there is none any more."""
    start = stream.read(HEAD_BYTES)
    if not start:
        return None
    head, body = _rest(stream, start)
    head["known"] = [tuple(corners) for corners in head["known"]]
    return Question(dataset=body, **head)


def read_answer(stream: IO[bytes]) -> Answer:
    head, body = _rest(stream, stream.read(HEAD_BYTES))
    return Answer(pixels=body, **head)


def _rest(stream: IO[bytes], start: bytes) -> tuple[dict[str, Any], bytes]:
    head = json.loads(_exactly(stream, int.from_bytes(_whole(start, HEAD_BYTES), "big")))
    size = int.from_bytes(_exactly(stream, BODY_BYTES), "big")
    return head, _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    return _whole(stream.read(size), size)


def _whole(raw: bytes, size: int) -> bytes:
    if len(raw) != size:
        raise PipeEnded
    return raw
