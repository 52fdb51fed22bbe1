"""How a training job's updates become the next model: what `job.toml` says under `[training]`."""

from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic import model_validator as validated


class Strategy(StrEnum):
    FEDAVG = "fedavg"  # McMahan et al. 2017
    FEDPROX = "fedprox"  # Li et al. 2020: the mean as in fedavg, `mu` told to the vendor's code
    FEDADAM = "fedadam"  # Reddi et al. 2021
    FEDYOGI = "fedyogi"  # Reddi et al. 2021
    TRIMMED_MEAN = "trimmed_mean"  # Yin et al. 2018
    MEDIAN = "median"  # Yin et al. 2018


ADAPTIVE = frozenset({Strategy.FEDADAM, Strategy.FEDYOGI})
ROBUST = frozenset({Strategy.TRIMMED_MEAN, Strategy.MEDIAN})
# Which strategies a field is of; one that would change nothing is refused rather than ignored.
OF: dict[str, frozenset[Strategy]] = {
    "mu": frozenset({Strategy.FEDPROX}),
    "server_rate": ADAPTIVE,
    "beta1": ADAPTIVE,
    "beta2": ADAPTIVE,
    "tau": ADAPTIVE,
    "trim": frozenset({Strategy.TRIMMED_MEAN}),
    "weighting": frozenset(Strategy) - ROBUST,
}

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1 << 31)]


class TrainingPlan(BaseModel):
    """What a reviewer reads about the server's part in a training job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = Strategy.FEDAVG
    mu: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    server_rate: Positive = 0.1
    beta1: Share = 0.9
    beta2: Share = 0.99
    tau: Positive = 1e-3
    trim: Annotated[float, Field(gt=0, lt=0.5)] = 0.1  # at each end
    weighting: Literal["patients", "equal"] = "patients"
    sites_per_round: Count = 0  # 0: all that approved
    seed: Count = 0  # of whom a round asks
    quorum: Count = 0  # fewest updates a round ends with; the coordinator's own is the least
    enough: Count = 0  # a round waits for no more than these; 0: for all, until the deadline
    round_seconds: Annotated[float, Field(ge=0, le=30 * 86400)] = 0.0  # 0: the coordinator's
    patience: Annotated[int, Field(ge=0, le=1000)] = 0  # rounds without gain until it ends; 0: all
    keep: Literal["last", "best"] = "last"  # which model is the result

    @validated(mode="after")
    def _says_nothing_idle(self) -> Self:
        for field in sorted(self.model_fields_set & OF.keys()):
            if self.strategy not in OF[field]:
                raise ValueError(f"`{field}` means nothing to the strategy {self.strategy}")
        if self.strategy is Strategy.FEDPROX and self.mu == 0:
            raise ValueError("the strategy fedprox needs a `mu` above 0")
        if self.patience and self.keep != "best":
            raise ValueError('`patience` needs `keep = "best"`')
        if self.sites_per_round and max(self.quorum, self.enough) > self.sites_per_round:
            raise ValueError("`quorum` and `enough` are at most `sites_per_round`")
        if self.enough and self.enough < self.quorum:
            raise ValueError("`enough` is at least `quorum`")
        return self

    @property
    def is_adaptive(self) -> bool:
        """Say whether the server remembers moments from round to round."""
        return self.strategy in ADAPTIVE

    @property
    def sees_each_update(self) -> bool:
        """Say whether updates are looked at one by one: then no sum of them is enough."""
        return self.strategy in ROBUST

    def asked(self, job_id: str, number: int, sites: frozenset[str]) -> frozenset[str]:
        """Return whom a round asks; whoever knows the job can draw the same lot."""
        if not 0 < self.sites_per_round < len(sites):
            return sites

        def lot(site: str) -> bytes:
            return sha256(f"{self.seed}/{job_id}/{number}/{site}".encode()).digest()

        return frozenset(sorted(sites, key=lot)[: self.sites_per_round])

    def to_text(self) -> str:
        return self.model_dump_json()

    @model_serializer(mode="wrap")
    def _only_what_is_said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not said: written down, it would be idle for most strategies."""
        said = self.model_fields_set | {"strategy"}
        return {field: value for field, value in whole(self).items() if field in said}


def plan_of(text: str) -> TrainingPlan:
    """Read a plan as it was kept; none is the plain mean of all."""
    return TrainingPlan.model_validate_json(text) if text else TrainingPlan()
