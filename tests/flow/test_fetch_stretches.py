"""What a gateway asks for of an object is what it gets: so much, in pieces so large."""

import asyncio
from hashlib import sha256

import pytest

from coordinator.errors import NotFound
from coordinator.jobs.transfers import Transfers
from coordinator.model import CHUNK_BYTES
from coordinator.store.objects import Objects
from protos.v1.link_pb2 import FetchRequest

pytestmark = pytest.mark.flow
CONTENT = bytes(range(256)) * (10 << 10)  # 2.5 MiB
DIGEST = sha256(CONTENT).digest()


class Offered:
    """The rounds, as much of them as a fetch asks."""

    async def may_fetch(self, _site, digest):
        return digest == DIGEST


def fetched(tmp_path, **asked):
    objects = Objects(tmp_path)
    objects.add(CONTENT)
    transfers = Transfers(objects, Offered(), 1 << 30, lambda _task: None)

    async def all_of_it():
        request = FetchRequest(**({"digest": DIGEST} | asked))
        return [chunk async for chunk in transfers.fetch("tongji", request)]

    return asyncio.run(all_of_it())


def test_a_stretch_has_its_length_and_its_pieces(tmp_path):
    chunks = fetched(tmp_path, offset=1000, length=50_000, chunk_bytes=16_384)

    assert b"".join(chunks) == CONTENT[1000:51_000]
    assert [len(chunk) for chunk in chunks] == [16_384, 16_384, 16_384, 848]


@pytest.mark.parametrize("asked", [{}, {"chunk_bytes": 1 << 31}, {"length": 1 << 40}])
def test_who_asks_for_nothing_special_gets_the_rest_in_whole_chunks(tmp_path, asked):
    chunks = fetched(tmp_path, offset=256, **asked)

    assert b"".join(chunks) == CONTENT[256:]
    assert max(map(len, chunks)) == CHUNK_BYTES


def test_beyond_the_end_there_is_nothing_and_a_strangers_object_is_not_found(tmp_path):
    assert fetched(tmp_path, offset=1 << 50, length=10) == []
    with pytest.raises(NotFound):
        fetched(tmp_path, digest=bytes(32))
