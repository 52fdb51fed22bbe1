"""A gateway without a hospital that takes part in secure sums, until it is told to fall silent."""

import asyncio
from hashlib import sha256

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.release.secure_sum import Secrets, admit, consent, enter
from protos.masks import packed
from protos.sums import SumContext, width_of
from protos.v1.job_pb2 import TaskOutcome, TaskState
from protos.v1.sum_pb2 import SumReport
from tests.fakes.gateway_client import FakeGateway

BITS = 24


class SummingGateway(FakeGateway):
    """Honest in every step; `numbers` is what it adds in each round, counts last."""

    def __init__(self, site, address, credentials) -> None:
        super().__init__(site, address, credentials)
        self.identity = Ed25519PrivateKey.generate()
        self.pinned = {}
        self.bundle = b""
        self.numbers = np.zeros(0, np.int64)
        self.values = 0
        self.weight = 10
        self.spoils = False  # the shares it reveals, once
        self.silent_at = {}  # by round: the step at which it is heard no more
        self.rounds = {}  # by task: its round, and what it drew and was told in it

    @classmethod
    def of(cls, gateway):
        return cls(gateway.site, gateway.address, gateway.credentials)

    def _hear(self, message):
        body = message.WhichOneof("body")
        if body == "job_offer":
            self.bundle = message.job_offer.bundle_digest
        if body == "round_task":
            self.seen.append(message)
            self._enter(message.round_task)
        elif body == "sum":
            self.seen.append(message)
            self._step(message.sum)
        else:
            super()._hear(message)

    def _enter(self, task):
        if task.task_id not in self.rounds:
            context = SumContext(task.job_id, task.round, self.bundle, task.weights_digest)
            secret = Secrets.drawn()
            keys = enter(context, self.site, self.weight, secret, self.identity)
            only = self.numbers[self.values :] if task.evaluate_only else self.numbers
            weighed = 0 if task.evaluate_only else self.values
            self.rounds[task.task_id] = {
                "round": task.round, "context": context, "secret": secret, "keys": keys,
                "numbers": only, "weighed": weighed,
            }  # fmt: skip
        self._tell(task.task_id, keys=self.rounds[task.task_id]["keys"])

    def _step(self, call):
        kept = self.rounds[call.task_id]
        step = call.WhichOneof("step")
        if step == "roster" and "dealt" not in kept:
            pinned = self.pinned
            kept["circle"] = admit(
                kept["context"], call.roster, kept["keys"], kept["secret"], pinned, least=3
            )
            kept["dealt"] = kept["circle"].deal()
        if step == "roster":
            self._tell(call.task_id, shares=kept["dealt"])
        elif step == "shares":
            kept["held"] = kept["circle"].opened(call.shares)
            if self.silent_at.get(kept["round"]) != "masked":
                work = asyncio.create_task(self._mask(call.task_id))
                self._tasks.add(work)
                work.add_done_callback(self._tasks.discard)
        elif step == "survivors":
            sites = call.survivors.sites
            kept["statement"] = kept["circle"].statement(sites, [*kept["held"]], 3)
            self._tell(call.task_id, consent=consent(kept["statement"], self.identity))
        elif step == "transcript":
            kept["circle"].verify(call.transcript, kept["statement"], self.pinned)
            sites = call.transcript.survivors.sites
            said = kept["circle"].unmask(sites, kept["held"])
            if self.spoils:
                self.spoils = False
                for share in said.self_masks:
                    share.share = bytes(32) + b"\1"
            self._tell(call.task_id, unmasking=said)

    async def _mask(self, task_id):
        kept = self.rounds[task_id]
        words = kept["numbers"].copy()
        words[: kept["weighed"]] *= self.weight
        values = words.view(np.uint64)
        kept["circle"].mask([*kept["held"]]).put_on(values)
        update = packed(values, width_of(BITS, kept["circle"].weights))
        await self.push(task_id, update)
        outcome = TaskOutcome(
            task_id=task_id, state=TaskState.TASK_STATE_RELEASED, weight=self.weight,
            update_digest=sha256(update).digest(), update_size=len(update),
        )  # fmt: skip
        self.say(outcome=outcome)

    def _tell(self, task_id, **step):
        (name,) = step
        if self.silent_at.get(self.rounds[task_id]["round"]) != name:
            self.say(sum=SumReport(task_id=task_id, **step))
