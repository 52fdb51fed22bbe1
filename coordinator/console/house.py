"""What the pages show and do; `app` knows where it comes from and acts as the two doors do."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from google.protobuf.message import Message

from coordinator.model import Caller
from protos.manifest import Manifest

Row = Mapping[str, Any]


class House(Protocol):
    """The coordinator behind its console: every act is checked by the one permission table."""

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
