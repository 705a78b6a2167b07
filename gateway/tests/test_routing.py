"""Order of regions, pauses and chunks, as properties."""

import random

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.routing import RetryPolicy, chunks, in_order

REGIONS = ["region-a", "region-b", "region-c"]
policies = st.builds(RetryPolicy, st.floats(0.001, 1.0), st.floats(0.001, 10.0))


@given(st.lists(st.sampled_from(REGIONS), min_size=1, unique=True), st.data())
def test_the_wanted_region_comes_first_and_the_others_once_each_as_configured(
    regions: list[str], data: st.DataObject
) -> None:
    asked = data.draw(st.none() | st.sampled_from(regions))
    first, *others = in_order(regions, asked)

    assert first == (asked or regions[0])
    assert others == [region for region in regions if region != first]


@given(policies, st.integers(1, 5000), st.floats(0, 20), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_bounded_and_ends_before_the_deadline(
    policy: RetryPolicy, rounds: int, remaining_s: float, drawn: float
) -> None:
    pause = policy.pause_s(rounds, remaining_s=remaining_s, random=lambda: drawn)

    if pause is not None:
        assert 0 <= pause <= policy.max_s
        assert pause < remaining_s


@given(policies, st.integers(1, 5000))
def test_a_pause_is_only_refused_when_it_would_not_fit(policy: RetryPolicy, rounds: int) -> None:
    assert policy.pause_s(rounds, remaining_s=policy.max_s + 1, random=lambda: 0.999) is not None
    assert policy.pause_s(rounds, remaining_s=0.0, random=lambda: 0.0) is None


def test_the_longest_pause_doubles_up_to_its_limit() -> None:
    policy = RetryPolicy(base_s=0.05, max_s=1.0)

    longest = [policy.pause_s(rounds, remaining_s=60, random=lambda: 1.0) for rounds in range(1, 8)]

    assert longest == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_jitter_is_full() -> None:
    """Pauses spread over the whole range, so that clients that failed together do not come back together."""
    policy = RetryPolicy(base_s=1.0, max_s=1.0)
    source = random.Random(1)

    pauses = [policy.pause_s(1, remaining_s=60, random=source.random) or 0.0 for _ in range(1000)]

    assert min(pauses) < 0.05
    assert max(pauses) > 0.95


@given(st.lists(st.integers(1, 8), max_size=30), st.integers(1, 6), st.integers(1, 20))
def test_chunks_are_neighbours_within_the_limits(sizes: list[int], max_events: int, max_bytes: int) -> None:
    cuts = chunks(sizes, max_events=max_events, max_bytes=max_bytes)

    assert [size for cut in cuts for size in sizes[cut]] == sizes
    for cut in cuts:
        assert 0 < len(sizes[cut]) <= max_events
        assert sum(sizes[cut]) <= max_bytes or len(sizes[cut]) == 1


@given(st.lists(st.integers(1, 8), max_size=30), st.integers(1, 6), st.integers(1, 20))
def test_no_two_neighbouring_chunks_would_have_fitted_into_one(
    sizes: list[int], max_events: int, max_bytes: int
) -> None:
    cuts = chunks(sizes, max_events=max_events, max_bytes=max_bytes)

    for first, second in pairwise(cuts):
        too_many = len(sizes[first]) == max_events
        assert too_many or sum(sizes[first]) + sizes[second.start] > max_bytes
