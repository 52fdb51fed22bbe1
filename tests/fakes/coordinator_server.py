"""A coordinator without a federation: real gRPC over real mutual TLS; it keeps every byte."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from queue import Empty, Queue
from threading import Condition
from time import monotonic
from typing import Self

import grpc
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.registry import certificates as pki
from protos.identity import Identity, Invitation, Role
from protos.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from protos.v1.link_pb2 import (
    ConnectRequest,
    ConnectResponse,
    FetchRequest,
    FetchResponse,
    HeldRequest,
    HeldResponse,
    PushRequest,
    PushResponse,
    Settled,
    Welcome,
)

FEDERATION = "testfed"
CHUNK = 1 << 20


class Authority:
    """A federation's root, its issuing intermediate and its server's certificate."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)
        self.root = pki.make_root(FEDERATION, self.now)
        self.issuing = pki.make_issuing(self.root, FEDERATION, self.now)

    def server(self, hosts=("127.0.0.1", "localhost")):
        identity = Identity(FEDERATION, Role.COORDINATOR, "hub")
        return pki.issue_server(self.issuing, identity, hosts, self.now)

    def invitation(self, site: str, address: str, life: timedelta = timedelta(hours=1)) -> str:
        guest = pki.issue_credential(
            self.issuing, Identity(FEDERATION, Role.INVITATION, site), self.now, life
        )
        return Invitation(
            site,
            address,
            self.root.certificate_der,
            guest.certificate_der,
            self.issuing.certificate_der,
            guest.key_der,
        ).encode()

    def sign(self, csr_der: bytes, site: str, life: timedelta = timedelta(days=30)) -> bytes:
        identity = Identity(FEDERATION, Role.GATEWAY, site)
        leaf = pki.sign_request(self.issuing, csr_der, identity, datetime.now(UTC), life)
        return leaf.public_bytes(Encoding.PEM) + self.issuing.certificate_pem


class FakeCoordinator:
    """Says what the test puts into `say`, settles what it hears, holds objects and pushes."""

    def __init__(self, authority: Authority | None = None, *, settles: bool = True) -> None:
        self.authority = authority or Authority()
        self.settles = settles
        self.heard: list[tuple[str, bytes]] = []
        self.objects: dict[bytes, bytes] = {}
        self.pushed: dict[str, bytearray] = {}
        self.fetches: list[int] = []
        self.hellos = 0
        self.used: set[str] = set()
        self.clock_offset = 0.0
        self.protocol_version = 1
        self.cut_fetch_after: int | None = None
        self.cut_push_after: int | None = None
        self.say: Queue[ConnectResponse | None] = Queue()
        self._news = Condition()
        self.port = 0
        self._server: grpc.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def start(self) -> None:
        keyed = self.authority.server()
        chain = keyed.certificate_pem + self.authority.issuing.certificate_pem
        credentials = grpc.ssl_server_credentials(
            [(keyed.key_pem, chain)], self.authority.root.certificate_pem, require_client_auth=True
        )
        self._server = grpc.server(ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
        self._server.add_generic_rpc_handlers((self._link(), self._enrolment()))
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        self._server.start()

    def stop(self) -> None:
        assert self._server is not None
        self.say.put(None)
        self._server.stop(0.2).wait()

    def invite(self, site: str, **wishes) -> str:
        return self.authority.invitation(site, self.address, **wishes)

    def bytes_heard(self) -> int:
        return sum(len(raw) for _, raw in self.heard)

    def reports(self) -> list[ConnectRequest]:
        said = [ConnectRequest.FromString(raw) for name, raw in self.heard if name == "Connect"]
        return [request for request in said if request.report_id]

    def wait_for(self, claim, seconds: float = 10.0):
        """Wait until a claim over what was heard holds; return its value."""
        deadline = monotonic() + seconds
        with self._news:
            while not (value := claim(self)):
                if not self._news.wait(max(0.0, min(0.05, deadline - monotonic()))):
                    assert monotonic() < deadline, "the coordinator waited in vain"
        return value

    def _hear(self, name: str, raw: bytes) -> None:
        with self._news:
            self.heard.append((name, raw))
            self._news.notify_all()

    def _link(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "radfed.v1.LinkService",
            {
                "Connect": grpc.stream_stream_rpc_method_handler(
                    self._connect, None, ConnectResponse.SerializeToString
                ),
                "Fetch": grpc.unary_stream_rpc_method_handler(
                    self._fetch, None, FetchResponse.SerializeToString
                ),
                "Push": grpc.stream_unary_rpc_method_handler(
                    self._push, None, PushResponse.SerializeToString
                ),
                "Held": grpc.unary_unary_rpc_method_handler(
                    self._held, None, HeldResponse.SerializeToString
                ),
            },
        )

    def _enrolment(self) -> grpc.GenericRpcHandler:
        enrol = grpc.unary_unary_rpc_method_handler(
            self._enrol, None, EnrolResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler("radfed.v1.EnrolmentService", {"Enrol": enrol})

    def _enrol(self, raw: bytes, context: grpc.ServicerContext) -> EnrolResponse:
        self._hear("Enrol", raw)
        caller = pki.read_caller(context.auth_context()["x509_pem_cert"][0])
        if caller.identity.role is not Role.INVITATION or caller.serial in self.used:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the invitation was used")
        self.used.add(caller.serial)
        return EnrolResponse(
            site_name=caller.identity.name,
            certificate_chain_pem=self.authority.sign(
                EnrolRequest.FromString(raw).csr_der, caller.identity.name
            ),
            root_certificates_pem=self.authority.root.certificate_pem,
        )

    def _connect(self, requests: Iterator[bytes], _context) -> Iterator[ConnectResponse]:
        out: Queue[ConnectResponse | None] = Queue()
        first = next(requests)
        self._hear("Connect", first)
        assert ConnectRequest.FromString(first).WhichOneof("body") == "hello"
        self.hellos += 1

        def read() -> None:
            try:
                for raw in requests:
                    self._hear("Connect", raw)
                    said = ConnectRequest.FromString(raw)
                    if said.report_id and self.settles:
                        out.put(ConnectResponse(settled=Settled(report_id=said.report_id)))
            except Exception:  # noqa: BLE001 - the call is over, whatever ended it
                pass
            out.put(None)

        reader = ThreadPoolExecutor(1)
        reader.submit(read)
        welcome = Welcome(protocol_version=self.protocol_version, heartbeat_seconds=15)
        welcome.clock.FromDatetime(datetime.now(UTC) + timedelta(seconds=self.clock_offset))
        yield ConnectResponse(welcome=welcome)
        while True:
            for queue in (self.say, out):
                try:
                    message = queue.get(timeout=0.01)
                except Empty:
                    continue
                if message is None:
                    return
                yield message

    def _fetch(self, raw: bytes, context: grpc.ServicerContext) -> Iterator[FetchResponse]:
        self._hear("Fetch", raw)
        request = FetchRequest.FromString(raw)
        self.fetches.append(request.offset)
        if request.digest not in self.objects:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such object")
        content = self.objects[request.digest]
        for place in range(request.offset, len(content), CHUNK):
            yield FetchResponse(chunk=content[place : place + CHUNK])
            if self.cut_fetch_after is not None:
                self.cut_fetch_after -= 1
                if self.cut_fetch_after <= 0:
                    self.cut_fetch_after = None
                    context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    def _push(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> PushResponse:
        held = bytearray()
        for raw in requests:
            self._hear("Push", raw)
            request = PushRequest.FromString(raw)
            held = self.pushed.setdefault(request.task_id, bytearray())
            assert request.offset == len(held)
            held += request.chunk
            if self.cut_push_after is not None:
                self.cut_push_after -= 1
                if self.cut_push_after <= 0:
                    self.cut_push_after = None
                    context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        return PushResponse(held=len(held))

    def _held(self, raw: bytes, _context) -> HeldResponse:
        self._hear("Held", raw)
        task_id = HeldRequest.FromString(raw).task_id
        return HeldResponse(held=len(self.pushed.get(task_id, b"")))
