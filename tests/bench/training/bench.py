"""`bench training`: what hospitals learn together, beside one table of all their patients.

The lesion task is generated and its hospitals differ in scanner, noise, prevalence and the kind of
lesion. Everything between a DICOM file and the next model is the product's own: frozen cohorts,
the sandbox, the gate's clip and noise, the strategies. Each round of the bench is another draw of
patients and noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.training.sums import Model, fold
from deploy.demo.job.make import lay_out
from deploy.demo.phantoms import SITES
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from gateway.sandbox.workspace import Workspace
from protos import bundle
from protos.job_manifest import JobManifest, Kind
from protos.training import TrainingPlan
from protos.update_price import epsilon, leakage_bits, rho_per_patient
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal, Row
from tests.fakes.lesion_task import a_round, drawn, frozen, pooled_auc
from tests.fakes.releasing import Leaving, released

PATIENTS, QUICK_PATIENTS = 240, 70
ROUNDS = 8
SIGMAS, QUICK_SIGMAS = (0.0, 0.01, 0.05), (0.0, 0.05)  # over the clip
TOGETHER, ONE_TABLE = "federated", "pooled data"
PLANS: Mapping[str, TrainingPlan] = {
    "fedavg": TrainingPlan(),
    "fedprox": TrainingPlan(strategy="fedprox", mu=0.1),
    "fedadam": TrainingPlan(strategy="fedadam", server_rate=0.3, tau=0.01),
    "fedyogi": TrainingPlan(strategy="fedyogi", server_rate=0.3, tau=0.01),
    "trimmed_mean": TrainingPlan(strategy="trimmed_mean", trim=0.2),
    "median": TrainingPlan(strategy="median"),
}


@dataclass
class Federation:
    """Hospitals' frozen cohorts, one table of all of them, and a vendor's unpacked bundle."""

    home: Path
    runner: Runner
    manifest: JobManifest
    start: bytes
    hospitals: dict[str, Workspace] = field(default_factory=dict)
    table: Workspace | None = None

    def train(
        self, sites: list[Workspace], sigma: float, plan: TrainingPlan, noise: object = None
    ) -> float:
        """Train as a federation of these does; return the final model's AUC on all held out."""
        weights, state = self.home / "weights", None
        weights.write_bytes(self.start)
        clip = self.manifest.clip
        for number in range(1, ROUNDS + 1):
            updates = []
            for each in sites:
                new = self._worked(each, weights, number, plan)
                left = released(
                    new, weights.read_bytes(), self.manifest.weights, clip, sigma * clip, noise
                )
                assert isinstance(left, Leaving)
                path = self.home / f"update-{len(updates)}"
                path.write_bytes(left.payload)
                updates.append((path, float(each.training_patients)))
            after = Model(self.home / "next", self.home / f"state-{number % 2}")
            fold(plan, Model(weights, state), updates, after)
            after.weights.replace(weights)
            state = after.state if plan.is_adaptive else None
        return pooled_auc(self.runner, self.home / "code", self.hospitals, weights)

    def _worked(self, site: Workspace, weights: Path, number: int, plan: TrainingPlan) -> object:
        code = self.home / "code"
        outputs = a_round(self.runner, code, site, weights, number, mu=plan.mu)
        return outputs["weights.safetensors"]


def run(terms: Terms) -> list[Row]:
    figures = Figures("training")
    for number in range(terms.rounds):
        federation = _federation(terms, number)
        _compare(terms, figures, federation)
        if number == 0 and not terms.quick:
            _strategies(terms, figures, federation)
    case = _case(0.0)
    return figures.rows(
        goals=[
            Goal(case, TOGETHER, "AUC less that of pooled data", at_least=-0.01),
            Goal(case, TOGETHER, "AUC less that of the best hospital alone", at_least=0.0),
        ]
    )


def _federation(terms: Terms, number: int) -> Federation:
    home = terms.directory / str(number)
    home.mkdir()
    raw = bundle.pack(lay_out(Kind.TRAINING, home / "bundle"))
    manifest = bundle.unpack(raw, home / "code")
    start = bundle.initial_weights(raw)
    assert start is not None
    runner = Runner.on_this_machine(Limits(memory_bytes=2 << 30))
    made = Federation(home, runner, manifest, start)
    patients = QUICK_PATIENTS if terms.quick else PATIENTS
    everybody, truth = [], {}
    for profile in SITES:
        folder = home / profile.site
        folder.mkdir()
        terms.say(f"round {number + 1}: drawing {patients} patients of {profile.site}")
        cohort, labels = drawn(folder, profile, patients, seed=number)
        made.hospitals[profile.site] = frozen(folder / "workspace", cohort, labels)
        everybody, truth = everybody + cohort, truth | labels
    made.table = frozen(home / "table", everybody, truth)
    return made


def _compare(terms: Terms, figures: Figures, federation: Federation) -> None:
    """Train at each noise; without noise also on one table, and in each hospital alone."""
    sites, alone = list(federation.hospitals.values()), []
    assert federation.table is not None
    for sigma in QUICK_SIGMAS if terms.quick else SIGMAS:
        case = _case(sigma)
        if not terms.runs(case):
            continue
        terms.say(f"{case}: {ROUNDS} rounds in {len(sites)} sandboxes")
        together = federation.train(sites, sigma, PLANS["fedadam"])
        figures.add(case, TOGETHER, "AUC", "AUC", together)
        if sigma > 0:
            bits, rho = leakage_bits(1.0, sigma), rho_per_patient(1.0, sigma)
            figures.add(case, TOGETHER, "bits of a hospital's updates", "bits", ROUNDS * bits)
            figures.add(case, TOGETHER, "epsilon of a patient", "at 1e-6", epsilon(ROUNDS * rho))
            continue
        table = federation.train([federation.table], 0.0, TrainingPlan())
        figures.add(case, ONE_TABLE, "AUC", "AUC", table)
        figures.add(case, TOGETHER, "AUC less that of pooled data", "AUC", together - table)
        for name, site in ({} if terms.quick else federation.hospitals).items():
            alone.append(federation.train([site], 0.0, TrainingPlan()))
            figures.add(case, f"{name} alone", "AUC", "AUC", alone[-1])
        if alone:
            measure = "AUC less that of the best hospital alone"
            figures.add(case, TOGETHER, measure, "AUC", together - max(alone))


def _case(sigma: float) -> str:
    return f"sigma/C {sigma:g}" if sigma else "sigma/C 0 (bits, epsilon: no bound)"


def _strategies(terms: Terms, figures: Figures, federation: Federation) -> None:
    for name, plan in PLANS.items():
        if terms.runs(case := "strategies, sigma/C 0.01"):
            terms.say(f"{case}: {name}")
            sites = list(federation.hospitals.values())
            figures.add(case, name, "AUC", "AUC", federation.train(sites, 0.01, plan))
