"""`python -m tests.planting`: plant identities in real files, store them, look for what is left."""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import structlog

from gateway.line.encoding import silence_pydicom
from tests.planting.clean import clean_pass
from tests.planting.planted import planted_pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.planting", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="other people, other places")
    parser.add_argument("--every", type=int, default=1, help="take every n-th file alone")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON alone")
    asked = parser.parse_args()
    silence_pydicom()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="radfed-planting-") as place:
        figures = {"seed": asked.seed}
        figures |= {"planted": planted_pass(Path(place) / "planted", asked.seed, asked.every)}
        figures |= {"untouched": clean_pass(Path(place) / "clean", asked.every)}
    print(json.dumps(figures, ensure_ascii=False, indent=None if asked.json else 1))
    sys.exit(0 if figures["planted"]["sound"] else 1)


if __name__ == "__main__":
    main()
