"""The audit trail for the console: a stretch of it backwards, and verified beside the pages."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from coordinator.audit import AuditTrail
from coordinator.errors import CoordinatorError

PAGE = 50
STRETCH = 2000  # entries looked at together; a filter that finds little looks at several
STRETCHES = 10
LARGEST = 2**62
STEP = 500  # entries between two words of how far a verification is


class TrailReading:
    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail
        self._task: asyncio.Task[None] | None = None
        self._known: dict[str, Any] | None = None

    async def page(self, before: int, event: str) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._found, before, event)

    def verify(self) -> None:
        if self._task is None or self._task.done():
            self._known = {"over": False, "entries": 0, "of": 0, "fault": ""}
            self._task = asyncio.create_task(self._verify(self._known))

    def verifying(self) -> Mapping[str, Any] | None:
        return self._known

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _verify(self, known: dict[str, Any]) -> None:
        def walk() -> None:
            known["of"] = self._trail.length()
            seen = 0
            for _entry in self._trail.entries():
                seen += 1
                if seen % STEP == 0:
                    known["entries"] = seen
            known["entries"] = seen

        try:
            await asyncio.to_thread(walk)
        except CoordinatorError as fault:
            known["fault"] = str(fault)
        known["over"] = True

    def _found(self, before: int, event: str) -> dict[str, Any]:
        """Return the newest events below a number; where they go on, `last` is from where."""
        rows: list[dict[str, Any]] = []
        mark = f'"event": {json.dumps(event)}'.encode()
        top = min(before, LARGEST) if before else LARGEST
        for _ in range(STRETCHES):
            stretch = self._trail.backwards(top, PAGE + 1 if not event else STRETCH)
            for number, body in stretch:
                if event and mark not in body:
                    continue
                if len(rows) == PAGE:
                    return {"rows": rows, "last": rows[-1]["number"]}
                rows.append(_row(number, body))
            if not stretch:
                return {"rows": rows, "last": 0}
            top = stretch[-1][0]
        return {"rows": rows, "last": top}


def _row(number: int, body: bytes) -> dict[str, Any]:
    said = json.loads(body)
    facts = {key: value for key, value in said.items() if key not in ("at", "event")}
    return {"number": number, "at": said["at"], "event": said["event"], "facts": facts}
