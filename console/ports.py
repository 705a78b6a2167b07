"""
What the console needs of a database, and what may go wrong with it.

* BusyError             429: all connections for readers are in use
* StoreUnavailableError 503: PostgreSQL does not answer
* SliceTimedOutError    a statement took too long; what it looks at has to be smaller
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from console.filter import Filter
from console.query import By, Span
from console.row import Row
from shared.wire.problem import ProblemError, UnavailableError

Place = tuple[int, int]
MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
"""Rows are read in portions of about so many bytes at most, of one row at least."""


class BusyError(ProblemError):
    """There are as many readers as there may be; the same request may succeed after a pause."""

    status = 429

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class StoreUnavailableError(UnavailableError):
    """PostgreSQL does not answer, or refuses."""


class SliceTimedOutError(Exception):
    """A statement had no answer within its time."""


@dataclass(frozen=True, slots=True)
class Slice:
    """
    Rows that one statement looks for.

    Attributes:
        filter: What they must be.
        span: Where their event times must lie.
        by: What is walked.
        down: Whether to lower numbers.
        at: Where the walk is: what is walked, and the number of the last row that was there; 0: a border between rows. A border
            is in the slice if the walk goes up, and not in it if the walk goes down.
        stop: Where the slice ends; in it if the walk goes down, and not if it goes up.
        limit: So many rows at most.
        full: Whether long messages are needed to their ends.
    """

    filter: Filter
    span: Span
    by: By
    down: bool
    at: Place
    stop: int
    limit: int
    full: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a slice, in the order of the walk, and whether it has more."""

    rows: Sequence[Row]
    more: bool


class Group(StrEnum):
    """What counts are told apart by."""

    LEVEL = "level"
    SERVICE = "service"
    REGION = "region"
    LATE_REASON = "lateReason"
    STREAM = "stream"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows a bucket has of one group; `at` is its beginning, in microseconds since 1970."""

    at: int
    group: str
    rows: int


class Session(Protocol):
    """One reader's use of the database, of which it sees one tenant's rows. All of it may raise `StoreUnavailableError`."""

    @property
    def store(self) -> bytes:
        """Eight bytes that tell this database from others."""
        ...

    @property
    def is_alone(self) -> bool:
        """Whether the database has rows of the default tenant alone."""
        ...

    async def rows(self, wanted: Slice, timeout_s: float) -> Found:
        """
        Return the rows of a slice; fewer than there are if they are very long.

        Raises:
            SliceTimedOutError: It takes longer.
        """
        ...

    async def newest(self, timeout_s: float) -> int:
        """
        Return the highest number that a row has.

        Raises:
            SliceTimedOutError: It takes longer.
        """
        ...

    async def event(self, event_id: UUID, span: Span, timeout_s: float) -> Sequence[Row]:
        """
        Return the rows with this id, the newest first, at most eleven.

        Raises:
            SliceTimedOutError: It takes longer.
        """
        ...

    async def counts(
        self, wanted: Slice, group: Group, interval_us: int, timeout_s: float, *, origin_us: int = 0
    ) -> Sequence[Count]:
        """
        Count the rows of a slice.

        Args:
            wanted: The slice; its limit means nothing here.
            group: What is counted apart.
            interval_us: Of event time.
            timeout_s: See there.
            origin_us: Microseconds since 1970 at which a bucket begins.

        Raises:
            SliceTimedOutError: It takes longer.
        """
        ...

    async def services(self, limit: int, timeout_s: float) -> Sequence[str]:
        """
        Return the names of services, in some order; at most so many.

        Raises:
            SliceTimedOutError: It takes longer.
        """
        ...


class Store(Protocol):
    """The database."""

    def session(self, tenant: str | None) -> AbstractAsyncContextManager[Session]:
        """
        Lend a session to one reader.

        Args:
            tenant: Whose rows it sees; None: the default tenant's.

        Raises:
            BusyError: There is none, and none became free in time.
            StoreUnavailableError: PostgreSQL does not answer.
        """
        ...
