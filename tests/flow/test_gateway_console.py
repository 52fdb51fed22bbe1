"""The console's own door, served for real and asked over HTTP: who comes in, what is refused."""

import http.client
import re
import sqlite3
import stat
import time
import urllib.parse

import pytest

from gateway.audit import AuditTrail
from gateway.config import load
from gateway.console.rules import Role
from protos.pages.proofs import code_at
from protos.pages.rules import IDLE_SECONDS
from tests.fakes.console import PASSWORD, Person, a_console
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow

PAGES = (
    "/", "/studies", "/quarantine", "/approvals", "/sent", "/sent/totals", "/budget", "/policy",
    "/audit", "/sources", "/people",
)  # fmt: skip
NASTY = "<script>alert(1)</script>\u202e\x07"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return load(Gateway(tmp_path_factory.mktemp("gateway")).settings)


@pytest.fixture(scope="module")
def shared(config):
    with a_console(config) as served:
        yield served


@pytest.fixture
def console(shared):
    with sqlite3.connect(shared.house._config.console_file) as book:
        for table in ("account", "invitation", "failure"):
            book.execute(f"DELETE FROM {table}")
    return shared


def trail(config, event):
    audit = AuditTrail.open(config.audit_file)
    try:
        return [one.facts for one in audit.events() if one.event == event]
    finally:
        audit.close()


@pytest.mark.parametrize("page", PAGES)
def test_nobody_sees_a_page_without_coming_in(console, page):
    answer = Person(console.address).get(page)

    assert answer.path == "/login"
    assert urllib.parse.quote(page, safe="") in answer.url


def test_a_link_makes_one_account_once(console, config):
    path = f"/enter/{console.accounts.invite(Role.STEWARD, 'test')}"
    steward, thief = Person(console.address), Person(console.address)

    assert steward.make_account(path, "li").path == "/"
    assert thief.get(path).status == 403
    assert thief.get("/").path == "/login"
    assert steward.get("/people").status == 200
    made = {"account": "li", "role": "steward", "by": "li", "invited_by": "test"}
    assert made in trail(config, "console_account_made")
    assert stat.S_IMODE(config.console_file.stat().st_mode) == 0o600
    raw = (
        config.console_file.read_bytes()
        + config.console_file.with_name("console.db-wal").read_bytes()
    )
    assert PASSWORD.encode() not in raw
    assert path.removeprefix("/enter/").encode() not in raw


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "short", "again": "short"},
        {"again": "another password"},
        {"name": ""},
        {"name": NASTY},
        {"code": "000000"},
        {"code": "é"},
    ],
)
def test_an_account_that_would_be_weak_is_not_made(console, fields):
    token = console.accounts.invite(Role.STEWARD, "test")
    secret = console.accounts.invitation(token).secret
    told = {"name": "li", "password": PASSWORD, "again": PASSWORD}

    person = Person(console.address)
    answer = person.post(
        f"/enter/{token}", **told | {"code": code_at(secret, time.time())} | fields
    )

    assert answer.status == 403
    assert 'role="alert"' in answer.text
    assert "<script>alert" not in answer.text
    assert console.accounts.everyone() == []
    assert console.accounts.invitation(token) is not None


def test_a_name_a_password_and_a_fresh_code_come_in(console):
    made = console.somebody()
    used = code_at(made.secret, time.time())
    again = Person(console.address)

    assert again.log_in("li", made.secret, code=used).status == 403  # a code counts once
    assert again.log_in("li", made.secret, code=code_at(made.secret, time.time() + 30)).path == "/"


def test_guessing_locks_the_account_and_is_audited(console, config):
    made = console.somebody()
    guesser = Person(console.address)

    for number in range(6):
        assert guesser.log_in("LI", made.secret, f"guess number {number}").status == 403

    later = code_at(made.secret, time.time() + 30)
    assert guesser.log_in("li", made.secret, code=later).status == 403
    assert {"account": "li", "address": "127.0.0.1"} in trail(config, "console_locked")
    assert not any("guess" in str(facts) for facts in trail(config, "console_refused"))
    assert made.get("/").path == "/"  # who is in stays in


def test_what_is_typed_as_a_name_is_on_no_trail(console, config):
    Person(console.address).log_in("my secret password", b"x" * 20)

    assert {"account": "unknown", "address": "127.0.0.1"} in trail(config, "console_refused")
    assert "my secret" not in str(trail(config, "console_refused"))


def test_a_login_begins_a_session_of_a_new_name(console):
    made = console.somebody()
    before = {cookie.value for cookie in made.cookies}
    fixed = Person(console.address)
    fixed.cookies = made.cookies
    made.log_in("li", made.secret)

    again = Person(console.address)
    again.get("/login")
    planted = {cookie.value for cookie in again.cookies}
    again.log_in("li", made.secret, code=code_at(made.secret, time.time() + 30))
    session = {cookie.value for cookie in again.cookies if cookie.name == "radfed"}

    assert len(session) == 1
    assert not session & (planted | before)


def test_a_cookie_is_for_this_host_alone(console):
    made = console.somebody()
    (session,) = [cookie for cookie in made.cookies if cookie.name == "radfed"]

    assert session.has_nonstandard_attr("HttpOnly")
    assert session.get_nonstandard_attr("SameSite").lower() == "strict"
    assert not session.domain_specified


def test_a_form_without_its_token_does_nothing(console):
    steward = console.somebody()
    other = console.somebody("wang")

    for token in ("", "x", other.get("/people").token):
        answer = steward.post("/people", token, act="invite", role="steward")
        assert answer.status == 403
        assert "/enter/" not in answer.text
    foreign = {"Sec-Fetch-Site": "cross-site"}
    token = steward.get("/people").token
    assert steward.post("/people", token, foreign, act="invite", role="steward").status == 403
    assert "/enter/" in steward.post("/people", token, act="invite", role="steward").text


def test_a_reader_looks_and_decides_nothing(console):
    reader = console.somebody("wang", Role.READER)

    for page in PAGES:
        assert reader.get(page).status == 200
    for page in ("/people", "/quarantine", "/sources"):
        answer = reader.post(page, reader.get("/audit").token, act="invite", name="x", sure="1")
        assert answer.status == 403


def test_a_removed_account_is_out_at_once(console):
    li, wang = console.somebody(), console.somebody("wang")
    assert wang.get("/").path == "/"

    li.post("/people", act="remove", name="wang")

    assert wang.get("/").path == "/login"
    assert li.get("/").path == "/"


def test_an_idle_session_ends_and_returns_to_its_page(console):
    steward = console.somebody()
    token = steward.get("/people").token
    console.clock[0] += IDLE_SECONDS + 1

    answer = steward.post("/people", token, act="invite", role="steward")

    assert answer.path == "/login"
    assert "next=%2Fpeople" in answer.url
    later = code_at(steward.secret, time.time() + 30)
    back = steward.log_in("li", steward.secret, back="/people", code=later)
    assert back.path == "/people"
    assert "/enter/" not in back.text  # nothing was done


def test_every_answer_keeps_its_page_inert(console):
    steward = console.somebody()

    for page in (
        *PAGES,
        "/nowhere",
        "/static/console.js",
        "/studies/%2e%2e",
        "/static/../pages.py",
    ):
        headers = steward.get(page).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/static/../pages.py", "/static/%2e%2e/pages.py", "/static/..%2f..%2fkeys.py",
     "/static//etc/passwd", "/series/..%2f..%2f..%2fetc/1.png", "/sent/-1", "/sent/99999",
     "/quarantine/..%2f..%2fconsole.db", "/approvals/'%20OR%201=1", "/studies/x'--"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_leads_nowhere(console, path):
    answer = console.somebody().get(path)

    assert answer.status == 404 or answer.headers["content-type"] == "image/svg+xml"
    assert b"import" not in answer.body
    assert b"root:" not in answer.body


def test_what_is_typed_into_the_address_bar_is_shown_inert(console):
    steward = console.somebody()
    asked = urllib.parse.quote(NASTY)

    for page in (
        f"/studies?modality={asked}&patient={asked}&year={asked}&after={asked}",
        f"/quarantine?reason={asked}&sender={asked}&after={asked}",
        f"/audit?event={asked}&before={asked}",
        f"/sent?kind={asked}&before=99999999999999999999",
        f"/login?next={asked}",
        f"/?done={asked}",
    ):
        answer = steward.get(page)
        assert answer.status == 200
        assert "<script>alert" not in answer.text
        assert not re.search("[\u202e\x07]", answer.text)


@pytest.mark.parametrize("chunked", [False, True])
def test_ten_megabytes_in_a_form_are_refused_as_they_come(console, chunked):
    host = urllib.parse.urlsplit(console.address)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=20)
    block = b"x" * 65536
    try:
        connection.putrequest("POST", "/login")
        name, value = (
            ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "10485760")
        )
        connection.putheader(name, value)
        connection.endheaders()
        if chunked:
            for _ in range(3):
                connection.send(b"10000\r\n" + block + b"\r\n")
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_more_fields_than_a_form_has_are_refused(console):
    person = Person(console.address)
    token = person.get("/login").token

    assert person.post("/login", token, **{f"x{n}": "1" for n in range(100)}).status == 400


def test_the_language_is_switched_in_the_page(console):
    person = Person(console.address)

    page = person.post("/language", person.get("/login").token, language="zh-CN", next="/login")

    assert page.path == "/login"
    assert '<html lang="zh-CN">' in page.text
    assert "登录" in page.text
    astray = person.post("/language", page.token, language="xx", next="//evil.example")
    assert astray.url.startswith(person.address)
