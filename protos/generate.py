"""Generate the Python stubs of protos/v1: at build by hatchling, by hand with `make proto`."""

import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TREATY = Path(__file__).resolve().parent
PROTOS = sorted((TREATY / "v1").glob("*.proto"))
# protoc writes imports relative to its own root; the Python package is protos.v1.
ABSOLUTE = (
    (re.compile(r"^from v1 import ", re.MULTILINE), "from protos.v1 import "),
    (re.compile(r"^import v1\.(\w+)$", re.MULTILINE), r"import protos.v1.\1"),
    (re.compile(r"(?<![\w.])v1\.(\w+_pb2)"), r"protos.v1.\1"),
)


def generate() -> None:
    """Write *_pb2.py, *_pb2_grpc.py and their type stubs beside the .proto files."""
    from grpc_tools import protoc

    includes = [f"-I{TREATY}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    outputs = [f"--{kind}_out={TREATY}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main(["protoc", *includes, *outputs, *map(str, PROTOS)]) != 0:
        sys.exit("protoc failed: see the lines above")
    for stub in (TREATY / "v1").glob("*_pb2*.py*"):
        text = stub.read_text()
        for pattern, replacement in ABSOLUTE:
            text = pattern.sub(replacement, text)
        stub.write_text(text)


class StubsHook(BuildHookInterface[Any]):
    """Hatchling's build hook: stubs exist before files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's signature
        generate()


if __name__ == "__main__":
    generate()
