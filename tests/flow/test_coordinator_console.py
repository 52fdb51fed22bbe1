"""The federation console's own door, asked over HTTP: who comes in, as what, what is refused."""

import json
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from coordinator.app.setup import issue_person
from coordinator.config import load
from coordinator.errors import ConfigurationFault
from gateway.app.certificate import self_signed
from gateway.keys import write_private
from protos.identity import Role
from tests.fakes.console import Person
from tests.fakes.federation import make
from tests.fakes.federation_console import CONSOLE, a_console_at, a_console_federation

pytestmark = pytest.mark.flow
ROOT = Path(__file__).resolve().parents[2]
NASTY = "<script>alert(1)</script>\u202e\x07"


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with a_console_federation(tmp_path_factory.mktemp("federation"), "alpha") as running:
        running.link = running.first_link()
        running.first = Person(running.address)
        running.first.make_account(running.link.removeprefix(running.address), "whatever")
        yield running


def test_the_first_link_makes_one_operator_once_and_is_gone(federation):
    config = federation.running.coordinator.config

    assert federation.first.get("/").path == "/fleet"
    fleet = federation.first.get("/fleet").text
    assert '<li><a href="?name=alpha">alpha</a>' in fleet  # the map, which leads to its row
    again = Person(federation.address).get(federation.link.removeprefix(federation.address))
    assert again.status == 403
    assert stat.S_IMODE(config.console_file.stat().st_mode) == 0o600
    (made,) = federation.events("console_account_made")[:1]
    assert (made["account"], made["role"]) == ("operator", "operator")
    assert made["by"] == "spiffe://demo/operator/operator"
    assert made["invited_by"] == "this server"


@pytest.mark.parametrize(
    "page",
    ["/fleet", "/people", "/fleet/live", "/ask", "/ask/x", "/ask/x.csv", "/ask/x/live", "/audit",
     "/audit/live", "/projects", "/ask/question.json"],
)  # fmt: skip
def test_nobody_sees_a_page_without_coming_in(federation, page):
    answer = Person(federation.address).get(page)

    assert answer.path == "/login" or answer.status == 403


def test_a_page_of_another_name_is_turned_away(federation):
    rebound = urllib.request.Request(
        f"{federation.address}/login", headers={"Host": "evil.example"}
    )

    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(rebound, timeout=5)


def test_an_operator_names_whom_a_link_is_for(federation):
    page = federation.first.post(
        "/people", act="invite", name="bo", role="reviewer", organisation="uni-1"
    )
    link = page.text.partition('class="secret">')[2].partition("<")[0]
    bo = Person(federation.address)

    bo.make_account(link.removeprefix(federation.address), "operator")  # as somebody else: no

    (made,) = [e for e in federation.events("console_account_made") if e["account"] == "bo"]
    assert made["by"] == "spiffe://demo/reviewer/bo"
    assert made["invited_by"] == "spiffe://demo/operator/operator"


@pytest.mark.parametrize(
    "fields",
    [{"name": NASTY}, {"name": "bo", "role": "gateway"}, {"name": "bo", "role": NASTY},
     {"name": "bo", "role": "vendor"}, {"name": "bo", "organisation": "../x"}, {"name": ""}],
)  # fmt: skip
def test_somebody_who_cannot_be_is_not_invited(federation, fields):
    answer = federation.first.post("/people", act="invite", **({"role": "operator"} | fields))

    assert answer.status == 400
    assert "/enter/" not in answer.text
    assert "<script>alert" not in answer.text


def test_a_denied_page_is_on_the_trail(federation):
    reviewer = federation.somebody("rui", Role.REVIEWER)

    denied = [reviewer.get(page).status for page in ("/fleet", "/people", "/audit/live")]

    assert denied == [403, 403, 403]
    refused = [e for e in federation.events("call_refused") if e["caller"].endswith("/rui")]
    assert [e["method"] for e in refused] == [
        "radfed.v1.SiteService/ListSites", "radfed.console/SeePeople", "radfed.console/ReadTrail",
    ]  # fmt: skip
    assert 'href="/fleet"' not in reviewer.get("/people").text


def test_an_auditor_looks_and_changes_nothing(federation):
    auditor = federation.somebody("ou", Role.AUDITOR)

    assert auditor.get("/people").status == 200
    token = auditor.get("/fleet").token
    answer = auditor.post("/people", token, act="invite", name="x", role="operator")
    assert answer.status == 403
    assert "/enter/" not in answer.text


def test_a_form_of_another_session_does_nothing_and_is_audited(federation):
    other = federation.somebody("wang")
    before = len(federation.events("console_form_refused"))

    answer = federation.first.post("/people", other.get("/people").token, act="remove", name="wang")

    assert answer.status == 403
    assert other.get("/fleet").status == 200
    assert len(federation.events("console_form_refused")) == before + 1


def test_a_removed_account_is_out_at_once(federation):
    zhao = federation.somebody("zhao")
    assert zhao.get("/fleet").path == "/fleet"

    federation.first.post("/people", act="remove", name="zhao")

    assert zhao.get("/fleet").path == "/login"


def test_what_is_typed_into_the_address_bar_is_inert(federation):
    asked = urllib.parse.quote(NASTY)

    for page in (
        f"/fleet?name={asked}&standing={asked}&state={asked}&version={asked}",
        f"/fleet?done={asked}",
        f"/audit?event={asked}&before={asked}",
        f"/ask?where={asked}&by={asked}&project={asked}&sites={asked}&pick={asked}&from-PatientAge={asked}",
        f"/ask?look=1&where={asked}",
        f"/ask?look=1&sites={asked}",
        f"/projects/{asked}",
        f"/ask/{asked}",
    ):
        answer = federation.first.get(page)
        assert answer.status in {200, 400, 404}
        assert "<script>alert" not in answer.text
        assert "\u202e" not in answer.text


def test_every_answer_keeps_its_page_inert(federation):
    for page in ("/fleet", "/people", "/nowhere", "/static/console.js", "/static/../pages.py"):
        headers = federation.first.get(page).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"


def test_a_command_invites_lists_and_removes_beside_a_running_coordinator(federation):
    settings = federation.running.directory / "coordinator.toml"

    def command(*words):
        call = [sys.executable, "-m", "coordinator", "coordinator", "console", *words]
        call[3:4] = []
        done = subprocess.run(
            [*call, "--config", str(settings), "--json"], cwd=ROOT, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout

    code, said = command("invite", "qian", "--role", "auditor")
    assert code == 0, said
    assert "/enter/" in said
    federation.somebody("sun")
    assert '"sun"' in command("ls")[1]
    assert command("remove", "sun")[0] == 0
    assert command("remove", "sun")[0] == 2
    # Two processes wrote to the trail, and its chain holds.
    assert federation.running.coordinator.rooms.audit.verify() > 0
    federation.first.post("/people", act="invite", name="qian", role="auditor")
    assert federation.running.coordinator.rooms.audit.verify() > 0


def slip(**changes):
    said = {
        "radfed_question": 1, "federation": "demo", "question": {"unit": "COUNT_UNIT_PATIENTS"},
        "sites": [], "deadline_seconds": 5, "quorum": 0, "summarise": "",
    }  # fmt: skip
    return json.dumps(said | changes)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", NASTY, "null", "[" * 5000, slip(radfed_question=2), slip(deadline_seconds=0),
     slip(federation="other"), slip(sites=["nobody"]), slip(question={"where": NASTY}),
     slip(question={"unit": "COUNT_UNIT_PATIENTS", "group_by": ["PatientName"]}),
     slip(question={}), slip(deadline_seconds=NASTY)],
)  # fmt: skip
def test_what_is_no_question_is_asked_of_nobody(federation, text):
    before = len(federation.events("question_asked"))

    answer = federation.first.post("/ask", signed=text, slip="")

    assert answer.status == 400
    assert 'role="alert"' in answer.text
    assert "<script>alert" not in answer.text
    assert len(federation.events("question_asked")) == before


def test_a_requester_sees_the_questions_of_their_own_organisation_alone(federation):
    ours = federation.somebody("rita", Role.REQUESTER, "uni")
    theirs = federation.somebody("otto", Role.REQUESTER, "clinic")
    said = ours.get("/ask?look=1").text.partition('name="slip" value="')[2].partition('"')[0]

    asked = ours.post("/ask", slip=unescape(said))

    assert asked.path.startswith("/ask/")
    assert "/fleet" not in theirs.get("/ask").text
    assert asked.path in ours.get("/ask").text
    assert asked.path not in theirs.get("/ask").text
    for path in (asked.path, f"{asked.path}.csv", f"{asked.path}.json"):
        assert ours.get(path).status == 200
        assert theirs.get(path).status == 404


def test_ten_megabytes_in_a_form_are_refused(federation):
    token = federation.first.get("/ask").token

    with suppress(ConnectionError, urllib.error.URLError):  # it may hang up in the middle
        assert federation.first.post("/ask", token, signed="x" * 10_000_000).status == 413


def test_people_come_in_by_the_certificates_of_the_federation(tmp_path):
    certificate, key = self_signed("console", "127.0.0.1")
    (tmp_path / "console.crt").write_bytes(certificate)
    write_private(tmp_path / "console.key", key)
    make(tmp_path, CONSOLE + 'certificate = "console.crt"\nprivate_key = "console.key"\n')
    issue_person(
        tmp_path / "coordinator.toml", Role.AUDITOR, "ou", "", tmp_path / "ou", datetime.now(UTC)
    )

    def person(credential=None):
        context = ssl.create_default_context(cafile=str(tmp_path / "console.crt"))
        if credential:
            there = tmp_path / credential
            context.load_cert_chain(there / "credential.crt", there / "credential.key")
        return Person(federation.address, context)

    with a_console_at(tmp_path) as federation:
        operator, auditor, stranger = person("operator"), person("ou"), person()
        inside = operator.post("/login", certificate="1", next="/people")
        looking = auditor.post("/login", certificate="1", next="/people")
        refused = stranger.post("/login", certificate="1", next="/people")
        denied = auditor.post("/people", looking.token, act="invite", name="x", role="operator")
        entered = federation.events("console_entered")

    assert federation.address.startswith("https://")
    assert inside.path == looking.path == "/people"
    assert refused.status == 403
    assert denied.status == 403
    assert [(e["by"], e["proof"]) for e in entered] == [
        ("spiffe://demo/operator/operator", "certificate"),
        ("spiffe://demo/auditor/ou", "certificate"),
    ]
    assert all(cookie.secure for cookie in operator.cookies)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::"])
def test_pages_others_could_reach_are_not_served_in_the_clear(tmp_path, host):
    make(tmp_path, f'[console]\nhost = "{host}"\n')

    with pytest.raises(ConfigurationFault, match="plain HTTP"):
        load(tmp_path / "coordinator.toml")
