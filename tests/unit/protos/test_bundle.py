import io
import tarfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protos import bundle, job_manifest
from protos.bundle import ForgedBundle, HostileBundle
from protos.job_manifest import BundleFault, Kind, ManifestFault
from protos.v1 import question_pb2

JOB = """\
name = "lesion-detector"
kind = "training"
purpose = "Find lesions."
label = "lesion"
rounds = 5
clip = 1.0
sigma = 0.05
imports = ["numpy"]

[[cohort]]
field = "Modality"
operator = "in"
values = ["CT", "MR"]

[weights."layer1.weight"]
dtype = "F32"
shape = [3, 4]

[[metrics]]
name = "loss"
maximum = 10.0

[resources]
wall_seconds = 60
memory_mb = 512
"""
FILES = {"job.toml": JOB.encode(), "job.py": b"def train(c, w, f): return w\n"}
NAMES = st.from_regex(r"[a-z0-9_]{1,8}(/[a-z0-9_]{1,8}){0,2}\.(py|bin)", fullmatch=True)


def test_a_manifest_says_all_a_reviewer_needs():
    manifest = job_manifest.parse_manifest(JOB)

    assert manifest.kind is Kind.TRAINING
    assert manifest.weights["layer1.weight"].size_bytes == 48
    assert manifest.metrics[0].decimals == 2


def test_the_cohort_speaks_the_treatys_language():
    (predicate,) = job_manifest.predicates(job_manifest.parse_manifest(JOB))

    assert predicate.field == "Modality"
    assert predicate.operator == question_pb2.OPERATOR_IN
    assert list(predicate.values) == ["CT", "MR"]


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("rounds = 5", "rounds = 5\nsecret = 1", "secret"),
        ("memory_mb = 512", "memory_mb = 512\nmeters = 1", "resources.meters"),
        ("rounds = 5", "rounds = 0", "rounds"),
        ("rounds = 5", "rounds = 1.5", "rounds"),
        ('kind = "training"', 'kind = "inference"', "kind"),
        ("clip = 1.0", "clip = -1.0", "clip"),
        ("clip = 1.0", "clip = inf", "clip"),
        ("sigma = 0.05", "sigma = nan", "sigma"),
        ('field = "Modality"', 'field = "PatientName"', "cohort.0"),
        ('operator = "in"', 'operator = "equal"', "cohort.0"),
        ('dtype = "F32"', 'dtype = "PICKLE"', "dtype"),
        ("shape = [3, 4]", "shape = [3, -4]", "shape"),
        ("shape = [3, 4]", "shape = [2000000000, 4000]", "file"),
        ('name = "lesion-detector"', 'name = "../etc"', "name"),
        ("[[cohort]]", "[cohort", "TOML"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused_by_the_name_of_its_key(before, after, named):
    assert before in JOB

    with pytest.raises(ManifestFault, match=named):
        job_manifest.parse_manifest(JOB.replace(before, after, 1))


def test_a_training_job_declares_its_weights():
    text = JOB[: JOB.index("[weights")] + JOB[JOB.index("[[metrics]]") :]

    with pytest.raises(ManifestFault, match="weights"):
        job_manifest.parse_manifest(text)


@given(st.dictionaries(NAMES, st.binary(max_size=600), max_size=6))
def test_what_is_packed_is_read_again(extra):
    files = {name: content for name, content in extra.items() if not _shadows(name, extra)} | FILES

    raw = bundle.encode(files)

    assert bundle.read(raw) == files
    assert bundle.encode(dict(reversed(files.items()))) == raw


def test_the_same_files_give_the_same_bytes_wherever_they_lie(tmp_path):
    for place, stamp in (("here", 1), ("there", 1_700_000_000)):
        for name, content in FILES.items():
            path = tmp_path / place / "lib" / "x.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x = 1\n")
            target = tmp_path / place / name
            target.write_bytes(content)
            target.chmod(0o600 if stamp == 1 else 0o755)
            import os

            os.utime(target, (stamp, stamp))
    (tmp_path / "there" / "__pycache__").mkdir()
    (tmp_path / "there" / "__pycache__" / "job.pyc").write_bytes(b"stale")

    here, there = bundle.pack(tmp_path / "here"), bundle.pack(tmp_path / "there")

    assert here == there
    assert bundle.digest(here) == bundle.digest(there)


def test_unpacking_writes_what_was_packed_and_only_once(tmp_path):
    raw = bundle.encode(FILES | {"lib/model.py": b"y = 2\n"})

    manifest = bundle.unpack(raw, tmp_path / "code")

    assert manifest.name == "lesion-detector"
    assert (tmp_path / "code" / "lib" / "model.py").read_bytes() == b"y = 2\n"
    with pytest.raises(FileExistsError):
        bundle.unpack(raw, tmp_path / "code")


def test_a_bundle_without_code_or_manifest_is_none():
    for name in FILES:
        with pytest.raises(BundleFault, match=name):
            bundle.read(bundle.encode({k: v for k, v in FILES.items() if k != name}))


def test_packing_refuses_links(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "secret.py").symlink_to("/etc/passwd")

    with pytest.raises(BundleFault, match="plain file"):
        bundle.pack(tmp_path)


def member(name="extra.py", kind=tarfile.REGTYPE, link="", **fields):
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, 0o644
    for field, value in fields.items():
        setattr(found, field, value)
    return found


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside.py"),
        member("/etc/cron.d/x"),
        member("lib/../../outside.py"),
        member("./job2.py"),
        member(".hidden"),
        member("white space.py"),
        member("back\\slash.py"),
        member("ünïcode.py"),
        member("link.py", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard.py", tarfile.LNKTYPE, "job.py"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("folder", tarfile.DIRTYPE),
        member("job.py"),
        member("JOB.PY"),
        member("job.py/inner.py"),
        member(mode=0o4755),
        member(mtime=1),
        member(uid=1000),
        member(uname="root"),
    ],
    ids=lambda found: (
        f"{found.name}-{found.type.decode()}-{found.mode:o}-{found.mtime}-{found.uid}"
    ),
)
def test_what_an_honest_packer_never_writes_is_refused(bad):
    with pytest.raises(HostileBundle):
        bundle.read(archive(bad))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_other_dialects_of_tar_are_refused(form):
    with pytest.raises(HostileBundle):
        bundle.read(archive(member("a" * 60 + "/" + "b" * 60 + ".py"), form))


def test_a_tail_behind_the_archive_is_refused():
    with pytest.raises(HostileBundle):
        bundle.read(bundle.encode(FILES) + bytes(512))


def test_a_compressed_bundle_is_refused():
    import gzip

    with pytest.raises(HostileBundle):
        bundle.read(gzip.compress(bundle.encode(FILES)))


@given(st.binary(max_size=2000))
def test_noise_is_refused_and_nothing_else_happens(raw):
    with pytest.raises(HostileBundle):
        bundle.read(raw)


@given(st.integers(0, 4095), st.integers(1, 255))
def test_no_changed_byte_passes_for_the_same_bundle(position, change):
    raw = bytearray(bundle.encode(FILES))
    raw[position % len(raw)] ^= change

    try:
        files = bundle.read(bytes(raw))
    except BundleFault:
        return
    assert files != FILES


def test_too_many_files_are_refused(monkeypatch):
    monkeypatch.setattr(bundle, "MEMBER_LIMIT", 5)

    with pytest.raises(HostileBundle, match="more than 5"):
        bundle.read(bundle.encode(FILES | {f"n{i}.py": b"" for i in range(5)}))


def test_too_many_bytes_are_refused(monkeypatch):
    monkeypatch.setattr(bundle, "BUNDLE_LIMIT_BYTES", 1000)

    with pytest.raises(HostileBundle, match="1000"):
        bundle.read(bundle.encode(FILES))


def test_a_signature_belongs_to_one_bundle_and_one_vendor():
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    raw = bundle.encode(FILES)
    public = key.public_key().public_bytes_raw()

    signature = bundle.sign(raw, key)

    bundle.verify(bundle.digest(raw), public, signature)
    for digest, by, claim in (
        (bytes(32), public, signature),
        (bundle.digest(raw), other.public_key().public_bytes_raw(), signature),
        (bundle.digest(raw), public, signature[:-1] + bytes([signature[-1] ^ 1])),
        (bundle.digest(raw), b"short", signature),
    ):
        with pytest.raises(ForgedBundle):
            bundle.verify(digest, by, claim)


def archive(bad, form=tarfile.USTAR_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in sorted(FILES.items()):
            honest = member(name)
            honest.size = len(content)
            tar.addfile(honest, io.BytesIO(content))
        tar.addfile(bad)
    return buffer.getvalue()


def _shadows(name, names):
    return any(other != name and other.startswith(f"{name}/") for other in names)
