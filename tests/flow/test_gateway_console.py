"""The steward's pages, served for real and asked over HTTP."""

import threading
import urllib.error
import urllib.request
from http.cookiejar import CookieJar

import pytest
import uvicorn

from gateway.console.pages import Door, build

pytestmark = pytest.mark.flow

NASTY = "<script>alert(1)</script>"


class House:
    """Facts whose every text is hostile."""

    def status(self):
        return {"site": NASTY, "vault": {"quarantined": 3}}

    def quarantined(self):
        keys = ("id", "received", "sender", "reason", "place", "advice")
        return [dict.fromkeys(keys, NASTY)]

    def sent(self, _newest):
        keys = ("number", "at", "kind", "reference", "rule", "size", "sha256")
        return [dict.fromkeys(keys, NASTY)]


@pytest.fixture
def console():
    door = Door()
    server = uvicorn.Server(
        uvicorn.Config(build(House(), door), port=0, log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", door
    server.should_exit = True
    thread.join()


def browser():
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))


def status_of(call, *arguments):
    try:
        return call(*arguments).status
    except urllib.error.HTTPError as fault:
        return fault.code


@pytest.mark.parametrize(("seconds", "session"), [(599, True), (601, False)])
def test_a_link_that_nobody_opened_expires(seconds, session):
    now = [1000.0]
    door = Door(lambda: now[0])

    now[0] += seconds

    assert (door.exchange(door.link_token) is not None) is session


@pytest.mark.parametrize("page", ["/", "/quarantine", "/sent"])
def test_nobody_sees_a_page_without_the_link(console, page):
    address, _door = console

    assert status_of(browser().open, address + page) == 403


def test_the_link_opens_the_pages_once(console):
    address, door = console
    steward, thief = browser(), browser()

    with steward.open(f"{address}/enter/{door.link_token}") as first:
        assert first.status == 200

    assert status_of(thief.open, f"{address}/enter/{door.link_token}") == 403
    assert status_of(thief.open, address + "/") == 403
    assert steward.open(address + "/sent").status == 200


def test_what_others_wrote_is_shown_inert_under_a_strict_policy(console):
    address, door = console
    steward = browser()
    steward.open(f"{address}/enter/{door.link_token}")

    for page in ("/", "/quarantine", "/sent"):
        with steward.open(address + page) as answer:
            text = answer.read().decode()
            policy = answer.headers["content-security-policy"]

        assert NASTY not in text
        assert "&lt;script&gt;" in text
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_a_wrong_link_is_no_link(console):
    address, _door = console

    for guess in ("x", "é", "a" * 5000):
        path = urllib.request.quote(guess)
        assert status_of(browser().open, f"{address}/enter/{path}") == 403
