"""Tables of the standard as NEMA publishes them: DocBook 5, with HTML-model tables.

Read with expat alone, as a stream; a document that declares entities is refused, for no part of
the standard does and a small file of them unfolds without end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

EDITION = re.compile(r"\bPS\s?3\.15\s+(20\d\d[a-z])\b")
INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
HEAD, CELLS = frozenset({"subtitle", "title"}), frozenset({"th", "td"})


class NotDocBook(ValueError):
    """The document is not what NEMA publishes; the text says in which way."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its column heads, and its rows, each as long as the heads."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Document:
    edition: str
    tables: dict[str, Table]  # by label, such as E.1-1


def read(raw: bytes, labels: Sequence[str]) -> Document:
    """Return the edition and those of the labelled tables that the document has."""
    reading = _Reading(frozenset(labels))
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.EntityDeclHandler = reading.entity
    try:
        parser.Parse(raw, True)  # noqa: FBT003 - expat's own signature
    except expat.ExpatError as fault:
        raise NotDocBook(f"it is not XML, or was cut (line {fault.lineno})") from None
    if not reading.edition:
        raise NotDocBook("it does not say which edition of PS3.15 it is")
    return Document(reading.edition, reading.tables)


@dataclass(slots=True)
class _Reading:
    """What was met so far."""

    wanted: frozenset[str]
    edition: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    label: str | None = None
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    row: list[str] | None = None
    cell: list[str] | None = None
    title: list[str] | None = None
    in_head: bool = False

    def entity(self, *_declared: object) -> None:
        raise NotDocBook("it declares entities, as no part of the standard does")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if self.label is None:
            if local == "table" and attributes.get("label") in self.wanted:
                self.label, self.heads, self.rows = attributes["label"], [], []
            elif local in HEAD and not self.edition:
                self.title = []
        elif local == "table":
            raise NotDocBook(f"table {self.label} holds another table")
        elif local == "thead":
            self.in_head = True
        elif local == "tr":
            self.row = []
        elif local in CELLS:
            spans = {attributes.get(span, "1") for span in ("colspan", "rowspan")}
            if spans != {"1"}:
                raise NotDocBook(f"table {self.label} has cells that span others")
            self.cell = []
        elif self.cell is not None:
            self.cell.append(" ")  # a paragraph begins

    def text(self, text: str) -> None:
        for taking in (self.cell, self.title):
            if taking is not None:
                taking.append(text)

    def end(self, name: str) -> None:
        local = name.rpartition(" ")[2]
        if local in HEAD and self.title is not None:
            found = EDITION.search(plain("".join(self.title)))
            self.edition = found[1] if found else self.edition
            self.title = None
        elif self.label is None:
            return
        elif local in CELLS and self.cell is not None and self.row is not None:
            self.row.append(plain("".join(self.cell)))
            self.cell = None
        elif local == "tr" and self.row is not None:
            self._end_row(self.row)
        elif local == "thead":
            self.in_head = False
        elif local == "table":
            self.tables[self.label] = Table(self.heads, self.rows)
            self.label = None

    def _end_row(self, row: list[str]) -> None:
        self.row = None
        if self.in_head:
            self.heads = row
        elif len(row) != len(self.heads):
            raise NotDocBook(f"a row of table {self.label} has {len(row)} cells, not as its head")
        else:
            self.rows.append(row)


def plain(text: str) -> str:
    """Return text without line breaks and the marks that only help typesetting."""
    return " ".join(INVISIBLE.sub("", text).split())
