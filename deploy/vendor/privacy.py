"""What a training job would give away and cost, before anybody is asked: noise against bits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isinf, sqrt

from gateway.desk.rules import KINDS, judge_manifest
from gateway.policy import Jobs
from protos.job_manifest import JobManifest
from protos.update_price import DELTA, epsilon, leakage_bits, rho_per_patient
from protos.v1.job_pb2 import JobOffer

SIGMAS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)  # over the clip
COLUMNS = (
    "sigma_over_clip", "rounds", "bits_a_round", "bits_in_all", "rho", "epsilon",
    "noise_over_update", "noise_over_mean", "default_policy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Price:
    """One choice of noise and rounds, as a hospital's ledgers would have it; None: no bound."""

    sigma_over_clip: float
    rounds: int
    bits_a_round: float | None
    bits_in_all: float | None
    rho: float | None  # of one patient replaced, over all rounds
    epsilon: float | None  # the same, at DELTA
    noise_over_update: float  # norm of the noise, against the longest update there is
    noise_over_mean: float  # the same, once the hospitals' updates are added up
    default_policy: str  # what a hospital that never edited its policy says


def what_if(
    manifest: JobManifest, sigmas: Sequence[float], rounds: Sequence[int], hospitals: int
) -> Iterator[Price]:
    """Yield the price of each choice; the code and the size of the model stay as they are."""
    for count in rounds:
        for sigma in sigmas:
            yield price(manifest, sigma, count, hospitals)


def price(manifest: JobManifest, sigma: float, rounds: int, hospitals: int) -> Price:
    bits, rho = leakage_bits(1.0, sigma), rounds * rho_per_patient(1.0, sigma)
    noise = sigma * sqrt(sum(spec.count for spec in manifest.weights.values()))
    return Price(
        sigma_over_clip=sigma,
        rounds=rounds,
        bits_a_round=None if bits < 0 else bits,
        bits_in_all=None if bits < 0 else bits * rounds,
        rho=None if isinf(rho) else rho,
        epsilon=None if isinf(rho) else epsilon(rho, DELTA),
        noise_over_update=noise,
        noise_over_mean=noise / sqrt(hospitals),
        default_policy=verdict(
            manifest.model_copy(update={"sigma": sigma * manifest.clip, "rounds": rounds})
        ),
    )


def verdict(manifest: JobManifest) -> str:
    """Return the word a hospital with the default policy would refuse with, or `allowed`.

    A hospital's own policy is its own: it tells nobody beforehand.
    """
    kind = next(number for number, name in KINDS.items() if name == manifest.kind)
    refusal = judge_manifest(manifest, JobOffer(kind=kind, rounds=manifest.rounds), Jobs())
    return "allowed" if refusal is None else refusal.rule
