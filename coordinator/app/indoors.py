"""The console's way to the rooms: the same methods as gRPC's, behind the same table."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from coordinator.app.questioning import Questioning
from coordinator.app.trail_reading import TrailReading
from coordinator.audit import AuditTrail
from coordinator.errors import Refused
from coordinator.link.door import method_of
from coordinator.model import Caller, Clock
from coordinator.registry.roll import Roll
from coordinator.registry.rules import check_caller, check_permission
from protos.manifest import Manifest


class Indoors:
    """Checks each act of a person at the pages as the door checks a message."""

    def __init__(
        self,
        federation: str,
        served: Iterable[tuple[ServiceDescriptor, object]],
        audit: AuditTrail,
        roll: Roll,
        clock: Clock,
        questions: Questioning,
        trail: TrailReading,
    ) -> None:
        self.questions = questions
        self.trail = trail
        self._federation = federation
        self._audit = audit
        self._roll = roll
        self._clock = clock
        self._methods: dict[str, Callable[..., Any]] = {
            f"{service.full_name}/{rpc.name}": method_of(servicer, rpc)
            for service, servicer in served
            for rpc in service.methods
        }

    async def check(self, by: Caller, act: str) -> None:
        try:
            check_caller(by, self._federation, self._clock())
            check_permission(by.identity.role, act)
        except Refused as fault:
            await self._refused(by, act, fault)
            raise

    async def call(self, by: Caller, method: str, request: Message) -> Any:  # noqa: ANN401 - the method's response
        await self.check(by, method)
        try:
            return await self._methods[method](by, request)
        except Refused as fault:
            await self._refused(by, method, fault)
            raise

    async def stream(self, by: Caller, method: str, request: Message) -> AsyncIterator[Any]:
        await self.check(by, method)
        try:
            async for response in self._methods[method](by, request):
                yield response
        except Refused as fault:
            await self._refused(by, method, fault)
            raise

    def manifest(self) -> Manifest | None:
        return self._roll.manifest

    def now(self) -> float:
        return self._clock()

    async def record(self, event: str, **facts: str | float | None) -> None:
        await self._audit.record(event, **facts)

    async def end(self) -> None:
        await self.questions.end()
        await self.trail.end()

    async def _refused(self, by: Caller, act: str, fault: Refused) -> None:
        await self._audit.record(
            "call_refused", method=act, caller=by.identity.uri, reason=str(fault)
        )
