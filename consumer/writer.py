"""
One batch to where it belongs: dedup, store, remember, in this order, which is the guarantee.

* Stored before remembered: a crash between the two leaves an id that PostgreSQL knows and the caches do not.
* Stored before the offset moves: a crash between the two leads to a redelivery, which is recognised.
* Dead letters are durable before the offset moves past them.

`write` and `remember` are each one call at a time. A writer of which one was cancelled or failed is thrown away.
"""

import asyncio

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from consumer.aside import Aside
from consumer.envelope import Envelope, Lateness, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.memory import Memory, Stored
from consumer.metrics import ConsumerMetrics
from consumer.outages import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outages
from consumer.pipeline import Batch, bytes_of
from consumer.ports import Claim, EventStore, StoreUnavailableError
from consumer.transactions import WAITING, Transactions
from consumer.waiting import DAY_US, WaitingRows

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
        make_transactions: Makes what stores rows.

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
        make_transactions: Callable[..., Transactions] = Transactions,
    ) -> None:
        self._memory = memory
        self._time_to_store = metrics.batch_duration["store"]
        self._outages = outages
        self._now_us = now_us
        self._batch_max = batch_max
        self._pause = pause
        self._arrive = arrive
        self._waiting = WaitingRows(lateness, day_us)
        self._waiting_bytes = min(_WAITING_MAX_BYTES, max_bytes // 8)
        self._try_waiting_every_us = try_waiting_every_us
        self._try_waiting_us = 0
        self._transactions = make_transactions(
            claim=claim,
            store=store,
            aside=aside,
            waiting=self._waiting,
            metrics=metrics,
            outages=outages,
            batch_max=batch_max,
            pause=pause,
        )
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

        A batch without rows writes the progress. So a store that is away, was set back or belongs to a successor is noticed
        although no event comes. It also keeps the watermarks fresh that a successor begins with.

        Returns:
            What was stored, for `remember`.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        done = await self._see_to_waiting() if self._waiting.days else []
        if not batch.rows:
            await self._store_once([], batch)
            return done
        self.sent_bytes = batch.size
        fresh = await self._memory.fresh(batch)
        rows, new = await self._store_once(fresh, batch)
        self.sent_bytes = 0
        self.stored_bytes += batch.size
        self._arrive("after-commit")
        return [*done, Stored(rows, new, batch.size)]

    async def remember(self, stored: Sequence[Stored]) -> None:
        """Count and remember what was stored."""
        await self._memory.remember(stored)
        self.stored_bytes -= sum(each.size for each in stored)

    async def see_waiting_off(self) -> Sequence[Stored]:
        """
        Store what waits for its day, however long that takes.

        For the end of an assignment whose log is not in Kafka any more: it could not be read again.

        Raises:
            FencedError: As `write`.
        """
        return await self._see_to_waiting(to_the_last=True)

    def abandon(self) -> None:
        """End at once; what waits is read again."""
        self._outages.end(WAITING)

    async def _store_once(self, fresh: Sequence[Row], batch: Batch) -> tuple[Sequence[Row], Collection[int]]:
        """
        Store rows of a batch that may be new, and with them what is done then.

        Returns:
            The rows without those that the store refused, and the indices of those among them that were new.
        """
        with self._time_to_store.time():
            stored, new = await self._transactions.store(fresh, batch.progress, batch.encoded)
        self._waiting.passed_by(stored)
        self._transactions.written.update(self._waiting.hold_back(batch.progress))
        self.durable = self._waiting.hold_offsets_back(dict(batch.offsets))
        self.stored_us = self._now_us()
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
            stored, new = await self._transactions.store(rows, dict(self._transactions.written))
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
