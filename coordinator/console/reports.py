"""The pages of reports: what tests found, whether it holds, two products side by side."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from coordinator.console.codes import in_words
from coordinator.console.report_board import ReportShown, Verified, read_pins, seal
from coordinator.console.report_figures import (
    DICE,
    FOUND,
    compared,
    main,
    primary,
    sizes,
    together,
)
from coordinator.errors import InvalidRequest
from coordinator.evaluation import page_places
from coordinator.evaluation.document import Report
from coordinator.evaluation.drawing import calibration_plot, flow_diagram, forest_plot, roc_plot
from coordinator.evaluation.drawing_places import dice_plot, froc_plot, hd95_plot
from coordinator.evaluation.page import draw
from coordinator.evaluation.pool import Auc
from coordinator.evaluation.probast import Known, known
from coordinator.model import Caller
from protos.evaluation import Predictions
from protos.pages.languages import Language
from protos.pages.visit import Page, Visit
from protos.pages.words import _

if TYPE_CHECKING:
    from coordinator.console.pages import Console

READ = "radfed.v1.JobService/DownloadReport"
PAGES = (Page("/reports", _("Reports"), READ),)
NOTICES: Mapping[str, str] = {}
TOGETHER, WITHIN = _("all together"), _("within hospitals")
CHOOSE_TWO = _("Choose two reports: a first and a second.")
FORMS = {
    "report.json": "application/json",
    "report.sig.json": "application/json",
    "report.html": "text/html; charset=utf-8",
}


class Interval(Protocol):
    """A figure with its 95 % interval, where it has one."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def routes(console: "Console") -> list[Route]:
    reports, room = ReportPages(console), console.room
    return [
        Route("/reports", room(reports.overview, needs=READ)),
        Route("/reports/compare", room(reports.compare, needs=READ)),
        Route("/reports/{job}", room(reports.show, needs=READ)),
        Route("/reports/{job}", room(reports.verify, needs=READ), methods=["POST"]),
        Route("/reports/{job}/{form}", room(reports.download, needs=READ)),
    ]


class ReportPages:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._draw = console.draw
        self._board = console.setting.reports

    async def _by(self, visit: Visit) -> Caller:
        by = self._console.caller(visit)
        await self._console.house.check(by, READ)  # a certificate may have run out since the login
        return by

    async def overview(self, visit: Visit) -> Response:
        lines, following = await self._board.reports(visit.asked("after"), await self._by(visit))
        return await self._draw(visit, "reports.html", lines=lines, following=following)

    async def show(
        self, visit: Visit, verified: Verified | None = None, status: int = 200
    ) -> Response:
        job_id = visit.request.path_params["job"]
        shown = await self._board.show(job_id, await self._by(visit))
        if shown.made is None:
            return await self._draw(visit, "report_waits.html", shown=shown)
        facts = await run_in_threadpool(_shown, shown, visit.language)
        return await self._draw(
            visit,
            "report.html",
            status,
            shown=shown,
            verified=verified,
            typed=visit.form.get("keys", "")[:5000],
            **facts,
        )

    async def verify(self, visit: Visit) -> Response:
        pinned = read_pins(visit.form.get("keys", ""))
        job_id = visit.request.path_params["job"]
        verified = await self._board.verify(job_id, await self._by(visit), pinned)
        return await self.show(visit, verified, 409 if verified.fault else 200)

    async def download(self, visit: Visit) -> Response:
        name = visit.request.path_params["form"]
        if name not in FORMS:
            return self._console.templates.fault(visit, 404, _("There is no such page."))
        made = await self._board.whole(visit.request.path_params["job"], await self._by(visit))
        written = {
            "report.json": lambda: made.content,
            "report.sig.json": lambda: seal(made),
            "report.html": lambda: draw(made.report, made.sha256).encode(),
        }[name]
        content = await run_in_threadpool(written)
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=FORMS[name], headers=headers)

    async def compare(self, visit: Visit) -> Response:
        first, second = visit.asked("a", 64), visit.asked("b", 64)
        if not first or not second or first == second:
            raise InvalidRequest(CHOOSE_TWO)
        beside = await self._board.beside(first, second, await self._by(visit))
        waiting = next((one for one in (beside.first, beside.second) if one.made is None), None)
        if waiting is not None:
            return await self._draw(visit, "report_waits.html", shown=waiting)
        curves = [one.made.report.roc for one in (beside.first, beside.second) if one.made]
        return await self._draw(
            visit,
            "report_compare.html",
            beside=beside,
            roc=_svg(roc_plot(curves, _say(visit.language))) if any(curves) else "",
        )


def _shown(shown: ReportShown, language: Language) -> dict[str, Any]:
    assert shown.made is not None
    report, say = shown.made.report, _say(language)
    calibration = report.pooled.calibration if report.pooled else None
    bits = {part.site: part.leakage_bits for part in report.evidence.sites}
    rows = [
        {
            "site": one.site,
            "outcome": _outcome(one.outcome, language),
            "figures": one.figures,
            "sizes": sizes(one),
            "main": main(one),
            "cells_withheld": one.cells_withheld,
            "look": one.look,
            "looks_left": one.looks_left,
            "bits": bits[one.site],
        }
        for one in report.sites
    ]
    absent = [
        (_outcome(said, language), count) for said, count in report.flow.not_reporting.items()
    ]
    return {
        "report": report,
        "rows": rows,
        "places": _places(report),
        "primary": primary(report),
        "measures": together(report),
        "events": sizes(report),
        "plots": _plots(report, say),
        "compared": compared(report.comparison) if report.comparison else [],
        "groups": [
            {"group": one, "sizes": sizes(one), "main": main(one)} for one in report.subgroups
        ],
        "absent": absent,
        "between": _between,
        "probast": known(report),
        "fact": lambda one: _fact(one, language),
        "command": "radfed job verify report.json",
        "flow": _svg(flow_diagram(_boxes(report, absent, language), say)),
        "roc": _svg(roc_plot([report.roc], say)),
        "calibration": _svg(calibration_plot(calibration.curve if calibration else (), say)),
        "forest": _svg(forest_plot(_forest(report, language), say, _measure(report))),
    }


def _places(report: Report) -> str:
    """Return the one measure shown of groups where a product marks or draws; or nothing."""
    return {Predictions.BOXES: FOUND, Predictions.MASKS: DICE}.get(
        report.evidence.protocol.predictions, ""
    )


def _measure(report: Report) -> str:
    return page_places.forest_measure(report) if _places(report) else "AUC"


def _plots(report: Report, say: Callable[..., str]) -> list[Markup]:
    """Draw what boxes found, or how masks lie."""
    drawn = [froc_plot(report.froc, say)] if report.froc else []
    if (lies := report.overlap) is not None:
        drawn += [dice_plot(lies.dice, say), hd95_plot(lies.hd95, say)]
    return [_svg(plot) for plot in drawn if plot]


def _forest(report: Report, language: Language) -> list[tuple[str, Auc | None]]:
    """Put what combines the hospitals first: of 400 nobody scrolls to the end."""
    if _places(report):
        return [(one.site, page_places.interval(one)) for one in report.sites]
    rows: list[tuple[str, Auc | None]] = []
    if report.pooled is not None:
        rows.append((language.text(TOGETHER), report.pooled.auc))
    if (within := report.within_site) is not None:
        found = Auc(within.value, within.low, within.high, 0, 0)
        rows.append((language.text(WITHIN), found))
    return rows + [(one.site, one.figures.auc if one.figures else None) for one in report.sites]


def _boxes(
    report: Report, absent: Sequence[tuple[str, int]], language: Language
) -> list[tuple[str, list[str]]]:
    flow, say = report.flow, _say(language)
    met = flow.patients_scored + sum(flow.patients_unscored.values()) + flow.patients_unreferenced
    failed = [
        f"{count} {language.text(name)}" for name, count in flow.patients_unscored.items() if count
    ]
    if flow.patients_unreferenced:
        said = _("%(count)s with a finding that nobody drew")
        failed.append(say(said, count=flow.patients_unreferenced))
    away = [f"{count} {said}" for said, count in absent]
    return [
        (say(_("%(count)s hospitals asked"), count=flow.hospitals_asked), away),
        (say(_("%(count)s hospitals with figures"), count=flow.hospitals_reporting), []),
        (say(_("%(count)s patients tested"), count=met), failed),
        (say(_("%(count)s patients scored"), count=flow.patients_scored), []),
    ]


def _fact(one: Known, language: Language) -> str:
    """Say what is known in the reader's language; what a vendor or a hospital wrote stays."""
    said = {name: language.text(v) if isinstance(v, str) else v for name, v in one.values.items()}
    return language.text(one.sentence) % said


def _outcome(said: str, language: Language) -> str:
    """Say `failed: wall_limit` in words."""
    stage, _colon, code = said.partition(": ")
    if not code:
        return language.text(stage)
    sentence, subject = in_words(code)
    why = language.text(sentence) if sentence else code
    return f"{language.text(stage)}: {why}" + (f" ({subject})" if subject else "")


def _between(figure: Interval | None) -> str:
    if figure is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    # Three digits are written alike in both languages, and a page has some thousands of them.
    return f"{figure.value:.3f} ({figure.low:.3f} – {figure.high:.3f})"


def _say(language: Language) -> Callable[..., str]:
    def say(sentence: str, **values: object) -> str:
        text = language.text(sentence)
        return text % values if values else text

    return say


def _svg(drawn: str) -> Markup:
    return Markup(drawn)  # noqa: S704 - `drawing` escapes every word it is given
