"""One round's secure sum as the adding side sees it: told what was said, it says what is next.

    keys        from all that are not out of the round, or until `keys_until`   ->  the roster
    shares      from all of the roster, or until `shares_until`                 ->  the dealers
    (masked updates come as updates do, and the round closes by its own rules)  ->  the survivors
    consents    from more than two thirds of the roster                         ->  the transcript
    unmaskings  until every mask can be taken off                               ->  the sum

Whoever is late is out, and is told so by the word of its round.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from protos import masks, shamir
from protos.sums import ROSTER_AT_MOST, SumContext, holders, roster_digest, threshold
from protos.unmasking import is_genuine, remover
from protos.v1.sum_pb2 import (
    SealedShare,
    SumConsent,
    SumKeys,
    SumReport,
    SumRoster,
    SumShares,
    SumSurvivors,
    SumTranscript,
)

RESERVE_SHARE, RESERVE_AT_MOST = 0.25, 900.0  # of a round's time, for what follows the training

Said = Mapping[str, Mapping[str, SumReport]]  # by hospital and step
Steps = Mapping[str, Collection[str]]  # by hospital, which it has taken


class SumBroken(ValueError):
    """What hospitals revealed does not open the sum."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Until when each step is waited for, within a round's own deadline."""

    keys_until: float
    shares_until: float
    step_seconds: float  # for consents, and once more for unmaskings

    @classmethod
    def of(cls, deadline: float, round_seconds: float) -> "Patience":
        reserve = min(RESERVE_SHARE * round_seconds, RESERVE_AT_MOST)
        return cls(deadline - reserve, deadline - reserve / 2, reserve / 2)


def due(taken: Collection[str], awaited: Collection[str], now: float, until: float) -> bool:
    """Say whether a step goes on with those that took it: nobody is awaited, or not any longer."""
    return bool(taken) and (set(awaited) <= set(taken) or now >= until)


def chosen(entered: Iterable[str], context: SumContext) -> set[str]:
    """Return who of many takes part in a round: as many as one roster has, others another time."""
    turn = context.digest
    drawn = sorted(entered, key=lambda site: sha256(turn + site.encode()).digest())
    return set(drawn[:ROSTER_AT_MOST])


def roster_of(said: Said, sites: Iterable[str]) -> SumRoster:
    return SumRoster(hospitals=[said[site]["keys"].keys for site in sorted(sites)])


def agreed(
    steps: Steps, hospitals: int, survivors: Sequence[str], now: float, until: float
) -> list[str] | None:
    """Return who signed, once enough have and no other is waited for; None while they may come.

    SumBroken where there will not be enough.
    """
    signed = [site for site in survivors if "consent" in steps.get(site, ())]
    refused = [site for site in survivors if "refusal" in steps.get(site, ())]
    needed = threshold(hospitals)
    if len(survivors) < needed:
        raise SumBroken(f"{len(survivors)} of {needed} needed hospitals are in the sum")
    if len(signed) >= needed and (len(signed) + len(refused) >= len(survivors) or now >= until):
        return signed
    if now >= until or len(survivors) - len(refused) < needed:
        raise SumBroken(f"{len(signed)} of {needed} needed hospitals agreed who is in the sum")
    return None


def transcript_of(said: Said, survivors: Sequence[str], signed: Iterable[str]) -> SumTranscript:
    """Return the survivors' signatures under who is in the sum."""
    consents = [
        SumConsent(site=site, signature=said[site]["consent"].consent.signature) for site in signed
    ]
    return SumTranscript(survivors=SumSurvivors(sites=survivors), consents=consents)


def inbox(said: Said, circle: "Circle", dealers: Iterable[str], site: str) -> SumShares:
    """Return the shares that one hospital is to hold, each beside its dealer's name."""
    return SumShares(
        shares=[
            SealedShare(site=dealer, sealed=share.sealed)
            for dealer in dealers
            for share in said[dealer]["shares"].shares.shares
            if share.site == site and site in circle.holders(dealer)
        ]
    )


@dataclass(frozen=True, slots=True)
class Circle:
    """A roster with what hangs on it."""

    context: SumContext
    keys: Mapping[str, SumKeys]
    digest: bytes

    @classmethod
    def of(cls, context: SumContext, roster: SumRoster) -> "Circle":
        keys = {each.site: each for each in roster.hospitals}
        return cls(context, keys, roster_digest(context, roster.hospitals))

    def holders(self, site: str) -> tuple[str, ...]:
        return holders(self.keys, self.digest)[site]

    def can_open(self, said: Said, dealers: Iterable[str], survivors: Sequence[str]) -> bool:
        """Say whether enough was revealed of every secret that is needed."""
        return all(
            len(self._shares(said, dealer, survivors)) >= threshold(len(self.holders(dealer)))
            for dealer in dealers
        )

    def remover(self, said: Said, dealers: Iterable[str], survivors: Sequence[str]) -> masks.Mask:
        """Return the mask that takes off what lies over the survivors' sum."""
        secrets = self.secrets(said, dealers, survivors)
        return remover(self.context, self.keys, self.digest, secrets, survivors)

    def secrets(
        self, said: Said, dealers: Iterable[str], survivors: Sequence[str]
    ) -> dict[str, bytes]:
        """Join what was revealed: seeds of those in the sum, mask keys of those that are not."""
        return {dealer: self._secret(said, dealer, survivors) for dealer in dealers}

    def _secret(self, said: Said, dealer: str, survivors: Sequence[str]) -> bytes:
        """Join a dealer's secret, and compare it with what the dealer published of it."""
        shares = self._shares(said, dealer, survivors)
        try:
            secret = shamir.join(shares, threshold(len(self.holders(dealer))))
        except shamir.NotEnoughShares as fault:
            raise SumBroken(str(fault)) from fault
        if not is_genuine(secret, self.keys[dealer], survived=dealer in survivors):
            raise SumBroken("a hospital revealed a share that is none")
        return secret

    def _shares(self, said: Said, dealer: str, survivors: Sequence[str]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for place, holder in enumerate(self.holders(dealer), 1):
            if holder not in survivors or "unmasking" not in said.get(holder, {}):
                continue
            step = said[holder]["unmasking"].unmasking
            opened = step.self_masks if dealer in survivors else step.mask_keys
            share = next((each.share for each in opened if each.site == dealer), None)
            if share is not None:
                found[place] = share
        return found


def is_step(report: SumReport, site: str) -> bool:
    """Say whether an honest gateway could have said this."""
    match report.WhichOneof("step"):
        case "keys":
            keys = report.keys
            sizes = {len(keys.mask_key), len(keys.seal_key), len(keys.self_mask_digest)}
            return keys.site == site and keys.weight > 0 and sizes == {32}
        case "shares":
            return all(len(share.sealed) <= 256 for share in report.shares.shares)  # noqa: PLR2004 - two shares, sealed
        case "consent":
            return len(report.consent.signature) == 64  # noqa: PLR2004 - Ed25519
        case "unmasking":
            opened = (*report.unmasking.self_masks, *report.unmasking.mask_keys)
            return all(len(each.share) == shamir.SHARE_BYTES for each in opened)
        case "refusal":
            return len(report.refusal) <= 64 and report.refusal.isprintable()  # noqa: PLR2004 - a word
        case _:
            return False
