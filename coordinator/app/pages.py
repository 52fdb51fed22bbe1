"""The federation's console, served on the coordinator's own loop."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.app.accounts import open_accounts
from coordinator.app.indoors import Indoors
from coordinator.app.questioning import Questioning
from coordinator.app.rooms import Rooms, services
from coordinator.app.trail_reading import TrailReading
from coordinator.app.web import Web
from coordinator.config import Console, CoordinatorConfig, read_private, replace_private
from coordinator.console.pages import Setting, build
from coordinator.console.rules import account_of
from coordinator.errors import ConfigurationFault, CoordinatorError
from coordinator.model import Clock
from coordinator.registry.certificates import read_caller
from coordinator.registry.rules import check_caller
from protos.identity import Role
from protos.pages.accounts import Account, Accounts
from protos.pages.served import Read, Shown, Tls, TlsUnusable, in_url, settings
from protos.pages.sessions import Sessions

FIRST_SECONDS = 3600.0  # a first link that nobody opened is worth nothing after that
FIRST = "operator"  # as `init` names the first credential
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Served:
    """A console that listens; `first_link` makes the first account, None where there is one."""

    web: Web
    indoors: Indoors
    accounts: Accounts
    address: str
    first_link: str | None
    file: Path  # where the link is written, for the coordinator's account alone

    async def run(self) -> None:
        await self.web.run()

    async def take_back(self) -> None:
        """Remove the link once it was used, or is too old."""
        until = time.monotonic() + FIRST_SECONDS
        try:
            while self.first_link is not None and time.monotonic() < until:
                await asyncio.sleep(LOOK_SECONDS)
                if await asyncio.to_thread(self.accounts.has, Role.OPERATOR):
                    break
        finally:
            self.file.unlink(missing_ok=True)


def open_console(config: CoordinatorConfig, rooms: Rooms, clock: Clock, token: int = 0) -> Served:
    """Build the pages on the rooms, and open their port."""
    console = config.console
    assert console is not None
    accounts = open_accounts(config, token)
    shown = Shown(_whose(config, clock))
    indoors = Indoors(
        config.federation,
        services(config, rooms, clock),
        rooms.audit,
        rooms.roll,
        clock,
        Questioning(rooms.fleet, rooms.questions),
        TrailReading(rooms.audit),
    )
    setting = Setting(
        config.federation,
        indoors,
        accounts,
        Sessions(time.monotonic),
        rooms.job_board,
        rooms.report_board,
        record=rooms.audit.note,
        over_tls=console.over_tls,
        certified=shown.account,
    )
    try:
        web = Web(console, settings(build(setting), shown, _tls(config, console)))
    except TlsUnusable as fault:
        raise ConfigurationFault(str(fault)) from fault
    address = f"{'https' if console.over_tls else 'http'}://{in_url(console.host)}:{web.port}"
    served = Served(
        web, indoors, accounts, address, _first_link(accounts, address), config.console_link_file
    )
    if served.first_link is not None:
        replace_private(served.file, f"{served.first_link}\n".encode())
    return served


def _first_link(accounts: Accounts, address: str) -> str | None:
    if accounts.has(Role.OPERATOR):
        return None
    token = accounts.invite(Role.OPERATOR, "this server", FIRST_SECONDS, name=FIRST)
    return f"{address}/enter/{token}"


def _tls(config: CoordinatorConfig, console: Console) -> Tls | None:
    """Return the server's files; people's certificates are those that gRPC takes as well."""
    if console.certificate is None or console.private_key is None:
        return None
    read_private(console.private_key)
    issuing = x509.load_pem_x509_certificate(read_private(config.keys / "issuing.crt"))
    roots = read_private(config.keys / "roots.crt")
    trusted = roots + issuing.public_bytes(Encoding.PEM)  # a browser may not send the intermediate
    return Tls(console.certificate, console.private_key, trusted.decode())


def _whose(config: CoordinatorConfig, clock: Clock) -> Read:
    """Return how a certificate is read: who it names, where that is a person of this federation."""

    def read(der: bytes) -> Account | None:
        try:
            caller = read_caller(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
            check_caller(caller, config.federation, clock())
        except (ValueError, CoordinatorError):
            return None
        return account_of(caller)

    return read
