"""`radfed job code|review|sign`: what a reviewer reads, and the signature hospitals ask for."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli.report import As, AsJson, credential_dir, door, report
from coordinator.errors import EnvironmentFault, IntegrityFault, Refused

if TYPE_CHECKING:
    from protos.job_manifest import JobManifest
    from protos.v1.job_pb2 import JobOffer

JobId = Annotated[str, typer.Argument(help="The job, as `radfed job ls` names it.")]


def add_to(app: typer.Typer) -> None:
    for command in (code, review, sign):
        app.command(command.__name__)(door(command))


def code(
    job_id: JobId,
    out: Annotated[Path, typer.Option("--out", "-o", help="The directory to make.")],
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a job's bundle, check it against its digest, and unpack it for reading.

    Example: radfed job code JOB --out to-review
    """
    from coordinator.api.client import Credential, Federation
    from protos.bundle import unpack
    from protos.job_manifest import BundleFault

    if out.exists():
        raise EnvironmentFault(f"{out} exists already: name another directory with --out")
    with Federation(Credential.load(credential_dir(as_))) as federation:
        offer = federation.job(job_id).offer
        raw = federation.bundle(job_id, offer.bundle_digest)
    try:
        manifest = unpack(raw, out)
    except BundleFault as fault:
        raise IntegrityFault(f"this bundle is not sound: {fault}") from fault
    report(_facts(offer, manifest) | {"directory": str(out)}, as_json=as_json)


def review(
    job_id: JobId,
    key: Annotated[Path, typer.Option(help="The reviewer's private key.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Approve a job as a reviewer: sign this bundle under these terms.

    Example: radfed job review JOB --key reviewer.key
    """
    from coordinator.api.client import Credential, Federation
    from coordinator.cli.keys import signer
    from protos.bundle import ForgedBundle, manifest_of, verify
    from protos.job_manifest import BundleFault
    from protos.signatures import sign_review

    private = signer(key, "reviewer")
    credential = Credential.load(credential_dir(as_))
    with Federation(credential) as federation:
        offer = federation.job(job_id).offer
        raw = federation.bundle(job_id, offer.bundle_digest)
        try:
            verify(offer.bundle_digest, offer.vendor_key, offer.vendor_signature)
            manifest = manifest_of(raw)
        except ForgedBundle as fault:
            raise Refused(f"{fault}: sign nothing") from fault
        except BundleFault as fault:
            raise IntegrityFault(f"this bundle is not sound: {fault}: sign nothing") from fault
        facts = _facts(offer, manifest)
        if not yes:
            for name, value in facts.items():
                typer.echo(f"{name.replace('_', ' '):<15} {value}", err=True)
            typer.confirm("Sign this?", abort=True, err=True)
        taken = federation.review(job_id, sign_review(offer, credential.federation, private))
    counted = {"reviews": taken.reviews, "needed": taken.needed}
    report({"job_id": job_id, "sha256": facts["sha256"], **counted}, as_json=as_json)


def sign(
    file: Annotated[Path, typer.Argument(help="The review as the console's page gave it.")],
    key: Annotated[Path, typer.Option(help="The reviewer's private key.")],
    bundle: Annotated[
        str, typer.Option(help="SHA-256 of the bundle you read; another one is refused.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Where to write it; else beside FILE, as .signed.json.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sign a review that the federation's page prepared; no coordinator is asked.

    The key is used on this machine alone; the page takes the signed file.

    Example: radfed job sign review.json --key reviewer.key
    """
    from coordinator.cli.keys import signer
    from coordinator.jobs.slip import ReviewSlip

    private = signer(key, "reviewer")
    slip = ReviewSlip.read(file.read_text("utf-8", "replace"))
    facts = _covered(slip.offer)
    if bundle and bundle.lower() != facts["sha256"]:
        raise IntegrityFault("this review is of another bundle than you read: sign nothing")
    if not yes:
        for name, value in facts.items():
            typer.echo(f"{name.replace('_', ' '):<15} {value}", err=True)
        typer.confirm("Sign this?", abort=True, err=True)
    into = out or file.with_suffix(".signed.json")
    into.write_text(slip.signed(private).text(), "utf-8")
    report(facts | {"signed_file": str(into)}, as_json=as_json)


def _facts(offer: "JobOffer", manifest: "JobManifest") -> dict[str, object]:
    """Say what a signature would cover, as it was received and not as anybody describes it."""
    return {"name": manifest.name, "purpose": manifest.purpose} | _covered(offer)


def _covered(offer: "JobOffer") -> dict[str, object]:
    """Say what is in the signed statement itself."""
    terms = offer.terms
    return {
        "job": offer.job_id,
        "project": terms.project,
        "sha256": offer.bundle_digest.hex(),
        "rounds": terms.rounds,
        "weights_sha256": terms.weights_digest.hex(),
        "sites": list(terms.sites),
        "until": datetime.fromtimestamp(terms.expires_at.ToSeconds(), UTC).isoformat(),
    }
