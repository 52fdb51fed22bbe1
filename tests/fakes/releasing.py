"""The output gate for a test: what would leave, in memory."""

from dataclasses import dataclass
from io import BytesIO

from gateway.release.normal import SecureNormal
from gateway.release.tensors import CheckedUpdate, Withheld, check_update
from gateway.release.updates import ReleasedUpdate, UpdateShelf


@dataclass(frozen=True)
class Leaving:
    """A checked update with its bytes."""

    payload: bytes
    checked: CheckedUpdate

    def __getattr__(self, name: str) -> object:
        return getattr(self.checked, name)


def released(new, old, schema, clip, sigma, normal=None) -> Leaving | Withheld:
    """Check an update; without a generator of the test's own, with the gate's."""
    out = BytesIO()
    checked = check_update(new, old, schema, clip, sigma, normal or SecureNormal(), out)
    return checked if isinstance(checked, Withheld) else Leaving(out.getvalue(), checked)


def shelve(shelf: UpdateShelf, update: ReleasedUpdate, payload: bytes) -> ReleasedUpdate:
    draft = shelf.draft()
    draft.write(payload)
    return shelf.put(update, draft)
