"""Days of rows: which there are in a batch, which of its rows have them, and how a query names them. Pure."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta
from operator import itemgetter
from typing import Final

from consumer.envelope import Envelope, Row
from shared.event.model import EPOCH

_envelope: Final = itemgetter(Row._fields.index("envelope"))
_time: Final = itemgetter(Envelope._fields.index("time_us"))
_DAY_US: Final = 86_400_000_000
_MOST_SPANS: Final = 8


def days_of(rows: Sequence[Row]) -> set[date]:
    """Return the days that the rows happened on."""
    times_us = list(map(_time, map(_envelope, rows)))
    first, last = min(times_us, default=0) // _DAY_US, max(times_us, default=-1) // _DAY_US
    numbers = range(first, last + 1) if last - first <= 1 else {time_us // _DAY_US for time_us in times_us}
    return {EPOCH.date() + timedelta(days=number) for number in numbers}


def rows_of(days: set[date], rows: Sequence[Row]) -> Collection[int]:
    """Return the indices of the rows that happened on these days."""
    numbers = {(day - EPOCH.date()).days for day in days}
    return {index for index, row in enumerate(rows) if row.envelope.time_us // _DAY_US in numbers}


def bounds(days: Iterable[date]) -> str:
    """Return the condition, of a table `l`, that keeps a query to the partitions of these days, for others may be locked."""
    rising = sorted(days)
    spans = [(day, day) for day in rising] if len(rising) <= _MOST_SPANS else [(rising[0], rising[-1])]
    return " OR ".join(
        f"l.event_time >= '{first} 00:00:00+00' AND l.event_time < '{last + timedelta(days=1)} 00:00:00+00'"
        for first, last in spans
    )
