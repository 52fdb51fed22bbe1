"""Why does the coordinator not answer? One handshake that carries no message, and its diagnosis."""

import socket
import ssl
from contextlib import suppress
from datetime import datetime

from cryptography import x509

from gateway.config import GatewayConfig
from gateway.errors import GatewayError, PeerUnreachable, Refused
from gateway.link.credentials import Credentials, clock, identity_of
from gateway.link.places import places
from gateway.link.proxy import Proxy, proxy_for
from protos.identity import Role

SECONDS = 5.0
EXPIRED = {9: "is not yet valid", 10: "has expired"}  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
WRONG_NAME = {62: "host name", 64: "IP address"}  # X509_V_ERR_HOSTNAME_MISMATCH, IP_ADDRESS_


def probe(credentials: Credentials, config: GatewayConfig) -> str:
    """Prove the path to the coordinator: proxy, name, port, TLS both ways, certificate dates."""
    if credentials.identity.name != config.site:
        raise Refused(
            f"this gateway is `{config.site}` but was enrolled as `{credentials.identity.name}`"
        )
    credentials = reached(credentials, config)
    proxy = proxy_for(config.federation.proxy, credentials.address)
    whom = dial(credentials, clock(), proxy)
    way = f" through the proxy {proxy} of {proxy.origin}" if proxy else ""
    return (
        f"{credentials.address} answers{way}, and it is {whom} that ends TLS; the certificate of "
        f"{credentials.identity.uri} is valid until {credentials.not_after:%Y-%m-%d %H:%M} UTC"
    )


def reached(credentials: Credentials, config: GatewayConfig) -> Credentials:
    """Return the address that answers; the enrolled one where none does, or there is no other."""
    every = places(credentials, config.federation.standbys)
    if len(every) > 1:
        for place in every:
            proxy = proxy_for(config.federation.proxy, place.address)
            if diagnose(place, clock(), proxy) is None:
                return place
    return credentials


def diagnose(
    credentials: Credentials, now: datetime, proxy: Proxy | None = None
) -> GatewayError | None:
    """Return what is wrong with the path, or None when it is fine."""
    try:
        dial(credentials, now, proxy)
    except GatewayError as fault:
        return fault
    return None


def dial(credentials: Credentials, now: datetime, proxy: Proxy | None = None) -> str:
    """Do one TLS handshake; return who answered, or raise what is wrong in words to act on."""
    credentials.require_current(now)
    host, _, port = credentials.address.rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context(
        ssl.Purpose.SERVER_AUTH, cadata=credentials.roots_pem.decode("ascii")
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(credentials.chain_file, credentials.key_file)

    def connect() -> socket.socket:
        return proxy.tunnel(host, int(port)) if proxy else _connected(host, int(port))

    try:
        with connect() as plain, _handshake(context, plain, host) as secured:
            shown = secured.getpeercert(binary_form=True)
            _listen(secured, credentials)
    except ssl.SSLCertVerificationError as fault:
        issuer = ""
        with suppress(OSError, ValueError), connect() as plain:
            issuer = _stranger(plain)
        raise _distrusted(fault, host, issuer) from fault
    return _whose(shown)


def _whose(shown: bytes | None) -> str:
    """Require the coordinator's own name in what was shown: not just any leaf of the root."""
    try:
        identity = identity_of(x509.load_der_x509_certificate(shown or b""))
    except ValueError as fault:
        raise Refused("what answers there has no name of this federation") from fault
    if identity.role is not Role.COORDINATOR:
        raise Refused(f"what answers there is {identity.uri} and no coordinator")
    return identity.uri


def _stranger(plain: socket.socket) -> str:
    """Return the issuer of what was shown instead of the coordinator's certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said to it
    with context.wrap_socket(plain) as secured:
        shown = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    issuer = shown.issuer.rfc4514_string()[:120]
    return "".join(letter if letter.isprintable() else "?" for letter in issuer)


def _connected(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), SECONDS)
    except socket.gaierror as fault:
        raise PeerUnreachable(
            f"the coordinator's name {host} is not known here: check DNS or the address"
        ) from fault
    except OSError as fault:
        reason = "no answer in time" if isinstance(fault, TimeoutError) else fault.strerror
        raise PeerUnreachable(
            f"the coordinator at {host}:{port} cannot be reached ({reason}): check that it runs "
            "and that the firewall lets this machine out to that port"
        ) from fault


def _handshake(context: ssl.SSLContext, plain: socket.socket, host: str) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as fault:
        raise _rejected(fault) from fault
    except TimeoutError as fault:
        raise PeerUnreachable(
            f"{host} takes a connection and says nothing: the coordinator is frozen, or this is "
            "not its port"
        ) from fault
    except OSError as fault:
        raise PeerUnreachable(
            f"{host} ends the TLS handshake: is that the coordinator's port?"
        ) from fault


def _listen(secured: ssl.SSLSocket, credentials: Credentials) -> None:
    """Wait for the coordinator's first byte: under TLS 1.3 a refused client learns it here."""
    try:
        first = secured.recv(1)
    except ssl.SSLError as fault:
        raise _rejected(fault) from fault
    except TimeoutError as fault:
        raise PeerUnreachable("the coordinator shakes hands and then says nothing") from fault
    except OSError as fault:
        raise _gone(credentials) from fault
    if not first:
        raise _gone(credentials)
    with suppress(OSError):
        secured.unwrap()


def _gone(credentials: Credentials) -> GatewayError:
    return Refused(
        f"the coordinator hangs up on {credentials.identity.uri}: its certificate may be revoked"
    )


def _distrusted(fault: ssl.SSLCertVerificationError, host: str, issuer: str) -> GatewayError:
    code = fault.verify_code
    if code in EXPIRED:
        return Refused(
            f"the coordinator's certificate {EXPIRED[code]}: check this machine's clock; if it is "
            "right, the federation must renew"
        )
    if code in WRONG_NAME:
        return Refused(
            f"the coordinator's certificate is not for the {WRONG_NAME[code]} {host}: "
            "check the address in the invitation"
        )
    whose = f"`{issuer}`" if issuer else fault.verify_message
    return Refused(
        f"{host} shows a certificate of another authority ({whose}): it is not this "
        "federation's coordinator, or something on the way opens TLS, which is not supported"
    )


def _rejected(fault: ssl.SSLError) -> GatewayError:
    reason = (fault.reason or "").replace("_", " ").lower()
    if "alert" in reason:
        return Refused(
            f"the coordinator refuses this gateway's certificate ({reason}): it belongs to another "
            "federation, has expired or is revoked"
        )
    return PeerUnreachable(
        f"TLS fails ({reason or 'handshake'}): something else answers on the coordinator's port"
    )
