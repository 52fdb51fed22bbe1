"""What an image was made with stays wherever a device put it; a patient's number there goes."""

from datetime import date

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.deid.engine import Deidentifier
from gateway.deid.profile import load_profile
from gateway.deid.stream import Streamed, StreamEngine
from gateway.deid.walk import Encoding
from gateway.line.encoding import encode, parse, silence_pydicom

EXPLICIT = Encoding(implicit=False, big_endian=False)
SYNTAX = "1.2.840.10008.1.2.1"
ENHANCED_MR, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.2.1"
CT, CR, DOCUMENT = (f"1.2.840.10008.5.1.4.1.1.{one}" for one in ("2", "1", "88.33"))
MEASURES = {
    "SpacingBetweenSlices": "3.3", "PixelBandwidth": "217", "EchoTime": "30", "FlipAngle": "80",
    "KVP": "120", "CTDIvol": 12.5, "ExposureTime": "500", "SliceLocation": "-12.5",
    "RepetitionTime": "2000", "TriggerTime": "15", "InStackPositionNumber": 2,
    "ActualFrameDuration": "100", "DecayFactor": "1.02",
}  # fmt: skip
KEYS = b"p" * 32, b"s" * 32


def instance(sop_class, patient_id="QX4711", **attributes):
    silence_pydicom()
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, "1.2.3.4"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    made.PatientID, made.PatientName = patient_id, "ZHANG^SAN"
    made.Rows = made.Columns = 8
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def cleaned(dataset):
    """Both engines' word on it, where they agree."""
    raw = encode(dataset, EXPLICIT)
    profile = load_profile("research-strict")
    result = Deidentifier(profile, *KEYS).apply(parse(raw, EXPLICIT), SYNTAX).dataset
    streamed = StreamEngine(profile, *KEYS).apply(raw, SYNTAX)
    assert isinstance(streamed, Streamed)
    assert streamed.header == encode(result, EXPLICIT)
    return result


@pytest.mark.parametrize("sop_class", [ENHANCED_MR, ENHANCED_CT, CT, CR])
def test_measures_stay_at_the_root_and_in_functional_groups(sop_class):
    frame = Dataset()
    frame.PixelMeasuresSequence = Sequence([Dataset()])
    for keyword, value in MEASURES.items():
        setattr(frame, keyword, value)
        setattr(frame.PixelMeasuresSequence[0], keyword, value)
    nested = {"PerFrameFunctionalGroupsSequence": Sequence([frame])}
    multi = sop_class in (ENHANCED_MR, ENHANCED_CT)

    kept = cleaned(instance(sop_class, **MEASURES, **(nested if multi else {})))

    holders = [kept]
    if multi:
        (frame,) = kept.PerFrameFunctionalGroupsSequence
        holders += [frame, frame.PixelMeasuresSequence[0]]
    for holder in holders:
        assert {name: holder[name].value for name in MEASURES} == {
            name: frame_value(value) for name, value in MEASURES.items()
        }


def frame_value(value):
    return float(value) if isinstance(value, str) else value


def test_a_patients_number_called_a_measure_goes():
    kept = cleaned(
        instance(
            ENHANCED_MR, patient_id="47110815", SpacingBetweenSlices="47110815", KVP="13812345678"
        )
    )

    assert not kept.get("SpacingBetweenSlices")
    assert not kept.get("KVP")


def test_words_and_what_is_no_image_have_no_measures():
    kept = cleaned(
        instance(ENHANCED_MR, ProtocolName="x", FilterType="ZHANGSAN", TargetUID="1.2.9")
    )
    assert "FilterType" not in kept
    assert "TargetUID" not in kept

    assert "KVP" not in cleaned(instance(DOCUMENT, KVP="120"))


def test_what_was_examined_is_cleaned_and_stays_in_any_image():
    said = "胸部平扫 ZHANG SAN 薄层"
    kept = cleaned(
        instance(
            CT, RequestedProcedureDescription=said, ScheduledProcedureStepDescription=said,
            SpecificCharacterSet="ISO_IR 192", AdditionalPatientHistory="ZHANG SAN",
        )
    )  # fmt: skip

    assert kept.RequestedProcedureDescription == "胸部平扫 薄层"
    assert kept.ScheduledProcedureStepDescription == "胸部平扫 薄层"
    assert "AdditionalPatientHistory" not in kept


def test_when_it_was_taken_moves_with_the_patients_dates():
    dates = {"StudyDate": "20190203", "AcquisitionDate": "20190205", "AcquisitionTime": "113000.5"}

    kept = cleaned(instance(ENHANCED_MR, SequenceName="fl3d", **dates))

    days = [date.fromisoformat(kept[name].value) for name in ("StudyDate", "AcquisitionDate")]
    assert (days[1] - days[0]).days == 2
    assert kept.StudyDate != "20190203"
    assert (kept.AcquisitionTime, kept.SequenceName) == ("113000.5", "fl3d")
