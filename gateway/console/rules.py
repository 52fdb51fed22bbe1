"""Who a person is in a hospital's console, and what they may do."""

from enum import StrEnum

from protos.pages.accounts import Account

DECIDE = "decide"


class Role(StrEnum):
    STEWARD = "steward"  # decides
    READER = "reader"  # looks


def permits(account: Account, _act: str) -> bool:
    """Say whether somebody may decide: there is no other act."""
    return account.role == Role.STEWARD
