"""What takes long is found out beside whoever asks."""

import threading

from gateway.app.lately import Lately


def test_what_is_old_is_shown_while_it_is_found_out_again():
    now, found, again = [0.0], [], threading.Event()

    def find():
        found.append(now[0])
        if len(found) > 1:
            again.set()
        return len(found)

    fact = Lately(find, lambda: now[0])
    assert [fact(), fact()] == [1, 1]

    now[0] = 60.0
    assert fact() == 1
    assert again.wait(5)
    for thread in threading.enumerate():
        if thread.name == "lately":
            thread.join(5)
    assert fact() == 2


def test_a_failure_leaves_what_was_known():
    now, fails = [0.0], []

    def find():
        if fails:
            fails.append("again")
            raise OSError
        return "known"

    fact = Lately(find, lambda: now[0])
    assert fact() == "known"

    fails.append("now")
    now[0] = 60.0
    assert fact() == "known"
    for thread in threading.enumerate():
        if thread.name == "lately":
            thread.join(5)
    assert fact() == "known"
    assert "again" in fails
