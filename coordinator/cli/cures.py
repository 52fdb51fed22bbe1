"""What a refusal's closed word means, and what to do about it."""

from collections.abc import Mapping
from types import MappingProxyType

OLDER = "its gateway is older than this question: ask it without, or have the hospital update"
SPENT = "public tables (--public) and repeats stay free; the budget is new each year"
NOT_BELIEVED = "see `radfed project ls`, and that the federation's manifest names your key"
CURES: Mapping[str, str] = MappingProxyType(
    {
        # the question is not understood
        "unknown_field": OLDER,
        "unknown_unit": OLDER,
        "unknown_operator": OLDER,
        "unknown_value": OLDER,
        "unknown_tier": OLDER,
        "no_public_table": OLDER,
        "value_count": "compare with one value, or with IN and at most 64",
        "too_many_predicates": "at most six conditions",
        "too_many_groups": "break down by at most two fields",
        "repeated_group": "break down by each field once",
        "exact_patients_only": "an exact table counts patients",
        # the hospital's budget
        "site_budget": f"the hospital's budget for this year is spent: {SPENT}",
        "requester_budget": f"your share of the hospital's budget is spent: {SPENT}",
        "ledger_unreconciled": "the hospital restored a backup: its steward reconciles the ledger",
        "rotation_under_way": "the hospital rotates its keys: ask again when it is done",
        # the hospital's policy
        "questions_disabled": "the hospital answers no questions now: ask its data steward",
        "field_refused": "the hospital does not answer one of these fields: ask without it",
        "public_tables_disabled": "the hospital makes no public tables: ask it without --public",
        "exact_needs_signatures": "exact tables are for hospitals that demand signatures",
        "project_not_signed_off": "the hospital has not signed for exact tables for this project: "
        "ask its data steward, or ask without --exact",
        "exact_audit": "with the tables given before, this one would betray a small cell: "
        "ask for fewer cells, or without --exact",
        "audit_too_large": "too many cells to audit this quarter: ask for fewer, "
        "or without --exact",
        "snapshot_outdated": "somebody withdrew since the quarter's snapshot: "
        "new exact tables come next quarter",
        # who asks
        "unsigned": "sign it: --key requester.key",
        "no_manifest": "the hospital has pinned no manifest: its steward runs "
        "`radfed gateway policy pin`",
        "manifest_expired": "the federation's manifest has ended: its custodians sign a new one",
        "unknown_signer": NOT_BELIEVED,
        "wrong_role": NOT_BELIEVED,
        "signer_expired": NOT_BELIEVED,
        "bad_signature": "another key, or a gateway older than --public and --exact",
        "signature_expired": "sign again; is this machine's clock right?",
        "valid_too_long": "a signature counts for at most two days: a shorter --deadline",
        "replayed": "a signature counts once: ask again",
        "unknown_project": NOT_BELIEVED,
        "project_expired": NOT_BELIEVED,
        "wrong_organisation": NOT_BELIEVED,
        "wrong_hospital": "the project does not name this hospital",
        # of the coordinator
        "quorum_reached": "enough others answered first: ask without --quorum to wait for it",
    }
)
OFFLINE = "not heard in time: see `radfed site ls`, or a longer --deadline"


def cure(state: str, rule: str) -> str:
    """Return what to do about one hospital's answer; empty where nothing is to be done."""
    if rule:
        return CURES.get(rule, "this coordinator is older than the gateway: have it updated")
    return OFFLINE if state == "OFFLINE" else ""
