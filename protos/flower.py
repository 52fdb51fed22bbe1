"""A Flower App as a bundle brings it: its own `pyproject.toml` says where its ClientApp is.

    [tool.flwr.app.components]
    clientapp = "lesions.client_app:app"

Read, never imported: what runs it is a runtime of the hospital's, in the sandbox.
"""

import re
import tomllib
from collections.abc import Mapping

PROJECT = "pyproject.toml"
REFERENCE = re.compile(
    r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<object>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)",
    re.ASCII,
)


def fault_in(files: Mapping[str, bytes]) -> str:
    """Say why these files are no Flower App; empty where they are one."""
    if PROJECT not in files:
        return f"a Flower App has a {PROJECT}"
    try:
        project = tomllib.loads(files[PROJECT].decode("utf-8"))
        named = project["tool"]["flwr"]["app"]["components"]["clientapp"]
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        return f"{PROJECT} is not TOML: {fault}"
    except (KeyError, TypeError):
        return f"{PROJECT} names no `clientapp` under [tool.flwr.app.components]"
    found = REFERENCE.fullmatch(named) if isinstance(named, str) else None
    if found is None:
        return f"{PROJECT}: `clientapp` is written as `package.module:app`"
    place = found["module"].replace(".", "/")
    if files.keys().isdisjoint({f"{place}.py", f"{place}/__init__.py"}):
        return f"{PROJECT} names {found['module']}, which is not in the bundle"
    return ""
