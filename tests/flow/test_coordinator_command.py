"""The coordinator's commands as an operator types them: a start that fails can be made again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.flow

ROOT = Path(__file__).parents[2]


def coordinator(*arguments, expect=0):
    done = subprocess.run(
        [sys.executable, "-m", "coordinator", *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == expect, done.stderr
    return done


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("room", [0, 2])
def test_an_init_that_a_full_disk_cut_short_is_simply_run_again(tmp_path, room):
    disk = tmp_path / "disk"
    disk.mkdir()
    init = ("init", disk / "fed", "--federation", "lungs", "--address", "127.0.0.1:8443")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk], check=True)
    try:
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(256 << 10))
        os.truncate(filler, filler.stat().st_size - (room << 12))

        failed = coordinator(*init, expect=3)
        filler.unlink()
        coordinator(*init)

        assert "free space and run this again" in failed.stderr or room == 0
        assert (disk / "fed" / "coordinator.toml").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_key_that_is_a_directory_is_named(tmp_path):
    bundle = ROOT / "deploy" / "demo" / "job" / "training"

    refused = coordinator("job", "submit", bundle, "--key", tmp_path, expect=4)

    assert f"{tmp_path} is a directory" in refused.stderr
