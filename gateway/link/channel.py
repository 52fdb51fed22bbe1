"""Opening a channel: the only place where one is opened, and it sends `Released` bytes alone."""

from typing import Any

import grpc

from gateway.link.credentials import Credentials
from gateway.link.proxy import Proxy
from gateway.release.gate import Released

MESSAGE_BYTES = (1 << 20) + (64 << 10)  # one chunk and its frame
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),  # a frozen coordinator is left within 20 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # what gRPC 1.85 goes by: left to itself, a minute
    ("grpc.enable_retries", 0),  # each send attempt is ours to write down first
    ("grpc.use_local_subchannel_pool", 1),  # control and bulk never share a connection
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # the link backs off by itself
)


def open_channel(credentials: Credentials, proxy: Proxy | None = None) -> grpc.Channel:
    """Open mutual TLS to the coordinator: the federation's roots, and no others."""
    key, chain = credentials.key_pem(), credentials.chain_pem
    return secure_channel(credentials.address, credentials.roots_pem, key, chain, proxy)


def secure_channel(
    address: str, roots: bytes, key: bytes, chain: bytes, proxy: Proxy | None = None
) -> grpc.Channel:
    tls = grpc.ssl_channel_credentials(roots, key, chain)
    # What the environment says was read before: gRPC is told, and does not look by itself.
    way = ("grpc.http_proxy", proxy.uri) if proxy else ("grpc.enable_http_proxy", 0)
    return grpc.secure_channel(address, tls, options=(*OPTIONS, way))


def wire_bytes(released: Released) -> bytes:
    """Serialise by not serialising: what is in the ledger is what goes."""
    if type(released) is not Released:
        raise TypeError("the link sends what the gate released and nothing else")
    return released.payload


def refusal_of(fault: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Return a failed call's status and its text, made printable."""
    call: Any = fault  # every error of a call is the call itself, which its type does not say
    if not hasattr(call, "details"):
        return grpc.StatusCode.UNKNOWN, ""
    text = "".join(c for c in (call.details() or "")[:200] if c.isprintable())
    return call.code(), text
