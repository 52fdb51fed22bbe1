"""Who may call, what they may send, and how much at once: decided here, acted on elsewhere."""

from collections.abc import Iterator
from importlib import resources
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gateway.config import Intake, Peer
from gateway.intake.dimse import Command, CommandField, Status, is_uid
from gateway.intake.pdu import (
    APPLICATION_CONTEXT,
    PROTOCOL_VERSION,
    AnsweredContext,
    AssociateRequest,
    ContextResult,
    Negotiated,
    ProposedContext,
    Rejection,
    Role,
)

IMPLEMENTATION_CLASS: Final = b"2.25.197846017206284553107351953867330113327"
IMPLEMENTATION_VERSION: Final = b"RADFED_0_1"


def _uids(kind: str) -> frozenset[bytes]:
    """Read the standard's UIDs of one kind: pynetdicom's tables, without its weight."""
    table = (resources.files("gateway.intake") / "uids.csv").read_bytes()
    rows = (row.split(b",", 2) for row in table.splitlines())
    return frozenset(uid for of_kind, uid, _name in rows if of_kind == kind.encode())


VERIFICATION: Final = b"1.2.840.10008.1.1"
COMMITMENT: Final = b"1.2.840.10008.1.20.1"  # Storage Commitment Push Model
COMMITMENT_INSTANCE: Final = b"1.2.840.10008.1.20.1.1"  # well-known (PS3.4 J.3.5)
REQUEST_COMMITMENT: Final = 1  # action type (PS3.4 J.3.2.1)
STORAGE_CLASSES: Final = _uids("class")
# No pixels travel in these: the dataset holds a URL, or the frames are a stream of their own.
WITHOUT_PIXELS: Final = frozenset(
    {
        b"1.2.840.10008.1.2.4.94",  # JPIP Referenced
        b"1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        b"1.2.840.10008.1.2.4.204",  # JPIP HTJ2K Referenced
        b"1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
        b"1.2.840.10008.1.2.7.1",  # SMPTE ST 2110-20, progressive
        b"1.2.840.10008.1.2.7.2",  # SMPTE ST 2110-20, interlaced
        b"1.2.840.10008.1.2.7.3",  # SMPTE ST 2110-30, audio
    }
)
TRANSFER_SYNTAXES: Final = _uids("syntax")
# Implicit VR, Explicit VR, Explicit VR Big Endian: an echo has no pixels to compress.
LITTLE_ENDIAN: Final = frozenset({b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"})
UNCOMPRESSED: Final = frozenset(
    {b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"}
)

# PS3.4 B.3.1: level 0 (local, attributes may be lost), no level of digital signature support, and
# elements may be coerced, as de-identification does.
STORAGE_INFORMATION: Final = bytes((0, 0, 0, 0, 1, 0))


CONNECTING_AT_MOST: Final = 512  # connections that have not asked for an association yet


class Refusal:
    """Why an association is refused (PS3.8 9.3.4)."""

    NOT_REASONED: Final = Rejection(1, 1, 1)
    APPLICATION_CONTEXT: Final = Rejection(1, 1, 2)
    CALLING_AE: Final = Rejection(1, 1, 3)
    CALLED_AE: Final = Rejection(1, 1, 7)
    PROTOCOL_VERSION: Final = Rejection(1, 2, 2)
    CONGESTION: Final = Rejection(2, 3, 1)  # temporary: the sender should try again
    LOCAL_LIMIT: Final = Rejection(2, 3, 2)  # no room on the disk: the sender should try again


class Admission:
    """One site's rules, every set precomputed: an association with 100 contexts stays cheap."""

    def __init__(self, config: Intake) -> None:
        self._called_ae = config.ae_title
        self._max_length = config.max_pdu_bytes
        self._peers: dict[str, list[Peer]] = {}
        for peer in config.peers:
            self._peers.setdefault(peer.ae_title, []).append(peer)
        self._echo = {VERIFICATION: UNCOMPRESSED}
        private = frozenset(uid.encode() for uid in config.private_sop_classes)
        syntaxes = TRANSFER_SYNTAXES.union(uid.encode() for uid in config.private_transfer_syntaxes)
        self._store = dict.fromkeys(STORAGE_CLASSES | private, syntaxes) | self._echo
        self._commit = {COMMITMENT: LITTLE_ENDIAN}

    def caller(
        self,
        request: AssociateRequest,
        address: IPv4Address | IPv6Address,
        fingerprint: str | None = None,
    ) -> Peer | Rejection:
        """Say which peer this is, or why it may not call; `fingerprint`: of its certificate."""
        if not request.protocol_version & PROTOCOL_VERSION:
            return Refusal.PROTOCOL_VERSION
        if request.application_context != APPLICATION_CONTEXT:
            return Refusal.APPLICATION_CONTEXT
        if request.called_ae != self._called_ae:
            return Refusal.CALLED_AE
        for peer in self._claimed(request, address):
            if bears_out(peer, fingerprint):
                return peer
        return Refusal.CALLING_AE

    def unproven(
        self, request: AssociateRequest, address: IPv4Address | IPv6Address
    ) -> Peer | None:
        """Say who was claimed by a caller without that peer's certificate."""
        return next(self._claimed(request, address), None)

    def _claimed(
        self, request: AssociateRequest, address: IPv4Address | IPv6Address
    ) -> Iterator[Peer]:
        peers = self._peers.get(request.calling_ae, ())
        return (peer for peer in peers if may_call_from(peer, address))

    def takes(self, sop_class: bytes, transfer_syntax: bytes) -> bool:
        """Say whether an instance may come in at all, by whatever way."""
        return sop_class != VERIFICATION and transfer_syntax in self._store.get(sop_class, ())

    def takes_class(self, sop_class: bytes) -> bool:
        return sop_class != VERIFICATION and sop_class in self._store

    def would_store(self, request: AssociateRequest, peer: Peer) -> bool:
        """Say whether instances could come over this association."""
        return peer.may_store and any(
            self.takes_class(context.abstract_syntax) for context in request.contexts
        )

    def negotiate(self, request: AssociateRequest, peer: Peer) -> Negotiated:
        """Answer every context, role and extended negotiation (PS3.8 9.3.3, PS3.7 D.3.3)."""
        served = self._served(peer)
        roles = {uid: _role(role) for uid, role in request.roles.items() if uid in served}
        return Negotiated(
            contexts=tuple(_answer(context, served, roles) for context in request.contexts),
            max_length=self._max_length,
            implementation_class=IMPLEMENTATION_CLASS,
            implementation_version=IMPLEMENTATION_VERSION,
            roles=roles,
            extended={
                uid: STORAGE_INFORMATION
                for uid in request.extended
                if uid in served and uid not in (VERIFICATION, COMMITMENT)
            },
            asynchronous=request.asynchronous,
        )

    def _served(self, peer: Peer) -> dict[bytes, frozenset[bytes]]:
        served = self._store if peer.may_store else self._echo
        return served | self._commit if peer.commitment else served


def bears_out(peer: Peer, fingerprint: str | None) -> bool:
    """Say whether the caller's certificate (its SHA-256) is one this peer is known by.

    An AE title is a claim anyone can make; a pinned one counts only with its certificate, so not
    over plain DICOM. Who it was really is nobody's business: the refusal says that the calling AE
    is not recognized (PS3.8 table 9-21 knows no better reason).
    """
    return not peer.certificate_sha256 or fingerprint in peer.certificate_sha256


def may_call_from(peer: Peer, address: IPv4Address | IPv6Address) -> bool:
    """Compare addresses as IPv4 where a dual-stack socket shows them mapped (RFC 4291 2.5.5.2)."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return not peer.addresses or any(address in network for network in peer.addresses)


def _role(proposed: Role) -> Role:
    """Let the requestor be an SCU only: we never send to it on its own association."""
    return Role(scu=proposed.scu, scp=False)


def _answer(
    context: ProposedContext,
    served: dict[bytes, frozenset[bytes]],
    roles: dict[bytes, Role],
) -> AnsweredContext:
    """Accept the first transfer syntax of the sender's list that we take: its order is its wish."""
    context_id, abstract_syntax, proposed = context
    accepted = served.get(abstract_syntax)
    if accepted is None:
        return AnsweredContext(context_id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, proposed[0])
    if roles and abstract_syntax in roles and not roles[abstract_syntax].scu:
        return AnsweredContext(context_id, ContextResult.USER_REJECTION, proposed[0])
    for syntax in proposed:
        if syntax in accepted:
            return AnsweredContext(context_id, ContextResult.ACCEPTANCE, syntax)
    return AnsweredContext(context_id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, proposed[0])


def accepted_contexts(
    request: AssociateRequest, negotiated: Negotiated
) -> dict[int, tuple[str, str]]:
    """Return abstract and transfer syntax of each accepted context, by its ID."""
    return {
        proposed.context_id: (
            proposed.abstract_syntax.decode("ascii"),
            answered.transfer_syntax.decode("ascii"),
        )
        for proposed, answered in zip(request.contexts, negotiated.contexts, strict=True)
        if answered.result is ContextResult.ACCEPTANCE
    }


def first_status(command: Command, abstract_syntax: str) -> Status:
    """Judge a request by its command alone; SUCCESS means: go on with it (PS3.7 9.1.1, 9.1.5).

    Storage commitment is not granted unless a site opts in for a peer: what is kept here is a
    de-identified form, and a modality may delete its original on our word. Where its SOP class was
    not accepted, an N-ACTION comes astray.
    """
    if abstract_syntax.encode() == COMMITMENT:
        return first_status_of_action(command)
    if command.field not in (CommandField.C_STORE, CommandField.C_ECHO):
        return Status.UNRECOGNIZED_OPERATION
    echo = command.field == CommandField.C_ECHO
    if command.sop_class != abstract_syntax.encode() or echo != (command.sop_class == VERIFICATION):
        return Status.SOP_CLASS_NOT_SUPPORTED
    if echo:
        return Status.SUCCESS
    if not is_uid(command.sop_instance):
        return Status.INVALID_SOP_INSTANCE
    return Status.SUCCESS if command.has_dataset else Status.CANNOT_UNDERSTAND


def first_status_of_action(command: Command) -> Status:
    """Judge a request to the Storage Commitment Push Model (PS3.4 J.3.2, PS3.7 10.1.4.1.10)."""
    if command.field != CommandField.N_ACTION:
        return Status.UNRECOGNIZED_OPERATION
    if command.sop_class != COMMITMENT:
        return Status.SOP_CLASS_NOT_SUPPORTED
    if command.sop_instance != COMMITMENT_INSTANCE:
        return Status.NO_SUCH_SOP_INSTANCE
    if command.action_type != REQUEST_COMMITMENT:
        return Status.NO_SUCH_ACTION
    return Status.SUCCESS if command.has_dataset else Status.INVALID_ARGUMENT_VALUE


# What custody says of an instance, as PS3.4 B.2.3 says it.
VERDICTS: Final[dict[str, Status]] = {
    "stored": Status.SUCCESS,
    "duplicate": Status.SUCCESS,
    "quarantined": Status.SUCCESS,  # in custody, sealed: the sender need not keep it
    "rejected": Status.DATASET_DOES_NOT_MATCH,  # the dataset contradicts its command
}
