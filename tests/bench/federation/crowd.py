"""`python -m tests.bench.federation.crowd HOME`: many hospitals in one process.

Told what to do by JSON lines on stdin, it answers each with one on stdout; it ends with stdin.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from gateway.config import Federation
from gateway.errors import GatewayError
from tests.bench.federation.floor import Echoes
from tests.bench.federation.member import Member

AT_ONCE = 8


class Crowd:
    def __init__(self, home: Path) -> None:
        self._home = home
        self._members: dict[str, Member] = {}
        self._echoes = Echoes()

    def raise_(self, sites: list[str], patients: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Found each hospital, or open it again."""
        federation = Federation(**settings)
        for site in sites:
            self._members[site] = Member(self._home / site, site, patients, federation)
        return {"raised": len(self._members)}

    def enrol(self, tokens: dict[str, str]) -> dict[str, Any]:
        """Enrol hospitals side by side, as if all had got their tokens this morning."""
        began = time.monotonic()

        def one(site: str) -> str:
            try:
                self._members[site].enrol(tokens[site])
            except GatewayError as fault:
                return str(fault)
            return ""

        with ThreadPoolExecutor(AT_ONCE) as pool:
            faults = [fault for fault in pool.map(one, tokens) if fault]
        seconds = time.monotonic() - began
        return {"enrolled": len(tokens) - len(faults), "faults": faults[:3], "seconds": seconds}

    def connect(self) -> dict[str, Any]:
        for member in self._members.values():
            member.connect()
        return {}

    def state(self) -> dict[str, Any]:
        away = [member.says for member in self._members.values() if not member.is_connected]
        return {"connected": len(self._members) - len(away), "says": away[:3]}

    def skew(self, sites: list[str], seconds: float) -> dict[str, Any]:
        """Set the clocks of some hospitals wrong, or right again."""
        for site in sites:
            self._members[site].ahead = seconds
        return {}

    def certificates(self) -> dict[str, Any]:
        return {"end": sorted(member.certificate_ends for member in self._members.values())}

    def verify(self) -> dict[str, Any]:
        """Verify every hospital's chains; return the entries of both, and what was charged."""
        found = {"audited": 0, "sent": 0, "charged": {}}
        for site, member in self._members.items():
            found["audited"] += member.audit.verify()
            found["sent"] += member.verified_ledger().entries
            found["charged"][site] = member.charged()
        return found

    def echo(self, port: int) -> dict[str, Any]:
        """Join the floor: every hospital answers, and nothing else happens."""
        self._echoes.join(port, [member.config.keys_dir for member in self._members.values()])
        return {}

    def hush(self) -> dict[str, Any]:
        self._echoes.leave()
        return {}

    def stop(self) -> dict[str, Any]:
        for member in self._members.values():
            member.ask_to_stop()
        for member in self._members.values():
            member.join()
        self._members.clear()
        return {}


def main() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    sys.setswitchinterval(0.1)  # at 5 ms, so many threads that wait for one interpreter are a storm
    crowd = Crowd(Path(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        act: Callable[..., dict[str, Any]] = getattr(crowd, order.pop("do"))
        sys.stdout.write(json.dumps(act(**order)) + "\n")
        sys.stdout.flush()
    crowd.stop()


if __name__ == "__main__":
    main()
