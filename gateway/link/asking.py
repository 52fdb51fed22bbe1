"""Preflight's last question: what the coordinator makes of this gateway, and of its clock."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault, PeerUnreachable, Refused
from gateway.link.channel import open_channel, refusal_of, wire_bytes
from gateway.link.credentials import Credentials, clock
from gateway.link.enrol import guest_credentials, read_token, require_pinned
from gateway.link.probe import dial
from gateway.link.proxy import proxy_for
from gateway.link.rules import skew_fault
from gateway.release.gate import Gate
from gateway.trust import Pins
from protos.identity import Role
from protos.v1 import enrolment_pb2

METHOD = "/radfed.v1.EnrolmentService/Preflight"
SECONDS = 10.0


def ask(credentials: Credentials, config: GatewayConfig, gate: Gate) -> str:
    """Return what the coordinator says of us; raise where that, or the clock, is in the way."""
    before = clock()
    said = _said(credentials, config, gate)
    if said is None:
        return "an older coordinator, which is not asked: the clock is compared on connection"
    middle = before + (clock() - before) / 2
    skew = said.clock.ToNanoseconds() / 1e9 - middle.timestamp()
    if (fault := skew_fault(skew, config.federation.clock_skew_seconds_at_most)) is not None:
        raise ConfigurationFault(fault)
    if credentials.identity.role is Role.INVITATION and said.invitation_used:
        raise Refused("this token was used before: ask the federation for another")
    if said.standing in {"suspended", "revoked"}:
        raise Refused(f"the federation has {said.standing} {credentials.identity.name}: ask it why")
    return (
        f"{credentials.identity.name} is {said.standing} there; clocks differ by {abs(skew):.1f} "
        f"s; its manifest is version {said.manifest_version}"
    )


@contextmanager
def guest(token: str, config: GatewayConfig) -> Iterator[Credentials]:
    """Lend the credentials a token carries, checked as `enrol` would; the token stays unused."""
    read = read_token(token, config.site, clock())
    require_pinned(read, Pins(config.roots_file, config.manifest_file))
    with guest_credentials(read, config.keys_dir) as credentials:
        yield credentials


def prove_token(token: str, config: GatewayConfig, gate: Gate) -> str:
    """Go the whole way a token would, and use nothing up."""
    with guest(token, config) as credentials:
        proxy = proxy_for(config.federation.proxy, credentials.address)
        whom = dial(credentials, clock(), proxy)
        said = ask(credentials, config, gate)
    until = f"{credentials.not_after:%Y-%m-%d %H:%M} UTC"
    return f"opens the way to {whom} until {until}; {said}"


def _said(
    credentials: Credentials, config: GatewayConfig, gate: Gate
) -> enrolment_pb2.PreflightResponse | None:
    proxy = proxy_for(config.federation.proxy, credentials.address)
    with open_channel(credentials, proxy) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=SECONDS)
            call = channel.unary_unary(
                METHOD,
                request_serializer=wire_bytes,
                response_deserializer=enrolment_pb2.PreflightResponse.FromString,
            )
            response: enrolment_pb2.PreflightResponse = call(gate.preflight(), timeout=SECONDS)
        except grpc.FutureTimeoutError as fault:
            raise PeerUnreachable("TLS succeeds, HTTP/2 does not: a proxy between?") from fault
        except grpc.RpcError as fault:
            status, text = refusal_of(fault)
            if status is grpc.StatusCode.UNIMPLEMENTED:
                return None
            if status in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
                raise Refused(f"the coordinator refuses this certificate: {text}") from fault
            raise PeerUnreachable(f"the coordinator does not answer ({status.name})") from fault
    return response
