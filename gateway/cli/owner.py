"""Commands of an administrator: what they make belongs to the account the gateway runs under."""

import os
from pathlib import Path

from gateway.config import GatewayConfig, load
from gateway.errors import EnvironmentFault


def load_as_owner(settings: Path, *, reads: Path | None = None) -> GatewayConfig:
    """Read the settings and, started by root, become the account they name in `run_as`.

    A file that root made under `data` would be closed to the gateway. Refuse where the change
    cannot be made, and where that account may not read the file the command was given.
    """
    config = load(settings)
    if config.run_as is None or os.geteuid() != 0:
        return config
    given = reads is not None and reads.exists()
    _become(config.run_as)
    if given and reads is not None and not os.access(reads, os.R_OK):
        raise EnvironmentFault(
            f"{reads} is closed to {config.run_as}, the account of `run_as`: "
            "let that account read it, or give it a copy"
        )
    return config


def _become(account: str) -> None:
    from gateway.app.process import harden

    try:
        harden(account)
    except OSError as fault:
        raise EnvironmentFault(
            f"run this as {account}: `sudo -u {account} radfed gateway ...`"
        ) from fault
