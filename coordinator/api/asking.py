"""A question as a person or a program words it, and its answers as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from secrets import token_bytes

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.federation.rules import check_question, check_summary
from protos.signatures import NONCE_BYTES, sign_question
from protos.v1.federation_pb2 import Total
from protos.v1.question_pb2 import Answer, Question, Tier

SIGNED_BEYOND = timedelta(hours=1)  # for clocks that differ


class Protection(StrEnum):
    NOISY = "noisy"  # charged to the hospitals' budgets
    PUBLIC = "public"  # the public tables: free, without a filter
    EXACT = "exact"  # small cells hidden, for a project the hospitals signed for


TIERS = {
    Protection.NOISY: Tier.TIER_UNSPECIFIED,
    Protection.PUBLIC: Tier.TIER_PUBLIC,
    Protection.EXACT: Tier.TIER_EXACT,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to know; `mean` is a number whose mean and quartiles are wanted."""

    where: str = ""
    by: tuple[str, ...] = ()
    unit: str = "patients"
    project: str = ""
    mean: str = ""
    protection: Protection = Protection.NOISY

    @property
    def question(self) -> Question:
        """Return the question; InvalidRequest, with a place and a cure, where there is none."""
        from coordinator.api.parse import parse_question

        question = parse_question(self.where, self.by, self.unit, self.project)
        if self.mean:
            if self.summarised not in question.group_by:
                question.group_by.append(self.summarised)
            check_summary(question, self.summarised)
        question.tier = TIERS[self.protection]
        check_question(question)
        return question

    @property
    def summarised(self) -> str:
        """Return the number's own name where its band's was given."""
        from coordinator.api.parse import parse_question

        return parse_question("", [self.mean], "patients").group_by[0] if self.mean else ""


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of a question: each hospital's answer, and the sum of those with a figure."""

    question: Question
    answers: Mapping[str, Answer]
    total: Total = field(default_factory=Total)


def sign(question: Question, federation: str, key: Ed25519PrivateKey, deadline: int) -> None:
    """Sign a question for as long as its answers are waited for, and an hour for slow clocks."""
    until = datetime.now(UTC) + timedelta(seconds=deadline) + SIGNED_BEYOND
    sign_question(question, federation, key, token_bytes(NONCE_BYTES), until)
