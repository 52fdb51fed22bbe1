"""Who is let in, and when: pinned certificates, a disk at its reserve, shared places."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from pydicom.data import get_testdata_file

from gateway.config import IntakeTls, Peer
from gateway.intake.places import Places
from tests.fakes.custody import FakeCustody
from tests.fakes.granting_gateway import GrantingGateway
from tests.fakes.raw_scu import CT as CT_CLASS
from tests.fakes.raw_scu import VERIFICATION, RawScu, an_echo, data
from tests.fakes.receiver import a_receiver, eventually

pytestmark = pytest.mark.flow
CT = get_testdata_file("CT_small.dcm")
ACCEPTED, REJECTED = 2, 3
NOT_RECOGNIZED, CONGESTION, LOCAL_LIMIT = b"\0\1\1\3", b"\0\2\3\1", b"\0\2\3\2"
COMMITMENT = "1.2.840.10008.1.20.1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    run = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    run += ["-nodes", "-days", "2", "-keyout", "authority.key", "-out", "authority.crt"]
    subprocess.run([*run, "-subj", "/CN=authority"], cwd=directory, check=True, capture_output=True)
    for name in ("gateway", "scanner", "other"):
        request = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt"]
        request += ["ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
        request += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        sign = ["openssl", "x509", "-req", "-CA", "authority.crt", "-CAkey", "authority.key"]
        sign += ["-CAcreateserial", "-copy_extensions", "copy", "-days", "2", "-out", f"{name}.crt"]
        asked = subprocess.run(request, cwd=directory, check=True, capture_output=True)
        subprocess.run(sign, cwd=directory, check=True, capture_output=True, input=asked.stdout)
    return directory


def fingerprint(certificates, name):
    pem = (certificates / f"{name}.crt").read_bytes()
    return x509.load_pem_x509_certificate(pem).fingerprint(SHA256()).hex(":").upper()


def tls(certificates, client_certificates):
    return IntakeTls(
        port=0,
        certificate=certificates / "gateway.crt",
        private_key=certificates / "gateway.key",
        client_ca=certificates / "authority.crt",
        client_certificates=client_certificates,
    )


def peers(certificates):
    pin = fingerprint(certificates, "scanner")
    return (
        Peer(name="scanner", ae_title="SCANNER", certificate_sha256=(pin,)),
        Peer(name="old", ae_title="OLD"),
    )


def store(certificates, port, ae_title, name=None):
    shown = ["+tla"] if name is None else ["+tls", f"{name}.key", f"{name}.crt"]
    command = ["storescu", "-v", "-aet", ae_title, "-aec", "RADFED", *shown, "+cf", "authority.crt"]
    return subprocess.run(
        [*command, "127.0.0.1", str(port), CT],
        cwd=certificates,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("ae_title", "shown", "demand", "welcome"),
    [
        ("SCANNER", "scanner", "required", True),
        ("SCANNER", "scanner", "optional", True),
        ("SCANNER", "other", "required", False),  # of the same authority, but another's
        ("SCANNER", "other", "optional", False),
        ("SCANNER", None, "optional", False),
        ("OLD", None, "optional", True),
        ("OLD", None, "required", False),
        ("OLD", "other", "required", True),
    ],
)
def test_a_pinned_ae_title_needs_its_certificate(certificates, ae_title, shown, demand, welcome):
    custody = FakeCustody()

    settings = {"peers": peers(certificates), "tls": tls(certificates, demand)}
    with a_receiver(custody, **settings) as door:
        answer = store(certificates, door.tls_port, ae_title, shown)

    assert (answer.returncode == 0) is welcome, answer.stderr
    assert len(custody.held) == welcome
    if ae_title == "SCANNER" and not welcome:
        assert "Calling AE Title Not Recognized" in answer.stdout + answer.stderr
        (facts,) = door.seen("certificate_refused")
        assert (facts["peer"], facts["shown"] == "none") == ("scanner", shown is None)


def test_a_pinned_ae_title_may_not_call_in_the_clear(certificates):
    settings = {"peers": peers(certificates), "tls": tls(certificates, "optional")}
    with a_receiver(FakeCustody(), **settings) as door, RawScu(door.port) as scu:
        answer = scu.associate(calling="SCANNER")

    assert answer == (REJECTED, NOT_RECOGNIZED)


def test_a_false_claim_is_on_the_audit_trail_once(certificates, tmp_path):
    gateway = GrantingGateway(tmp_path)
    pin = fingerprint(certificates, "scanner")
    gateway.grant("scanner", "SCANNER", 104, f'certificate_sha256 = ["{pin}"]\n')
    tables = "[intake.tls]\nport = 0\n" + "".join(
        f'{key} = "{certificates / file}"\n'
        for key, file in {
            "certificate": "gateway.crt",
            "private_key": "gateway.key",
            "client_ca": "authority.crt",
        }.items()
    )
    with gateway.settings.open("a") as settings:
        settings.write(tables)
    gateway.set("processes", 1)

    with gateway.running():
        for _ in range(3):
            assert store(certificates, gateway.json("status")["tls_port"], "SCANNER", "other")
    with sqlite3.connect(gateway.state / "audit.db") as trail:
        bodies = [json.loads(body) for (body,) in trail.execute("SELECT body FROM trail")]

    (recorded,) = [body["facts"] for body in bodies if body["event"] == "certificate_refused"]
    assert recorded["peer"] == "scanner"
    assert recorded["shown"] == fingerprint(certificates, "other").replace(":", "").lower()


@pytest.mark.parametrize(
    ("contexts", "answer"),
    [
        (((1, CT_CLASS), (3, VERIFICATION)), (REJECTED, LOCAL_LIMIT)),
        (((3, VERIFICATION),), ACCEPTED),
        (((3, VERIFICATION), (5, COMMITMENT)), ACCEPTED),
    ],
)
def test_while_the_disk_is_full_only_storage_is_sent_away(contexts, answer):
    room = [False]

    with a_receiver(FakeCustody(), has_room=lambda: room[0]) as door:
        with RawScu(door.port) as scu:
            full = scu.associate(contexts=contexts)
            if answer == ACCEPTED:
                scu.say(data(3, 3, an_echo()))
                assert scu.hear()[0] == 4
        room[0] = True
        with RawScu(door.port) as scu:
            assert scu.associate(contexts=contexts)[0] == ACCEPTED

    assert full == answer if answer != ACCEPTED else full[0] == ACCEPTED


def test_a_gateway_takes_again_once_there_is_room(tmp_path):
    gateway = GrantingGateway(tmp_path)
    filler = tmp_path / "filler"
    gateway.grant("ct", "STORESCU", 104)
    free = 1 << 30  # what other programs do with this disk meanwhile is less
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free)
    found = os.statvfs(tmp_path)
    gateway.set("reserve_bytes", found.f_bavail * found.f_frsize + free // 2)

    with gateway.running():
        port = str(gateway.port)
        send = ["storescu", "-aec", "RADFED", "127.0.0.1", port, CT]
        full = subprocess.run(send, capture_output=True, text=True, timeout=60, check=False)
        filler.unlink()
        eventually(
            lambda: (
                subprocess.run(send, capture_output=True, timeout=60, check=False).returncode == 0
            ),
            20,
        )

    assert full.returncode != 0
    assert "Local Limit Exceeded" in full.stdout + full.stderr


def test_receivers_count_a_peers_associations_together(tmp_path):
    shared = {"places_dir": tmp_path, "processes": 2, "max_associations_per_peer": 3}

    with a_receiver(FakeCustody(), **shared) as one, a_receiver(FakeCustody(), **shared) as two:
        with ExitStack() as open_ones:
            scus = [
                open_ones.enter_context(RawScu(door.port)) for door in (one, two, one, two, one)
            ]
            answers = [scu.associate() for scu in scus]
        eventually(lambda: RawScu(two.port).associate()[0] == ACCEPTED)

    assert [kind for kind, _ in answers] == [ACCEPTED] * 3 + [REJECTED] * 2
    assert {body for kind, body in answers if kind == REJECTED} == {CONGESTION}


HOLD = """
import sys, time
from pathlib import Path
from gateway.intake.places import Places
places = Places(Path(sys.argv[1]), 4, 4)
assert all(places.take("ct") for _ in range(4))
print("full", flush=True)
time.sleep(60)
"""


def test_a_killed_receiver_gives_its_places_back(tmp_path):
    places = Places(tmp_path, 4, 4)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=root, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        while_it_lives = places.take("ct"), places.take("other")
        holder.kill()
        holder.wait()

    assert while_it_lives == (None, None)
    assert places.take("ct") is not None
