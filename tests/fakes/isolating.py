"""Both ways a job is confined; gVisor where this machine has it."""

import shutil

import pytest

from gateway.model import Isolation

WITHOUT_GVISOR = pytest.mark.skipif(
    shutil.which("runsc", path="/usr/bin:/bin:/usr/local/bin") is None,
    reason="gVisor is not installed here: apt-get install runsc",
)
EITHER = [
    pytest.param(Isolation.BUBBLEWRAP, id="bubblewrap"),
    pytest.param(Isolation.GVISOR, marks=WITHOUT_GVISOR, id="gvisor"),
]
