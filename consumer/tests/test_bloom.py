import random

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.bloom import RotatingBloom


def keys(seed: int, count: int) -> list[bytes]:
    # The length of a real identity.
    source = random.Random(seed)
    return [source.randbytes(24) for _ in range(count)]


@given(capacity=st.integers(1, 6), added=st.lists(st.integers(0, 30), max_size=60))
def test_a_key_is_remembered_for_at_least_one_generation(capacity: int, added: list[int]) -> None:
    """After any history, none of the last `capacity` distinct keys is answered with "certainly new"."""
    bloom = RotatingBloom(capacity, 0.01)
    latest: list[bytes] = []
    for number in added:
        key = number.to_bytes(24, "big")
        bloom.add(key)
        latest = [k for k in latest if k != key] + [key]

        assert all(k in bloom for k in latest[-capacity:])


@pytest.mark.parametrize(("capacity", "rate"), [(1_000, 0.01), (20_000, 0.001)])
def test_new_keys_are_answered_with_maybe_no_oftener_than_allowed(capacity: int, rate: float) -> None:
    """Measured where it is worst: both generations full."""
    bloom = RotatingBloom(capacity, rate)
    for key in keys(1, 2 * capacity):
        bloom.add(key)
    probes = keys(2, 20_000)

    wrong = sum(key in bloom for key in probes)

    expected = rate * len(probes)
    assert wrong <= expected + 4 * expected**0.5


def test_the_rate_holds_and_the_memory_stays_after_many_generations() -> None:
    bloom = RotatingBloom(500, 0.01)
    sizes = set()
    for key in keys(3, 20 * 500):
        bloom.add(key)
        sizes.add((bloom._young.size_in_bits, bloom._old.size_in_bits))
    probes = keys(4, 10_000)

    assert len(sizes) == 1
    assert sum(key in bloom for key in probes) <= 100 + 4 * 10


def test_a_key_is_forgotten_after_two_generations() -> None:
    first, *others = keys(5, 1 + 2 * 100)
    bloom = RotatingBloom(100, 0.0001)
    bloom.add(first)
    for key in others:
        bloom.add(key)

    assert first not in bloom


def test_adding_a_key_again_costs_no_room() -> None:
    often, *others = keys(6, 100)
    bloom = RotatingBloom(100, 0.0001)
    for key in others:
        bloom.add(often)
        bloom.add(key)

    assert bloom._added == 100
    assert all(key in bloom for key in others)


def test_an_empty_filter_knows_nothing() -> None:
    bloom = RotatingBloom(10, 0.01)

    assert not any(key in bloom for key in keys(7, 100))
