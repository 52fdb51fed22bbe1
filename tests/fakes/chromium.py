"""Debian's own Chromium, headless, and everything it has to complain about."""

import os
import time
from base64 import b32decode
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import expect, sync_playwright

from protos.pages.proofs import code_at
from tests.fakes.console import PASSWORD

CHROMIUM = "/usr/bin/chromium"
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 800}
PATIENCE = 20_000  # milliseconds: a page of a busy machine is late, and not wrong
expect.set_options(timeout=PATIENCE)
# Reported by the browser itself, wherever the page's own console would not say it.
VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
    console.error("CSP " + event.violatedDirective + " " + event.blockedURI));
"""
# What was resized is laid out and drawn again by the second frame after it.
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# WCAG 2.2: 1.4.3 (contrast), 1.3.1 and 4.1.2 (labels), 1.4.10 (no sideways scrolling of a page).
FAULTS = """() => {
    const faults = [];
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
        return paint.getImageData(0, 0, 1, 1).data;
    };
    const light = (c) => [0, 1, 2].map((i) => c[i] / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (rgba(colour)[3] > 250) return rgba(colour);
        }
        return matchMedia("(prefers-color-scheme: dark)").matches ? [17, 17, 17] : [255, 255, 255];
    };
    for (const element of document.querySelectorAll("body *")) {
        const speaks = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        const unseen = !element.checkVisibility() || element.closest(".skip, svg, option");
        if (!speaks || unseen) continue;
        const style = getComputedStyle(element);
        const [a, b] = [light(rgba(style.color)), light(behind(element))].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
        const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
        if ((a + 0.05) / (b + 0.05) < least)
            faults.push(`contrast ${((a + 0.05) / (b + 0.05)).toFixed(2)} ${element.tagName} ` +
                element.textContent.trim().slice(0, 40));
    }
    for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
        if (!field.labels.length && !field.ariaLabel) faults.push(`no label: ${field.name}`);
    for (const image of document.querySelectorAll("img"))
        if (!image.alt) faults.push("no alternative text");
    const edge = document.documentElement.clientWidth + 1;
    if (document.documentElement.scrollWidth > edge)
        for (const element of document.querySelectorAll("body *"))
            if (element.getBoundingClientRect().right > edge && !element.closest(".wide"))
                faults.push(`it scrolls sideways: ${element.tagName} ${element.className}`);
    return faults;
}"""


def faults_of(page):
    """Return what is wrong with a page, once it is laid out as its window is."""
    page.evaluate(SETTLED)
    return page.evaluate(FAULTS)


class Complaints:
    """What went wrong in a page: errors, violations, requests to another host."""

    def __init__(self, address) -> None:
        self._host = urlsplit(address).netloc
        self.found = []

    def listen(self, page):
        page.on("console", self._said)
        page.on("pageerror", lambda fault: self.found.append(f"script: {fault}"))
        page.on("dialog", lambda dialog: (self.found.append("a dialog"), dialog.dismiss()))
        page.on("request", self._asked)

    def _said(self, message):
        if message.type in {"error", "warning"} and "status of 4" not in message.text:
            self.found.append(f"console: {message.text}")

    def _asked(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != self._host:
            self.found.append(f"another host: {request.url}")


class AtBrowser:
    """Somebody at a browser; whatever it complains about is kept."""

    def __init__(self, browser, address, tag="en-GB", **wishes):
        self.address = address
        options = {"viewport": WIDE, "reduced_motion": "reduce"} | wishes
        self.context = browser.new_context(ignore_https_errors=True, locale=tag, **options)
        self.context.add_init_script(VIOLATIONS)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.complaints = Complaints(address)
        self.complaints.listen(self.page)
        self.secret = b""
        self.name = ""
        self._codes = 0

    def make_account(self, link, name):
        self.name = name
        self.page.goto(link)
        self.secret = b32decode(self.page.locator("code.secret").inner_text())
        chosen = self.page.locator("input[name=name]:not([type=hidden])")
        if chosen.count():  # where a house has not named the person already
            chosen.fill(name)
        for field in ("password", "again"):
            self.page.locator(f"input[name={field}]").fill(PASSWORD)
        self.page.locator("input[name=code]").fill(code_at(self.secret, time.time()))
        self.page.locator("main form button").click()
        self.page.wait_for_url("**/*done=welcome")

    def log_in(self):
        """Fill in what is asked, with a code that was not used."""
        self._codes += 1
        self.page.locator("input[name=name]").fill(self.name)
        self.page.locator("input[name=password]").fill(PASSWORD)
        code = code_at(self.secret, time.time() + 30 * self._codes)
        self.page.locator("input[name=code]").fill(code)
        self.page.locator("article form button").last.click()

    def go(self, path):
        answer = self.page.goto(self.address + path)
        assert answer.status == 200, path
        return self.page

    def is_content(self, where):
        assert self.complaints.found == [], where
        faults = faults_of(self.page)
        assert faults == [], (where, faults)


@contextmanager
def a_browser():
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield browser
        finally:
            browser.close()
