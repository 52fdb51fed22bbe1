"""`radfed job`: bundles, what hospitals decided, rounds, the model."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli.report import (
    As,
    AsJson,
    credential_dir,
    door,
    listing,
    moment,
    plain,
    print_json,
    report,
    table,
)
from coordinator.errors import ExitCode, InvalidRequest

if TYPE_CHECKING:
    from protos.v1.federation_pb2 import GetJobResponse, Job

JobId = Annotated[str, typer.Argument(help="The job, as `radfed job ls` names it.")]
WATCH_SECONDS = 1.0
OVER = frozenset({"finished", "failed", "stopped"})


def add_to(app: typer.Typer) -> None:
    for command in (submit, ls, show, watch, stop, result):
        app.command(command.__name__)(door(command))


def submit(
    directory: Annotated[Path, typer.Argument(help="A directory with job.toml and job.py.")],
    key: Annotated[Path, typer.Option(help="The vendor's private key.")],
    site: Annotated[
        list[str] | None, typer.Option("--site", help="Offer to this hospital only; repeatable.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A safetensors file to start from.")] = None,
    project: Annotated[str, typer.Option(help="On whose behalf it runs.")] = "",
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Pack, sign and upload a bundle; hospitals see it when reviewers have signed it too.

    Cut short? Submit again: it goes on at the byte where it ended.

    Example: radfed job submit my-detector --key vendor.key --project lung-nodules
    """
    from coordinator.api.client import Credential, Federation
    from coordinator.cli.keys import signer
    from protos.bundle import sign
    from protos.v1.federation_pb2 import SubmitJobRequest

    private = signer(key, "vendor")
    raw, digest = _packed(directory)
    model = weights.read_bytes() if weights is not None else b""
    told = _Upload()
    with Federation(Credential.load(credential_dir(as_))) as federation:
        federation.upload(raw, told.of("bundle"))
        model_digest = federation.upload(model, told.of("weights")) if model else b""
        job_id = federation.submit(
            SubmitJobRequest(
                bundle_digest=digest,
                vendor_key=private.public_key().public_bytes_raw(),
                vendor_signature=sign(raw, private),
                sites=[name for each in site or () for name in each.split(",") if name],
                initial_weights_digest=model_digest,
                project=project,
            )
        )
    facts = {"job_id": job_id, "sha256": digest.hex(), "bytes": len(raw)}
    report(facts | told.resumed(), as_json=as_json)


def ls(as_: As = None, as_json: AsJson = False) -> None:
    """List jobs, the newest first.

    Example: radfed job ls --json
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        rows = [_line(job) for job in federation.jobs()]
    columns = ("job_id", "name", "kind", "stage", "round", "rounds_planned", "submitted_at")
    listing(rows, columns, as_json=as_json, empty="no job was submitted yet")


def show(job_id: JobId, as_: As = None, as_json: AsJson = False) -> None:
    """Show a job: each hospital's decision, each round, the pooled figures.

    Example: radfed job show JOB
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        document = _document(federation.job(job_id))
    if as_json:
        print_json(document)
    else:
        _draw(document)


def watch(job_id: JobId, as_: As = None, as_json: AsJson = False) -> None:
    """Follow a job at each hospital until it is over, then show it; exit 6 where none trusted it.

    Example: radfed job watch JOB
    """
    import sys
    import time

    from coordinator.api.client import Credential, Federation
    from coordinator.cli.watching import screen

    live = sys.stderr.isatty() and not as_json
    with (
        Federation(Credential.load(credential_dir(as_))) as federation,
        screen(live=live) as tell,
    ):
        while True:
            document = _document(federation.job(job_id))
            tell(document)
            if document["stage"] in OVER:
                break
            time.sleep(WATCH_SECONDS)
    if as_json:
        print_json(document)
    else:
        _draw(document)
    if is_distrusted(document["sites"]):
        raise typer.Exit(int(ExitCode.REFUSED_IDENTITY))


def is_distrusted(sites: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether every hospital refused because a signature does not count."""
    from protos.signatures import Distrust

    return bool(sites) and all(part["rule"] in set(Distrust) for part in sites)


def stop(job_id: JobId, as_: As = None, as_json: AsJson = False) -> None:
    """Stop a job at every hospital.

    Example: radfed job stop JOB
    """
    from coordinator.api.client import Credential, Federation

    with Federation(Credential.load(credential_dir(as_))) as federation:
        federation.stop(job_id)
        stage = federation.job(job_id).job.stage
    report({"job_id": job_id, "stage": stage}, as_json=as_json)


def result(
    job_id: JobId,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the job's model (safetensors), and its signed card beside it: JSON and Markdown.

    The newest, or the best on held-out patients where `job.toml` says so.

    Example: radfed job result JOB --out model.safetensors
    """
    from hashlib import sha256

    from coordinator.api.client import Credential, Federation
    from coordinator.cli.cards import fetch_card

    partial, digest, size = out.with_name(out.name + ".partial"), sha256(), 0
    with Federation(Credential.load(credential_dir(as_))) as federation, partial.open("wb") as file:
        for chunk in federation.result(job_id):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        facts = {"file": str(out), "sha256": digest.hexdigest(), "bytes": size}
        facts |= fetch_card(federation, job_id, partial, out)
    partial.replace(out)
    report(facts, as_json=as_json)


class _Upload:
    """Says on stderr how far each part is, where a person watches, and remembers where it began."""

    def __init__(self) -> None:
        self._began: dict[str, int] = {}

    def of(self, part: str) -> Callable[[int, int], None]:
        def advance(held: int, total: int) -> None:
            self._began.setdefault(part, held)
            if sys.stderr.isatty() and total:
                end = "\n" if held >= total else "\r"
                sys.stderr.write(f"{part}: {held * 100 // total} % of {total} bytes{end}")

        return advance

    def resumed(self) -> dict[str, int]:
        """Return the byte at which each part went on."""
        return {f"{part}_resumed_at": held for part, held in self._began.items() if held}


def _packed(directory: Path) -> tuple[bytes, bytes]:
    from protos.bundle import digest, pack
    from protos.job_manifest import BundleFault

    if not directory.is_dir():
        raise InvalidRequest(f"{directory} is not a directory: a bundle is one")
    try:
        raw = pack(directory)
    except BundleFault as fault:
        raise InvalidRequest(str(fault)) from fault
    return raw, digest(raw)


def _document(shown: "GetJobResponse") -> dict[str, Any]:
    from protos.v1.job_pb2 import Decision, TaskState

    return _line(shown.job) | {
        "reason": shown.reason,
        "project": shown.offer.terms.project,
        "reviews": len(shown.offer.reviews),
        "sites": [
            {
                "site": part.site,
                "decision": Decision.Name(part.decision).removeprefix("DECISION_").lower(),
                "rule": part.rule,
            }
            for part in shown.sites
        ],
        "rounds": [
            {
                "round": part.round,
                "site": part.site,
                "state": TaskState.Name(part.state).removeprefix("TASK_STATE_").lower(),
                "code": part.code,
                "auc": part.auc if part.HasField("auc") else None,
                "weight": part.weight,
                "leakage_bits": part.leakage_bits,
                "metrics": {metric.name: metric.value for metric in part.metrics},
                "since": moment(part.since) if part.HasField("since") else None,
            }
            for part in shown.rounds
        ],
        "pooled": [
            {
                "round": part.round,
                "auc": part.auc if part.HasField("auc") else None,
                "auc_low": part.auc_low if part.HasField("auc_low") else None,
                "auc_high": part.auc_high if part.HasField("auc_high") else None,
                "weights_sha256": part.weights_digest.hex(),
            }
            for part in shown.pooled
        ],
    }


def _line(job: "Job") -> dict[str, Any]:
    from protos.v1.job_pb2 import JobKind

    return {
        "job_id": job.job_id,
        "name": job.name,
        "kind": JobKind.Name(job.kind).removeprefix("JOB_KIND_").lower(),
        "stage": job.stage,
        "round": job.round,
        "rounds_planned": job.rounds,
        "submitted_at": moment(job.submitted_at),
    }


def _draw(document: Mapping[str, Any]) -> None:
    for key in ("job_id", "name", "kind", "stage", "project", "reviews", "reason"):
        if document[key]:
            typer.echo(f"{key.replace('_', ' '):<8} {document[key]}")
    table(document["sites"], ("site", "decision", "rule"), empty="offered to nobody")
    columns = ("round", "site", "state", "code", "auc", "weight", "leakage_bits")
    rows = [row | {"leakage_bits": _bits(row)} for row in document["rounds"]]
    table(rows, columns, empty="no round has begun")
    figures = [
        {"round": row["round"], "auc": row["auc"], "95 %": _interval(row)}
        for row in document["pooled"]
    ]
    table(figures, ("round", "auc", "95 %"), empty="no round has ended")


def _bits(row: Mapping[str, Any]) -> str:
    if row["state"] != "released":
        return ""
    return "no leakage bound" if row["leakage_bits"] < 0 else plain(row["leakage_bits"])


def _interval(row: Mapping[str, Any]) -> str:
    if row["auc_low"] is None:
        return ""
    return f"{row['auc_low']:.3f}-{row['auc_high']:.3f}"
