"""When the next request goes: by a table, and as properties."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.nagle import AFTER_AN_ANSWER, NAGLE_WAIT_S, NOW, PIPELINED_REQUESTS, READY_EVENTS, Nagle

LINGER_S = 0.006
NAGLE = Nagle(LINGER_S, max_events=1000, concurrency=4)


@pytest.mark.parametrize(
    ("waiting", "in_flight", "last_size", "waited_s", "when"),
    [
        # A lone post waits `linger_s` and no longer.
        (1, 0, 0, 0.0, LINGER_S),
        (1, 1, 0, 0.002, LINGER_S - 0.002),
        (1, 0, 0, LINGER_S, NOW),
        (1, 0, 0, 60.0, NOW),
        # Enough events wait: at least sixteen, and as many as the last request had.
        (READY_EVENTS - 1, 0, 0, 0.0, LINGER_S),
        (READY_EVENTS, 0, 0, 0.0, NOW),
        (READY_EVENTS, 1, 1, 0.0, NOW),
        (READY_EVENTS, 0, 40, 0.0, LINGER_S),
        (39, 0, 40, 0.0, LINGER_S),
        (40, 0, 40, 0.0, NOW),
        (40, 0, 5000, LINGER_S, NOW),
        # With two in flight posts accumulate until an answer comes or the longer wait ends.
        (READY_EVENTS, 2, 0, 0.0, LINGER_S + NAGLE_WAIT_S),
        (999, 3, 0, LINGER_S, NAGLE_WAIT_S),
        (1, 2, 0, LINGER_S + NAGLE_WAIT_S, NOW),
        (1, 2, 0, AFTER_AN_ANSWER, NOW),
        (1, 3, 40, AFTER_AN_ANSWER, NOW),
        # A full request goes at once.
        (1000, 0, 5000, 0.0, NOW),
        (1000, 3, 0, 0.0, NOW),
        # With `concurrency` in flight no request goes.
        (1, 4, 0, 60.0, AFTER_AN_ANSWER),
        (5000, 4, 0, AFTER_AN_ANSWER, AFTER_AN_ANSWER),
        # Timers fire a rounding error too early.
        (1, 0, 0, LINGER_S - 1e-9, NOW),
    ],
)
def test_when_the_next_request_goes(waiting: int, in_flight: int, last_size: int, waited_s: float, when: float) -> None:
    assert NAGLE.when(waiting, in_flight, last_size, waited_s) == pytest.approx(when)


nagles = st.builds(Nagle, st.floats(0.001, 1.0), st.integers(1, 5000), st.integers(1, 8))
counts = st.integers(1, 10_000)
in_flights = st.integers(0, 10)
sizes = st.integers(0, 5000)
waits = st.floats(0, 5)


@given(nagles, counts, in_flights, sizes, waits)
def test_no_request_is_started_beyond_the_concurrency_and_else_each_goes_in_bounded_time(
    nagle: Nagle, waiting: int, in_flight: int, last_size: int, waited_s: float
) -> None:
    wait_s = nagle.when(waiting, in_flight, last_size, waited_s)

    if in_flight >= nagle.concurrency:
        assert wait_s == AFTER_AN_ANSWER
    else:
        assert wait_s >= NOW
        assert wait_s + waited_s <= max(waited_s, nagle.linger_s + NAGLE_WAIT_S) + 1e-9


@given(nagles, counts, in_flights, sizes, waits)
def test_a_post_that_waited_as_long_as_was_told_goes(
    nagle: Nagle, waiting: int, in_flight: int, last_size: int, waited_s: float
) -> None:
    """Otherwise the timer would fire for ever."""
    wait_s = nagle.when(waiting, in_flight, last_size, waited_s)

    if wait_s != AFTER_AN_ANSWER:
        assert nagle.when(waiting, in_flight, last_size, waited_s + wait_s) == NOW


@given(nagles, counts, in_flights, sizes, waits)
def test_more_events_more_time_and_fewer_in_flight_never_put_a_request_off(
    nagle: Nagle, waiting: int, in_flight: int, last_size: int, waited_s: float
) -> None:
    before = nagle.when(waiting, in_flight + 1, last_size, waited_s)

    assert nagle.when(2 * waiting, in_flight + 1, last_size, waited_s) <= before
    assert nagle.when(waiting, in_flight + 1, last_size, 2 * waited_s) <= before
    assert nagle.when(waiting, in_flight, last_size, waited_s) <= before


@given(nagles, counts, in_flights, sizes)
def test_an_answer_lets_everything_go_that_may(nagle: Nagle, waiting: int, in_flight: int, last_size: int) -> None:
    may_go = in_flight < nagle.concurrency

    assert nagle.when(waiting, in_flight, last_size, AFTER_AN_ANSWER) == (NOW if may_go else AFTER_AN_ANSWER)


@given(nagles, st.integers(0, PIPELINED_REQUESTS - 1), sizes, waits)
def test_a_wait_that_is_over_would_have_let_a_request_go(
    nagle: Nagle, in_flight: int, last_size: int, waited_s: float
) -> None:
    if nagle.is_over(in_flight, waited_s) and in_flight < nagle.concurrency:
        assert nagle.when(1, in_flight, last_size, waited_s) == NOW


@given(nagles, st.integers(0, PIPELINED_REQUESTS - 1), sizes, waits)
def test_as_many_as_were_answered_last_wait_no_longer(
    nagle: Nagle, in_flight: int, last_size: int, waited_s: float
) -> None:
    """Clients that post again when they have an answer are all back."""
    if in_flight < nagle.concurrency:
        assert nagle.when(max(READY_EVENTS, last_size), in_flight, last_size, waited_s) == NOW
