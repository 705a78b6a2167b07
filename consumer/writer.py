"""
One batch to where it belongs: dedup, store, remember, in this order, which is the guarantee.

* Stored before remembered: a crash between the two leaves an id that PostgreSQL knows and the caches do not.
* Stored before the offset moves: a crash between the two leads to a redelivery, which is recognised.
* Dead letters are durable before the offset moves past them.

`write` and `remember` are each one call at a time. A writer of which one was cancelled or failed is thrown away.
"""

import asyncio

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog

from consumer.aside import Aside
from consumer.envelope import Envelope, Lateness, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.letters import letter_of
from consumer.memory import Memory, Stored
from consumer.metrics import ConsumerMetrics
from consumer.outages import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outages
from consumer.pipeline import Batch, bytes_of
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
from consumer.waiting import DAY_US, WaitingRows

log: Final = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")
WAITING: Final = "waiting"  # rows of days that cannot be written to
_WAITING_MAX_BYTES: Final = 16 * 1024 * 1024


class Writer:
    """
    Writes the batches of one assignment.

    Args:
        claim: The right to its partitions.
        memory: What recognises duplicates.
        store: Where rows go.
        aside: Where the rest goes.
        metrics: Counters.
        outages: Shared with `/ready`.
        lateness: Says how late an event is.
        now_us: Clock, microseconds since 1970, never backwards.
        batch_max: Rows in one transaction.
        max_bytes: Bytes that the consumer may hold.
        pause: Sleeps; replaced in tests.
        arrive: As for `Pipeline`.
        day_us: How long a day is, as the store has it.
        try_waiting_every_us: How often rows are tried that have to wait.

    Attributes:
        durable: Offsets that may be committed to Kafka: those of the last batch that was stored.
        stored_us: When the store last took something.
        sent_bytes: Bytes of the events on their way to the store.
        stored_bytes: Those of events that are stored and not remembered.
    """

    def __init__(
        self,
        *,
        claim: Claim,
        memory: Memory,
        store: EventStore,
        aside: Aside,
        metrics: ConsumerMetrics,
        outages: Outages,
        lateness: Callable[[Envelope, int], Lateness],
        now_us: Callable[[], int],
        batch_max: int,
        max_bytes: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        arrive: Arrive = pass_by,
        day_us: int = DAY_US,
        try_waiting_every_us: int = 1_000_000,
    ) -> None:
        self._generation = claim.generation
        self._written = dict(claim.progress)
        self.memory = memory
        self._store = store
        self._aside = aside
        self._metrics = metrics
        self._outages = outages
        self._now_us = now_us
        self._batch_max = self._at_once = batch_max
        self._pause = pause
        self._arrive = arrive
        self._waiting = WaitingRows(lateness, day_us)
        self._waiting_bytes = min(_WAITING_MAX_BYTES, max_bytes // 8)
        self._try_waiting_every_us = try_waiting_every_us
        self._try_waiting_us = 0
        self.durable: Mapping[Partition, int] = {}
        self.stored_us = now_us()
        self.sent_bytes = 0
        self.stored_bytes = 0

    @property
    def waiting(self) -> int:
        """How many rows wait for a day that cannot be written to."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Bytes held for them."""
        return self._waiting.held_bytes

    async def write(self, batch: Batch) -> Sequence[Stored]:
        """
        Bring a batch to where it belongs, and before it what waited for its day, if that can be stored now.

        One without rows writes the progress: a store that is away, belongs to a successor or was set back is noticed although
        no event comes, and the watermarks that a successor begins with stay fresh.

        Returns:
            What was stored, for `remember`.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        done = await self._see_to_waiting()
        if not batch.rows:
            await self._store_once([], batch)
            return done
        self.sent_bytes = batch.size
        fresh = await self.memory.fresh(batch)
        rows, new = await self._store_once(fresh, batch)
        self.sent_bytes = 0
        self.stored_bytes += batch.size
        self._arrive("after-commit")
        return [*done, Stored(rows, new, batch.size)]

    async def remember(self, stored: Sequence[Stored]) -> None:
        """Count and remember what was stored."""
        await self.memory.remember(stored)
        self.stored_bytes -= sum(each.size for each in stored)

    async def see_waiting_off(self) -> Sequence[Stored]:
        """
        Store what waits for its day, however long that takes.

        For the end of an assignment whose log is not in Kafka any more: it could not be read again.

        Raises:
            FencedError: As `write`.
        """
        return await self._see_to_waiting(to_the_last=True)

    async def _store_once(self, fresh: Sequence[Row], batch: Batch) -> tuple[Sequence[Row], Collection[int]]:
        """
        Store rows of a batch that may be new, and with them what is done then.

        Returns:
            The rows without those that the store refused, and the indices of those among them that were new.
        """
        with self._metrics.batch_duration["store"].time():
            stored, new = await self._store_what_can_be(fresh, batch.progress, batch.encoded)
        self._waiting.passed_by(stored)
        self._written.update(self._waiting.hold_back(batch.progress))
        self.durable = self._waiting.hold_offsets_back(dict(batch.offsets))
        self.stored_us = self._now_us()
        return stored, new

    async def _store_what_can_be(
        self, rows: Sequence[Row], progress: Mapping[Partition, Progress], encoded: bytes | None
    ) -> tuple[Sequence[Row], Collection[int]]:
        """
        Store rows; set those aside that are refused or have the identity of another event, and let those wait that have to.

        In one transaction, or in as many as it takes: one that had no answer in time is tried by half, and by half again, for
        that much may be more than the store can do. From what succeeds on, twice as many are tried, as before.

        Returns:
            The rows that are stored, and the indices of those among them that were new.
        """
        stored: list[Row] = []
        new: set[int] = set()
        while True:
            able = self._waiting.keep_back(rows)
            if able is not rows:
                rows, encoded = able, None
            try:
                count, found = await self._insist("postgres", partial(self._store_some, rows, progress, encoded))
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
            # Before anything is stored with them: their offsets are written with the others.
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
        """Store as many of the first rows as the store is trusted with; return how many, and the new ones."""
        part = rows[: self._at_once]
        is_all = len(part) == len(rows)
        # The progress as it was, until all are stored; and none that has passed what waits by now.
        known = self._waiting.hold_back(progress if is_all else self._written)
        try:
            new = await self._store.store(part, known, self._generation, encoded if is_all else None)
        except StoreTimedOutError:
            if part:
                self._at_once = max(1, len(part) // 2)
            raise
        self._at_once = min(2 * self._at_once, self._batch_max)
        return len(part), new

    async def _find_refused(self, rows: Sequence[Row], exc: RowsRefusedError) -> tuple[list[Row], set[int]]:
        """Set the rows aside that the store refuses, and store the others; return as `_store_what_can_be`."""
        if len(rows) == 1:
            await self._aside.put([letter_of(rows[0], "refused_by_store", str(exc))])
            return [], set()
        log.warning("postgres refuses a batch, looking for the row", rows=len(rows), error=str(exc))
        stored: list[Row] = []
        new: set[int] = set()
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            # With the progress as it was, so that a stale generation is refused here too.
            found, new_in = await self._store_what_can_be(half, dict(self._written), None)
            new.update(len(stored) + index for index in new_in)
            stored += found
        return stored, new

    async def _see_to_waiting(self, *, to_the_last: bool = False) -> list[Stored]:
        """
        Store what waits, if it can be stored now.

        Where too much waits, until it can: what is read meanwhile would have to wait, too. Likewise `to_the_last`.
        """
        done: list[Stored] = []
        pause_s = FIRST_PAUSE_S
        while self._waiting and (to_the_last or self._too_much_waits or self._now_us() >= self._try_waiting_us):
            rows = self._waiting.take()
            self.sent_bytes = bytes_of(rows)
            # With the progress as it was: these rows are not yet stored, and are not among those that wait any more.
            stored, new = await self._store_what_can_be(rows, dict(self._written), None)
            self._waiting.passed_by(stored)
            done.append(Stored(stored, new, self.sent_bytes))
            self.stored_bytes, self.sent_bytes = self.stored_bytes + self.sent_bytes, 0
            self._try_waiting_us = self._now_us() + self._try_waiting_every_us
            if self._waiting and (to_the_last or self._too_much_waits):
                self._outages.begin("postgres", StoreUnavailableError(self._outages[WAITING] or ""))
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if not self._waiting:
            self._waiting.forget_who_passed()
            self._outages.end(WAITING)
        return done

    @property
    def _too_much_waits(self) -> bool:
        return len(self._waiting) >= self._batch_max or self._waiting.held_bytes >= self._waiting_bytes

    async def _insist(self, port: str, call: Callable[[], Awaitable[T]]) -> T:
        retries = self._metrics.store_retries
        return await self._outages.retry_until_done(port, call, on_failure=retries.inc, pause=self._pause)
