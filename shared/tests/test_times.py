"""Times as clients write them."""

from datetime import timedelta
from decimal import Decimal

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.event.times import LAST_TIME, epoch_us, format_time, from_epoch_us, parse_time
from shared.tests import strategies

NOON = "2026-11-23T12:00:00.000000Z"
MS_1973 = 100_000_000_000


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23t12:00:00z", NOON),
        ("2026-11-23 12:00:00Z", NOON),
        ("2026-11-23 12:00:00 +00:00", NOON),
        ("2026-11-23 12:00:00 UTC", NOON),
        ("2026-11-23T12:00Z", NOON),
        ("2026-11-23T13:00+01:00", NOON),
        ("2026-11-23T12:00:00+0000", NOON),
        ("2026-11-23T12:00:00-00:00", NOON),
        ("2026-11-23 12:00:00+00", NOON),
        ("2026-11-23T17:30:00+05:30", NOON),
        ("2026-11-23T17:30:00+0530", NOON),
        ("2026-11-23T06:30:00-05:30", NOON),
        ("2026-11-23T12:00:00.1Z", "2026-11-23T12:00:00.100000Z"),
        ("2026-11-23T12:00:00,123Z", "2026-11-23T12:00:00.123000Z"),
        ("2026-11-23T12:00:00.1234567Z", "2026-11-23T12:00:00.123456Z"),
        ("2026-11-23T12:00:00.123456999999999Z", "2026-11-23T12:00:00.123456Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        ("1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.000000Z"),
        ("2200-12-31T23:59:59.999999Z", "2200-12-31T23:59:59.999999Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.250000Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00.000000Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
        (1795435200123, "2026-11-23T12:00:00.123000Z"),
        (MS_1973, "1973-03-03T09:46:40.000000Z"),
        (1795435200123456, "2026-11-23T12:00:00.123456Z"),
        (1795435200123456789, "2026-11-23T12:00:00.123456Z"),
        (1.795435200123e12, "2026-11-23T12:00:00.123000Z"),
        (Decimal("1795435200123.4569999999999999999999999999999"), "2026-11-23T12:00:00.123456Z"),
        (Decimal("1795435200123456.9"), "2026-11-23T12:00:00.123456Z"),
        ("1795435200123", "2026-11-23T12:00:00.123000Z"),
        ("1795435200123.5", "2026-11-23T12:00:00.123500Z"),
        ("1795435200123456", "2026-11-23T12:00:00.123456Z"),
        ("1795435200123456789", "2026-11-23T12:00:00.123456Z"),
        ("1.795435200123e12", "2026-11-23T12:00:00.123000Z"),
    ],
)
def test_times_are_read_as_utc_with_microseconds(written: object, meaning: str) -> None:
    assert format_time(parse_time(written)) == meaning


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("2026-11-23T12:00:00", "with a time zone"),
        ("2026-11-23 12:00:00,123", "with a time zone"),
        ("2026-11-23", "must be RFC 3339"),
        ("20261123T120000Z", "must be RFC 3339"),
        ("2026-11-23T24:00:00Z", "must be RFC 3339"),
        ("2026-11-23T12:00:61Z", "must be RFC 3339"),
        ("2026-11-23T12:60:00Z", "must be RFC 3339"),
        ("2026-11-23T12:00:00 CET", "must be RFC 3339"),
        ("2026-11-23T12:00:00.Z", "must be RFC 3339"),
        ("2026-11-23T12:00,5Z", "must be RFC 3339"),
        ("2026-11-23T12:00:00+24:00", "must be RFC 3339"),
        (" 2026-11-23T12:00:00Z", "must be RFC 3339"),
        ("2026-11-23T12:00:00Z\n", "must be RFC 3339"),
        ("\uff12026-11-23T12:00:00Z", "must be RFC 3339"),
        ("\uff11795435200123", "must be RFC 3339"),
        ("-1795435200123", "must be RFC 3339"),
        ("2026-02-29T00:00:00Z", "is no date that exists"),
        ("2200-12-31T23:59:60Z", "must lie in the years"),
        (1795435200, "looks like epoch seconds"),
        ("1795435200", "looks like epoch seconds"),
        (Decimal("1795435200.123"), "looks like epoch seconds"),
        (MS_1973 - 1, "looks like epoch seconds"),
        (10**13, "must lie in the years"),
        (10**30, "must lie in the years"),
        (10**400, "must lie in the years"),
        (-1, "must lie in the years"),
        (True, "must be an RFC 3339 string"),
        (None, "must be an RFC 3339 string"),
        (float("nan"), "must be an RFC 3339 string"),
        (float("inf"), "must be an RFC 3339 string"),
        (Decimal("NaN"), "must be an RFC 3339 string"),
    ],
)
def test_what_is_not_certainly_a_time_is_refused_with_what_to_change(written: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_time(written)


@given(st.datetimes(from_epoch_us(MS_1973 * 1000).replace(tzinfo=None), LAST_TIME.replace(tzinfo=None)), st.data())
def test_a_number_means_one_time_whichever_unit_it_is_in(naive: object, data: st.DataObject) -> None:
    us = epoch_us(parse_time(f"{naive}Z".replace(" ", "T")))
    digits = data.draw(st.text("0123456789", max_size=30))

    assert {
        parse_time(written)
        for written in (
            us,
            str(us),
            us * 1000,
            f"{us}.{digits}",
            f"{us * 1000 + 999}",
            Decimal(us).scaleb(-3),
            f"{us // 1000}.{us % 1000:03}{digits}",
        )
    } == {from_epoch_us(us)}


@given(strategies.times, st.integers(0, 59), st.integers(0, 59))
def test_a_leap_second_is_the_second_after(time: object, hour_minutes: int, minutes: int) -> None:
    # Whatever minute of whatever day it is written in.
    start = parse_time("2016-12-31T00:00Z") + timedelta(minutes=hour_minutes * 24 + minutes)

    assert parse_time(f"{start:%Y-%m-%dT%H:%M}:60Z") == start + timedelta(minutes=1)
