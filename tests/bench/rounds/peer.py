"""Rounds of Flower's deployment engine: a SuperLink and three SuperNodes, with TLS between them.

Flower is not among our packages: `RADFED_FLOWER` names a virtual environment that has it.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL, SIGTERM

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.bench.processes import NotMeasured, answers, free_port, wait_for
from tests.bench.rounds.weighing import Weighing

APP = Path(__file__).parent / "flower"
NODES, RUN_SECONDS = 3, 1800.0
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def programs() -> Path:
    """Return where Flower's programs lie; NotMeasured where they do not."""
    place = os.environ.get("RADFED_FLOWER", "")
    found = Path(place, "bin") if place else Path()
    if not (found / "flower-superlink").exists():
        raise NotMeasured(
            "Flower is not here: `python -m venv DIR && DIR/bin/pip install flwr`, and "
            "RADFED_FLOWER=DIR"
        )
    return found


def measure(home: Path, values: int, rounds: int) -> tuple[list[float], float]:
    """Return how long each round but the first took, and the SuperLink's peak in MB."""
    at, port, told = programs(), free_port(), home / "told"
    home.mkdir()
    _certify(home)
    tls = ("--ssl-certfile", "server.crt", "--ssl-keyfile", "server.key")
    here = ("--host", "127.0.0.1", "--ssl-ca-certfile", "ca.crt", *tls)
    link = _started(
        at, home, "superlink", *here, "--port", str(port),
        "--disable-runtime-dependency-installation",
    )  # fmt: skip
    with _ending(started := [link], home):
        wait_for(lambda: answers(port), 60, "the SuperLink listens")
        weighing = Weighing(link.pid)
        for _ in range(NODES):
            theirs = ("--superlink", f"127.0.0.1:{port}", "--root-certificates", "ca.crt")
            started.append(
                _started(at, home, "supernode", *here, *theirs, "--port", str(free_port()))
            )
        _run(at, home, port, values, rounds, told)
        wait_for(lambda: len(_moments(told)) == rounds, RUN_SECONDS, "Flower's rounds")
        peak = weighing.stop()
    return [after - before for before, after in pairwise(_moments(told))], peak


def _run(at: Path, home: Path, port: int, values: int, rounds: int, told: Path) -> None:
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "127.0.0.1:{port}"\n'
        f'root-certificates = "{home / "ca.crt"}"\n',
        "utf-8",
    )
    config = f'values={values} rounds={rounds} told="{told}"'
    done = subprocess.run(
        [str(at / "flwr"), "run", str(APP), "--run-config", config],
        env=_environment(at, home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise NotMeasured(f"`flwr run` ended with {done.returncode}: {done.stderr[-300:]}")


def _started(at: Path, home: Path, what: str, *words: str) -> "subprocess.Popen[bytes]":
    with (home / f"{what}.log").open("ab") as log:
        return subprocess.Popen(
            [str(at / f"flower-{what}"), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=_environment(at, home),
        )


def _environment(at: Path, home: Path) -> dict[str, str]:
    found = os.environ | QUIET | {"PATH": f"{at}:{os.environ['PATH']}", "FLWR_HOME": str(home)}
    found.pop("PYTHONPATH", None)
    return found


@contextmanager
def _ending(started: "Sequence[subprocess.Popen[bytes]]", home: Path) -> Iterator[None]:
    """Stop whatever was started, and whatever that started and left to itself."""
    try:
        yield
    finally:
        for number, seconds in ((SIGTERM, 10.0), (SIGKILL, 5.0)):
            for pid in _of(home):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            ends = time.monotonic() + seconds
            for each in started:
                with suppress(subprocess.TimeoutExpired):
                    each.wait(max(0.1, ends - time.monotonic()))


def _of(home: Path) -> list[int]:
    """Return the processes of this run: Flower's own have its home in their environment."""
    mark, found = f"FLWR_HOME={home}".encode(), []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
    return found


def _moments(told: Path) -> list[float]:
    with suppress(FileNotFoundError):
        return [float(line) for line in told.read_text("ascii").splitlines()]
    return []


def _certify(home: Path) -> None:
    """Write an authority and a certificate for 127.0.0.1, as Flower wants them."""
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    plain = (PrivateFormat.PKCS8, NoEncryption())
    files = {
        "ca.crt": _certificate("ca", authority.public_key(), authority).public_bytes(Encoding.PEM),
        "server.crt": _certificate("server", server.public_key(), authority).public_bytes(
            Encoding.PEM
        ),
        "server.key": server.private_bytes(Encoding.PEM, *plain),
    }
    for name, content in files.items():
        (home / name).write_bytes(content)


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, "ca")
    ]
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    return (
        x509.CertificateBuilder(issuer_name=names[1], subject_name=names[0], public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        .add_extension(here, critical=False)
        .sign(signer, hashes.SHA256())
    )
