"""What tests of the back-fill share: a gateway's settings and counts of instances."""

from collections import Counter
from pathlib import Path

from gateway.config import Disk, GatewayConfig, Intake, Peer
from gateway.keys import SiteSecret
from tests.fakes.custody import FakeCustody


def settings(directory: Path, archive, **disk) -> GatewayConfig:
    data = directory / "data"
    data.mkdir(exist_ok=True)
    if not (data / "keys" / "site.secret").exists():
        SiteSecret.create(data / "keys" / "site.secret")
    peer = Peer(name="pacs", ae_title=archive.ae_title, host="127.0.0.1", port=archive.port)
    disk = Disk(**({"reserve_bytes": 0} | disk))
    return GatewayConfig(site="spring", data=data, intake=Intake(peers=(peer,)), disk=disk)


def uids(instances) -> Counter[str]:
    return Counter(instance.SOPInstanceUID for instance in instances)


def held(custody: FakeCustody) -> Counter[str]:
    return Counter(item.arrival.sop_instance_uid for item in custody.held)
