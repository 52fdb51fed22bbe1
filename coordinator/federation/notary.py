"""The notary: signs where this house's chain is, and keeps what each gateway signed of its own."""

import asyncio
from collections.abc import Mapping

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp

from coordinator.audit import AuditTrail
from coordinator.federation.chain import Survey, survey
from coordinator.model import Clock
from coordinator.store.checkpoints import ChainFault, Checkpoints, Signed
from protos.checkpoint import FAULTS, TAKEN, Finding, is_signed, judge, sign_checkpoint
from protos.v1.link_pb2 import Checkpoint, CheckpointExchange

EVERY_SECONDS = 600.0  # walking the chain costs: hospitals that ask meanwhile see the same one
LARGEST = 2**63 - 1
OLDER_AT_MOST = 10_000
AGAIN_SECONDS = 60.0  # the same finding with the same house is an event once a minute at most

log = structlog.get_logger()


class Notary:
    def __init__(
        self,
        checkpoints: Checkpoints,
        trail: AuditTrail,
        key: Ed25519PrivateKey,
        federation: str,
        clock: Clock,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._checkpoints = checkpoints
        self._trail = trail
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self._house = f"coordinator/{federation}"
        self._clock = clock
        self._every = every_seconds
        self._one = asyncio.Lock()
        self._links: dict[int, bytes] = {}  # of own checkpoints, as the chain has them
        self._pruned = 0  # the checkpoint at which the chain begins
        self._older: dict[bytes, bytes] = {}  # of those that are no longer in the table

    async def hear(self, site: str, said: CheckpointExchange) -> CheckpointExchange:
        """Check what a gateway says of its chain; return what there is to say to it.

        What was kept comes back where something is at fault: by it a gateway learns that its chain
        has lost something, and what it had spent.
        """
        house = f"gateway/{site}"
        async with self._one:
            kept = _message(await self._checkpoints.newest(house))
            finding = judge(kept, said, house)
            if finding in FAULTS:
                await self._fault(house, "gateway", finding, kept, said.own)
            if finding in TAKEN and said.own.number <= LARGEST:
                taken = Signed(house, said.own.number, None, self._clock(), _bytes(said.own))
                await self._checkpoints.keep(taken)
                kept = kept if finding in FAULTS else said.own
            reply = CheckpointExchange()
            if said.HasField("kept"):
                await self._recognise(house, said.kept, reply)
            reply.own.CopyFrom(await self._own())
            if kept is not None:
                reply.kept.CopyFrom(kept)
            return reply

    async def known(self) -> tuple[Mapping[str, ChainFault], Mapping[str, Checkpoint]]:
        """Return the last fault with each house, and the newest checkpoint of each, by house."""
        faults = await self._checkpoints.faults()
        newest = await self._checkpoints.newest_of_all()
        return faults, {
            house: Checkpoint.FromString(signed.body) for house, signed in newest.items()
        }

    async def _own(self) -> Checkpoint:
        """Return the newest of this house; a new one where it is time."""
        last = await self._checkpoints.newest(self._house)
        now = self._clock()
        is_recent = last is not None and last.position is not None
        if last is not None and is_recent and 0 <= now - last.at < self._every:
            return Checkpoint.FromString(last.body)
        found = await self._survey(())
        own = Checkpoint(
            house=self._house,
            number=1 if last is None else last.number + 1,
            link=found.head,
            at=Timestamp(seconds=int(now)),
        )
        sign_checkpoint(own, self._key)
        await self._checkpoints.keep(
            Signed(self._house, own.number, found.number, now, _bytes(own))
        )
        self._links[own.number] = found.head
        return own

    async def _recognise(self, house: str, mine: Checkpoint, reply: CheckpointExchange) -> None:
        """Show that a checkpoint of ours is in the chain; or note that it is not."""
        if not is_signed(mine, self._house, self._public) or mine.number > LARGEST:
            await self._fault(house, "coordinator", Finding.REKEYED, None, mine)
            return
        reply.former_number = mine.number
        reply.former_link = await self._link_at(mine)
        if reply.former_link == mine.link:
            return
        await self._fault(house, "coordinator", Finding.REWOUND, None, mine)
        last = await self._checkpoints.newest(self._house)
        if last is None or last.number < mine.number:
            lost = Signed(self._house, mine.number, None, self._clock(), _bytes(mine))
            await self._checkpoints.keep(lost)

    async def _link_at(self, mine: Checkpoint) -> bytes:
        """Return what the chain has where a checkpoint of ours stood; empty where nothing is."""
        known = self._links.get(mine.number) or self._older.get(mine.link)
        if known is None:
            found = await self._survey((mine.link,))
            here = self._links.get(mine.number)
            before = mine.number <= self._pruned  # the export that was made then has it
            known = here or (mine.link if before or mine.link in found.found else b"")
            if len(self._older) > OLDER_AT_MOST:
                self._older.clear()
            self._older[mine.link] = known  # a walk for each thing that is shown, not each showing
        return known

    async def _survey(self, links: tuple[bytes, ...]) -> Survey:
        """Walk the chain off the loop, and read the link at each own checkpoint anew.

        Of one that stands before the chain begins, what was signed is what is known.
        """
        own = await self._checkpoints.of(self._house)
        numbers = {each.position: each.number for each in own if each.position is not None}
        found = await asyncio.to_thread(survey, self._trail, numbers, links)
        self._links = {numbers[at]: link for at, link in found.at.items() if at in numbers}
        before = [each for each in own if each.position and each.position <= found.base]
        self._links |= {each.number: _link(each) for each in before}
        self._pruned = max((each.number for each in before), default=0)
        return found

    async def _fault(
        self, house: str, whose: str, finding: Finding, kept: Checkpoint | None, shown: Checkpoint
    ) -> None:
        """Put an integrity event on the trail, once for each thing that is found."""
        number = min(shown.number, LARGEST)
        last = (await self._checkpoints.faults()).get(house)
        if last and (last.whose, last.finding) == (whose, finding):
            again = self._clock() - last.at < AGAIN_SECONDS
            if again or last.number == number:
                return
        await self._trail.record(
            "checkpoint_fault",
            house=house,
            whose=whose,
            finding=finding.value,
            number=number,
            link=shown.link.hex()[:64],
            kept_number=kept.number if kept else None,
            kept_link=kept.link.hex() if kept else None,
        )
        await self._checkpoints.fault(
            ChainFault(house, self._clock(), whose, finding.value, number)
        )
        log.error("checkpoint_fault", house=house, whose=whose, finding=finding.value)


def _message(signed: Signed | None) -> Checkpoint | None:
    return None if signed is None else Checkpoint.FromString(signed.body)


def _link(signed: Signed) -> bytes:
    return Checkpoint.FromString(signed.body).link


def _bytes(checkpoint: Checkpoint) -> bytes:
    return checkpoint.SerializeToString(deterministic=True)
