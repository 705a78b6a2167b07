"""
Rows into the store: in one transaction, or in as many as it takes.

Five things go wrong, and each has its answer:

* the store is away: retried until done;
* it does not answer in time: tried by half;
* it refuses a row for good: the row is searched for and set aside;
* it has another event with the identity of a row: the row is set aside with what differs;
* another session has locked a row's day: the row waits.

Progress is written with the last of the rows; until then the progress of the batch before counts.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from consumer.aside import Aside
from consumer.envelope import Partition, Row
from consumer.letters import letter_of
from consumer.metrics import ConsumerMetrics
from consumer.outages import Outages
from consumer.ports import (
    Claim,
    EventStore,
    Progress,
    RowsConflictError,
    RowsMustWaitError,
    RowsRefusedError,
    StoreTimedOutError,
    StoreUnavailableError,
)
from consumer.waiting import WaitingRows

log: Final = structlog.stdlib.get_logger(__name__)
WAITING: Final = "waiting"  # rows of days that cannot be written to


class Transactions:
    """
    Stores rows under one claim.

    Args:
        claim: The right to the partitions.
        store: Where rows go.
        aside: Where rows go that can never be stored.
        waiting: Rows that cannot be stored now.
        metrics: Counters.
        outages: Shared with `/ready`.
        batch_max: Rows in one transaction.
        pause: Sleeps; replaced in tests.

    Attributes:
        written: The progress that the store has.
    """

    def __init__(
        self,
        *,
        claim: Claim,
        store: EventStore,
        aside: Aside,
        waiting: WaitingRows,
        metrics: ConsumerMetrics,
        outages: Outages,
        batch_max: int,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self.written: dict[Partition, Progress] = dict(claim.progress)
        self._generation = claim.generation
        self._store = store
        self._aside = aside
        self._waiting = waiting
        self._retries = metrics.store_retries
        self._outages = outages
        self._batch_max = self._at_once = batch_max
        self._pause = pause

    async def store(
        self, rows: Sequence[Row], progress: Mapping[Partition, Progress], encoded: bytes | None = None
    ) -> tuple[Sequence[Row], Collection[int]]:
        """
        Store rows; set those aside that are refused or have the identity of another event, and let those wait that have to.

        A transaction without an answer in time is tried by half, and by half again: so many rows may be more than the store can
        do. After each success twice as many are tried.

        Returns:
            The rows that are stored, and the indices of those among them that were new.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        stored: list[Row] = []
        new: set[int] = set()
        while True:
            if self._waiting.days:
                rows, encoded = self._waiting.keep_back(rows), None
            try:
                count, found = await self._outages.retry_until_done(
                    "postgres",
                    partial(self._store_some, rows, progress, encoded),
                    on_failure=self._retries.inc,
                    pause=self._pause,
                )
            except RowsMustWaitError as exc:
                self._waiting.add([rows[index] for index in exc.rows])
                self._outages.begin(WAITING, StoreUnavailableError(f"{self._waiting}: {exc}"))
                rows, encoded = [row for index, row in enumerate(rows) if index not in exc.rows], None
                continue
            except RowsRefusedError as exc:
                part = rows[: self._at_once]
                found_in, new_in = await self._find_refused(part, exc)
                new.update(len(stored) + index for index in new_in)
                stored += found_in
                rows, encoded = rows[len(part) :], None
                continue
            except RowsConflictError as exc:
                differs = exc.differs
            else:
                if count == len(rows) and not stored:
                    return rows, found
                new.update(len(stored) + index for index in found)
                stored += rows[:count]
                if count == len(rows):
                    return stored, new
                rows, encoded = rows[count:], None
                continue
            # Before the others are stored: the offsets of all are written with them.
            await self._aside.put(
                [
                    letter_of(
                        rows[index],
                        "conflict",
                        f"another event has its eventId and timestamp; {', '.join(what)} differ",
                    )
                    for index, what in differs.items()
                ]
            )
            rows, encoded = [row for index, row in enumerate(rows) if index not in differs], None

    async def _store_some(
        self, rows: Sequence[Row], progress: Mapping[Partition, Progress], encoded: bytes | None
    ) -> tuple[int, Collection[int]]:
        """Store as many of the first rows as the store can do in time; return how many, and the new ones."""
        part = rows[: self._at_once]
        is_all = len(part) == len(rows)
        # Until all are stored, the progress as it was; and at no time one that has passed what waits by now.
        known = self._waiting.hold_back(progress if is_all else self.written)
        try:
            new = await self._store.store(part, known, self._generation, encoded if is_all else None)
        except StoreTimedOutError:
            if part:
                self._at_once = max(1, len(part) // 2)
            raise
        self._at_once = min(2 * self._at_once, self._batch_max)
        return len(part), new

    async def _find_refused(self, rows: Sequence[Row], exc: RowsRefusedError) -> tuple[list[Row], set[int]]:
        """Set the rows aside that the store refuses, and store the others; return as `store`."""
        if len(rows) == 1:
            await self._aside.put([letter_of(rows[0], "refused_by_store", str(exc))])
            return [], set()
        log.warning("postgres refuses a batch, looking for the row", rows=len(rows), error=str(exc))
        stored: list[Row] = []
        new: set[int] = set()
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            # With the progress as it was, so that a stale generation is refused here too.
            found, new_in = await self.store(half, dict(self.written))
            new.update(len(stored) + index for index in new_in)
            stored += found
        return stored, new
