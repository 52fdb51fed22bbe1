"""How a document is said: as JSON, or as aligned lines that a terminal cannot misread."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def as_document(document: object) -> str:
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # names of files are bytes


def as_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each thing; what is text of several lines stands below its name."""
    width = max((len(key) for key in document), default=0)
    for key, value in document.items():
        name = f"{key.replace('_', ' '):<{width}}"
        if texts := _texts(value):
            for of, text in texts.items():
                yield f"{name}  {printable(of)}".rstrip()
                yield from (f"  {printable(line)}" for line in text.splitlines())
        else:
            yield f"{name}  {plain(value)}"


def _texts(value: object) -> dict[str, str]:
    """Return what is text of several lines, by name: a diff, a log, a bundle's files, a list."""
    if isinstance(value, list) and any(isinstance(one, str) and "  " in one for one in value):
        return {"": "\n".join(value)}
    named = value if isinstance(value, Mapping) else {"": value}
    long = {of: text for of, text in named.items() if isinstance(text, str) and "\n" in text}
    return {str(of): str(text) for of, text in named.items()} if long else {}


def plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else printable(str(value))


def printable(text: str) -> str:
    """Show what a terminal would obey, or cannot show: a file on a disc may have any name."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
