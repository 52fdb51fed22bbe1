"""The pages of jobs: a list, one job while it runs, its code, and how one is submitted."""

import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coordinator.console.job_board import KINDS, ROUNDS_SHOWN, wanted_of
from coordinator.console.job_lines import (
    cells_of,
    code_in_words,
    now_in_text,
    pieces,
    row_of,
    states_of,
)
from coordinator.console.job_shown import JobShown
from coordinator.console.reasons import reason_in_words
from coordinator.errors import CoordinatorError, Refused
from coordinator.jobs.slip import ReviewSlip
from coordinator.model import Caller, JobStage
from coordinator.training.progress import AUC, WEIGHT
from protos.pages.visit import Page, Visit, done
from protos.pages.words import _
from protos.signatures import Distrusted

if TYPE_CHECKING:
    from coordinator.console.pages import Console

SERVICE = "radfed.v1.JobService"
LIST, SHOW, STOP = f"{SERVICE}/ListJobs", f"{SERVICE}/GetJob", f"{SERVICE}/StopJob"
CODE, REVIEW, SUBMIT = f"{SERVICE}/DownloadBundle", f"{SERVICE}/ReviewJob", f"{SERVICE}/SubmitJob"
PAGES = (Page("/jobs", _("Jobs"), LIST),)
STOPPED = "stopped"
REVIEWED = "reviewed"
NOTICES: Mapping[str, str] = {
    STOPPED: _("Stopped: every hospital drops it."),
    REVIEWED: _("Your review counts."),
}
LIVE_SECONDS = 2.0
MEASURES = {AUC: _("AUC on patients held out"), WEIGHT: _("Patients (noisy)")}
STOPPED_ALREADY = _("It was over already: nothing of yours was done.")
UNCONFIRMED = _("Tick the box that says so: stopping cannot be undone.")


def routes(console: "Console") -> list[Route]:
    jobs, room = JobPages(console), console.room
    return [
        Route("/jobs", room(jobs.overview, needs=LIST)),
        Route("/jobs/submit", room(jobs.submit, needs=SUBMIT)),
        Route("/jobs/{job}", room(jobs.show, needs=SHOW)),
        Route("/jobs/{job}/code", room(jobs.code, needs=CODE)),
        Route("/jobs/{job}/curves", room(jobs.curves, needs=SHOW)),
        Route("/jobs/{job}/live", console.live(jobs.news, LIVE_SECONDS, needs=SHOW)),
        Route("/jobs/{job}/review.json", room(jobs.slip, needs=REVIEW)),
        Route("/jobs/{job}/review", room(jobs.review, needs=REVIEW), methods=["POST"]),
        Route("/jobs/{job}/stop", room(jobs.stop, needs=STOP), methods=["POST"]),
    ]


class JobPages:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._draw = console.draw
        self._board = console.setting.jobs
        # What was told of a job lately, by language: many who look on cost one look.
        self._told: dict[tuple[str, str, str], tuple[float, tuple[str, bool]]] = {}

    async def _by(self, visit: Visit, act: str) -> Caller:
        """Return who acts: somebody whose certificate ran out since the login does not."""
        by = self._console.caller(visit)
        await self._console.house.check(by, act)
        return by

    async def overview(self, visit: Visit) -> Response:
        stage, kind, name = visit.asked("stage", 16), visit.asked("kind", 16), visit.asked("name")
        wanted = wanted_of(stage, kind, name, visit.asked("after"))
        return await self._draw(
            visit,
            "jobs.html",
            found=await self._board.jobs(wanted, await self._by(visit, LIST)),
            wanted=wanted,
            asked_kind=kind if kind in KINDS else "",
            is_filtered=bool(stage or kind or name),
            stages=tuple(JobStage),
            kinds=tuple(KINDS),
            may_submit=visit.may(SUBMIT),
            reason=lambda said: reason_in_words(said, visit.language),
        )

    async def show(self, visit: Visit, fault: str = "", status: int = 200) -> Response:
        job_id = visit.request.path_params["job"]
        by = await self._by(visit, SHOW)
        shown = await self._board.show(job_id, by, visit.number("round"))
        facts = await run_in_threadpool(_shown, shown, visit)  # beside the loop: 400 hospitals
        return await self._draw(visit, "job.html", status, fault=fault, **facts)

    async def code(self, visit: Visit) -> Response:
        job_id = visit.request.path_params["job"]
        shown = await self._board.code(job_id, await self._by(visit, CODE))
        return await self._draw(
            visit, "job_code.html", shown=shown, pieces=pieces, command=_fetching(job_id)
        )

    async def curves(self, visit: Visit) -> Response:
        found = await self._board.curves(
            visit.request.path_params["job"],
            await self._by(visit, SHOW),
            visit.asked("measure", 64),
            visit.number("after"),
        )
        return JSONResponse(found)

    async def news(self, visit: Visit) -> tuple[str, bool]:
        """Tell how a job stands, always whole: whoever lost the line takes up where it is."""
        job_id = visit.request.path_params["job"]
        try:
            record = await self._board.visible(job_id, await self._by(visit, SHOW))
        except CoordinatorError:  # no such job, or none of this caller's: nothing is told
            return "", True
        measure = visit.asked("measure", 64) or AUC
        key = (job_id, visit.language.tag, measure)
        at, told = self._told.get(key, (0.0, ("", False)))
        if time.monotonic() - at >= LIVE_SECONDS / 2:
            standing = await self._board.standing(record)
            now = await run_in_threadpool(now_in_text, standing, visit.language, measure)
            told = now, standing.line.is_over
            self._told = {
                other: held
                for other, held in self._told.items()
                if time.monotonic() - held[0] < LIVE_SECONDS
            } | {key: (time.monotonic(), told)}
        return told

    async def slip(self, visit: Visit) -> Response:
        """Give what a reviewer signs, as a file."""
        shown = await self._board.show(
            visit.request.path_params["job"], await self._by(visit, REVIEW)
        )
        manifest = shown.dossier.manifest
        federation = self._console.setting.federation
        slip = ReviewSlip(federation, manifest.name, manifest.purpose, shown.offer)
        headers = {"content-disposition": 'attachment; filename="review.json"'}
        return Response(slip.text(), media_type="application/json", headers=headers)

    async def review(self, visit: Visit) -> Response:
        """Take a review that was signed elsewhere; its signature alone is believed."""
        job_id, by = visit.request.path_params["job"], await self._by(visit, REVIEW)
        slip = ReviewSlip.read(visit.form.get("signed", ""))
        try:
            await self._board.review(job_id, slip, by)
        except Refused as fault:
            if not isinstance(fault.__cause__, Distrusted):
                raise
            language = visit.language
            why = code_in_words(str(fault.__cause__.why), language)
            return await self.show(visit, f"{language.text('does not count')}: {why}", 403)
        return done(f"/jobs/{job_id}", REVIEWED)

    async def stop(self, visit: Visit) -> Response:
        job_id = visit.request.path_params["job"]
        if visit.form.get("confirm") != job_id:
            return await self.show(visit, UNCONFIRMED, 400)
        by = await self._by(visit, STOP)
        if not await self._board.stop(job_id, by):
            return await self.show(visit, STOPPED_ALREADY, 409)
        return done(f"/jobs/{job_id}", STOPPED)

    async def submit(self, visit: Visit) -> Response:
        projects = self._board.projects(await self._by(visit, SUBMIT))
        directory = visit.asked("directory", 100) or "my-detector"
        project = visit.asked("project", 63)
        words = ["radfed", "job", "submit", directory, "--key", "vendor.key"]
        words += ["--project", project] if project else []
        return await self._draw(
            visit,
            "job_submit.html",
            projects=projects,
            project=project,
            directory=directory,
            command=shlex.join(words),
            trial=shlex.join(["radfed", "job", "check", directory, "--twin", "my-twin"]),
        )


def _shown(shown: JobShown, visit: Visit) -> dict[str, Any]:
    language, manifest, offer = visit.language, shown.dossier.manifest, shown.offer
    digest = offer.bundle_digest.hex()
    return {
        "shown": shown,
        "rows": [row_of(number, one, language) for number, one in enumerate(shown.standing.sites)],
        "most_rounds": ROUNDS_SHOWN,
        "round_cells": lambda round_: cells_of(round_, language),
        "states_said": states_of(shown.standing, language),
        "direct": f"radfed job review {offer.job_id} --key reviewer.key",
        "signing": f"radfed job sign review.json --key reviewer.key --bundle {digest}",
        "bundle": digest,
        "weights": offer.terms.weights_digest.hex(),
        "terms_end": float(offer.terms.expires_at.ToSeconds()),
        "values_sent": sum(spec.count for spec in manifest.weights.values()),
        "may_read_code": visit.may(CODE),
        "may_review": visit.may(REVIEW),
        "may_stop": visit.may(STOP),
        "code_words": lambda code: code_in_words(code, language),
        "measure_said": lambda name: language.text(MEASURES.get(name, name)),
        "reason": lambda said: reason_in_words(said, language),
    }


def _fetching(job_id: str) -> str:
    return f"radfed job code {job_id} --out to-review"
