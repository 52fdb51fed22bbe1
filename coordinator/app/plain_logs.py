"""The names of the facts that this house's log may hold."""

from collections.abc import MutableMapping
from typing import Any

from protos import log_facts

# Each name that some room logs under; a test reads them off the code. What has another name was
# put there by mistake, or by a library, and does not get out.
FACTS = frozenset({
    "address", "event", "finding", "house", "job", "kind", "leader", "level", "method", "place",
    "reason", "says", "site", "timestamp", "token", "version", "whose",
})  # fmt: skip


def only_facts(_logger: object, _method: str, said: MutableMapping[str, Any]) -> dict[str, Any]:
    return log_facts.only(FACTS, said)
