"""Who calls the coordinator, and where it is: found where there are standbys, and told when not."""

import socket
import ssl
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from coordinator.config import read_private
from coordinator.errors import (
    ConfigurationFault,
    CoordinatorError,
    CoordinatorUnreachable,
    Refused,
)
from coordinator.registry.certificates import read_caller

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Credential:
    """A directory with who somebody is: key, certificate, roots, and where the coordinator is."""

    address: str
    roots_pem: bytes
    certificate_pem: bytes
    key_pem: bytes
    standbys: tuple[str, ...] = ()  # where else the coordinator may be

    @classmethod
    def load(cls, directory: Path) -> "Credential":
        settings = read_private(directory / "credential.toml")
        try:
            said = tomllib.loads(settings.decode())
            address, standbys = str(said["address"]), tuple(map(str, said.get("standbys", ())))
        except (ValueError, KeyError, TypeError) as fault:
            raise ConfigurationFault(
                f"{directory / 'credential.toml'} is damaged: copy the credential once more"
            ) from fault
        return cls(
            address,
            read_private(directory / "roots.crt"),
            read_private(directory / "credential.crt"),
            read_private(directory / "credential.key"),
            standbys,
        )

    def reaching(self) -> "Credential":
        """Return the same person's credential for the address that answers: a standby's does not.

        Asked only where there are several; where none answers, the first says why. A machine takes
        connections for a process that is frozen: it is the handshake that shows who is awake.
        """
        for address in (self.address, *self.standbys) if self.standbys else ():
            place = replace(self, address=address)
            try:
                with socket.create_connection((place.host, place.port), CONNECT_SECONDS) as plain:
                    place.context().wrap_socket(plain, server_hostname=place.host).close()
            except ssl.SSLError:
                return place  # it is awake; why it refuses is said at the first call
            except OSError:
                continue
            return place
        return self

    @property
    def federation(self) -> str:
        """Return the federation it is for, as its certificate says."""
        return read_caller(self.certificate_pem).identity.federation

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def context(self) -> ssl.SSLContext:
        """Return the standard library's form of this credential."""
        context = ssl.create_default_context(cadata=self.roots_pem.decode())
        context.set_alpn_protocols(["h2"])
        with TemporaryDirectory() as directory:  # ssl reads keys from files alone
            key, chain = Path(directory, "key"), Path(directory, "chain")
            key.touch(0o600)
            key.write_bytes(self.key_pem)
            chain.write_bytes(self.certificate_pem)
            context.load_cert_chain(chain, key)
        return context

    def why_unreachable(self, details: str) -> CoordinatorError:
        """Tell an absent coordinator from one that refuses this certificate: gRPC does not."""
        address, host = self.address, self.host
        try:
            plain = socket.create_connection((host, self.port), CONNECT_SECONDS)
        except OSError:
            return CoordinatorUnreachable(
                f"no coordinator answers at {address}: is it running, and is the way open?"
            )
        try:
            with plain, self.context().wrap_socket(plain, server_hostname=host) as tls:
                greeted = bool(tls.recv(1))  # with TLS 1.3, a refusal comes after the handshake
        except ssl.SSLCertVerificationError:
            return Refused(f"{address} does not belong to this credential's federation")
        except ssl.SSLEOFError:
            greeted = True  # it went away in mid-word: nobody said no
        except ssl.SSLError:
            greeted = False  # an alert (RFC 8446 6.2)
        except OSError:
            greeted = True
        if not greeted:
            return Refused(f"{address} refuses this certificate: it is not of its federation")
        return CoordinatorUnreachable(f"the coordinator at {address} did not answer: {details}")
