"""A hospital's proxy that reads what it forwards: it holds the coordinator's key and its own.

Nobody but whoever made both houses has the two: TLS is between gateway and coordinator, end to end.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from deploy.demo.files import write_private
from protos.identity import Invitation

REQUEST = re.compile(rb"CONNECT ([^ ]+):([0-9]{1,5}) HTTP/1\.1\r\n")
REQUEST_BYTES = 4096
PIECE = 1 << 16
STOP_SECONDS = 10.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Way = Callable[[], ssl.SSLContext]  # read anew for each connection: certificates are renewed


class CapturingProxy:
    """Answers CONNECT (RFC 9110, 9.3.6), and keeps all the hospital says: a file a connection."""

    def __init__(self, kept: Path, door: Way, onward: Way) -> None:
        self._kept = kept
        self._door, self._onward = door, onward
        self._numbers = count(1)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self._ending = asyncio.Event()
        self._running: tuple[asyncio.AbstractEventLoop, Thread] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def said(self) -> list[bytes]:
        """Return all that the hospital has said until now, of each connection."""
        return [path.read_bytes() for path in sorted(self._kept.glob("*.h2"))]

    def start(self) -> None:
        self._kept.mkdir(parents=True, mode=0o700, exist_ok=True)
        loop = asyncio.new_event_loop()
        thread = Thread(target=self._run, args=(loop,), name="capturing-proxy", daemon=True)
        self._running = (loop, thread)
        thread.start()

    def stop(self) -> None:
        """End every connection, and wait until they have ended."""
        if self._running is not None:
            loop, thread = self._running
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._ending.set)
            thread.join(STOP_SECONDS)
        self._listening.close()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        accepting = asyncio.create_task(self._accept())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait((accepting, ending), return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            accepting.result()
        accepting.cancel()
        with suppress(asyncio.CancelledError):
            await accepting

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as conversations:
            while True:
                caller, _ = await loop.sock_accept(self._listening)
                conversations.create_task(self._converse(caller))

    async def _converse(self, caller: socket.socket) -> None:
        # A connection that is cut is the two ends' affair; TLS's own faults are OSErrors, too.
        with caller, suppress(OSError):
            host, port = await _asked_for(caller)
            centre = await asyncio.open_connection(
                host, port, ssl=self._onward(), server_hostname=host
            )
            try:
                await self._forward(caller, centre)
            finally:
                centre[1].close()

    async def _forward(self, caller: socket.socket, centre: Streams) -> None:
        await asyncio.get_running_loop().sock_sendall(caller, b"HTTP/1.1 200 OK\r\n\r\n")
        hospital = await _secured(caller, self._door())
        kept = self._kept / f"{next(self._numbers):06}.h2"
        with kept.open("xb", buffering=0) as file:
            try:
                # Kept before it goes on: what the coordinator received was seen here.
                await asyncio.gather(
                    _copy(hospital[0], centre[1], file.write), _copy(centre[0], hospital[1])
                )
            finally:
                hospital[1].close()


async def _asked_for(caller: socket.socket) -> tuple[str, int]:
    """Read a CONNECT; whoever sends it sends nothing more before it is answered."""
    loop, head = asyncio.get_running_loop(), b""
    while not head.endswith(b"\r\n\r\n"):
        more = await loop.sock_recv(caller, REQUEST_BYTES)
        if not more or len(head) > REQUEST_BYTES:
            raise ConnectionAbortedError("no request came")
        head += more
    if (asked := REQUEST.match(head)) is None:
        await loop.sock_sendall(caller, b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
        raise ConnectionAbortedError("not a CONNECT")
    return asked[1].decode("ascii"), int(asked[2])


async def _secured(caller: socket.socket, door: ssl.SSLContext) -> Streams:
    """Answer a caller's TLS as the coordinator would."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    own = caller.dup()  # its transport closes it, when all is written
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, own, ssl=door)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _copy(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    keep: Callable[[bytes], object] = bytes,
) -> None:
    with suppress(OSError):
        while piece := await source.read(PIECE):
            keep(piece)
            sink.write(piece)
            await sink.drain()
    sink.close()


def as_coordinator(keys: Path) -> ssl.SSLContext:
    """Return how the coordinator answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.crt", keys / "server.key")
    context.set_alpn_protocols(["h2"])
    return context


def as_hospital(roots: str | bytes, chain: Path, key: Path) -> ssl.SSLContext:
    """Return how a hospital dials: its certificate, and the federation's roots (PEM, or DER)."""
    context = ssl.create_default_context(cadata=roots)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    return context


def as_guest(token: str) -> ssl.SSLContext:
    """Return how a hospital dials before it is enrolled: by what lies in its invitation."""
    guest = Invitation.decode(token)
    key = load_der_private_key(guest.private_key_der, None)
    chain = map(ssl.DER_cert_to_PEM_cert, (guest.certificate_der, guest.issuer_der))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with TemporaryDirectory() as lent:
        file = Path(lent) / "guest.pem"
        write_private(file, pem + "".join(chain).encode())
        return as_hospital(guest.root_certificate_der, file, file)
