"""What a hospital's answer means: its state, and the closed word of its refusal with a cure."""

from collections.abc import Mapping

from protos.pages.words import _

# The six states, kept apart wherever answers are shown.
STATES: Mapping[str, str] = {
    "VALUE": _("figures are given"),
    "BELOW_THRESHOLD": _("every figure is under the hospital's threshold"),
    "REFUSED_BUDGET": _("the privacy budget is spent"),
    "REFUSED_POLICY": _("the hospital's policy does not answer this"),
    "NOT_SUPPORTED": _("its gateway does not know this question"),
    "OFFLINE": _("not heard in time"),
}

_OLDER = _("Its gateway is older than this question: ask without it, or have the hospital update.")
_SPENT = _("Public tables and repeats stay free; the budget is new each year.")
_KEY = _("See the pages Projects and People and keys: does the manifest name this key and project?")
RULES: Mapping[str, str] = {
    "unknown_field": _OLDER,
    "unknown_unit": _OLDER,
    "unknown_operator": _OLDER,
    "unknown_value": _OLDER,
    "unknown_tier": _OLDER,
    "no_public_table": _OLDER,
    "value_count": _("Compare with one value, or with IN and at most 64."),
    "too_many_predicates": _("At most six conditions."),
    "too_many_groups": _("Break down by at most two fields."),
    "repeated_group": _("Break down by each field once."),
    "exact_patients_only": _("An exact table counts patients."),
    "site_budget": _SPENT,
    "requester_budget": _SPENT,
    "ledger_unreconciled": _("It restored a backup: its steward reconciles the ledger."),
    "rotation_under_way": _("It rotates its keys: ask again when that is done."),
    "questions_disabled": _("It answers no questions now: ask its data steward."),
    "field_refused": _("It does not answer one of these fields: ask without it."),
    "public_tables_disabled": _("It makes no public tables: ask with noise."),
    "exact_needs_signatures": _("Exact tables are for hospitals that demand signatures."),
    "project_not_signed_off": _("It has not signed for exact tables for this project."),
    "exact_audit": _("With the tables given before, this one would betray a small cell."),
    "audit_too_large": _("Too many cells to audit this quarter: ask for fewer."),
    "snapshot_outdated": _("Somebody withdrew since the snapshot: exact tables come next quarter."),
    "unsigned": _("It answers signed questions alone: sign this one."),
    "no_manifest": _("It has pinned no manifest: its steward pins one."),
    "manifest_expired": _("The manifest has ended: its custodians sign a new one."),
    "unknown_signer": _KEY,
    "wrong_role": _KEY,
    "signer_expired": _KEY,
    "bad_signature": _("Another key signed, or the question was changed after it."),
    "signature_expired": _("The signature has ended: sign again."),
    "valid_too_long": _("A signature counts for two days at most."),
    "replayed": _("A signature counts once: sign again."),
    "unknown_project": _KEY,
    "project_expired": _KEY,
    "wrong_organisation": _KEY,
    "wrong_hospital": _("The project does not name this hospital."),
    "quorum_reached": _("Enough others answered first."),
}
