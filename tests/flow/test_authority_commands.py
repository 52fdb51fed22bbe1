import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from deploy.demo.commands import program
from gateway.link.credentials import require_chain
from protos.manifest import read_manifest

pytestmark = pytest.mark.flow
PASSPHRASES = {"anna": "correct horse battery", "bo": "a staple of another kind"}
DRAFT = """
[[signers]]
role = "requester"
name = "alice"
organisation = "uni"
public_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
expires = 2046-01-01
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A root held by two, and a coordinator that asked it for its intermediate."""
    home = tmp_path_factory.mktemp("office")
    for name, passphrase in PASSPHRASES.items():
        file = home / f"{name}.pass"
        file.touch(0o600)
        file.write_text(passphrase + "\n")
    radfed(home, "authority", "init", "root", "--federation", "lungs", *custodians(), *opened())
    radfed(
        *(home, "coordinator", "init", "hub", "--federation", "lungs"),
        *("--address", "127.0.0.1:9", "--root", "root/root.crt"),
    )
    return home


def custodians():
    return [word for name in PASSPHRASES for word in ("--custodian", name)]


def opened(names=PASSPHRASES):
    return [word for name in names for word in ("--passphrase-file", f"{name}={name}.pass")]


def radfed(home, *words, code=0):
    done = subprocess.run(
        [*program(), *words, "--json"],
        cwd=home,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def sign(home, file, out, *more, code=0):
    words = ("authority", "sign", "root", file, "--out", out, "--yes")
    return radfed(home, *words, *(more or opened()), code=code)


def test_an_offline_root_certifies_a_coordinator_that_never_sees_its_key(office):
    radfed(office, "coordinator", "preflight", "--config", "hub/coordinator.toml", code=4)

    sign(office, "hub/keys/issuing.csr", "issuing.crt")
    radfed(office, "coordinator", "install", "issuing.crt", "--config", "hub/coordinator.toml")

    ready = radfed(office, "coordinator", "preflight", "--config", "hub/coordinator.toml")
    assert ready["ready"]
    operator = x509.load_pem_x509_certificates(
        (office / "hub/operator/credential.crt").read_bytes()
    )
    root = x509.load_pem_x509_certificate((office / "root/root.crt").read_bytes())
    require_chain(operator, [root], datetime.now(UTC) + timedelta(days=1))
    assert not list((office / "hub").rglob("root.key*"))
    assert all(b"PRIVATE" not in file.read_bytes() for file in (office / "root").iterdir())


def test_one_custodian_alone_signs_nothing(office):
    (office / "wrong.pass").touch(0o600)
    (office / "wrong.pass").write_text("not bo's passphrase")
    (office / "alone.toml").write_text(DRAFT)
    alone = ("--passphrase-file", "anna=anna.pass")

    without = sign(office, "alone.toml", "alone.json", *alone, code=4)
    wrong = sign(
        office, "alone.toml", "alone.json", *alone, "--passphrase-file", "bo=wrong.pass", code=6
    )

    assert "bo's passphrase is needed" in without["error"]
    assert "bo's passphrase does not open" in wrong["error"]
    assert not (office / "alone.json").exists()


def test_a_manifest_counts_on_and_an_older_one_is_not_taken(office):
    (office / "manifest.toml").write_text(DRAFT)
    hub = ("--config", "hub/coordinator.toml")

    assert sign(office, "manifest.toml", "first.json")["version"] == 1
    assert sign(office, "manifest.toml", "second.json")["version"] == 2
    radfed(office, "coordinator", "install", "second.json", *hub)
    older = radfed(office, "coordinator", "install", "first.json", *hub, code=6)

    assert "version 1 is older than 2" in older["error"]
    root = x509.load_pem_x509_certificate((office / "root/root.crt").read_bytes())
    assert read_manifest((office / "second.json").read_bytes(), [root]).version == 2


def test_an_old_version_is_not_signed_again(office):
    (office / "old.toml").write_text("version = 1\n" + DRAFT)
    (office / "newer.toml").write_text(DRAFT)
    sign(office, "newer.toml", "newer.json")

    assert "was signed before" in sign(office, "old.toml", "old.json", code=4)["error"]


@pytest.mark.parametrize("file", ["root/root.crt", "root/custodian-bo.share", "absent.json"])
def test_what_the_root_did_not_sign_is_not_installed(office, file):
    for code in (4, 6):
        words = ("coordinator", "install", file, "--config", "hub/coordinator.toml", "--json")
        done = subprocess.run(
            [*program(), *words],
            cwd=office, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == code:
            return
    pytest.fail(f"exit code {done.returncode}")


def test_a_successor_is_named_by_the_old_root(office):
    made = radfed(
        *(office, "authority", "rotate", "root", "root-2", "--yes", *custodians(), *opened()),
        *(word.replace("--passphrase", "--new-passphrase") for word in opened()),
    )

    taken = radfed(
        office, "coordinator", "install", made["succession"], "--config", "hub/coordinator.toml"
    )

    assert taken["fingerprint"] == made["fingerprint"]
    roots = x509.load_pem_x509_certificates((office / "hub/keys/roots.crt").read_bytes())
    assert len(roots) == 2
