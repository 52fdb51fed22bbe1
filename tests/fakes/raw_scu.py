"""A sender that says exactly the bytes a test gives it, right or wrong."""

import socket
from io import BytesIO
from struct import pack

from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import encode

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
RELEASE = b"\5\0\0\0\0\4\0\0\0\0"


def item(kind, value):
    return pack(">BBH", kind, 0, len(value)) + value


def pdu(kind, body):
    return pack(">BBI", kind, 0, len(body)) + body


def a_request(
    calling="STORESCU", called="RADFED", contexts=((1, CT), (3, VERIFICATION)), syntax=IMPLICIT
):
    proposed = b"".join(
        item(
            0x20,
            bytes((number, 0, 0, 0)) + item(0x30, uid.encode()) + item(0x40, syntax.encode()),
        )
        for number, uid in contexts
    )
    user = item(0x51, pack(">I", 16384)) + item(0x52, b"1.2.3")
    return pdu(
        1,
        pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), calling.encode().ljust(16))
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + proposed
        + item(0x50, user),
    )


def data(context_id, control, value):
    return pdu(4, pack(">IBB", 2 + len(value), context_id, control) + value)


def a_store(instance="1.2.3", sop_class=CT):
    primitive, message = C_STORE(), C_STORE_RQ()
    primitive.MessageID, primitive.Priority = 1, 0
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = sop_class, instance
    primitive.DataSet = BytesIO(b"x")
    message.primitive_to_message(primitive)
    return encode(message.command_set, is_implicit_vr=True, is_little_endian=True)


def an_echo():
    primitive, message = C_ECHO(), C_ECHO_RQ()
    primitive.MessageID, primitive.AffectedSOPClassUID = 1, VERIFICATION
    message.primitive_to_message(primitive)
    return encode(message.command_set, is_implicit_vr=True, is_little_endian=True)


class RawScu:
    """One connection; every wait is bounded."""

    def __init__(self, port, *, seconds=30.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def say(self, *parts):
        self.socket.sendall(b"".join(parts))

    def hear(self):
        """Return the type and body of the next PDU; None where the connection ended."""
        header = self._exactly(6)
        if header is None:
            return None
        body = self._exactly(int.from_bytes(header[2:], "big"))
        return None if body is None else (header[0], body)

    def associate(self, **changes):
        self.say(a_request(**changes))
        return self.hear()

    def _exactly(self, size):
        got = b""
        while len(got) < size:
            try:
                piece = self.socket.recv(size - len(got))
            except ConnectionError:
                return None
            if not piece:
                return None
            got += piece
        return got


def status_of(answer):
    """The status in a response's P-DATA-TF body (it is our responses' fifth element, a US)."""
    at = answer[1].index(b"\0\0\0\x09\2\0\0\0")
    return int.from_bytes(answer[1][at + 8 : at + 10], "little")
