"""The approvals inbox: what a vendor asks for, what would leave, and a person's word."""

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from gateway.console.rules import DECIDE
from gateway.console.vocabulary import Notice
from gateway.errors import GatewayError
from protos.pages.visit import Visit, done

if TYPE_CHECKING:
    from gateway.console.pages import Console

REASON_AT_MOST = 1000
QUICKER = "Somebody was quicker: nothing of yours was done."
# What may be decided about a job in which stage; a steward may repent of an approval.
OPEN = {"approve": ("waiting",), "always": ("waiting",), "reject": ("waiting", "approved")}


def routes(console: "Console") -> list[Route]:
    room = Inbox(console)
    return [
        Route("/approvals", console.room(room.overview)),
        Route("/approvals/{job}", console.room(room.show)),
        Route("/approvals/{job}", console.room(room.decide, needs=DECIDE), methods=["POST"]),
    ]


class Inbox:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._setting = console.setting
        self._house = console.setting.house

    def overview(self, visit: Visit) -> Response:
        jobs = self._house.jobs()
        waiting = [job for job in jobs if job["stage"] == "waiting"]
        decided = [job for job in jobs if job["stage"] != "waiting"]
        return self._console.templates.page(
            visit, "approvals.html", waiting=waiting, decided=decided
        )

    def show(self, visit: Visit, fault: str = "", status: int = 200) -> Response:
        job = self._house.job(visit.request.path_params["job"])
        consents = self._setting.accounts.consents(job["job_id"], job["bundle_digest"])
        return self._console.templates.page(
            visit,
            "approval.html",
            status,
            job=job,
            fault=fault,
            consents=consents,
            two_person=self._setting.two_person,
        )

    def decide(self, visit: Visit) -> Response:
        """Act once; whoever comes second is told who decided."""
        job_id = visit.request.path_params["job"]
        job = self._house.job(job_id)
        # The page that was read is the page that counts: another bundle is another question.
        if visit.form.get("bundle") != job["bundle_digest"]:
            return self.show(visit, "This page was of another bundle: read it again.", 409)
        act = visit.form.get("act")
        if job["stage"] not in OPEN.get(act or "", ()):
            return self.show(visit, QUICKER, 409)
        try:
            if act == "reject":
                return self._reject(visit, job_id)
            return self._approve(visit, job_id, job["bundle_digest"], always=act == "always")
        except GatewayError:
            if self._house.job(job_id)["stage"] == job["stage"]:
                raise
        return self.show(visit, QUICKER, 409)

    def _approve(self, visit: Visit, job_id: str, bundle: str, *, always: bool) -> Response:
        by = visit.who
        if self._setting.two_person:
            accounts = self._setting.accounts
            accounts.consent(job_id, bundle, visit.who)
            agreed = accounts.consents(job_id, bundle)
            self._house.record("job_consented", job=job_id, bundle=bundle, by=visit.who)
            if len(agreed) == 1:
                return done(f"/approvals/{job_id}", Notice.SECOND)
            by = " + ".join(agreed)
        if always:
            self._house.approve_always(job_id, by)
            return done(f"/approvals/{job_id}", Notice.STANDING)
        self._house.approve(job_id, by)
        return done(f"/approvals/{job_id}", Notice.APPROVED)

    def _reject(self, visit: Visit, job_id: str) -> Response:
        reason = visit.form.get("reason", "").strip()[:REASON_AT_MOST]
        if not reason:
            return self.show(visit, "Say why: the reason stays in the hospital.", 400)
        self._house.reject(job_id, visit.who, reason)
        return done(f"/approvals/{job_id}", Notice.REJECTED)
