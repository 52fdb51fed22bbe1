"""Who signs in the demo: a requester, two reviewers, a vendor, and the manifest that names them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.demo.commands import radfed

PROJECT = "phantom-lesions"
VENDOR = "phantom-labs"


@dataclass(frozen=True, slots=True)
class Person:
    """One signer; the key pair lies in `home` under the signer's name."""

    role: str
    name: str
    organisation: str
    home: Path

    @property
    def key(self) -> Path:
        return self.home / f"{self.name}.key"

    @property
    def public(self) -> Path:
        return self.home / f"{self.name}.pub"

    def make(self) -> None:
        radfed(self.role, "keygen", str(self.key))


@dataclass(frozen=True, slots=True)
class Signers:
    requester: Person
    reviewers: tuple[Person, ...]
    vendor: Person

    @classmethod
    def make(cls, home: Path) -> "Signers":
        """Let each make a key of their own."""
        made = cls(
            Person("requester", "alma", "university", home),
            (
                Person("reviewer", "ruth", "ethics-board", home),
                Person("reviewer", "rolf", "university", home),
            ),
            Person("vendor", VENDOR, VENDOR, home),
        )
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Person.make, made.everybody()))
        return made

    def everybody(self) -> tuple[Person, ...]:
        return (self.requester, *self.reviewers, self.vendor)

    def draft(self, hospitals: Sequence[str]) -> str:
        """Write the manifest as its authors do, for the authority to sign."""
        until = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
        parts = [
            f'[[signers]]\nrole = "{p.role}"\nname = "{p.name}"\n'
            f'organisation = "{p.organisation}"\n'
            f'public_key = "{p.public.read_text().strip()}"\nexpires = {until}\n'
            for p in self.everybody()
        ]
        names = ", ".join(f'"{name}"' for name in hospitals)
        project = (
            f'[[projects]]\nname = "{PROJECT}"\npurpose = "Find lesions in synthetic phantoms."\n'
            'legal_basis = "no patient is in the data"\nethics = "demo 1/2026"\n'
            f'organisations = ["university", "{VENDOR}"]\nhospitals = [{names}]\n'
            f"expires = {until}\n"
        )
        return "\n".join([*parts, project])
