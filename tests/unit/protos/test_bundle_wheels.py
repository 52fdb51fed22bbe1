"""A bundle's own dependencies: wheels, pinned by hash, or the bundle is none."""

from hashlib import sha256

import pytest

from protos import bundle
from protos.job_manifest import BundleFault

TOML = b"""
name = "with-wheels"
kind = "evaluation"
purpose = "A test."
label = "lesion"
[[cohort]]
field = "Modality"
values = ["CT"]
"""
CODE = {"job.toml": TOML, "job.py": b""}
WHEEL = "wheels/tinylib-1.0-py3-none-any.whl"
CONTENT = b"PK..."
HASH = sha256(CONTENT).hexdigest()


def read(requirements, **wheels):
    files = CODE | ({"requirements.txt": requirements.encode()} if requirements else {})
    return bundle.read(bundle.encode(files | wheels))


def test_a_pinned_wheel_is_taken():
    text = f"# what we need\ntiny.lib==1.0 \\\n    --hash=sha256:{HASH}  # the pure one\n"
    text = text.replace("tiny.lib", "TinyLib")

    assert read(text, **{WHEEL: CONTENT})[WHEEL] == CONTENT


@pytest.mark.parametrize(
    ("requirements", "wheels", "why"),
    [
        ("", {WHEEL: CONTENT}, "not pinned"),
        (f"tinylib==1.1 --hash=sha256:{HASH}", {WHEEL: CONTENT}, "not pinned"),
        (f"tinylib==1.0 --hash=sha256:{'0' * 64}", {WHEEL: CONTENT}, "hash"),
        ("tinylib==1.0", {WHEEL: CONTENT}, "each line"),
        ("tinylib>=1.0", {WHEEL: CONTENT}, "each line"),
        ("--index-url https://pypi.org/simple", {WHEEL: CONTENT}, "each line"),
        (f"tinylib==1.0 --hash=sha256:{HASH}", {}, "whose wheel is not"),
        (f"tinylib==1.0 --hash=sha256:{HASH}\n" * 2, {WHEEL: CONTENT}, "twice"),
        ("", {"wheels/tinylib-1.0.tar.gz": b""}, "built from source"),
        ("", {"wheels/inner/tinylib-1.0-py3-none-any.whl": b""}, "built from source"),
    ],
)
def test_what_is_not_pinned_or_not_a_wheel_is_refused(requirements, wheels, why):
    with pytest.raises(BundleFault, match=why):
        read(requirements, **wheels)


def test_an_unknown_key_is_refused_with_the_one_that_may_be_meant():
    for wrong, near in (
        (b"purpse = 'x'\n", "purpose"),
        (b"[resources]\nwall_second = 3\n", "wall_seconds"),
        (b"[[metrics]]\nname = 'a'\nminimun = 0\n", "minimum"),
    ):
        toml = TOML.replace(b"[[cohort]]", wrong + b"[[cohort]]")
        with pytest.raises(BundleFault, match=f"is it `{near}`"):
            bundle.read(bundle.encode(CODE | {"job.toml": toml}))


def test_what_tools_leave_beside_code_is_not_packed(tmp_path):
    for name, content in CODE.items():
        (tmp_path / name).write_bytes(content)
    plain = bundle.pack(tmp_path)
    for folder in (".pytest_cache", "__pycache__", ".git"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text("x")
    (tmp_path / ".gitignore").write_text("x")

    assert bundle.pack(tmp_path) == plain
