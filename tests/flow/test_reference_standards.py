"""Reference standards arrive as DICOM or CSV, and become one word on each case."""

from contextlib import nullcontext

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

import gateway.store.standards
from gateway.cohort.count import truths
from gateway.errors import IntegrityFault
from gateway.line.custody import VerdictKind
from gateway.model import Arrival, RealUID
from gateway.store.labels import NotLabels, import_labels
from gateway.store.reindex import reindex
from gateway.store.standards import labels_in, standard_of
from gateway.store.standing import Standing
from gateway.store.tally import Tally
from gateway.store.verdicts import BY_NAME, BY_READER
from tests.fakes import standards
from tests.fakes.custody_house import House, Instance

pytestmark = pytest.mark.flow


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


@pytest.fixture
def sources():
    return list(standards.images(dcmread(get_testdata_file("CT_small.dcm"))))


def travelling(dataset):
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == "1.2.840.10008.1.2", True
    write_dataset(buffer, dataset)
    uids = str(dataset.SOPClassUID), RealUID(str(dataset.SOPInstanceUID))
    return Instance(Arrival(*uids, syntax, "PACS", "RADFED"), bytes(buffer.getvalue()))


def send(house, *datasets):
    verdicts = [house.take(travelling(dataset)) for dataset in datasets]
    index = house.index()
    line = house.line(index)
    while line.run_once():
        pass
    line.close()
    return index, verdicts


def csv(house, text):
    file = house.base / "labels.csv"
    file.write_text(text)
    return file


def labels(index, name):
    return truths(name, Tally(index))


@pytest.mark.parametrize("drawn", [True, False])
def test_a_segmentation_says_of_its_series_whether_something_is_there(house, sources, drawn):
    seg = standards.segmentation(sources, drawn=drawn)

    index, _ = send(house, *sources, seg)

    series = house.engine.pseudo_uid(sources[0].SeriesInstanceUID)
    assert labels(index, "nodule") == {series: int(drawn)}
    assert b"Huber" not in house.everything_written()


@pytest.mark.parametrize("absent", [True, False])
def test_a_measurement_report_gives_findings_and_evaluations(house, sources, absent):
    sr = standards.report(sources, absent=absent)

    index, _ = send(house, sr, *sources)  # it may come before its images

    series = house.engine.pseudo_uid(sources[0].SeriesInstanceUID)
    assert labels(index, "nodule") == {series: int(not absent)}
    assert labels(index, "calcified") == {series: 1}
    (reader,) = {row[0] for row in index.read("SELECT reader FROM label")}
    assert reader.startswith("SR ")
    assert b"Huber" not in house.everything_written()


def test_structures_are_named_by_their_type_and_count_when_drawn(house, sources):
    index, verdicts = send(house, *sources, standards.structures(sources))

    series = house.engine.pseudo_uid(sources[0].SeriesInstanceUID)
    assert verdicts[-1].kind is not VerdictKind.QUARANTINED, verdicts[-1]
    assert labels(index, "gtv") == {series: 1}
    assert labels(index, "organ") == {series: 0}


@pytest.mark.parametrize("drawn", [True, False])
def test_a_segmentation_whose_frames_do_not_begin_at_bytes_is_unpacked(house, sources, drawn):
    for image in sources:
        image.Rows, image.Columns = 31, 27
        image.PixelData = image.PixelData[: 31 * 27 * 2] + b"\0" * (31 * 27 * 2 % 2)

    index, _ = send(house, *sources, standards.segmentation(sources, drawn=drawn))

    assert list(labels(index, "nodule").values()) == [int(drawn)]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_label_map_names_its_segments_by_its_values(syntax, bits):
    found = dict(names(a_label_map(syntax, bits)))

    assert found == {"liver": "POSITIVE", "spleen": "NEGATIVE", "kidney": "POSITIVE"}


def test_nothing_is_guessed_of_a_label_map_that_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(gateway.store.standards, "SAMPLES_AT_MOST", 100)
    assert names(a_label_map(ExplicitVRLittleEndian, 16))  # native: nothing is unpacked

    with pytest.raises(IntegrityFault):
        names(a_label_map(RLELossless, 8))


def test_the_line_itself_runs_no_native_codec_and_counts_frames_instead(sources):
    seg = standards.segmentation(sources, drawn=False)
    seg.file_meta.TransferSyntaxUID = JPEG2000Lossless
    seg.PixelData = encapsulate([b"no codestream"] * 3)
    seg["PixelData"].is_undefined_length = True

    assert names(seg) == [("nodule", "POSITIVE")]


def test_a_segmentation_longer_than_is_read_is_taken_by_its_frames(sources, monkeypatch, tmp_path):
    monkeypatch.setattr(gateway.store.standards, "BYTES_AT_MOST", 1000)
    seg = standards.segmentation(sources, drawn=False)
    seg.save_as(tmp_path / "seg.dcm")

    (label,) = standard_of(tmp_path / "seg.dcm", 1)

    assert (label.name, label.value) == ("nodule", "POSITIVE")


@pytest.mark.parametrize("kind", ["GTV", ""])
def test_an_object_that_says_more_than_any_reader_could_ends_soon(sources, kind):
    rois = standards.structures(sources)
    rois.RTROIObservationsSequence = [standards._observed(n, kind) for n in range(2000)]
    (frame,) = rois.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    study.RTReferencedSeriesSequence = [
        Dataset.from_json({"0020000E": {"vr": "UI", "Value": [f"1.2.{n}"]}}) for n in range(2000)
    ]

    with pytest.raises(IntegrityFault) if kind else nullcontext():
        assert names(rois) == []


def a_label_map(syntax, bits):
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.7", "1.2.3.4"
    found.StudyInstanceUID, found.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    found.SegmentationType, found.NumberOfFrames, found.Rows, found.Columns = "LABELMAP", 2, 8, 8
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated = found.BitsStored = bits
    found.HighBit, found.PixelRepresentation = bits - 1, 0
    found.PerFrameFunctionalGroupsSequence = [Dataset(), Dataset()]
    found.SegmentSequence = []
    for number, name in ((1, "Liver"), (2, "Spleen"), (3, "Kidney")):
        segment, code = Dataset(), Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = name, "99H", name
        segment.SegmentNumber, segment.SegmentedPropertyTypeCodeSequence = number, [code]
        found.SegmentSequence.append(segment)
    values = np.zeros((2, 8, 8), np.uint8 if bits == 8 else np.uint16)
    values[0, 2, 2], values[1, 3, 3] = 1, 3
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.PixelData = values.tobytes()
    found["PixelData"].VR = "OB" if bits == 8 else "OW"
    if syntax == RLELossless:
        found.compress(RLELossless)
    return found


def names(document):
    return [(label.name, label.value) for label in labels_in(document)]


def test_a_standard_sent_again_says_what_it_says_now(house, sources):
    seg = standards.segmentation(sources, drawn=True)
    index, _ = send(house, *sources, seg)
    again = standards.segmentation(sources, drawn=False)
    again.SOPInstanceUID = seg.SOPInstanceUID
    again.SeriesInstanceUID = seg.SeriesInstanceUID
    before = index.read("SELECT count(*) FROM label")[0][0]

    index, _ = send(house, seg)

    assert index.read("SELECT count(*) FROM label")[0][0] == before == 1


def test_a_standard_that_is_gone_says_nothing_and_a_rebuilt_index_says_the_same(house, sources):
    index, _ = send(house, *sources, standards.segmentation(sources, drawn=True))
    grown = labels(index, "nodule")
    fresh = type(index).open(house.base / "fresh.db")
    reindex(house.store, fresh, at=0.0)
    assert labels(fresh, "nodule") == grown != {}

    next(path for path in house.files() if dcmread(path).Modality == "SEG").unlink()
    reindex(house.store, fresh, at=0.0)

    assert labels(fresh, "nodule") == {}


def test_a_standard_that_cannot_be_read_is_kept_and_gives_no_label(house, sources):
    seg = standards.segmentation(sources, drawn=True)
    seg.PixelData = seg.PixelData[: len(seg.PixelData) // 2]

    index, (*_, verdict) = send(house, *sources, seg)

    assert labels(index, "nodule") == {}
    kept = [event for event, _ in house.trail.events if event == "reference_standard_unreadable"]
    assert kept or verdict.kind is VerdictKind.QUARANTINED


def test_an_adjudicated_word_stands_before_any_readers(house, sources):
    index, _ = send(house, *sources)
    uid = sources[0].StudyInstanceUID
    table = "StudyInstanceUID,label,value,reader,adjudicated\n"
    two = table + f"{uid},lesion,POSITIVE,r1,\n{uid},lesion,NEGATIVE,r2,\n"
    import_labels(index, csv(house, two), house.engine)
    disputed = labels(index, "lesion"), dict(index.read(BY_NAME)[0])

    import_labels(index, csv(house, table + f"{uid},lesion,0,board,yes\n"), house.engine)

    study = house.engine.pseudo_uid(uid)
    assert disputed[0] == {study: 1}
    assert (disputed[1]["readers"], disputed[1]["disputed"]) == (2, 1)
    assert labels(index, "lesion") == {study: 0}
    assert index.read(BY_NAME)[0]["disputed"] == 0
    stands = {r["reader"]: r["as_it_stands"] for r in index.read(BY_READER, {"name": "lesion"})}
    assert stands == {"r1": 0, "r2": 1, "board": 1}


def test_a_word_on_a_series_stands_before_one_on_its_patient(house, sources):
    index, _ = send(house, *sources)
    first = sources[0]
    text = (
        "PatientID,SeriesInstanceUID,label,value\n"
        f"{first.PatientID},,lesion,POSITIVE\n"
        f"{first.PatientID},{first.SeriesInstanceUID},lesion,NEGATIVE\n"
    )

    imported = import_labels(index, csv(house, text), house.engine)

    study = house.engine.pseudo_uid(first.StudyInstanceUID)
    series = house.engine.pseudo_uid(first.SeriesInstanceUID)
    assert (imported.taken, imported.without_images) == (2, 0)
    assert labels(index, "lesion") == {study: 1, series: 0}
    assert Tally(index).spellings("Label") == ["NEGATIVE"]
    written = str([tuple(row) for row in index.read("SELECT * FROM label")])
    assert first.PatientID not in written
    assert first.SeriesInstanceUID not in written


def test_an_adjudicated_word_on_a_study_stands_before_a_readers_on_its_series(house, sources):
    index, _ = send(house, *sources)
    first = sources[0]
    text = (
        "StudyInstanceUID,SeriesInstanceUID,label,value,reader,adjudicated\n"
        f",{first.SeriesInstanceUID},lesion,POSITIVE,r1,\n"
        f"{first.StudyInstanceUID},,lesion,NEGATIVE,board,yes\n"
    )

    import_labels(index, csv(house, text), house.engine)

    study = house.engine.pseudo_uid(first.StudyInstanceUID)
    series = house.engine.pseudo_uid(first.SeriesInstanceUID)
    assert labels(index, "lesion") == {study: 0, series: 0}  # for jobs
    assert Tally(index).spellings("Label") == ["NEGATIVE"]  # and for questions


def test_a_word_on_a_patient_is_of_the_studies_filed_under_another_name_too(house, sources):
    index, _ = send(house, *sources)
    uid = house.engine.pseudo_uid(sources[0].StudyInstanceUID)
    old, new = house.engine.pseudonym(sources[0].PatientID, ""), house.engine.pseudonym("NEW", "")
    index.restate(lambda: {old: Standing(new, withdrawn=False)})
    text = "PatientID,label,value\nNEW,lesion,POSITIVE\n"

    import_labels(index, csv(house, text), house.engine)

    assert labels(index, "lesion") == {uid: 1}
    assert Tally(index).spellings("Label") == ["POSITIVE"]


def test_a_file_with_a_bad_line_is_refused_whole_or_taken_without_it(house, sources):
    index, _ = send(house, *sources)
    text = f"StudyInstanceUID,label,value\n{sources[0].StudyInstanceUID},lesion,1\nHuber,lesion,1\n"

    with pytest.raises(NotLabels, match="line 3") as refused:
        import_labels(index, csv(house, text), house.engine)
    nothing = index.read("SELECT count(*) FROM label")[0][0]
    taken = import_labels(index, csv(house, text), house.engine, skip_bad=True)

    assert "Huber" not in str(refused.value)
    assert nothing == 0
    assert (taken.taken, taken.refused_lines) == (1, (3,))
