"""What the data steward's commands and pages read and change."""

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.app.build import (
    build_audit,
    build_book,
    build_objects,
    build_pins,
    build_policy,
    build_secret,
    build_signers,
    build_vault,
)
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.desk.offers import Offers
from gateway.durable import replace_durably
from gateway.errors import ConfigurationFault, Refused
from gateway.policy import load_policy
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
    vault.show(entry)  # say so where there is none
    with _audit(config) as audit:
        audit.record("quarantine_dropped", entry=entry, by=by)
    vault.drop(entry)
    return {"entry": entry, "state": "erased"}


def approvals(config: GatewayConfig) -> Rows:
    with _offers(config) as offers:
        return [asdict(approval) for approval in offers.approvals()]


def approval(config: GatewayConfig, job: str, *, with_code: bool) -> dict[str, Any]:
    """Return what a steward needs to decide: purpose, terms, what would leave, and the code."""
    with _offers(config) as offers:
        shown = asdict(offers.approval(job))
        code = offers.code(job)
    if shown["leakage_bits_per_round"] < 0:
        shown["leakage_bits_per_round"] = "no leakage bound"
    if not with_code:
        return shown | {"files": {name: len(content) for name, content in code.items()}}
    return shown | {"files": {name: _text(content) for name, content in code.items()}}


def approve(config: GatewayConfig, job: str, by: str) -> dict[str, Any]:
    with _offers(config) as offers:
        offers.approve(job, by)
        return {"job_id": job, "stage": offers.approval(job).stage}


def reject(config: GatewayConfig, job: str, by: str, reason: str) -> dict[str, Any]:
    with _offers(config) as offers:
        offers.reject(job, by, reason)
        return {"job_id": job, "stage": offers.approval(job).stage}


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
    with _ledger(config) as ledger:
        found = asdict(ledger.verify())
        by_kind = {total.kind: total.size for total in ledger.totals()}
    return found | {"head": found["head"].hex(), "by_kind": by_kind}


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
    key = public_key
    if not KEY_FORM.fullmatch(key):
        try:
            key = Path(public_key).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigurationFault(
                f"{public_key} is neither 64 hex digits nor a file that holds them"
            ) from fault
    load_policy(config.policy_file)
    text = with_vendor(config.policy_file.read_text("utf-8"), name, key)
    replace_durably(config.policy_file, text.encode())
    with _audit(config) as audit:
        audit.record("vendor_pinned", vendor=name, public_key=key.lower(), by=by)
    return {"vendor": name, "public_key": key.lower()}


def _text(content: bytes) -> str:
    """Return a file for a reviewer's eyes; what is not text is named by its size."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"({len(content)} bytes that are not text)"


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
def _offers(config: GatewayConfig) -> Iterator[Offers]:
    book = build_book(config)
    try:
        with _audit(config) as audit:
            policy = build_policy(config)
            signers = build_signers(config, book, policy, audit)
            yield Offers(book, build_objects(config), policy, audit, signers)
    finally:
        book.close()


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
