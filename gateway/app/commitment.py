"""Storage commitment, where a site has opted in for a peer: its book, its room, its counts."""

from functools import partial
from typing import TYPE_CHECKING

from gateway.app.build import (
    build_profile,
    build_secret,
    build_store,
    build_vault,
    patient_keys,
)
from gateway.config import GatewayConfig
from gateway.keys import Purpose
from gateway.model import PseudoUID, RealUID

if TYPE_CHECKING:  # a gateway without commitment never loads them
    from gateway.audit import AuditTrail
    from gateway.intake.commitment_book import Book
    from gateway.intake.commitment_room import CommitmentRoom


def is_granted(config: GatewayConfig) -> bool:
    """Say whether any peer may ask; where none may, nothing of this room runs."""
    return any(peer.commitment for peer in config.intake.peers)


def build_book(config: GatewayConfig) -> "Book":
    from gateway.intake.commitment_book import Book

    key = build_secret(config).subkey(Purpose.COMMITMENT)
    return Book.open(config.commitments_file, key)


def build_commitment_room(config: GatewayConfig, audit: "AuditTrail") -> "CommitmentRoom":
    from gateway.intake.commitment_delivery import deliver
    from gateway.intake.commitment_proof import Proof
    from gateway.intake.commitment_room import CommitmentRoom
    from gateway.store.index import Index

    secret = build_secret(config)
    proof = Proof(
        build_store(config, secret),
        build_vault(config, secret),
        Index.open(config.index_file),
        partial(
            filed_under,
            patient_keys(config, secret)[0],
            retained=build_profile(config).options.retain_uids,
        ),
    )
    return CommitmentRoom(config.intake, build_book(config), proof, deliver, audit)


def filed_under(keys: tuple[bytes, ...], real: RealUID, *, retained: bool) -> list[PseudoUID]:
    """Return the UIDs an instance's file may carry, today's first: a rotation may be under way."""
    from gateway.deid.uids import pseudo_uid

    if retained:
        return [PseudoUID(real)]
    return [pseudo_uid(real, keys[:until]) for until in range(len(keys), 0, -1)]


def commitments_of(config: GatewayConfig) -> dict[str, int]:
    """Count requests by what became of them; those long over are forgotten."""
    if not config.commitments_file.exists():
        return {"pending": 0, "delivered": 0}
    book = build_book(config)
    try:
        return book.counts()
    finally:
        book.close()
