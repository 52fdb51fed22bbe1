"""The one-time link to the steward's pages: in a file of the gateway's account, in no log."""

import os
import pty
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.fakes.running_gateway import ROOT, Gateway

pytestmark = pytest.mark.flow


@pytest.fixture
def gateway(tmp_path):
    return Gateway(tmp_path)


def test_the_link_is_in_a_private_file_that_status_names_and_in_no_log(gateway):
    with gateway.running():
        file = Path(gateway.json("status")["console_link"])
        link = file.read_text().strip()
        mode = stat.S_IMODE(file.stat().st_mode)
        steward = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with steward.open(link) as answer:
            opened = answer.url

    assert mode == 0o600
    assert opened.count("/") == 3  # the first page, past the link
    assert str(file) in gateway.log
    assert link.rpartition("/")[2] not in gateway.log
    assert not file.exists()
    assert gateway.json("status")["console_link"] is None


def test_a_person_at_a_terminal_is_shown_the_link(gateway):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run"],
        cwd=gateway.home,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shown = bytearray()
        while b"/enter/" not in shown:
            shown += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait(60)
        os.close(ours)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::", "pacs.hospital.example"])
def test_pages_that_others_could_reach_are_refused_at_start(gateway, host):
    text = gateway.settings.read_text()
    console = text.index("[console]")
    other = text[console:].replace('host = "127.0.0.1"', f'host = "{host}"', 1)
    gateway.settings.write_text(text[:console] + other)

    says = gateway("run", expect=4).stderr

    assert "`console`: " in says
    assert "plain HTTP" in says


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_pages_on_this_machine_are_not(gateway, host):
    text = gateway.settings.read_text()
    console = text.index("[console]")
    other = text[console:].replace('host = "127.0.0.1"', f'host = "{host}"', 1)
    gateway.settings.write_text(text[:console] + other)

    assert gateway.json("status")["running"] is False
