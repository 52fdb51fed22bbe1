"""What the pages show and do; `app` knows where it comes from and acts as the two doors do."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message

from coordinator.federation.desk import Seen
from coordinator.federation.slip import Slip
from coordinator.model import Caller
from protos.manifest import Manifest
from protos.v1.question_pb2 import Question

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question that can be asked, as somebody typed or clicked it."""

    question: Question
    summarise: str  # the number whose mean is wanted; empty for none


class Questions(Protocol):
    """What the page Ask does; who may is checked before."""

    def prepare(
        self, where: str, by: Sequence[str], unit: str, project: str, mean: str, tier: str
    ) -> Prepared:
        """Read a question; InvalidRequest, with a place and a cure, where it cannot be asked."""
        ...

    async def ask(self, slip: Slip, by: Caller) -> str:
        """Put a question to the hospitals; return its name."""
        ...

    async def seen(self, name: str, by: Caller) -> Seen:
        """Return a question, with what every hospital said until now."""
        ...


class Trail(Protocol):
    """The audit trail, read backwards."""

    async def page(self, before: int, event: str) -> Row: ...

    def verify(self) -> None:
        """Begin to verify the whole trail, where nobody has begun."""
        ...

    def verifying(self) -> Row | None:
        """Return how far that is, or what it found; None where nobody asked."""
        ...


class House(Protocol):
    """The coordinator behind its console: every act is checked by the one permission table."""

    @property
    def questions(self) -> Questions: ...

    @property
    def trail(self) -> Trail: ...

    async def check(self, by: Caller, act: str) -> None:
        """Refuse what somebody may not do, and put the refusal on the trail."""
        ...

    async def call(self, by: Caller, method: str, request: Message) -> Any:  # noqa: ANN401 - the method's response
        """Call a method of the treaty, such as `radfed.v1.SiteService/ListSites`."""
        ...

    def stream(self, by: Caller, method: str, request: Message) -> AsyncIterator[Any]:
        """Call a method of the treaty that answers more than once."""
        ...

    def manifest(self) -> Manifest | None:
        """Return the manifest in force here: whose signatures count, for which projects."""
        ...

    def now(self) -> float: ...

    async def record(self, event: str, **facts: str | float | None) -> None:
        """Put what happened at the console on the audit trail."""
        ...
