"""The benches by name: each is a module with `run(terms)` that returns rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from tests.bench.rows import Row, Say


@dataclass(frozen=True, slots=True)
class Terms:
    """What every bench is told."""

    quick: bool  # end within 45 s, whatever that leaves out
    rounds: int
    only: frozenset[str]  # subjects to measure; empty: all
    cases: tuple[str, ...]  # a case is run when its name contains one of these; empty: all
    directory: Path  # a scratch directory, removed afterwards
    say: Say

    def wants(self, subject: str) -> bool:
        return not self.only or subject in self.only

    def runs(self, case: str) -> bool:
        return not self.cases or any(part in case for part in self.cases)


@dataclass(frozen=True, slots=True)
class Bench:
    about: str
    module: str

    def run(self, terms: Terms) -> list[Row]:
        rows: list[Row] = import_module(self.module).run(terms)
        return rows


BENCHES: Mapping[str, Bench] = MappingProxyType(
    {
        "ingest": Bench(
            "C-STORE beside Orthanc, storescp and pynetdicom", "tests.bench.ingest.bench"
        ),
        "deid": Bench(
            "de-identification beside dcmodify, Orthanc and dicognito", "tests.bench.deid.bench"
        ),
        "federation": Bench(
            "400 and 1,000 gateways on one coordinator", "tests.bench.federation.bench"
        ),
        "query": Bench(
            "questions over a million studies, beside DuckDB and PostgreSQL",
            "tests.bench.query.bench",
        ),
        "gate": Bench(
            "a large update through the output gate, and the start of a job",
            "tests.bench.gate.bench",
        ),
        "evaluation": Bench(
            "coverage of intervals, and pooled figures beside exact ones",
            "tests.bench.evaluation.bench",
        ),
        "training": Bench(
            "what hospitals learn together, beside one table of all patients",
            "tests.bench.training.bench",
        ),
        "rounds": Bench(
            "rounds of 1 MB and 100 MB without work, beside Flower's deployment engine",
            "tests.bench.rounds.bench",
        ),
        "pixels": Bench(
            "text drawn into real images, and what is left", "tests.bench.pixels.bench"
        ),
    }
)
