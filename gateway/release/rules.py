"""What may leave: every outbound message is checked field by field against closed sets."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, lgamma, log, log2

from protos.job_manifest import MetricSpec
from protos.scores import BINS
from protos.signatures import Distrust
from protos.transcripts import bears_its_signature
from protos.v1 import job_pb2, link_pb2, question_pb2
from protos.vocabulary import EXACT_CELL_AT_LEAST, FIELDS, OTHER, UNKNOWN

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
HOUSE = re.compile(r"(?:gateway|coordinator)/[a-z0-9-]{1,63}")
EPOCH = re.compile(r"[0-9]{4}Q[1-4]")
DIGEST_BYTES = 32
MIN_CASES = 10  # of each label, before a histogram may leave
WORDS = {word for known in FIELDS.values() for word in known.bins} | {OTHER, UNKNOWN}


class Rule(StrEnum):
    """Every word that may say why something was refused: a closed set, for words are channels."""

    # questions
    QUESTIONS_DISABLED = "questions_disabled"
    FIELD_REFUSED = "field_refused"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_UNIT = "unknown_unit"
    UNKNOWN_OPERATOR = "unknown_operator"
    UNKNOWN_VALUE = "unknown_value"
    VALUE_COUNT = "value_count"
    TOO_MANY_PREDICATES = "too_many_predicates"
    TOO_MANY_GROUPS = "too_many_groups"
    REPEATED_GROUP = "repeated_group"
    UNKNOWN_TIER = "unknown_tier"
    PUBLIC_DISABLED = "public_tables_disabled"
    NO_PUBLIC_TABLE = "no_public_table"
    EXACT_PATIENTS_ONLY = "exact_patients_only"
    EXACT_UNSIGNED = "exact_needs_signatures"
    NOT_SIGNED_OFF = "project_not_signed_off"
    EXACT_AUDIT = "exact_audit"
    AUDIT_TOO_LARGE = "audit_too_large"
    SNAPSHOT_OUTDATED = "snapshot_outdated"
    SITE_BUDGET = "site_budget"
    REQUESTER_BUDGET = "requester_budget"
    ROTATION_UNDER_WAY = "rotation_under_way"  # half the store has other pseudonyms: rounds too
    LEDGER_UNRECONCILED = "ledger_unreconciled"
    # offers
    JOBS_DISABLED = "jobs_disabled"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    UNKNOWN_VENDOR = "unknown_vendor"
    BAD_SIGNATURE = "bad_signature"
    BAD_DIGEST = "bad_digest"
    BUNDLE_TOO_LARGE = "bundle_too_large"
    BAD_MANIFEST = "bad_manifest"
    MANIFEST_DIFFERS = "manifest_differs"
    TOO_MANY_ROUNDS = "too_many_rounds"
    TOO_LITTLE_NOISE = "too_little_noise"
    LEAKAGE_BUDGET = "leakage_budget"
    VENDOR_BUDGET = "vendor_budget"
    RESOURCES = "resources"
    GPU_REFUSED = "gpu_refused"
    COHORT_UNSUPPORTED = "cohort_unsupported"
    STEWARD_REJECTED = "steward_rejected"
    # tasks
    NOT_APPROVED = "not_approved"
    WITHDRAWN = "withdrawn"
    DEADLINE_PASSED = "deadline_passed"
    ROUND_OUT_OF_RANGE = "round_out_of_range"
    WEIGHTS_TOO_LARGE = "weights_too_large"
    COHORT_TOO_SMALL = "cohort_too_small"
    LABELS_MISSING = "labels_missing"
    TOO_MANY_BAD_CASES = "too_many_bad_cases"
    RUNTIME_ABSENT = "runtime_absent"
    GPU_ABSENT = "gpu_absent"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    SUPERSEDED = "superseded"  # a later round of the job is here
    # locked test sets
    LOOKS_EXHAUSTED = "looks_exhausted"
    PROTOCOL_DIFFERS = "protocol_differs"
    NOT_A_TEST_HOSPITAL = "not_a_test_hospital"
    TEST_HOSPITAL = "test_hospital"
    TRAINED_HERE = "trained_here"
    # secure sums
    SECURE_SUM_ONLY = "secure_sum_only"  # the policy lets no update leave that is seen by itself
    ROSTER_UNPINNED = "roster_unpinned"  # this hospital knows too few others for any secure sum
    ROSTER_STRANGER = "roster_stranger"
    ROSTER_FORGED = "roster_forged"
    ROSTER_OTHER_WEIGHTS = "roster_other_weights"
    ROSTER_DIFFERS = "roster_differs"  # a second one for the same round
    SHARES_FORGED = "shares_forged"
    SURVIVORS_FORGED = "survivors_forged"
    SURVIVORS_DIFFER = "survivors_differ"  # from those that were signed
    TRANSCRIPT_FORGED = "transcript_forged"
    SUM_TOO_SMALL = "sum_too_small"
    SUM_UNFINISHED = "sum_unfinished"
    ROUND_REPLAYED = "round_replayed"


# A signature that does not count is refused with a word of the treaty's own.
RULES: frozenset[str] = frozenset().union(Rule, Distrust)


class Kind(StrEnum):
    HELLO = "hello"
    HEARTBEAT = "heartbeat"
    ENROLMENT = "enrolment"
    RENEWAL = "renewal"
    PREFLIGHT = "preflight"
    ANSWER = "answer"
    DECISION = "decision"
    OUTCOME = "outcome"
    FETCH = "fetch"
    HELD = "held"
    CHUNK = "chunk"
    CHECKPOINT = "checkpoint"
    LOG = "log"  # a redacted tail, into a person's hand
    SUM = "sum"  # a step of a secure sum
    SUMMAND = "summand"  # what is under the mask: it goes by no wire


@dataclass(frozen=True, slots=True)
class Withheld:
    """The gate kept something in; `code` is one closed word that may itself leave.

    So may `subject`: a name from the reviewed manifest, or empty.
    """

    code: str
    subject: str = ""


def identifies_work(text: str) -> bool:
    """Tell whether an identifier of the coordinator's may be repeated to it."""
    return IDENTIFIER.fullmatch(text) is not None


def check_checkpoint(said: link_pb2.CheckpointExchange) -> Withheld | None:
    """Let out links, keys and signatures of their own length, and a house's name: no free text."""
    for each in (said.own, said.kept) if said.HasField("kept") else (said.own,):
        sizes = len(each.link), len(each.public_key), len(each.signature)
        if sizes != (DIGEST_BYTES, DIGEST_BYTES, 2 * DIGEST_BYTES):
            return Withheld("bad_checkpoint")
        if len(each.ledger_link) not in {0, DIGEST_BYTES} or not HOUSE.fullmatch(each.house):
            return Withheld("bad_checkpoint")
        if len(each.spending_signature) not in {0, 2 * DIGEST_BYTES}:
            return Withheld("bad_checkpoint")
    return None if len(said.former_link) in {0, DIGEST_BYTES} else Withheld("bad_checkpoint")


def check_answer(answer: question_pb2.Answer, threshold: int) -> Withheld | None:
    """Allow only what the vocabulary can say, and no count under the threshold."""
    states = question_pb2
    if not identifies_work(answer.question_id):
        return Withheld("identifier")
    if answer.state in (states.ANSWER_STATE_VALUE, states.ANSWER_STATE_BELOW_THRESHOLD):
        return _check_counts(answer, threshold)
    refusals = (
        states.ANSWER_STATE_REFUSED_BUDGET,
        states.ANSWER_STATE_REFUSED_POLICY,
        states.ANSWER_STATE_NOT_SUPPORTED,
    )
    if answer.state not in refusals or answer.rule not in RULES:
        return Withheld("state")
    bare = states.Answer(
        question_id=answer.question_id, state=answer.state, rule=answer.rule, epoch=answer.epoch
    )
    if answer != bare or (answer.epoch and not EPOCH.fullmatch(answer.epoch)):
        return Withheld("refusal_with_content")
    return None


def _check_counts(answer: question_pb2.Answer, threshold: int) -> Withheld | None:
    if answer.rule or not EPOCH.fullmatch(answer.epoch):
        return Withheld("form")
    exact = answer.tier == question_pb2.TIER_EXACT
    if exact and (answer.sigma != 0 or answer.rho != 0):
        return Withheld("form")
    if not exact and not (answer.sigma > 0 and isfinite(answer.sigma) and answer.rho > 0):
        return Withheld("no_noise")
    threshold = EXACT_CELL_AT_LEAST if exact else threshold
    faults = filter(None, (_check_cell(cell, threshold) for cell in answer.cells))
    if (fault := next(faults, None)) is not None:
        return fault
    shown = any(cell.HasField("count") for cell in answer.cells)
    if shown != (answer.state == question_pb2.ANSWER_STATE_VALUE):
        return Withheld("state")
    return None


def _check_cell(cell: question_pb2.Cell, threshold: int) -> Withheld | None:
    if not WORDS.issuperset(cell.values):
        return Withheld("vocabulary")
    value = cell.state == question_pb2.ANSWER_STATE_VALUE
    if not value and cell.state != question_pb2.ANSWER_STATE_BELOW_THRESHOLD:
        return Withheld("state")
    if value != cell.HasField("count") or (value and cell.count < threshold):
        return Withheld("threshold")
    return None


def check_decision(decision: job_pb2.JobDecision) -> Withheld | None:
    if not identifies_work(decision.job_id):
        return Withheld("identifier")
    approved = decision.decision == job_pb2.DECISION_APPROVED
    refused = decision.decision in (job_pb2.DECISION_REJECTED, job_pb2.DECISION_REFUSED)
    if not (approved or refused) or (decision.rule != "" if approved else not _closed(decision)):
        return Withheld("state")
    return None


def _closed(decision: job_pb2.JobDecision) -> bool:
    return decision.rule in RULES


def check_outcome(
    outcome: job_pb2.TaskOutcome,
    codes: Collection[str],
    declared: Collection[MetricSpec],
    names: Collection[str] = (),
) -> Withheld | None:
    """Allow a state, a closed code, declared and rounded metrics, statistics of enough cases.

    A code may name what it is about, `schema_mismatch:layer1`: by a name the reviewed manifest has.
    """
    if not identifies_work(outcome.task_id):
        return Withheld("identifier")
    if outcome.state != job_pb2.TASK_STATE_RELEASED:
        bare = job_pb2.TaskOutcome(task_id=outcome.task_id, state=outcome.state, code=outcome.code)
        under_way = outcome.state in (job_pb2.TASK_STATE_QUEUED, job_pb2.TASK_STATE_RUNNING)
        code, colon, name = outcome.code.partition(":")
        known = code in codes and (name in names if colon else True)
        if outcome != bare or (outcome.code != "" if under_way else not known):
            return Withheld("form")
        return None
    if outcome.code or not (isfinite(outcome.weight) and outcome.weight >= 1):
        return Withheld("form")
    if len(outcome.update_digest) not in (0, DIGEST_BYTES) or not bears_its_signature(outcome):
        return Withheld("form")
    return _check_metrics(outcome, {spec.name: spec for spec in declared}) or _check_histogram(
        outcome
    )


def _check_metrics(
    outcome: job_pb2.TaskOutcome, declared: Mapping[str, MetricSpec]
) -> Withheld | None:
    names = [metric.name for metric in outcome.metrics]
    if len(set(names)) < len(names) or not declared.keys() >= set(names):
        return Withheld("metrics")
    if any(
        metric.value != rounded(metric.value, declared[metric.name]) for metric in outcome.metrics
    ):
        return Withheld("metrics")
    return None


def _check_histogram(outcome: job_pb2.TaskOutcome) -> Withheld | None:
    if not outcome.HasField("validation"):
        return None
    histogram = outcome.validation
    bins = len(histogram.edges) + 1 if histogram.edges else BINS  # the protocol's own need no edges
    if {len(histogram.positives), len(histogram.negatives)} != {bins}:
        return Withheld("histogram")
    if sum(histogram.positives) < MIN_CASES or sum(histogram.negatives) < MIN_CASES:
        return Withheld("histogram")
    return None


def rounded(value: float, spec: MetricSpec) -> float:
    """Bound and round a metric as its manifest declares; what is not a number is the minimum."""
    limited = min(max(value, spec.minimum), spec.maximum) if value == value else spec.minimum  # noqa: PLR0124 - not-a-number
    return round(limited, spec.decimals)


def metric_bits(spec: MetricSpec) -> float:
    """Return log2 of how many values a metric can take after rounding."""
    return log2((spec.maximum - spec.minimum) * 10**spec.decimals + 2)


def histogram_bits(cases: int, bins: int) -> float:
    """Return log2 C(n + b - 1, b - 1): the vendor chose the scores, a histogram is a word."""
    if cases == 0 or bins < 2:  # noqa: PLR2004 - one bin says nothing
        return 0.0
    return (lgamma(cases + bins) - lgamma(bins) - lgamma(cases + 1)) / log(2)


def outcome_bits(
    outcome: job_pb2.TaskOutcome, declared: Mapping[str, MetricSpec], codes: int
) -> float:
    """Bound what the outcome message itself can carry, the update apart.

    A metric that could be told and is not says something, too: each is charged, told or not.
    """
    bits = sum(map(metric_bits, declared.values()))
    if outcome.HasField("validation"):
        both = (outcome.validation.positives, outcome.validation.negatives)
        bits += sum(histogram_bits(sum(counts), len(counts)) for counts in both)
    return bits + log2(codes + 1)  # how it ended is a word, too
