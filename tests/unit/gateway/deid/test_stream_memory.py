"""What the stream engine remembers is bounded, whatever the headers it is shown."""

from functools import cache
from struct import pack

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.deid import stream_read, stream_write
from gateway.deid.profile import load_profile
from gateway.deid.stream import MOST_PATIENTS, NotUnderstood, Streamed, StreamEngine
from gateway.line.encoding import encode, silence_pydicom, syntax_of

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


@cache
def profile():
    silence_pydicom()
    return load_profile("research-strict")


@pytest.fixture
def engine():
    return StreamEngine(profile(), b"p" * 32, b"s" * 32)


def header(number, patient=0, references=1):
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = f"1.2.4.{patient}"
    dataset.PatientID = f"P-{patient}"
    dataset.PatientName = f"Invented{patient}^Name"
    dataset.Modality = "CT"
    dataset.ReferencedImageSequence = Sequence(
        [reference(number, place) for place in range(references)]
    )
    return encode(dataset, syntax_of(EXPLICIT).encoding)


def reference(number, place):
    item = Dataset()
    item.ReferencedSOPClassUID = CT
    item.ReferencedSOPInstanceUID = f"1.2.5.{number}.{place}"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = f"{number}{place}", "DCM"
    item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    return item


def weights(engine):
    return [writer.weight for writer in engine._writers.values()]


def test_long_headers_that_all_differ_stay_within_the_bounds(engine, monkeypatch):
    monkeypatch.setattr(stream_read, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr("gateway.deid.stream.MOST_BYTES", 1 << 20)
    monkeypatch.setattr(stream_write, "MOST_BYTES", 1 << 20)

    for number in range(40):
        assert isinstance(engine.apply(header(number, number % 3, 200), EXPLICIT), Streamed)

        assert sum(weights(engine)) <= 1 << 20
        assert engine._cutter._weight <= 1 << 20


def test_a_sequence_that_will_not_be_met_again_is_not_remembered(engine):
    for _ in range(5):
        engine.apply(header(1, references=200), EXPLICIT)

    (writer,) = engine._writers.values()
    assert writer.kept
    assert all(len(written) <= stream_write.LONGEST_KEPT for written in writer.kept.values())


def test_the_patient_not_met_for_longest_is_forgotten_first(engine):
    engine.apply(header(1, patient=0), EXPLICIT)
    for patient in range(1, MOST_PATIENTS + 5):
        engine.apply(header(1, patient), EXPLICIT)
        engine.apply(header(patient, patient=0), EXPLICIT)

    remembered = {key[0] for key in engine._writers}
    first = engine.apply(header(99, patient=0), EXPLICIT).facts.patient
    second = engine.apply(header(99, patient=1), EXPLICIT).facts.patient

    assert len(remembered) == MOST_PATIENTS
    assert first in remembered
    assert second not in remembered


def test_what_was_forgotten_comes_out_the_same(engine, monkeypatch):
    known = [engine.apply(header(n, references=30), EXPLICIT).header for n in range(4)]
    monkeypatch.setattr(stream_write, "MOST_BYTES", 0)
    monkeypatch.setattr(stream_read, "MOST_BYTES", 0)
    engine.forget()

    anew = [engine.apply(header(n, references=30), EXPLICIT).header for n in range(4)]

    assert anew == known


def test_patients_whose_headers_are_given_back_are_bounded_too(engine):
    of_three_bytes = pack("<HH2sH", 0x28, 0x0106, b"US", 3) + b"abc"

    for patient in range(MOST_PATIENTS + 5):
        found = engine.apply(header(1, patient) + of_three_bytes, EXPLICIT)
        assert found == NotUnderstood("length")

    assert len(engine._writers) <= MOST_PATIENTS
