"""
One page of a search: slices are looked at until the page is full, the range is exhausted, or the time is over.

So every search has an answer in about two seconds: what it found, how far it looked, and a cursor that goes on from there. Pages that are
followed from `next` to `next` hold every row once that was committed when the walk passed its place.
"""

import time

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from console.cursor import Cursor, GoneError, read_cursor
from console.ports import Place, Session, Slice, SliceTimedOutError, StoreUnavailableError
from console.query import By, Order, Query, Span
from console.row import Row
from console.slices import BY_INDEX, BY_NUMBER, BY_TIME, Measure, Slicer
from shared.wire.problem import BadRequestError

BUDGET_S: Final = 2.0
"""A page takes about so long at most."""
_LEAST_S: Final = 0.1

Clock = Callable[[], float]


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


class Walk:
    """
    A place in a search that moves on.

    Args:
        query: What is searched for.
        cursor: Where to go on.
    """

    def __init__(self, query: Query, cursor: Cursor) -> None:
        self.cursor = cursor
        self._query = query
        self._span = Span(cursor.begin, cursor.end)
        self._down = (query.order is Order.DESC) is not cursor.back
        self._slicer = Slicer(self._measure(), cursor.width or None)

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end."""
        return self.cursor.at == (self._end, 0)

    def reversed(self) -> Cursor:
        """Return where a walk to the other side would begin, so that it meets what this one has passed."""
        major, minor = self.cursor.at
        if minor:  # a row that was passed is not passed in the other direction
            minor += -1 if self._down else 1
        return replace(self.cursor, at=(major, minor), back=not self.cursor.back)

    async def go(
        self, session: Session, limit: int, budget_s: float, clock: Clock = time.monotonic, *, full: bool | None = None
    ) -> tuple[list[Row], bool]:
        """
        Collect rows, and move on behind them.

        Args:
            session: Where to look.
            limit: How many rows at most.
            budget_s: When to stop. One slice is looked at in any case.
            clock: Monotonic seconds.
            full: Whether messages are needed to their ends; as the query says by default.

        Returns:
            The rows, in the order of the walk, and whether anything was passed.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer; or it takes too long for the narrowest of all slices.
        """
        rows: list[Row] = []
        until = clock() + budget_s
        began = self.cursor.at
        while not self.is_over:
            left_s = until - clock()
            has_moved = self.cursor.at != began
            if left_s < _LEAST_S and (has_moved or left_s <= 0):
                break
            wanted = self._slice(limit - len(rows), self._query.full if full is None else full)
            started = clock()
            try:
                # Of the first slices, one that is too wide must leave time for a narrower one.
                found = await session.rows(wanted, left_s if has_moved else max(left_s / 2, _LEAST_S))
            except SliceTimedOutError:
                if not self._narrow() and not has_moved:
                    raise StoreUnavailableError(
                        "PostgreSQL takes too long for the least of steps; ask again when it has less to do, or for fewer rows"
                    ) from None
                continue
            rows += found.rows
            if found.more:
                if found.rows:
                    self._move(self._behind(found.rows[-1]))
                break
            self._slicer.took(clock() - started)
            self._move((wanted.stop, 0))
        return rows, self.cursor.at != began

    @property
    def _end(self) -> int:
        return self.cursor.low if self._down else self.cursor.high

    def _measure(self) -> Measure:
        if self._query.by is By.STORED:
            return BY_NUMBER
        return BY_INDEX if self._query.filter.is_indexed else BY_TIME

    def _slice(self, limit: int, full: bool) -> Slice:  # noqa: FBT001 - of its own class alone
        major, minor = self.cursor.at
        # Of a microsecond whose rows were passed in part, the rest is in the next slice.
        stop = self._slicer.next(major + 1 if self._down and minor else major, self._end, down=self._down)
        return Slice(self._query.filter, self._span, self._query.by, self._down, self.cursor.at, stop, limit, full)

    def _behind(self, row: Row) -> Place:
        if self._query.by is By.TIME:
            return row.place
        return (row.seq if self._down else row.seq + 1, 0)

    def _move(self, at: Place) -> None:
        self.cursor = replace(self.cursor, at=at, width=self._slicer.width)

    def _narrow(self) -> bool:
        is_narrower = self._slicer.narrow(8)
        self._move(self.cursor.at)
        return is_narrower


async def begin(query: Query, session: Session) -> Cursor:
    """
    Return where the search begins: at its cursor, or at the border of its range.

    Raises:
        BadRequestError: The cursor is none of this search.
        GoneError: It is of another database.
        StoreUnavailableError: PostgreSQL does not answer.
    """
    if query.cursor is not None:
        cursor = read_cursor(query.cursor)
        if cursor.fingerprint != query.fingerprint:
            raise BadRequestError(
                "cursor is of another search; give it with the same filters, order and range, or leave it out"
            )
        if cursor.store != session.store:
            raise GoneError("cursor is of another database, which was replaced or set back; begin a new search")
        return cursor
    low, high = query.span.begin, query.span.end
    if query.by is By.STORED:
        low, high = 0, await session.newest(BUDGET_S) + 1
    at = high if query.order is Order.DESC else low
    return Cursor(
        session.store, query.fingerprint, query.span.begin, query.span.end, low, high, (at, 0), back=False, width=0
    )


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
    rows, _ = await walk.go(session, query.limit, budget_s, clock)
    onward = None if walk.is_over else walk.cursor.write()
    if cursor.back:
        rows.reverse()
        return Page(rows, behind.write(), onward, _looked_at(query, cursor, walk.cursor), clock() - started)
    is_first = cursor.at == ((cursor.high if query.order is Order.DESC else cursor.low), 0)
    previous = None if is_first else behind.write()
    return Page(rows, onward, previous, _looked_at(query, cursor, walk.cursor), clock() - started)


def _looked_at(query: Query, first: Cursor, last: Cursor) -> Span:
    if query.by is By.STORED:
        return Span(first.begin, first.end)
    begin, end = sorted((first.at[0], last.at[0]))
    return Span(begin, end)
