"""The SQL of hospitals, their certificates and their invitations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, insert, select, update

from coordinator.model import Site, Standing
from coordinator.store.database import Database
from coordinator.store.tables import certificate, invitation, site

_IN_FORCE = (certificate.c.superseded_at.is_(None),)
_WORKS = certificate.c.purpose == "gateway"


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """What a gateway was given."""

    serial: str
    chain_pem: bytes
    issued_at: float
    expires_at: float
    purpose: str = "gateway"  # or `renewal`


@dataclass(frozen=True, slots=True)
class StoredInvitation:
    """One single-use invitation and what became of it."""

    serial: str
    site: str
    expires_at: float
    used_at: float | None
    request_digest: bytes | None
    certificate: str | None


class Sites:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Site]:
        expiry = (
            select(func.max(certificate.c.expires_at))
            .where(certificate.c.site == site.c.name, *_IN_FORCE, _WORKS)
            .scalar_subquery()
        )
        query = select(site, expiry.label("expiry")).order_by(site.c.name)
        async with self._database.reading() as connection:
            return [
                Site(
                    name=row.name,
                    standing=Standing(row.standing),
                    software_version=row.software_version,
                    last_seen_at=row.last_seen_at,
                    certificate_expires_at=row.expiry,
                    clock_skew_seconds=row.clock_skew_seconds,
                )
                for row in await connection.execute(query)
            ]

    async def serials(self) -> Mapping[str, str]:
        """Return the certificates in force: serial -> site."""
        query = select(certificate.c.serial, certificate.c.site).where(*_IN_FORCE)
        async with self._database.reading() as connection:
            return {row.serial: row.site for row in await connection.execute(query)}

    async def invite(self, name: str, serial: str, by: str, now: float, expires_at: float) -> None:
        """Add an invitation, and the site where it is new; its standing stays what it was."""
        async with self._database.writing() as connection:
            await connection.execute(
                self._database.upsert(site)
                .values(name=name, standing=Standing.INVITED, invited_at=now)
                .on_conflict_do_nothing()
            )
            await connection.execute(
                insert(invitation).values(
                    serial=serial, site=name, invited_by=by, expires_at=expires_at
                )
            )

    async def invitation(self, serial: str) -> StoredInvitation | None:
        query = select(
            invitation.c.serial,
            invitation.c.site,
            invitation.c.expires_at,
            invitation.c.used_at,
            invitation.c.request_digest,
            invitation.c.certificate,
        ).where(invitation.c.serial == serial)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            return None if row is None else StoredInvitation(**row)

    async def chain(self, serial: str) -> bytes:
        query = select(certificate.c.chain_pem).where(certificate.c.serial == serial)
        async with self._database.reading() as connection:
            return bytes((await connection.execute(query)).scalar_one())

    async def renewal(self, name: str) -> IssuedCertificate | None:
        """Return the newest certificate with which a site may renew."""
        query = (
            select(certificate)
            .where(certificate.c.site == name, *_IN_FORCE, ~_WORKS)
            .order_by(certificate.c.expires_at.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        return IssuedCertificate(
            row.serial, bytes(row.chain_pem), row.issued_at, row.expires_at, row.purpose
        )

    async def renew(
        self, name: str, last: str, issued: Sequence[IssuedCertificate], version: str
    ) -> None:
        """Put a site's next certificates in force, beside the one it called with.

        One whose answer was lost on the way is superseded by the next: a site has two at most.
        """
        now = issued[0].issued_at
        async with self._database.writing() as connection:
            await connection.execute(
                update(certificate)
                .where(certificate.c.site == name, certificate.c.serial != last, *_IN_FORCE, _WORKS)
                .values(superseded_at=now)
            )
            await connection.execute(insert(certificate), [_row(name, each) for each in issued])
            await connection.execute(
                update(site).where(site.c.name == name).values(software_version=version)
            )

    async def stand(self, name: str, standing: Standing, now: float) -> None:
        """Change a site's standing; a revoked one has no certificate in force any more."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(site).where(site.c.name == name).values(standing=standing)
            )
            if standing is Standing.REVOKED:
                await connection.execute(
                    update(certificate)
                    .where(certificate.c.site == name, *_IN_FORCE)
                    .values(superseded_at=now)
                )

    async def enrol(
        self,
        invited: StoredInvitation,
        request_digest: bytes,
        issued: IssuedCertificate,
        renewal: IssuedCertificate,
        version: str,
    ) -> bool:
        """Consume the invitation, put the certificate in force; False where it was used before."""
        now = issued.issued_at
        async with self._database.writing() as connection:
            taken = await connection.execute(
                update(invitation)
                .where(invitation.c.serial == invited.serial, invitation.c.used_at.is_(None))
                .values(used_at=now, request_digest=request_digest)
            )
            if taken.rowcount != 1:
                return False
            await connection.execute(
                update(certificate)
                .where(certificate.c.site == invited.site, certificate.c.superseded_at.is_(None))
                .values(superseded_at=now)
            )
            await connection.execute(
                insert(certificate), [_row(invited.site, each) for each in (issued, renewal)]
            )
            await connection.execute(
                update(invitation)
                .where(invitation.c.serial == invited.serial)
                .values(certificate=issued.serial)
            )
            await connection.execute(
                update(site)
                .where(site.c.name == invited.site)
                .values(standing=Standing.ACTIVE, software_version=version, last_seen_at=now)
            )
            return True

    async def seen(self, name: str, at: float, version: str, skew: float) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(site)
                .where(site.c.name == name)
                .values(last_seen_at=at, software_version=version, clock_skew_seconds=skew)
            )


def _row(name: str, issued: IssuedCertificate) -> dict[str, object]:
    return {"site": name, **asdict(issued)}
