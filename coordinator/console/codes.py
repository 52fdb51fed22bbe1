"""Closed words of hospitals in sentences: why a job was refused, failed or withheld there."""

from collections.abc import Mapping
from types import MappingProxyType

from protos.pages.words import _

# A code that is not here comes from a newer gateway, and is shown as it is.
CODES: Mapping[str, str] = MappingProxyType(
    {
        # in the sandbox
        "code_failed": _("the vendor's code raised, crashed or gave up"),
        "import_missing": _("the code imports what the hospital's runtime does not have"),
        "out_of_memory": _("it took more memory than the manifest declares"),
        "wall_limit": _("it took longer than the manifest declares"),
        "output_limit": _("it wrote more than a job may"),
        "output_malformed": _("it left no plain files of the declared names"),
        "too_many_bad_cases": _("more cases could not be read than the manifest allows"),
        "withdrawn": _("it was withdrawn while it ran"),
        "sandbox_fault": _("the hospital's sandbox failed: ask the hospital"),
        # what came out
        "update_missing": _("it brought no update"),
        "update_malformed": _("its update is no safetensors file"),
        "schema_mismatch": _("its update has other tensors than the manifest declares"),
        "not_finite": _("its update holds values that are no numbers"),
        "no_leakage_bound": _("the hospital wants noise, and the manifest has none (sigma = 0)"),
        "predictions_missing": _("it brought no predictions"),
        "predictions_malformed": _("its predictions are no table of case and score"),
        "unknown_case": _("it scored a case it was not given"),
        "missing_case": _("it left out a case"),
        "duplicate_case": _("it scored a case twice"),
        "score_out_of_range": _("a score lies outside 0 to 1"),
        "too_few_cases": _("fewer than 10 cases with or without the finding"),
        "statistics_too_large": _("its statistics are larger than a message"),
        "metrics_malformed": _("its metrics are no table of names and numbers"),
        "metric_undeclared": _("it reported a metric the manifest does not declare"),
        "metric_out_of_bounds": _("a metric lies outside its declared bounds"),
        "too_few_patients": _("a metric was of fewer than 10 patients"),
        "malformed_update": _("what arrived as its update cannot be added to the model"),
        "malformed_report": _("what arrived as its report cannot be one"),
        "no_report": _("it had not reported by the deadline"),
        "other_protocol": _("it counted by another protocol than the bundle's"),
        # the hospital's rules
        "jobs_disabled": _("the hospital takes no jobs"),
        "sandbox_unavailable": _("the hospital cannot confine a job now"),
        "unknown_vendor": _("the hospital does not know this vendor: it pins vendors' keys"),
        "bad_signature": _("a signature does not fit what it should sign"),
        "bad_digest": _("the bundle is not the one that was offered"),
        "bundle_too_large": _("the bundle is larger than the hospital takes"),
        "bad_manifest": _("job.toml says what cannot be"),
        "manifest_differs": _("job.toml says other than the offer"),
        "too_many_rounds": _("more rounds than the hospital allows"),
        "too_little_noise": _("less noise than the hospital demands"),
        "leakage_budget": _("it could carry more bits than the hospital allows a job"),
        "vendor_budget": _("the vendor's bits at this hospital are spent"),
        "resources": _("it asks for more memory or time than the hospital gives"),
        "gpu_refused": _("it asks for more GPUs than the hospital gives"),
        "cohort_unsupported": _("the hospital cannot choose such a cohort"),
        "steward_rejected": _("the hospital's steward rejected it"),
        "not_approved": _("the hospital has not approved it"),
        "deadline_passed": _("the round's deadline had passed"),
        "round_out_of_range": _("the job has no such round"),
        "weights_too_large": _("the weights are larger than the hospital takes"),
        "cohort_too_small": _("too few patients fit its cohort"),
        "labels_missing": _("too many of its cases have no label there"),
        "gpu_absent": _("the hospital has no GPU for it"),
        "runtime_absent": _("the hospital does not offer its runtime"),
        "too_many_attempts": _("it was begun too often without an end"),
        "looks_exhausted": _("this product has had its looks at this test set"),
        "protocol_differs": _("another protocol was fixed for this test set"),
        "not_a_test_hospital": _("the hospital does not test this label"),
        "test_hospital": _("the hospital tests this label, and does not train on it"),
        "trained_here": _("this product was trained on these patients"),
        "rotation_under_way": _("its pseudonyms are being rotated: try again later"),
        "ledger_unreconciled": _("its ledger was restored and is not reconciled yet"),
        # secure sums, and the signed story of the rounds
        "reference_missing": _("nobody there drew the finding"),
        "superseded": _("a later round of the job had begun"),
        "chain_broken": _("the round's weights do not follow from the rounds that were signed"),
        "secure_sum_only": _("the hospital lets this leave in a secure sum alone"),
        "roster_unpinned": _("the hospital knows too few others for a secure sum"),
        "roster_stranger": _("a hospital of the sum is not known there"),
        "roster_forged": _("an entry of the sum's roster was not signed by its hospital"),
        "roster_other_weights": _("the roster of the sum is of other weights"),
        "roster_differs": _("a second roster came for the same round"),
        "shares_forged": _("shares of the sum do not open"),
        "survivors_forged": _("who is left in the sum does not fit its roster"),
        "survivors_differ": _("other hospitals are said to be left than were signed"),
        "transcript_forged": _("too few hospitals signed who is left in the sum"),
        "sum_too_small": _("fewer hospitals are in the sum than the hospital demands"),
        "sum_unfinished": _("too few hospitals were left to open the sum"),
        "sum_late": _("the others of the secure sum were done before it"),
        "sum_full": _("the secure sum had as many hospitals as it can have"),
        "round_replayed": _("the round was summed before under another name"),
        # signatures
        "unsigned": _("it is not signed"),
        "no_manifest": _("no manifest of the root is in force"),
        "manifest_expired": _("the manifest of the root has run out"),
        "unknown_signer": _("the manifest does not know the signer"),
        "wrong_role": _("the signer has another role"),
        "signer_expired": _("the signer's time has run out"),
        "signature_expired": _("the signed terms have run out: submit it again"),
        "valid_too_long": _("it is signed for longer than is allowed"),
        "replayed": _("the same signature came before"),
        "too_few_reviews": _("the hospital demands more reviews"),
        "unknown_project": _("the manifest does not know the project"),
        "project_expired": _("the project has run out"),
        "wrong_organisation": _("the signer's organisation may not sign this"),
        "wrong_hospital": _("the project or the terms do not name this hospital"),
        "terms_differ": _("the offer goes beyond what was signed"),
    }
)


def in_words(code: str) -> tuple[str, str]:
    """Return a code's sentence and the name of the manifest's it is about, either of them empty."""
    word, _colon, subject = code.partition(":")
    return CODES.get(word, ""), subject
