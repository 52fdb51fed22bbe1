"""Messages nobody honest sends, made from a treaty's descriptors and a seed."""

import math
from random import Random

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

DEEPEST = 4
TEXTS = (
    "", "alpha", "\0", "a\0b", "'; DROP TABLE site; --", '" OR 1=1 --', "\x1b[31mred\x07",
    "\r\nX: y", "../../../etc/passwd", "%s%n{0}${jndi:x}", "\u202ereversed", "\ufeff",
    "\U0001f480" * 20, "<script>alert(1)</script>", "x" * 300, "y" * 20_000, "\x7f\x80\x9f",
)  # fmt: skip
NUMBERS = (0, 1, 2, -1, 77, 255, 1 << 16, (1 << 31) - 1, -(1 << 31), (1 << 32) - 1,
           (1 << 63) - 1, -(1 << 63), (1 << 64) - 1)  # fmt: skip
REALS = (0.0, -1.0, 1e308, math.inf, -math.inf, math.nan, 5e-324)
WHOLE = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


class Generator:
    """Deals values; `known` are the names and digests of things that are really there."""

    def __init__(self, seed: int, texts: tuple[str, ...] = (), known: tuple[bytes, ...] = ()):
        self._random = Random(seed)
        self._texts = TEXTS + texts * 4
        self._known = known

    def message(self, kind: Descriptor, depth: int = 0) -> Message:
        made = GetMessageClass(kind)()
        for field in kind.fields:
            if self._random.random() < 0.2 or depth > DEEPEST:
                continue
            if field.is_repeated:
                values = [
                    self._value(field, depth) for _ in range(self._random.choice((0, 1, 3, 40)))
                ]
                getattr(made, field.name).extend(values)
            elif field.message_type is not None:
                getattr(made, field.name).CopyFrom(self._value(field, depth))
            else:
                setattr(made, field.name, self._value(field, depth))
        return made

    def _value(self, field: FieldDescriptor, depth: int):
        draw = self._random
        if field.message_type is not None:
            return self.message(field.message_type, depth + 1)
        if field.type == FieldDescriptor.TYPE_BYTES:
            lengths = (0, 1, 31, 32, 33, 64, 5000)
            return draw.choice([*self._known, draw.randbytes(draw.choice(lengths))])
        return draw.choice(self._choices(field))

    def _choices(self, field: FieldDescriptor):
        if field.cpp_type in WHOLE:
            least, most = WHOLE[field.cpp_type]
            return [n for n in NUMBERS if least <= n <= most]
        if field.enum_type is not None:
            return [*(value.number for value in field.enum_type.values), 77, -1]
        if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return REALS
        return (True, False) if field.type == FieldDescriptor.TYPE_BOOL else self._texts


def spoken_with(text: str, kind: Descriptor, depth: int = 0) -> list[Message]:
    """Return messages with this text in every field of text; one for each way of a oneof."""
    ways = [way for oneof in kind.oneofs for way in oneof.fields if way.message_type is not None]
    made = []
    for way in ways or [None]:
        message = GetMessageClass(kind)()
        for field in kind.fields:
            if field in ways and field is not way:
                continue
            _speak(message, field, text, depth)
        made.append(message)
    return made


def _speak(message: Message, field: FieldDescriptor, text: str, depth: int) -> None:
    if field.type == FieldDescriptor.TYPE_STRING:
        if field.is_repeated:
            getattr(message, field.name).append(text)
        else:
            setattr(message, field.name, text)
    elif field.message_type is not None and depth < DEEPEST:
        inner = spoken_with(text, field.message_type, depth + 1)[0]
        if field.is_repeated:
            getattr(message, field.name).append(inner)
        else:
            getattr(message, field.name).CopyFrom(inner)
