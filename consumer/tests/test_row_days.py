from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.row_days import bounds, days_of, rows_of
from consumer.envelope import Row
from consumer.tests.strategies import an_envelope
from consumer.waiting import DAY_US
from shared.event.model import EPOCH

FIRST = EPOCH.date()


def rows_at(times_us: Sequence[int]) -> list[Row]:
    return [Row(an_envelope(offset, time_us=time_us)) for offset, time_us in enumerate(times_us)]


@given(st.lists(st.integers(0, 40 * DAY_US), max_size=30))
def test_each_row_has_its_day_and_each_day_its_rows(times_us: list[int]) -> None:
    rows = rows_at(times_us)
    days = days_of(rows)

    assert days == {FIRST + timedelta(microseconds=time_us // DAY_US * DAY_US) for time_us in times_us}
    for day in days:
        assert rows_of({day}, rows) == {
            i for i, time_us in enumerate(times_us) if (day - FIRST).days == time_us // DAY_US
        }


def test_the_last_microsecond_of_a_day_is_its_own() -> None:
    assert days_of(rows_at([DAY_US - 1])) == {FIRST}
    assert days_of(rows_at([DAY_US - 1, DAY_US])) == {FIRST, FIRST + timedelta(days=1)}


@pytest.mark.parametrize(("count", "spans"), [(1, 1), (8, 8), (9, 1)])
def test_a_query_names_a_few_days_and_one_span_of_many(count: int, spans: int) -> None:
    days = [date(2026, 11, 1) + timedelta(days=2 * number) for number in range(count)]
    said = bounds(reversed(days))

    assert said.count(" OR ") == spans - 1
    assert said.startswith("l.event_time >= '2026-11-01 00:00:00+00' AND l.event_time < ")
    assert said.endswith(f"'{days[-1] + timedelta(days=1)} 00:00:00+00'")
