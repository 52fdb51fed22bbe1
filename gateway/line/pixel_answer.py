"""The other side of the pipe: looks at one image after the other, in a process of its own."""

import time
from collections.abc import Callable
from typing import IO

from gateway.deid.pixel_frames import Form, Frames, Undecodable
from gateway.deid.pixel_look import Doubt, Look, Reader
from gateway.line.encoding import parse, silence_pydicom, syntax_of
from gateway.line.pixel_wire import Answer, Question, read_question, write

TOO_LARGE = "its pixels are larger than `decoded_bytes_at_most` once they are decoded"


def serve(questions: IO[bytes], answers: IO[bytes], reader: Callable[[], Reader]) -> None:
    """Answer until there is no more question; what is not foreseen is a doubt, too."""
    silence_pydicom()
    ready: Reader | None = None
    while (question := read_question(questions)) is not None:
        try:
            if question.only_decode:
                answer = decode(question)
            else:
                ready = ready or reader()
                answer = look(question, ready, time.process_time)
        except (Doubt, Undecodable) as doubt:
            answer = Answer(doubt=str(doubt))
        except MemoryError:
            answer = Answer(doubt="looking at its pixels takes more than `memory_bytes`")
        except Exception as fault:  # noqa: BLE001 - its text may quote the patient: its kind does
            answer = Answer(doubt=f"looking at its pixels failed ({type(fault).__name__})")
        write(answers, answer, "pixels")


def look(question: Question, reader: Reader, clock: Callable[[], float]) -> Answer:
    """Look at one image: decode, read, blank, read again."""
    until = clock() + question.seconds
    frames = _frames(question)
    boxes = Look(frames, reader, lambda: clock() > until).clean(question.known).boxes
    if not boxes:
        return Answer()
    return Answer(boxes=len(boxes), photometric=frames.photometric, pixels=frames.bytes())


def decode(question: Question) -> Answer:
    """Return the pixels as they are: codecs are native code, and run apart."""
    frames = _frames(question)
    return Answer(photometric=frames.photometric, pixels=frames.bytes())


def _frames(question: Question) -> Frames:
    syntax = syntax_of(question.transfer_syntax_uid)
    if syntax is None:
        raise Undecodable("its transfer syntax is not known here")
    dataset = parse(question.dataset, syntax.encoding)
    form = Form.of(dataset)
    if form.bytes_at_least > question.decoded_bytes_at_most:
        raise Undecodable(TOO_LARGE)
    return Frames(dataset, question.transfer_syntax_uid, form)
