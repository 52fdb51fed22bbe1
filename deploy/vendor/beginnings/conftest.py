"""What this job's tests begin with: a synthetic twin, drawn once, in place of patients."""

import sys
from pathlib import Path

import pytest

from deploy.vendor.bench import a_bench, runtime_library

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
runtime_library()  # `import radfed_job`, as inside the sandbox


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    return a_bench(HERE, tmp_path_factory.mktemp("bench"))
