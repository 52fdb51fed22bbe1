"""What jobs printed: the last words of each round, for the steward's eyes, for a month."""

import time
from hashlib import sha256
from pathlib import Path

KEPT_SECONDS = 30 * 86400.0


class JobLogs:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, job_id: str, number: int, log: bytes) -> None:
        """Keep a round's tail in place of an earlier attempt's; forget what is a month old."""
        home = self._home(job_id)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / f"{number}.log").write_bytes(log)
        for old in self._directory.glob("*/*.log"):
            if old.stat().st_mtime < time.time() - KEPT_SECONDS:
                old.unlink(missing_ok=True)

    def newest(self, job_id: str) -> tuple[int, bytes] | None:
        """Return the latest round's number and tail; None where nothing ran, or long ago."""
        found = sorted(self._home(job_id).glob("*.log"), key=lambda path: int(path.stem))
        return (int(found[-1].stem), found[-1].read_bytes()) if found else None

    def _home(self, job_id: str) -> Path:
        return self._directory / sha256(job_id.encode()).hexdigest()[:32]
