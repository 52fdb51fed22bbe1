"""A model file system that knows what is durable at each moment of a recorded run.

Two rules, the weakest that POSIX lets a program rely on: a file's bytes are durable once a sync of
that file ended which began after they were written; a name (made, removed, or changed by a rename,
which is one step) is durable once a sync of its directory ended which began after it. Of everything
else a power cut keeps any part: whole calls in any combination, and of a write any of its sectors.
Directories that exist when the record begins are durable, and so is what is in them.
"""

import posixpath
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from tests.fakes.power_cut_trace import Call, calls

SECTOR = 512
HALF = 0.5
Survives = Callable[[], bool]
NOTHING: Survives = lambda: False  # noqa: E731
EVERYTHING: Survives = lambda: True  # noqa: E731


@dataclass(slots=True)
class Write:
    began: int
    ended: int
    offset: int
    content: bytes | None  # None: cut or grown to `offset`
    durable: float = inf  # the line at which the sync that covers it ended


@dataclass(slots=True, eq=False)
class Inode:
    """A file or a directory, whatever its names are."""

    is_directory: bool = False
    base: bytes = b""
    writes: list[Write] = field(default_factory=list)

    def content(self, cut: int, survives: Survives, dice: random.Random | None = None) -> bytes:
        """Return its bytes after a power cut at that line."""
        held = bytearray(self.base)
        for write in self.writes:
            if write.began > cut:
                break
            if write.durable <= cut:
                _apply(held, write.offset, write.content)
            elif survives():
                _apply_in_part(held, write, dice)
        return bytes(held)


@dataclass(slots=True)
class Renaming:
    """One step that changes names: each path gets an inode, or loses its own."""

    began: int
    ended: int
    names: tuple[tuple[Inode, str, Inode | None], ...]  # directory, name, what it is from now on
    needs: Inode  # the directory whose sync makes it durable
    durable: float = inf


class Disk:
    """The record of one run below `root`, and what a power cut would leave of it."""

    def __init__(self, root: Path, log: Path) -> None:
        self._root = str(root)
        self.top = Inode(is_directory=True)
        self._tree: dict[tuple[Inode, str], Inode] = {}  # as the running programs see it
        self._base: dict[tuple[Inode, str], Inode] = {}
        self._unnamed: dict[str, Inode] = {}
        self._descriptors: dict[tuple[str, str], Inode] = {}
        self._positions: dict[tuple[str, str], int] = {}
        self.steps: list[Renaming] = []
        self.moments: list[int] = []  # lines at which something may change
        self.sent: list[tuple[int, bytes]] = []  # what was told to peers, and when
        self._take_in(root, self.top)
        self._base = dict(self._tree)
        self._log = log

    def replay(self) -> "Disk":
        """Follow the record from its beginning to its end."""
        for call in calls(self._log):
            act = getattr(self, f"_{call.name}", None)
            if act is not None:
                act(call)
        self.moments = sorted(set(self.moments))
        return self

    def image(
        self, cut: int, survives: Survives = NOTHING, dice: random.Random | None = None
    ) -> dict[str, bytes]:
        """Return every file, by its path below root, after a power cut at that line."""
        found = self.files(cut, survives)
        return {path: inode.content(cut, survives, dice) for path, inode in found.items()}

    def files(self, cut: int, survives: Survives = NOTHING) -> dict[str, Inode]:
        tree = dict(self._base)
        for step in self.steps:
            if step.began > cut:
                break
            if step.durable <= cut or survives():
                for directory, name, inode in step.names:
                    if inode is None:
                        tree.pop((directory, name), None)
                    else:
                        tree[directory, name] = inode
        return dict(_walk(tree, self.top, ""))

    # What each call does. They are named as strace names them.

    def _openat(self, call: Call) -> None:
        if not self._is_below(call.opened):
            return
        key = (call.thread, str(call.result))
        if "O_TMPFILE" in call.arguments:
            self._unnamed[call.opened] = self._descriptors[key] = Inode()
        elif "O_CREAT" in call.arguments and self._find(call.opened) is None:
            self._name(call, ((call.opened, Inode()),))
        inode = self._inode(call.opened)
        if inode is not None and "O_TRUNC" in call.arguments:
            self._change(call, inode, 0, None)
        self._positions[str(call.result), call.opened] = 0

    _open = _creat = _openat

    def _write(self, call: Call) -> None:
        (place, *_), strings = call.places or [("", "")], call.strings
        inode = self._inode(place[1])
        if inode is not None:
            at = self._positions.get(place, 0)
            self._change(call, inode, at, b"".join(strings)[: call.result])
            self._positions[place] = at + call.result

    _writev = _write

    def _pwrite64(self, call: Call) -> None:
        inode = self._inode(call.places[0][1])
        if inode is not None:
            offset = int(call.arguments.rsplit(",", 1)[1], 0)
            self._change(call, inode, offset, call.strings[0][: call.result])

    def _ftruncate(self, call: Call) -> None:
        inode = self._inode(call.places[0][1])
        if inode is not None:
            self._change(call, inode, int(call.arguments.rsplit(",", 1)[1], 0), None)

    def _linkat(self, call: Call) -> None:
        source, target = call.strings
        given = re.fullmatch(rb"/proc/self/fd/(\d+)", source)
        inode = (
            self._descriptors.get((call.thread, given[1].decode()))
            if given
            else self._find(self._absolute(call, source, 0))
        )
        if inode is not None:
            self._name(call, ((self._absolute(call, target, 1), inode),))

    _link = _linkat

    def _renameat(self, call: Call) -> None:
        old, new = (self._absolute(call, text, number) for number, text in enumerate(call.strings))
        inode = self._find(old)
        if inode is not None:
            self._name(call, ((old, None), (new, inode)))

    _rename = _renameat2 = _renameat

    def _unlinkat(self, call: Call) -> None:
        path = self._absolute(call, call.strings[0], 0)
        if self._find(path) is not None:
            self._name(call, ((path, None),))

    _unlink = _rmdir = _unlinkat

    def _mkdirat(self, call: Call) -> None:
        path = self._absolute(call, call.strings[0], 0)
        if self._is_below(path):
            self._name(call, ((path, Inode(is_directory=True)),))

    _mkdir = _mkdirat

    def _fsync(self, call: Call) -> None:
        inode = self._inode(call.places[0][1])
        if inode is None:
            return
        waiting = [write for write in inode.writes if write.durable == inf]
        steps = [step for step in self.steps if step.needs is inode and step.durable == inf]
        for change in (*waiting, *steps):
            if change.ended < call.began:
                change.durable = call.ended
        self.moments.append(call.ended)

    _fdatasync = _fsync

    def _sendto(self, call: Call) -> None:
        self.sent.append((call.began, b"".join(call.strings)))

    _sendmsg = _sendto

    # Paths and inodes.

    def _change(self, call: Call, inode: Inode, offset: int, content: bytes | None) -> None:
        inode.writes.append(Write(call.began, call.ended, offset, content))
        self.moments.append(call.ended)

    def _name(self, call: Call, named: tuple[tuple[str, Inode | None], ...]) -> None:
        names = []
        for path, inode in named:
            folder, _, name = path.rpartition("/")
            directory = self._find(folder)
            if directory is None:
                return  # not below the root
            names.append((directory, name, inode))
            if inode is None:
                self._tree.pop((directory, name), None)
            else:
                self._tree[directory, name] = inode
        self.steps.append(Renaming(call.began, call.ended, tuple(names), names[-1][0]))
        self.moments.append(call.ended)

    def _absolute(self, call: Call, text: bytes, number: int) -> str:
        places = call.places
        base = places[min(number, len(places) - 1)][1] if places else "/"
        return posixpath.join(base, text.decode())

    def _is_below(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root + "/")

    def _inode(self, path: str) -> Inode | None:
        return self._unnamed.get(path) or self._find(path)

    def _find(self, path: str) -> Inode | None:
        if not self._is_below(path):
            return None
        inode: Inode | None = self.top
        for part in path[len(self._root) :].split("/"):
            if part and inode is not None:
                inode = self._tree.get((inode, part))
        return inode

    def _take_in(self, directory: Path, inode: Inode) -> None:
        for path in directory.iterdir():
            known = Inode(is_directory=path.is_dir())
            self._tree[inode, path.name] = known
            if known.is_directory:
                self._take_in(path, known)
            else:
                known.base = path.read_bytes()


def _walk(
    tree: dict[tuple[Inode, str], Inode], top: Inode, path: str
) -> Iterator[tuple[str, Inode]]:
    inside: dict[Inode, list[tuple[str, Inode]]] = {}
    for (directory, name), inode in tree.items():
        inside.setdefault(directory, []).append((name, inode))
    waiting = [(path, top)]
    while waiting:
        at, directory = waiting.pop()
        for name, inode in inside.get(directory, ()):
            if inode.is_directory:
                waiting.append((f"{at}{name}/", inode))
            else:
                yield at + name, inode


def _apply(held: bytearray, offset: int, content: bytes | None) -> None:
    if content is None:
        del held[offset:]
    held.extend(bytes(max(0, offset - len(held))))
    if content is not None:
        held[offset : offset + len(content)] = content


def _apply_in_part(held: bytearray, write: Write, dice: random.Random | None) -> None:
    """Apply a write that was under way: whole, or some of its sectors over what was there."""
    if write.content is None or dice is None or dice.random() < HALF:
        _apply(held, write.offset, write.content)
        return
    for at in range(0, len(write.content), SECTOR):
        if dice.random() < HALF:
            _apply(held, write.offset + at, write.content[at : at + SECTOR])
