"""Commands typed by root leave nothing that the gateway's own account could not open."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

pytestmark = pytest.mark.flow

ROOT = Path(__file__).parents[2]
ACCOUNT = "nobody"
ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"),
    reason="only root can become another account",
)
# An interpreter may lie in root's private home: this shows it and the packages at places everybody
# can reach, in a mount namespace of the test's own.
STAGE = """
set -e
umask 022
mount --make-rprivate /
mount --bind "$BASE" "$STAGED/base"; mount --bind "$PACKAGES" "$STAGED/packages"
mount --bind "$REPOSITORY" "$STAGED/repository"
export PYTHONPATH="$STAGED/repository:$STAGED/packages"
cd "$STAGED"
exec $PREFIX "$STAGED/base/bin/$PYTHON" -m gateway "$@" --config "$STAGED/home/gateway.toml"
"""
CANNOT_CHANGE = "setpriv --inh-caps=-all --bounding-set=-setuid,-setgid"


class Machine:
    def __init__(self, staged: Path) -> None:
        self.home = staged / "home"
        self.staged = staged
        for name in ("base", "packages", "repository", "home"):
            (staged / name).mkdir()
        self(
            "init", "--site", "tongji", "--data", self.state, "--port", "0", "--console-port", "0",
            "--peer", "pacs=PACS@127.0.0.1:9", "--recovery-code-file", self.home / "code",
            "--reserve-bytes", "1000000",
        )  # fmt: skip

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def made(self) -> list[Path]:
        return list(self.state.rglob("*"))

    def __call__(self, *arguments, expect=0, prefix=""):
        told = {
            "BASE": sys.base_prefix,
            "PACKAGES": sysconfig.get_path("purelib"),
            "REPOSITORY": str(ROOT),
            "STAGED": str(self.staged),
            "PYTHON": f"python{sys.version_info.major}.{sys.version_info.minor}",
            "PREFIX": prefix,
        }
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", STAGE, "sh", *map(str, arguments)],
            env=os.environ | told,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == expect, done.stderr
        return done.stderr

    def give_to_account(self) -> None:
        who = pwd.getpwnam(ACCOUNT)
        for path in (self.state, *self.made):
            os.chown(path, who.pw_uid, who.pw_gid)
        settings = self.home / "gateway.toml"
        settings.write_text(f'run_as = "{ACCOUNT}"\n{settings.read_text()}')


@pytest.fixture
def machine():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Machine(Path(folder))


@pytest.fixture
def images(machine):
    folder = machine.staged / "images"
    folder.mkdir()
    shutil.copy(get_testdata_file("CT_small.dcm"), folder)
    return folder


@ROOT_ONLY
def test_what_root_types_is_done_by_the_account_of_the_settings(machine, images):
    machine.give_to_account()

    machine("import", images)
    machine("patient", "optout", "1CT1")
    machine("policy", "pin-vendor", "acme", "ab" * 32)
    machine("status")

    assert {path.owner() for path in machine.made} == {ACCOUNT}


@ROOT_ONLY
def test_a_folder_that_the_account_may_not_read_is_named(machine, images):
    machine.give_to_account()
    images.chmod(0o700)

    says = machine("import", images, expect=3)

    assert f"{images} is closed to {ACCOUNT}" in says


@ROOT_ONLY
def test_root_that_cannot_become_the_account_is_told_what_to_type(machine, images):
    machine.give_to_account()
    before = set(machine.made)

    says = machine("import", images, expect=3, prefix=CANNOT_CHANGE)

    assert f"run this as {ACCOUNT}: `sudo -u {ACCOUNT} radfed gateway ...`" in says
    assert set(machine.made) == before


@ROOT_ONLY
def test_commands_make_files_for_their_owner_alone(machine, images):
    machine("import", images)
    machine("ledger", "ls")
    machine("status")

    files = [path for path in machine.made if path.is_file() and path.suffix != ".crt"]
    assert {path.name for path in files} >= {"audit.db", "ledger.db", "index.db", "policy.toml"}
    assert {path: oct(path.stat().st_mode) for path in files if path.stat().st_mode & 0o077} == {}


@ROOT_ONLY
def test_the_settings_stay_readable_for_the_account_they_name(machine):
    mode = (machine.home / "gateway.toml").stat().st_mode

    assert stat.S_IMODE(mode) == 0o644
