"""A hospital's HTTP proxy: found, asked for a tunnel (CONNECT, RFC 9110 9.3.6), and named."""

import socket
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from gateway.errors import ConfigurationFault, PeerUnreachable

SECONDS = 5.0
ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    credentials: str = field(default="", repr=False)  # user:password
    origin: str = "the settings"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def uri(self) -> str:
        """Return what gRPC is told."""
        return f"http://{self.credentials}{'@' if self.credentials else ''}{self}"

    def tunnel(self, host: str, port: int) -> socket.socket:
        """Connect through the proxy; PeerUnreachable says what it answered."""
        try:
            plain = socket.create_connection((self.host, self.port), SECONDS)
        except OSError as fault:
            raise PeerUnreachable(
                f"the proxy {self} of {self.origin} cannot be reached: check its address"
            ) from fault
        answer = b""
        try:
            plain.sendall(self._request(host, port))
            while b"\r\n\r\n" not in answer and len(answer) < ANSWER_BYTES:
                if not (more := plain.recv(1)):  # not one byte of what follows the answer
                    break
                answer += more
        except OSError as fault:
            plain.close()
            raise PeerUnreachable(f"the proxy {self} does not answer") from fault
        status = answer.split(b" ", 2)[1:2]
        if status != [b"200"]:
            plain.close()
            raise PeerUnreachable(_refused(self, status[0] if status else b"", f"{host}:{port}"))
        return plain

    def _request(self, host: str, port: int) -> bytes:
        lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
        if self.credentials:
            secret = b64encode(unquote(self.credentials).encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {secret}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def proxy_for(setting: str | None, address: str) -> Proxy | None:
    """Return the proxy to an address: the settings', else the environment's, else none.

    `no_proxy` excepts addresses from the environment's alone: the settings are meant.
    """
    if setting:
        return _read(setting, "the settings")
    found = getproxies_environment().get("https")
    if not found or proxy_bypass(address):
        return None
    return _read(found, "https_proxy")


def _read(text: str, origin: str) -> Proxy:
    parts = urlsplit(text if "//" in text else f"//{text}")
    try:
        host, port = parts.hostname, parts.port or 3128
    except ValueError as fault:
        raise ConfigurationFault(f"the proxy of {origin} has no port number") from fault
    if parts.scheme not in ("", "http") or not host:
        raise ConfigurationFault(f"the proxy of {origin} is not http://HOST:PORT")
    credentials = parts.netloc.rpartition("@")[0]
    return Proxy(host, port, credentials, origin)


def _refused(proxy: Proxy, status: bytes, wanted: str) -> str:
    said = status.decode("ascii", "replace") if status.isdigit() else "something else"
    if said == "407":
        return (
            f"the proxy {proxy} wants a user and a password: write them into "
            '`proxy = "http://USER:PASSWORD@HOST:PORT"`'
        )
    return f"the proxy {proxy} lets nobody through to {wanted} (it says {said}): ask its operator"
