"""dcmtk's `dcmsend` as the modality: one process per association, timed by what it says."""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLING_AE = "BENCH"


@dataclass(slots=True)
class Sender:
    """One running `dcmsend` and when it said what."""

    process: subprocess.Popen[str]
    began: float = 0.0
    ended: float = 0.0
    stored: int = 0
    last: list[str] = field(default_factory=list)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "Received C-STORE Response (Success)" in line:
                self.stored += 1
                self.ended = time.monotonic()
            elif "Requesting Association" in line and not self.began:
                self.began = time.monotonic()
            elif line.startswith(("E:", "F:")):
                self.last.append(line.strip())
        self.process.wait()


class PushFailed(Exception):
    """Not every file was taken; the text says what the sender said."""


def push(files: Sequence[Path], port: int, called: str, *, associations: int, nagle: bool) -> float:
    """Send every file and return the seconds from the first request to the last response.

    dcmtk leaves Nagle's algorithm on unless TCP_NODELAY says otherwise; so do most modalities.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"}
    if not nagle:
        environment["TCP_NODELAY"] = "1"
    command = ["stdbuf", "-oL", "-eL", "dcmsend", "-v", "-aet", CALLING_AE, "-aec", called]
    senders = []
    for share in range(associations):
        part = [str(path) for path in files[share::associations]]
        process = subprocess.Popen(
            [*command, "127.0.0.1", str(port), *part],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        senders.append(Sender(process))
    threads = [threading.Thread(target=sender.listen) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = sum(sender.stored for sender in senders)
    if stored != len(files):
        said = "; ".join(word for sender in senders for word in sender.last[-1:])
        raise PushFailed(f"{stored} of {len(files)} stored: {said or 'no reason given'}")
    return max(s.ended for s in senders) - min(s.began for s in senders)
