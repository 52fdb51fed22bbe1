"""What the data steward's commands and pages read and change."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.app.build import (
    build_audit,
    build_pins,
    build_secret,
    build_vault,
)
from gateway.app.exits import exits
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.durable import replace_durably
from gateway.errors import ConfigurationFault, IntegrityFault, Refused
from gateway.notary import ledger_marks, open_book
from gateway.policy import load_policy
from gateway.policy import pin_hospital as with_hospital
from gateway.policy import pin_vendor as with_vendor
from gateway.release.ledger import Entry, Ledger
from gateway.release.messages import describe

Rows = list[dict[str, Any]]
KEY_FORM = re.compile(r"[0-9a-fA-F]{64}")


def quarantined(config: GatewayConfig) -> Rows:
    return [asdict(entry) for entry in build_vault(config, build_secret(config)).list()]


def quarantine_entry(config: GatewayConfig, entry: str) -> dict[str, Any]:
    return asdict(build_vault(config, build_secret(config)).show(entry))


def release_entry(config: GatewayConfig, entry: str, by: str) -> dict[str, Any]:
    build_vault(config, build_secret(config)).release(entry)
    with _audit(config) as audit:
        audit.record("quarantine_released", entry=entry, by=by)
    return {"entry": entry, "state": "will be tried again"}


def drop_entry(config: GatewayConfig, entry: str, by: str) -> dict[str, Any]:
    vault = build_vault(config, build_secret(config))
    with suppress(IntegrityFault):  # what does not open any more can still be erased
        vault.show(entry)  # say so where there is none
    with _audit(config) as audit:
        audit.record("quarantine_dropped", entry=entry, by=by)
    vault.drop(entry)
    return {"entry": entry, "state": "erased"}


def sent(config: GatewayConfig, newest: int) -> Rows:
    """Return the ledger's entries, the newest last; all of them when `newest` is 0."""
    with _ledger(config) as ledger:
        return [_entry_row(entry) for entry in deque(ledger.entries(), maxlen=newest or None)]


def sent_entry(config: GatewayConfig, number: int) -> dict[str, Any]:
    with _ledger(config) as ledger:
        entry = ledger.entry(number)
        if entry is None:
            raise ConfigurationFault(f"the ledger has no entry {number}")
        payload = ledger.payload(entry)
    row = _entry_row(entry)
    row["message"] = "erased under retention" if payload is None else describe(entry.kind, payload)
    return row


def verify_ledger(config: GatewayConfig) -> dict[str, Any]:
    # The checkpoints first: what is sent meanwhile is in the ledger alone.
    with closing(open_book(config.checkpoints_file)) as book, _ledger(config) as ledger:
        found = asdict(ledger.verify(marks := ledger_marks(book)))
        by_kind = {total.kind: total.size for total in ledger.totals()}
    return found | {"head": found["head"].hex(), "by_kind": by_kind, "checkpoints": len(marks)}


def bits_accounts(config: GatewayConfig) -> Rows:
    """Return what each vendor's jobs can have carried out of each data set."""
    from gateway.release.bits import BitsLedger

    bits = BitsLedger.open(config.bits_file)
    try:
        return [asdict(account) for account in bits.accounts()]
    finally:
        bits.close()


def export_ledger(config: GatewayConfig, out: Path) -> dict[str, Any]:
    """Write every entry with its link as a line of JSON, for whoever recomputes the chain."""
    count = 0
    if out.exists():
        raise ConfigurationFault(f"{out} exists already: name another file")
    with _ledger(config) as ledger, out.open("x", encoding="utf-8") as file:
        for entry in ledger.entries():
            file.write(json.dumps(_entry_row(entry) | {"link": entry.link.hex()}) + "\n")
            count += 1
    return {"file": str(out), "entries": count}


def audited(config: GatewayConfig, newest: int) -> Rows:
    with _audit(config) as audit:
        rows = [asdict(event) for event in audit.events()]
    return rows[-newest:] if newest else rows


def verify_audit(config: GatewayConfig) -> dict[str, Any]:
    with _audit(config) as audit:
        return {"entries": audit.verify(), "chain": "unbroken"}


def policy_document(config: GatewayConfig) -> dict[str, Any]:
    """Return the rules in force, and what is pinned."""
    rules = load_policy(config.policy_file).model_dump(mode="json")
    return rules | {"pinned": build_pins(config).document()}


def check_policy(config: GatewayConfig) -> dict[str, Any]:
    """Say whether the rules are valid, and what they would find pinned."""
    policy, pins = load_policy(config.policy_file), build_pins(config)
    facts: dict[str, Any] = {"policy": str(config.policy_file), "valid": True}
    facts["exits"] = exits(config)
    manifest, demands = pins.manifest(), policy.trust.signed_questions or policy.trust.reviewers
    if manifest is None:
        facts["manifest"] = "none is pinned: what the policy demands nobody can sign"
        return facts if demands else facts | {"manifest": "none is pinned, and none is needed"}
    until = datetime.fromtimestamp(manifest.expires, UTC).date().isoformat()
    state = "in force" if pins.document()["in_force"] else "NOT in force"
    return facts | {"manifest": f"version {manifest.version}, {state}, until {until}"}


def pin(config: GatewayConfig, file: Path, by: str, *, another: bool) -> dict[str, Any]:
    """Pin what the federation's authority signed; a root beside another only on demand."""
    try:
        raw = file.read_bytes()
    except OSError as fault:
        raise ConfigurationFault(f"{file} cannot be read: {fault.strerror}") from fault
    pins = build_pins(config)
    try:
        pinned = pins.pin(raw, another=another)
    except Refused as fault:
        with _audit(config) as audit:
            audit.record("pin_refused", says=str(fault), by=by)
        raise
    with _audit(config) as audit:
        audit.record("pinned", by=by, **{key: str(value) for key, value in pinned.items()})
    return pinned


def unpin_root(config: GatewayConfig, which: str, by: str) -> dict[str, Any]:
    build_pins(config).unpin_root(which)
    with _audit(config) as audit:
        audit.record("root_unpinned", fingerprint=which, by=by)
    return {"unpinned": which}


def pin_vendor(config: GatewayConfig, name: str, public_key: str, by: str) -> dict[str, Any]:
    """Name a vendor in the policy; the key is given in hex, or as a file that holds it."""
    return _pin(config, "vendor", name, public_key, with_vendor, by)


def pin_hospital(config: GatewayConfig, name: str, public_key: str, by: str) -> dict[str, Any]:
    """Name another hospital in the policy, with whom this one adds up."""
    return _pin(config, "hospital", name, public_key, with_hospital, by)


def _pin(
    config: GatewayConfig,
    what: str,
    name: str,
    public_key: str,
    added: Callable[[str, str, str], str],
    by: str,
) -> dict[str, Any]:
    key = public_key
    if not KEY_FORM.fullmatch(key):
        try:
            key = Path(public_key).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigurationFault(
                f"{public_key} is neither 64 hex digits nor a file that holds them"
            ) from fault
    load_policy(config.policy_file)
    text = added(config.policy_file.read_text("utf-8"), name, key)
    replace_durably(config.policy_file, text.encode())
    with _audit(config) as audit:
        audit.record(f"{what}_pinned", **{what: name}, public_key=key.lower(), by=by)
    return {what: name, "public_key": key.lower()}


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": entry.at,
        "kind": entry.kind,
        "reference": entry.reference,
        "rule": entry.rule,
        "approved_by": entry.approved_by,
        "size": entry.size,
        "sha256": entry.digest.hex(),
    }


@contextmanager
def _audit(config: GatewayConfig) -> Iterator[AuditTrail]:
    audit = build_audit(config)
    try:
        yield audit
    finally:
        audit.close()


@contextmanager
def _ledger(config: GatewayConfig) -> Iterator[Ledger]:
    ledger = Ledger.open(config.ledger_file)
    try:
        yield ledger
    finally:
        ledger.close()
