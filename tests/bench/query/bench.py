"""`bench query`: the shapes of questions over one large index, beside DuckDB and PostgreSQL.

The peers hold the same rows and count without clipping or bounding anybody, which is less work.
"""

import csv
import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Any

from coordinator.api.parse import parse_question
from gateway.cohort.count import count
from gateway.cohort.rules import Canonical, canonical
from gateway.store.index import Index
from gateway.store.snapshot import Snapshot
from gateway.store.tally import Tally
from tests.bench.processes import NotMeasured, free_port
from tests.bench.query.rows import STUDIES, Invented
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal, Row
from tests.fakes.hospital import facts

QUICK_STUDIES = 30_000
REPEATS = 20
OURS = "radfed"
ADDED, BATCH = 20_000, 250
WHOLE = (
    "Modality = 'CT' and BodyPartExamined = 'CHEST' and PatientSex = 'F' and PatientAge >= 50"
    " and SliceThickness <= 1.0"
)
SHAPES: dict[str, tuple[str, list[str], str]] = {
    "all patients": ("", [], "patients"),
    "CT patients": ("Modality = 'CT'", [], "patients"),
    "the README's question": (WHOLE, ["Manufacturer", "StudyYear"], "patients"),
    "patients by modality and body part": ("", ["Modality", "BodyPartExamined"], "patients"),
    "studies by modality and body part": ("", ["Modality", "BodyPartExamined"], "studies"),
    "series by modality and year": ("", ["Modality", "StudyYear"], "series"),
    "CT instances by year": ("Modality = 'CT'", ["StudyYear"], "instances"),
    "instances by year and body part": ("", ["StudyYear", "BodyPartExamined"], "instances"),
}
PEER_SQL = {
    "CT patients": "SELECT count(DISTINCT patient) FROM fact WHERE modality = 'CT'",
    "the README's question": """
        SELECT manufacturer, study_year, count(DISTINCT patient) FROM fact
        WHERE modality = 'CT' AND body_part = 'CHEST' AND sex = 'F' AND age_years >= 50
          AND slice_thickness_mm <= 1.0 GROUP BY manufacturer, study_year""",
    "CT instances by year": """
        SELECT study_year, sum(instances) FROM fact WHERE modality = 'CT' GROUP BY study_year""",
}
# One row a series, as our columns have it: the peers are spared the joins.
EXPORT = """
    SELECT patient.rowid, patient.sex, study.rowid, study.age_years, study.study_year,
           series.modality, series.body_part, series.manufacturer, series.slice_thickness_mm,
           series.grade, series.instances
    FROM patient CROSS JOIN study ON study.patient = patient.pseudonym
    CROSS JOIN series ON series.study_uid = study.study_uid
"""
TABLE = """
    CREATE TABLE fact (patient INTEGER, sex TEXT, study INTEGER, age_years INTEGER,
        study_year INTEGER, modality TEXT, body_part TEXT, manufacturer TEXT,
        slice_thickness_mm DOUBLE PRECISION, grade TEXT, instances INTEGER)
"""
POSTGRES = Path("/usr/lib/postgresql")


def run(terms: Terms) -> list[Row]:
    figures = Figures("query")
    studies = QUICK_STUDIES if terms.quick else STUDIES
    path = terms.directory / "index.db"
    terms.say(f"inventing {studies:,} studies")
    Invented(studies).fill(path)
    case = f"{studies:,} studies"
    figures.add(case, OURS, "index file", "MB", path.stat().st_size / 1e6)
    _ours(figures, case, path)
    export = terms.directory / "fact.csv"
    for subject, peer in (("duckdb", _duckdb), ("postgresql", _postgresql)):
        if terms.wants(subject):
            try:
                _peer(figures, subject, peer, path, export)
            except NotMeasured as why:
                terms.say(f"{subject}: {why}")
    _insert(figures, case, path)
    goals = [Goal(shape, OURS, "p95", at_most=300.0) for shape in SHAPES]
    return figures.rows([OURS], goals)


def _ours(figures: Figures, case: str, path: Path) -> None:
    index = Index.open(path)
    snapshot = Snapshot(index, path)
    began = time.monotonic()
    snapshot()
    figures.add(case, OURS, "columns read", "s", time.monotonic() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    figures.add(case, OURS, "memory at most", "MB", peak)
    tally = Tally(index, snapshot)
    for shape, (where, by, unit) in SHAPES.items():
        asked = canonical(parse_question(where, by, unit))
        assert isinstance(asked, Canonical)
        _time(figures, shape, OURS, lambda asked=asked: count(asked, tally, 3))
    index.close()


def _time(figures: Figures, shape: str, subject: str, ask: Callable[[], object]) -> None:
    ask()  # the first is of a cold cache
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    figures.add(shape, subject, "p95", "ms", quantiles(took, n=20)[18])


def _peer(figures: Figures, subject: str, peer: Any, path: Path, export: Path) -> None:
    if not export.exists():
        with sqlite3.connect(path) as source, export.open("w", newline="") as file:
            csv.writer(file).writerows(source.execute(EXPORT))
    with peer(export) as ask:
        for shape, sql in PEER_SQL.items():
            _time(figures, shape, subject, lambda sql=sql: ask(sql))


@contextmanager
def _duckdb(export: Path) -> Iterator[Callable[[str], object]]:
    try:
        import duckdb
    except ImportError as fault:
        raise NotMeasured("not installed (pip install duckdb)") from fault
    connection = duckdb.connect()
    connection.execute(TABLE)
    connection.execute(f"COPY fact FROM '{export}' (HEADER false)")
    yield lambda sql: connection.execute(sql).fetchall()
    connection.close()


@contextmanager
def _postgresql(export: Path) -> Iterator[Callable[[str], object]]:
    """Start Debian's server in a directory of its own, as an account that is not root."""
    found = sorted(POSTGRES.glob("*/bin/initdb")) if POSTGRES.exists() else []
    if not found:
        raise NotMeasured("not installed (apt-get install postgresql)")
    programs = found[-1].parent
    home = Path(tempfile.mkdtemp(prefix="radfed-pg-"))
    shutil.chown(home, "postgres") if os.geteuid() == 0 else None
    port = str(free_port())
    account = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data = str(home / "data")

    def call(*words: str, given: str | None = None) -> str:
        done = subprocess.run(
            [*account, *words], input=given, capture_output=True, text=True, check=False, cwd="/"
        )
        if done.returncode:
            raise NotMeasured(done.stderr.strip().splitlines()[-1])
        return done.stdout

    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home}"
    call(str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "bench")
    call(str(programs / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", f"{home}/log", "start")
    psql = (str(programs / "psql"), "-h", str(home), "-p", port, "-U", "bench", "-qAt", "postgres")
    try:
        call(*psql, given=TABLE)
        export.chmod(0o644)
        rows = export.read_text("utf-8")
        call(*psql, given=f"COPY fact FROM STDIN (FORMAT csv);\n{rows}\\.\nANALYZE fact;\n")
        yield lambda sql: call(*psql, given=sql)
    finally:
        call(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


def _insert(figures: Figures, case: str, path: Path) -> None:
    """Add instances to the large index as the line's writer does, durably."""
    index = Index.open(path)
    new = [
        replace(
            facts(number, sop_uid=f"2.25.9{number}", path=f"{number}.dcm"),
            series_uid=f"2.25.8{number // 100}",
            study_uid=f"2.25.7{number // 300}",
            patient=f"new{number // 600}",
        )
        for number in range(ADDED)
    ]
    began = time.monotonic()
    for first in range(0, ADDED, BATCH):
        index.add(new[first : first + BATCH], 1.0)
    figures.add(case, OURS, "inserted", "1/s", ADDED / (time.monotonic() - began))
    index.close()
