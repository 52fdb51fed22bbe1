"""What can be said about a coordinator from outside its process."""

import asyncio
import os
import shutil
import socket
import time

from cryptography import x509

from coordinator.app.keys import load_keys
from coordinator.app.process import is_running
from coordinator.app.signed import installed_manifest
from coordinator.app.tables import seen
from coordinator.config import CoordinatorConfig
from coordinator.errors import ConfigurationFault, EnvironmentFault
from coordinator.postgres.lease import Held, look
from coordinator.postgres.server import Server
from coordinator.store.checkpoint_glance import faults_so_far
from protos.pages.served import in_url

DISK_WANTED = 1 << 30


def status(config: CoordinatorConfig) -> dict[str, object]:
    """Say whether it runs, and what its tables hold."""
    running = is_running(config.lock_file)
    held, counts = seen(config)
    return {
        "federation": config.federation,
        "running": running,
        **({} if config.store.url is None else _lease(config, held, running=running)),
        "address": config.listen.public_address,
        **_trust(config),
        **_console(config),
        "chain_faults": len(faults_so_far(config)),
        **counts,
    }


def _console(config: CoordinatorConfig) -> dict[str, object]:
    """Say where the pages are, and the file with the link that makes their first account."""
    console, link = config.console, config.console_link_file
    if console is None:
        return {}
    scheme = "https" if console.over_tls else "http"
    facts: dict[str, object] = {"console": f"{scheme}://{in_url(console.host)}:{console.port}"}
    return facts | ({"console_link": str(link)} if link.exists() else {})


def _lease(config: CoordinatorConfig, held: Held | None, *, running: bool) -> dict[str, object]:
    """Say what this coordinator is to the other, and whose lease it is."""
    leads = held is not None and held.seconds > 0
    me = config.lock_file.read_text("utf-8") if running else ""
    mine = leads and held is not None and held.holder == me
    facts: dict[str, object] = {"role": _role(running=running, mine=mine)}
    if held is not None and leads:
        facts["leader"] = held.holder
        facts["lease_seconds_left"] = round(held.seconds, 1)
        facts["lease_number"] = held.token
    else:
        facts["leader"] = None
    return facts


def _role(*, running: bool, mine: bool) -> str:
    if not running:
        return "stopped"
    return "leader" if mine else "standby"


def _trust(config: CoordinatorConfig) -> dict[str, object]:
    """Say until when the certificates hold and whose signatures count; nothing where unreadable."""
    try:
        server = x509.load_pem_x509_certificate((config.keys / "server.crt").read_bytes())
        issuing = x509.load_pem_x509_certificate((config.keys / "issuing.crt").read_bytes())
        installed = installed_manifest(config)
    except (OSError, ValueError, ConfigurationFault):
        return {}
    return {
        "certificate_until": server.not_valid_after_utc.isoformat(),
        "intermediate_until": issuing.not_valid_after_utc.isoformat(),
        "manifest_version": 0 if installed is None else installed[1].version,
    }


def preflight(config: CoordinatorConfig) -> dict[str, object]:
    """Check what a start needs; the first thing that is missing is the error."""
    load_keys(config, time.time())
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as fault:
        raise EnvironmentFault(f"{config.data} cannot be made: {fault.strerror}") from fault
    if not os.access(config.data, os.W_OK | os.X_OK):
        raise EnvironmentFault(f"{config.data} cannot be written by this account")
    free = shutil.disk_usage(config.data).free
    if free < DISK_WANTED:
        raise EnvironmentFault(f"{config.data} has {free >> 20} MiB free: it wants 1024")
    if (server := Server.of(config)) is not None:
        asyncio.run(look(server))
    running = is_running(config.lock_file)
    if not running:
        _try_port(config.listen.host, config.listen.port)
    return {"ready": True, "running": running, "federation": config.federation}


def _try_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as fault:
            raise EnvironmentFault(f"{host}:{port} cannot be opened: {fault.strerror}") from fault
