"""A PostgreSQL of the tests' own: Debian's programs, a temporary directory, a socket in it."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic, sleep

PROGRAMS = Path("/usr/lib/postgresql")
QUICK = {  # nothing here outlives the tests, so nothing needs to reach a disk
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "listen_addresses": "", "shared_buffers": "16MB", "max_connections": "60",
    "autovacuum": "off",
}  # fmt: skip


def programs() -> Path | None:
    """Return where the newest server's programs lie; None where there is none."""
    found = sorted(PROGRAMS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    def __init__(self, bin_: Path, home: Path) -> None:
        self._bin = bin_
        self._home = home
        self._numbers = count(1)
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:  # the server refuses root
            owner = pwd.getpwnam("postgres")
            os.chown(home, owner.pw_uid, owner.pw_gid)
            self._as = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._server: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        subprocess.run(
            [self._bin / "initdb", "-D", self._data, "-U", "radfed", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=self._home, **self._as,
        )  # fmt: skip

    def start(self) -> None:
        settings = QUICK | {"unix_socket_directories": str(self._home)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [self._bin / "postgres", "-D", self._data, *words],
            stderr=(self._home / "log").open("ab"), cwd=self._home, **self._as,
        )  # fmt: skip
        deadline = monotonic() + 30
        while not self._answers():
            assert self._server.poll() is None, (self._home / "log").read_text()
            assert monotonic() < deadline, "PostgreSQL did not start"
            sleep(0.05)

    def stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # fast: whoever is connected is cut off
            self._server.wait(20)
            self._server = None

    def url(self, name: str) -> str:
        return f"postgresql://radfed@/{name}?host={self._home}"

    def database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"test{next(self._numbers)}"
        self.run("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def shut(self, url: str) -> None:
        """Cut off whoever uses a database, and let nobody in any more."""
        name = url.partition("@/")[2].partition("?")[0]
        self.run("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        self.run("postgres", ends)

    def run(self, name: str, sql: str) -> list[tuple[object, ...]]:
        return run_sql(self.url(name), sql)

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def _answers(self) -> bool:
        done = subprocess.run(
            [self._bin / "pg_isready", "-q", "-h", self._home], check=False, timeout=10
        )
        return done.returncode == 0


def run_sql(url: str, sql: str) -> list[tuple[object, ...]]:
    import asyncpg

    async def story() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    return asyncio.run(story())


@contextmanager
def a_cluster(bin_: Path) -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="radfed-pg-"))
    cluster = Cluster(bin_, home)
    try:
        cluster.make()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(home, ignore_errors=True)
