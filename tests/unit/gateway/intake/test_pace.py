"""How slow a peer may be."""

from gateway.intake.pace import LEAST_BYTES_PER_WINDOW, WINDOW_SECONDS, Pace


def test_the_first_pdu_has_a_deadline_that_no_trickle_moves():
    pace = Pace(100.0, first_pdu_seconds=5, idle_seconds=900)

    assert not pace.too_slow(104.9)
    assert pace.too_slow(105.0)


def test_a_modality_may_pause_ten_minutes_between_messages():
    pace = Pace(0.0, first_pdu_seconds=5, idle_seconds=900)

    pace.between_messages(10.0)

    assert not pace.too_slow(10.0 + 600)
    assert pace.too_slow(10.0 + 900)


def test_a_sender_that_keeps_sending_may_take_as_long_as_it_likes():
    pace = Pace(0.0, first_pdu_seconds=5, idle_seconds=900)

    for second in range(2000):
        pace.in_message(float(second), 2048)
        assert not pace.too_slow(float(second))


def test_a_trickle_inside_a_message_is_too_slow():
    pace = Pace(0.0, first_pdu_seconds=5, idle_seconds=900)

    seconds = 0.0
    while not pace.too_slow(seconds):
        pace.in_message(seconds, 1)
        seconds += 1

    assert seconds <= WINDOW_SECONDS + 1


def test_silence_inside_a_message_is_too_slow_even_after_a_burst():
    pace = Pace(0.0, first_pdu_seconds=5, idle_seconds=900)

    pace.in_message(0.0, 10 * LEAST_BYTES_PER_WINDOW)
    pace.in_message(WINDOW_SECONDS, 0)
    pace.in_message(2 * WINDOW_SECONDS, 0)

    assert pace.too_slow(2 * WINDOW_SECONDS)
