"""Could this gateway start? Every reason why not, each with its cure, and nothing is started."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.app.build import build_policy, build_profile
from gateway.app.outbound import build_gate, build_runner
from gateway.app.process import is_running
from gateway.app.setup import require_verified_escrow
from gateway.app.steward import check_policy
from gateway.config import GatewayConfig
from gateway.deid.profile import Profile
from gateway.errors import ConfigurationFault, EnvironmentFault, ExitCode, GatewayError
from gateway.intake.sockets import listen_on, tls_context
from gateway.keys import SiteSecret, read_private
from gateway.line.pixel_look import is_installed
from gateway.link.asking import ask, prove_token
from gateway.link.credentials import Credentials
from gateway.link.probe import probe, reached
from gateway.model import Isolation
from gateway.policy import load_policy
from gateway.release.gate import Gate
from gateway.sandbox.runner import Runner


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    ok: bool
    says: str
    exit_code: ExitCode = ExitCode.OK


def check(config: GatewayConfig, token: str | None = None) -> list[Finding]:
    """Run every check; one that fails hides no other."""
    checks: tuple[tuple[str, Callable[[GatewayConfig], str]], ...] = (
        ("data directory", _data),
        ("free disk", _disk),
        ("site secret", _secret),
        ("escrow", _escrow),
        ("policy", _policy),
        ("profile", _profile),
        ("dicom peers", _peers),
        ("dicom port", _port),
        ("dicom tls", _tls),
        ("sandbox", _sandbox),
        ("federation", _federation),
        ("coordinator", _coordinator),
    )
    if token is not None:
        checks += (("token", lambda config: _token(config, token)),)
    return [_ask(name, ask, config) for name, ask in checks]


def _gate(config: GatewayConfig) -> Gate:
    try:
        return build_gate(config, build_policy(config))
    except sqlite3.Error as fault:
        raise EnvironmentFault(f"{config.ledger_file} cannot be opened: {fault}") from fault


def _coordinator(config: GatewayConfig) -> str:
    credentials = Credentials.load(config.keys_dir)
    if credentials is None:
        return "not asked before `radfed gateway enrol TOKEN`"
    return ask(reached(credentials, config), config, _gate(config))


def _token(config: GatewayConfig, token: str) -> str:
    return prove_token(token, config, _gate(config))


def _ask(name: str, ask: Callable[[GatewayConfig], str], config: GatewayConfig) -> Finding:
    try:
        return Finding(name, ok=True, says=ask(config))
    except GatewayError as fault:
        return Finding(name, ok=False, says=str(fault), exit_code=fault.exit_code)
    except OSError as fault:
        says = f"{fault.filename or name}: {fault.strerror}"
        return Finding(name, ok=False, says=says, exit_code=ExitCode.ENVIRONMENT)


def require_writable(directory: Path) -> None:
    """Refuse a directory that cannot take a file: read-only, another user's, or full."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError as fault:
        raise ConfigurationFault(f"{directory} is missing: run `radfed gateway init`") from fault
    except OSError as fault:
        raise EnvironmentFault(
            f"{directory} cannot be written: {fault.strerror}; free space or change its owner"
        ) from fault


def _data(config: GatewayConfig) -> str:
    require_writable(config.data)
    return f"{config.data} is writable"


def _disk(config: GatewayConfig) -> str:
    free = shutil.disk_usage(config.data).free
    if free <= config.disk.reserve_bytes:
        raise EnvironmentFault(
            f"{free >> 20} MiB are free and {config.disk.reserve_bytes >> 20} MiB are the reserve: "
            "nothing would be taken; free space or lower `disk.reserve_bytes`"
        )
    return f"{free >> 20} MiB free, {config.disk.reserve_bytes >> 20} MiB of them reserve"


def _secret(config: GatewayConfig) -> str:
    SiteSecret.load(config.site_secret)
    return "readable by its owner alone"


def _escrow(config: GatewayConfig) -> str:
    require_verified_escrow(config)
    return "verified"


def _policy(config: GatewayConfig) -> str:
    found = check_policy(config)
    return f"{config.policy_file} is valid; manifest: {found['manifest']}"


def _profile(config: GatewayConfig) -> str:
    profile = build_profile(config)
    return f"{profile.name}, digest {profile.digest[:16]}; {_pixels(profile)}"


def _pixels(profile: Profile) -> str:
    if profile.cleaned_pixels is None:
        return "risky pixels wait for an operator"
    if is_installed():
        return "text in risky pixels is blanked"
    return "risky pixels wait for an operator until `pip install 'radfed[ocr]'`"


def _peers(config: GatewayConfig) -> str:
    callers = [peer.ae_title for peer in config.intake.peers if peer.may_store]
    if not callers:
        return "nobody may store yet: name your PACS in [[intake.peers]]"
    return f"may store: {', '.join(callers)}"


def _port(config: GatewayConfig) -> str:
    ports = [config.intake.port, config.intake.tls.port if config.intake.tls else None]
    wanted = [port for port in ports if port]
    if is_running(config.run_dir / "lock"):
        return "this gateway runs and holds its ports"
    for port in wanted:
        listen_on(config.intake.host, port).close()
    return f"free: {', '.join(map(str, wanted))}" if wanted else "any free port"


def _tls(config: GatewayConfig) -> str:
    if config.intake.tls is None:
        return "not configured"
    read_private(config.intake.tls.private_key)
    tls_context(config.intake.tls)
    return f"certificate {config.intake.tls.certificate} loads"


def _sandbox(config: GatewayConfig) -> str:
    runner = build_runner(config)
    if problems := runner.self_test():
        raise EnvironmentFault(f"jobs would be refused: {'; '.join(problems)}")
    if absent := sorted(config.jobs.runtimes.keys() - runner.runtimes):
        raise EnvironmentFault(
            f"no directory of packages for the runtime {absent[0]}: look at [jobs.runtimes]"
        )
    offered = ", ".join(sorted(runner.runtimes))
    return (
        f"jobs are confined by {runner.isolation.words}; memory is counted by "
        f"{runner.counts_memory_by}; jobs may run in {offered}; {_cards(config, runner)}"
    )


def _cards(config: GatewayConfig, runner: Runner) -> str:
    most = load_policy(config.policy_file).jobs.gpus_at_most
    if most > runner.gpus:
        in_gvisor = runner.isolation is Isolation.GVISOR
        why = "gVisor lets none through" if in_gvisor else "this machine has no more of NVIDIA's"
        return (
            f"a job may have {most} GPUs and {runner.gpus} can be given ({why}): one that asks for "
            "more is refused with gpu_absent"
        )
    return f"a job may have {most} of {runner.gpus} GPUs" if most else "no job is given a GPU"


def _federation(config: GatewayConfig) -> str:
    credentials = Credentials.load(config.keys_dir)
    if credentials is None:
        return "not enrolled yet: `radfed gateway enrol -` takes the invitation's token"
    return probe(credentials, config)
