"""`python -m tests.bench.ingest.plain_copy PORT DIRECTORY`: what receiving costs at the least.

A file's length in eight bytes, then its content, straight from the socket to a file; one byte back.
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.intake.sockets import listen_on

BUFFER_BYTES = 256 << 10
PIECE_BYTES = 128 << 10  # as dcmtk sends


def main(port: int, directory: Path) -> None:
    listening = listen_on("127.0.0.1", port)
    number = 0
    while True:
        connection, _ = listening.accept()
        with connection:
            number = _serve(connection, directory, number)


def _serve(connection: socket.socket, directory: Path, number: int) -> int:
    view = memoryview(bytearray(BUFFER_BYTES))
    while len(length := connection.recv(8, socket.MSG_WAITALL)) == 8:
        left = int.from_bytes(length, "big")
        with (directory / str(number)).open("wb", buffering=0) as file:
            while left and (received := connection.recv_into(view, min(left, BUFFER_BYTES))):
                file.write(view[:received])
                left -= received
        connection.sendall(b"!")
        number += 1
    return number


def send(files: Sequence[Path], port: int) -> None:
    """Send every file to the program above, each awaited as a C-STORE is."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for path in files:
            content = memoryview(path.read_bytes())
            connection.sendall(len(content).to_bytes(8, "big"))
            for start in range(0, len(content), PIECE_BYTES):
                connection.sendall(content[start : start + PIECE_BYTES])
            connection.recv(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
