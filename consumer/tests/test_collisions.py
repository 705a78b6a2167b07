from collections.abc import Callable

import pytest

from consumer.adapters.collisions import Collisions


def sent_twice(batches: int, collides: Callable[[int], bool]) -> list[int]:
    """Return which batches go the short way and collide there."""
    collisions = Collisions()
    found: list[int] = []
    for batch in range(batches):
        if collisions.expected():
            continue
        if collides(batch):
            collisions.happened()
            found.append(batch)
        else:
            collisions.did_not_happen()
    return found


def test_where_nothing_collides_none_goes_the_long_way() -> None:
    collisions = Collisions()
    for _ in range(100):
        assert not collisions.expected()
        collisions.did_not_happen()


def test_where_everything_collides_it_is_tried_less_and_less_often_and_never_given_up() -> None:
    assert sent_twice(500, lambda _: True) == [0, 2, 5, 10, 19, 36, 69, 134, 199, 264, 329, 394, 459]


@pytest.mark.parametrize("end", [10, 100, 300])
def test_when_collisions_have_ended_the_short_way_is_taken_again_within_64_batches(end: int) -> None:
    collisions = Collisions()
    short: list[int] = []
    for batch in range(end + 200):
        if not collisions.expected():
            short.append(batch)
            if batch < end:
                collisions.happened()
            else:
                collisions.did_not_happen()

    first = min(batch for batch in short if batch >= end)
    assert first <= end + 64
    assert [batch for batch in short if batch >= end] == list(range(first, end + 200))
