"""The fleet: who is invited, who has enrolled, who is here now."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.audit import AuditTrail
from coordinator.errors import (
    InvalidRequest,
    NotFound,
    Refused,
    Unauthenticated,
    WrongMoment,
)
from coordinator.model import Caller, Clock, Site, Standing
from coordinator.registry.certificates import Keyed, issue_credential, serial_of, sign_request
from coordinator.registry.rules import moved
from coordinator.store.sites import IssuedCertificate, Sites, StoredInvitation
from protos.identity import NAME, Identity, Invitation, Role
from protos.v1.link_pb2 import Condition

VERSION_CHARACTERS = re.compile(r"[^0-9A-Za-z.+_-]")
VERSION_LENGTH = 64
RENEWAL_LIFE = timedelta(days=730)  # so long a hospital may be away and come back by itself


@dataclass(frozen=True, slots=True)
class Authority:
    """What the coordinator signs with, and what it tells a hospital about itself."""

    federation: str
    address: str
    issuing: Keyed
    root_der: bytes
    roots_pem: bytes


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of a hospital since this process started."""

    connected: bool = False
    last_seen_at: float | None = None
    software_version: str = ""
    clock_skew_seconds: float = 0.0
    condition: Condition | None = None


class Fleet:
    def __init__(
        self,
        sites: Sites,
        authority: Authority,
        audit: AuditTrail,
        clock: Clock,
        gateway_days: float,
        manifest: Callable[[], bytes] = bytes,
    ) -> None:
        self._sites = sites
        self._authority = authority
        self._audit = audit
        self._clock = clock
        self._manifest = manifest  # as the root signed it
        self._life = timedelta(days=gateway_days)
        self._life_seconds = self._life.total_seconds()
        self._standing: dict[str, Standing] = {}
        self._serials: dict[str, str] = {}
        self._presence: dict[str, Presence] = {}

    async def load(self) -> None:
        """Read who is in force; every later change goes through this object."""
        self._standing = {site.name: site.standing for site in await self._sites.all()}
        self._serials = dict(await self._sites.serials())

    def check_admitted(self, caller: Caller) -> None:
        """Refuse a gateway that is not active, or whose certificate was replaced."""
        name = caller.identity.name
        if self._serials.get(caller.serial) != name:
            raise Unauthenticated("this certificate is not in force here: enrol again")
        if self._standing.get(name) is not Standing.ACTIVE:
            raise Refused(f"{name} is {self._standing.get(name, 'unknown')}: ask the operator")

    async def invite(self, name: str, hours: int, by: str) -> tuple[str, float]:
        """Make a single-use token; return it with the moment it ends."""
        if not NAME.fullmatch(name):
            raise InvalidRequest("a site's name is 1-63 lower-case letters, digits, inner hyphens")
        if self._standing.get(name) is Standing.REVOKED:
            raise WrongMoment(f"{name} is revoked: invite the hospital under another name")
        now = self._now()
        identity = Identity(self._authority.federation, Role.INVITATION, name)
        made = await asyncio.to_thread(
            issue_credential, self._authority.issuing, identity, now, timedelta(hours=hours)
        )
        expires_at = made.certificate.not_valid_after_utc.timestamp()
        serial = serial_of(made.certificate)
        await self._sites.invite(name, serial, by, now.timestamp(), expires_at)
        self._standing.setdefault(name, Standing.INVITED)
        await self._audit.record("site_invited", site=name, by=by, invitation=serial)
        token = Invitation(
            site_name=name,
            address=self._authority.address,
            root_certificate_der=self._authority.root_der,
            certificate_der=made.certificate_der,
            issuer_der=self._authority.issuing.certificate_der,
            private_key_der=made.key_der,
        ).encode()
        return token, expires_at

    def sign_with(self, authority: Authority) -> None:
        """Sign from now on with another intermediate; what the last one signed stays in force."""
        self._authority = authority

    def manifest(self) -> bytes:
        return self._manifest()

    async def change_standing(self, name: str, there: Standing, by: str) -> None:
        """Suspend, restore or revoke a hospital: in force when this returns."""
        if name not in self._standing:
            raise NotFound(f"no site is called {name}: see `radfed site ls`")
        standing = moved(self._standing[name], there)
        await self._sites.stand(name, standing, self._clock())
        self._standing[name] = standing
        self._serials = dict(await self._sites.serials())
        await self._audit.record("site_standing", site=name, standing=standing, by=by)

    async def restore(self, name: str, by: str) -> None:
        """Let a suspended hospital in again; one that never enrolled has nothing to restore."""
        if self._standing.get(name) is Standing.INVITED:
            raise WrongMoment(f"{name} has not enrolled yet")
        await self.change_standing(name, Standing.ACTIVE, by)

    async def renew(self, caller: Caller, csr_der: bytes, version: str) -> tuple[bytes, bytes]:
        """Sign a gateway's next certificate; return it and, where it is time, the next renewal's.

        The one it has stays in force to its own end, so that no stream is dropped.
        """
        self.check_admitted(caller)
        name, now = caller.identity.name, self._clock()
        if caller.identity.role is Role.GATEWAY and caller.not_after - now > self._life_seconds / 2:
            raise WrongMoment("this certificate has more than half its life before it")
        issued = [await self._certify(name, Role.GATEWAY, csr_der)]
        last = await self._sites.renewal(name)
        if last is None or now > (last.issued_at + last.expires_at) / 2:
            issued.append(await self._certify(name, Role.RENEWAL, csr_der))
        await self._sites.renew(name, caller.serial, issued, _clean(version))
        self._serials = dict(await self._sites.serials())
        await self._audit.record("certificate_renewed", site=name, certificate=issued[0].serial)
        return issued[0].chain_pem, issued[1].chain_pem if len(issued) > 1 else b""

    async def stands(self, caller: Caller) -> tuple[str, bool]:
        """Return a caller's standing, and whether its invitation, if it shows one, was used."""
        used = False
        if caller.identity.role is Role.INVITATION:
            invited = await self._sites.invitation(caller.serial)
            used = invited is None or invited.used_at is not None
        return self._standing.get(caller.identity.name, Standing.INVITED), used

    async def enrol(
        self, caller: Caller, csr_der: bytes, version: str
    ) -> tuple[bytes, bytes, bytes]:
        """Sign a gateway's request; return its chain, the roots, and its renewal chain, PEM.

        The same request may come twice, because an answer can be lost on the way; any other
        request under a used invitation is refused.
        """
        invited = await self._sites.invitation(caller.serial)
        if invited is None or invited.site != caller.identity.name:
            raise Refused("this invitation is not known here")
        request = sha256(csr_der).digest()
        if invited.used_at is None:
            await self._issue(invited, csr_der, request, _clean(version))
            invited = await self._sites.invitation(caller.serial)
        if invited is None or invited.certificate is None or invited.request_digest != request:
            await self._audit.record("invitation_reused", site=caller.identity.name)
            raise Refused("this invitation was used before: ask the operator for another")
        renewal = await self._sites.renewal(invited.site)
        chain = await self._sites.chain(invited.certificate)
        return chain, self._authority.roots_pem, b"" if renewal is None else renewal.chain_pem

    async def _issue(
        self, invited: StoredInvitation, csr_der: bytes, request: bytes, version: str
    ) -> None:
        if self._standing[invited.site] is Standing.SUSPENDED:
            raise Refused(f"{invited.site} is suspended: ask the operator")
        standing = moved(self._standing[invited.site], Standing.ACTIVE)
        issued = await self._certify(invited.site, Role.GATEWAY, csr_der)
        renewal = await self._certify(invited.site, Role.RENEWAL, csr_der)
        if await self._sites.enrol(invited, request, issued, renewal, version):
            self._standing[invited.site] = standing
            self._serials = dict(await self._sites.serials())
            await self._audit.record(
                "site_enrolled", site=invited.site, certificate=issued.serial, version=version
            )

    async def _certify(self, name: str, role: Role, csr_der: bytes) -> IssuedCertificate:
        """Sign a certificate for a gateway's key, to work or to renew with."""
        now, issuing = self._now(), self._authority.issuing
        wished = self._life if role is Role.GATEWAY else RENEWAL_LIFE
        # No leaf outlives the intermediate that vouches for it.
        life = min(wished, issuing.certificate.not_valid_after_utc - now)
        identity = Identity(self._authority.federation, role, name)
        leaf = await asyncio.to_thread(sign_request, issuing, csr_der, identity, now, life)
        return IssuedCertificate(
            serial=serial_of(leaf),
            chain_pem=leaf.public_bytes(Encoding.PEM) + issuing.certificate_pem,
            issued_at=now.timestamp(),
            expires_at=leaf.not_valid_after_utc.timestamp(),
            purpose=role.value,
        )

    async def arrived(self, name: str, version: str, skew: float) -> None:
        now = self._clock()
        self._presence[name] = Presence(
            connected=True,
            last_seen_at=now,
            software_version=_clean(version),
            clock_skew_seconds=skew,
        )
        await self._sites.seen(name, now, _clean(version), skew)

    def heard(
        self, name: str, skew: float | None = None, condition: Condition | None = None
    ) -> None:
        known = self._presence.get(name, Presence())
        measured = known.clock_skew_seconds if skew is None else skew
        self._presence[name] = replace(
            known,
            last_seen_at=self._clock(),
            clock_skew_seconds=measured,
            condition=condition or known.condition,
        )

    async def left(self, name: str) -> None:
        known = replace(self._presence.get(name, Presence()), connected=False)
        self._presence[name] = known
        if known.last_seen_at is not None:
            await self._sites.seen(
                name, known.last_seen_at, known.software_version, known.clock_skew_seconds
            )

    def condition(self, name: str) -> Condition | None:
        """Return what a hospital last said of itself; None where it has said nothing yet."""
        return self._presence.get(name, Presence()).condition

    def connected(self) -> frozenset[str]:
        return frozenset(name for name, here in self._presence.items() if here.connected)

    def active(self) -> frozenset[str]:
        return frozenset(n for n, standing in self._standing.items() if standing is Standing.ACTIVE)

    def chosen(self, names: frozenset[str]) -> frozenset[str]:
        """Return the sites meant: every active one, or those named, each of which must exist."""
        unknown = sorted(names - self._standing.keys())
        if unknown:
            raise InvalidRequest(f"no site is called {', '.join(unknown)}: see `radfed site ls`")
        return (names or self.active()) & self.active()

    async def sites(self) -> list[tuple[Site, bool]]:
        """Return every hospital ever invited, and whether it is connected now."""
        known: Mapping[str, Presence] = self._presence
        return [
            (
                _present(site, known.get(site.name, Presence())),
                known.get(site.name, Presence()).connected,
            )
            for site in await self._sites.all()
        ]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _present(site: Site, here: Presence) -> Site:
    if here.last_seen_at is None:
        return site
    return replace(site, last_seen_at=here.last_seen_at, clock_skew_seconds=here.clock_skew_seconds)


def _clean(version: str) -> str:
    """Keep of a peer's free text what a version number is made of."""
    return VERSION_CHARACTERS.sub("", version)[:VERSION_LENGTH]
