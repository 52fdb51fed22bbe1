"""A PostgreSQL server, and how one connects to it: by its URL, its password kept elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from coordinator.config import CoordinatorConfig, read_private
from coordinator.errors import ConfigurationFault, EnvironmentFault

if TYPE_CHECKING:
    import asyncpg

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30.0
# A coordinator that stops in the middle of a write must not hold its fence against the next one.
IDLE_IN_TRANSACTION = "5s"


@dataclass(frozen=True, slots=True)
class Server:
    """Where the shared tables lie."""

    url: str
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, config: CoordinatorConfig) -> Self | None:
        """Return the settings' server; None where the tables are a file in `data`."""
        store = config.store
        if store.url is None:
            return None
        if find_spec("asyncpg") is None:
            raise ConfigurationFault(
                "`store.url` needs PostgreSQL's driver: install it with "
                "`pip install 'radfed[postgres]'`"
            )
        return cls(store.url, _password(store.password_file))

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"PostgreSQL at {parts.hostname or 'its local socket'}"

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn what the driver raises into a sentence."""
        import asyncpg

        try:
            yield
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as fault:
            raise EnvironmentFault(f"{self} refuses the coordinator: {fault}") from fault
        except OSError as fault:  # its TimeoutError too
            why = fault.strerror or "no answer"
            raise EnvironmentFault(f"{self} cannot be reached: {why}") from fault

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection; EnvironmentFault says why there is none."""
        import asyncpg

        with self.answering():
            return await asyncpg.connect(
                self.url,
                password=self.password,  # absent: PGPASSWORD or ~/.pgpass, as for psql
                timeout=CONNECT_SECONDS,
                command_timeout=STATEMENT_SECONDS,
                server_settings={
                    "application_name": "radfed",
                    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
                },
            )


def _password(file: Path | None) -> str | None:
    return None if file is None else read_private(file).decode().strip()
