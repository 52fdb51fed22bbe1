import pytest
from pydicom.dataset import Dataset

from gateway.deid.engine import Deidentified, Deidentifier
from gateway.deid.faces import Sight, risk
from gateway.deid.facts import Header
from gateway.deid.profile import Profile
from gateway.deid.stream import Streamed, StreamEngine
from gateway.deid.walk import Encoding
from gateway.line.encoding import encode, silence_pydicom
from protos import anatomy

STORAGE = "1.2.840.10008.5.1.4.1.1."
EXPLICIT = "1.2.840.10008.1.2.1"
FACELESS = Profile.model_validate(
    {"name": "faceless", "options": {"clean_recognizable_visual_features": True}}
)
PLAIN = Profile.model_validate({"name": "plain"})


@pytest.mark.parametrize(
    ("coded", "texts", "shown"),
    [
        ("HEAD", (), True),
        ("", ("Routine Head",), True),
        ("", ("头颅平扫",), True),
        ("", ("颈椎 MR",), True),
        ("CHEST", ("PET WB",), True),
        ("ABDOMEN", ("Brain met, abdomen",), True),
        ("CHEST", ("胸部平扫",), False),
        ("", ("股骨头 MR",), False),
        ("HIP", ("femoral head, HEAD FIRST",), False),
        ("PELVIS", ("宫颈 MR",), False),
        ("PELVIS", ("CERVICAL CANCER",), False),
        ("", (), None),
        ("", ("t2_tse_tra", "e+1"), None),
        ("BACINO", (), None),
    ],
)
def test_words_name_a_head_another_part_or_nothing(coded, texts, shown):
    assert anatomy.shows_face(coded, texts) is shown


def a_header(sop_class="2", **elements):
    dataset = Dataset()
    dataset.SOPClassUID = STORAGE + sop_class
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = "1.2.3.1", "1.2.3"
    dataset.SeriesInstanceUID, dataset.PatientID = "1.2.3.2", "QX471177"
    dataset.Modality = "MR" if sop_class.startswith("4") else "CT"
    dataset.ImageType, dataset.Rows, dataset.Columns = ["ORIGINAL", "PRIMARY", "AXIAL"], 4, 4
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("sop_class", "elements", "seen", "flat"),
    [
        ("2", {"BodyPartExamined": "HEAD"}, Sight.NAMED, False),
        ("2.1", {"BodyPartExamined": "BRAIN"}, Sight.NAMED, False),
        ("4.4", {}, Sight.DOUBTFUL, False),
        ("13.1.2", {}, Sight.DOUBTFUL, False),
        ("2", {"BodyPartExamined": "CHEST"}, Sight.NONE, False),
        ("128", {"BodyPartExamined": "HEAD"}, Sight.NONE, False),
        ("2", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Sight.DOUBTFUL, True),
        ("4", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Sight.DOUBTFUL, False),
        ("4", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, Sight.DOUBTFUL, True),
        ("4", {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, Sight.DOUBTFUL, True),
    ],
)
def test_class_words_and_image_type_say_what_is_to_be_done(sop_class, elements, seen, flat):
    dataset = a_header(sop_class, **elements)

    found = risk(str(dataset.SOPClassUID), Header(dataset, ("ascii",)), remove=True)

    assert (found.seen, found.flat) == (seen, flat)
    left = risk(str(dataset.SOPClassUID), Header(dataset, ("ascii",)), remove=False)
    assert left.seen is Sight.NONE


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"BodyPartExamined": "HEAD"}, "YES"),
        ({"BodyPartExamined": "HEAD", "RecognizableVisualFeatures": "NO"}, "YES"),
        ({"BodyPartExamined": "CHEST"}, None),
        ({"BodyPartExamined": "CHEST", "RecognizableVisualFeatures": "YES"}, "YES"),
        ({}, None),
        ({"BodyPartExamined": "HEAD", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, None),
    ],
)
def test_both_engines_say_of_a_head_that_it_can_be_recognised(elements, said):
    silence_pydicom()
    keys = PLAIN, b"p" * 32, b"s" * 32
    raw = encode(a_header(**elements), Encoding(implicit=False, big_endian=False))

    reference = Deidentifier(*keys).apply(a_header(**elements), EXPLICIT)
    streamed = StreamEngine(*keys).apply(raw, EXPLICIT)

    assert isinstance(reference, Deidentified)
    assert isinstance(streamed, Streamed)
    assert reference.dataset.get("RecognizableVisualFeatures") == said
    encoded = encode(reference.dataset, Encoding(implicit=False, big_endian=False))
    assert streamed.header == encoded
    assert streamed.face == reference.face


def test_a_profile_that_removes_faces_holds_heads_and_what_may_be_one():
    keys = FACELESS, b"p" * 32, b"s" * 32
    for elements, seen in (
        ({"BodyPartExamined": "HEAD"}, Sight.NAMED),
        ({}, Sight.DOUBTFUL),
        ({"BodyPartExamined": "KNEE"}, Sight.NONE),
    ):
        assert Deidentifier(*keys).apply(a_header(**elements), EXPLICIT).face.seen is seen
