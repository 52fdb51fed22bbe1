"""The bound on identified headers in memory."""

from gateway.line.budget import HeaderMemory


def test_what_is_claimed_is_not_there_for_others():
    memory = HeaderMemory(100)
    one, other = memory.claim(), memory.claim()

    assert one.grow(60)
    assert not other.grow(41)
    assert other.grow(40)


def test_a_refused_claim_holds_no_more_than_before():
    memory = HeaderMemory(100)
    claim = memory.claim()
    claim.grow(90)

    assert not claim.grow(20)
    assert claim.grow(10)


def test_what_is_released_is_there_again_and_only_once():
    memory = HeaderMemory(100)
    claim = memory.claim()
    claim.grow(100)

    claim.release()
    claim.release()

    assert memory.claim().grow(100)
    assert not memory.claim().grow(1)
