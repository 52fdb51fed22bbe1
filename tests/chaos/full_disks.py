"""Small file systems under the store, the vault and the whole data directory of a real gateway."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.app.intake_worker import COUNTERS_EVERY_SECONDS
from tests.chaos.images import CT, DEFLATED, RISKY, write
from tests.chaos.running import Gateway
from tests.chaos.senders import StoreScu
from tests.fakes.receiver import eventually

RESERVE = 1_000_000  # what Gateway is initialised with
BLOCK = 4096
ROUNDS = {"store": ("", CT), "vault": ("-xd", DEFLATED), "": ("", CT)}


def can_mount() -> bool:
    """Say whether this account may mount a small file system here."""
    if os.geteuid() != 0:
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(place: Path, megabytes: int, inodes: int = 0) -> Iterator[Path]:
    """Put a file system of that size under a directory, with what the directory held.

    `inodes`: how many files and directories it has room for; 0: as many as there is memory for.
    """
    kept = place.with_name(place.name + ".kept")
    place.rename(kept) if place.exists() else kept.mkdir(parents=True)
    place.mkdir(mode=0o700)
    subprocess.run(
        [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={megabytes}m,nr_inodes={inodes},mode=0700",
            "none",
            place,
        ],
        check=True,
    )
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take all room but so many bytes; the returned file gives it back."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return ballast


def full_disk(directory: Path, place: str, leave: int) -> dict[str, object]:
    """Fill one disk while the gateway runs; then make room, and go on without a restart."""
    options, kind = ROUNDS[place]
    gateway = Gateway(directory / "house")
    sent = directory / "sent"
    sent.mkdir()
    files = [write(sent, kind, number) for number in range(1, 41)]
    flags = options.split()
    with small_disk(gateway.data / place, 12):
        try:
            gateway.start()
            first = StoreScu(gateway.port, files[:3], *flags).wait()
            gateway.wait_until_settled()
            ballast = fill(gateway.data / place, leave)
            sender = StoreScu(gateway.port, files[3:10], *flags)
            refused = sender.wait()
            said = gateway.said()
            ballast.unlink()
            again = StoreScu(gateway.port, files, *flags).wait()
            gateway.wait_until_settled()
            gateway.stop()
            held = gateway.holdings()
            held.require_each_once()
        finally:
            gateway.destroy()
    assert set(first.values()) == {"Success"}
    assert set(again.values()) == {"Success"}, "it did not recover without a restart"
    assert len(again) == len(files)
    assert len(held.uids) == len(files)
    assert "Traceback" not in said
    return {"answers": sorted(set(refused.values())), "rejected": sender.was_rejected}


def full_of_names(directory: Path, place: str) -> dict[str, object]:
    """Leave bytes enough and no name for one more file; then names, and go on without a restart."""
    options, kind = ROUNDS[place]
    gateway = Gateway(directory / "house")
    sent = directory / "sent"
    sent.mkdir()
    files = [write(sent, kind, number, study=number) for number in range(1, 31)]
    flags = options.split()
    with small_disk(gateway.data / place, 64, inodes=2000):
        try:
            gateway.start()
            first = StoreScu(gateway.port, files[:3], *flags).wait()
            gateway.wait_until_settled()
            ballast = fill_with_names(gateway.data / place, leave=6)
            refused = StoreScu(gateway.port, files[3:20], *flags).wait()
            time.sleep(COUNTERS_EVERY_SECONDS + 0.5)
            said = gateway.said()
            for path in ballast.iterdir():
                path.unlink()
            again = StoreScu(gateway.port, files, *flags).wait()
            gateway.wait_until_settled()
            gateway.stop()
            held = gateway.holdings()
            held.require_each_once()
        finally:
            gateway.destroy()
    assert set(first.values()) == {"Success"}
    assert set(again.values()) == {"Success"}, "it did not recover without a restart"
    assert len(again) == len(held.uids) == len(files)
    assert "Traceback" not in said
    return {"answers": sorted(set(refused.values()))}


def fill_with_names(disk: Path, leave: int) -> Path:
    ballast = disk / "ballast"
    ballast.mkdir()
    for number in range(os.statvfs(disk).f_favail - leave):
        (ballast / str(number)).touch()
    return ballast


def full_index(directory: Path) -> dict[str, object]:
    """Leave receivers their room and the index none: what is acknowledged waits in arrivals."""
    gateway = Gateway(directory / "house")
    sent = directory / "sent"
    sent.mkdir()
    files = [write(sent, CT if n % 5 else RISKY, n, study=n) for n in range(1, 41)]
    with small_disk(gateway.data, 8), small_disk(gateway.data / "store", 12):
        try:
            gateway.start()
            StoreScu(gateway.port, files[:3]).wait()
            gateway.wait_until_settled()
            ballast = fill(gateway.data, 0)
            answers = StoreScu(gateway.port, files[3:]).wait()
            eventually(lambda: "line_pass_failed" in gateway.said(), 15)
            time.sleep(COUNTERS_EVERY_SECONDS + 0.5)  # the counters find no room either
            waiting = len(list((gateway.data / "store" / "arrivals").iterdir()))
            ballast.unlink()
            gateway.wait_until_settled()
            StoreScu(gateway.port, files).wait()
            gateway.wait_until_settled()
            eventually(lambda: counted(gateway) >= len(answers) + len(files), 10)
            gateway.stop()
            held = gateway.holdings()
            held.require_each_once()
            said = gateway.said()
        finally:
            gateway.destroy()
    assert len(held.uids) == len(files)
    assert waiting > 0
    assert "Traceback" not in said, "a full disk is a sentence, not a traceback"
    return {"answers": sorted(set(answers.values())), "waited_in_arrivals": waiting}


def counted(gateway: Gateway) -> int:
    """How many instances the receivers say they have answered for since they began."""
    return sum(n for event, n in gateway.counters().items() if event.startswith("instance_"))
