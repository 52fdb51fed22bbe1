"""A question on its way to its signature: a page prepares it, who asks signs it, the page takes it.

The key stays where its owner keeps it: what travels between page and key is this text.
"""

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from coordinator.errors import InvalidRequest
from coordinator.federation.rules import check_question
from protos.v1.question_pb2 import Question

FORMAT = 1
LENGTH = 32_000  # far more than the longest question
DEADLINE_AT_MOST = 86_400
SITES_AT_MOST = 2000
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ParseError, RecursionError)


@dataclass(frozen=True, slots=True)
class Slip:
    """A question, and how it is to be asked: the latter is in no signature."""

    federation: str
    question: Question
    sites: tuple[str, ...] = ()
    deadline_seconds: int = 30
    quorum: int = 0
    summarise: str = ""

    @property
    def is_signed(self) -> bool:
        return self.question.HasField("signed")

    def text(self) -> str:
        """Return it as a file that a person can read."""
        said = {
            "radfed_question": FORMAT,
            "federation": self.federation,
            "question": MessageToDict(self.question, preserving_proto_field_name=True),
            "sites": list(self.sites),
            "deadline_seconds": self.deadline_seconds,
            "quorum": self.quorum,
            "summarise": self.summarise,
        }
        return json.dumps(said, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, text: str) -> "Slip":
        """Read one; InvalidRequest where it is none, or asks what cannot be asked."""
        if len(text) > LENGTH:
            raise InvalidRequest("this is longer than a question is")
        try:
            said = json.loads(text)
            if said["radfed_question"] != FORMAT:
                raise InvalidRequest("this question is of another version of radfed")
            found = _found(said)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ParseError,
            RecursionError,
        ) as fault:
            raise InvalidRequest(
                "this is no question: take the file as the page gave it, or as "
                "`radfed query sign` wrote it"
            ) from fault
        check_question(found.question)
        return found


def _found(said: dict[str, Any]) -> Slip:
    question = ParseDict(said["question"], Question())
    sites = tuple(map(str, said["sites"]))
    deadline, quorum = int(said["deadline_seconds"]), int(said["quorum"])
    if not 1 <= deadline <= DEADLINE_AT_MOST or not 0 <= quorum <= len(
        sites or range(SITES_AT_MOST)
    ):
        raise ValueError
    if len(sites) > SITES_AT_MOST:
        raise ValueError
    return Slip(str(said["federation"]), question, sites, deadline, quorum, str(said["summarise"]))
