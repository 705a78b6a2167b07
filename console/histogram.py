"""How many events there were, by time: counted slice by slice, like a search."""

import re
import time

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.ports import Group, Place, Session, Slice
from console.query import Query, Span
from console.search import looked_at
from console.slices import DAY_US, MINUTE_US, SECOND_US
from console.walk import BUDGET_S, Clock, Walk, begin
from shared.wire.problem import BadRequestError

MAX_BUCKETS: Final = 1000
AUTO: Final = "auto"
OTHERS: Final = "(others)"
"""Of what is counted by service, those that are not among the most frequent ones."""
_AUTO_BUCKETS: Final = 120
_MAX_GROUPS: Final = 20
# So many services in each bucket would take memory without bounds.
_MAX_COUNTS: Final = 100_000
_HOUR_US: Final = 60 * MINUTE_US
_UNITS: Final = {"ms": 1000, "s": SECOND_US, "m": MINUTE_US, "h": _HOUR_US, "d": DAY_US}
_WRITTEN: Final = re.compile(r"([1-9]\d{0,8})(ms|s|m|h|d)", re.ASCII)
_USUAL: Final = (
    "10ms", "100ms", "1s", "2s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "15m", "30m",
    "1h", "2h", "3h", "6h", "12h", "1d", "2d", "7d", "14d", "30d", "90d", "365d", "3650d",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interval:
    """The width of a bucket: as it is written, and in microseconds."""

    written: str
    us: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """
    Counts of events.

    Attributes:
        buckets: Counts by group, by the beginning of the bucket in microseconds since 1970; empty ones are left out.
        next: Where to go on counting, what comes then has to be added; None: the range is exhausted.
        searched: The event times that were looked at.
        took_s: How long that took.
    """

    span: Span
    interval: Interval
    buckets: Mapping[int, Mapping[str, int]]
    next: str | None
    searched: Span
    took_s: float


def parse_interval(text: str, span: Span) -> Interval:
    """
    Read the width of a bucket.

    Raises:
        BadRequestError: It is none, or makes too many buckets.
    """
    width = span.end - span.begin
    if text == AUTO:
        found = (Interval(usual, _us(usual)) for usual in _USUAL)
        return next(one for one in found if width <= _AUTO_BUCKETS * one.us or one.written == _USUAL[-1])
    if not _WRITTEN.fullmatch(text):
        raise BadRequestError(f"interval must be auto, or like 500ms, 10s, 1m, 2h, 1d; and is {text[:64]!r}")
    us = _us(text)
    # The first and the last bucket may lie in the range with a part of theirs.
    count = (span.end - 1) // us - span.begin // us + 1
    if count > MAX_BUCKETS:
        raise BadRequestError(
            f"interval={text} makes {count} buckets, and {MAX_BUCKETS} may be; write a longer one, or auto"
        )
    return Interval(text, us)


async def histogram(
    query: Query,
    interval: Interval,
    group: Group,
    session: Session,
    clock: Clock = time.monotonic,
    *,
    budget_s: float = BUDGET_S,
) -> Histogram:
    """
    Count events.

    Args:
        query: Which ones.
        interval: The width of a bucket.
        group: What is counted apart.
        session: Where.
        clock: Monotonic seconds.
        budget_s: How long to count at most.

    Raises:
        BadRequestError: The cursor is none of this count.
        GoneError: It is of another database.
        StoreUnavailableError: PostgreSQL does not answer.
    """
    started = clock()
    cursor = await begin(query, session)
    walk = Walk(query, cursor)
    counts: dict[tuple[int, str], int] = {}

    async def look(wanted: Slice, timeout_s: float) -> Place | None:
        for count in await session.counts(wanted, group, interval.us, timeout_s):
            key = count.at, count.group
            counts[key] = counts.get(key, 0) + count.rows
        if len(counts) > _MAX_COUNTS:
            _fold(counts)
        return None

    await walk.go(look, budget_s, clock)
    onward = None if walk.is_over else walk.cursor.write()
    span = Span(cursor.begin, cursor.end)
    return Histogram(span, interval, _buckets(counts), onward, looked_at(query, cursor, walk.cursor), clock() - started)


def _fold(counts: dict[tuple[int, str], int]) -> None:
    """Leave the most frequent groups apart, and make one of all others."""
    totals: dict[str, int] = {}
    for (_, name), rows in counts.items():
        totals[name] = totals.get(name, 0) + rows
    ranked = sorted(totals.keys() - {OTHERS}, key=lambda name: (-totals[name], name))
    rare = set(ranked[_MAX_GROUPS:])
    for at, name in [key for key in counts if key[1] in rare]:
        counts[at, OTHERS] = counts.get((at, OTHERS), 0) + counts.pop((at, name))


def _buckets(counts: dict[tuple[int, str], int]) -> dict[int, dict[str, int]]:
    _fold(counts)
    buckets: dict[int, dict[str, int]] = {}
    for (at, name), rows in sorted(counts.items()):
        buckets.setdefault(at, {})[name] = rows
    return buckets


def _us(written: str) -> int:
    found = _WRITTEN.fullmatch(written)
    return int(found[1]) * _UNITS[found[2]] if found else 0
