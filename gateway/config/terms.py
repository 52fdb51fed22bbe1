"""The words that settings are made of, and what every group of them refuses."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

# PS3.5 6.2, VR AE: at most 16 characters of the default repertoire, no backslash, no control
# characters, spaces inside only.
AETitle = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?$")]
SiteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Address = Annotated[
    str, StringConstraints(pattern=r"^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$")
]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port (demo and tests)
# SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` prints it.
Fingerprint = Annotated[
    str,
    BeforeValidator(lambda told: told.replace(":", "").lower() if isinstance(told, str) else told),
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
]
Network = IPv4Network | IPv6Network
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]  # PS3.5 9.1


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
