"""Readers of the reference standard at one hospital: how their calls agree, and their drawings."""

from collections.abc import Mapping, Sequence

from coordinator.evaluation.agreement import Pattern, Staple, fleiss, pairs, staple
from coordinator.evaluation.document import ReaderReport, VoxelReport
from protos.v1.job_pb2 import EvaluationStatistics, VoxelReaders


def of_calls(site: str, said: EvaluationStatistics) -> ReaderReport:
    number = said.readers.readers
    patterns = _patterns(number, said.readers.counts)
    truth = staple(patterns)
    return ReaderReport(
        site=site,
        readers=number,
        cases=sum(patterns.values()),
        fleiss=fleiss(patterns),
        cohen={f"{a + 1}-{b + 1}": kappa for (a, b), kappa in pairs(patterns).items()},
        prevalence=truth.prevalence if truth else None,
        sensitivity=truth.sensitivity if truth else (),
        specificity=truth.specificity if truth else (),
        consensus=_consensus(truth) if truth else {},
    )


def of_voxels(site: str, said: VoxelReaders) -> VoxelReport | None:
    """Return STAPLE's word on voxels (Warfield 2004), exact: a voxel's votes are all it asks."""
    patterns = _patterns(said.readers, said.voxels)
    truth = staple(patterns)
    if truth is None:
        return None
    half = said.readers / 2
    return VoxelReport(
        site=site,
        readers=said.readers,
        cases=said.cases,
        voxels=sum(patterns.values()),
        drawn={_name(pattern): count for pattern, count in patterns.items() if count},
        prevalence=truth.prevalence,
        sensitivity=truth.sensitivity,
        specificity=truth.specificity,
        consensus=_consensus(truth),
        consensus_voxels=sum(patterns[at] for at, is_it in truth.consensus.items() if is_it > 0.5),  # noqa: PLR2004 - more probable than not
        voted_voxels=sum(count for at, count in patterns.items() if sum(at) >= half),
    )


def _patterns(readers: int, counts: Sequence[int]) -> dict[Pattern, int]:
    return {tuple(at >> i & 1 for i in range(readers)): count for at, count in enumerate(counts)}


def _consensus(truth: Staple) -> Mapping[str, float]:
    return {_name(pattern): value for pattern, value in truth.consensus.items()}


def _name(pattern: Pattern) -> str:
    return "".join(map(str, pattern))
