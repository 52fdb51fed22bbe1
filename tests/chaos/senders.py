"""Real senders, and what each was told about each file."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

SENT = re.compile(r"Sending file: (\S+)|Received Store Response \(([^)]+)")


class StoreScu:
    """dcmtk's storescu, running; afterwards it says which files were acknowledged."""

    def __init__(self, port: int, files: Sequence[Path], *options: str) -> None:
        command = ["storescu", "-v", "-aec", "RADFED", *options, "127.0.0.1", str(port)]
        self._process = subprocess.Popen(
            [*command, *map(str, files)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.was_rejected = False  # known after `wait`

    def wait(self, seconds: float = 120.0) -> dict[Path, str]:
        """Return the answer to each file that got one."""
        text, _ = self._process.communicate(timeout=seconds)
        self.was_rejected = "Association Rejected" in text
        answers: dict[Path, str] = {}
        current: Path | None = None
        for file, answer in SENT.findall(text):
            if file:
                current = Path(file)
            elif current is not None:
                answers[current] = answer
        return answers
