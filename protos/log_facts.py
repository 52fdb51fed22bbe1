"""What a line of a log may hold: facts of a closed set of names, numbers, short printable words."""

from collections.abc import Mapping
from typing import Any

LONGEST = 300


def only(names: frozenset[str], said: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what has no known name; make printable, and short, what has one."""
    kept = {name: _plain(value) for name, value in said.items() if name in names}
    left_out = len(said) - len(kept)
    return kept | ({"left_out": left_out} if left_out else {})


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
