from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.adapters.postgres_gates import Gate, gate_of

DAY = date(2026, 11, 23)


def an_error(constraint: str | None) -> Any:
    return SimpleNamespace(constraint_name=constraint)


@pytest.mark.parametrize(
    ("constraint", "gate"),
    [
        ("logs_default_without_20261123_20261124", Gate(DAY, DAY + timedelta(days=1))),
        ("logs_default_without_20261101_20261201", Gate(date(2026, 11, 1), date(2026, 12, 1))),
        # As the release before named it.
        ("logs_default_without_20261123", Gate(DAY, DAY + timedelta(days=1))),
        ("logs_check", None),
        ("part_bounds", None),
        (None, None),
    ],
)
def test_a_gate_is_known_by_the_name_in_the_error(constraint: str | None, gate: Gate | None) -> None:
    assert gate_of(an_error(constraint)) == gate


def test_a_gate_stops_its_days_and_no_other() -> None:
    of_a_day, of_a_month = Gate(DAY, DAY + timedelta(days=1)), Gate(date(2026, 11, 1), date(2026, 12, 1))
    of_all = Gate(DAY, date.max)

    assert of_a_day.is_of_a_day
    assert not of_a_month.is_of_a_day
    assert [n for n in range(-40, 40) if of_a_day.stops(DAY + timedelta(days=n))] == [0]
    assert [n for n in range(-40, 40) if of_a_month.stops(DAY + timedelta(days=n))] == list(range(-22, 8))
    assert of_all.stops(date.max)
    assert not of_all.stops(DAY - timedelta(days=1))
