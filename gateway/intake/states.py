"""The upper layer's state machine, acceptor's side: the whole of it in one table (PS3.8 9.2)."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """The states an acceptor can be in (PS3.8 9.2.2); it never asks for a release itself."""

    IDLE = "Sta1"
    AWAITING_REQUEST = "Sta2"
    AWAITING_LOCAL_ANSWER = "Sta3"
    ESTABLISHED = "Sta6"
    AWAITING_LOCAL_RELEASE = "Sta8"
    AWAITING_CLOSE = "Sta13"


class Happening(StrEnum):
    """The events that reach an acceptor (PS3.8 9.2.3)."""

    ASSOCIATE_AC = "Evt3"
    ASSOCIATE_RJ = "Evt4"
    CONNECTED = "Evt5"
    ASSOCIATE_RQ = "Evt6"
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    SEND_DATA = "Evt9"
    DATA_TF = "Evt10"
    RELEASE_RQ = "Evt12"
    RELEASE_RP = "Evt13"
    RELEASE = "Evt14"
    ABORT_REQUESTED = "Evt15"
    ABORT = "Evt16"
    CLOSED = "Evt17"
    TIMER_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


class Action(StrEnum):
    """What is done on the way to the next state (PS3.8 tables 9-6 to 9-9)."""

    AWAIT_REQUEST = "AE-5"
    INDICATE_REQUEST = "AE-6"
    SEND_ACCEPT = "AE-7"
    SEND_REJECT = "AE-8"
    SEND_DATA = "DT-1"
    INDICATE_DATA = "DT-2"
    INDICATE_RELEASE = "AR-2"
    SEND_RELEASE_RESPONSE = "AR-4"
    STOP_TIMER = "AR-5"
    SEND_LATE_DATA = "AR-7"
    ABORT_AS_USER = "AA-1"
    CLOSE = "AA-2"
    INDICATE_ABORT = "AA-3"
    INDICATE_LOSS = "AA-4"
    CLOSED_EARLY = "AA-5"
    IGNORE = "AA-6"
    ABORT_AGAIN = "AA-7"
    ABORT_AS_PROVIDER = "AA-8"


NEXT: Final[dict[Action, State]] = {
    Action.AWAIT_REQUEST: State.AWAITING_REQUEST,
    Action.INDICATE_REQUEST: State.AWAITING_LOCAL_ANSWER,  # an unacceptable one: REJECT follows
    Action.SEND_ACCEPT: State.ESTABLISHED,
    Action.SEND_REJECT: State.AWAITING_CLOSE,
    Action.SEND_DATA: State.ESTABLISHED,
    Action.INDICATE_DATA: State.ESTABLISHED,
    Action.INDICATE_RELEASE: State.AWAITING_LOCAL_RELEASE,
    Action.SEND_RELEASE_RESPONSE: State.AWAITING_CLOSE,
    Action.STOP_TIMER: State.IDLE,
    Action.SEND_LATE_DATA: State.AWAITING_LOCAL_RELEASE,
    Action.ABORT_AS_USER: State.AWAITING_CLOSE,
    Action.CLOSE: State.IDLE,
    Action.INDICATE_ABORT: State.IDLE,
    Action.INDICATE_LOSS: State.IDLE,
    Action.CLOSED_EARLY: State.IDLE,
    Action.IGNORE: State.AWAITING_CLOSE,
    Action.ABORT_AGAIN: State.AWAITING_CLOSE,
    Action.ABORT_AS_PROVIDER: State.AWAITING_CLOSE,
}

# PS3.8 table 9-10: the acceptor's columns, event by state.
_TABLE_9_10: Final = """
            Sta2  Sta3  Sta6  Sta8  Sta13
    Evt3    AA-1  AA-8  AA-8  AA-8  AA-6
    Evt4    AA-1  AA-8  AA-8  AA-8  AA-6
    Evt6    AE-6  AA-8  AA-8  AA-8  AA-7
    Evt7    -     AE-7  -     -     -
    Evt8    -     AE-8  -     -     -
    Evt9    -     -     DT-1  AR-7  -
    Evt10   AA-1  AA-8  DT-2  AA-8  AA-6
    Evt12   AA-1  AA-8  AR-2  AA-8  AA-6
    Evt13   AA-1  AA-8  AA-8  AA-8  AA-6
    Evt14   -     -     -     AR-4  -
    Evt15   -     AA-1  AA-1  AA-1  -
    Evt16   AA-2  AA-3  AA-3  AA-3  AA-2
    Evt17   AA-5  AA-4  AA-4  AA-4  AR-5
    Evt18   AA-2  -     -     -     AA-2
    Evt19   AA-1  AA-8  AA-8  AA-8  AA-7
"""


def _transcribed(table: str) -> dict[tuple[Happening, State], Action]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {(Happening.CONNECTED, State.IDLE): Action.AWAIT_REQUEST} | {
        (Happening(row[0]), State(state)): Action(action)
        for row in rows
        for state, action in zip(head, row[1:], strict=True)
        if action != "-"
    }


TABLE: Final = _transcribed(_TABLE_9_10)


class IllegalMove(RuntimeError):
    """Our own side asked for what the state does not allow: a defect, never the peer's doing."""

    def __init__(self, happening: Happening, state: State) -> None:
        super().__init__(f"{happening.name} cannot happen in {state.name}")
