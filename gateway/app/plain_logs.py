"""The names of the facts that this house's log may hold."""

from collections.abc import MutableMapping
from typing import Any

from protos import log_facts

# Each name that some room logs under; a test reads them off the code. What has another name was
# put there by mistake, or by a library, and does not get out.
FACTS = frozenset({
    "at", "code", "console", "console_link", "count", "digest", "entry", "event", "failed",
    "failures", "fault", "fetched", "finding", "found", "jobs_confined_by", "kind",
    "labels", "level", "metrics", "objects", "outcome", "page", "peer", "phase", "pid", "port",
    "problems", "profile", "references", "room", "runtime", "says", "seconds", "seconds_left",
    "series", "site", "size",
    "skew_seconds", "slices", "started", "state", "status", "studies", "task", "timestamp",
    "tls_port", "until", "whose", "why", "worker",
})  # fmt: skip


def only_facts(_logger: object, _method: str, said: MutableMapping[str, Any]) -> dict[str, Any]:
    return log_facts.only(FACTS, said)
