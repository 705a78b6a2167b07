"""
Kafka records to rows: decode, reorder, dedup, store, remember, commit, in this order, which is the guarantee.

* Stored before remembered: a crash between the two leaves an id that PostgreSQL knows and the caches do not.
* Stored before the offset moves: a crash between the two leads to a redelivery, which is recognised.
* Dead letters are durable before the offset moves past them.

A `Pipeline` lives as long as one assignment of partitions. One whose turn was cancelled or failed is thrown away, with all
it holds: everything it had not stored is still in Kafka, at or after the offsets in the store.
"""

import asyncio

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

import structlog

from consumer.bloom import RotatingBloom
from consumer.decode import Record, decode
from consumer.dedup import identity, questions
from consumer.envelope import DeadLetter, Envelope, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.offsets import OffsetLedger
from consumer.ports import (
    Claim,
    DeadLetters,
    EventStore,
    Progress,
    RowsRefusedError,
    SeenIds,
    SeenIdsUnavailableError,
)
from consumer.reorder import ReorderBuffer
from consumer.troubles import Troubles
from shared.metrics import ConsumerMetrics

log: Final = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

# Apart, because each can fail alone: one that is full or a replica answers questions and remembers nothing.
REDIS: Final = (READS := "redis reads", WRITES := "redis writes")


class Pipeline:
    """
    The way of every record under one assignment.

    Args:
        region: The consumer's own.
        claim: The right to these partitions.
        buffer: Already told about the assigned partitions.
        bloom: Outlives assignments.
        seen: The memory of stored ids.
        store: Where rows go.
        dead_letters: Where the rest goes.
        metrics: Counters.
        troubles: Shared with `/ready`.
        now_us: Clock, microseconds since 1970, never backwards.
        batch_max: Rows in one transaction.
        pause: Sleeps; replaced in simulations.
        arrive: Called at the places that `consumer/failpoints.py` names.

    Attributes:
        durable: Offsets that may be committed to Kafka.
        stored_us: When the store last took something.
    """

    def __init__(
        self,
        *,
        region: str,
        claim: Claim,
        buffer: ReorderBuffer,
        bloom: RotatingBloom,
        seen: SeenIds,
        store: EventStore,
        dead_letters: DeadLetters,
        metrics: ConsumerMetrics,
        troubles: Troubles,
        now_us: Callable[[], int],
        batch_max: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        arrive: Arrive = pass_by,
    ) -> None:
        self._region = region
        self._generation = claim.generation
        self._written = dict(claim.progress)
        self._buffer = buffer
        buffer.watermarks.advance()  # else the first records would be judged by no watermark, whatever the last owner knew
        self._bloom = bloom
        self._seen = seen
        self._store = store
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._troubles = troubles
        self._now_us = now_us
        self._batch_max = batch_max
        self._pause = pause
        self._arrive = arrive
        self._ledgers = {partition: OffsetLedger() for partition in claim.progress}
        self.durable: dict[Partition, int] = {}
        self.stored_us = now_us()

    async def turn(self, polled: Mapping[Partition, Sequence[Record]]) -> None:
        """
        Take what was read, and bring everything whose order is now certain into the table.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        envelopes, letters = self._decode(polled)
        if polled:
            self._arrive("after-decode")
        late = self._buffer.offer(envelopes, self._now_us())
        final = sorted([*late, *self._buffer.release()], key=lambda row: row.envelope.order)
        if letters:
            await self._set_aside(letters)
        for batch, following in _chunks(final, self._batch_max):
            fresh = await self._dedup(batch)
            stored = await self._store_once(batch, fresh, following)
            self._arrive("after-commit")
            await self._remember(stored)
            self._arrive("after-remember")
        if letters and not final:
            await self._store_once([], [], None)

    async def check_in(self) -> None:
        """
        Write the progress again although nothing happened since `stored_us`.

        A store that is away, belongs to a successor or was set back is noticed although no event comes, and the watermarks
        that a successor begins with stay fresh.

        Raises:
            FencedError: As `turn`.
        """
        await self._store_once([], [], None)

    async def try_again(self) -> None:
        """Find out whether what the pipeline does without works again."""
        await self._troubles.try_again()
        self._show_redis()

    def _decode(self, polled: Mapping[Partition, Sequence[Record]]) -> tuple[list[Envelope], list[DeadLetter]]:
        envelopes: list[Envelope] = []
        letters: list[DeadLetter] = []
        for partition, records in polled.items():
            ledger = self._ledgers[partition]
            for record in records:
                ledger.read(record.offset)
                decoded = decode(record, partition, self._region)
                if isinstance(decoded, Envelope):
                    envelopes.append(decoded)
                else:
                    letters.append(decoded)
        return envelopes, letters

    async def _dedup(self, batch: Sequence[Row]) -> list[Row]:
        """Leave out what Redis knows to be stored from another record."""
        envelopes = [row.envelope for row in batch]
        asked = questions(envelopes, self._bloom)
        self._metrics.bloom_checks.labels(self._region, "new").inc(asked.new)
        self._metrics.bloom_checks.labels(self._region, "maybe").inc(asked.maybe)
        if not asked.ask:
            return list(batch)
        with self._metrics.batch_duration.labels(self._region, "dedup").time():
            wanted = [envelopes[index] for index in asked.ask]
            one = wanted[:1]
            try:
                answers = await self._seen.duplicates(wanted)
            except SeenIdsUnavailableError as exc:
                self._troubles.begin(READS, exc, lambda: self._seen.duplicates(one))
                self._show_redis()
                return list(batch)
        self._troubles.end(READS)
        self._show_redis()
        known = {asked.ask[answer] for answer in answers}
        self._metrics.duplicates.labels(self._region, "redis").inc(len(known))
        return [row for index, row in enumerate(batch) if index not in known]

    async def _store_once(self, batch: Sequence[Row], fresh: Sequence[Row], following: Row | None) -> Sequence[Row]:
        """
        Store the fresh rows of a batch, and with them that the whole batch is done.

        Args:
            batch: What is done then.
            fresh: Those of it that may be new.
            following: The first row in order that is still to be stored after these.

        Returns:
            The fresh rows without those that the store refused.
        """
        for row in batch:
            self._ledgers[row.envelope.partition].finish(row.envelope.offset)
        progress = self._progress(following)
        with self._metrics.batch_duration.labels(self._region, "store").time():
            stored, new = await self._store_patiently(fresh, progress)
        self._written.update(progress)
        self.durable = {p: done for p, ledger in self._ledgers.items() if (done := ledger.committable) is not None}
        self.stored_us = self._now_us()
        self._count(stored, new)
        return stored

    async def _store_patiently(
        self, rows: Sequence[Row], progress: Mapping[Partition, Progress]
    ) -> tuple[Sequence[Row], Collection[int]]:
        """Return the rows that could be stored, and the indices of those among them that were new."""
        try:
            return rows, await self._insist("postgres", lambda: self._store.store(rows, progress, self._generation))
        except RowsRefusedError as exc:
            log.warning("postgres refuses a batch, looking for the row", rows=len(rows), error=str(exc))
        found = await self._bisect(rows)
        await self._insist("postgres", lambda: self._store.store([], progress, self._generation))
        return [row for row, _ in found], {index for index, (_, is_new) in enumerate(found) if is_new}

    async def _bisect(self, rows: Sequence[Row]) -> list[tuple[Row, bool]]:
        """Store what can be stored and set the poison aside; return what was stored, each with whether it was new."""
        try:
            # With the progress as it was, so that a stale generation is refused here too.
            new = await self._insist("postgres", lambda: self._store.store(rows, self._written, self._generation))
            return [(row, index in new) for index, row in enumerate(rows)]
        except RowsRefusedError as exc:
            if len(rows) == 1:
                envelope = rows[0].envelope
                await self._set_aside(
                    [
                        DeadLetter(
                            envelope.partition,
                            envelope.offset,
                            envelope.key,
                            envelope.value,
                            "refused_by_store",
                            str(exc),
                            envelope.traceparent,
                        )
                    ]
                )
                return []
        middle = len(rows) // 2
        return await self._bisect(rows[:middle]) + await self._bisect(rows[middle:])

    async def _set_aside(self, letters: Sequence[DeadLetter]) -> None:
        await self._insist("dead letters", lambda: self._dead_letters.write(letters))
        for letter in letters:
            self._ledgers[letter.partition].finish(letter.offset)
            self._metrics.dead_letters.labels(self._region, letter.reason).inc()
        # One line a batch: somebody who writes nothing but poison must not flood the log as well.
        first = letters[0]
        log.warning(
            "records set aside",
            count=len(letters),
            first=f"{first.partition.topic}/{first.partition.number}@{first.offset}",
            reason=first.reason,
            detail=first.detail[:500],
            **first.about(),
        )

    async def _remember(self, rows: Sequence[Row]) -> None:
        envelopes = [row.envelope for row in rows]
        if not envelopes:
            return
        one = envelopes[:1]
        with self._metrics.batch_duration.labels(self._region, "remember").time():
            for envelope in envelopes:
                self._bloom.add(identity(envelope))
            try:
                await self._seen.remember(envelopes)
            except SeenIdsUnavailableError as exc:
                # It is stored, so it may be remembered at any time.
                self._troubles.begin(WRITES, exc, lambda: self._seen.remember(one))
            else:
                self._troubles.end(WRITES)
        self._show_redis()

    async def _insist(self, port: str, call: Callable[[], Awaitable[T]]) -> T:
        retries = self._metrics.store_retries.labels(self._region)
        return await self._troubles.insist(port, call, on_failure=retries.inc, pause=self._pause)

    def _progress(self, following: Row | None) -> dict[Partition, Progress]:
        progress: dict[Partition, Progress] = {}
        for partition, ledger in self._ledgers.items():
            next_offset = self._written[partition].next_offset if ledger.committable is None else ledger.committable
            watermark_us = self._buffer.watermarks.resume_point(partition)
            if watermark_us is not None and following is not None:
                # Else a crash before the next batch would make late what was found to be in time.
                watermark_us = min(watermark_us, following.envelope.time_us)
            progress[partition] = Progress(next_offset, watermark_us)
        return progress

    def _count(self, rows: Sequence[Row], new: Collection[int]) -> None:
        now_us = self._now_us()
        for index in new:
            row = rows[index]
            envelope = row.envelope
            self._metrics.stored.labels(self._region, envelope.origin).inc()
            self._metrics.end_to_end.labels(self._region, envelope.origin).observe(
                (now_us - envelope.received_us) / 1e6
            )
            if row.lateness:
                self._metrics.late.labels(self._region, row.lateness.reason).inc()
        self._metrics.duplicates.labels(self._region, "postgres").inc(len(rows) - len(new))
        if rows:
            self._metrics.batch_events.labels(self._region).observe(len(rows))

    def _show_redis(self) -> None:
        self._metrics.dedup_degraded.labels(self._region).set(1 if self._troubles.among(REDIS) else 0)


def _chunks(rows: Sequence[Row], size: int) -> Iterator[tuple[Sequence[Row], Row | None]]:
    """Cut into batches; with each comes the first row in order (not late) that follows it."""
    for start in range(0, len(rows), size):
        end = start + size
        yield rows[start:end], next((row for row in islice(rows, end, None) if row.lateness is None), None)
