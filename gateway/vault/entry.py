"""What is known of an instance in the vault, and how much of it an operator is shown."""

from dataclasses import asdict, dataclass
from datetime import datetime

from gateway.model import Arrival, RealUID
from gateway.vault.cipher import Label


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an instance is in quarantine: tags and codes, never a value of the patient's."""

    reason: str
    place: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """The label of an entry: what is known of an instance besides its bytes."""

    arrival: Arrival
    received_at: datetime
    received: str  # hex digest of the dataset, keyed
    size_bytes: int
    reason: Reason
    form: str = "dataset"  # "part10": already de-identified, a whole file

    def label(self) -> Label:
        return asdict(self) | {"received_at": self.received_at.isoformat()}

    @classmethod
    def of(cls, label: Label) -> "Kept":
        fields = dict(label)
        arrival = dict(fields["arrival"])
        arrival["sop_instance_uid"] = RealUID(arrival["sop_instance_uid"])
        fields["arrival"] = Arrival(**arrival)
        fields["received_at"] = datetime.fromisoformat(fields["received_at"])
        fields["reason"] = Reason(**fields["reason"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Entry:
    """What an operator sees of a quarantined instance: nothing that identifies a patient."""

    id: str
    received: str
    sender: str
    reason: str
    place: str
    advice: str
    size_bytes: int
