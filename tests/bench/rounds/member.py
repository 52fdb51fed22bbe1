"""`python -m tests.bench.rounds.member HOME SITE TOKEN VENDOR`: one hospital, until stdin ends.

Its desk, sandbox, gate, ledgers and link are a gateway's; its images are a few small slices.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.policy import Jobs, Policy, StandingRule, Vendor
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from tests.fakes.hospital import Hospital
from tests.fakes.linked import running

PATIENTS = 30
BITS = 1e12  # what no round of a bench comes near


class Now(Hospital):
    """A hospital whose clock goes."""

    now = property(lambda _self: datetime.now(UTC), lambda _self, _value: None)


def main(home: str, site: str, token: str, vendor: str) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=vendor),),
        standing=(StandingRule(vendor="acme", max_rounds=1000, max_leakage_bits=BITS),),
        sigma_over_clip_at_least=1e-6,
        leakage_bits_per_job_at_most=BITS,
        leakage_bits_per_vendor_at_most=BITS,
        max_rounds=1000,
    )
    runner = Runner.on_this_machine(Limits(memory_bytes=4 << 30))
    hospital = Now(Path(home), runner, Policy(jobs=jobs), site)
    hospital.admit_images(PATIENTS)
    with running(hospital, site, token):
        sys.stdout.write("up\n")
        sys.stdout.flush()
        sys.stdin.read()
    hospital.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
