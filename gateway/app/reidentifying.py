"""The way back: two custodians, a reason, the audit trail; then what a sealed record holds."""

import re
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from gateway.app.build import build_audit, build_secret, build_store, patient_keys
from gateway.app.care import PatientName, refuse_telling
from gateway.app.custodians import prove_two
from gateway.config import GatewayConfig
from gateway.deid.uids import remapped, renamed
from gateway.errors import ConfigurationFault, GatewayError, IntegrityFault
from gateway.model import Original, Pseudonym, PseudoUID
from gateway.store.files import Store
from gateway.store.index import Index

SHORTEST_REASON = 10
UID = re.compile(r"[0-9.]{1,64}")
PSEUDONYM = re.compile(r"[A-Z2-7]{16}")
# By what was asked for; a person's own name in the files, not whom it counts as.
PATHS = """
    SELECT 'patient' AS kind, study.filed AS patient, instance.path
    FROM instance JOIN series USING (series_uid) JOIN study USING (study_uid)
    WHERE study.filed = :asked GROUP BY study.study_uid
    UNION ALL
    SELECT 'study', study.filed, instance.path
    FROM instance JOIN series USING (series_uid) JOIN study USING (study_uid)
    WHERE study.study_uid = :asked GROUP BY study.study_uid
    UNION ALL
    SELECT 'series', '', path FROM instance WHERE series_uid = :asked GROUP BY series_uid
    UNION ALL
    SELECT 'instance', '', path FROM instance WHERE sop_uid = :asked
"""


def reidentify(
    config: GatewayConfig, asked: str, reason: str, pass_keys: Iterable[str]
) -> dict[str, Any]:
    """Say whose a pseudonym or pseudonymous UID is. On the trail before anything is said."""
    with closing(build_audit(config)) as audit:
        try:
            _require(asked, reason)
            first, second = prove_two(config, audit, pass_keys)
            kind, found = _originals(config, asked)
            for original in found:
                refuse_telling(reason, PatientName(original.patient_id))
        except GatewayError as fault:
            audit.record("reidentification_refused", asked=_safe(asked), why=type(fault).__name__)
            raise
        people = {"asked": asked, "first": first, "second": second}
        audit.record("reidentified", **people, reason=reason, kind=kind, studies=len(found))
        if not found:
            raise ConfigurationFault(
                "nothing here has that name: give a pseudonym or a pseudonymous UID, whole"
            )
    return {"asked": asked, "kind": kind, "people": [first, second], **_told(kind, found)}


def _require(asked: str, reason: str) -> None:
    if not (UID.fullmatch(asked) or PSEUDONYM.fullmatch(asked)):
        raise ConfigurationFault("this is neither a pseudonym (16 letters) nor a UID")
    if len(reason.strip()) < SHORTEST_REASON:
        raise ConfigurationFault("say why with --reason, in ten characters or more")


def _safe(asked: str) -> str:
    """Keep whatever was typed by mistake out of the trail."""
    return asked if PSEUDONYM.fullmatch(asked) or asked.startswith("2.25.") else "something else"


def _originals(config: GatewayConfig, asked: str) -> tuple[str, list[Original]]:
    """Open one record of each study that is meant; what cannot be opened is passed over."""
    secret = build_secret(config)
    store = build_store(config, secret)
    names = _names(asked, patient_keys(config, secret)[0])
    with closing(Index.open(config.index_file)) as index:
        rows = [row for one in names for row in index.read(PATHS, {"asked": one})]
    found = []
    for row in rows:
        with suppress(FileNotFoundError, IntegrityFault):
            found.append(_record(store, str(row["path"])))
    return (str(rows[0]["kind"]) if rows else "unknown"), found


def _names(asked: str, keys: tuple[bytes, ...]) -> Iterator[str]:
    """Yield a name as it was asked for, then as what each version of before would be called now."""
    yield asked
    for version in range(len(keys) - 1, 0, -1):
        later = keys[version:]
        yield (
            renamed(Pseudonym(asked), later)
            if PSEUDONYM.fullmatch(asked)
            else remapped(PseudoUID(asked), later)
        )


def _record(store: Store, path: str) -> Original:
    try:
        return store.record_of(store.path(path)).original
    except FileNotFoundError:  # indexed, not yet in its folder
        return store.record_of(store.arrivals.path / Path(path).name).original


def _told(kind: str, found: list[Original]) -> dict[str, Any]:
    """Say no more than was asked: a study's UID and day only where a study is meant."""
    people = sorted({(one.patient_id, one.issuer) for one in found})
    told: dict[str, Any] = {
        "patients": [{"patient_id": name, "issuer": issuer} for name, issuer in people],
    }
    if kind == "patient":
        return told | {"studies": len(found)}
    one = found[0]
    told |= {"study_uid": one.study_uid, "study_date": one.study_date}
    if kind in ("series", "instance"):
        told["series_uid"] = one.series_uid
    if kind == "instance":
        told["sop_uid"] = one.sop_uid
    return told
