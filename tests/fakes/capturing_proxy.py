"""A proxy that can read what it forwards: it holds the coordinator's key and the hospital's own."""

import asyncio
import ssl
import struct
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, 3.4
FRAME_HEAD, DATA, PADDED = 9, 0, 0x8
MESSAGE_HEAD = struct.Struct(">BI")  # compressed or not, length: gRPC over HTTP/2


class CapturingProxy:
    def __init__(self, upstream: str, keys: Path, hospital: ssl.SSLContext) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._hospital = hospital
        self._door = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._door.load_cert_chain(keys / "server.crt", keys / "server.key")
        self._door.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._said: list[bytearray] = []  # one for each connection: all the hospital sent
        self.address = ""

    def messages(self) -> list[bytes]:
        """Return every gRPC message the hospital sent, the frames around them removed."""
        return [message for said in self._said for message in _messages(bytes(said))]

    def serve(self, ready) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._forward, "127.0.0.1", 0, ssl=self._door)
        )
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready()
        self._loop.run_forever()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _forward(self, gateway, to_gateway) -> None:
        said = bytearray()
        self._said.append(said)
        try:
            centre, to_centre = await asyncio.open_connection(
                *self._upstream, ssl=self._hospital, server_hostname=""
            )
        except OSError:
            to_gateway.close()
            return
        await asyncio.gather(_copy(gateway, to_centre, said), _copy(centre, to_gateway))


async def _copy(source, sink, kept: bytearray | None = None) -> None:
    with suppress(OSError, ssl.SSLError):
        while piece := await source.read(1 << 16):
            if kept is not None:
                kept += piece
            sink.write(piece)
            await sink.drain()
    with suppress(OSError, ssl.SSLError, RuntimeError):
        sink.close()


def _messages(said: bytes) -> list[bytes]:
    assert said.startswith(PREFACE) or not said
    bodies: dict[int, bytearray] = defaultdict(bytearray)
    at = len(PREFACE)
    while at + FRAME_HEAD <= len(said):
        length = int.from_bytes(said[at : at + 3], "big")
        kind, flags = said[at + 3], said[at + 4]
        stream = int.from_bytes(said[at + 5 : at + 9], "big") & 0x7FFFFFFF
        body = said[at + FRAME_HEAD : at + FRAME_HEAD + length]
        if kind == DATA:
            bodies[stream] += body[1 : len(body) - body[0]] if flags & PADDED else body
        at += FRAME_HEAD + length
    return [message for body in bodies.values() for message in _split(bytes(body))]


def _split(body: bytes) -> list[bytes]:
    found = []
    while body:
        compressed, length = MESSAGE_HEAD.unpack_from(body)
        assert not compressed
        assert len(body) >= MESSAGE_HEAD.size + length  # sent whole
        found.append(body[MESSAGE_HEAD.size : MESSAGE_HEAD.size + length])
        body = body[MESSAGE_HEAD.size + length :]
    return found


def hospitals_way(roots: Path, chain: Path, key: Path) -> ssl.SSLContext:
    """Return how the hospital itself would speak to its coordinator."""
    context = ssl.create_default_context(cafile=roots)
    context.check_hostname = False  # the test's coordinator is an address
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    return context


@contextmanager
def a_capturing_proxy(upstream: str, keys: Path, hospital: ssl.SSLContext):
    from threading import Event

    proxy, ready = CapturingProxy(upstream, keys, hospital), Event()
    Thread(target=proxy.serve, args=(ready.set,), daemon=True).start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        proxy.stop()
