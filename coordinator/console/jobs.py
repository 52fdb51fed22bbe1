"""The pages of jobs: a list, one job while it runs, its code, and how one is submitted."""

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coordinator.console.codes import in_words
from coordinator.console.job_board import KINDS, ROUNDS_SHOWN, wanted_of
from coordinator.console.job_shown import JobShown, RoundLine, SiteRow, Standing
from coordinator.console.reasons import reason_in_words
from coordinator.errors import CoordinatorError
from coordinator.model import Caller, JobStage
from coordinator.training.progress import AUC, WEIGHT
from pages.languages import Language
from pages.visit import Page, Visit, done
from pages.words import _

if TYPE_CHECKING:
    from coordinator.console.pages import Console

SERVICE = "radfed.v1.JobService"
LIST, SHOW, STOP = f"{SERVICE}/ListJobs", f"{SERVICE}/GetJob", f"{SERVICE}/StopJob"
CODE, REVIEW, SUBMIT = f"{SERVICE}/DownloadBundle", f"{SERVICE}/ReviewJob", f"{SERVICE}/SubmitJob"
PAGES = (Page("/jobs", _("Jobs"), LIST),)
STOPPED = "stopped"
NOTICES: Mapping[str, str] = {STOPPED: _("Stopped: every hospital drops it.")}
LIVE_SECONDS = 2.0
PIECE = 16_000  # characters: what is shown in one piece is never cut
STATES = ("released", "running", "queued", "withheld", "failed", "refused", "approved",
          "rejected", "undecided")  # fmt: skip
ENDS = ("released", "withheld", "failed", "refused")
UNDER_WAY = ("queued", "running")
NO_BOUND = "no leakage bound"
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
            visit, "job_code.html", shown=shown, pieces=_pieces, command=_fetching(job_id)
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
            now = await run_in_threadpool(_told, standing, visit.language, measure)
            told = now, standing.line.is_over
            self._told = {
                other: held
                for other, held in self._told.items()
                if time.monotonic() - held[0] < LIVE_SECONDS
            } | {key: (time.monotonic(), told)}
        return told

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
    return {
        "shown": shown,
        "rows": [_row(number, one, language) for number, one in enumerate(shown.standing.sites)],
        "most_rounds": ROUNDS_SHOWN,
        "round_cells": lambda round_: _cells(round_, language),
        "states_said": _states(shown.standing, language),
        "commands": (
            _fetching(offer.job_id),
            f"radfed job review {offer.job_id} --key reviewer.key",
        ),
        "bundle": offer.bundle_digest.hex(),
        "weights": offer.terms.weights_digest.hex(),
        "terms_end": float(offer.terms.expires_at.ToSeconds()),
        "values_sent": sum(spec.count for spec in manifest.weights.values()),
        "may_read_code": visit.may(CODE),
        "may_review": visit.may(REVIEW),
        "may_stop": visit.may(STOP),
        "code_words": lambda code: _code(code, language),
        "measure_said": lambda name: language.text(MEASURES.get(name, name)),
        "reason": lambda said: reason_in_words(said, language),
    }


def _fetching(job_id: str) -> str:
    return f"radfed job code {job_id} --out to-review"


def _row(number: int, row: SiteRow, language: Language) -> Mapping[str, Any]:
    """Return a hospital's line as text: the page draws it, and what follows it live."""
    point = row.point
    since = point.since if point else None
    bits = point.bits if point and point.state == "released" else None
    return {
        "number": number,
        "site": row.site,
        "decision": _stood(row.decision, row.rule, language),
        "state": _stood(point.state, point.code, language) if point else "–",
        "auc": "–" if point is None or point.auc is None else f"{point.auc:.3f}",
        # Whole numbers are written alike in both languages, and here are hundreds of them.
        "weight": f"{point.weight:,.0f}" if point and point.weight else "–",
        "bits": _bits(bits, language),
        "since": language.moment(since).striptags() if since else "–",
    }


def _stood(word: str, code: str, language: Language) -> str:
    said = language.text(word)
    return f"{said}: {_code(code, language)}" if code else said


def _bits(bits: float | None, language: Language) -> str:
    if bits is None:
        return "–"
    return language.text(NO_BOUND) if bits < 0 else f"{bits:,.0f}"


def _told(standing: Standing, language: Language, measure: str) -> str:
    cells = ("decision", "state", "auc", "weight", "bits", "since")
    rows = [_row(number, one, language) for number, one in enumerate(standing.sites)]
    figures = [one.point.measure(measure) if one.point else None for one in standing.sites]
    return json.dumps(
        {
            "stage": language.text(standing.line.stage),
            "round": standing.line.round,
            "number": standing.round.number if standing.round else 0,
            "states": _states(standing, language),
            "newest": [[one.number, _cells(one, language)] for one in standing.newest],
            "pooled": [
                [one.number, one.pooled.auc, one.pooled.low, one.pooled.high]
                for one in standing.newest
                if one.pooled and measure == AUC
            ],
            "rows": [[row[cell] for cell in cells] for row in rows],
            "figures": [None if one is None else round(one, 4) for one in figures],
        },
        separators=(",", ":"),
    )


def _cells(line: RoundLine, language: Language) -> list[str]:
    """Return a round's line as text: how it ended at how many hospitals, its figure, and why."""
    figure = "–"
    if (pooled := line.pooled) is not None and pooled.auc is not None:
        figure = f"{pooled.auc:.3f}"
        if pooled.low is not None and pooled.high is not None:
            figure += f" ({pooled.low:.3f} – {pooled.high:.3f})"
    counts = [line.states.get(state, 0) for state in ENDS]
    counts.append(sum(line.states.get(state, 0) for state in UNDER_WAY))
    why = "; ".join(
        f"{language.number(count)} × {_code(code, language)}"
        for (_state, code), count in line.codes.items()
    )
    return [*map(language.number, counts), figure, why or "–"]


def _states(standing: Standing, language: Language) -> str:
    """Say how many hospitals are in which state: nobody goes missing."""
    return " · ".join(
        f"{language.text(state)} {language.number(standing.states[state])}"
        for state in STATES
        if standing.states.get(state)
    )


def _code(code: str, language: Language) -> str:
    """Say a closed word in the reader's language, with the name it is about beside it."""
    sentence, subject = in_words(code)
    if not sentence:
        return code
    said = language.text(sentence)
    return f"{said} ({subject})" if subject else said


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at its lines: `inert` shortens what is longer than a piece."""
    held = ""
    for line in text.splitlines(keepends=True):
        if len(held) + len(line) > PIECE and held:
            yield held
            held = ""
        held += line
        while len(held) > PIECE:
            yield held[:PIECE]
            held = held[PIECE:]
    if held:
        yield held
