"""An HTTP proxy as hospitals have them: CONNECT, a password, or a refusal."""

import socket
from base64 import b64encode
from contextlib import contextmanager, suppress
from threading import Thread


class ConnectProxy:
    def __init__(self, password: str = "", refuse: int = 0) -> None:
        self._wanted = b64encode(password.encode()).decode() if password else ""
        self._refuse = refuse
        self.tunnels: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (more := client.recv(4096)):
                return
            head += more
        request, *lines = head.decode().split("\r\n")
        method, target, _ = request.split()
        assert method == "CONNECT"
        self.tunnels.append(target)
        code = self._refuse
        if self._wanted and not any(line.endswith(self._wanted) for line in lines):
            code = 407
        if code:
            client.sendall(f"HTTP/1.1 {code} No\r\n\r\n".encode())
            client.close()
            return
        host, _, port = target.rpartition(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for one, other in ((client, server), (server, client)):
            Thread(target=_copy, args=(one, other), daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def a_proxy(**wishes):
    proxy = ConnectProxy(**wishes)
    Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
