"""The hospital's own rules: a local file that no coordinator can weaken."""

import tomllib
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator

from gateway.config import Settings, SiteName, explain
from gateway.errors import ConfigurationFault
from gateway.model import Isolation
from protos.price import DEFAULT_REQUESTER_SHARE, DEFAULT_RHO_PER_YEAR, DEFAULT_TERMS
from protos.vocabulary import FIELDS

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # Ed25519, raw, hex
Positive = Annotated[float, Field(gt=0)]
JobKindName = Literal["training", "evaluation", "analytics"]


class Unit(Settings):
    """How much one patient may add to a count, and the noise that hides it."""

    contribution: Annotated[int, Field(ge=1)]
    sigma: Positive

    @classmethod
    def default(cls, name: str) -> "Unit":
        terms = DEFAULT_TERMS[name]
        return cls(contribution=terms.contribution, sigma=terms.sigma)


class PublicTables(Settings):
    """The tables anybody of the federation may read: made and charged once an epoch."""

    enabled: bool = True
    sigma: Positive = 20.0


class ExactProject(Settings):
    """The hospital's signature under exact tables for one project."""

    project: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    approved_by: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    until: date  # the last day


class Questions(Settings):
    enabled: bool = True
    sigma: Positive = DEFAULT_TERMS["patients"].sigma
    threshold: Annotated[int, Field(ge=1)] = 10
    rho_per_year: Positive = DEFAULT_RHO_PER_YEAR
    requester_share: Annotated[float, Field(gt=0, le=1)] = DEFAULT_REQUESTER_SHARE
    refused_fields: frozenset[str] = frozenset()
    studies: Unit = Unit.default("studies")
    series: Unit = Unit.default("series")
    instances: Unit = Unit.default("instances")
    bytes: Unit = Unit.default("bytes")  # in MiB
    public: PublicTables = PublicTables()
    exact: tuple[ExactProject, ...] = ()  # none, until the hospital signs for a project

    @field_validator("refused_fields")
    @classmethod
    def _known(cls, fields: frozenset[str]) -> frozenset[str]:
        if unknown := sorted(fields - FIELDS.keys()):
            raise ValueError(f"no such field: {', '.join(unknown)}; known: {', '.join(FIELDS)}")
        return fields


class Vendor(Settings):
    """A vendor this hospital has chosen to hear: nobody else's bundle reaches its steward."""

    name: SiteName
    public_key: PublicKey


class Hospital(Settings):
    """Another hospital of the federation, and the key that certifies what it says in a sum."""

    name: SiteName
    public_key: PublicKey


class SecureSums(Settings):
    """With whom this hospital adds up what nobody is to see by itself."""

    demanded: bool = False  # true: an update leaves in a secure sum, or not at all
    demanded_of_tests: bool = False  # the same of a test's statistics
    roster_at_least: Annotated[int, Field(ge=3)] = 5  # hospitals that begin a sum
    survivors_at_least: Annotated[int, Field(ge=3)] = 3  # and that are in it at its end
    hospitals: Annotated[tuple[Hospital, ...], Field(max_length=2000)] = ()

    @field_validator("hospitals")
    @classmethod
    def _named_once(cls, hospitals: tuple[Hospital, ...]) -> tuple[Hospital, ...]:
        if len({one.name for one in hospitals}) < len(hospitals):
            raise ValueError("two hospitals have the same name")
        if len({one.public_key for one in hospitals}) < len(hospitals):
            raise ValueError("two hospitals have the same key")
        return hospitals

    def pinned(self) -> dict[str, bytes]:
        return {one.name: bytes.fromhex(one.public_key) for one in self.hospitals}


class StandingRule(Settings):
    """An approval given in advance; every condition that is set must hold."""

    vendor: SiteName
    bundle: Digest | None = None  # absent: any bundle of this vendor
    kind: JobKindName | None = None
    max_rounds: Annotated[int, Field(ge=1)] = 20
    max_leakage_bits: Annotated[float, Field(ge=0)] = 10_000.0


class Jobs(Settings):
    enabled: bool = True
    vendors: tuple[Vendor, ...] = ()  # nobody, until the hospital names somebody
    standing: tuple[StandingRule, ...] = ()
    max_rounds: Annotated[int, Field(ge=1)] = 100
    min_patients: Annotated[int, Field(ge=2)] = 10
    sigma_over_clip_at_least: Positive = 0.01
    leakage_bits_per_job_at_most: Positive = 100_000.0
    leakage_bits_per_vendor_at_most: Positive = 1_000_000.0  # over all its jobs, for ever
    allow_no_noise: bool = False
    bundle_bytes_at_most: Annotated[int, Field(ge=1024)] = 64 << 20
    weights_bytes_at_most: Annotated[int, Field(ge=1024)] = 2 << 30
    memory_mb_at_most: Annotated[int, Field(ge=64)] = 65_536
    wall_seconds_at_most: Positive = 86_400.0  # for one round
    gpus_at_most: Annotated[int, Field(ge=0, le=16)] = 0  # NVIDIA's, for one job
    isolation: Isolation = Isolation.BUBBLEWRAP  # the least that confines a job
    sums: SecureSums = SecureSums()

    @field_validator("vendors")
    @classmethod
    def _named_once(cls, vendors: tuple[Vendor, ...]) -> tuple[Vendor, ...]:
        if len({v.name for v in vendors}) < len(vendors):
            raise ValueError("two vendors have the same name")
        if len({v.public_key for v in vendors}) < len(vendors):
            raise ValueError("two vendors have the same key")
        return vendors

    def vendor_of(self, public_key: bytes) -> Vendor | None:
        return next((v for v in self.vendors if v.public_key == public_key.hex()), None)


class Tests(Settings):
    """Locked test sets: how often a product may look, and what this hospital never trains on."""

    looks_per_product: Annotated[int, Field(ge=0)] = 3
    test_hospital_for: frozenset[str] = frozenset()  # labels

    __test__ = False  # not pytest's


class Trust(Settings):
    """Whose word this hospital demands; whose key is whose stands in the pinned manifest."""

    signed_questions: bool = True
    reviewers: Annotated[int, Field(ge=0, le=10)] = 2  # of other organisations than the vendor's
    follow_manifest: bool = True  # a newer one of the pinned root takes effect by itself
    signed_rounds: bool = (
        True  # later rounds begin where the coordinator signed that the last ended
    )


class Policy(Settings):
    """The whole of `policy.toml`."""

    trust: Trust = Trust()
    questions: Questions = Questions()
    jobs: Jobs = Jobs()
    tests: Tests = Tests()

    def signed_off(self, project: str, today: date) -> bool:
        """Say whether this hospital has signed for exact tables for a project, and still does."""
        return any(e.project == project and today <= e.until for e in self.questions.exact)

    def patients(self) -> Unit:
        """Return the unit of privacy itself: one patient counts once."""
        return Unit(contribution=1, sigma=self.questions.sigma)


DEFAULT_POLICY_TOML = """\
# What this hospital lets out, and to whom. No coordinator can change this file, and every
# refusal that rests on it is written to the audit trail. Check it: radfed gateway policy check

[trust]
signed_questions = true  # a question bears its requester's signature; false: no need
reviewers = 2            # reviewers' signatures a job needs, of other organisations; 0: none
follow_manifest = true   # a newer manifest of the pinned root takes effect; never an older
signed_rounds = true     # each round's weights come with the signed story of the rounds before

[questions]
enabled = true           # false: every question is answered REFUSED_POLICY
sigma = 10.0             # standard deviation of the noise on a count of patients
threshold = 10           # a noisy count below this is not shown
rho_per_year = 1.0       # privacy budget a year (zCDP); 1.0 is 200 simple questions at sigma 10
requester_share = 0.2    # the share of it any one requester may spend
refused_fields = []      # fields this hospital does not answer, e.g. ["Manufacturer"]

# For other units: how much one patient counts at the most, and the noise that hides that much.
[questions.studies]
contribution = 3
sigma = 15.0
[questions.series]
contribution = 10
sigma = 50.0
[questions.instances]
contribution = 500
sigma = 2500.0
[questions.bytes]        # in MiB
contribution = 1024
sigma = 5120.0

[questions.public]       # fixed tables of all patients, for everybody: charged once a quarter
enabled = true           # at sigma 20 they cost 0.0375 a quarter, of rho_per_year
sigma = 20.0

# Exact tables, outside differential privacy, cells of fewer than 10 patients hidden. For nobody,
# until this hospital signs for a project; questions must be signed.
# [[questions.exact]]
# project = "lung-nodules"
# approved_by = "li"
# until = 2027-06-30

[jobs]
enabled = true
max_rounds = 100                        # a job that asks for more is refused
min_patients = 10                       # a cohort of fewer is refused
sigma_over_clip_at_least = 0.01         # least noise on an update, relative to its clipped norm
leakage_bits_per_job_at_most = 100000.0 # bound on what all rounds of a job can carry
leakage_bits_per_vendor_at_most = 1000000.0 # and on all jobs of a vendor, for ever
allow_no_noise = false                  # true: updates may leave with "no leakage bound"
bundle_bytes_at_most = 67108864
weights_bytes_at_most = 2147483648
memory_mb_at_most = 65536               # a job that asks for more is refused
wall_seconds_at_most = 86400.0          # and for more time for one round
gpus_at_most = 0                        # and for more NVIDIA GPUs; each is one job's at a time
isolation = "bubblewrap"                # "gvisor": within it a kernel of the job's own, or no job

# Secure sums: the coordinator learns what hospitals' updates add up to, and no single one.
[jobs.sums]
demanded = false         # true: a job whose updates travel one by one is refused
demanded_of_tests = false # true: so is a test whose statistics do
roster_at_least = 5      # fewer hospitals begin no sum with this one
survivors_at_least = 3   # and fewer may not be left in it when its masks come off

# The other hospitals, as they themselves told their keys: radfed gateway sums, at each of them.
# Nobody's until named; add one with: radfed gateway policy pin-hospital NAME PUBLIC_KEY_HEX
# [[jobs.sums.hospitals]]
# name = "anlan"
# public_key = "64 hex digits: the raw Ed25519 key"

# Locked test sets, for evaluations with a protocol.
[tests]
looks_per_product = 3    # how often one product may be tested on one set; 0: never
test_hospital_for = []   # labels tested here on all patients: no job may ever train on them

# Whose bundles reach the steward. Nobody's until named; add one with
#   radfed gateway policy pin-vendor NAME PUBLIC_KEY_HEX
# [[jobs.vendors]]
# name = "some-vendor"
# public_key = "64 hex digits: the raw Ed25519 key"

# Approvals given in advance. Without one, a person decides: radfed gateway approvals ls
# [[jobs.standing]]
# vendor = "some-vendor"
# bundle = "64 hex digits"      # leave out: any bundle of this vendor
# kind = "training"             # leave out: any kind
# max_rounds = 20
# max_leakage_bits = 10000.0
"""


REFUSE_ALL = Policy(questions=Questions(enabled=False), jobs=Jobs(enabled=False))


class LivePolicy:
    """The policy file as it stands now: an edit takes effect without a restart.

    While the file cannot be read, nothing is allowed: an old rule might be the one that a person is
    just taking back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._policy = REFUSE_ALL

    def __call__(self) -> Policy:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._policy = load_policy(self._path)
                self._seen = seen
        except (OSError, ConfigurationFault):
            self._seen, self._policy = None, REFUSE_ALL
        return self._policy


def load_policy(path: Path) -> Policy:
    """Read and check `policy.toml`."""
    try:
        return parse_policy(path.read_text("utf-8"))
    except FileNotFoundError as fault:
        raise ConfigurationFault(
            f"{path} is missing: make one with `radfed gateway init`"
        ) from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{path} cannot be read: {fault}") from fault
    except ValidationError as fault:
        raise ConfigurationFault(f"{path}: {explain(fault)}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"{path} is not TOML: {fault}") from fault


def parse_policy(text: str) -> Policy:
    return Policy.model_validate(tomllib.loads(text))


def pin_vendor(text: str, name: str, public_key: str) -> str:
    """Return the policy's text with one vendor more; ConfigurationFault when that cannot be."""
    entry = f'\n[[jobs.vendors]]\nname = "{name}"\npublic_key = "{public_key.strip().lower()}"\n'
    try:
        Vendor(name=name, public_key=public_key.strip().lower())
        parse_policy(text + entry)
    except ValidationError as fault:
        raise ConfigurationFault(f"this vendor cannot be pinned: {explain(fault)}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"the policy is not TOML: {fault}") from fault
    return text + entry


def pin_hospital(text: str, name: str, public_key: str) -> str:
    """Return the policy's text with one hospital more; ConfigurationFault when that cannot be."""
    key = public_key.strip().lower()
    entry = f'\n[[jobs.sums.hospitals]]\nname = "{name}"\npublic_key = "{key}"\n'
    try:
        Hospital(name=name, public_key=key)
        parse_policy(text + entry)
    except ValidationError as fault:
        raise ConfigurationFault(f"this hospital cannot be pinned: {explain(fault)}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"the policy is not TOML: {fault}") from fault
    return text + entry


def exact(value: float) -> Fraction:
    """Return a setting as the decimal its author wrote, for exact accounting."""
    return Fraction(repr(value))
