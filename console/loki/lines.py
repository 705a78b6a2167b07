"""
Lines of a range of nanoseconds, so that a client that pages by time alone gets each of them once.

Event times have microseconds. The last three digits of a line's time are the rank of its row among the wanted ones of this
microsecond, by the order of writing. A row that is written later has a higher rank, so no time changes. Rows beyond the first
thousand of one microsecond share the last rank, and a page never ends between them.
"""

import time

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from console.filter import Filter
from console.ports import Session
from console.query import Order, Query, Span
from console.row import Row
from console.walk import Clock, Collecting, Walk, begin
from shared.event.times import epoch_us
from shared.wire.problem import BadRequestError

BUDGET_S: Final = 10.0
"""A search takes about so long at most; its statements take 2 s each."""
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_OF_ONE_MICROSECOND: Final = 10_000
_RANKS: Final = 1000
# At once, beyond what is wanted.
_LEAST: Final = 100


@dataclass(frozen=True, slots=True)
class Range:
    """Nanoseconds since 1970; `end` is not in it."""

    begin: int
    end: int

    @property
    def span(self) -> Span:
        """The microseconds that it touches."""
        return Span(self.begin // _RANKS, -(-self.end // _RANKS))


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: its time in nanoseconds, and its row."""

    ns: int
    row: Row


@dataclass(frozen=True, slots=True)
class Lines:
    """
    An answer to a query for lines.

    Attributes:
        entries: In the order that was asked for.
        reached_us: Where the search was when its time was over; None: it found all that was asked for.
    """

    entries: Sequence[Entry]
    reached_us: int | None = None


async def find_lines(
    session: Session,
    wanted: Filter,
    within: Range,
    order: Order,
    limit: int,
    *,
    clock: Clock = time.monotonic,
    budget_s: float = BUDGET_S,
) -> Lines:
    """
    Find the first lines of a range.

    Args:
        session: Where to look.
        wanted: Which ones.
        within: The range.
        order: From which end of it.
        limit: How many; more only of those with one time.
        clock: Monotonic seconds.
        budget_s: How long to look at most.

    Raises:
        BadRequestError: The lines are too long to be answered at once, or too many have one time.
        StoreUnavailableError: PostgreSQL does not answer.
    """
    query = Query(within.span, wanted, order, full=True)
    walk = Walk(query, await begin(query, session))
    until = clock() + budget_s
    found: list[Entry] = []
    rows: list[Row] = []
    size = 0
    while not walk.is_over and len(found) < limit:
        if (left_s := until - clock()) <= 0:
            break
        collecting = Collecting(walk, session, max(limit + 1 - len(found), _LEAST), peek=False)
        await walk.go(collecting, left_s, clock)
        size += sum(len(row.message) + len(row.attributes) for row in collecting.rows)
        if size > MAX_BYTES:
            raise BadRequestError(f"the answer has over {MAX_BYTES >> 20} MiB; ask for fewer lines at once, with limit")
        rows += collecting.rows
        whole, rows = _split(rows, walk)
        if len(rows) > MAX_OF_ONE_MICROSECOND:
            raise BadRequestError(
                f"over {MAX_OF_ONE_MICROSECOND} lines have one time; GET /api/logs pages through them by its cursor"
            )
        found += (entry for entry in ranked(whole, order) if within.begin <= entry.ns < within.end)
    reached_us = None if walk.is_over or len(found) >= limit else _whole_until(walk, rows)
    return Lines(found[: _end_of_page(found, limit)], reached_us)


def ranked(rows: Sequence[Row], order: Order) -> Iterator[Entry]:
    """Yield rows as lines: all rows of some microseconds, in this order."""
    for us, group in groupby(rows, key=lambda row: epoch_us(row.event_time)):
        same = list(group)
        ranks = range(len(same)) if order is Order.ASC else range(len(same) - 1, -1, -1)
        for rank, row in zip(ranks, same, strict=True):
            yield Entry(us * _RANKS + min(rank, _RANKS - 1), row)


def _split(rows: list[Row], walk: Walk) -> tuple[list[Row], list[Row]]:
    """Return the rows of microseconds that the walk has passed, and those of one in which it stands."""
    major, minor = walk.cursor.at
    here = len(rows)
    while minor and here and epoch_us(rows[here - 1].event_time) == major:
        here -= 1
    return rows[:here], rows[here:]


def _whole_until(walk: Walk, rows: Sequence[Row]) -> int:
    """Return the last border of a microsecond that the walk has passed."""
    major = walk.cursor.at[0]
    return major + 1 if rows and walk.down else major


def _end_of_page(entries: Sequence[Entry], limit: int) -> int:
    end = limit
    while 0 < end < len(entries) and entries[end].ns == entries[end - 1].ns:
        end += 1
    return end
