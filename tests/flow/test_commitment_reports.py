"""Storage commitment with pynetdicom as the modality: what is granted, refused, and told when."""

import os
from contextlib import closing

import pytest
from pydicom.dataset import Dataset

from gateway.config import Peer
from gateway.intake.commitment_book import Book
from gateway.intake.commitment_rules import RETRY_SECONDS
from tests.fakes.archives import a_study
from tests.fakes.commitment import KEY, SYNTAXES, GrantingHouse, Modality
from tests.fakes.custody_house import shipped
from tests.fakes.receiver import a_receiver, eventually

pytestmark = pytest.mark.flow
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def modality():
    made = Modality()
    yield made
    made.hang_up()


@pytest.fixture
def house(tmp_path):
    return GrantingHouse(tmp_path)


def named(datasets):
    return [(dataset.SOPClassUID, dataset.SOPInstanceUID) for dataset in datasets]


def store(association, datasets):
    for dataset in datasets:
        assert association.send_c_store(dataset).Status == 0


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_was_stored_is_committed_on_the_same_association(house, modality, syntax):
    images = a_study("20200102", "CT", "MR")

    with (
        house.granting(modality.peer) as door,
        modality.association(door.port, [syntax], images) as association,
    ):
        store(association, images)
        status = modality.ask(association, named(images))
        eventually(lambda: modality.heard, 60)
        eventually(lambda: house.book.counts()["delivered"])
        store(association, images)  # it goes on

    (heard,) = modality.heard
    assert status == 0
    assert (heard.event_type, heard.failed, heard.on_new_association) == (1, {}, False)
    assert heard.committed == [uid for _, uid in named(images)]


def test_who_hangs_up_at_once_is_called_back(house, modality):
    images = a_study("20200102", "CT")
    modality.listen()

    with house.granting(modality.peer) as door:
        with modality.association(door.port, datasets=images) as association:
            store(association, images)
            assert modality.ask(association, named(images), "1.2.3.4") == 0
        eventually(lambda: modality.heard, 60)
        eventually(lambda: house.book.counts()["delivered"])

    (heard,) = modality.heard
    assert heard.on_new_association
    assert (heard.transaction, len(heard.committed), heard.failed) == ("1.2.3.4", 2, {})


@pytest.mark.parametrize("roles", [(False, True), (None, None)])
def test_a_peer_that_answers_no_role_is_told_too(house, modality, roles):
    modality.roles = roles
    modality.listen()

    with house.granting(modality.peer) as door:
        with modality.association(door.port) as association:
            modality.ask(association, [(CT, "1.2.3")])
        eventually(lambda: modality.heard, 60)

    assert modality.heard[0].failed == {"1.2.3": 0x0112}


def test_copies_in_their_studies_folders_are_found_too(house, modality):
    images = a_study("20200102", "CT")

    with (
        house.granting(modality.peer) as door,
        modality.association(door.port, datasets=images) as association,
    ):
        store(association, images)
        line = house.line(house.open_index)
        line.run_once()
        line.close()
        assert not house.store.arrived(-1)
        modality.ask(association, named(images))
        eventually(lambda: modality.heard, 60)

    assert (modality.heard[0].event_type, modality.heard[0].failed) == (1, {})


def test_every_instance_that_is_not_committed_has_its_own_reason(house, modality):
    images = a_study("20200102", "CT", instances=4)
    sound, damaged, cut, conflicting = images
    unsupported = ("1.2.840.10008.5.1.4.31", "1.2.3.5")

    with (
        house.granting(modality.peer) as door,
        modality.association(door.port, datasets=images) as association,
    ):
        store(association, images)
        flip_a_bit_of_the_header(house, damaged)
        truncate(house, cut)
        asked = [
            *named([sound, damaged, cut]),
            (MR, conflicting.SOPInstanceUID),
            (CT, "1.2.3.4"),
            unsupported,
        ]
        modality.ask(association, asked)
        eventually(lambda: modality.heard, 60)

    (heard,) = modality.heard
    assert heard.event_type == 2
    assert heard.committed == [sound.SOPInstanceUID]
    assert heard.failed == {
        damaged.SOPInstanceUID: 0x0110,
        cut.SOPInstanceUID: 0x0110,
        conflicting.SOPInstanceUID: 0x0119,
        "1.2.3.4": 0x0112,
        "1.2.3.5": 0x0122,
    }


def file_of(house, dataset):
    uid = house.engine.pseudo_uid(str(dataset.SOPInstanceUID))
    return next(path for path in house.files() if path.stem == uid)


def flip_a_bit_of_the_header(house, dataset):
    path = file_of(house, dataset)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"MONOCHROME2")
    raw[at] ^= 1
    path.write_bytes(raw)


def truncate(house, dataset):
    path = file_of(house, dataset)
    os.truncate(path, path.stat().st_size - 2)


@pytest.mark.parametrize("where", range(0, 100, 7))
def test_a_changed_byte_anywhere_is_noticed(house, modality, where):
    (image, *_) = a_study("20200102", "CT")

    with (
        house.granting(modality.peer) as door,
        modality.association(door.port, datasets=[image]) as association,
    ):
        store(association, [image])
        path = file_of(house, image)
        raw = bytearray(path.read_bytes())
        raw[len(raw) * where // 100] ^= 0x10
        path.write_bytes(raw)
        modality.ask(association, named([image]))
        eventually(lambda: modality.heard, 60)

    assert modality.heard[0].failed == {image.SOPInstanceUID: 0x0110}


def test_what_is_sealed_in_quarantine_is_not_committed(house, modality):
    unread = shipped("CT_small.dcm")
    cut = type(unread)(unread.arrival, unread.raw[:-1000])
    house.take(cut)
    assert house.vault.counts()["quarantined"] == 1

    with house.granting(modality.peer) as door, modality.association(door.port) as association:
        modality.ask(association, [(CT, cut.arrival.sop_instance_uid)])
        eventually(lambda: modality.heard, 60)

    assert list(modality.heard[0].failed.values()) == [0x0110]


def test_a_version_in_quarantine_leaves_its_stored_namesake_uncommitted(house, modality):
    first, _ = a_study("20200102", "CT")

    with (
        house.granting(modality.peer) as door,
        modality.association(door.port, datasets=[first]) as association,
    ):
        store(association, [first])
        first.PixelData = bytes(reversed(first.PixelData))
        store(association, [first])
        assert house.vault.counts()["quarantined"] == 1
        modality.ask(association, named([first]))
        eventually(lambda: modality.heard, 60)

    assert list(modality.heard[0].failed.values()) == [0x0110]


def test_an_instance_that_waits_for_its_second_look_is_waited_for(house, modality):
    house_of_vault = GrantingHouse(house.base, header_limit_bytes=1)
    (image, *_) = a_study("20200102", "CT")
    modality.listen()

    with house_of_vault.granting(modality.peer) as door:
        with modality.association(door.port, datasets=[image]) as association:
            store(association, [image])
            assert house_of_vault.vault.counts()["incoming"] == 1
            modality.ask(association, named([image]))
        with pytest.raises(AssertionError):
            eventually(lambda: modality.heard, 1)
        line = house_of_vault.line(house_of_vault.open_index)
        line.run_once()
        line.close()
        eventually(lambda: modality.heard, 60)

    assert (modality.heard[0].event_type, modality.heard[0].failed) == (1, {})


def test_a_transaction_uid_in_use_fails_what_is_asked_under_it(house, modality):
    images = a_study("20200102", "CT")
    with (
        house.granting(modality.peer) as door,
        modality.association(door.port, datasets=images) as association,
    ):
        store(association, images)
        modality.ask(association, named(images[:1]), "1.2.3.9")
        eventually(lambda: modality.heard, 60)
        modality.ask(association, named(images), "1.2.3.9")
        eventually(lambda: len(modality.heard) == 2, 60)

    first, second = modality.heard
    assert (first.event_type, second.event_type) == (1, 2)
    assert list(second.failed.values()) == [0x0131, 0x0131]


def test_the_same_request_again_is_the_one_that_is_open(house, modality):
    with house.granting(modality.peer, room=False) as door:
        with modality.association(door.port) as association:
            for _ in range(3):
                assert modality.ask(association, [(CT, "1.2.3")], "1.2.3.9") == 0

        assert house.book.counts()["pending"] == 1


def empty_action():
    dataset = Dataset()
    dataset.TransactionUID = "1.2.3"
    return dataset


def no_transaction():
    dataset = Dataset()
    dataset.ReferencedSOPSequence = [Dataset()]
    return dataset


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"action_type": 2}, 0x0123),
        ({"dataset": empty_action()}, 0x0115),
        ({"dataset": no_transaction()}, 0x0115),
    ],
)
def test_a_request_that_is_none_is_answered_so(house, modality, asked, status):
    with (
        house.granting(modality.peer, room=False) as door,
        modality.association(door.port) as association,
    ):
        assert modality.ask(association, [(CT, "1.2.3")], **asked) == status
        assert house.book.counts()["pending"] == 0


def test_nobody_is_granted_commitment_who_was_not_opted_in(house, modality):
    stranger = Peer(name="ct", ae_title="CT1")

    with (
        house.granting(stranger, room=False) as door,
        pytest.raises(AssertionError),
        modality.association(door.port),
    ):
        pass


def test_a_receiver_without_a_book_promises_nothing(house, modality):
    with (
        a_receiver(house.custody, peers=[modality.peer]) as door,
        modality.association(door.port) as association,
    ):
        assert modality.ask(association, [(CT, "1.2.3")]) == 0x0110


def test_a_report_waits_for_a_peer_that_is_away(house, modality, monkeypatch):
    monkeypatch.setattr("gateway.intake.commitment_rules.RETRY_SECONDS", (0.3, RETRY_SECONDS[1]))

    with house.granting(modality.peer) as door:
        with modality.association(door.port) as association:
            modality.ask(association, [(CT, "1.2.3")])
        eventually(lambda: house.book.hold_due("ct", 0) or tries(house) >= 2, 20)
        modality.listen()
        eventually(lambda: modality.heard, 20)
        eventually(lambda: house.book.counts()["delivered"])

    assert len(modality.heard) == 1


def tries(house):
    with closing(Book.open(house.base / "commitment.db", KEY)) as book:
        return book._connection.execute("SELECT max(attempts) FROM request").fetchone()[0]


def test_a_peer_that_refuses_a_report_is_not_told_again(house, modality):
    modality.status = 0x0112
    modality.listen()

    with house.granting(modality.peer) as door:
        with modality.association(door.port) as association:
            modality.ask(association, [(CT, "1.2.3")])
        eventually(lambda: house.book.counts().get("refused"), 60)

    assert len(modality.heard) == 1


def test_no_uid_of_the_hospitals_is_at_rest_in_the_clear(house, modality):
    images = a_study("20200102", "CT")

    with house.granting(modality.peer, room=False) as door:
        with modality.association(door.port, datasets=images) as association:
            store(association, images)
            modality.ask(association, named(images), "1.2.3.45678")
        at_rest = house.everything_written()

    for uid in ("1.2.3.45678", *(uid for _, uid in named(images))):
        assert uid.encode() not in at_rest
