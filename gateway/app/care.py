"""Care of what is held: patients merged or withdrawn, the index rebuilt from its files."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.app.build import (
    build_audit,
    build_deidentifier,
    build_register,
    build_secret,
    build_store,
    build_vault,
)
from gateway.app.process import harden, only_one
from gateway.config import GatewayConfig
from gateway.deid.uids import canonical_id, is_placeholder
from gateway.errors import ConfigurationFault, IntegrityFault
from gateway.line.damage import set_aside
from gateway.model import Pseudonym
from gateway.store.index import Index
from gateway.store.patients import Register
from gateway.store.reindex import Rebuilt, reindex
from gateway.store.standing import Decision, Kind

STUDIES_OF = "SELECT count(*) AS studies FROM study WHERE patient = ?"
SHORTEST_TELLING = 4  # an ID this short stands in many an innocent sentence


@dataclass(frozen=True, slots=True)
class PatientName:
    """A patient as the hospital names them: it ends here, and a pseudonym goes on."""

    patient_id: str
    issuer: str = ""

    def __repr__(self) -> str:
        return "PatientName(...)"


def merge_patients(
    config: GatewayConfig,
    old: PatientName,
    new: PatientName,
    by: str,
    reason: str,
    *,
    undo: bool,
) -> dict[str, Any]:
    """Let two patient IDs count as one person, or as two again."""
    refuse_telling(reason, old, new)
    from_, into = _pseudonyms(config, old, new)
    kind, event = (
        (Kind.SEPARATED, "patients_separated") if undo else (Kind.MERGED, "patients_merged")
    )
    facts = {"old": from_, "new": into, "by": by, "reason": reason}
    changed = _decide(config, Decision(kind, from_, into), event, facts)
    return {"old": from_, "new": into, "changed": changed, "studies": _studies(config, into)}


def optout_patient(
    config: GatewayConfig, who: PatientName, by: str, reason: str, *, undo: bool
) -> dict[str, Any]:
    """Take a patient out of every question and cohort, those to come too; or back in."""
    refuse_telling(reason, who)
    (pseudonym,) = _pseudonyms(config, who)
    kind, event = (
        (Kind.READMITTED, "patient_readmitted") if undo else (Kind.WITHDRAWN, "patient_withdrawn")
    )
    facts = {"patient": pseudonym, "by": by, "reason": reason}
    changed = _decide(config, Decision(kind, pseudonym), event, facts)
    with _register(config) as register:
        standing = register.standings().get(pseudonym)
    person = standing.person if standing else pseudonym
    return {
        "patient": pseudonym,
        "state": "withdrawn" if standing and standing.withdrawn else "counted",
        "changed": changed,
        "studies": _studies(config, person),
    }


def decided_patients(config: GatewayConfig) -> list[dict[str, Any]]:
    """Return everybody about whom something was decided: pseudonyms and states."""
    with _register(config) as register:
        known = register.decided()
    return [
        {
            "patient": pseudonym,
            "counts_as": standing.person,
            "state": "withdrawn" if standing.withdrawn else "counted",
        }
        for pseudonym, standing in sorted(known.items())
    ]


def rebuild_index(
    config: GatewayConfig, by: str, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Rebuild the index of a stopped gateway; damaged files go to quarantine."""
    harden(config.run_as)
    with only_one(config.run_dir / "lock"):
        moved_away = _move_damaged_index(config.index_file)
        store = build_store(config, build_secret(config))
        with closing(Index.open(config.index_file)) as index, _register(config) as register:
            rebuilt = reindex(store, index, time.time(), register.standings, progress)
            counts = index.counts()
        quarantined = _set_aside(config, rebuilt)
        with closing(build_audit(config)) as audit:
            audit.record(
                "index_rebuilt",
                by=by,
                instances=rebuilt.instances,
                forgotten=rebuilt.forgotten,
                damaged=len(rebuilt.damaged),
            )
    return {
        "instances": rebuilt.instances,
        "hidden": counts["hidden"],
        "withdrawn": counts["withdrawn"],
        "forgotten": rebuilt.forgotten,
        "damaged": len(rebuilt.damaged),
        "quarantined": quarantined,
        "damaged_index": moved_away,
    }


def _set_aside(config: GatewayConfig, rebuilt: Rebuilt) -> list[str]:
    """Quarantine what does not open; with a key that opens little, nothing is touched."""
    if not rebuilt.trusts_its_key:
        raise IntegrityFault(
            f"{len(rebuilt.damaged)} seals do not open and {rebuilt.opened} do: this is hardly "
            "the key they were made with; restore keys/site.secret from its escrow, then try again"
        )
    secret = build_secret(config)
    store, vault = build_store(config, secret), build_vault(config, secret)
    with closing(build_audit(config)) as audit:
        now = datetime.now(UTC)
        return [set_aside(store, vault, path, audit, now) for path in rebuilt.damaged]


def _move_damaged_index(path: Path) -> str | None:
    """Make way for a new index where the old one cannot be read; its labels go with it."""
    try:
        Index.open(path).close()
    except IntegrityFault:
        aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        path.rename(aside)
        for companion in ("-wal", "-shm"):
            path.with_name(path.name + companion).unlink(missing_ok=True)
        return aside.name
    return None


def _decide(config: GatewayConfig, decision: Decision, event: str, facts: dict[str, str]) -> bool:
    """Record a decision, on the trail first, and let the index follow; repeatable."""
    with (
        _register(config) as register,
        closing(build_audit(config)) as audit,
        closing(Index.open(config.index_file)) as index,
    ):
        changed = register.decide(decision, lambda: audit.record(event, **facts))
        index.restate(register.standings)
    return changed


def _pseudonyms(config: GatewayConfig, *names: PatientName) -> list[Pseudonym]:
    if any(is_placeholder(name.patient_id) for name in names):
        raise ConfigurationFault(
            "this ID stands for no patient (empty, a placeholder): nobody is counted by it"
        )
    engine = build_deidentifier(config, build_secret(config))
    return [engine.pseudonym(name.patient_id, name.issuer) for name in names]


def refuse_telling(reason: str, *names: PatientName) -> None:
    """Keep the ID out of the trail, where reasons are kept for ever."""
    told = canonical_id(re.sub(r"[-_.]", "", reason))
    for name in names:
        bare = canonical_id(re.sub(r"[-_.]", "", name.patient_id))
        if len(bare) >= SHORTEST_TELLING and bare in told:
            raise ConfigurationFault("the reason names the patient: say it without the ID")


def _studies(config: GatewayConfig, person: Pseudonym) -> int:
    with closing(Index.open(config.index_file)) as index:
        return int(index.read(STUDIES_OF, (person,))[0]["studies"])


@contextmanager
def _register(config: GatewayConfig) -> Iterator[Register]:
    with closing(build_register(config, build_secret(config))) as register:
        yield register
