"""Programs under measurement: started, weighed as whole process trees, and stopped again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench.account import open_account, stat_fields

SAMPLE_SECONDS = 0.2
REPOSITORY = Path(__file__).parents[2]


class NotMeasured(Exception):
    """A subject cannot be measured here; the text says why."""


class Tree:
    """A program with all its descendants; it leads a session, by which they are found."""

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._account = open_account(self.pids)
        with log.open("ab") as sink:
            self._leader = subprocess.Popen(
                self._account.joining(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **(env or {})},
                cwd=REPOSITORY,
                start_new_session=True,
            )
        self._peak_tree = self._peak_process = 0
        self._over = threading.Event()
        threading.Thread(target=self._sample, daemon=True).start()

    @property
    def leader(self) -> int:
        return self._leader.pid

    @property
    def alive(self) -> bool:
        return self._leader.poll() is None

    def pids(self) -> Iterator[int]:
        for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
            if (fields := stat_fields(pid)) and fields[3] == self._session:
                yield pid

    def cpu_ms(self) -> float:
        """Return the CPU time of the tree so far, ended children included."""
        return self._account.cpu_ms()

    def forget_peaks(self) -> None:
        for pid in self.pids():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")  # resets VmHWM
        self._peak_tree = self._peak_process = 0

    def peaks_mb(self) -> tuple[float, float]:
        """Return the peak resident memory of the tree and of its largest process."""
        self._look()
        return self._peak_tree / 1e6, self._peak_process / 1e6

    def largest_mb(self, word: str) -> float:
        """Return the peak of the largest process with `word` in its command line."""
        found = [_high_water(pid) for pid in self.pids() if word in _command_line(pid)]
        return max(found, default=0) / 1e6

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        self._leader.terminate()

    def stop(self) -> None:
        self._over.set()
        members = list(self.pids())
        self._leader.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._leader.wait(15)
        for pid in {*members, *self.pids()}:
            fields = stat_fields(pid)
            if fields and fields[3] == self._session:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._leader.wait()
        self._account.close()

    @property
    def _session(self) -> str:
        return str(self._leader.pid)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        pids = list(self.pids())
        self._peak_tree = max(self._peak_tree, sum(map(_resident, pids)))
        self._peak_process = max(self._peak_process, *map(_high_water, pids), 0)


def _resident(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _high_water(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def running(tree: Tree, port: int) -> Iterator[Tree]:
    """Wait until the program listens, and stop it in the end."""
    try:
        wait_listening(tree, port)
        yield tree
    finally:
        tree.stop()


def last_words(log: Path) -> str:
    """Return the last line of a log."""
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][-300:] if lines else "without a word"


def wait_listening(tree: Tree, port: int, seconds: float = 30) -> None:
    def settled() -> bool:
        return answers(port) or not tree.alive

    wait_for(settled, seconds, f"{tree.log.name} listens")
    if not tree.alive:
        raise NotMeasured(f"it ended at once: {last_words(tree.log)}")
