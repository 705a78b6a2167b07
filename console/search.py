"""
One page of a search: slices are looked at until the page is full, the range is exhausted, or the time is over.

So every search has an answer in about two seconds: what it found, how far it looked, and a cursor that goes on from there. Pages that are
followed from `next` to `next` hold every row once that was committed when the walk passed its place.
"""

import time

from collections.abc import Sequence
from dataclasses import dataclass

from console.cursor import Cursor
from console.ports import Session
from console.query import By, Order, Query, Span
from console.row import Row
from console.walk import BUDGET_S, Clock, Collecting, Walk, begin


@dataclass(frozen=True, slots=True)
class Page:
    """
    An answer to a search.

    Attributes:
        items: Rows in the order that was asked for.
        next: Where the next page begins; None: there is none, the range is exhausted.
        prev: The same for the page before; None: this is the first one.
        searched: The event times that were looked at for this page.
        took_s: How long that took.
    """

    items: Sequence[Row]
    next: str | None
    prev: str | None
    searched: Span
    took_s: float

    @property
    def complete(self) -> bool:
        """Whether the range is exhausted."""
        return self.next is None


async def search(query: Query, session: Session, clock: Clock = time.monotonic, *, budget_s: float = BUDGET_S) -> Page:
    """
    Return one page.

    Args:
        query: What is searched for.
        session: Where.
        clock: Monotonic seconds.
        budget_s: How long to look at most.

    Raises:
        BadRequestError: The cursor is none of this search.
        GoneError: It is of another database.
        StoreUnavailableError: PostgreSQL does not answer.
    """
    started = clock()
    cursor = await begin(query, session)
    walk = Walk(query, cursor)
    behind = walk.reversed()
    collecting = Collecting(walk, session, query.limit)
    await walk.go(collecting, budget_s, clock)
    rows = collecting.rows
    onward = None if walk.is_over else walk.cursor.write()
    if cursor.back:
        rows.reverse()
        return Page(rows, behind.write(), onward, looked_at(query, cursor, walk.cursor), clock() - started)
    is_first = cursor.at == ((cursor.high if query.order is Order.DESC else cursor.low), 0)
    previous = None if is_first else behind.write()
    return Page(rows, onward, previous, looked_at(query, cursor, walk.cursor), clock() - started)


def looked_at(query: Query, first: Cursor, last: Cursor) -> Span:
    """Return the event times between two places of a search; in the order of writing, all that it is about."""
    if query.by is By.STORED:
        return Span(first.begin, first.end)
    begin, end = sorted((first.at[0], last.at[0]))
    return Span(begin, end)
