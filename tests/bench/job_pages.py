"""How long each page of jobs and reports takes the server, with 400 hospitals behind them.

Not part of any run: `python -m tests.bench.job_pages [--sites 400] [--jobs 5000] [--rounds 50]`.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from coordinator.model import JobStage
from tests.fakes.tested_jobs import TRAINING, a_working_federation, packed

ASKED = 20
GOAL_MS = 200.0


def pages(working):
    running, reviewing = working.running.job_id, working.reviewing.job_id
    good, poor = working.good.job_id, working.poor.job_id
    return (
        "/jobs", "/jobs?stage=finished", "/jobs?name=bright&kind=training", "/jobs?name=nobody",
        f"/jobs/{running}", f"/jobs/{running}?round=1", f"/jobs/{running}/curves?measure=auc",
        f"/jobs/{running}/curves?measure=loss&after=10", f"/jobs/{reviewing}",
        f"/jobs/{reviewing}/code", "/jobs/submit", "/reports", f"/reports/{good}",
        f"/reports/{poor}", f"/reports/compare?a={good}&b={poor}", f"/reports/{good}/report.json",
        f"/reports/{good}/report.html",
    )  # fmt: skip


async def fill(working, jobs):
    raw = packed(TRAINING)
    for _ in range(jobs):
        await working.filled.job(raw, JobStage.FINISHED, sites=working.filled.sites[:10])


def measure(working):
    operator = working.federation.somebody("anna")
    for job in (working.good, working.poor):
        began = time.monotonic()
        operator.get(f"/reports/{job.job_id}/report.json")
        took = round((time.monotonic() - began) * 1000, 1)
        yield {"page": "(a report is made, once)", "first_ms": took}
    for page in pages(working):
        took, worked = [], []
        for _ in range(ASKED):
            began, before = time.monotonic(), time.process_time()
            answer = operator.get(page)
            took.append(time.monotonic() - began)
            worked.append(time.process_time() - before)  # client and server are one process
            assert answer.status == 200, page
        p95, cpu = (
            round(statistics.quantiles(each, n=20)[-1] * 1000, 1) for each in (took, worked)
        )
        shown = page.replace(working.running.job_id, "JOB").replace(working.good.job_id, "JOB")
        yield {
            "page": shown,
            "first_ms": round(took[0] * 1000, 1),
            "median_ms": round(statistics.median(took) * 1000, 1),
            "p95_ms": p95,
            "cpu_p95_ms": cpu,
            "goal": GOAL_MS,
            "met": p95 <= GOAL_MS,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=50)
    asked = parser.parse_args()
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="job-pages-"))
    with a_working_federation(home, asked.sites, asked.rounds) as working:
        working.do(fill(working, asked.jobs), 600)
        print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
        gc.freeze()  # as the coordinator does once it has started
        for row in measure(working):
            print(json.dumps(row))


if __name__ == "__main__":
    main()
