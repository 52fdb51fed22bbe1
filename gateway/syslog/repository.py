"""The hospital's audit record repository: over TLS, believed by its certificate alone."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from select import select

from gateway.config import AuditSyslog
from gateway.errors import ConfigurationFault, PeerUnreachable

SECONDS = 10.0
SETTLE_SECONDS = 0.2


class Repository:
    """Syslog has no receipt: what counts as taken was written to a connection that then stood."""

    def __init__(self, settings: AuditSyslog) -> None:
        self._settings = settings
        self._socket: ssl.SSLSocket | None = None

    def send(self, frames: Sequence[bytes]) -> None:
        """Write frames; PeerUnreachable, and nothing is known of them, where that failed."""
        with self._said_plainly():
            stream = self._socket = self._socket or self._open()
            stream.sendall(b"".join(frames))
            if select([stream], [], [], SETTLE_SECONDS)[0] and _has_ended(stream):
                raise ConnectionResetError

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> ssl.SSLSocket:
        settings = self._settings
        context = ssl.create_default_context(cafile=str(settings.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.private_key)
        plain = socket.create_connection((settings.host, settings.port), SECONDS)
        name = settings.server_name or settings.host
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    @contextmanager
    def _said_plainly(self) -> Iterator[None]:
        where = f"{self._settings.host}:{self._settings.port}"
        try:
            yield
        except FileNotFoundError as fault:
            raise ConfigurationFault("[audit.syslog] names a file that is missing") from fault
        except ssl.SSLCertVerificationError as fault:
            self.close()
            raise PeerUnreachable(
                f"the audit repository at {where} shows a certificate that `ca` did not sign, or "
                "for another name: nothing was sent"
            ) from fault
        except OSError as fault:
            self.close()
            raise PeerUnreachable(f"the audit repository at {where} takes nothing") from fault


def _has_ended(stream: ssl.SSLSocket) -> bool:
    """Say whether the other side hung up; what it says else (TLS tickets) is read over."""
    stream.settimeout(0)
    try:
        return not stream.recv(1024)
    except ssl.SSLWantReadError:
        return False
    finally:
        stream.settimeout(SECONDS)
