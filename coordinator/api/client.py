"""`Federation`: the typed client of operators and vendors, used by the commands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from types import TracebackType
from typing import Self

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.asking import Counted, Wish, sign
from coordinator.api.credential import Credential
from coordinator.errors import (
    CoordinatorError,
    EnvironmentFault,
    IntegrityFault,
    InvalidRequest,
    NotFound,
    Refused,
    WrongMoment,
)
from coordinator.model import CHUNK_BYTES
from protos.v1.federation_pb2 import (
    AskedQuestion,
    AskQuestionRequest,
    AskQuestionResponse,
    DownloadBundleRequest,
    DownloadReportRequest,
    DownloadResultRequest,
    Expectation,
    ExplainQuestionRequest,
    GetJobRequest,
    GetJobResponse,
    InviteSiteRequest,
    InviteSiteResponse,
    Job,
    ListJobsRequest,
    ListProjectsRequest,
    ListQuestionsRequest,
    ListSitesRequest,
    Project,
    RestoreSiteRequest,
    ReviewJobRequest,
    ReviewJobResponse,
    RevokeSiteRequest,
    Site,
    StopJobRequest,
    SubmitJobRequest,
    SuspendSiteRequest,
    Total,
    UploadBundleRequest,
)
from protos.v1.federation_pb2_grpc import (
    JobServiceStub,
    ProjectServiceStub,
    QueryServiceStub,
    SiteServiceStub,
)
from protos.v1.job_pb2 import Review
from protos.v1.question_pb2 import Answer, Question

__all__ = ["Credential", "Federation"]  # what a program of one's own needs

CALL_SECONDS = 30.0
LATENESS_SECONDS = 15.0  # beyond a question's own deadline
OPTIONS = (  # a coordinator that freezes in the middle of a long download is left within 30 s
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
)

TOLD: tuple[tuple[grpc.StatusCode, Callable[[str], CoordinatorError]], ...] = (
    (grpc.StatusCode.UNAUTHENTICATED, Refused),
    (grpc.StatusCode.PERMISSION_DENIED, Refused),
    (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, InvalidRequest),
    (grpc.StatusCode.NOT_FOUND, NotFound),
    (grpc.StatusCode.FAILED_PRECONDITION, WrongMoment),
    (grpc.StatusCode.DATA_LOSS, IntegrityFault),
    (grpc.StatusCode.INTERNAL, EnvironmentFault),
)


class Federation:
    """A connection to the coordinator; every failure is a CoordinatorError."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential = credential.reaching()
        self._channel = grpc.secure_channel(
            credential.address,
            grpc.ssl_channel_credentials(
                credential.roots_pem, credential.key_pem, credential.certificate_pem
            ),
            options=OPTIONS,
        )
        self._sites = SiteServiceStub(self._channel)
        self._projects = ProjectServiceStub(self._channel)
        self._queries = QueryServiceStub(self._channel)
        self._jobs = JobServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def invite(self, site_name: str, valid_hours: int = 0) -> InviteSiteResponse:
        request = InviteSiteRequest(site_name=site_name, valid_hours=valid_hours)
        with self._told():
            return self._sites.InviteSite(request, timeout=CALL_SECONDS)

    def suspend(self, site_name: str) -> None:
        with self._told():
            self._sites.SuspendSite(SuspendSiteRequest(site_name=site_name), timeout=CALL_SECONDS)

    def restore(self, site_name: str) -> None:
        with self._told():
            self._sites.RestoreSite(RestoreSiteRequest(site_name=site_name), timeout=CALL_SECONDS)

    def revoke(self, site_name: str) -> None:
        with self._told():
            self._sites.RevokeSite(RevokeSiteRequest(site_name=site_name), timeout=CALL_SECONDS)

    def projects(self) -> Sequence[Project]:
        with self._told():
            return self._projects.ListProjects(ListProjectsRequest(), timeout=CALL_SECONDS).projects

    def sites(self) -> Sequence[Site]:
        with self._told():
            return self._sites.ListSites(ListSitesRequest(), timeout=CALL_SECONDS).sites

    def ask(
        self,
        question: Question,
        sites: Sequence[str] = (),
        deadline_seconds: int = 30,
        *,
        quorum: int = 0,
        summarise: str = "",
    ) -> Iterator[AskQuestionResponse]:
        """Yield each hospital's answer as it comes; the last message is the total.

        `quorum`: how many figures are enough; `summarise`: the number to take a mean of.
        """
        request = AskQuestionRequest(
            question=question,
            sites=sites,
            deadline_seconds=deadline_seconds,
            quorum=quorum,
            summarise=summarise,
        )
        with self._told():
            patience = deadline_seconds + LATENESS_SECONDS
            yield from self._queries.AskQuestion(request, timeout=patience)

    def count(
        self,
        wish: Wish,
        sites: Sequence[str] = (),
        deadline_seconds: int = 30,
        *,
        quorum: int = 0,
        key: Ed25519PrivateKey | None = None,
        heard: Callable[[Mapping[str, Answer], str, int], None] | None = None,
    ) -> Counted:
        """Ask, and return all that came; `heard` is told of each answer: all, whose, of how many.

        Signed where a requester's key is given: most hospitals answer nothing else.
        """
        question = wish.question
        if key is not None:
            sign(question, self._credential.federation, key, deadline_seconds)
        answers: dict[str, Answer] = {}
        total = Total()
        for said in self.ask(
            question, sites, deadline_seconds, quorum=quorum, summarise=wish.summarised
        ):
            if said.HasField("total"):
                total = said.total
                continue
            answers[said.site_answer.site] = said.site_answer.answer
            if heard is not None:
                heard(answers, said.site_answer.site, said.asked)
        return Counted(question, answers, total)

    def explain(self, question: Question, sites: Sequence[str] = ()) -> Sequence[Expectation]:
        """Return what a question would cost each hospital, as far as is known; ask none."""
        with self._told():
            request = ExplainQuestionRequest(question=question, sites=sites)
            return self._queries.ExplainQuestion(request, timeout=CALL_SECONDS).expectations

    def questions(self, limit: int = 100) -> Sequence[AskedQuestion]:
        with self._told():
            request = ListQuestionsRequest(limit=limit)
            return self._queries.ListQuestions(request, timeout=CALL_SECONDS).questions

    def upload(
        self, content: bytes, progress: Callable[[int, int], None] = lambda _held, _total: None
    ) -> bytes:
        """Upload a bundle or weights, resuming where an earlier try ended; return its digest.

        `progress` first hears how much is there already.
        """
        digest = sha256(content).digest()
        with self._told():
            held = self._jobs.UploadBundle(iter([_chunk(content, digest, 0, 0)])).held
            progress(held, len(content))
            if held < len(content) or not content:
                self._jobs.UploadBundle(_chunks(content, digest, held, progress))
        return digest

    def submit(self, request: SubmitJobRequest) -> str:
        with self._told():
            return self._jobs.SubmitJob(request, timeout=CALL_SECONDS * 4).job_id

    def review(self, job_id: str, review: Review) -> ReviewJobResponse:
        with self._told():
            request = ReviewJobRequest(job_id=job_id, review=review)
            return self._jobs.ReviewJob(request, timeout=CALL_SECONDS)

    def bundle(self, job_id: str, digest: bytes) -> bytes:
        """Fetch a job's bundle; IntegrityFault where it is not what the offer names."""
        with self._told():
            request = DownloadBundleRequest(job_id=job_id)
            raw = b"".join(part.chunk for part in self._jobs.DownloadBundle(request))
        if sha256(raw).digest() != digest:
            raise IntegrityFault("the bundle is not the one that was submitted: review nothing")
        return raw

    def jobs(self) -> Sequence[Job]:
        with self._told():
            return self._jobs.ListJobs(ListJobsRequest(), timeout=CALL_SECONDS).jobs

    def job(self, job_id: str) -> GetJobResponse:
        with self._told():
            return self._jobs.GetJob(GetJobRequest(job_id=job_id), timeout=CALL_SECONDS)

    def stop(self, job_id: str) -> None:
        with self._told():
            self._jobs.StopJob(StopJobRequest(job_id=job_id), timeout=CALL_SECONDS)

    def result(self, job_id: str) -> Iterator[bytes]:
        """Yield the newest model's bytes; IntegrityFault where they are not what was named."""
        found, named = sha256(), b""
        with self._told():
            for response in self._jobs.DownloadResult(DownloadResultRequest(job_id=job_id)):
                named = response.digest or named
                found.update(response.chunk)
                yield response.chunk
        if found.digest() != named:
            raise IntegrityFault("the model was damaged on the way: fetch it again")

    def report(self, job_id: str) -> tuple[bytes, bytes, bytes]:
        """Return a test's report, the key it is signed with, and the signature."""
        chunks, key, signature = [], b"", b""
        with self._told():
            for part in self._jobs.DownloadReport(DownloadReportRequest(job_id=job_id)):
                chunks.append(part.chunk)
                key, signature = part.public_key or key, part.signature or signature
        return b"".join(chunks), key, signature

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn a gRPC status into the error it stands for."""
        try:
            yield
        except grpc.RpcError as fault:
            code, details = fault.code(), fault.details() or "no reason was given"
            for status, error in TOLD:
                if code is status:
                    raise error(details) from fault
            raise self._credential.why_unreachable(details) from fault


def _chunks(
    content: bytes, digest: bytes, start: int, progress: Callable[[int, int], None]
) -> Iterator[UploadBundleRequest]:
    for offset in range(start, max(len(content), start + 1), CHUNK_BYTES):
        yield _chunk(content, digest, offset, CHUNK_BYTES)
        progress(min(offset + CHUNK_BYTES, len(content)), len(content))


def _chunk(content: bytes, digest: bytes, offset: int, length: int) -> UploadBundleRequest:
    return UploadBundleRequest(
        digest=digest,
        size=len(content),
        offset=offset,
        chunk=content[offset : offset + length],
    )
