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

    assert list(room.whole(1109.0, all_seen=True)) == []
    assert list(room.whole(1110.0, all_seen=True)) == [ONE]
    assert list(room.whole(1115.0, all_seen=True)) == [ONE, OTHER]
    assert room.of(ONE) == [("a", False), ("b", True)]


def test_while_others_were_not_looked_at_only_the_longest_wait_ends():
    room = a_room()

    assert list(room.whole(1200.0, all_seen=False)) == []
    assert list(room.whole(1300.0, all_seen=False)) == [ONE]


def test_whoever_left_the_vault_is_forgotten():
    room = a_room()

    room.keep_only(["b", "d"])
    room.leave("d")

    assert ("a" in room, "b" in room) == (False, True)
    assert room.of(ONE) == [("b", True)]
