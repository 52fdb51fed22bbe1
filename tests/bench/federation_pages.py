"""How long each page of the federation's console takes, with 400 sites and a long history behind.

Not part of any run: `python -m tests.bench.federation_pages [--sites 400] [--questions 2000]`.
"""

import argparse
import asyncio
import gc
import json
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from coordinator.audit.file_rows import CREATE
from coordinator.config import load
from coordinator.store.database import Database
from protos.digest import GENESIS, chain_link
from protos.manifest import Project, Signer
from protos.v1.question_pb2 import Answer, AnswerState, Cell, CountUnit, Question
from protos.vocabulary import labels
from tests.fakes.console import Person
from tests.fakes.federation import make
from tests.fakes.federation_console import CONSOLE, a_console_at, install_manifest

SEED = 8
ASKED = 20
GOAL_MS = 200.0
EVENTS = ("question_asked", "job_decided", "certificate_renewed", "call_refused")
PAGES = (
    "/fleet", "/fleet?state=look", "/fleet?name=site-1", "/ask",
    "/ask?look=1&where=Modality+%3D+%27CT%27&by=PatientSex&by2=PatientAge",
    "/projects", "/people", "/audit", "/audit?event=call_refused", "/audit?event=nothing",
)  # fmt: skip


def fill(home: Path, sites: int, questions: int, events: int) -> None:
    """Write a federation's years: hospitals, questions with their answers, trail, manifest."""
    config = load(home / "coordinator.toml")
    config.data.mkdir(parents=True, exist_ok=True)

    async def migrated() -> None:
        await (await Database.open(config.database_file)).close()

    asyncio.run(migrated())
    draw, now = random.Random(SEED), time.time()
    names = [f"site-{number:03d}" for number in range(sites)]
    with sqlite3.connect(config.database_file) as tables:
        tables.execute("PRAGMA synchronous=OFF")
        tables.executemany(
            "INSERT INTO site (name, standing, invited_at, software_version, last_seen_at, "
            "clock_skew_seconds) VALUES (?, 'active', ?, ?, ?, ?)",
            [(name, now, draw.choice(("0.1.0", "0.1.1")), now - draw.random() * 60,
              draw.uniform(-40, 40)) for name in names],
        )  # fmt: skip
        tables.executemany(
            "INSERT INTO certificate (serial, site, chain_pem, issued_at, expires_at, purpose) "
            "VALUES (?, ?, x'00', ?, ?, 'gateway')",
            [(name, name, now, now + draw.random() * 30 * 86400) for name in names],
        )
        _fill_questions(tables, draw, names, questions, now)
    _fill_trail(config.audit_file, draw, events, now)
    _fill_manifest(home, names, now)


def _fill_questions(tables, draw, names, questions: int, now: float) -> None:
    groups = (["PatientSex"], ["Modality"], ["PatientAge"], ["PatientSex", "PatientAge"])
    for number in range(questions):
        name, at = f"{number:032x}", now - (questions - number) * 3600.0
        by = groups[number % len(groups)]
        question = Question(
            question_id=name, unit=CountUnit.COUNT_UNIT_PATIENTS, group_by=by, project="lungs",
            requester="spiffe://demo/operator/operator",
        )  # fmt: skip
        tables.execute(
            "INSERT INTO question (question_id, body, asked_at, expires_at) VALUES (?, ?, ?, ?)",
            (name, question.SerializeToString(), at, at + 90),
        )
        cells = [
            Cell(values=values, state=AnswerState.ANSWER_STATE_VALUE, count=draw.randrange(900))
            for values in product(*map(labels, by))
        ]
        value = Answer(
            question_id=name, state=AnswerState.ANSWER_STATE_VALUE, cells=cells, sigma=10.0,
            rho=0.005, epoch="2026Q4",
        ).SerializeToString()  # fmt: skip
        tables.executemany(
            "INSERT INTO asked VALUES (?, ?, ?, ?, ?)",
            [(name, site, AnswerState.ANSWER_STATE_VALUE, value, at + 1) for site in names],
        )


def _fill_trail(file: Path, draw, events: int, now: float) -> None:
    with sqlite3.connect(file) as trail:
        trail.execute("PRAGMA journal_mode = WAL")
        trail.executescript(CREATE)
        link, rows = GENESIS, []
        for number in range(1, events + 1):
            said = {"at": now - events + number, "event": draw.choice(EVENTS), "site": "site-001"}
            body = json.dumps(said, sort_keys=True).encode()
            link = chain_link(link, body)
            rows.append((number, body, link))
        trail.executemany("INSERT INTO audit VALUES (?, ?, ?)", rows)


def _fill_manifest(home: Path, names, now: float) -> None:
    until = int(now + 300 * 86400)
    install_manifest(
        home,
        expires=until,
        signers=tuple(
            Signer(role="requester", name=f"person-{n}", organisation="uni", expires=until,
                   public_key=f"{n:064x}") for n in range(400)
        ),
        projects=tuple(
            Project(name=f"project-{n}", purpose="Count lungs.", legal_basis="law", ethics="EC 1",
                    organisations=("uni",), hospitals=tuple(names), expires=until)
            for n in range(100)
        ),
    )  # fmt: skip


def measure(home: Path, sites: int, times: int = ASKED):
    with a_console_at(home) as console:
        gc.freeze()  # as `radfed coordinator run` does
        operator = Person(console.address)
        operator.make_account(console.first_link().removeprefix(console.address), "operator")
        for page in (*PAGES, *_found(operator)):
            took, worked = [], []
            for _ in range(times):
                began, cpu = time.monotonic(), time.process_time()
                answer = operator.get(page)
                took.append(time.monotonic() - began)
                worked.append(time.process_time() - cpu)
                assert answer.status == 200, page
            p95 = statistics.quantiles(took, n=20)[-1]
            row = {"page": page, "median_ms": _ms(statistics.median(took)), "p95_ms": _ms(p95)}
            row |= {"first_ms": _ms(took[0]), "kB": round(len(answer.body) / 1000)}
            # Of this whole process, who asks included: what a busy machine does not change.
            row |= {"cpu_median_ms": _ms(statistics.median(worked))}
            row |= {"cpu_p95_ms": _ms(statistics.quantiles(worked, n=20)[-1])}
            yield row | {"sites": sites, "goal": GOAL_MS, "met": _ms(p95) <= GOAL_MS}


def _found(operator):
    path = re.findall(r'href="(/ask/[0-9a-f]{32})"', operator.get("/ask").text)[0]
    return path, f"{path}.csv", f"{path}.json", "/projects/project-1"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def bench(home: Path, sites: int, questions: int, events: int, times: int = ASKED):
    make(home, CONSOLE)
    fill(home, sites, questions, events)
    yield from measure(home, sites, times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=400)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--events", type=int, default=500_000)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="federation-pages-") as home:
        for row in bench(Path(home), asked.sites, asked.questions, asked.events):
            print(json.dumps(row), flush=True)
    print(f"in {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
