"""What a manifest's form demands of it and of its bundle."""

import pytest

from protos import flower
from protos.bundle import encode, read
from protos.job_manifest import BundleFault, Form, ManifestFault, parse_manifest

JOB = """
name = "fit"
kind = "{kind}"
form = "{form}"
purpose = "A test."
label = "lesion"
cohort = [{{ field = "Modality", values = ["CT"] }}]
{rest}
"""
GLM = """
[config]
features = ["PatientAge", "BrightSpot"]
minimum = [0, 0.0]
maximum = [100, 50.0]
family = "binomial"
[weights]
coefficients = { shape = [3] }
gradient = { shape = [3] }
information = { shape = [3, 3] }
"""
PROJECT = '[tool.flwr.app.components]\nclientapp = "lesions.client_app:app"\n'


def a_manifest(form="glm", kind="training", rest=GLM):
    return JOB.format(kind=kind, form=form, rest=rest)


def packed(manifest, **files):
    named = {name.replace("__", "/").replace("_py", ".py"): text for name, text in files.items()}
    return encode({"job.toml": manifest.encode(), **{n: t.encode() for n, t in named.items()}})


def test_a_job_of_the_hospitals_own_code_is_a_manifest_and_nothing_else():
    assert read(packed(a_manifest()))
    with pytest.raises(BundleFault, match=r"take job\.py out"):
        read(packed(a_manifest(), job_py="def train(*_): pass\n"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("features =", "featurs =", "has no `featurs`"),
        ('"PatientAge"', '"PatientName"', "is no feature"),
        ('"PatientAge"', '"BrightSpot"', "each once"),
        ("minimum = [0, 0.0]", "minimum = [0]", "one number for each"),
        ("minimum = [0, 0.0]", "minimum = [0, 60.0]", "below"),
        ("minimum = [0, 0.0]", "minimum = [0, inf]", "finite"),
        ('"binomial"', '"cauchy"', "binomial, gaussian, poisson"),
        ("information = { shape = [3, 3] }", "", r"declares exactly: .*information \[3, 3\]"),
    ],
)
def test_settings_that_do_not_fit_a_form_say_why(old, new, says):
    with pytest.raises(ManifestFault, match=says):
        parse_manifest(a_manifest(rest=GLM.replace(old, new)))


def test_a_form_belongs_to_a_kind():
    with pytest.raises(ManifestFault, match="evaluation has no form glm"):
        parse_manifest(a_manifest(kind="evaluation"))
    with pytest.raises(ManifestFault, match="form"):
        parse_manifest(a_manifest(form="pickle"))


def test_settings_of_plain_code_are_the_vendors_own():
    found = parse_manifest(
        a_manifest("python", rest='weights.w.shape = [2]\nconfig = { lr = 0.1, of = ["a", 2] }')
    )

    assert dict(found.config) == {"lr": 0.1, "of": ("a", 2)}
    assert found.form is Form.PYTHON


def test_a_flower_app_needs_no_file_of_ours_but_the_manifest():
    manifest = a_manifest("flower", rest="weights.w.shape = [2]")
    files = {"lesions__client_app_py": "app = None\n", "pyproject.toml": PROJECT}

    assert read(packed(manifest, **files))


@pytest.mark.parametrize(
    ("project", "says"),
    [
        (None, "has a pyproject"),
        ("[tool", "is not TOML"),
        ("[tool.flwr.app]\n", "names no `clientapp`"),
        (PROJECT.replace(":app", ""), "package.module:app"),
        (PROJECT.replace("lesions.client_app", "../../etc"), "package.module:app"),
        (PROJECT.replace("client_app", "server_app"), "not in the bundle"),
    ],
)
def test_what_is_no_flower_app_is_no_bundle(project, says):
    files = {"lesions/client_app.py": b"app = None\n"}
    if project is not None:
        files["pyproject.toml"] = project.encode()

    assert says in flower.fault_in(files)
