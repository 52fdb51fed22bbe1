"""`python -m tests.chaos [NAME ...]`: the long forms of what tests/attack/test_survive_* try."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gateway.app.process import configure_logs
from tests.chaos.crowds import crowd, mutants
from tests.chaos.fleet import fleet
from tests.chaos.full_disks import can_mount, full_disk, full_index, full_of_names
from tests.chaos.fuzzing import fuzzed, is_installed
from tests.chaos.giants import functional_groups, multi_frame
from tests.chaos.kills import kills
from tests.chaos.mutated_files import mutated_files
from tests.chaos.narrow import Narrow
from tests.chaos.narrow_link import narrow_link
from tests.chaos.power_cuts import power_cuts
from tests.chaos.running import show
from tests.chaos.steady import steady

FUZZ_SECONDS = 300
STEADY_MINUTES = 30.0
FLEET, FLEET_MINUTES = 50, 20.0
MEGABITS, ROUND_TRIP, CUTS = 2e6, 0.3, 30

SCENARIOS: dict[str, Callable[[Path, int], dict[str, object]]] = {
    "kills": lambda place, seed: kills(place, 300, seed),
    "power": lambda place, seed: power_cuts(place, 60, 400, seed),
    "crowd": lambda place, _: crowd(place, 20_000, 400),
    "mutants": lambda place, seed: mutants(place, 10_000, seed),
    "files": lambda place, seed: mutated_files(place, 10_000, seed),
    "giant": lambda place, _: multi_frame(place, 2000),
    "headers": lambda place, _: functional_groups(place, 60, 8),
    "full-store": lambda place, _: full_disk(place, "store", 500_000),
    "full-vault": lambda place, _: full_disk(place, "vault", 30_000),
    "full-data": lambda place, _: full_disk(place, "", 500_000),
    "full-index": lambda place, _: full_index(place),
    "full-store-names": lambda place, _: full_of_names(place, "store"),
    "full-vault-names": lambda place, _: full_of_names(place, "vault"),
    "full-data-names": lambda place, _: full_of_names(place, ""),
    "fleet": lambda place, seed: fleet(place, FLEET, FLEET_MINUTES, seed),
    "link-10": lambda place, seed: narrow_link(
        place, 10, Narrow(MEGABITS, ROUND_TRIP, loss=0.05), CUTS, seed
    ),
    "link-100": lambda place, seed: narrow_link(
        place, 100, Narrow(MEGABITS, ROUND_TRIP, loss=0.001), CUTS, seed
    ),
    "fuzz-upper-layer": lambda place, seed: fuzzed("fuzz_upper_layer", place, FUZZ_SECONDS, seed),
    "fuzz-datasets": lambda place, seed: fuzzed("fuzz_datasets", place, FUZZ_SECONDS, seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog="fuzz-*: needs `pip install atheris`; tests/chaos/fuzzing.py says how to go on "
        "with a finding. steady: ends with 1 where memory, backlog or latency grew.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*SCENARIOS, "steady"]))
    parser.add_argument("--seed", type=int, default=1, help="another seed, other moments")
    parser.add_argument(
        "--minutes", type=float, default=STEADY_MINUTES, help="how long `steady` goes on (30)"
    )
    asked = parser.parse_args()
    configure_logs()  # on stderr: one document a scenario on stdout
    scenarios = SCENARIOS | {"steady": lambda place, _: steady(place, asked.minutes)}
    if unknown := set(asked.names) - scenarios.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(scenarios)}")
    flat = True
    for name in asked.names or scenarios:
        if name.startswith("full-") and not can_mount():
            show({"scenario": name, "skipped": "only root can mount a small disk"})
            continue
        if name.startswith("fuzz-") and not is_installed():
            show({"scenario": name, "skipped": "atheris is not installed (pip install atheris)"})
            continue
        with tempfile.TemporaryDirectory(prefix=f"radfed-chaos-{name}-") as place:
            seen = scenarios[name](Path(place), asked.seed)
        show({"scenario": name, "seed": asked.seed} | seen)
        flat = flat and bool(seen.get("flat", True))
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
