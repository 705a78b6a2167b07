import pytest

from bench.catch_up import middle
from bench.rounds import slope


def test_the_rate_is_that_of_the_middle_whoever_waited_before_and_after() -> None:
    waits = [(t / 10, 0.0) for t in range(30)]
    comes = [(3 + t / 10, 1000.0 * t) for t in range(101)]
    tail = [(13 + t / 10, 100_000.0) for t in range(1, 20)]

    assert slope(middle(waits + comes + tail, 100_000)) == pytest.approx(10_000, rel=0.02)


def test_two_looks_are_enough() -> None:
    assert slope(middle([(0.1, 0.0), (0.2, 500.0)], 500)) == pytest.approx(5000)
