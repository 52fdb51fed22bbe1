"""The manifest in force here: given to hospitals, and asked before they are troubled."""

from collections.abc import Callable
from pathlib import Path

import structlog

from coordinator.errors import CoordinatorError
from protos.manifest import Manifest

Read = Callable[[], tuple[bytes, Manifest] | None]

log = structlog.get_logger()


class Roll:
    """Follows the installed file, so that a new manifest needs no restart."""

    def __init__(self, file: Path, read: Read) -> None:
        self._file = file
        self._read = read
        self._seen: tuple[int, int] | None = None
        self._held: tuple[bytes, Manifest] | None = None

    @property
    def manifest(self) -> Manifest | None:
        return None if self._held is None else self._held[1]

    @property
    def signed(self) -> bytes:
        """Return the file as the root signed it; empty where there is none."""
        return b"" if self._held is None else self._held[0]

    @property
    def version(self) -> int:
        return 0 if self.manifest is None else self.manifest.version

    def refresh(self) -> bool:
        """Read the file where it changed; say whether there is a newer manifest now."""
        try:
            found = self._file.stat()
        except OSError:
            return False
        seen = (found.st_mtime_ns, found.st_ino)
        if seen == self._seen:
            return False
        self._seen, before = seen, self.version
        try:
            self._held = self._read() or self._held
        except CoordinatorError as fault:
            log.error("manifest_unreadable", says=str(fault))  # noqa: TRY400 - the one in force stays
        return self.version > before
