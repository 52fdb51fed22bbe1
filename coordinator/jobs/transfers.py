"""Large objects in and out: who may have which, and resuming where a transfer ended."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from coordinator.errors import InvalidRequest, NotFound, Refused, TooLarge
from coordinator.model import CHUNK_BYTES
from coordinator.store.objects import DIGEST_BYTES, Objects
from coordinator.store.rounds import Rounds
from protos.repeats import Span, rest
from protos.v1.federation_pb2 import UploadBundleRequest
from protos.v1.link_pb2 import FetchRequest, PushRequest

WIDEST = 4  # a masked value has up to 8 bytes, a model's as few as 2
UPDATE_SLACK_BYTES = 1 << 20  # a safetensors header may be longer than the weights' own


class Transfers:
    def __init__(
        self,
        objects: Objects,
        rounds: Rounds,
        object_bytes: int,
        arrived: Callable[[str], None],
    ) -> None:
        self._objects = objects
        self._rounds = rounds
        self._object_bytes = object_bytes
        self._arrived = arrived  # told each task whose update is here whole

    async def fetch(self, site: str, request: FetchRequest) -> AsyncIterator[bytes | Span]:
        """Yield as much of an object that was put before the site as it asks for."""
        if not await self._rounds.may_fetch(site, request.digest):
            raise NotFound("no object of this digest was offered to this site")
        piece = min(request.chunk_bytes or CHUNK_BYTES, CHUNK_BYTES)
        left = request.length or None  # of bytes that go as they are
        for span in rest(await self._outline(request), request.offset):
            if span.source is not None:
                yield span
                continue
            at, end = span.at, span.at + span.length
            while at < end and left != 0:
                much = min(piece, end - at, left or piece)
                chunk = await asyncio.to_thread(self._objects.read, request.digest, at, much)
                if not chunk:
                    return
                yield chunk
                at += len(chunk)
                left = left and left - len(chunk)
            if left == 0:
                return

    async def _outline(self, request: FetchRequest) -> Sequence[Span]:
        """Return what goes and what repeats; for a gateway that knows no repeats, all goes."""
        if request.repeats:
            return await asyncio.to_thread(self._objects.outline, request.digest)
        size = await asyncio.to_thread(self._objects.size, request.digest)
        if size is None:
            raise NotFound("no object of this digest is held here")
        return [Span(0, size)]

    async def read(self, digest: bytes, offset: int = 0) -> AsyncIterator[bytes]:
        while chunk := await asyncio.to_thread(self._objects.read, digest, offset, CHUNK_BYTES):
            yield chunk
            offset += len(chunk)

    async def held(self, site: str, task_id: str, digest: bytes) -> int:
        """Return where a push resumes.

        A model may come out the same twice, and is here then; or a crash came between the last
        byte of a push and the note that it is whole: nobody would send that byte again.
        """
        await self._limit(site, task_id)
        _check_digest(digest)
        if await asyncio.to_thread(self._objects.is_whole, digest, task_id):
            await self._complete(task_id, digest)
        return await asyncio.to_thread(self._objects.held, digest, task_id)

    async def push(self, site: str, chunks: AsyncIterator[PushRequest]) -> int:
        """Take a task's update; return how much is held, the whole once its digest is right."""
        first = await anext(chunks, None)
        if first is None:
            raise InvalidRequest("a push has at least one chunk")
        task_id, size = first.task_id, first.size
        if size > (limit := await self._limit(site, task_id)):
            raise TooLarge(f"an update of this task has at most {limit} bytes")

        async def pieces() -> AsyncIterator[tuple[int, bytes | Span]]:
            yield first.offset, _piece(first)
            async for chunk in chunks:
                if (chunk.task_id, chunk.digest, chunk.size) != (task_id, first.digest, size):
                    raise InvalidRequest("one push carries one object of one task")
                yield chunk.offset, _piece(chunk)

        held = await self._take(first.digest, task_id, size, pieces())
        if held == size:
            await self._complete(task_id, first.digest)
        return held

    async def _complete(self, task_id: str, digest: bytes) -> None:
        await self._rounds.pushed(task_id, digest)
        self._arrived(task_id)

    async def upload(self, owner: str, chunks: AsyncIterator[UploadBundleRequest]) -> int:
        """Take a vendor's bundle or weights."""
        first = await anext(chunks, None)
        if first is None:
            raise InvalidRequest("an upload has at least one chunk")
        if first.size > self._object_bytes:
            raise TooLarge(f"an object has at most {self._object_bytes} bytes")

        async def pieces() -> AsyncIterator[tuple[int, bytes | Span]]:
            yield first.offset, first.chunk
            async for chunk in chunks:
                if (chunk.digest, chunk.size) != (first.digest, first.size):
                    raise InvalidRequest("one upload carries one object")
                yield chunk.offset, chunk.chunk

        return await self._take(first.digest, owner, first.size, pieces())

    async def _take(
        self, digest: bytes, owner: str, size: int, pieces: AsyncIterator[tuple[int, bytes | Span]]
    ) -> int:
        _check_digest(digest)
        held = 0
        # Asking after what is here already is no new transfer: it must not end another.
        if await asyncio.to_thread(self._objects.size, digest) is None:
            await asyncio.to_thread(self._objects.keep_only, digest, owner)
        async for offset, chunk in pieces:
            if isinstance(chunk, Span):
                held = await asyncio.to_thread(self._objects.repeat, digest, owner, chunk, size)
                continue
            if len(chunk) > CHUNK_BYTES:
                raise TooLarge(f"a chunk has at most {CHUNK_BYTES} bytes")
            held = await asyncio.to_thread(self._objects.append, digest, owner, offset, chunk, size)
        if held == size:
            await asyncio.to_thread(self._objects.publish, digest, owner)
        return held

    async def _limit(self, site: str, task_id: str) -> int:
        """Return how long a task's update may be; Refused where the task is not the site's."""
        task = await self._rounds.task(task_id)
        if task is None or task.site != site:
            raise Refused("this task was not given to this site")
        weights = (await self._rounds.round_of(task)).weights_size
        return min(self._object_bytes, WIDEST * weights + UPDATE_SLACK_BYTES)


def _piece(said: PushRequest) -> bytes | Span:
    if said.HasField("repeat"):
        return Span(said.offset, said.repeat.length, said.repeat.source)
    return said.chunk


def _check_digest(digest: bytes) -> None:
    if len(digest) != DIGEST_BYTES:
        raise InvalidRequest("an object is named by the 32 bytes of its SHA-256")
