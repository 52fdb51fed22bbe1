"""Commands of the data steward: quarantine, ledger, policy, audit."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.owner import load_as_owner
from gateway.cli.report import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    Who,
    door,
    report,
    report_table,
    require_terminal,
)

Entry = Annotated[str, typer.Argument(help="An entry's identifier, as `ls` shows it.")]
QUARANTINE_COLUMNS = ("id", "received", "sender", "reason", "place", "size_bytes")
BITS_COLUMNS = ("vendor", "dataset", "charges", "bits", "unbounded", "rho", "epsilon", "exact")
LEDGER_COLUMNS = ("number", "at", "kind", "reference", "rule", "approved_by", "size", "sha256")


def add_to(gateway: typer.Typer) -> None:
    groups: dict[str, tuple[str, tuple[tuple[str, Callable[..., None]], ...]]] = {
        "quarantine": ("What could not be kept, and why.", (
            ("ls", quarantine_ls), ("show", quarantine_show),
            ("release", quarantine_release), ("drop", quarantine_drop))),
        "ledger": ("What left this hospital.", (
            ("ls", ledger_ls), ("show", ledger_show), ("verify", ledger_verify),
            ("bits", ledger_bits), ("export", ledger_export))),
        "policy": ("The hospital's own rules.", (
            ("show", policy_show), ("check", policy_check), ("pin", policy_pin),
            ("unpin", policy_unpin), ("pin-vendor", policy_pin_vendor),
            ("pin-hospital", policy_pin_hospital))),
        "audit": ("Who decided what, when.", (("ls", audit_ls), ("verify", audit_verify))),
    }  # fmt: skip
    for name, (text, commands) in groups.items():
        group = typer.Typer(help=text, no_args_is_help=True)
        for verb, command in commands:
            group.command(verb)(door(command))
        gateway.add_typer(group, name=name)


def quarantine_ls(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List what waits in quarantine: reasons and places, never a patient.

    Example: radfed gateway quarantine ls
    """
    from gateway.app.steward import quarantined

    rows = quarantined(load_as_owner(config))
    report_table(rows, QUARANTINE_COLUMNS, as_json=as_json, empty="nothing is in quarantine")


def quarantine_show(
    entry: Entry, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False
) -> None:
    """Show one entry: why it is here and what to change.

    Example: radfed gateway quarantine show ENTRY
    """
    from gateway.app.steward import quarantine_entry

    report(quarantine_entry(load_as_owner(config), entry), as_json=as_json)


def quarantine_release(
    entry: Entry, config: ConfigPath = DEFAULT_CONFIG, by: Who = "unknown", as_json: AsJson = False
) -> None:
    """Try an entry again, for instance after the profile or the peer's settings were changed.

    Example: radfed gateway quarantine release ENTRY --by li
    """
    from gateway.app.steward import release_entry

    report(release_entry(load_as_owner(config), entry, by), as_json=as_json)


def quarantine_drop(
    entry: Entry,
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase an entry for ever: its key is destroyed first.

    Example: radfed gateway quarantine drop ENTRY --by li --yes
    """
    from gateway.app.steward import drop_entry

    if not yes:
        require_terminal("--yes")
        typer.confirm(f"Erase {entry} for ever?", abort=True)
    report(drop_entry(load_as_owner(config), entry, by), as_json=as_json)


def ledger_ls(
    config: ConfigPath = DEFAULT_CONFIG,
    newest: Annotated[int, typer.Option(help="How many entries; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what was sent, the newest last.

    Example: radfed gateway ledger ls --newest 10
    """
    from gateway.app.steward import sent

    rows = sent(load_as_owner(config), newest)
    report_table(rows, LEDGER_COLUMNS, as_json=as_json, empty="nothing has left this hospital")


def ledger_show(
    number: Annotated[int, typer.Argument(help="The entry's number.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show one entry with the message that was sent.

    Example: radfed gateway ledger show 1
    """
    from gateway.app.steward import sent_entry

    report(sent_entry(load_as_owner(config), number), as_json=as_json)


def ledger_verify(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Recompute the hash chain and every payload's digest; say how many bytes left in total.

    Example: radfed gateway ledger verify
    """
    from gateway.app.steward import verify_ledger

    report(verify_ledger(load_as_owner(config)), as_json=as_json)


def ledger_bits(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show what each vendor's jobs can have carried out of each data set, in bits and epsilon.

    Example: radfed gateway ledger bits
    """
    from gateway.app.steward import bits_accounts

    rows = bits_accounts(load_as_owner(config))
    report_table(rows, BITS_COLUMNS, as_json=as_json, empty="no vendor's job has run here")


def ledger_export(
    out: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write all entries as lines of JSON, with the links of their chain and without payloads.

    Example: radfed gateway ledger export ledger.jsonl
    """
    from gateway.app.steward import export_ledger

    report(export_ledger(load_as_owner(config), out), as_json=as_json)


def policy_show(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show the rules in force.

    Example: radfed gateway policy show
    """
    from gateway.app.steward import policy_document

    report(policy_document(load_as_owner(config)), as_json=as_json)


def policy_check(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check the policy file, and whether what is pinned can satisfy it; change nothing.

    Example: radfed gateway policy check
    """
    from gateway.app.steward import check_policy

    loaded = load_as_owner(config)
    report(check_policy(loaded), as_json=as_json)


def policy_pin(
    file: Annotated[Path, typer.Argument(help="A root's certificate, its successor, a manifest.")],
    config: ConfigPath = DEFAULT_CONFIG,
    another: Annotated[
        bool, typer.Option("--another", help="Pin a root beside the one that is pinned.")
    ] = False,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Pin whom this hospital believes: the federation's root, and the manifest it signed.

    Example: radfed gateway policy pin manifest.json
    """
    from gateway.app.steward import pin

    loaded = load_as_owner(config, reads=file)
    report(pin(loaded, file, by, another=another), as_json=as_json)


def policy_unpin(
    fingerprint: Annotated[str, typer.Argument(help="The root's, as `policy show` has it.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Let go of a root, such as one whose successor is pinned.

    Example: radfed gateway policy unpin 3f1c
    """
    from gateway.app.steward import unpin_root

    report(unpin_root(load_as_owner(config), fingerprint, by), as_json=as_json)


def policy_pin_vendor(
    name: Annotated[str, typer.Argument(help="What you call the vendor.")],
    public_key: Annotated[str, typer.Argument(help="The vendor's public key: hex, or a file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Let a vendor's signed bundles reach the approvals inbox.

    Example: radfed gateway policy pin-vendor phantom-labs phantom-labs.pub --by li
    """
    from gateway.app.steward import pin_vendor

    report(pin_vendor(load_as_owner(config), name, public_key, by), as_json=as_json)


def policy_pin_hospital(
    name: Annotated[str, typer.Argument(help="The hospital's name in the federation.")],
    public_key: Annotated[str, typer.Argument(help="Its key for secure sums: hex, or a file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    by: Who = "unknown",
    as_json: AsJson = False,
) -> None:
    """Add up with another hospital; take its key from its own people, not from the coordinator.

    Example: radfed gateway policy pin-hospital anlan anlan.pub --by li
    """
    from gateway.app.steward import pin_hospital

    report(pin_hospital(load_as_owner(config), name, public_key, by), as_json=as_json)


def audit_ls(
    config: ConfigPath = DEFAULT_CONFIG,
    newest: Annotated[int, typer.Option(help="How many entries; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List decisions and refusals, the newest last.

    Example: radfed gateway audit ls --newest 10
    """
    from gateway.app.steward import audited

    rows = audited(load_as_owner(config), newest)
    report_table(rows, ("number", "at", "event", "facts"), as_json=as_json, empty="nothing yet")


def audit_verify(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Recompute the audit trail's hash chain.

    Example: radfed gateway audit verify
    """
    from gateway.app.steward import verify_audit

    report(verify_audit(load_as_owner(config)), as_json=as_json)
