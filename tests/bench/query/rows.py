"""A big hospital's index, invented: a million studies, three series each, twenty images a study."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from gateway.store.index import Index

STUDIES = 1_000_000
SERIES_OF_STUDY = 3
INSTANCES_OF_SERIES = (2, 5, 13)  # scout, reformats, volume: twenty a study
STUDIES_OF_PATIENT = 2.0  # on average; a few have many
MODALITIES = (("CT", 0.45), ("MR", 0.2), ("DX", 0.15), ("CR", 0.1), ("US", 0.06), ("MG", 0.04))
PARTS = ("CHEST", "HEAD", "ABDOMEN", "PELVIS", "LSPINE", "KNEE", "BREAST", "NECK", "")
MAKERS = (
    "GE MEDICAL SYSTEMS", "SIEMENS", "Philips Medical Systems", "TOSHIBA",
    "United Imaging Healthcare", "NMS", "Canon Medical Systems", "FUJIFILM Corporation",
)  # fmt: skip
THICKNESS = (0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)
PROFILE, RECEIVED = "5a" * 32, "c3" * 32
BATCH = 20_000


class Invented:
    """Draws one hospital; the same seed draws the same one."""

    def __init__(self, studies: int, seed: int = 1) -> None:
        self._studies = studies
        self._draw = random.Random(seed)
        self.patients = max(1, int(studies / STUDIES_OF_PATIENT))

    def _uid(self) -> str:
        return f"2.25.{self._draw.getrandbits(127)}"

    def fill(self, path: Path) -> None:
        """Write the four tables as the index's own statements would leave them."""
        Index.open(path).close()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -2000000")
        connection.execute("BEGIN")
        draw = self._draw
        connection.executemany(
            "INSERT INTO patient (pseudonym, countable, sex, withdrawn) VALUES (?, 1, ?, 0)",
            ((_pseudonym(n), "FM"[draw.random() < 0.5]) for n in range(self.patients)),
        )
        images: list[tuple[object, ...]] = []
        for studies in self._batches():
            series = []
            for study, *_of_study in studies:
                kind = draw.choices([m for m, _ in MODALITIES], [w for _, w in MODALITIES])[0]
                part, maker = draw.choice(PARTS), draw.choice(MAKERS)
                for count in INSTANCES_OF_SERIES:
                    uid = self._uid()
                    thickness = draw.choice(THICKNESS) if kind in {"CT", "MR"} else None
                    series.append((uid, study, kind, part, maker, "", thickness,
                                   draw.choice("AAABBCD"), count, 531_000 * count))  # fmt: skip
                    images += [
                        (self._uid(), uid, CTImageStorage, ExplicitVRLittleEndian, 512, 512, 1,
                         number, 531_000, PROFILE, RECEIVED, f"{study[5:13]}/{uid[5:]}.dcm")
                        for number in range(count)
                    ]  # fmt: skip
            connection.executemany(
                "INSERT INTO study (study_uid, patient, filed, study_year, age_years)"
                " VALUES (?1, ?2, ?2, ?3, ?4)",
                studies,
            )
            connection.executemany(
                "INSERT INTO series (series_uid, study_uid, modality, body_part, manufacturer,"
                " model, slice_thickness_mm, grade, instances, size_bytes, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                series,
            )
            connection.executemany(
                "INSERT INTO instance (sop_uid, series_uid, sop_class_uid, transfer_syntax_uid,"
                " rows, columns, frames, instance_number, size_bytes, profile_digest,"
                " received_digest, path) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                images,
            )
            images.clear()
        connection.execute("COMMIT")
        connection.close()

    def _batches(self) -> Iterator[list[tuple[str, str, int, int]]]:
        draw = self._draw
        for first in range(0, self._studies, BATCH):
            yield [
                (
                    self._uid(),
                    _pseudonym(int(self.patients * draw.random() ** 1.5)),
                    draw.randint(2010, 2026),
                    draw.randint(0, 89),
                )
                for _ in range(first, min(first + BATCH, self._studies))
            ]


def _pseudonym(number: int) -> str:
    return f"P{number:07d}X{number * 2654435761 % 2**32:08x}"
