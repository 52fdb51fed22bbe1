"""The one-time link that makes the console's first account; and the console over TLS."""

import os
import pty
import re
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from gateway.app.certificate import self_signed
from gateway.keys import write_private
from tests.fakes.console import Person
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
        address, _, token = link.rpartition("/enter/")
        steward = Person(address)
        opened = steward.make_account(f"/enter/{token}", "li")
        gateway.wait(lambda: not file.exists(), 10)
        gone = gateway.json("status")["console_link"]

    assert mode == 0o600
    assert opened.path == "/"  # the first page, past the link
    assert str(file) in gateway.log
    assert token not in gateway.log
    assert gone is None
    assert [one["name"] for one in gateway.json("console", "ls")] == ["li"]


def test_whoever_runs_the_server_invites_and_removes(gateway):
    invited = gateway.json("console", "invite", "--reader")

    assert invited["role"] == "reader"
    assert invited["link"].startswith("http://127.0.0.1:")
    assert gateway.json("console", "ls") == []
    assert "there is no account" in gateway("console", "remove", "li", expect=4).stderr


def test_the_console_is_served_over_tls_and_to_a_certificate(gateway, tmp_path):
    for name in ("console", "staff"):
        certificate, key = self_signed(name, "127.0.0.1")
        (tmp_path / f"{name}.crt").write_bytes(certificate)
        write_private(tmp_path / f"{name}.key", key)
    shown = load_pem_x509_certificate((tmp_path / "staff.crt").read_bytes())
    gateway.settings.write_text(
        gateway.settings.read_text().replace(
            "[console] ",
            f'[[console.certified]]\nname = "wang"\nrole = "steward"\n'
            f'certificate_sha256 = "{shown.fingerprint(SHA256()).hex()}"\n\n'
            '[console]\ncertificate = "console.crt"\nprivate_key = "console.key"\n'
            'client_ca = "staff.crt" ',
        )
    )

    with gateway.running():
        address = gateway.json("status")["console"]
        stranger = Person(address, trusting(tmp_path))
        page = stranger.get("/")
        staff = trusting(tmp_path)
        staff.load_cert_chain(tmp_path / "staff.crt", tmp_path / "staff.key")
        wang = Person(address, staff)
        token = wang.get("/login").token
        inside = wang.post("/login", token, certificate="1", next="/people")
        refused = stranger.post("/login", page.token, certificate="1", next="/people")

    assert address.startswith("https://")
    assert page.path == "/login"
    assert "max-age" in page.headers["strict-transport-security"]
    assert all(cookie.secure and cookie.name.startswith("__Host-") for cookie in wang.cookies)
    assert inside.path == "/people"
    assert refused.status == 403


def trusting(home):
    return ssl.create_default_context(cafile=str(home / "console.crt"))


def test_a_console_whose_key_others_can_read_is_refused(gateway, tmp_path):
    certificate, key = self_signed("console", "127.0.0.1")
    (tmp_path / "console.crt").write_bytes(certificate)
    (tmp_path / "console.key").write_bytes(key)
    (tmp_path / "console.key").chmod(0o644)
    gateway.settings.write_text(
        gateway.settings.read_text().replace(
            "[console] ",
            '[console]\ncertificate = "console.crt"\nprivate_key = "console.key" ',
        )
    )

    assert "chmod 600" in gateway("run", expect=4).stderr


def test_a_port_that_another_has_ends_the_start_with_a_sentence(gateway):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text, at = gateway.settings.read_text(), "[console]"
        console = text.index(at)
        gateway.settings.write_text(
            text[:console] + re.sub(r"(?m)^port = 0", f"port = {port}", text[console:], count=1)
        )
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "run"],
            cwd=gateway.home,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode == 3
    assert f"port {port} is in use" in done.stderr
    assert "Traceback" not in done.stderr


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
