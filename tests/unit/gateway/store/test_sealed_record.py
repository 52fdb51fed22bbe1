import io
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from gateway.deid.facts import DeidFacts
from gateway.errors import IntegrityFault
from gateway.model import Lane, Original, Pseudonym, PseudoUID, RealUID
from gateway.store.files import Names, Publication, compare
from gateway.store.part10 import head, parse_head
from gateway.store.sealed import SIZE, CannotSeal, Seal, SealedRecord

SEAL = Seal(b"k" * 32)
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

FACTS = DeidFacts(
    sop_uid=PseudoUID("2.25.1"),
    series_uid=PseudoUID("2.25.2"),
    study_uid=PseudoUID("2.25.3"),
    patient=Pseudonym("P" * 26),
    countable=True,
    sop_class_uid=CT,
    transfer_syntax_uid=EXPLICIT,
    modality="CT",
    body_part="CHEST",
    sex="F",
    age_years=61,
    study_year=2019,
    manufacturer="GE",
    model="LightSpeed",
    slice_thickness_mm=1.25,
    rows=512,
    columns=512,
    frames=1,
    instance_number=7,
    profile_digest="d" * 64,
)
RECORD = SealedRecord(
    received="a" * 64,
    pixels="b" * 32,
    lane=Lane.EXPRESS,
    sender="PACS",
    original=Original(
        patient_id="4711",
        issuer="HOSPITAL",
        study_uid=RealUID("1.2.3"),
        series_uid=RealUID("1.2.4"),
        sop_uid=RealUID("1.2.5"),
        study_date=date(2019, 2, 28),
    ),
    facts=FACTS,
)
LONGEST = replace(
    RECORD,
    original=Original("林" * 64, "院" * 64, *(RealUID("1." * 31 + "12"),) * 3, date(2019, 1, 1)),
    facts=replace(FACTS, model="型" * 64, manufacturer="A" * 64, body_part="B" * 16),
)


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        LONGEST,
        replace(RECORD, original=replace(RECORD.original, study_date=None)),
        replace(RECORD, original=replace(RECORD.original, patient_id="\udcff\udc80", issuer="")),
    ],
)
def test_a_record_opens_as_it_was_sealed_at_one_size(record):
    sealed = SEAL.close(record, "2.25.1")

    assert len(sealed) == SIZE
    assert SEAL.open(sealed, "2.25.1") == record
    assert b"4711" not in sealed


def test_a_record_fits_no_other_file_and_no_other_site():
    sealed = SEAL.close(RECORD, "2.25.1")

    with pytest.raises(IntegrityFault):
        SEAL.open(sealed, "2.25.2")
    with pytest.raises(IntegrityFault):
        Seal(b"j" * 32).open(sealed, "2.25.1")


@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_record_is_noticed(where, change):
    sealed = bytearray(SEAL.close(RECORD, "2.25.1"))
    sealed[where] ^= change

    with pytest.raises(IntegrityFault):
        SEAL.open(bytes(sealed), "2.25.1")


def test_an_absurd_identifier_is_refused_not_cut():
    absurd = replace(RECORD, original=replace(RECORD.original, patient_id="x" * 3000))

    with pytest.raises(CannotSeal):
        SEAL.close(absurd, "2.25.1")


@given(st.from_regex(r"2\.25\.[1-9][0-9]{0,38}", fullmatch=True))
def test_pydicom_reads_the_file_meta_as_written(sop):
    raw = head(CT, sop, EXPLICIT)

    meta = dcmread(io.BytesIO(raw)).file_meta

    assert (meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == (sop, EXPLICIT)
    assert meta.PrivateInformationCreatorUID.startswith("2.25.")
    assert len(meta.PrivateInformation) == SIZE
    found = parse_head(raw)
    assert (found.sop_uid, found.dataset, found.transfer_syntax_uid) == (sop, len(raw), EXPLICIT)


@given(st.binary(max_size=400))
def test_no_bytes_pass_for_a_stored_file(raw):
    with pytest.raises(IntegrityFault):
        parse_head(raw)


@pytest.mark.parametrize(
    ("received", "pixels", "outcome"),
    [
        ("a", "b", Publication.DUPLICATE),
        ("a", "x", Publication.DUPLICATE),  # cannot be, and costs nothing
        ("x", "b", Publication.SUPERSEDED),
        ("x", "x", Publication.CONFLICT),
    ],
)
def test_what_a_second_instance_is(received, pixels, outcome):
    held = replace(RECORD, received="a", pixels="b")

    assert compare(held, replace(RECORD, received=received, pixels=pixels)) is outcome


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (Lane.EXPRESS, Lane.VAULT, Publication.SUPERSEDED),
        (Lane.VAULT, Lane.EXPRESS, Publication.DUPLICATE),
        (Lane.VAULT, Lane.VAULT, Publication.DUPLICATE),
    ],
)
def test_what_was_looked_at_takes_the_place_of_what_was_not(before, after, outcome):
    assert compare(replace(RECORD, lane=before), replace(RECORD, lane=after)) is outcome


@pytest.mark.parametrize("uid", ["../../etc/passwd", "", "1/2", "1..2", "1" * 65, ".", "2.25.1\n"])
def test_no_uid_leads_out_of_the_store(uid):
    with pytest.raises(IntegrityFault):
        Names(PseudoUID("2.25.3"), PseudoUID("2.25.2"), PseudoUID(uid))


def test_the_pixel_print_is_keyed_and_independent_of_chunks():
    def printed(seal, *parts):
        fingerprint = seal.pixel_print()
        for part in parts:
            fingerprint.update(part)
        return fingerprint.finalize()

    assert printed(SEAL, b"abc", b"def") == printed(SEAL, b"abcdef")
    assert printed(SEAL, b"abcdef") != printed(SEAL, b"abcdeg")
    assert printed(SEAL, b"abcdef") != printed(Seal(b"j" * 32), b"abcdef")
