"""A place in a search that moves on, slice by slice, until the range is exhausted or the time is over."""

import time

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from console.cursor import Cursor, GoneError, read_cursor
from console.ports import MAX_PAGE_BYTES, Place, Session, Slice, SliceTimedOutError, StoreUnavailableError
from console.query import By, Order, Query, Span
from console.row import Row
from console.slices import BY_INDEX, BY_NUMBER, BY_TIME, Measure, Slicer
from shared.wire.problem import BadRequestError

BUDGET_S: Final = 2.0
"""An answer takes about so long at most."""
_LEAST_S: Final = 0.1
# So many times narrower is a slice that follows one that timed out.
_NARROWER: Final = 8

Clock = Callable[[], float]
Look = Callable[[Slice, float], Awaitable[Place | None]]
"""Looks at a slice within a time; returns None once it has seen all of it, else where it stopped."""


class Walk:
    """
    A place in a search.

    Args:
        query: What is searched for.
        cursor: Where to go on.

    Attributes:
        cursor: Where it is now.
    """

    def __init__(self, query: Query, cursor: Cursor) -> None:
        self.cursor = cursor
        self._query = query
        self._span = Span(cursor.begin, cursor.end)
        self.down = (query.order is Order.DESC) is not cursor.back
        self._slicer = Slicer(_measure(query), cursor.width or None)

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end."""
        return self.cursor.at == (self._end, 0)

    def reversed(self) -> Cursor:
        """Return where a walk to the other side would begin, so that it meets what this one has passed."""
        major, minor = self.cursor.at
        if minor:  # a row that was passed is not passed in the other direction
            minor += -1 if self.down else 1
        return replace(self.cursor, at=(major, minor), back=not self.cursor.back)

    def behind(self, row: Row) -> Place:
        """Return the place behind a row."""
        if self._query.by is By.TIME:
            return row.place
        return (row.seq if self.down else row.seq + 1, 0)

    async def go(self, look: Look, budget_s: float, clock: Clock = time.monotonic) -> bool:
        """
        Look at slices, and move on.

        Args:
            look: Looks at one, and tells where to stop.
            budget_s: When to stop anyhow. One slice is looked at in any case.
            clock: Monotonic seconds.

        Returns:
            Whether `look` has stopped it.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer; or it takes too long for the narrowest of all slices.
        """
        until = clock() + budget_s
        began = self.cursor.at
        while not self.is_over:
            left_s = until - clock()
            has_moved = self.cursor.at != began
            if left_s < _LEAST_S and (has_moved or left_s <= 0):
                break
            wanted = self._slice()
            started = clock()
            try:
                # Of the first slices, one that is too wide must leave time for a narrower one.
                stopped = await look(wanted, left_s if has_moved else max(left_s / 2, _LEAST_S))
            except SliceTimedOutError:
                if not self._narrow() and not has_moved:
                    raise StoreUnavailableError(
                        "PostgreSQL takes too long for the least of steps; ask again when it has less to do"
                    ) from None
                continue
            if stopped is not None:
                self._move(stopped)
                return True
            self._slicer.took(clock() - started)
            self._move((wanted.stop, 0))
        return False

    @property
    def _end(self) -> int:
        return self.cursor.low if self.down else self.cursor.high

    def _slice(self) -> Slice:
        major, minor = self.cursor.at
        # Of a microsecond whose rows were passed in part, the rest is in the next slice.
        stop = self._slicer.next(major + 1 if self.down and minor else major, self._end, down=self.down)
        return Slice(
            self._query.filter, self._span, self._query.by, self.down, self.cursor.at, stop, 0, self._query.full
        )

    def _move(self, at: Place) -> None:
        self.cursor = replace(self.cursor, at=at, width=self._slicer.width)

    def _narrow(self) -> bool:
        is_narrower = self._slicer.narrow(_NARROWER)
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
        low, high = 0, await _newest(session) + 1
    at = high if query.order is Order.DESC else low
    span = query.span
    return Cursor(session.store, query.fingerprint, span.begin, span.end, low, high, (at, 0), back=False, width=0)


async def _newest(session: Session) -> int:
    try:
        return await session.newest(BUDGET_S)
    except SliceTimedOutError:
        raise StoreUnavailableError("PostgreSQL takes too long to find the newest row; retry after a pause") from None


class Collecting:
    """
    A `Look` that collects rows until it has enough.

    Args:
        walk: Asks for them.
        session: Where they are.
        limit: So many at most.
        peek: Having enough, look whether there is one more; else stop.

    Attributes:
        rows: What it has, in the order of the walk.
    """

    def __init__(self, walk: Walk, session: Session, limit: int, *, peek: bool = True) -> None:
        self._walk = walk
        self._session = session
        self._limit = limit
        self._peek = peek
        self.rows: list[Row] = []
        self._bytes = 0

    async def __call__(self, wanted: Slice, timeout_s: float) -> Place | None:
        """Look at a slice."""
        found = await self._session.rows(replace(wanted, limit=self._limit - len(self.rows)), timeout_s)
        self.rows += found.rows
        self._bytes += sum(len(row.message) + len(row.attributes) for row in found.rows)
        if not found.more:
            has_enough = self._bytes >= MAX_PAGE_BYTES or (len(self.rows) >= self._limit and not self._peek)
            return (wanted.stop, 0) if has_enough else None
        return self._walk.behind(found.rows[-1]) if found.rows else wanted.at


def _measure(query: Query) -> Measure:
    if query.by is By.STORED:
        return BY_NUMBER
    return BY_INDEX if query.filter.is_indexed else BY_TIME
