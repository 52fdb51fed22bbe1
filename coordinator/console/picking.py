"""A filter made by clicking: what the vocabulary offers, and clicks as one would type them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protos.vocabulary import FIELDS, FieldKind, labels

NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Pickable:
    """One field: values to click, or the edges a range may have."""

    name: str
    values: tuple[str, ...]
    edges: tuple[str, ...]


def pickable() -> list[Pickable]:
    return [
        Pickable(
            name,
            labels(name) if field.kind is FieldKind.CATEGORY else (),
            tuple(f"{edge:g}" for edge in field.edges),
        )
        for name, field in FIELDS.items()
    ]


def composed(typed: str, picks: Sequence[str], ranges: Mapping[str, tuple[str, str]]) -> str:
    """Return what was typed and clicked as one filter; a click that cannot be does nothing."""
    parts = [typed.strip()] if typed.strip() else []
    chosen: dict[str, list[str]] = {}
    for pick in picks:
        name, _, value = pick.partition("=")
        if name in FIELDS and FIELDS[name].kind is FieldKind.CATEGORY and value in labels(name):
            chosen.setdefault(name, []).append(f"'{value}'")
    for name, values in chosen.items():
        one = len(values) == 1
        parts.append(f"{name} = {values[0]}" if one else f"{name} IN ({', '.join(values)})")
    for name, (low, high) in ranges.items():
        if NUMBER.fullmatch(low):
            parts.append(f"{name} >= {low}")
        if NUMBER.fullmatch(high):
            parts.append(f"{name} < {high}")
    return " AND ".join(parts)
