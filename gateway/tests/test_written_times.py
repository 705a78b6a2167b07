"""Times as log shippers write them."""

import json

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.written_times import written_ns

NS = 1795703906_123456789
WHOLE = 1795703906 * 10**9


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        ("2026-11-26T14:38:26.123456789Z", NS),
        ("2026-11-26T14:38:26.123456Z", NS - 789),
        ("2026-11-26T14:38:26.123Z", NS - 456789),
        ("2026-11-26T14:38:26Z", WHOLE),
        ("2026-11-26 15:38:26,123+0100", NS - 456789),
        ("2026-11-26T14:38:26.1234567+00:00", NS - 89),
        (1795703906, WHOLE),
        (1795703906123, NS - 456789),
        (1795703906123456, NS - 789),
        (NS, NS),
        ("1795703906", WHOLE),
        ("1795703906.123456789", NS),
        (msgspec.Raw(b"1795703906.123456789"), NS),
        (Decimal("1795703906123.456789"), NS),
        (1795703906.5, WHOLE + 5 * 10**8),
        (str(NS), NS),
        ("1.795703906e9", WHOLE),
        (-5, -5 * 10**9),
        (0, 0),
        ("0", 0),
    ],
)
def test_the_unit_follows_from_the_size(value: Any, ns: int) -> None:
    assert written_ns(value) == (ns, "")


@pytest.mark.parametrize("text", ["2026-11-26 14:38:26", "2026-11-26T14:38:26.000", "2026-11-26 14:38:26,000000"])
def test_a_time_without_a_zone_is_utc_and_is_kept_as_written(text: str) -> None:
    assert written_ns(text) == (WHOLE, text)


@pytest.mark.parametrize("value", ["yesterday", "", None, True, [1], {"a": "b" * 99}, "26/Nov/2026", "1e99999", "٣"])
def test_what_is_no_time_is_kept_as_written(value: Any) -> None:
    ns, written = written_ns(value)
    assert ns is None
    assert written == (value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))


@given(time=st.datetimes(datetime(1974, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - hypothesis takes none with a zone
def test_rfc_3339_and_all_units_mean_the_same(time: datetime) -> None:
    us = (time.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // datetime.resolution
    assert written_ns(time.isoformat(timespec="microseconds") + "Z") == (us * 1000, "")
    assert (
        written_ns(us)
        == written_ns(us * 1000)
        == written_ns(msgspec.Raw(f"{us // 10**6}.{us % 10**6:06d}"))
        == (us * 1000, "")
    )


@given(value=st.text() | st.integers() | st.floats() | st.decimals())
def test_anything_is_a_time_or_kept(value: Any) -> None:
    ns, written = written_ns(value)
    assert (ns is not None) or written == str(value).strip() or written == str(value)
