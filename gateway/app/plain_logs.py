"""What a log line may hold: facts of a closed set of names, numbers, and short printable words."""

from collections.abc import MutableMapping
from typing import Any

LONGEST = 300
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
    """Leave out what has no known name; make printable, and short, what has one."""
    kept = {name: _plain(value) for name, value in said.items() if name in FACTS}
    left_out = len(said) - len(kept)
    return kept | ({"left_out": left_out} if left_out else {})


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
