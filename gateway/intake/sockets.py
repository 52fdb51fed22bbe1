"""Listening sockets, the options that make them fast, and TLS (PS3.15 B.9, BCP 195)."""

import errno
import socket
import ssl
import struct
from ipaddress import ip_address
from typing import Final

from gateway.config import Intake, IntakeTls
from gateway.errors import ConfigurationFault, EnvironmentFault

BACKLOG: Final = 1024  # a burst of modalities waits in the kernel, not in our memory


def listen(config: Intake) -> list[tuple[socket.socket, ssl.SSLContext | None]]:
    """Open the listening sockets, inheritable, so that several processes can accept on each."""
    opened: list[tuple[socket.socket, ssl.SSLContext | None]] = []
    try:
        if config.port is not None:
            opened.append((listen_on(config.host, config.port), None))
        if config.tls is not None:
            context = tls_context(config.tls)
            opened.append((listen_on(config.host, config.tls.port), context))
    except BaseException:
        for listening, _ in opened:
            listening.close()
        raise
    return opened


def listen_on(host: str, port: int) -> socket.socket:
    """Listen on one port; every failure says what an operator can do about it."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    except ValueError:
        family = socket.AF_INET  # a name
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.set_inheritable(True)
    except OSError as fault:
        listening.close()
        raise EnvironmentFault(_why_not(host, port, fault)) from fault
    return listening


def _why_not(host: str, port: int, fault: OSError) -> str:
    if fault.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use by another program: stop it (`ss -ltnp 'sport = :{port}'` "
            "names it), or set another port under [intake]"
        )
    if fault.errno == errno.EACCES:
        return f"port {port} needs privileges this user lacks: choose one above 1023 under [intake]"
    if fault.errno == errno.EADDRNOTAVAIL or isinstance(fault, socket.gaierror):
        return f"{host} is no address of this machine: set `host` under [intake]"
    return f"cannot listen on {host} port {port}: {fault.strerror or fault}"


def tls_context(tls: IntakeTls) -> ssl.SSLContext:
    """Build the acceptor's TLS: 1.2 or 1.3, with client certificates where a CA is named."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # BCP 195 (RFC 9325 4.2): ephemeral key exchange and authenticated encryption only.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL")
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(tls.certificate, tls.private_key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            demanded = tls.client_certificates == "required"
            context.verify_mode = ssl.CERT_REQUIRED if demanded else ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as fault:
        files = [tls.certificate, tls.private_key, *([tls.client_ca] if tls.client_ca else [])]
        named = ", ".join(map(str, files))
        raise ConfigurationFault(
            f"[intake.tls]: {named} cannot be used as certificate, key and client CA: {fault}"
        ) from fault
    return context


def tune(connection: socket.socket) -> None:
    """Answer at once: our responses are small, and nothing follows them (RFC 896 would wait)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def acknowledge_at_once(connection: socket.socket) -> None:
    """Re-arm TCP_QUICKACK, which the kernel takes back at will (tcp(7)).

    Senders that leave Nagle's algorithm on (dcmtk does) hold the tail of every image until we
    acknowledge what came before; a delayed acknowledgement costs them 40 ms per image.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def set_timeouts(connection: socket.socket, receive: float, send: float) -> None:
    """Bound each recv and send in the kernel; Python's own time-outs cost a poll each."""
    connection.settimeout(None)
    for option, seconds in ((socket.SO_RCVTIMEO, receive), (socket.SO_SNDTIMEO, send)):
        whole = int(seconds)
        value = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, option, value)
