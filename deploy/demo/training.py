"""The training step: bundles, approvals, rounds in the sandbox, and the models side by side."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploy.demo.centre import Centre
from deploy.demo.commands import wait_until
from deploy.demo.failure import DemoFailed
from deploy.demo.hospital import Hospital
from deploy.demo.job.make import lay_out
from deploy.demo.screen import Screen
from protos.job_manifest import Kind

FEDERATED = "federated"
OFFER_SECONDS = 60.0
Jobs = Mapping[str, str]  # model -> job


def train(
    screen: Screen, centre: Centre, hospitals: Sequence[Hospital], pool: ThreadPoolExecutor
) -> None:
    """Train one model over all hospitals and one in each alone, and compare them."""
    jobs = _submit(screen, centre, hospitals, pool)
    with screen.step("rounds") as step:
        over = centre.wait(list(jobs.values()))
        shown = {model: _finished(over[job]) for model, job in jobs.items()}
        federated = shown[FEDERATED]
        step.says = (
            f"{federated['round']} rounds in each hospital's sandbox; AUC on held-out patients:"
        )
        screen.keep("rounds", shown)
    _show_rounds(screen, federated, hospitals)
    _evaluate(screen, centre, hospitals, jobs, pool)
    _sum_up(screen, centre, hospitals, pool)


def _sum_up(
    screen: Screen, centre: Centre, hospitals: Sequence[Hospital], pool: ThreadPoolExecutor
) -> None:
    """Train one round of which the coordinator learns the sum alone."""
    with screen.step("secure sum") as step:
        bundle = lay_out(Kind.TRAINING, centre.home / "bundles" / "summed", summed=True)
        job = centre.submit(bundle, [h.site for h in hospitals])
        list(pool.map(lambda h: _decide(h, {job}), hospitals))
        shown = _finished(centre.wait([job])[job])
        screen.keep("summed", shown)
        seen = [row["site"] for row in shown["rounds"] if row.get("auc") is not None]
        if seen:
            raise DemoFailed(f"figures of {', '.join(seen)} were seen by themselves")
        step.says = (
            f"{len(hospitals)} hospitals' updates under masks, one round: AUC "
            f"{_auc(shown['pooled'][-1].get('auc'))} of all; of no hospital alone anything"
        )


def _submit(
    screen: Screen, centre: Centre, hospitals: Sequence[Hospital], pool: ThreadPoolExecutor
) -> Jobs:
    """Offer the same bundle to all hospitals and to each alone; let each steward decide."""
    with screen.step("job") as step:
        bundle = lay_out(Kind.TRAINING, centre.home / "bundles" / "training")
        wanted = {FEDERATED: [h.site for h in hospitals]} | {h.site: [h.site] for h in hospitals}
        submitted = pool.map(lambda sites: centre.submit(bundle, sites), wanted.values())
        jobs = dict(zip(wanted, submitted, strict=True))
        decided = sum(pool.map(lambda h: _decide(h, {jobs[FEDERATED], jobs[h.site]}), hospitals))
        step.says = (
            f"signed by the vendor and {len(centre.signers.reviewers)} reviewers; "
            f"{decided} approvals by {len(hospitals)} stewards"
        )
        screen.keep("jobs", dict(jobs))
    return jobs


def _decide(hospital: Hospital, offered: set[str]) -> int:
    """Wait until the offers are in the steward's inbox, and approve each by its digest."""
    wait_until("the offers", lambda: hospital.waiting() >= offered, OFFER_SECONDS, pause=1.0)
    for job in sorted(offered):
        hospital.approve(job)
    return len(offered)


def _finished(shown: dict[str, Any]) -> dict[str, Any]:
    if shown["stage"] != "finished":
        raise DemoFailed(f"job {shown['name']} {shown['stage']}: {shown['reason']}")
    return shown


def _show_rounds(screen: Screen, job: Mapping[str, Any], hospitals: Sequence[Hospital]) -> None:
    """Print the AUC of the model each round started from, at each hospital and pooled."""
    pooled = {row["round"]: row for row in job["pooled"]}
    by_site = {(row["round"], row["site"]): row.get("auc") for row in job["rounds"]}
    rows = [
        [
            str(number - 1),
            *(_auc(by_site.get((number, h.site))) for h in hospitals),
            _interval(pooled[number]),
        ]
        for number in sorted(pooled)
    ]
    screen.table(("after round", *(h.site for h in hospitals), "all, with 95 % interval"), rows)
    screen.note(leakage(job["rounds"], hospitals))


def leakage(rounds: Sequence[Mapping[str, Any]], hospitals: Sequence[Hospital]) -> str:
    """Say what the noise bounds: how much all of a hospital's updates can have carried."""
    bits = {
        h.site: [row["leakage_bits"] for row in rounds if row["site"] == h.site] for h in hospitals
    }
    if any(one < 0 for listed in bits.values() for one in listed):
        return "no leakage bound: a hospital's policy allows updates without noise"
    said = ", ".join(f"{site} {sum(listed):,.0f}" for site, listed in bits.items())
    return f"updates clipped and noised by the gate; bits they can carry at the most: {said}"


def _evaluate(
    screen: Screen,
    centre: Centre,
    hospitals: Sequence[Hospital],
    jobs: Jobs,
    pool: ThreadPoolExecutor,
) -> None:
    """Run every final model on every hospital's held-out patients."""
    with screen.step("evaluation") as step:
        sites = [h.site for h in hospitals]
        bundle = lay_out(Kind.EVALUATION, centre.home / "bundles" / "evaluation")

        def submit(model: str) -> str:
            weights = centre.result(jobs[model], centre.home / f"{model}.safetensors")
            return centre.submit(bundle, sites, weights)

        tests = dict(zip(jobs, pool.map(submit, jobs), strict=True))
        over = centre.wait(list(tests.values()))
        results = {model: _finished(over[job]) for model, job in tests.items()}
        step.says = "each final model on all hospitals' held-out patients, AUC:"
    table = {model: _figures(result, sites) for model, result in results.items()}
    screen.keep("auc", table)
    _show_models(screen, table, sites)
    _compare(screen, table)


def _figures(result: Mapping[str, Any], sites: Sequence[str]) -> dict[str, float | None]:
    found = {row["site"]: row.get("auc") for row in result["rounds"]}
    pooled = result["pooled"][-1].get("auc") if result["pooled"] else None
    return {site: found.get(site) for site in sites} | {"all": pooled}


def _show_models(
    screen: Screen, table: Mapping[str, Mapping[str, float | None]], sites: Sequence[str]
) -> None:
    rows = [
        [_named(model), *(_auc(figures[column]) for column in (*sites, "all"))]
        for model, figures in table.items()
    ]
    screen.table(("model", *(f"at {site}" for site in sites), "all"), rows)


def _compare(screen: Screen, table: Mapping[str, Mapping[str, float | None]]) -> None:
    """Say whether the federated model is better than every single hospital's."""
    reached = {model: figures["all"] for model, figures in table.items()}
    missing = [model for model, auc in reached.items() if auc is None]
    if missing:
        raise DemoFailed(f"no AUC for {', '.join(missing)}")
    federated = float(reached[FEDERATED] or 0)
    best = max((float(auc or 0), model) for model, auc in reached.items() if model != FEDERATED)
    screen.keep("federated_is_better", federated > best[0])
    if federated <= best[0]:
        raise DemoFailed(f"{best[1]} alone reached {best[0]:.3f}, the federation {federated:.3f}")
    screen.note(
        f"the federated model ({federated:.3f}) beats the best hospital alone ({best[0]:.3f})"
    )


def _named(model: str) -> str:
    return model if model == FEDERATED else f"{model} alone"


def _auc(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(row: Mapping[str, Any]) -> str:
    if row.get("auc") is None:
        return "-"
    return f"{row['auc']:.3f} [{row['auc_low']:.3f}, {row['auc_high']:.3f}]"
