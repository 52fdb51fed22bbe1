"""Who counts as one person, after any sequence of decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.standing import Decision, Kind, Refused, check, standings

NAMES = ("A", "B", "C", "D")


def merged(old, new):
    return Decision(Kind.MERGED, old, new)


def withdrawn(name):
    return Decision(Kind.WITHDRAWN, name)


def readmitted(name):
    return Decision(Kind.READMITTED, name)


def test_nobody_decided_about_stands_for_themselves():
    assert standings([]) == {}


def test_merges_are_followed_to_their_end():
    found = standings([merged("A", "B"), merged("B", "C")])

    assert {name: standing.person for name, standing in found.items()} == dict.fromkeys("ABC", "C")


def test_whoever_withdrew_under_one_name_has_withdrawn_under_all():
    before = standings([withdrawn("A"), merged("A", "B")])
    after = standings([merged("A", "B"), withdrawn("B")])

    assert all(s.withdrawn for s in [*before.values(), *after.values()])


def test_a_readmission_under_one_name_holds_under_all():
    found = standings([withdrawn("A"), merged("A", "B"), readmitted("B")])

    assert not any(standing.withdrawn for standing in found.values())


def test_an_undone_merge_leaves_each_with_their_own_word():
    undo = Decision(Kind.SEPARATED, "A", "B")
    found = standings([withdrawn("A"), merged("A", "B"), undo])

    assert (found["A"].person, found["A"].withdrawn) == ("A", True)
    assert (found["B"].person, found["B"].withdrawn) == ("B", False)


@pytest.mark.parametrize(
    ("decided", "new"),
    [
        ([], merged("A", "A")),
        ([merged("A", "B")], merged("B", "A")),
        ([merged("A", "B"), merged("B", "C")], merged("C", "A")),
        ([merged("A", "B")], merged("A", "C")),
        ([merged("A", "B")], Decision(Kind.SEPARATED, "A", "C")),
    ],
)
def test_what_contradicts_is_refused(decided, new):
    with pytest.raises(Refused):
        check(decided, new)


@pytest.mark.parametrize(
    ("decided", "new"),
    [
        ([merged("A", "B")], merged("A", "B")),
        ([], Decision(Kind.SEPARATED, "A", "B")),
        ([withdrawn("A")], withdrawn("A")),
        ([], readmitted("A")),
    ],
)
def test_what_stands_already_changes_nothing(decided, new):
    assert not check(decided, new)


name = st.sampled_from(NAMES)
decision = st.one_of(
    st.builds(merged, name, name),
    st.builds(lambda a, b: Decision(Kind.SEPARATED, a, b), name, name),
    st.builds(withdrawn, name),
    st.builds(readmitted, name),
)


@given(st.lists(decision, max_size=12))
def test_persons_are_always_persons_of_their_own_and_share_one_word(wishes):
    taken = []
    for wish in wishes:
        try:
            check(taken, wish)
        except Refused:
            continue
        taken.append(wish)

    found = standings(taken)

    for standing in found.values():
        assert found[standing.person].person == standing.person
        assert found[standing.person].withdrawn == standing.withdrawn
