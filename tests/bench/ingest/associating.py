"""Associations of 100 presentation contexts, asked for and released, and nothing else."""

import socket
from itertools import islice

from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import AllStoragePresentationContexts, build_context

from tests.bench.ingest.pushing import CALLING_AE

CONTEXTS = 100
SYNTAXES = 12
ACCEPTED = 0x02
RELEASE_REQUEST = bytes((5, 0, 0, 0, 0, 4, 0, 0, 0, 0))  # PS3.8 9.3.6


def associate(port: int, called: str, count: int) -> None:
    """Set up and release `count` associations; every one must be accepted."""
    request = _request(called)
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(request)
            kind, _body = _pdu(connection)
            if kind != ACCEPTED:
                raise ConnectionError(f"an association was answered with PDU type {kind}")
            connection.sendall(RELEASE_REQUEST)
            _pdu(connection)


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    head = connection.recv(6, socket.MSG_WAITALL)
    if len(head) < 6:
        raise ConnectionError("the peer closed the connection")
    length = int.from_bytes(head[2:], "big")
    return head[0], connection.recv(length, socket.MSG_WAITALL)


def _request(called: str) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = CALLING_AE, called
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    syntaxes = ALL_TRANSFER_SYNTAXES[:SYNTAXES]
    contexts = []
    for number, known in enumerate(islice(AllStoragePresentationContexts, CONTEXTS)):
        context = build_context(known.abstract_syntax, syntaxes)
        context.context_id = 2 * number + 1
        contexts.append(context)
    primitive.presentation_context_definition_list = contexts
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()
