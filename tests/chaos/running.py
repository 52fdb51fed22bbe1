"""A real gateway, made by its own commands: started, killed without warning, looked into."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from gateway.app.build import build_line, build_secret, build_store, build_vault
from gateway.app.process import read_state
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig, load
from gateway.line.encoding import inflate
from gateway.store.index import Index

ROOT = Path(__file__).parents[2]
START_SECONDS = 150.0  # where others work, too
CALLERS = ("STORESCU", "DCMSEND", "PYNETDICOM")
INDEXED = "SELECT path FROM instance"


class Gateway:
    """One hospital's gateway in a directory of its own."""

    def __init__(self, directory: Path, wrapper: tuple[str, ...] = (), **intake: float) -> None:
        self.directory = directory
        self.port = free_port()
        self._wrapper = wrapper
        self._process: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"
        directory.mkdir(parents=True, exist_ok=True)
        peers = [f"--peer={caller.lower()}={caller}" for caller in CALLERS]
        self.command(
            "init", "--site", "tongji", "--data", "state", "--host", "127.0.0.1",
            "--port", self.port, "--console-port", "0", "--recovery-code-file", "code",
            "--reserve-bytes", "1000000", *peers,
        )  # fmt: skip
        settings = directory / "gateway.toml"
        text = settings.read_text("utf-8")
        for name, value in intake.items():
            kept = [line for line in text.splitlines() if not line.startswith(f"{name} = ")]
            at = kept.index(next(line for line in kept if line.startswith("[intake]")))
            text = "\n".join([*kept[: at + 1], f"{name} = {value}", *kept[at + 1 :], ""])
        settings.write_text(text, "utf-8")

    @property
    def data(self) -> Path:
        return self.directory / "state"

    @property
    def config(self) -> GatewayConfig:
        return load(self.directory / "gateway.toml")

    def command(self, *arguments: object) -> str:
        """Run one command of the gateway to its end; return what it said on stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *map(str, arguments)],
            cwd=self.directory, env=environment(), capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start it and wait until it answers on its port; nobody has tidied up in between."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapper, sys.executable, "-m", "gateway", "run"],
                cwd=self.directory, env=environment(), stderr=log,
            )  # fmt: skip
        ends = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self._process.poll() is None, f"it ended at its start: {self.said()[-2000:]}"
            assert time.monotonic() < ends, "it did not start"
            time.sleep(0.05)

    def answers(self) -> bool:
        """Say whether a receiver accepts and answers, not only the kernel's backlog."""
        from tests.fakes.raw_scu import RawScu

        try:
            with RawScu(self.port, seconds=2.0) as scu:
                return scu.associate() is not None
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """The gateway's own process: behind a wrapper, the one that holds its lock."""
        return int((self.data / "run" / "lock").read_text("ascii"))

    @property
    def receivers(self) -> list[int]:
        """The processes it started, by number."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(OSError):
            found = map(int, children.read_text("ascii").split())
            return [pid for pid in found if "intake-worker" in _command_of(pid)]
        return []

    def kill(self) -> None:
        """End all of it with SIGKILL, main first: the receivers must not outlive it."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait(30)

    def kill_receivers(self) -> None:
        for pid in self.receivers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does, where it still runs."""
        if self._process is None or self._process.poll() is not None:
            return
        os.kill(self.pid, signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def destroy(self) -> None:
        """Leave no process behind, whatever happened to the test."""
        if self._process is not None and self._process.poll() is None:
            with suppress(OSError, ValueError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait(30)

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def counters(self) -> dict[str, int]:
        """What the receivers that run now have counted."""
        total: dict[str, int] = {}
        for file in (self.data / "run").glob("intake-*.json"):
            for event, count in read_state(file).items():
                total[event] = total.get(event, 0) + count
        return total

    def wait_until_settled(self, seconds: float = 60.0) -> None:
        """Wait until the line has nothing left to do."""
        secret = build_secret(self.config)
        store, vault = build_store(self.config, secret), build_vault(self.config, secret)
        ends = time.monotonic() + seconds
        while vault.incoming() or store.arrived(1):  # in this order they go
            assert time.monotonic() < ends, "the line did not come to an end"
            time.sleep(0.05)

    def settle(self) -> None:
        """Run the line here, with the gateway down: what its next start would do."""
        audit = AuditTrail.open(self.config.audit_file)
        line = build_line(self.config, audit)
        try:
            while line.run_once():
                pass
        finally:
            line.close()
            audit.close()

    def holdings(self) -> "Holdings":
        return Holdings.of(self.config)


class Holdings:
    """Everything a gateway holds, read from its files by its own keys."""

    def __init__(self) -> None:
        self.stored: dict[str, list[Path]] = {}  # by the original SOP Instance UID
        self.sealed: dict[str, list[bytes]] = {}  # datasets in quarantine, the same
        self.unindexed: set[str] = set()
        self.without_file: set[str] = set()

    @classmethod
    def of(cls, config: GatewayConfig) -> "Holdings":
        found = cls()
        secret = build_secret(config)
        store, vault = build_store(config, secret), build_vault(config, secret)
        for path in store.files():
            found.stored.setdefault(store.record_of(path).original.sop_uid, []).append(path)
        ids = [entry.id for entry in vault.list()] + [entry for entry, _ in vault.incoming()]
        for entry in ids:
            with vault.open(entry) as (kept, chunks):
                raw = b"".join(chunks)
                assert len(raw) == kept.size_bytes, "a vault entry is shorter than was received"
            if kept.arrival.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
                raw = inflate([raw], len(raw))
            found.sealed.setdefault(kept.arrival.sop_instance_uid, []).append(raw)
        index = Index.open(config.index_file)
        rows = {str(row["path"]) for row in index.read(INDEXED)}
        index.close()
        files = {str(path.relative_to(store.directory)) for path in store.files()}
        found.unindexed, found.without_file = files - rows, rows - files
        return found

    @property
    def uids(self) -> set[str]:
        return {*self.stored, *self.sealed}

    def require_each_once(self) -> None:
        """Refuse two copies of anything, and an index that is not the files."""
        many = [uid for uid in self.uids if self._copies(uid) != 1]
        assert not many, f"{len(many)} instances are held more than once"
        assert not self.unindexed, f"{len(self.unindexed)} files are not in the index"
        assert not self.without_file, f"{len(self.without_file)} rows have no file"

    def _copies(self, uid: str) -> int:
        return len(self.stored.get(uid, ())) + len(self.sealed.get(uid, ()))

    def pixels(self, uid: str) -> bytes:
        if uid in self.stored:
            return bytes(dcmread(self.stored[uid][0]).PixelData)
        return self.sealed[uid][0]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def resident_kilobytes(pid: int, field: str = "VmRSS") -> int:
    """What a process holds in memory now, or held at most (`VmHWM`)."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1])


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("ascii", "replace")
    except OSError:
        return ""


def show(facts: dict[str, object]) -> None:
    print(json.dumps(facts), flush=True)
