"""How the inbound rooms are built from the settings: receivers, line and commands share this.

A room is imported by the function that builds it: a command should not wait for pydicom, nor a
receiver for the index, when it needs neither.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config import GatewayConfig, Intake, Peer
from gateway.errors import ConfigurationFault
from gateway.keys import Purpose, Ring, SiteSecret, key_versions, require_used

if TYPE_CHECKING:
    from gateway.audit import AuditTrail
    from gateway.deid.engine import Deidentifier
    from gateway.deid.profile import Profile
    from gateway.deid.stream import StreamEngine
    from gateway.desk.book import Book
    from gateway.desk.charging import Charging
    from gateway.desk.objects import Objects
    from gateway.desk.signers import Signers
    from gateway.line.custody import Custody
    from gateway.line.face_look import FaceLook
    from gateway.line.pixel_look import PixelLook
    from gateway.line.worker import Line
    from gateway.policy import Policy
    from gateway.store.files import Store
    from gateway.store.patients import Register
    from gateway.trust import Pins
    from gateway.vault.vault import Vault


def build_profile(config: GatewayConfig) -> "Profile":
    from gateway.deid.profile import load_profile
    from gateway.deid.tables import Sources

    return load_profile(
        config.deid.profile, Sources(config.deid.table, config.deid.safe_private_table)
    )


def build_secret(config: GatewayConfig) -> SiteSecret:
    return SiteSecret.load(config.site_secret)


def build_deidentifier(config: GatewayConfig, secret: SiteSecret) -> "Deidentifier":
    from gateway.deid.engine import Deidentifier

    return Deidentifier(build_profile(config), *patient_keys(config, secret))


def build_stream(config: GatewayConfig, secret: SiteSecret) -> "StreamEngine":
    from gateway.deid.stream import StreamEngine

    return StreamEngine(build_profile(config), *patient_keys(config, secret))


def patient_keys(
    config: GatewayConfig, secret: SiteSecret
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the keys of pseudonyms and of date shifts, every version, the first first."""
    require_used(config.used_versions_file, config.keys_dir)
    newest = key_versions(config.keys_dir)
    pseudonym, shift = (
        secret.versions(purpose, newest[purpose]) for purpose in (Purpose.PSEUDONYM, Purpose.SHIFT)
    )
    return pseudonym, shift


def build_register(config: GatewayConfig, secret: SiteSecret) -> "Register":
    """Open the register of decisions about patients, read under the newest pseudonyms."""
    from gateway.store.patients import Register

    return Register.open(config.patients_file, patient_keys(config, secret)[0])


def build_store(config: GatewayConfig, secret: SiteSecret) -> "Store":
    from gateway.store.files import Store

    return Store(config.store_dir, build_ring(config, secret, Purpose.SEAL))


def build_vault(config: GatewayConfig, secret: SiteSecret) -> "Vault":
    from gateway.vault.vault import Vault

    return Vault(config.vault_dir, build_ring(config, secret, Purpose.VAULT))


def build_ring(config: GatewayConfig, secret: SiteSecret, purpose: Purpose) -> Ring:
    return secret.ring(purpose, key_versions(config.keys_dir)[purpose])


def build_audit(config: GatewayConfig) -> "AuditTrail":
    from gateway.audit import AuditTrail

    return AuditTrail.open(config.audit_file)


def _uncounted(_event: str) -> None:
    """Count nothing: a command has no counters."""


def build_custody(
    config: GatewayConfig,
    audit: "AuditTrail | None" = None,
    count: Callable[[str], None] = _uncounted,
) -> "Custody":
    """Build what the DICOM door gives instances to: one for each process."""
    from gateway.app.profiles import remember_profile
    from gateway.line.custody import Custody

    remember_profile(config)
    secret = build_secret(config)
    return Custody(
        build_store(config, secret),
        build_vault(config, secret),
        build_deidentifier(config, secret),
        header_limit_bytes=config.intake.header_limit_bytes,
        header_memory_bytes=config.intake.header_memory_bytes,
        reserve_bytes=config.disk.reserve_bytes,
        audit=audit or build_audit(config),
        stream=build_stream(config, secret),
        count=count,
    )


def build_line(config: GatewayConfig, audit: "AuditTrail") -> "Line":
    """Build the one writer of the index."""
    from gateway.app.profiles import remember_profile
    from gateway.line.face_wait import Patience
    from gateway.line.worker import Line
    from gateway.store.index import Index

    remember_profile(config)
    secret = build_secret(config)
    return Line(
        build_store(config, secret),
        build_vault(config, secret),
        build_deidentifier(config, secret),
        Index.open(config.index_file),
        register=build_register(config, secret),
        keep_days=config.vault.keep_days,
        whole_bytes_at_most=config.vault.whole_bytes_at_most,
        audit=audit,
        stream=build_stream(config, secret),
        pixel_look=build_pixel_look(config),
        faces=build_face_look(config),
        patience=Patience(config.deid.faces.quiet_seconds, config.deid.faces.wait_seconds_at_most),
    )


def build_face_look(config: GatewayConfig) -> "FaceLook":
    """Build what removes faces: with a process for codecs where the profile wants it."""
    from gateway.line.face_look import FaceLook
    from gateway.store.faces import FaceRegions

    regions = FaceRegions(config.store_dir)
    profile = build_profile(config)
    if not profile.removes_faces:
        return FaceLook(regions)
    from gateway.app.pixel_room import PixelRoom

    return FaceLook(regions, PixelRoom(config.deid.pixels), ears=profile.faces.ears)


def build_pixel_look(config: GatewayConfig) -> "PixelLook":
    """Build the look at risky pixels: with a process of its own where text recognition is there."""
    from gateway.line.pixel_look import PixelLook, is_installed

    settings = build_profile(config).cleaned_pixels
    if settings is None or not is_installed():
        return PixelLook(settings)
    from gateway.app.pixel_room import PixelRoom

    return PixelLook(settings, PixelRoom(config.deid.pixels))


def build_policy(config: GatewayConfig) -> Callable[[], "Policy"]:
    """Return the rules in force; a file that is not valid any more refuses everything."""
    from gateway.policy import LivePolicy

    return LivePolicy(config.policy_file)


def build_pins(config: GatewayConfig) -> "Pins":
    from gateway.trust import Pins

    return Pins(config.roots_file, config.manifest_file)


def build_signers(
    config: GatewayConfig, book: "Book", policy: Callable[[], "Policy"], audit: "AuditTrail"
) -> "Signers":
    from gateway.desk.signers import Signers

    return Signers(config.site, book, build_pins(config), policy, audit)


def build_charging(config: GatewayConfig, policy: Callable[[], "Policy"]) -> "Charging":
    from gateway.desk.charging import Charging
    from gateway.release.bits import BitsLedger

    return Charging(BitsLedger.open(config.bits_file), policy)


def build_book(config: GatewayConfig) -> "Book":
    from gateway.desk.book import Book

    return Book.open(config.desk_dir / "desk.db")


def build_objects(config: GatewayConfig) -> "Objects":
    from gateway.desk.objects import Objects

    return Objects(config.desk_dir / "objects")


def peer_named(intake: Intake, name: str) -> Peer:
    """Find a DICOM peer by its name or AE title."""
    for peer in intake.peers:
        if name in (peer.name, peer.ae_title):
            return peer
    known = ", ".join(peer.name for peer in intake.peers) or "none"
    raise ConfigurationFault(f"no peer is called {name!r}; the settings name: {known}")


def echo_peer(config: GatewayConfig, name: str, timeout: float) -> dict[str, Any]:
    from gateway.intake.echo import echo

    peer = peer_named(config.intake, name)
    result = echo(peer, config.intake.ae_title, timeout, config.intake.tls if peer.tls else None)
    return {
        "peer": peer.name,
        "ae_title": peer.ae_title,
        "status": f"0x{result.status:04X}",
        "milliseconds": round(result.seconds * 1000, 1),
        "tls": result.tls,
    }


def import_into(
    config: GatewayConfig, source: Path, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Take files into custody; a gateway that runs indexes them now, another at its next start."""
    from gateway.app.process import one_of_several
    from gateway.app.setup import require_verified_escrow
    from gateway.intake.importer import import_directory

    require_verified_escrow(config)
    with one_of_several(config.takers_lock):
        found = import_directory(source, build_custody(config), progress, config.intake)
    return {
        "stored": found.stored,
        "duplicate": found.duplicate,
        "quarantined": found.quarantined,
        "skipped": found.skipped,
        "not_taken": [{"path": file.path, "reason": file.reason} for file in found.not_taken],
        "stopped": found.stopped,
    }
