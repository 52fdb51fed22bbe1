"""How long each page of the hospital console takes the server, over an index of a million studies.

Not part of any run: `python -m tests.bench.console_pages [--studies 1000000] [--keep DIRECTORY]`.
"""

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from gateway.config import load
from gateway.store.index import Index
from tests.fakes.console import a_console
from tests.fakes.running_gateway import Gateway

SEED = 8
ASKED = 20
GOAL_MS = 200.0
LEDGER_ENTRIES = 500_000
MAKERS = ("GE MEDICAL SYSTEMS", "SIEMENS", "Philips", "United Imaging", "Canon")
MODALITIES = ("CT", "MR", "DX", "CR", "US")
PARTS = ("CHEST", "HEAD", "ABDOMEN", "KNEE", "")
PAGES = (
    "/", "/studies", "/studies?modality=CT&body_part=CHEST", "/studies?manufacturer=nobody",
    "/studies?patient=p0000777", "/quarantine", "/approvals", "/sent", "/sent?kind=answer",
    "/sent/totals", "/budget", "/policy", "/audit", "/sources", "/people",
)  # fmt: skip


def fill(index: Path, studies: int) -> None:
    """Write patients, studies, series and instances as a seeded archive has them."""
    Index.open(index).close()
    draw, now = random.Random(SEED), time.time()
    connection = sqlite3.connect(index)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    # In the order of their keys: an index grows at its end, and a million take a minute.
    uids = sorted(f"2.25.{draw.getrandbits(120)}" for _ in range(studies))
    connection.executemany(
        "INSERT INTO patient (pseudonym, countable, sex) VALUES (?, 1, ?)",
        ((f"p{number:07d}", draw.choice("FM")) for number in range(studies // 3 + 1)),
    )
    for block in _blocks(studies):
        rows = [_study(draw, uids[number], number, now) for number in block]
        connection.executemany(
            "INSERT INTO study (study_uid, patient, filed, study_year, age_years) "
            "VALUES (?1, ?2, ?2, ?3, ?4)",
            [row[0] for row in rows],
        )
        connection.executemany(
            "INSERT INTO series (series_uid, study_uid, modality, body_part, manufacturer, model, "
            "grade, changed_at) VALUES (?, ?, ?, ?, ?, '', ?, ?)",
            [series for row in rows for series in row[1]],
        )
        connection.executemany(
            "INSERT INTO instance (sop_uid, series_uid, sop_class_uid, frames, size_bytes, path) "
            "VALUES (? || '.1', ?, '1.2', 1, 1000, 'x')",
            [(series[0], series[0]) for row in rows for series in row[1]],
        )
        connection.commit()
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _blocks(studies):
    for start in range(0, studies, 20_000):
        yield range(start, min(start + 20_000, studies))


def _study(draw, uid, number, now):
    study = (uid, f"p{number // 3:07d}", draw.randint(2005, 2026), draw.randint(18, 89))
    modality, maker = draw.choice(MODALITIES), draw.choice(MAKERS)
    series = [
        (f"{uid}.{n}", uid, modality, draw.choice(PARTS), maker, draw.choice("ABCD"),
         now - draw.random() * 86400 * 365)
        for n in range(draw.randint(1, 3))
    ]  # fmt: skip
    return study, series


def fill_ledger(config) -> None:
    """Write a ledger as years of heartbeats leave it; its chain is not what is measured."""
    from gateway.release.ledger import Ledger

    Ledger.open(config.ledger_file).close()
    with sqlite3.connect(config.ledger_file) as ledger:
        ledger.executemany(
            "INSERT INTO entry VALUES (?, '2026-11-01T00:00:00+00:00', 'heartbeat', 'link', "
            "'heartbeat', 'policy', 20, x'00', x'00')",
            ((number,) for number in range(1, LEDGER_ENTRIES + 1)),
        )


def measure(config, studies: int):
    with a_console(config) as console:
        began = time.monotonic()
        console.house.warm()
        steward = console.somebody()
        pages = [*PAGES, *_found(steward)]
        yield {"page": "(warming, beside the pages)", "p95_ms": _ms(time.monotonic() - began)}
        for page in pages:
            took = []
            for _ in range(ASKED):
                began = time.monotonic()
                answer = steward.get(page)
                took.append(time.monotonic() - began)
                assert answer.status == 200, page
            p95 = statistics.quantiles(took, n=20)[-1]
            row = {"page": page, "median_ms": _ms(statistics.median(took)), "p95_ms": _ms(p95)}
            yield row | {"studies": studies, "goal": GOAL_MS, "met": _ms(p95) <= GOAL_MS}


def _found(steward):
    import re

    text = steward.get("/studies").text
    return re.findall(r'href="(/studies/[0-9.]+)"', text)[:1]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    home = asked.keep or Path(tempfile.mkdtemp(prefix="console-pages-"))
    home.mkdir(exist_ok=True)
    config = load(Gateway(home).settings)
    began = time.monotonic()
    fill(config.index_file, asked.studies)
    fill_ledger(config)
    print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
    for row in measure(config, asked.studies):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
