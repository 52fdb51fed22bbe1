"""A root, a manifest and everybody who signs under it, with real keys."""

from datetime import UTC, datetime, timedelta
from secrets import token_bytes

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.app.signed import install
from coordinator.registry import certificates as pki
from protos import bundle
from protos.manifest import Manifest, Project, Signer, sign_manifest
from protos.signatures import sign_question, sign_review
from protos.v1 import job_pb2
from protos.v1.question_pb2 import COUNT_UNIT_PATIENTS, Operator, Predicate, Question

FEDERATION, SITE, PROJECT = "demo", "tongji", "nodules"
PEOPLE = {
    "alice": ("requester", "uni"),
    "ruth": ("reviewer", "ethics-board"),
    "rolf": ("reviewer", "uni"),
    "rosa": ("reviewer", "ethics-board"),  # as ruth
    "vera": ("reviewer", "acme"),  # of the vendor's own house
    "acme": ("vendor", "acme"),
    "rival": ("vendor", "rival"),  # of no project
}


def at(moment: datetime) -> int:
    return int(moment.timestamp())


class Signatories:
    """Who may sign what in one federation, from `now` on."""

    def __init__(self, now: datetime | None = None, **of_the_manifest) -> None:
        self.now = now or datetime.now(UTC)
        self.root = pki.make_root(FEDERATION, self.now - timedelta(days=1))
        self.keys = {name: Ed25519PrivateKey.generate() for name in (*PEOPLE, "stranger")}
        self.manifest = self.make(**of_the_manifest)

    def public(self, name: str) -> bytes:
        return self.keys[name].public_key().public_bytes_raw()

    def make(self, version: int = 1, without: str = "", **changes) -> Manifest:
        later = at(self.now + timedelta(days=30))
        signers = tuple(
            Signer(
                role=role,
                name=name,
                organisation=organisation,
                public_key=self.public(name).hex(),
                expires=later,
            )
            for name, (role, organisation) in PEOPLE.items()
            if name != without
        )
        project = Project(
            name=PROJECT,
            purpose="Find nodules.",
            legal_basis="consent",
            ethics="EC 1",
            organisations=("uni", "acme"),
            hospitals=(SITE, "a", "b"),
            expires=later,
        )
        fields = {
            "federation": FEDERATION,
            "version": version,
            "not_before": at(self.now - timedelta(hours=1)),
            "expires": later,
            "signers": signers,
            "projects": (project,),
        }
        return Manifest(**fields | changes)

    def signed(self, **wishes) -> bytes:
        return sign_manifest(self.make(**wishes), self.root.key)

    def question(self, by: str = "alice", name: str = "q1", minutes: float = 5, **changes):
        """Return a signed question, as a coordinator would pass it on."""
        where = [Predicate(field="Modality", operator=Operator.OPERATOR_EQUAL, values=["CT"])]
        fields = {"project": PROJECT, "unit": COUNT_UNIT_PATIENTS, "where": where}
        asked = Question(**fields | changes)
        until = self.now + timedelta(minutes=minutes)
        sign_question(asked, FEDERATION, self.keys[by], token_bytes(16), until)
        asked.question_id, asked.requester = name, "spiffe://demo/operator/anybody"
        asked.expires_at.FromDatetime(self.now + timedelta(minutes=5))
        return asked

    def offer(self, raw: bytes, reviewers=("ruth", "rolf"), vendor="acme", days=30, **changes):
        """Return a job's offer with its vendor's and its reviewers' signatures."""
        fields = {
            "job_id": "job1",
            "bundle_digest": bundle.digest(raw),
            "bundle_size": len(raw),
            "vendor_key": self.public(vendor),
            "vendor_signature": bundle.sign(raw, self.keys[vendor]),
            "kind": job_pb2.JOB_KIND_TRAINING,
            "rounds": 3,
        }
        made = job_pb2.JobOffer(**fields | changes)
        made.terms.project, made.terms.rounds = PROJECT, 3
        made.terms.sites.extend([SITE, "a", "b"])
        made.terms.weights_digest = b"w" * 32
        made.terms.expires_at.FromDatetime(self.now + timedelta(days=days))
        made.reviews.extend(sign_review(made, FEDERATION, self.keys[name]) for name in reviewers)
        return made


def take_in(federation, people, **wishes):
    """Sign a manifest with the federation's own root, and install it as an operator does."""
    root = federation.directory / "root"
    keyed = pki.load_keyed((root / "root.crt").read_bytes(), (root / "root.key").read_bytes())
    file = federation.directory / "new.json"
    file.write_bytes(sign_manifest(people.make(**wishes), keyed.key))
    install(federation.directory / "coordinator.toml", file, datetime.now(UTC))
