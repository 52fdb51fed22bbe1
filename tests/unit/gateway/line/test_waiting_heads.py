from gateway.line.face_wait import Patience, WaitingRoom
from gateway.line.reference import Waiting
from gateway.model import PseudoUID

ONE, OTHER = PseudoUID("2.25.1"), PseudoUID("2.25.2")


def a_room():
    room = WaitingRoom(Patience(quiet_seconds=60, at_most_seconds=300))
    room.seat("a", Waiting(ONE, 1000.0), cleared=False)
    room.seat("b", Waiting(ONE, 1050.0), cleared=True)
    room.seat("c", Waiting(OTHER, 1055.0), cleared=False)
    return room


def test_a_series_is_whole_once_it_is_quiet():
    room = a_room()

    assert list(room.whole(1109.0)) == []
    assert list(room.whole(1110.0)) == [ONE]
    assert list(room.whole(1115.0)) == [ONE, OTHER]
    assert room.of(ONE) == [("a", False), ("b", True)]


def test_a_series_that_never_falls_quiet_is_awaited_no_longer_than_that():
    room = a_room()
    room.seat("d", Waiting(ONE, 1290.0), cleared=False)

    assert list(room.whole(1299.0)) == [OTHER]
    assert list(room.whole(1300.0)) == [ONE, OTHER]


def test_whoever_left_the_vault_is_forgotten():
    room = a_room()

    room.keep_only(["b", "d"])
    room.leave("d")

    assert ("a" in room, "b" in room) == (False, True)
    assert room.of(ONE) == [("b", True)]
