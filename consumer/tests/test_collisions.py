from collections.abc import Callable

import pytest

from consumer.adapters.collisions import Collisions


def short_ways(batches: int, collides: Callable[[int], bool]) -> list[int]:
    """Return which batches go the short way."""
    collisions = Collisions()
    short: list[int] = []
    for batch in range(batches):
        if collisions.next_way() == "short":
            short.append(batch)
            if collides(batch):
                collisions.collided()
            else:
                collisions.passed()
    return short


def test_where_nothing_collides_none_goes_the_long_way() -> None:
    assert short_ways(100, lambda _: False) == list(range(100))


def test_where_everything_collides_it_is_tried_less_and_less_often_and_never_given_up() -> None:
    assert short_ways(500, lambda _: True) == [0, 2, 5, 10, 19, 36, 69, 134, 199, 264, 329, 394, 459]


@pytest.mark.parametrize("end", [10, 100, 300])
def test_when_collisions_have_ended_the_short_way_is_taken_again_within_64_batches(end: int) -> None:
    short = short_ways(end + 200, lambda batch: batch < end)

    first = min(batch for batch in short if batch >= end)
    assert first <= end + 64
    assert [batch for batch in short if batch >= end] == list(range(first, end + 200))
