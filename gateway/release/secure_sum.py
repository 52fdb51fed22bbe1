"""One hospital's side of a secure sum: what it is told is checked, what it answers is made here.

    enter   ephemeral keys, certified by the hospital's own      ->  roster
    admit   every other hospital is one that the policy pinned
    deal    secrets in shares, each sealed for its holder        ->  the others' shares
    masks   what goes over the update
    consent a signature under who is in the sum, once a round    ->  the others' signatures
    unmask  shares of seeds of those in it, of mask keys of those not: of nobody both

After Bonawitz et al. (2017), for coordinators that lie; the graph after Bell et al. (2020).
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.release.rules import Rule
from protos import masks, shamir
from protos.reports import is_signed
from protos.sums import (
    ROSTER_AT_MOST,
    TOTAL_WEIGHT_BELOW,
    SumContext,
    holders,
    keys_statement,
    roster_digest,
    threshold,
    transcript_statement,
)
from protos.v1.sum_pb2 import (
    OpenShare,
    SealedShare,
    SumConsent,
    SumKeys,
    SumRoster,
    SumShares,
    SumTranscript,
    SumUnmasking,
)

NONCE_BYTES = 12
WEIGHT_AT_MOST = 1 << 24


class SumRefused(Exception):
    """This hospital takes no further part; the rule is a closed word that may leave."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.replace("_", " "))
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only this hospital knows of one round: two X25519 keys and the seed of its own mask."""

    mask_key: bytes
    seal_key: bytes
    self_mask: bytes

    def __repr__(self) -> str:
        return "Secrets(...)"

    @classmethod
    def drawn(cls) -> "Secrets":
        return cls(*(os.urandom(masks.KEY_BYTES) for _ in range(3)))

    @classmethod
    def read(cls, raw: bytes) -> "Secrets":
        return cls(*(raw[at : at + masks.KEY_BYTES] for at in (0, 32, 64)))

    def __bytes__(self) -> bytes:
        return self.mask_key + self.seal_key + self.self_mask


def enter(
    context: SumContext, site: str, weight: float, secret: Secrets, identity: Ed25519PrivateKey
) -> SumKeys:
    """Return this hospital's entry."""
    keys = SumKeys(
        site=site,
        weights_digest=context.weights_digest,
        weight=min(max(1, round(weight)), WEIGHT_AT_MOST),
        mask_key=masks.public_of(secret.mask_key),
        seal_key=masks.public_of(secret.seal_key),
        self_mask_digest=sha256(secret.self_mask).digest(),
    )
    keys.signature = identity.sign(keys_statement(context, keys))
    return keys


@dataclass(frozen=True, slots=True)
class Circle:
    """An admitted roster, as one of its hospitals sees it."""

    context: SumContext
    site: str
    secret: Secrets
    keys: Mapping[str, SumKeys]
    digest: bytes  # of the roster

    def holders(self, site: str) -> tuple[str, ...]:
        return holders(self.keys, self.digest)[site]

    @property
    def agreement(self) -> int:
        """Return how many must say the same of a round."""
        return threshold(len(self.keys))

    @property
    def weights(self) -> tuple[int, ...]:
        return tuple(keys.weight for keys in self.keys.values())

    def deal(self) -> SumShares:
        """Share both secrets among their holders; this hospital's own shares are dealt to itself.

        Twice is twice another polynomial: a hospital deals once, and keeps what it dealt.
        """
        held_by = self.holders(self.site)
        places = range(1, len(held_by) + 1)
        of_seed, of_key = (
            shamir.split(secret, places, threshold(len(held_by)), secrets.randbelow)
            for secret in (self.secret.self_mask, self.secret.mask_key)
        )
        return SumShares(
            shares=[
                SealedShare(site=site, sealed=self._seal(site, of_seed[place] + of_key[place]))
                for place, site in zip(places, held_by, strict=True)
            ]
        )

    def opened(self, told: SumShares) -> dict[str, tuple[bytes, bytes]]:
        """Open the shares that this hospital is to hold; SumRefused where they are not for it."""
        found = {}
        for each in told.shares:
            dealer = each.site
            if dealer not in self.keys or self.site not in self.holders(dealer):
                raise SumRefused(Rule.SHARES_FORGED)
            raw = self._open(dealer, each.sealed)
            found[dealer] = (raw[: shamir.SHARE_BYTES], raw[shamir.SHARE_BYTES :])
        if len(found) < len(told.shares) or self.site not in found:
            raise SumRefused(Rule.SHARES_FORGED)
        if len(found) < threshold(len(self.holders(self.site))):
            raise SumRefused(Rule.SUM_TOO_SMALL)
        return found

    def mask(self, dealers: Sequence[str]) -> masks.Mask:
        """Return what goes over this hospital's update: its own mask, and one for each pair."""
        plus: list[bytes] = [self.secret.self_mask]
        minus: list[bytes] = []
        for other in sorted(set(dealers) - {self.site}):
            key = masks.pair_key(
                self.secret.mask_key,
                self.keys[other].mask_key,
                self.context.digest,
                masks.mask_purpose(self.site, other),
            )
            (plus if self.site < other else minus).append(key)
        return masks.Mask(plus, minus)

    def statement(self, survivors: Sequence[str], dealers: Sequence[str], least: int) -> bytes:
        """Return what is signed of who is in the sum; SumRefused where that cannot be."""
        told = set(survivors)
        if len(told) < len(survivors) or not told <= self.keys.keys() or self.site not in told:
            raise SumRefused(Rule.SURVIVORS_FORGED)
        unknown = {one for one in told if self.site in self.holders(one)} - set(dealers)
        if unknown:  # in the sum without having dealt: nobody could take its mask off
            raise SumRefused(Rule.SURVIVORS_FORGED)
        if len(told) < max(least, self.agreement):
            raise SumRefused(Rule.SUM_TOO_SMALL)
        return transcript_statement(self.context, self.digest, survivors)

    def verify(
        self, transcript: SumTranscript, statement: bytes, pinned: Mapping[str, bytes]
    ) -> None:
        """Demand that enough survivors signed the very sum that this hospital signed."""
        survivors = set(transcript.survivors.sites)
        signed = {
            consent.site
            for consent in transcript.consents
            if consent.site in survivors
            and is_signed(pinned.get(consent.site, b""), consent.signature, statement)
        }
        if len(signed) < self.agreement:
            raise SumRefused(Rule.TRANSCRIPT_FORGED)

    def unmask(
        self, survivors: Sequence[str], held: Mapping[str, tuple[bytes, bytes]]
    ) -> SumUnmasking:
        """Reveal one share of each dealer: of its seed where it is in the sum, else of its key."""
        said = SumUnmasking()
        for dealer, (of_seed, of_key) in sorted(held.items()):
            if dealer in survivors:
                said.self_masks.append(OpenShare(site=dealer, share=of_seed))
            else:
                said.mask_keys.append(OpenShare(site=dealer, share=of_key))
        return said

    def _seal(self, to: str, shares: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        key = self._seal_key(self.site, to, to)
        return nonce + AESGCM(key).encrypt(nonce, shares, self.context.digest)

    def _open(self, dealer: str, sealed: bytes) -> bytes:
        key = self._seal_key(dealer, self.site, dealer)
        nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            shares = AESGCM(key).decrypt(nonce, body, self.context.digest)
        except (InvalidTag, ValueError) as fault:
            raise SumRefused(Rule.SHARES_FORGED) from fault
        if len(shares) != 2 * shamir.SHARE_BYTES:
            raise SumRefused(Rule.SHARES_FORGED)
        return shares

    def _seal_key(self, dealer: str, holder: str, other: str) -> bytes:
        public = self.keys[other].seal_key
        purpose = f"share {dealer} {holder}"
        return masks.pair_key(self.secret.seal_key, public, self.context.digest, purpose)


def admit(
    context: SumContext,
    roster: SumRoster,
    own: SumKeys,
    secret: Secrets,
    pinned: Mapping[str, bytes],
    least: int,
) -> Circle:
    """Return the roster as this hospital's circle; SumRefused where the policy knows better."""
    keys = {each.site: each for each in roster.hospitals}
    if len(keys) < len(roster.hospitals) or len(keys) > ROSTER_AT_MOST:
        raise SumRefused(Rule.ROSTER_FORGED)
    if keys.keys() - pinned.keys() - {own.site}:
        raise SumRefused(Rule.ROSTER_STRANGER)
    if any(each.weights_digest != context.weights_digest for each in keys.values()):
        raise SumRefused(Rule.ROSTER_OTHER_WEIGHTS)
    if keys.get(own.site) != own or not _certified(context, keys, own, pinned):
        raise SumRefused(Rule.ROSTER_FORGED)
    if len(keys) < least:
        raise SumRefused(Rule.SUM_TOO_SMALL)
    circle = Circle(
        context, own.site, secret, dict(sorted(keys.items())), roster_digest(context, keys.values())
    )
    if sum(circle.weights) >= TOTAL_WEIGHT_BELOW:
        raise SumRefused(Rule.ROSTER_FORGED)
    try:
        for other in keys.values():  # of a key of small order everybody knows what it agrees on
            for private, public in (
                (secret.mask_key, other.mask_key),
                (secret.seal_key, other.seal_key),
            ):
                masks.pair_key(private, public, context.digest, "test")
    except masks.Unusable as fault:
        raise SumRefused(Rule.ROSTER_FORGED) from fault
    return circle


def consent(statement: bytes, identity: Ed25519PrivateKey) -> SumConsent:
    return SumConsent(signature=identity.sign(statement))


def _certified(
    context: SumContext, keys: Mapping[str, SumKeys], own: SumKeys, pinned: Mapping[str, bytes]
) -> bool:
    return all(
        1 <= each.weight <= WEIGHT_AT_MOST
        and is_signed(pinned[site], each.signature, keys_statement(context, each))
        for site, each in keys.items()
        if site != own.site
    )
