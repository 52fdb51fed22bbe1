"""Files that appear whole and durable, or not at all."""

import errno
import os
from contextlib import suppress
from pathlib import Path

OWNER_ONLY = 0o600
PARTS_AT_MOST = os.sysconf("SC_IOV_MAX")  # of one writev
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
CANNOT_BE_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})


class Directory:
    """A directory held open, so that it can be synced and linked into."""

    def __init__(self, path: Path) -> None:
        make_durably(path)
        sync_directory(path.parent)  # made, perhaps, by a process that was killed before it synced
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._descriptor) if hasattr(self, "_descriptor") else None

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def draft(self) -> "Draft":
        """Begin a file without a name: a crash leaves nothing to clean up."""
        return Draft(self)

    def link(self, descriptor: int, name: str) -> None:
        """Give an open unnamed file a name here; FileExistsError rather than replace one."""
        # With a directory descriptor CPython calls linkat(AT_SYMLINK_FOLLOW), which open(2)
        # describes for O_TMPFILE.
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=self._descriptor)

    def replace(self, descriptor: int, name: str) -> None:
        """Give an open unnamed file a name here, superseding the one that has it."""
        passing = f".{name}.{os.getpid()}.{descriptor}"
        with suppress(FileNotFoundError):  # a crash of a process of that number left it
            os.unlink(passing, dir_fd=self._descriptor)
        self.link(descriptor, passing)
        os.replace(passing, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)


class Draft:
    """One file being written; invisible until it is published."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.size = 0  # held parts counted
        self._held: list[bytes | bytearray] = []
        self._descriptor = os.open(
            directory.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, OWNER_ONLY
        )

    def hold(self, *parts: bytes | bytearray) -> None:
        """Append parts that nobody changes, with whatever is written next: one call costs less."""
        self._held += parts
        self.size += sum(map(len, parts))

    def write(self, *parts: bytes | bytearray | memoryview) -> None:
        """Append the parts, in one call where the kernel takes them whole."""
        self.size += sum(map(len, parts))
        if self._held:
            parts = (*self._held, *parts)
            self._held = []
        if len(parts) > PARTS_AT_MOST:
            parts = (b"".join(parts),)
        wanted = sum(map(len, parts))
        written = os.writev(self._descriptor, parts)
        if written == wanted:
            return
        rest = memoryview(b"".join(parts))[written:]
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _write_held(self) -> None:
        if self._held:
            self.write()

    def patch(self, content: bytes, offset: int) -> None:
        """Overwrite bytes written before."""
        self._write_held()
        if os.pwrite(self._descriptor, content, offset) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read(self, size: int, offset: int) -> bytes:
        self._write_held()
        return os.pread(self._descriptor, size, offset)

    def sync(self) -> None:
        """Make the content durable; a failure is final, the pages may be gone (fsyncgate)."""
        self._write_held()
        os.fdatasync(self._descriptor)

    def publish(self, name: str, directory: Directory | None = None) -> None:
        """Name the file, never replacing one; the caller syncs the directory."""
        (directory or self._directory).link(self._descriptor, name)

    def supersede(self, name: str) -> None:
        """Name the file, replacing the one of that name; the caller syncs the directory."""
        self._directory.replace(self._descriptor, name)

    def close(self) -> None:
        """Let go of it; unpublished, it vanishes."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close() if hasattr(self, "_descriptor") else None


def make_durably(path: Path) -> list[Path]:
    """Make a directory and its parents, each entry synced; return the new ones."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        sync_directory(new.parent)
    return missing


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, *content: bytes | bytearray | memoryview) -> None:
    """Replace a small file in one step: after a power cut it is the old one or the new one."""
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(content)
        file.flush()
        os.fsync(file.fileno())
    passing.replace(path)
    sync_directory(path.parent)


def free_bytes(path: Path) -> int:
    """Return what an unprivileged writer may still take."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
