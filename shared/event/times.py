"""
Times as clients write them, and as they are kept: aware UTC with microseconds, in the years 1970 to 2200. Pure.

What is finer than a microsecond is cut off, always the same way, so a retry keeps its identity.
"""

import re

from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_TIME: Final = EPOCH
LAST_TIME: Final = datetime(2201, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)

_MICROSECOND: Final = timedelta(microseconds=1)
_LAST_US: Final = (LAST_TIME - EPOCH) // _MICROSECOND
_WRITTEN: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ]((?:[01]\d|2[0-3]):[0-5]\d)(?::([0-5]\d|60)(?:[.,](\d+))?)?"
    r" ?(?:[Zz]|UTC|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)",
    re.ASCII,
)
_NUMBER: Final = re.compile(r"\d{1,40}(?:\.\d{0,40})?(?:[eE]\+?\d{1,2})?", re.ASCII)
# Epoch milliseconds below this lie before 1973-03-03. In practice such a number is epoch *seconds*, and taking it would
# silently store the event under January 1970. The same bound tells milliseconds, microseconds and nanoseconds apart: of a
# number above it no two readings lie before 2201.
_SMALLEST_EPOCH: Final = 100_000_000_000
_UNITS: Final = ((Decimal(1000), 1), (Decimal(1), 1000), (Decimal("0.001"), 1_000_000))
# Numbers come with as many digits as a client likes.
_CUT: Final = Context(prec=60, rounding=ROUND_DOWN, traps=[])
_OUT_OF_RANGE: Final = "must lie in the years 1970 to 2200"


def epoch_us(time: datetime) -> int:
    """Return an aware `time` as microseconds since 1970."""
    return (time - EPOCH) // _MICROSECOND


def from_epoch_us(microseconds: int) -> datetime:
    """Return the UTC time `microseconds` after 1970."""
    return EPOCH + microseconds * _MICROSECOND


def format_time(time: datetime) -> str:
    """Return a UTC `time` as RFC 3339 with exactly six fractional digits and `Z`."""
    return time.isoformat(timespec="microseconds")[:-6] + "Z"


def parse_time(value: object) -> datetime:
    """
    Return a time as a client may write it: RFC 3339 with its variants, or a number since 1970, also as text.

    Numbers are milliseconds, or microseconds or nanoseconds where nothing else can be meant. A time without a zone is
    refused: its meaning is not certain.

    Raises:
        ValueError: It is none, or lies outside of the years that are taken; says what to change.
    """
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            return _of_number(Decimal(value))
        return _of_text(value)
    if isinstance(value, float) and value - value == 0:
        return _of_number(Decimal(repr(value)))
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite():
        return _of_number(Decimal(value))
    raise ValueError("must be an RFC 3339 string or epoch milliseconds")


def _of_text(value: str) -> datetime:
    if not (parts := _WRITTEN.fullmatch(value)):
        msg = "must be RFC 3339 with a time zone, like 2026-11-23T12:00:00.123456Z, or epoch milliseconds"
        raise ValueError(msg)
    day, minute, second, fraction, sign, hours, minutes = parts.groups()
    try:
        # The second after :59 is written :60 when it is a leap second, and is no second of its own in any clock here.
        time = datetime.fromisoformat(f"{day}T{minute}:00+00:00") + timedelta(
            seconds=int(second or 0), microseconds=int((fraction or "")[:6].ljust(6, "0"))
        )
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
            time += offset if sign == "-" else -offset
    except (ValueError, OverflowError):
        raise ValueError("is no date that exists") from None
    if not FIRST_TIME <= time <= LAST_TIME:
        raise ValueError(_OUT_OF_RANGE)
    return time


def _of_number(value: Decimal) -> datetime:
    if 0 < value < _SMALLEST_EPOCH:
        raise ValueError("looks like epoch seconds; send epoch milliseconds or RFC 3339")
    if value == 0:
        return EPOCH
    for microseconds, scale in _UNITS:
        if _SMALLEST_EPOCH * scale <= value:
            us = _CUT.multiply(value, microseconds)
            if us < _LAST_US + 1:
                return from_epoch_us(int(us))
    raise ValueError(_OUT_OF_RANGE)
