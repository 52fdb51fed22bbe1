"""`radfed job report|verify`: a test's report with its page, and whether one is to be believed."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.cli.report import As, AsJson, credential_dir, door, report
from coordinator.errors import InvalidRequest

JobId = Annotated[str, typer.Argument(help="The job, as `radfed job ls` names it.")]
REPORT, SIGNATURE, PAGE, SCHEMA = (
    "report.json", "report.sig.json", "report.html", "report.schema.json"
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("report")(door(fetch))
    app.command("verify")(door(verify))


def fetch(
    job_id: JobId,
    out: Annotated[Path, typer.Option("--out", "-o", help="The directory to write into.")],
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a test's signed report, check it, and draw its page.

    Example: radfed job report JOB --out report
    """
    import json

    from coordinator.api.client import Credential, Federation
    from coordinator.evaluation.checking import Signature, check
    from coordinator.evaluation.document import Report
    from coordinator.evaluation.page import draw
    from coordinator.evaluation.page_paired import rows
    from coordinator.evaluation.page_places import primary
    from protos.evaluation import Endpoint

    with Federation(Credential.load(credential_dir(as_))) as federation:
        raw, key, signed = federation.report(job_id)
    signature = Signature.model_construct(public_key=key.hex(), signature=signed.hex())
    sealed = signature.model_dump_json(indent=1).encode()
    found = check(raw, sealed, {})
    out.mkdir(parents=True, exist_ok=True)
    digest = sha256(raw).hexdigest()
    schema = json.dumps(Report.model_json_schema(), indent=1).encode()
    page = draw(found, digest).encode()
    for name, content in ((REPORT, raw), (SIGNATURE, sealed), (SCHEMA, schema), (PAGE, page)):
        (out / name).write_bytes(content)
    auc = found.pooled.auc if found.pooled else None
    facts = {
        "directory": str(out),
        "sha256": digest,
        "hospitals": f"{found.flow.hospitals_reporting} of {found.flow.hospitals_asked}",
        "patients": found.flow.patients_scored,
        "auc": f"{auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})" if auc else "none",
    }
    endpoint = found.evidence.protocol.endpoint
    if endpoint in (Endpoint.FROC, Endpoint.DICE):
        facts[str(endpoint)] = primary(found)
        del facts["auc"]
    if found.comparison is not None:
        facts["compared_with"] = found.comparison.other_bundle
        facts["compared"] = dict(rows(found.comparison))
    report(facts, as_json=as_json)


def verify(
    file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json, or a model's .card.json.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(help="NAME=HEX: a key you know of `coordinator` or a hospital. Repeatable."),
    ] = None,
    updates: Annotated[
        Path | None,
        typer.Option(help="Of a card: a directory with the updates, each named by its SHA-256."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a report or a model's card: signatures, and all that can be worked out again; exit 9.

    A report's figures are made again of the hospitals' statistics; of a card, the chain of rounds
    is followed, and each round's weights are made again where its updates are at hand.

    Example: radfed job verify report/report.json
    """
    from coordinator.cli.cards import verify_card
    from coordinator.evaluation.checking import Signature, check
    from coordinator.training.card_checking import is_card

    pinned, raw = _pinned(key or ()), file.read_bytes()
    if is_card(raw):
        _say(verify_card(file, pinned, updates), as_json=as_json)
        return
    sealed = file.with_name(SIGNATURE).read_bytes()
    found = check(raw, sealed, pinned)
    keys = {part.site: part.public_key for part in found.evidence.sites if part.statistics}
    keys["coordinator"] = Signature.model_validate_json(sealed).public_key
    summed = found.evidence.sum
    pooled_by = f"secure sum of {len(summed.masked)} hospitals" if summed else "hospitals' counts"
    facts = {
        "report": str(file),
        "sha256": sha256(raw).hexdigest(),
        "holds": True,
        "pooled_by": pooled_by,
        "signed_by": keys,
        "keys_compared": sorted(keys.keys() & pinned.keys()),
    }
    _say(facts, as_json=as_json)


def _say(facts: "dict[str, Any]", *, as_json: bool) -> None:
    report(facts, as_json=as_json)
    if not as_json and set(facts["signed_by"]) - set(facts["keys_compared"]):
        typer.echo(
            "radfed: ask each signer for its key by another way, and name it with --key", err=True
        )


def _pinned(keys: "list[str] | tuple[()]") -> dict[str, str]:
    pinned = {}
    for each in keys:
        name, separator, value = each.partition("=")
        if not separator:
            raise InvalidRequest(f"{each!r} is no NAME=HEX: say --key tongji=6f0c...")
        pinned[name] = value.strip().lower()
    return pinned
