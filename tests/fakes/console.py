"""The console over a real gateway's files, and somebody who fills in its forms."""

import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b32decode
from contextlib import contextmanager
from html import unescape
from http.cookiejar import CookieJar

import uvicorn

from gateway.app.accounts import open_accounts
from gateway.app.house import House
from gateway.console.pages import Setting, build
from gateway.console.rules import Role
from protos.pages.proofs import code_at
from protos.pages.sessions import Sessions

PASSWORD = "correct horse battery"
TOKEN = re.compile(r'name="form_token" value="([^"]+)"')
SECRET = re.compile(r'class="secret">([A-Z2-7]+)<')


class Served:
    def __init__(self, config, **wishes) -> None:
        self.clock = [time.monotonic()]
        self.accounts = open_accounts(config)
        self.house = House(config)
        sessions = Sessions(lambda: self.clock[0])
        self.application = build(
            Setting(config.site, self.house, self.accounts, sessions, **wishes)
        )
        self.address = ""

    def somebody(self, name="li", role=Role.STEWARD):
        """Return a person with an account, who is in."""
        person = Person(self.address)
        person.make_account(f"/enter/{self.accounts.invite(role, 'test')}", name)
        return person


@contextmanager
def a_console(config, **wishes):
    served = Served(config, **wishes)
    settings = uvicorn.Config(served.application, port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    served.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join()
        served.accounts.close()


class Answer:
    def __init__(self, raw) -> None:
        self.status, self.url, self.headers = raw.status, raw.url, raw.headers
        self.body = raw.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def path(self):
        return urllib.parse.urlsplit(self.url).path

    @property
    def token(self):
        return unescape(TOKEN.search(self.text)[1])


class Person:
    """A browser without scripts: cookies, forms, redirects."""

    def __init__(self, address, context: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.cookies = CookieJar()
        handlers = [urllib.request.HTTPCookieProcessor(self.cookies)]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self._opener.addheaders = [("Accept-Language", "en")]
        self.secret = b""

    def get(self, path):
        return self._ask(self.address + path if path.startswith("/") else path)

    def post(self, path, /, token=None, headers=None, **fields):
        """Send a form, with the token of the page it stands on."""
        if token is None:
            token = self.get(path).token
        data = urllib.parse.urlencode({"form_token": token, **fields}).encode()
        request = urllib.request.Request(self.address + path, data, headers or {})
        return self._ask(request)

    def make_account(self, path, name, password=PASSWORD):
        page = self.get(path)
        assert SECRET.search(page.text), page.text
        self.secret = b32decode(SECRET.search(page.text)[1])
        fields = {"name": name, "password": password, "again": password}
        return self.post(path, page.token, code=code_at(self.secret, time.time()), **fields)

    def log_in(self, name, secret, password=PASSWORD, back="/", code=None):
        page = self.get(f"/login?next={urllib.parse.quote(back)}")
        code = code or code_at(secret, time.time())
        fields = {"name": name, "password": password, "code": code, "next": back}
        return self.post("/login", page.token, **fields)

    def _ask(self, request):
        try:
            with self._opener.open(request, timeout=30) as raw:
                return Answer(raw)
        except urllib.error.HTTPError as raw:
            return Answer(raw)
