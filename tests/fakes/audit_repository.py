"""An audit record repository: a real TLS server that reads RFC 5425 frames."""

import socket
import ssl
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Self
from xml.etree import ElementTree as ET

from gateway.app.certificate import self_signed

MARK = b"\xef\xbb\xbf"


class AuditRepository:
    def __init__(self, directory: Path, port: int = 0) -> None:
        certificate, key = self_signed("audit", "127.0.0.1")
        self.ca = directory / "audit.crt"
        if not self.ca.exists():
            self.ca.write_bytes(certificate)
            (directory / "audit.key").write_bytes(key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.ca, directory / "audit.key")
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.messages: list[tuple[str, ET.Element]] = []
        self._news = Condition()
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            each.close()

    def wait_for(self, claim, seconds=15.0):
        ends = monotonic() + seconds
        with self._news:
            while not (found := claim(self)):
                self._news.wait(0.05)
                assert monotonic() < ends, "the repository waited in vain"
        return found

    def named(self, code: str) -> list[ET.Element]:
        return [x for _, x in self.messages if x.find(".//EventID").get("csd-code") == code]

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
                stream = self._context.wrap_socket(plain, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._open.append(stream)
            Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: ssl.SSLSocket) -> None:
        file = stream.makefile("rb")
        while True:
            length = b""
            while (byte := file.read(1)).isdigit():
                length += byte
            if byte != b" ":
                return
            message = file.read(int(length))
            header, _, xml = message.partition(MARK)
            with self._news:
                self.messages.append((header.decode("ascii"), ET.fromstring(xml)))
                self._news.notify_all()
