"""No tenant takes more than its rate and one burst, and one that waits as long as it is told gets what it asked for."""

from math import ceil

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.quotas.day import DAY_S, Day
from gateway.quotas.gcra import Gcra
from gateway.quotas.limits import Limits
from gateway.quotas.tenant import Quota, Refusal, TenantQuota

RATES = st.floats(0.01, 1e9)
BURSTS = st.floats(0.1, 3600)
STARTS = st.floats(0, 1e7)
# Pauses and costs, as parts of the burst.
ARRIVALS = st.lists(st.tuples(st.floats(0, 2), st.floats(0.0001, 3)), min_size=1, max_size=60)


@given(RATES, BURSTS, STARTS, ARRIVALS)
def test_in_no_time_is_more_taken_than_the_rate_and_a_burst_or_one_request(
    rate: float, burst_s: float, start: float, arrivals: list[tuple[float, float]]
) -> None:
    gcra, now, taken = Gcra(rate, burst_s), start, []
    for pause, part in arrivals:
        now += pause * burst_s
        cost = part * rate * burst_s
        if not gcra.wait(cost, now):
            gcra.take(cost, now)
            taken.append((now, cost))
    for first, (begin, _) in enumerate(taken):
        total = largest = 0.0
        for at, cost in taken[first:]:
            total += cost
            largest = max(largest, cost)
            assert total <= (max(rate * burst_s, largest) + rate * (at - begin)) * 1.001


@given(RATES, BURSTS, STARTS, ARRIVALS)
def test_who_waits_as_long_as_it_is_told_succeeds(
    rate: float, burst_s: float, start: float, arrivals: list[tuple[float, float]]
) -> None:
    gcra, now = Gcra(rate, burst_s), start
    for pause, part in arrivals:
        now += pause * burst_s
        cost = part * rate * burst_s
        wait_s = gcra.wait(cost, now)
        assert gcra.wait(cost, now + ceil(wait_s)) == 0.0
        if wait_s > 0.01:
            assert gcra.wait(cost, now + wait_s * 0.9)
        now += ceil(wait_s)
        gcra.take(cost, now)


@given(RATES, BURSTS, STARTS, ARRIVALS)
def test_what_is_taken_for_later_is_what_could_be_taken_then(
    rate: float, burst_s: float, start: float, arrivals: list[tuple[float, float]]
) -> None:
    """So that a request may be told when to go on, and no later one overtakes it."""
    now_for_then, then, now = Gcra(rate, burst_s), Gcra(rate, burst_s), start
    goes_on = start
    for pause, part in arrivals:
        now += pause * burst_s
        cost = part * rate * burst_s
        at = now + now_for_then.wait(cost, now)
        now_for_then.take(cost, at)
        assert at >= goes_on - 1e-3
        goes_on = at
        # A clock of seconds since the start of a machine tells no less apart than this.
        assert then.wait(cost, at) <= 1e-3
        then.take(cost, at)


@given(RATES, BURSTS, STARTS)
def test_what_is_given_back_can_be_taken_again(rate: float, burst_s: float, now: float) -> None:
    gcra = Gcra(rate, burst_s)
    gcra.take(rate * burst_s, now)
    assert gcra.wait(rate * burst_s, now)
    gcra.give_back(rate * burst_s)

    assert gcra.wait(rate * burst_s, now) == 0.0


def test_a_request_that_is_larger_than_the_burst_is_taken_when_the_burst_is_whole_and_then_paid_for() -> None:
    gcra = Gcra(rate=100, burst_s=10)
    assert gcra.wait(5000, 0.0) == 0.0
    gcra.take(5000, 0.0)

    assert gcra.wait(1, 0.0) == pytest.approx(40.01)
    assert gcra.wait(5000, 0.0) == pytest.approx(50)
    assert gcra.left(0.0) == 0
    assert gcra.left(45.0) == 500


def test_another_rate_holds_at_once_and_forgets_nothing() -> None:
    gcra = Gcra(rate=100, burst_s=10)
    gcra.take(1000, 0.0)
    gcra.change(rate=1000, burst_s=10)

    assert gcra.wait(1, 0.0) > 0
    assert gcra.wait(10_000, 1.0) == pytest.approx(9)


def test_a_day_ends_at_midnight_in_utc_and_a_clock_that_is_set_back_begins_no_new_one() -> None:
    day, noon = Day(1000), 20_000 * DAY_S + DAY_S / 2
    day.take(900, noon)

    assert day.wait(100, noon) == 0.0
    assert day.wait(101, noon) == DAY_S / 2
    assert day.left(noon - 3 * DAY_S) == 100
    assert day.wait(101, noon + DAY_S / 2) == 0.0


def test_more_than_a_whole_day_allows_is_taken_when_nothing_was() -> None:
    day, noon = Day(1000), 20_000 * DAY_S + DAY_S / 2
    assert day.wait(5000, noon) == 0.0
    day.take(5000, noon)

    assert day.wait(1, noon) == DAY_S / 2
    assert day.wait(5000, noon + DAY_S / 2) == 0.0


LIMITS = st.builds(
    Limits,
    events_per_second=st.one_of(st.none(), st.floats(1, 1e5)),
    bytes_per_second=st.one_of(st.none(), st.floats(100, 1e8)),
    burst_s=st.floats(0.5, 60),
    bytes_per_day=st.one_of(st.none(), st.floats(1e5, 1e9)),
)


@given(LIMITS, st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20_000), st.integers(1, 10_000_000)), max_size=30))
def test_a_request_is_taken_whole_or_refused_whole(limits: Limits, requests: list[tuple[float, int, int]]) -> None:
    quota, now = TenantQuota(limits), 1000.0
    events = size = 0
    for pause, some, some_bytes in requests:
        now += pause
        before = quota.policies(now, now)
        taken = quota.take(some, some_bytes, now, now)
        if isinstance(taken, Refusal):
            assert quota.policies(now, now) == before
            then = now + ceil(taken.wait_s)
            if taken.quota is not Quota.DAY:
                refused_again = quota.look(some, some_bytes, then, then)
                assert refused_again is None or refused_again.quota is Quota.DAY
        else:
            assert taken == 0.0
            events += some
            size += some_bytes
    assert (quota.events, quota.size) == (events, size)


@given(LIMITS, st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20_000), st.integers(1, 10_000_000)), max_size=30))
def test_the_fast_way_takes_what_the_other_one_takes(limits: Limits, requests: list[tuple[float, int, int]]) -> None:
    fast, slow, now = TenantQuota(limits), TenantQuota(limits), 1000.0
    for pause, some, some_bytes in requests:
        now += pause
        before = slow.policies(now, now)
        taken = slow.take(some, some_bytes, now, now)
        if fast.take_if_enough(some, some_bytes, now):
            assert taken == 0.0
        else:
            assert fast.policies(now, now) == before
            assert fast.take(some, some_bytes, now, now) == taken
        assert fast.policies(now, now) == slow.policies(now, now)


def test_who_waits_is_served_in_the_order_of_coming_and_who_will_not_wait_takes_nothing() -> None:
    quota = TenantQuota(Limits(events_per_second=100, burst_s=1))
    assert quota.take(100, 0, 0.0, 0.0) == 0.0
    assert quota.take(50, 0, 0.0, 0.0, patience_s=2.0) == pytest.approx(0.5)
    assert quota.take(100, 0, 0.0, 0.0, patience_s=2.0) == pytest.approx(1.5)
    refused = quota.take(100, 0, 0.0, 0.0, patience_s=2.0)

    assert isinstance(refused, Refusal)
    assert refused.quota is Quota.EVENTS
    assert refused.wait_s == pytest.approx(2.5)
    assert quota.take(50, 0, 0.0, 0.0, patience_s=2.0) == pytest.approx(2.0)
    assert quota.events == 300


def test_the_quota_that_is_short_for_longest_is_named() -> None:
    limits = Limits(events_per_second=10, bytes_per_second=100, burst_s=1, bytes_per_day=5000)
    quota = TenantQuota(limits)
    assert quota.take(10, 100, 0.0, 0.0) == 0.0

    for size, short, wait_s in ((1, Quota.EVENTS, 0.1), (50, Quota.BYTES, 0.5), (4901, Quota.DAY, DAY_S)):
        refused = quota.look(1, size, 0.0, 0.0)
        assert refused is not None
        assert refused.quota is short
        assert refused.wait_s == pytest.approx(wait_s)
