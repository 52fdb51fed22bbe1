"""Reads what strace wrote of a process tree: calls that change files, their begin and end.

The order of lines is the order of events: strace stops a thread before a call and after it. A call
that another thread interrupts in the log stands there twice (`<unfinished ...>`, `resumed`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "open,openat,creat,write,writev,pwrite64,ftruncate,linkat,link,rename,renameat,renameat2,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,fdatasync,fsync,sendto,sendmsg"
)
HEX = r"((?:\\x[0-9a-f]{2})*)"
LINE = re.compile(r"(\d+) +(.*)", re.DOTALL)
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<" + HEX + r">)?(.*)", re.DOTALL)
STRING = re.compile('"' + HEX + '"')
PLACE = re.compile(rf"(\d+|AT_FDCWD)<{HEX}>")
UNFINISHED = " <unfinished ...>"


def strace(log: Path) -> tuple[str, ...]:
    """The command that records whatever is put behind it; a second record goes behind the first."""
    return (
        "strace", "-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-qq", "-A",
        "-e", f"trace={CALLS}", "-o", str(log),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    thread: str
    name: str
    arguments: str
    result: int
    opened: str  # the path of a returned descriptor
    began: int
    ended: int

    @property
    def strings(self) -> list[bytes]:
        return [_plain(text) for text in STRING.findall(self.arguments)]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Descriptors and the paths behind them, in order."""
        return [(fd, _plain(path).decode()) for fd, path in PLACE.findall(self.arguments)]


def calls(log: Path) -> Iterator[Call]:
    """Return every finished call that did not fail, in the order of their ends."""
    begun: dict[str, tuple[int, str]] = {}
    with log.open(encoding="ascii") as lines:
        for number, line in enumerate(lines):
            found = LINE.match(line.rstrip("\n"))
            if found is None:
                continue
            thread, text = found.groups()
            if text.endswith(UNFINISHED):
                begun[thread] = number, text.removesuffix(UNFINISHED)
                continue
            began = number
            if resumed := RESUMED.match(text):
                began, first = begun.pop(thread, (number, ""))
                text = first + resumed[2]
            call = _call(thread, text, began, number)
            if call is not None:
                yield call


def cut_short(log: Path) -> Iterator[Call]:
    """Return calls that a kill left without an end: they may have happened."""
    begun: dict[str, tuple[int, str]] = {}
    with log.open(encoding="ascii") as lines:
        for number, line in enumerate(lines):
            found = LINE.match(line.rstrip("\n"))
            if found is not None and found[2].endswith(UNFINISHED):
                begun[found[1]] = number, found[2].removesuffix(UNFINISHED)
            elif found is not None and found[2].startswith("<..."):
                begun.pop(found[1], None)
    for thread, (number, text) in begun.items():
        name, _, arguments = text.partition("(")
        yield Call(thread, name, arguments, 0, "", number, number)


def _call(thread: str, text: str, began: int, ended: int) -> Call | None:
    found = CALL.match(text)
    if found is None or int(found[3]) < 0:
        return None
    opened = _plain(found[4] or "").decode("utf-8", "replace")
    return Call(thread, found[1], found[2], int(found[3]), opened, began, ended)


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
