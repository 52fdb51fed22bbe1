"""What the coordinator shows and signs with: renewed files take effect without a restart."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

import grpc
import structlog

from coordinator.app.keys import Keys, load_keys
from coordinator.app.setup import keep_server_current
from coordinator.config import CoordinatorConfig
from coordinator.errors import CoordinatorError
from coordinator.federation.fleet import Authority
from coordinator.model import Clock

FILES = ("issuing.key", "issuing.crt", "server.key", "server.crt", "roots.crt")

log = structlog.get_logger()


class Shown:
    """Follows the key files; a handshake that begins after a change sees what is new."""

    def __init__(
        self, config: CoordinatorConfig, clock: Clock, changed: Callable[[Authority], None]
    ) -> None:
        self._config = config
        self._clock = clock
        self._changed = changed
        self._lock = Lock()
        self._next: grpc.ServerCertificateConfiguration | None = None
        self._seen: tuple[object, ...] = ()

    def credentials(self, keys: Keys) -> grpc.ServerCredentials:
        self._seen = self._marks()
        return grpc.dynamic_ssl_server_credentials(
            _configuration(keys),
            self._fetch,  # type: ignore[arg-type]  # None means "as before", says gRPC
            require_client_authentication=True,
        )

    def refresh(self) -> None:
        """Renew the server's own certificate where it is time, and take up what was installed."""
        try:
            if keep_server_current(self._config, datetime.fromtimestamp(self._clock(), UTC)):
                log.info("server_certificate_renewed")
            marks = self._marks()
            if marks == self._seen:
                return
            keys = load_keys(self._config, self._clock())
        except (CoordinatorError, OSError) as fault:
            # Perhaps half of an installation: what is in force stays, and the next look decides.
            log.warning("keys_not_taken_up", kind=type(fault).__name__)
            return
        with self._lock:
            self._next, self._seen = _configuration(keys), marks
        self._changed(keys.authority)
        log.info("keys_taken_up")

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Give gRPC what is new, once; it asks at every handshake, from its own threads."""
        with self._lock:
            found, self._next = self._next, None
            return found

    def _marks(self) -> tuple[object, ...]:
        found = []
        for name in FILES:
            status = (self._config.keys / name).stat()
            found.append((status.st_mtime_ns, status.st_ino))
        return tuple(found)


def _configuration(keys: Keys) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(keys.server_key, keys.server_chain)], root_certificates=keys.authority.roots_pem
    )
