"""The index's schema, as numbered steps that are applied once, in order."""

from sqlite_utils import Database, Migrations

MIGRATIONS = Migrations("radfed-index")


@MIGRATIONS(name="0001_patient_study_series_instance")
def tables(db: Database) -> None:
    """Make the four levels of the DICOM information model (PS3.3 A.1.2)."""
    db.table("patient").create(
        {"pseudonym": str, "countable": int, "sex": str},
        pk="pseudonym",
        not_null={"countable", "sex"},
        strict=True,
    )
    db.table("study").create(
        {"study_uid": str, "patient": str, "study_year": int, "age_years": int},
        pk="study_uid",
        not_null={"patient"},
        foreign_keys=[("patient", "patient", "pseudonym")],
        strict=True,
    )
    db.table("series").create(
        {
            "series_uid": str,
            "study_uid": str,
            "modality": str,
            "body_part": str,
            "manufacturer": str,
            "model": str,
            "slice_thickness_mm": float,
            "grade": str,
            "findings": str,
            "changed_at": float,
        },
        pk="series_uid",
        not_null={"study_uid", "modality", "body_part", "manufacturer", "model", "changed_at"},
        defaults={"findings": "[]"},
        foreign_keys=[("study_uid", "study", "study_uid")],
        strict=True,
    )
    db.table("instance").create(
        {
            "sop_uid": str,
            "series_uid": str,
            "sop_class_uid": str,
            "transfer_syntax_uid": str,
            "rows": int,
            "columns": int,
            "frames": int,
            "instance_number": int,
            "size_bytes": int,
            "profile_digest": str,
            "received_digest": str,
            "path": str,
        },
        pk="sop_uid",
        not_null={"series_uid", "sop_class_uid", "frames", "size_bytes", "path"},
        foreign_keys=[("series_uid", "series", "series_uid")],
        strict=True,
    )
    db.table("study").create_index(["patient"])
    db.table("series").create_index(["study_uid"])
    db.table("series").create_index(["grade", "changed_at"])
    db.table("instance").create_index(["series_uid"])


@MIGRATIONS(name="0002_label")
def labels(db: Database) -> None:
    """Make the table of readers' words; it outlives a rebuild of the others."""
    db.table("label").create(
        {"id": int, "study_uid": str, "series_uid": str, "name": str, "value": str, "reader": str},
        pk="id",
        not_null={"name", "value", "reader"},
        defaults={"reader": ""},
        strict=True,
    )
    # NULLs are distinct in a UNIQUE constraint, hence the expressions.
    db.execute(
        "CREATE UNIQUE INDEX one_word_each ON label "
        "(coalesce(study_uid, ''), coalesce(series_uid, ''), name, reader)"
    )
    db.table("label").create_index(["name"])
    db.table("label").create_index(["study_uid"])
    db.table("label").create_index(["series_uid"])


@MIGRATIONS(name="0003_hidden_withdrawn_merged")
def hiding(db: Database) -> None:
    """Let instances be rejected, patients withdraw, and two patients be one person."""
    db.table("instance").add_column("hidden", int, not_null_default=0)
    db.table("series").add_column("hidden", int, not_null_default=0)
    db.table("patient").add_column("withdrawn", int, not_null_default=0)
    db.table("study").add_column("filed", str, not_null_default="")
    db.execute("UPDATE study SET filed = patient")
    db.table("rejection").create(
        {"note_uid": str, "sop_uid": str, "title": str},
        pk=("note_uid", "sop_uid"),
        not_null={"note_uid", "sop_uid", "title"},
        strict=True,
    )
    db.table("rejection").create_index(["sop_uid"])
    db.table("standing").create(
        {"pseudonym": str, "person": str, "withdrawn": int},
        pk="pseudonym",
        not_null={"person", "withdrawn"},
        strict=True,
    )
    db.table("instance").create_index(["series_uid", "hidden"])


@MIGRATIONS(name="0004_size_of_series")
def sizes(db: Database) -> None:
    """Let a series say how many instances it shows and their bytes; NULL until it is quiet."""
    db.table("series").add_column("instances", int)
    db.table("series").add_column("size_bytes", int)


@MIGRATIONS(name="0005_label_versions")
def label_versions(db: Database) -> None:
    """Let a label say which version of the pseudonym key it names its images under."""
    db.table("label").add_column("version", int, not_null_default=1)


@MIGRATIONS(name="0006_label_sources")
def label_sources(db: Database) -> None:
    """Let a label be of a patient, come from a stored object, and be an adjudicated word."""
    db.table("label").add_column("patient", str)
    db.table("label").add_column("source", str, not_null_default="")
    db.table("label").add_column("adjudicated", int, not_null_default=0)
    # Labels of two versions of the key are of other UIDs and patients: they need no column here.
    db.execute("DROP INDEX one_word_each")
    db.execute(
        "CREATE UNIQUE INDEX one_word_each ON label "
        "(coalesce(study_uid, ''), coalesce(series_uid, ''), coalesce(patient, ''), name, reader, "
        "source)"
    )
    db.table("label").create_index(["patient"])
    db.table("label").create_index(["source"])
    db.table("study").create_index(["filed"])  # a patient's label is of all their studies
    _number_changes(db)


def _number_changes(db: Database) -> None:
    """Count what people change in labels.

    For a snapshot's mark: how many labels there are says nothing of `POSITIVE` that became
    `NEGATIVE`, nor does the sum of their lengths; and a digest of all values would take a second
    of every question where there are a million.
    """
    db.table("label_changes").create({"number": int}, not_null={"number"}, strict=True)
    db.execute("INSERT INTO label_changes (number) VALUES (0)")
    for name, change, applies in (
        ("added", "INSERT", "new.source = ''"),
        (
            "changed",
            "UPDATE",
            "new.source = '' AND (old.value <> new.value OR old.adjudicated <> new.adjudicated)",
        ),
        ("dropped", "DELETE", "old.source = ''"),
    ):
        db.execute(
            f"CREATE TRIGGER label_{name} AFTER {change} ON label WHEN {applies} "  # noqa: S608 - constants
            "BEGIN UPDATE label_changes SET number = number + 1; END"
        )
