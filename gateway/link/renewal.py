"""Renewal: the next certificate for the same key, long before the last one ends."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.durable import replace_durably
from gateway.errors import GatewayError, IntegrityFault, PeerUnreachable, Refused
from gateway.link.channel import open_channel, refusal_of, wire_bytes
from gateway.link.credentials import CHAIN, RENEWAL, Credentials, require_chain, require_mine
from gateway.link.enrol import certificate_request
from gateway.link.proxy import Proxy
from gateway.link.rules import delay
from gateway.release.gate import Gate
from protos.root import read_roots
from protos.v1 import enrolment_pb2

METHOD = "/radfed.v1.EnrolmentService/Renew"
SECONDS = 20.0
LOOK_SECONDS = 60.0  # the longest between two looks: somebody may have enrolled anew
RETRY_AT_MOST = 3600.0

log = structlog.get_logger()


class Renewal:
    """Renews at two thirds of a certificate's life, and after its end by the renewal's own.

    The key stays: one file is replaced in one step, so no crash leaves a key without its
    certificate. A new key comes with a new enrolment.
    """

    def __init__(
        self,
        directory: Path,
        gate: Gate,
        proxy: Callable[[str], Proxy | None],
        version: str,
        now: Callable[[], datetime],
        draw: Callable[[float, float], float],
        here: Callable[[Credentials], Credentials] = lambda enrolled: enrolled,
    ) -> None:
        self._here = here  # the coordinator's address in use
        self._directory = directory
        self._gate = gate
        self._proxy = proxy
        self._version = version
        self._now = now
        self._draw = draw
        self._failures = 0

    def pause(self) -> float:
        """Return how long to wait before the next look."""
        credentials = self._held()
        if credentials is None:
            return LOOK_SECONDS
        if self._failures:
            left = (credentials.not_after - self._now()).total_seconds()
            return delay(self._failures, min(RETRY_AT_MOST, max(1.0, left / 10)), self._draw)
        until = (credentials.renews_at - self._now()).total_seconds()
        # Many gateways may be due at one moment: each waits a little of its own.
        return min(LOOK_SECONDS, max(0.0, until) + self._draw(0.05, 0.5))

    def attempt(self) -> bool:
        """Renew where it is time; say whether there is a new certificate."""
        credentials = self._held()
        if credentials is None or self._now() < credentials.renews_at:
            return False
        try:
            self._renew(credentials)
        except grpc.RpcError as fault:
            status, text = refusal_of(fault)
            return self._failed(f"{status.name}: {text}")
        except GatewayError as fault:
            return self._failed(str(fault))
        except OSError as fault:  # a full disk: the one in force stays
            return self._failed(fault.strerror or type(fault).__name__)
        self._failures = 0
        return True

    def _held(self) -> Credentials | None:
        """Return the identity that lies here; none while somebody is replacing it."""
        try:
            return Credentials.load(self._directory)
        except (GatewayError, OSError):
            return None  # the conversation says what is wrong with it

    def _failed(self, says: str) -> bool:
        self._failures += 1
        log.warning("renewal_failed", says=says, failures=self._failures)
        return False

    def _renew(self, credentials: Credentials) -> None:
        key = load_pem_private_key(credentials.key_pem(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise IntegrityFault("the gateway's key is not on the curve P-256: enrol again")
        identity = credentials.identity
        request = certificate_request(key, identity.name, identity.federation)
        shown = self._here(self._shown(credentials))
        with open_channel(shown, self._proxy(shown.address)) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=SECONDS)
            except grpc.FutureTimeoutError as fault:
                raise PeerUnreachable("the coordinator cannot be reached to renew") from fault
            call = channel.unary_unary(
                METHOD,
                request_serializer=wire_bytes,
                response_deserializer=enrolment_pb2.RenewResponse.FromString,
            )
            response = call(self._gate.renewal(request, self._version), timeout=SECONDS)
        chain = self._checked(response.certificate_chain_pem, key, credentials)
        require_mine(chain[0], identity.name, identity.federation)
        if response.renewal_chain_pem:
            self._checked(response.renewal_chain_pem, key, credentials)
            replace_durably(self._directory / RENEWAL, response.renewal_chain_pem)
        replace_durably(self._directory / CHAIN, response.certificate_chain_pem)
        log.info("certificate_renewed", until=chain[0].not_valid_after_utc.isoformat())

    def _shown(self, credentials: Credentials) -> Credentials:
        """Return what to show: the certificate in force, or after its end the renewal's."""
        if self._now() < credentials.not_after:
            return credentials
        try:
            chain = (self._directory / RENEWAL).read_bytes()
            leaf = x509.load_pem_x509_certificates(chain)[0]
        except (OSError, ValueError, IndexError) as fault:
            raise Refused(
                "the certificate has run out and there is none to renew it with: ask the "
                "federation for a new invitation and run `radfed gateway enrol --force`"
            ) from fault
        if leaf.not_valid_after_utc <= self._now():
            raise Refused(
                "this gateway was away for too long to renew by itself: ask the federation for a "
                "new invitation and run `radfed gateway enrol --force`"
            )
        return replace(credentials, chain_pem=chain, not_after=leaf.not_valid_after_utc)

    def _checked(
        self, pem: bytes, key: EllipticCurvePrivateKey, credentials: Credentials
    ) -> list[x509.Certificate]:
        """Believe nothing that came back but what leads to the pinned root, for this key."""
        try:
            chain = x509.load_pem_x509_certificates(pem)
        except ValueError as fault:
            raise Refused("what came back is no certificate: nothing was renewed") from fault
        if chain[0].public_key() != key.public_key():
            raise Refused("the certificate that came back is not for this gateway's key")
        require_chain(chain, read_roots(credentials.roots_pem), self._now())
        return chain
