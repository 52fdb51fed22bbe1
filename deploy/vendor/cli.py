"""What a vendor does alone, without data: `radfed job init|check|privacy`, `radfed twin make`..."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli import job
from gateway.cli.report import AsJson, door, progress_line, report, report_table
from gateway.errors import ConfigurationFault, EnvironmentFault, ExitCode

if TYPE_CHECKING:
    from gateway.sandbox.runner import Runner
    from protos.job_manifest import JobManifest

twin = typer.Typer(
    name="twin",
    help="Synthetic data with the shape of the federation's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Offered = Annotated[
    list[str] | None,
    typer.Option("--runtime", help="NAME=DIRECTORY: packages of a runtime here; repeatable."),
]


@twin.callback()
def _alone() -> None:
    """Keep `make` a word of its own: more verbs may follow."""


@twin.command()
@door
def make(
    directory: Annotated[Path, typer.Argument(help="A new or empty directory.")],
    patients: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 80,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    label: Annotated[str, typer.Option(help="The name of the reference standard.")] = "lesion",
    shape: Annotated[
        Path | None, typer.Option(help="A shape of your own, like deploy/vendor/shapes.toml.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Matrices of full size, not an eighth of it.")
    ] = False,
    drawn_too: Annotated[
        bool, typer.Option("--drawn", help="With a DICOM segmentation of every finding.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a DICOM folder like the federation's data: nobody's images, labels, and broken studies.

    Example: radfed twin make my-twin --patients 200
    """
    from deploy.vendor.shapes import SHIPPED, load_shape
    from deploy.vendor.twin import make_twin

    like = load_shape(shape or SHIPPED)
    with progress_line("drawing patients", enabled=not as_json) as progress:
        made = make_twin(
            directory, like, patients, seed, label, progress, whole=whole, drawn_too=drawn_too
        )
    report(made.summary(), as_json=as_json)


@door
def init(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    kind: Annotated[
        str, typer.Option(help="training, evaluation or analytics; a form has its own.")
    ] = "",
    form: Annotated[
        str,
        typer.Option(help="python; torch, flower, glm, logistic; moments, histogram."),
    ] = "python",
    predictions: Annotated[
        str, typer.Option(help="Of an evaluation: scores, boxes or masks.")
    ] = "scores",
    as_json: AsJson = False,
) -> None:
    """Write NAME/: a working job of its kind, with tests (`pytest`) that need nobody's data.

    Of the forms, glm, logistic, moments and histogram run the hospitals' own code: job.toml is all.

    Example: radfed job init --kind evaluation --predictions boxes my-detector
    """
    from deploy.vendor.beginning import OTHERS, PYTHON, begin
    from protos.evaluation import Predictions
    from protos.job_manifest import MANIFEST, Kind, parse_manifest

    if form != PYTHON and form not in OTHERS:
        known = ", ".join((PYTHON, *OTHERS))
        raise typer.BadParameter(f"is one of {known}", param_hint="--form")
    kind = kind or OTHERS.get(form, Kind.TRAINING)
    if kind not in set(Kind):
        raise typer.BadParameter(f"is one of {', '.join(Kind)}", param_hint="--kind")
    if kind != OTHERS.get(form, kind):
        raise typer.BadParameter(f"{form} is of kind {OTHERS[form]}", param_hint="--kind")
    if predictions not in set(Predictions):
        raise typer.BadParameter(f"is one of {', '.join(Predictions)}", param_hint="--predictions")
    files = begin(name, Kind(kind), Path(), form, Predictions(predictions))
    told = {"directory": name, "files": [str(path) for path in files]}
    runtime = parse_manifest(Path(name, MANIFEST).read_text("utf-8")).runtime
    steps = [f"radfed job check {name}{_with_runtime(runtime)}"]
    if Path(name, "tests").exists():
        steps.insert(0, f"pytest {name}")
    report(told | {"next": "; ".join(steps)}, as_json=as_json)


@door
def check(
    directory: Annotated[Path, typer.Argument(help="A directory with job.toml and job.py.")],
    with_twin: Annotated[
        Path | None, typer.Option("--twin", help="A twin made before; else one is drawn.")
    ] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Run a round, too.")] = True,
    offered: Offered = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a bundle could be submitted, and run one round of it on a synthetic twin.

    The sandbox and the gate are those of a hospital. Exit 8: it is sound, but the round failed.

    Example: radfed job check my-detector
    """
    from protos.bundle import digest, manifest_of

    raw = _packed(directory)
    manifest = manifest_of(raw)
    facts: dict[str, Any] = {
        "name": manifest.name,
        "kind": str(manifest.kind),
        "rounds": manifest.rounds,
        "sha256": digest(raw).hex(),
        "bytes": len(raw),
    }
    if run:
        runner = _runner(manifest, _directories(offered))
        facts |= _tried(raw, with_twin, runner)
    log = facts.pop("log", ())
    report(facts | ({"log": log} if as_json else {}), as_json=as_json)
    if facts.get("ends", "released") != "released":
        for line in log if not as_json else ():
            typer.echo(f"  | {line}", err=True)
        raise typer.Exit(int(ExitCode.PARTIAL))


@door
def privacy(
    directory: Annotated[Path, typer.Argument(help="A directory with job.toml and job.py.")],
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Other noise and other rounds beside its own.")
    ] = False,
    sigma: Annotated[
        list[float] | None,
        typer.Option("--sigma", min=0.0, help="Noise over clip to compare; repeatable."),
    ] = None,
    rounds: Annotated[
        list[int] | None, typer.Option("--rounds", min=1, help="Rounds to compare; repeatable.")
    ] = None,
    hospitals: Annotated[
        int, typer.Option(min=1, help="How many would be in a sum: noise averages out.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Say what a training job gives away and costs a patient at each hospital, before it runs.

    Bits bound what its updates can carry out; epsilon is a patient's; noise costs accuracy. What a
    hospital charges beside it (held-out counts, metrics, words) is in `gateway approvals show`.

    Example: radfed job privacy my-detector --what-if --rounds 5 --rounds 20
    """
    from dataclasses import asdict

    from deploy.vendor.privacy import COLUMNS, SIGMAS
    from deploy.vendor.privacy import what_if as priced
    from protos.bundle import manifest_of

    manifest = manifest_of(_packed(directory))
    if not manifest.sends_tensors:
        raise ConfigurationFault("an evaluation sends no update: its statistics are no noise's")
    own = manifest.sigma / manifest.clip
    others = what_if or sigma or rounds
    sigmas = sorted({own, *(sigma or (SIGMAS if what_if else ()))}) if others else [own]
    counts = sorted({manifest.rounds, *(rounds or ())})
    rows = [asdict(each) for each in priced(manifest, sigmas, counts, hospitals)]
    if not as_json:
        rows = [{name: _figure(value) for name, value in row.items()} for row in rows]
    report_table(rows, COLUMNS, as_json=as_json, empty="nothing to compare")


def _figure(value: object) -> str:
    if value is None:
        return "no bound"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@door
def runtimes(offered: Offered = None, as_json: AsJson = False) -> None:
    """List what a job may ask to run in, and what of it is on this machine.

    A hospital offers its own: one that it lacks refuses the job with `runtime_absent`.

    Example: radfed job runtimes
    """
    from protos.job_manifest import PLAIN_RUNTIME, RUNTIMES

    here = {PLAIN_RUNTIME: "yes"} | {
        name: str(path) for name, path in _directories(offered).items()
    }
    rows = [
        {"runtime": name, "brings": brings, "here": here.get(name, "no")}
        for name, brings in RUNTIMES.items()
    ]
    report_table(rows, ("runtime", "brings", "here"), as_json=as_json, empty="none")


@door
def build_runtime(
    name: Annotated[str, typer.Argument(help="As `radfed job runtimes` names it.")],
    directory: Annotated[Path, typer.Argument(help="A directory that is not there yet.")],
    chosen: Annotated[
        list[str] | None,
        typer.Option("--with", help="Another version: torch==2.13.0+cpu. Repeatable."),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="A directory of wheels, where there is no network.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a runtime's directory of packages with pip: to check jobs, or to offer at a hospital.

    A hospital names it in gateway.toml, under [jobs.runtimes]; jobs see it read-only.

    Example: radfed job build-runtime flower runtimes/flower
    """
    from deploy.vendor.runtimes import build

    report(build(name, directory, chosen or (), wheels), as_json=as_json)


@door
def table(
    directory: Annotated[Path, typer.Argument(help="The job's directory, as it was submitted.")],
    result: Annotated[Path, typer.Argument(help="What `radfed job result` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Show what a job of form moments, histogram, glm or logistic found, in its features' units.

    Example: radfed job table my-means means.safetensors
    """
    from deploy.vendor.tables import table_of
    from protos.bundle import manifest_of

    rows = table_of(manifest_of(_packed(directory)), result)
    columns = tuple(rows[0]) if rows else ()
    shown = [
        {name: f"{cell:.4g}" if isinstance(cell, float) else cell for name, cell in row.items()}
        for row in rows
    ]
    report_table(rows if as_json else shown, columns, as_json=as_json, empty="none")


def _with_runtime(runtime: str) -> str:
    from protos.job_manifest import PLAIN_RUNTIME

    return "" if runtime == PLAIN_RUNTIME else f" --runtime {runtime}=DIRECTORY"


def _tried(raw: bytes, with_twin: Path | None, runner: "Runner") -> dict[str, Any]:
    from deploy.vendor.bench import Bench
    from gateway.line.encoding import silence_pydicom

    if with_twin is not None and not with_twin.is_dir():
        raise ConfigurationFault(f"{with_twin} is no directory: make one with `radfed twin make`")
    silence_pydicom()
    _silence()
    with tempfile.TemporaryDirectory(prefix="radfed-check-") as folder:
        bench = Bench(Path(folder), raw, with_twin)
        ended = bench.dry_run(runner)
        return {
            "ends": ended.ends,
            "code": ended.code,
            "seconds": round(ended.seconds, 2),
            "twin": bench.about(),
            "would_leave": dict(ended.leaves),
            "log": list(ended.log),
        }


def _runner(manifest: "JobManifest", offered: dict[str, Path]) -> "Runner":
    """Return a sandbox that confines; a vendor's machine is no place to trust one that does not."""
    from gateway.sandbox import gpus
    from gateway.sandbox.rules import Limits
    from gateway.sandbox.runner import Runner
    from protos.job_manifest import PLAIN_RUNTIME

    runtime = manifest.runtime
    if runtime != PLAIN_RUNTIME and runtime not in offered:
        raise EnvironmentFault(
            f"the runtime {runtime} is not on this machine: give --runtime {runtime}=DIRECTORY "
            f"(made by `radfed job build-runtime {runtime} DIRECTORY`), or check without a run "
            "(--no-run)"
        )
    turns = gpus.Turns(gpus.find(), Path.home() / ".cache" / "radfed" / "gpus")
    runner = Runner.on_this_machine(Limits(), offered=offered, turns=turns)
    if (wanted := manifest.resources.gpus) > runner.gpus:
        raise EnvironmentFault(
            f"the job asks for `gpus = {wanted}` and this machine has {runner.gpus} "
            "with NVIDIA's driver: check it without a run (--no-run)"
        )
    if problems := runner.self_test():
        raise EnvironmentFault(f"the sandbox does not hold: {'; '.join(problems)}")
    return runner


def _directories(offered: list[str] | None) -> dict[str, Path]:
    from protos.job_manifest import PLAIN_RUNTIME, RUNTIMES

    found = {}
    for each in offered or ():
        name, _, path = each.partition("=")
        if name not in RUNTIMES or name == PLAIN_RUNTIME or not Path(path).is_dir():
            others = ", ".join(known for known in RUNTIMES if known != PLAIN_RUNTIME)
            raise ConfigurationFault(f"--runtime takes NAME=DIRECTORY, NAME one of: {others}")
        found[name] = Path(path)
    return found


def _packed(directory: Path) -> bytes:
    from protos.bundle import pack
    from protos.job_manifest import BundleFault

    if not directory.is_dir():
        raise ConfigurationFault(f"{directory} is not a directory: a bundle is one")
    try:
        return pack(directory)
    except BundleFault as fault:
        raise ConfigurationFault(str(fault)) from fault


def _silence() -> None:
    """Keep the gateway's own log of the twin's arrivals off a vendor's terminal."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


for command in (init, check, privacy, runtimes, build_runtime, table):
    job.command(command.__name__.replace("_", "-"))(command)
