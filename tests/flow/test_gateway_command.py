"""The gateway as a user runs it: init, preflight, run, and every kind of bad start."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

pytestmark = pytest.mark.flow

RESERVE = "1000000"


def gateway(*arguments, cwd, expect=0):
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == expect, done.stderr
    return done


def sentence(done):
    """The one line a user is told."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("radfed: ")]
    return line


@pytest.fixture
def house(tmp_path):
    gateway(
        "init", "--site", "tongji", "--data", "state", "--port", "0", "--console-port", "0",
        "--peer", "pacs=PACS@127.0.0.1:9", "--recovery-code-file", "code",
        "--reserve-bytes", RESERVE, cwd=tmp_path,
    )  # fmt: skip
    return tmp_path


def test_init_writes_commented_settings_and_keys_for_its_owner_alone(house):
    settings = (house / "gateway.toml").read_text()
    private = [*(house / "state/keys").iterdir(), house / "code"]

    assert "# Who may call." in settings
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in private)


def test_init_closes_a_data_directory_that_was_open_to_everybody(tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    gateway(
        "init", "--site", "tongji", "--data", "state", "--peer", "pacs=PACS@127.0.0.1:9",
        "--recovery-code-file", "code", cwd=tmp_path,
    )  # fmt: skip

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_init_twice_changes_nothing(house):
    before = {p: p.read_bytes() for p in house.rglob("*") if p.is_file()}

    done = gateway("init", "--site", "x", "--data", "state", cwd=house, expect=4)

    assert "exists already" in sentence(done)
    assert {p: p.read_bytes() for p in house.rglob("*") if p.is_file()} == before


def test_init_without_a_terminal_says_which_option_is_needed(tmp_path):
    done = gateway("init", "--data", "state", cwd=tmp_path, expect=2)

    assert "--site" in done.stderr


def test_a_new_gateway_passes_its_preflight(house):
    found = json.loads(gateway("preflight", "--json", cwd=house).stdout)

    assert all(row["ok"] for row in found)
    assert {"site secret", "policy", "profile", "sandbox", "dicom port"} <= {
        r["check"] for r in found
    }


def test_an_unknown_key_is_named_with_exit_code_4(house):
    with (house / "gateway.toml").open("a") as file:
        file.write("\n[jobs]\nwall_secnods = 1\n")

    for command in ("run", "status", "preflight"):
        assert "jobs.wall_secnods" in sentence(gateway(command, cwd=house, expect=4))


def test_a_key_others_can_read_is_refused_with_the_cure(house):
    secret = house / "state/keys/site.secret"
    secret.chmod(0o644)

    assert f"chmod 600 {secret}" in sentence(gateway("run", cwd=house, expect=4))
    assert "chmod 600" in sentence(gateway("preflight", cwd=house, expect=4))


def test_a_port_in_use_is_named_with_exit_code_3(house):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        settings = house / "gateway.toml"
        settings.write_text(settings.read_text().replace("port = 0", f"port = {port}", 1))

        assert f"port {port} is in use" in sentence(gateway("run", cwd=house, expect=3))
        assert f"port {port} is in use" in sentence(gateway("preflight", cwd=house, expect=3))


def test_a_missing_file_of_settings_says_how_to_make_one(tmp_path):
    done = gateway("status", cwd=tmp_path, expect=4)

    assert "radfed gateway init" in sentence(done)


def test_a_policy_that_cannot_be_is_refused_before_anything_starts(house):
    (house / "state/policy.toml").write_text("[questions]\nsigma = -1\n")

    assert "questions.sigma" in sentence(gateway("run", cwd=house, expect=4))


def test_a_lost_escrow_stops_the_gateway_until_it_is_verified_again(house):
    (house / "state/keys/site.escrow.verified").unlink()

    assert "escrow verify" in sentence(gateway("run", cwd=house, expect=4))
    gateway("escrow", "verify", "--recovery-code-file", "code", cwd=house)
    gateway("preflight", cwd=house)


@pytest.mark.parametrize("code", [b"AAAA-BBBB", b"\xff\xfe\x00", "内".encode()])
def test_a_wrong_recovery_code_is_an_integrity_fault(house, code):
    (house / "wrong").write_bytes(code)

    gateway("escrow", "verify", "--recovery-code-file", "wrong", cwd=house, expect=9)


def test_nobody_is_asked_where_nobody_can_answer(house):
    asked = gateway("quarantine", "drop", "x", cwd=house, expect=2)
    assert "--yes" in asked.stderr

    asked = gateway("escrow", "verify", cwd=house, expect=2)
    assert "--recovery-code-file" in asked.stderr


def test_names_that_are_not_there_are_exit_code_4(house):
    assert "approvals ls" in sentence(gateway("approvals", "show", "x", cwd=house, expect=4))
    assert "quarantine ls" in sentence(gateway("quarantine", "show", "x", cwd=house, expect=4))
    assert "no entry 9" in sentence(gateway("ledger", "show", "9", cwd=house, expect=4))
    assert "check the path" in sentence(gateway("deid", "explain", "x", cwd=house, expect=3))


def test_a_key_that_is_a_directory_is_named(house):
    secret = house / "state/keys/site.secret"
    secret.unlink()
    secret.mkdir()

    assert f"{secret} is a directory" in sentence(gateway("preflight", cwd=house, expect=4))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_at_the_start_is_one_sentence_and_loses_nothing(house):
    state = house / "state"
    kept = house / "kept"
    state.rename(kept)
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", state], check=True)
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", state], check=True)
        filler = state / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * (2 << 20))

        assert "No space left" in sentence(gateway("run", cwd=house, expect=3))

        filler.unlink()
        assert (state / "keys/site.secret").read_bytes() == (kept / "keys/site.secret").read_bytes()
    finally:
        subprocess.run(["umount", state], check=True)


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    done = gateway("init", "--site", "a", "--data", "file/state", cwd=tmp_path, expect=3)

    assert "file/state" in sentence(done)


def test_a_damaged_token_is_refused_without_a_key_being_made(house):
    done = gateway("enrol", "radfed1.AAAA", cwd=house, expect=4)

    assert "copy it once more" in sentence(done)
    assert not (house / "state/keys/gateway.key").exists()


def test_an_unreachable_peer_is_exit_code_5_and_an_unknown_one_4(house):
    assert "pacs" in sentence(gateway("echo", "pacs", "--timeout", "2", cwd=house, expect=5))
    assert "settings name: pacs" in sentence(gateway("echo", "nobody", cwd=house, expect=4))


def test_an_error_is_one_json_document_where_json_is_asked_for(house):
    done = gateway("echo", "nobody", "--json", cwd=house, expect=4)

    assert json.loads(done.stdout)["exit_code"] == 4


def test_it_runs_once_stops_on_sigterm_and_takes_up_where_it_left_off(house):
    for _start in range(2):
        running = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--json"],
            cwd=house,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            status = wait_until_running(house)
            second = gateway("run", cwd=house, expect=3)
            files = json.loads(
                gateway("import", examples(house), "--json", cwd=house, expect=8).stdout
            )
        finally:
            running.send_signal(signal.SIGTERM)
            said, log = running.communicate(timeout=60)
        assert running.returncode == 0, log
        assert str(running.pid) in sentence(second)
        assert json.loads(said)["port"] == status["port"]
        assert status["site"] == "tongji"
        assert "Traceback" not in log

    assert files["stored"] == 0
    assert files["duplicate"] == 1
    after = json.loads(gateway("status", "--json", cwd=house).stdout)
    assert after["running"] is False
    assert after["stored"]["instances"] == 1
    events = json.loads(gateway("audit", "ls", "--json", cwd=house).stdout)
    drawn = gateway("audit", "ls", cwd=house).stdout.splitlines()
    assert len(drawn) == 1 + len(events)  # into a pipe a row is a line, however narrow the terminal


def wait_until_running(house):
    for _ in range(100):
        status = json.loads(gateway("status", "--json", cwd=house).stdout)
        if status["port"]:
            return status
        time.sleep(0.2)
    raise AssertionError("the gateway did not start")


def examples(house):
    """A directory with one CT and one file that is no DICOM."""
    folder = house / "examples"
    folder.mkdir(exist_ok=True)
    (folder / "ct.dcm").write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    (folder / "note.txt").write_text("no DICOM")
    return folder
