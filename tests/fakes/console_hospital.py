"""A hospital as a steward meets it: a gateway that runs, a PACS that pushed, a vendor who asks."""

import asyncio
import subprocess
import threading
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from gateway.app.certificate import self_signed
from gateway.keys import write_private
from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.brightness import JOB_PY, JOB_TOML, SCHEMA, Signer
from tests.fakes.federation import a_federation
from tests.fakes.running_gateway import Gateway
from tests.fakes.study import ct_slices

NASTY = "<img src=x onerror=alert(1)>\u202eevil"
CODE = JOB_PY + "# </pre><script>alert(1)</script> \u202e\u2066 admin\n"


class ConsoleHospital:
    def __init__(self, gateway: Gateway, client: Client, signer: Signer, home: Path) -> None:
        self.gateway = gateway
        self._client = client
        self._signer = signer
        self._home = home

    @property
    def address(self) -> str:
        return self.gateway.json("status")["console"]

    def first_link(self) -> str:
        return Path(self.gateway.json("status")["console_link"]).read_text().strip()

    def push(self, *datasets) -> None:
        """Push as a PACS does, and wait until nothing of it is on its way."""
        folder = self._home / f"pushed-{time.monotonic_ns()}"
        folder.mkdir()
        for number, dataset in enumerate(datasets):
            dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        port = str(self.gateway.json("status")["port"])
        call = ["storescu", "-aet", "PACS", "-aec", "RADFED", "127.0.0.1", port, "+sd", str(folder)]
        subprocess.run(call, check=True, timeout=60)
        self.gateway.wait(self._settled, 60)

    def offer(self, code: str = CODE) -> str:
        """Submit a job as a vendor does, and wait until it is in the inbox."""
        folder = self._home / f"bundle-{time.monotonic_ns()}"
        folder.mkdir()
        purpose = 'purpose = "Find <b onclick=alert(1)>bright</b> squares."'
        told = JOB_TOML.replace('purpose = "Find bright squares in synthetic slices."', purpose)
        (folder / "job.toml").write_text(told)
        (folder / "job.py").write_text(code)
        raw = bundle.pack(folder)
        weights = tensors.encode({"w": np.zeros(2)}, SCHEMA)
        for content in (raw, weights):
            self._client.upload(content)
        job_id = self._client.submit(
            SubmitJobRequest(
                bundle_digest=bundle.digest(raw),
                vendor_key=self._signer.public,
                vendor_signature=bundle.sign(raw, self._signer.key),
                initial_weights_digest=sha256(weights).digest(),
            )
        )
        self.gateway.wait(lambda: self._stages().get(job_id) == "waiting", 30)
        return job_id

    def stage(self, job_id: str) -> str:
        return self._stages()[job_id]

    def decided_by(self, name: str, job_id: str) -> str:
        """Return whose decision is on the trail: the job itself may be over by now."""
        events = [e for e in self.gateway.json("audit", "ls") if e["event"] == name]
        (by,) = [event["facts"]["by"] for event in events if event["facts"]["job"] == job_id]
        return by

    def _stages(self) -> dict[str, str]:
        return {job["job_id"]: job["stage"] for job in self.gateway.json("approvals", "ls")}

    def _settled(self) -> bool:
        status = self.gateway.json("status")
        return status["arrivals"] == 0 and status["vault"]["incoming"] == 0


def surplus():
    """Return an instance that waits for a person: more follows its picture than it accounts for."""
    (dataset,) = ct_slices(1, study="1.2.840.62.1", series="1.2.840.62.2")
    dataset.PixelData += b"\1\2" * 32
    return dataset


def hostile_slices():
    slices = ct_slices(4)
    for dataset in slices:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.Manufacturer = dataset.ManufacturerModelName = NASTY
        dataset.PatientName = NASTY
    return slices


@contextmanager
def a_hospital(home: Path):
    """Run a coordinator in a thread of its own and an enrolled gateway over TLS beside it."""
    signer = Signer(Ed25519PrivateKey.generate())
    (home / "gateway").mkdir()
    gateway = Gateway(home / "gateway")
    _settle_settings(gateway, signer)
    ready, over = threading.Event(), threading.Event()
    told: dict[str, object] = {}

    async def federation() -> None:
        async with a_federation(home / "hub") as running:
            told["credential"] = running.credential
            told["token"] = await running.invited("tongji")
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(federation()), daemon=True)
    before = structlog.get_config()
    # The coordinator logs in this process, where the commands' answers are read.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    thread.start()
    try:
        assert ready.wait(30)
        gateway("enrol", told["token"])
        with gateway.running(), Client(told["credential"]) as client:
            gateway.wait(lambda: gateway.json("status")["link"]["state"] == "connected", 30)
            yield ConsoleHospital(gateway, client, signer, home)
    finally:
        over.set()
        thread.join(20)
        structlog.configure(**before)


def _settle_settings(gateway: Gateway, signer: Signer) -> None:
    certificate, key = self_signed("tongji", "127.0.0.1")
    (gateway.home / "console.crt").write_bytes(certificate)
    write_private(gateway.home / "console.key", key)
    text = gateway.settings.read_text()
    console = text.index("[console]")
    tls = 'certificate = "console.crt"\nprivate_key = "console.key"\nhost = '
    told = text[console:].replace("host = ", tls, 1)
    gateway.settings.write_text(text[:console] + told)
    policy = gateway.state / "policy.toml"
    unsigned = policy.read_text().replace("signed_questions = true ", "signed_questions = false ")
    policy.write_text(unsigned.replace("reviewers = 2 ", "reviewers = 0 "))
    gateway("policy", "pin-vendor", "acme", signer.public.hex())
