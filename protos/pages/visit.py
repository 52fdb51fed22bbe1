"""One visit to a page: who asks, in which language, with which form; and what it is answered."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from jinja2 import (
    ChoiceLoader,
    Environment,
    PackageLoader,
    StrictUndefined,
    select_autoescape,
)
from jinja2.bccache import Bucket, BytecodeCache
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from protos.pages import languages
from protos.pages.accounts import Account
from protos.pages.inert import inert
from protos.pages.languages import Language
from protos.pages.sessions import Session
from protos.pages.words import _

WELCOME = "welcome"
NOTICES = {WELCOME: _("Your account is made. You are in.")}

Refusals = Callable[[str, Language], str]


def as_catalogued(said: str, language: Language) -> str:
    """Say a refusal as the catalogues have it."""
    return language.text(said)


@dataclass(frozen=True, slots=True)
class Page:
    """One entry of the navigation: its name is the page's own title."""

    path: str
    name: str
    needs: str = ""  # the act that whoever sees it must be permitted


@dataclass(frozen=True, slots=True)
class Visit:
    request: Request
    language: Language
    session: Session | None
    guest: str  # the cookie of somebody not yet in
    form_token: str
    form: Mapping[str, str] = field(default_factory=dict)
    permits: Callable[[Account, str], bool] = lambda _account, _act: False

    @property
    def path(self) -> str:
        """Return this page as a link: where a change of language comes back to."""
        url = self.request.url
        return f"{url.path}?{url.query}" if url.query and self.request.method == "GET" else url.path

    @property
    def account(self) -> Account:
        assert self.session is not None
        return self.session.account

    @property
    def who(self) -> str:
        return self.account.name

    def may(self, act: str) -> bool:
        """Say whether somebody is in who may do this; no act at all is everybody's."""
        return self.session is not None and (not act or self.permits(self.account, act))

    def asked(self, name: str, longest: int = 200) -> str:
        """Return one parameter of the address bar, never a long one."""
        return self.request.query_params.get(name, "")[:longest]

    def number(self, name: str) -> int:
        told = self.asked(name, 18)
        return int(told) if told.isdecimal() and told.isascii() else 0

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else "unknown"


class _Compiled(BytecodeCache):
    """What one language has compiled serves the other: their templates are the same."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if (held := self._held.get(bucket.key)) is not None:
            bucket.bytecode_from_string(held)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._held[bucket.key] = bucket.bytecode_to_string()


class Templates:
    """One environment for each language; every value passes `inert` before it is escaped."""

    def __init__(
        self,
        site: str,
        package: str,
        pages: Sequence[Page],
        notices: Mapping[str, str],
        scripts: Sequence[str],
        refusals: Refusals,
    ) -> None:
        self.languages = languages.load(package)
        self._site = site
        self._package = package
        self._pages = pages
        self._notices = {**NOTICES, **notices}
        self._scripts = scripts
        self._refusals = refusals
        self._compiled = _Compiled()
        self._environments = {tag: self._environment(one) for tag, one in self.languages.items()}

    def _environment(self, language: Language) -> Environment:
        made = Environment(
            loader=ChoiceLoader([PackageLoader(self._package), PackageLoader("protos.pages")]),
            bytecode_cache=self._compiled,
            auto_reload=False,
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            finalize=inert,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.globals |= {
            "token": _token,
            "_": language.say,
            "refusal": lambda said: self._refusals(str(said), language),
            "language": language,
            "site": self._site,
            "scripts": self._scripts,
        }
        made.globals["others"] = [one for one in self.languages.values() if one is not language]
        made.filters |= {
            "moment": language.moment,
            "day": language.day,
            "number": language.number,
            "percent": language.percent,
            "size": language.size,
            "segment": lambda text: quote(str(text), safe=""),
        }
        return made

    def warm(self) -> None:
        """Compile every template once, so that whoever looks first does not wait for it."""
        for environment in self._environments.values():
            for name in environment.list_templates(extensions=["html"]):
                environment.get_template(name)

    def page(
        self,
        visit: Visit,
        template: str,
        status: int = 200,
        **context: Any,  # noqa: ANN401 - what a template shows
    ) -> Response:
        known = {
            "visit": visit,
            "pages": [page for page in self._pages if visit.may(page.needs)],
            "here": visit.request.url.path,
            "notice": self._notices.get(visit.asked("done"), ""),
        }
        shown = self._environments[visit.language.tag].get_template(template)
        return HTMLResponse(shown.render(known | context), status)

    def fault(self, visit: Visit, status: int, says: object, cure: object = "") -> Response:
        return self.page(visit, "fault.html", status, says=says, cure=cure)

    def part(self, visit: Visit, template: str, **context: Any) -> str:  # noqa: ANN401 - as `page`
        return (
            self._environments[visit.language.tag]
            .get_template(template)
            .render({"visit": visit} | context)
        )


def _token(visit: Visit) -> Markup:
    return Markup('<input type="hidden" name="form_token" value="{}">').format(visit.form_token)


Answer = Callable[[Visit], Response] | Callable[[Visit], Awaitable[Response]]


def see_other(path: str) -> Response:
    return RedirectResponse(path, 303)


def done(path: str, notice: str) -> Response:
    """Lead to a page that says what was done: in closed words, for the address bar is anybody's."""
    return see_other(f"{path}{'&' if '?' in path else '?'}done={notice}")
