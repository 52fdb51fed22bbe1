"""A test's statistics out of a secure sum: made of its evidence, and whether that is signed."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from coordinator.errors import IntegrityFault
from coordinator.evaluation.document import Evidence, SumEvidence
from protos.evaluation import EvaluationProtocol
from protos.masks import PIECE, signed, unpacked
from protos.reports import is_signed
from protos.statistics_vector import length, statistics_of
from protos.sums import (
    GRID_BITS,
    SumContext,
    keys_statement,
    roster_digest,
    threshold,
    transcript_statement,
    weights_of,
    width_of,
)
from protos.unmasking import is_genuine, remover
from protos.v1.job_pb2 import EvaluationStatistics
from protos.v1.sum_pb2 import SumRoster, SumTranscript

SUMMED = "not available: pooled by secure sum"
BY_HOSPITAL = ("sites", "within_site", "heterogeneity", "forest_plot", "hospital_subgroup")


@dataclass(frozen=True, slots=True)
class Added:
    """The statistics of all hospitals in a sum, and how many of them show each cell."""

    statistics: EvaluationStatistics
    shown: Mapping[tuple[str, str], int]
    compared: int


def not_available(protocol: EvaluationProtocol) -> dict[str, str]:
    return dict.fromkeys((*BY_HOSPITAL, *(["readers"] if protocol.readers else [])), SUMMED)


def add_up(evidence: Evidence) -> Added | None:
    """Take the masks off; None where there is no sum. ValueError where it is none of counts."""
    said = evidence.sum
    if said is None:
        return None
    context, roster = context_of(evidence, said), _roster(said)
    keys = {each.site: each for each in roster.hospitals}
    secrets = {site: bytes.fromhex(secret) for site, secret in said.secrets.items()}
    digest = roster_digest(context, roster.hospitals)
    off = remover(context, keys, digest, secrets, said.masked.keys())
    count, width = (
        length(evidence.protocol),
        width_of(GRID_BITS[0], weights_of(roster.hospitals).values()),
    )
    columns = [unpacked(b64decode(raw), width) for raw in said.masked.values()]
    row: list[int] = []
    for start in range(0, count, PIECE):
        total = np.zeros(min(PIECE, count - start), np.uint64)
        for column in columns:
            total += column[start : start + len(total)]
        off.put_on(total)
        row += signed(total, width).tolist()
    statistics, shown = statistics_of(evidence.protocol, row)
    return Added(statistics, shown, row[-1] if statistics.HasField("comparison") else 0)


def check_sum(evidence: Evidence) -> None:
    """Demand that each hospital in a sum signed its part, the roster, and who is in it."""
    said = evidence.sum
    parts = {part.site: part for part in evidence.sites if part.statistics}
    vouched = {
        site: EvaluationStatistics.FromString(b64decode(part.statistics))
        for site, part in parts.items()
    }
    if said is None:
        if any(each.HasField("summed") for each in vouched.values()):
            raise IntegrityFault("hospitals signed parts of a sum that is not in this report")
        return
    context, roster = context_of(evidence, said), _roster(said)
    digest = roster_digest(context, roster.hospitals)
    transcript = SumTranscript.FromString(b64decode(said.transcript))
    survivors = [*transcript.survivors.sites]
    if not sorted(survivors) == sorted(said.masked) == sorted(parts):
        raise IntegrityFault("who is in the secure sum and who signed for it are not the same")
    for site, each in vouched.items():
        part = each.summed
        if each.protocol_digest.hex() != evidence.protocol_sha256:
            raise IntegrityFault(f"{site} signed another protocol than this report's")
        if part.roster_digest != digest:
            raise IntegrityFault(f"{site} signed another roster than this report's")
        if part.masked_digest != sha256(b64decode(said.masked[site])).digest():
            raise IntegrityFault(f"{site} did not sign the masked counts in this report")
    _check_keys(context, roster, {site: each.summed.sum_key for site, each in vouched.items()})
    _check_secrets(said, roster)
    statement = transcript_statement(context, digest, survivors)
    agreed = {
        one.site
        for one in transcript.consents
        if one.site in vouched
        and is_signed(vouched[one.site].summed.sum_key, one.signature, statement)
    }
    if len(agreed) < threshold(len(roster.hospitals)):
        raise IntegrityFault("too few hospitals signed who is in the secure sum")


def context_of(evidence: Evidence, said: SumEvidence) -> SumContext:
    bundle, weights = bytes.fromhex(evidence.bundle), bytes.fromhex(evidence.weights)
    return SumContext(evidence.job, said.round, bundle, weights)


def _roster(said: SumEvidence) -> SumRoster:
    return SumRoster.FromString(b64decode(said.roster))


def _check_keys(context: SumContext, roster: SumRoster, known: Mapping[str, bytes]) -> None:
    """Demand each survivor's own signature under its entry of the roster."""
    keys = {each.site: each for each in roster.hospitals}
    for site, key in known.items():
        entry = keys.get(site)
        if entry is None or not is_signed(key, entry.signature, keys_statement(context, entry)):
            raise IntegrityFault(f"{site} did not sign its entry in the secure sum's roster")


def _check_secrets(said: SumEvidence, roster: SumRoster) -> None:
    keys = {each.site: each for each in roster.hospitals}
    for site, secret in said.secrets.items():
        if not is_genuine(bytes.fromhex(secret), keys[site], survived=site in said.masked):
            raise IntegrityFault(f"what takes off the mask of {site} is not what it certified")
    if said.masked.keys() - said.secrets.keys():
        raise IntegrityFault("the secure sum in this report cannot be opened")
