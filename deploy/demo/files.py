"""Small things the demo does with files."""

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
