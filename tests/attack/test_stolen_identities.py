"""Certificates and tokens in the wrong hands, at a real coordinator: refused, and on its chain."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from coordinator.api.client import Credential
from coordinator.app.setup import issue_person, load_issuing
from coordinator.config import load
from coordinator.registry import certificates as pki
from protos.identity import Identity, Invitation, Role
from protos.v1.enrolment_pb2 import EnrolRequest, RenewRequest
from protos.v1.enrolment_pb2_grpc import EnrolmentServiceStub
from protos.v1.federation_pb2 import (
    GetJobRequest,
    InviteSiteRequest,
    ListJobsRequest,
    ListProjectsRequest,
    ListQuestionsRequest,
    ListSitesRequest,
    RevokeSiteRequest,
)
from protos.v1.federation_pb2_grpc import (
    JobServiceStub,
    ProjectServiceStub,
    QueryServiceStub,
    SiteServiceStub,
)
from protos.v1.link_pb2 import ConnectRequest, Hello
from protos.v1.link_pb2_grpc import LinkServiceStub
from tests.fakes.federation import a_federation
from tests.fakes.gateway_client import invitation_credentials, new_key, request_for
from tests.fakes.signers import Signatories

pytestmark = [pytest.mark.attack, pytest.mark.flow]
DENIED, UNKNOWN = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


def beside(tmp_path, story):
    async def run():
        async with a_federation(tmp_path) as federation:
            await story(federation)
            return list(federation.coordinator.rooms.audit.entries())

    return asyncio.run(run())


async def code(call):
    """Return the status a call ends with."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as fault:
        return fault.code()
    return grpc.StatusCode.OK


def showing(federation, certificate_pem, key_pem):
    roots = (federation.directory / "keys" / "roots.crt").read_bytes()
    tls = grpc.ssl_channel_credentials(roots, key_pem, certificate_pem)
    return grpc.aio.secure_channel(federation.address, tls)


def made(federation, role, name, life=timedelta(days=1)):
    """Return a channel with a certificate of the federation's own issuing key."""
    issuing = load_issuing(load(federation.directory / "coordinator.toml"))
    keyed = pki.issue_credential(issuing, Identity("demo", role, name), datetime.now(UTC), life)
    return showing(federation, keyed.certificate_pem + issuing.certificate_pem, keyed.key_pem)


async def hello():
    yield ConnectRequest(hello=Hello(protocol_versions=[1]))


def test_a_token_that_was_stolen_and_used_is_known_by_its_second_use(tmp_path):
    async def story(federation):
        token = await federation.invited("alpha")
        await federation.enrol_call(token, EnrolRequest(csr_der=request_for(new_key())))
        channel = invitation_credentials(Invitation.decode(token))
        async with grpc.aio.secure_channel(federation.address, channel) as thief:
            stub = EnrolmentServiceStub(thief)
            again = stub.Enrol(EnrolRequest(csr_der=request_for(new_key())))
            assert await code(again) is DENIED
            assert await code(LinkServiceStub(thief).Connect(hello())) is DENIED

    events = [entry["event"] for entry in beside(tmp_path, story)]

    assert "invitation_reused" in events
    assert events.count("call_refused") == 2


def test_an_expired_token_opens_nothing(tmp_path):
    async def story(federation):
        token = await federation.invited("alpha")
        federation.days_pass(30)
        channel = invitation_credentials(Invitation.decode(token))
        async with grpc.aio.secure_channel(federation.address, channel) as late:
            stub = EnrolmentServiceStub(late)
            assert await code(stub.Enrol(EnrolRequest(csr_der=request_for(new_key())))) is UNKNOWN

    beside(tmp_path, story)


def test_a_gateway_is_whom_it_was_invited_as_whatever_it_asks_for(tmp_path):
    async def story(federation):
        await federation.enrolled("beta")
        key_pem = new_key()
        key = load_pem_private_key(key_pem, None)
        wish = x509.UniformResourceIdentifier("spiffe://demo/gateway/beta")
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "beta")]))
            .add_extension(x509.SubjectAlternativeName([wish]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, SHA256())
            .public_bytes(Encoding.DER)
        )
        token = await federation.invited("alpha")
        response = await federation.enrol_call(token, EnrolRequest(csr_der=request))

        for pem in (response.certificate_chain_pem, response.renewal_chain_pem):
            leaf = x509.load_pem_x509_certificates(pem)[0]
            assert pki.read_caller(pem).identity.name == "alpha"
            assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    beside(tmp_path, story)


def test_a_renewal_certificate_renews_and_does_nothing_else(tmp_path):
    async def story(federation):
        token, key = await federation.invited("alpha"), new_key()
        response = await federation.enrol_call(token, EnrolRequest(csr_der=request_for(key)))
        async with showing(federation, response.renewal_chain_pem, key) as channel:
            assert await code(LinkServiceStub(channel).Connect(hello())) is DENIED
            assert await code(SiteServiceStub(channel).ListSites(ListSitesRequest())) is DENIED
            renewed = await EnrolmentServiceStub(channel).Renew(
                RenewRequest(csr_der=request_for(key))
            )
            assert pki.read_caller(renewed.certificate_chain_pem).identity.role is Role.GATEWAY
            await federation.asked(lambda client: client.suspend("alpha"))
            again = EnrolmentServiceStub(channel).Renew(RenewRequest(csr_der=request_for(key)))
            assert await code(again) is DENIED

    beside(tmp_path, story)


@pytest.mark.parametrize("role", [r for r in Role if r is not Role.COORDINATOR])
def test_no_role_reaches_past_its_line_of_the_table(tmp_path, role):
    async def story(federation):
        async with made(federation, role, "mallory") as channel:
            sites = SiteServiceStub(channel)
            calls = {
                "InviteSite": sites.InviteSite(InviteSiteRequest(site_name="sybil")),
                "RevokeSite": sites.RevokeSite(RevokeSiteRequest(site_name="alpha")),
                "ListSites": sites.ListSites(ListSitesRequest()),
                "Connect": LinkServiceStub(channel).Connect(hello()),
                "Renew": EnrolmentServiceStub(channel).Renew(RenewRequest()),
            }
            found = {name: await code(call) for name, call in calls.items()}
        reads = {Role.OPERATOR, Role.AUDITOR}
        assert (found["ListSites"] is grpc.StatusCode.OK) == (role in reads)
        assert (found["InviteSite"] is grpc.StatusCode.OK) == (role is Role.OPERATOR)
        # Signed by the right key, and still not one that was issued: unknown here.
        for name in ("Connect", "Renew"):
            assert found[name] is (
                UNKNOWN
                if role is Role.GATEWAY or (role is Role.RENEWAL and name == "Renew")
                else DENIED
            )

    events = beside(tmp_path, story)

    refused = [entry for entry in events if entry["event"] == "call_refused"]
    assert len(refused) >= 2
    assert all(entry["caller"] == f"spiffe://demo/{role}/mallory" for entry in refused)


def test_a_certificate_of_another_federation_does_not_get_past_tls(tmp_path):
    async def story(federation):
        now = datetime.now(UTC)
        root = pki.make_root("demo", now)
        issuing = pki.make_issuing(root, "demo", now)
        operator = Identity("demo", Role.OPERATOR, "operator")
        keyed = pki.issue_credential(issuing, operator, now, timedelta(days=1))
        chain = keyed.certificate_pem + issuing.certificate_pem
        async with showing(federation, chain, keyed.key_pem) as channel:
            call = SiteServiceStub(channel).ListSites(ListSitesRequest(), timeout=5)
            assert await code(call) is grpc.StatusCode.UNAVAILABLE

    beside(tmp_path, story)


def test_a_federation_named_in_a_certificate_is_compared_too(tmp_path):
    async def story(federation):
        issuing = load_issuing(load(federation.directory / "coordinator.toml"))
        other = Identity("other", Role.OPERATOR, "operator")
        keyed = pki.issue_credential(issuing, other, datetime.now(UTC), timedelta(days=1))
        chain = keyed.certificate_pem + issuing.certificate_pem
        async with showing(federation, chain, keyed.key_pem) as channel:
            assert await code(SiteServiceStub(channel).ListSites(ListSitesRequest())) is UNKNOWN

    beside(tmp_path, story)


def _person(federation, role, organisation):
    into = federation.directory / f"{role}-{organisation}"
    config = federation.directory / "coordinator.toml"
    issue_person(config, role, "someone", organisation, into, datetime.now(UTC))
    return Credential.load(into)


def test_organisations_do_not_see_each_others_work(tmp_path):
    people = Signatories()

    async def story(federation):
        from dataclasses import replace

        from coordinator.model import JobRecord, JobStage

        rooms = federation.coordinator.rooms
        rooms.roll._held = (b"", people.manifest)
        blank = JobRecord(
            "job1", "n", 1, JobStage.OFFERED, 1, 0, bytes(32), 1, bytes(32), bytes(64), bytes(32),
            1, 1, 1.0, "spiffe://demo/vendor/else", 1.0,
        )  # fmt: skip
        await federation.enrolled("alpha")
        await rooms.jobs._jobs.add(replace(blank, organisation="acme"), ["alpha"])
        seen = {}
        for organisation in ("acme", "rival"):
            vendor = _person(federation, Role.VENDOR, organisation)
            async with showing(federation, vendor.certificate_pem, vendor.key_pem) as channel:
                jobs, projects = JobServiceStub(channel), ProjectServiceStub(channel)
                listed = await jobs.ListJobs(ListJobsRequest())
                known = await projects.ListProjects(ListProjectsRequest())
                got = await code(jobs.GetJob(GetJobRequest(job_id="job1")))
                seen[organisation] = (len(listed.jobs), len(known.projects), got)
                asked = QueryServiceStub(channel).ListQuestions(ListQuestionsRequest())
                assert await code(asked) is DENIED
        assert seen == {
            "acme": (1, 1, grpc.StatusCode.OK),
            "rival": (0, 0, grpc.StatusCode.NOT_FOUND),
        }

    events = [entry["event"] for entry in beside(tmp_path, story)]

    assert "job_hidden" in events
