"""The coordinator's key for reports: made at the first start that finds none."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.config import read_private, write_private
from coordinator.errors import ConfigurationFault

NAME = "report.key"


@dataclass(frozen=True, slots=True)
class ReportKey:
    """An Ed25519 key beside the others: a copy of them all keeps old reports verifiable."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def sign(self, statement: bytes) -> bytes:
        return self.private.sign(statement)

    def __repr__(self) -> str:
        return "ReportKey(...)"

    @classmethod
    def load(cls, keys: Path) -> "ReportKey":
        path = keys / NAME
        if not path.exists():
            write_private(path, Ed25519PrivateKey.generate().private_bytes_raw())
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(read_private(path)))
        except ValueError as fault:
            raise ConfigurationFault(f"{path} is damaged: restore it from a backup") from fault
