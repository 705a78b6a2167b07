"""
Kafka records to rows: decode, reorder, dedup, store, remember, commit, in this order, which is the guarantee.

* Stored before remembered: a crash between the two leaves an id that PostgreSQL knows and the caches do not.
* Stored before the offset moves: a crash between the two leads to a redelivery, which is recognised.
* Dead letters are durable before the offset moves past them.

In steps that overlap, so that PostgreSQL is kept busy: `decode`, `take` and `prepare` end with a batch that can be stored,
and need nobody; `finish` stores it; `remember` tells Redis of it, while the next one may be on its way to PostgreSQL. `turn`
is one after the other.

A `Pipeline` lives as long as one assignment of partitions. One of which a call was cancelled or failed is thrown away, with
all it holds: everything it had not stored is still in Kafka, at or after the offsets in the store.
"""

import asyncio
import time

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Final, TypeVar, cast

import structlog

from consumer.bloom import RotatingBloom
from consumer.decode import Decoder, Record
from consumer.dedup import Questions, questions
from consumer.envelope import DeadLetter, Envelope, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.offsets import OffsetLedger
from consumer.orders import Orders
from consumer.ports import (
    Claim,
    DeadLetters,
    EventStore,
    Progress,
    RowsRefusedError,
    SeenIds,
    SeenIdsUnavailableError,
    StoreTimedOutError,
)
from consumer.troubles import Troubles
from shared.metrics import ConsumerMetrics

log: Final = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

# Apart, because each can fail alone: one that is full or a replica answers questions and remembers nothing.
REDIS: Final = (READS := "redis reads", WRITES := "redis writes")
_offset: Final = attrgetter("offset")
_envelope, _lateness, _order = map(itemgetter, range(3))  # of a row
_origin, _received, _identity, _value = (
    itemgetter(Envelope._fields.index(name)) for name in ("origin", "received_us", "identity", "value")
)
_place = itemgetter(Envelope._fields.index("partition"), Envelope._fields.index("offset"))
# Dead letters that are written at once: what Kafka has acknowledged need not be written again.
_LETTERS_BYTES: Final = 1024 * 1024
_LETTERS: Final = 500
# An event is held as it was read and as the row that it becomes, which is no larger; a batch once more, as it is sent.
_TWICE: Final = 2


@dataclass(frozen=True, slots=True)
class _Batch:
    """
    Rows of one transaction.

    Attributes:
        rows: In order.
        asked: About which of them Redis has to be asked.
        encoded: As the store takes them; None if Redis has to be asked first.
        size: Bytes of their events.
    """

    rows: Sequence[Row]
    asked: Questions
    encoded: bytes | None
    size: int


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
        wall_us: The system's clock, for what is measured against other machines' times.
        batch_max: Rows in one transaction.
        max_bytes: Bytes held, from decoding to remembering. From seven eighths on nothing more is to be read; what was just
            read and what is made ready to be sent come on top of that, three eighths at most.
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
        buffer: Orders,
        bloom: RotatingBloom,
        seen: SeenIds,
        store: EventStore,
        dead_letters: DeadLetters,
        metrics: ConsumerMetrics,
        troubles: Troubles,
        now_us: Callable[[], int],
        batch_max: int,
        max_bytes: int,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        arrive: Arrive = pass_by,
    ) -> None:
        self._region = region
        self._generation = claim.generation
        self._written = dict(claim.progress)
        self._buffer = buffer
        buffer.advance()  # else the first records would be judged by no watermark, whatever the last owner knew
        self._bloom = bloom
        self._seen = seen
        self._store = store
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._troubles = troubles
        self._now_us = now_us
        self._wall_us = wall_us
        self._batch_max = self._at_once = batch_max
        self._full_bytes = max_bytes * 7 // 8
        self._batch_bytes = batch_bytes(max_bytes)
        self._pause = pause
        self._arrive = arrive
        self._decoders = {partition: Decoder(partition, region) for partition in claim.progress}
        self._ledgers = {partition: OffsetLedger() for partition in claim.progress}
        self._decoded: list[Envelope] = []
        self._certain: list[Row] = []
        self._certain_bytes = 0
        self._is_mixed = False
        self._prepared: _Batch | None = None
        self._sent_bytes = 0
        self._stored: list[tuple[Sequence[Row], Collection[int], int]] = []
        self._stored_bytes = 0
        self._letters: list[DeadLetter] = []
        self._letters_bytes = 0
        self.durable: dict[Partition, int] = {}
        self.stored_us = now_us()

    async def turn(self, polled: Mapping[Partition, Sequence[Record]]) -> None:
        """
        Take what was read, and bring everything whose order is now certain into the table.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        for partition, records in polled.items():
            self.decode(partition, records)
        self.take()
        while self.unfinished:
            await self.finish()
            await self.remember()

    @property
    def unfinished(self) -> int:
        """How many records wait for `finish`."""
        prepared = 0 if self._prepared is None else len(self._prepared.rows)
        return prepared + len(self._certain) + len(self._letters)

    @property
    def held_bytes(self) -> int:
        """Bytes of all that was read and is not remembered yet, in every form in which it is held."""
        sent = self._sent_bytes + (0 if self._prepared is None else self._prepared.size)
        events = self._buffer.held_bytes + self._certain_bytes + self._stored_bytes + sent
        return _TWICE * events + sent + self._letters_bytes

    @property
    def is_full(self) -> bool:
        """Whether so much waits for `finish` and `remember` that nothing more is to be read before they did their work."""
        return self.unfinished >= self._batch_max or self.held_bytes >= self._full_bytes

    def decode(self, partition: Partition, records: Sequence[Record]) -> None:
        """Decode some of what was read of a partition, which `take` then puts in order."""
        self._ledgers[partition].read(list(map(_offset, records)))
        for decoded in map(self._decoders[partition].decode, records):
            if type(decoded) is Envelope:
                self._decoded.append(decoded)
            else:
                letter = cast("DeadLetter", decoded)
                self._letters.append(letter)
                self._letters_bytes += letter.size

    def take(self, empty: Mapping[Partition, int] = MappingProxyType({})) -> None:
        """
        Take what was decoded as having arrived together, and find out whose order is now certain.

        Args:
            empty: The partitions of which nothing is unread once this was taken, each with the time up to which that is
                certain. It counts although records came with it: else what comes all the time would hold back all others.
        """
        envelopes, self._decoded = self._decoded, []
        if envelopes:
            self._arrive("after-decode")
        late = self._buffer.offer(envelopes, self._now_us())
        for partition, at_us in empty.items():
            self._buffer.confirm_empty(partition, at_us)
        held_bytes = self._buffer.held_bytes
        released = self._buffer.release()
        if late:
            # Among those of the same time, which may have been accepted later.
            released = [sorted(chain(late, *released))]
            self._is_mixed = True
        for rows in released:
            if self._certain and self._certain[-1].order != rows[0].order:
                self._is_mixed = True
            self._certain += rows
        self._certain_bytes += held_bytes - self._buffer.held_bytes + _bytes(late)

    def prepare(self) -> None:
        """Make a full batch ready for the store, if there is one and none is ready yet."""
        is_enough = len(self._certain) >= self._batch_max or self._certain_bytes >= self._batch_bytes
        if self._prepared is None and is_enough:
            self._prepared = self._next_batch()

    async def finish(self) -> None:
        """
        Bring the dead letters and the first batch of what is certain to where they belong.

        Not to be called again before it returned; all others may be.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        while self._letters:
            letters = self._next_letters()
            await self._set_aside(letters)
            self._letters_bytes -= sum(letter.size for letter in letters)
        batch, self._prepared = self._prepared or self._next_batch(), None
        if not batch.rows:
            await self._store_once([], self._progress())
            return
        self._finish_offsets(batch.rows)
        # As it is now: what is taken while this batch is on its way must not count as stored with it.
        progress = self._progress()
        self._sent_bytes = batch.size
        fresh = await self._dedup(batch)
        rows, new = await self._store_once(fresh, progress, batch.encoded)
        self._sent_bytes = 0
        self._stored_bytes += batch.size
        self._stored.append((rows, new, batch.size))  # not before: meanwhile the list may be another one
        self._arrive("after-commit")

    async def remember(self) -> None:
        """
        Count and remember what was stored, and tell Redis of it.

        Not to be called again before it returned; all others may be.
        """
        done, self._stored = self._stored, []
        envelopes: list[Envelope] = []
        size = 0
        for rows, new, of_batch in done:
            self._count(rows, new)
            envelopes += map(_envelope, rows)
            size += of_batch
        if envelopes:
            await self._tell(envelopes)
        self._stored_bytes -= size

    async def _tell(self, envelopes: Sequence[Envelope]) -> None:
        self._bloom.add_all(list(map(_identity, envelopes)))
        one = envelopes[:1]
        with self._metrics.batch_duration.labels(self._region, "remember").time():
            try:
                await self._seen.remember(envelopes)
            except SeenIdsUnavailableError as exc:
                # It is stored, so it may be remembered at any time.
                self._troubles.begin(WRITES, exc, lambda: self._seen.remember(one))
            else:
                self._troubles.end(WRITES)
        self._show_redis()
        self._arrive("after-remember")

    async def check_in(self) -> None:
        """
        Write the progress again although nothing happened since `stored_us`.

        A store that is away, belongs to a successor or was set back is noticed although no event comes, and the watermarks
        that a successor begins with stay fresh.

        Raises:
            FencedError: As `turn`.
        """
        await self._store_once([], self._progress())

    async def try_again(self) -> None:
        """Find out whether what the pipeline does without works again."""
        await self._troubles.try_again()
        self._show_redis()

    def _finish_offsets(self, batch: Sequence[Row]) -> None:
        offsets: dict[Partition, list[int]] = defaultdict(list)
        for partition, offset in map(_place, map(_envelope, batch)):
            offsets[partition].append(offset)
        for partition, finished in offsets.items():
            self._ledgers[partition].finish(finished)

    def _next_batch(self) -> _Batch:
        rows = self._certain[: self._batch_max]
        sizes = list(map(len, map(_value, map(_envelope, rows))))
        size = sum(sizes)
        if size > self._batch_bytes:
            fitting = max(1, bisect_right(list(accumulate(sizes)), self._batch_bytes))
            rows, size = rows[:fitting], sum(sizes[:fitting])
        self._certain = self._certain[len(rows) :]
        self._certain_bytes -= size
        if self._is_mixed:
            # Where both regions' consumers put them.
            rows.sort()
            self._is_mixed = bool(self._certain)
        asked = questions(list(map(_envelope, rows)), self._bloom)
        return _Batch(rows, asked, None if asked.ask else self._store.encode(rows, self._generation), size)

    def _next_letters(self) -> list[DeadLetter]:
        """Take out as many as are to be written at once."""
        size = 0
        for count, letter in enumerate(self._letters):
            size += letter.size
            if count and (size > _LETTERS_BYTES or count == _LETTERS):
                break
        else:
            count = len(self._letters)
        letters, self._letters = self._letters[:count], self._letters[count:]
        return letters

    async def _dedup(self, batch: _Batch) -> Sequence[Row]:
        """Leave out what Redis knows to be stored from another record."""
        rows, asked = batch.rows, batch.asked
        self._metrics.bloom_checks.labels(self._region, "new").inc(asked.new)
        self._metrics.bloom_checks.labels(self._region, "maybe").inc(asked.maybe)
        if not asked.ask:
            return rows
        with self._metrics.batch_duration.labels(self._region, "dedup").time():
            wanted = [rows[index].envelope for index in asked.ask]
            one = wanted[:1]
            try:
                answers = await self._seen.duplicates(wanted)
            except SeenIdsUnavailableError as exc:
                self._troubles.begin(READS, exc, lambda: self._seen.duplicates(one))
                self._show_redis()
                return rows
        self._troubles.end(READS)
        self._show_redis()
        known = {asked.ask[answer] for answer in answers}
        self._metrics.duplicates.labels(self._region, "redis").inc(len(known))
        return [row for index, row in enumerate(rows) if index not in known]

    async def _store_once(
        self, fresh: Sequence[Row], progress: Mapping[Partition, Progress], encoded: bytes | None = None
    ) -> tuple[Sequence[Row], Collection[int]]:
        """
        Store rows that may be new, and with them what is done then.

        Returns:
            The rows without those that the store refused, and the indices of those among them that were new.
        """
        with self._metrics.batch_duration.labels(self._region, "store").time():
            stored, new = await self._store_patiently(fresh, progress, encoded)
        self._written.update(progress)
        self.durable = {p: done for p, ledger in self._ledgers.items() if (done := ledger.committable) is not None}
        self.stored_us = self._now_us()
        return stored, new

    async def _store_patiently(
        self, rows: Sequence[Row], progress: Mapping[Partition, Progress], encoded: bytes | None
    ) -> tuple[Sequence[Row], Collection[int]]:
        """Return the rows that could be stored, and the indices of those among them that were new."""
        try:
            return rows, await self._store_in_parts(rows, progress, encoded)
        except RowsRefusedError as exc:
            log.warning("postgres refuses a batch, looking for the row", rows=len(rows), error=str(exc))
        found = await self._bisect(rows)
        await self._insist("postgres", lambda: self._store.store([], progress, self._generation))
        return [row for row, _ in found], {index for index, (_, is_new) in enumerate(found) if is_new}

    async def _store_in_parts(
        self, rows: Sequence[Row], progress: Mapping[Partition, Progress], encoded: bytes | None = None
    ) -> Collection[int]:
        """
        Store rows in one transaction, or in as many as it takes; return the indices of those that were new.

        One that had no answer in time is tried by half, and by half again: that much may be more than the store can do. From
        what succeeds on, twice as many are tried, as before.
        """
        new: set[int] = set()
        done = 0
        while True:
            count, found = await self._insist("postgres", partial(self._store_some, rows, done, progress, encoded))
            if count == len(rows):
                return found
            new.update(done + index for index in found)
            done += count
            if done == len(rows):
                return new

    async def _store_some(
        self, rows: Sequence[Row], done: int, progress: Mapping[Partition, Progress], encoded: bytes | None
    ) -> tuple[int, Collection[int]]:
        """Store as many of the rows behind the first `done` as the store is trusted with; return how many, and the new ones."""
        part = rows[done : done + self._at_once]
        is_all, is_last = len(part) == len(rows), done + len(part) == len(rows)
        # The progress as it was, until all are stored.
        known = progress if is_last else self._written
        try:
            new = await self._store.store(part, known, self._generation, encoded if is_all else None)
        except StoreTimedOutError:
            if part:
                self._at_once = max(1, len(part) // 2)
            raise
        self._at_once = min(2 * self._at_once, self._batch_max)
        return len(part), new

    async def _bisect(self, rows: Sequence[Row]) -> list[tuple[Row, bool]]:
        """Store what can be stored and set the poison aside; return what was stored, each with whether it was new."""
        try:
            # With the progress as it was, so that a stale generation is refused here too.
            new = await self._store_in_parts(rows, self._written)
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
            self._ledgers[letter.partition].finish([letter.offset])
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

    async def _insist(self, port: str, call: Callable[[], Awaitable[T]]) -> T:
        retries = self._metrics.store_retries.labels(self._region)
        return await self._troubles.insist(port, call, on_failure=retries.inc, pause=self._pause)

    def _progress(self) -> dict[Partition, Progress]:
        """Return how far everything is done once what is neither `_prepared` nor `_certain` any more is stored."""
        progress: dict[Partition, Progress] = {}
        following = self._following()
        for partition, ledger in self._ledgers.items():
            next_offset = self._written[partition].next_offset if ledger.committable is None else ledger.committable
            watermark_us = self._buffer.resume_point(partition)
            if watermark_us is not None and partition.topic in following:
                # Else a crash before the next batch would make late what was found to be in time.
                watermark_us = min(watermark_us, following[partition.topic])
            progress[partition] = Progress(next_offset, watermark_us)
        return progress

    def _following(self) -> dict[str, int]:
        """Return, for each topic, the time of the oldest event in order among those that are certain and not being stored."""
        rows = self._certain if self._prepared is None else [*self._prepared.rows, *self._certain]
        wanted = set(map(_order, rows))
        oldest: dict[str, int] = {}
        for envelope, lateness, order in rows:
            if not wanted:
                break
            if lateness is None and order in wanted:
                wanted.remove(order)  # what follows in the same order is younger
                topic = envelope.partition.topic
                oldest[topic] = min(oldest.get(topic, envelope.time_us), envelope.time_us)
        return oldest

    def _count(self, rows: Sequence[Row], new: Collection[int]) -> None:
        wall_us = self._wall_us()
        stored = rows if len(new) == len(rows) else [rows[index] for index in new]
        envelopes = list(map(_envelope, stored))
        origins = set(map(_origin, envelopes))
        for origin in origins:
            of_origin = envelopes if len(origins) == 1 else [e for e in envelopes if e.origin == origin]
            waits_s = [(wall_us - received_us) / 1e6 for received_us in map(_received, of_origin)]
            self._metrics.stored.labels(self._region, origin).inc(len(waits_s))
            self._metrics.end_to_end.labels(self._region, origin).observe_all(waits_s)
        late = (lateness for lateness in map(_lateness, stored) if lateness is not None)
        for reason, count in Counter(lateness.reason for lateness in late).items():
            self._metrics.late.labels(self._region, reason).inc(count)
        self._metrics.duplicates.labels(self._region, "postgres").inc(len(rows) - len(new))
        if rows:
            self._metrics.batch_events.labels(self._region).observe(len(rows))

    def _show_redis(self) -> None:
        self._metrics.dedup_degraded.labels(self._region).set(1 if self._troubles.among(REDIS) else 0)


def batch_bytes(max_bytes: int) -> int:
    """Return how large the events of one transaction are at most, unless it is a single one."""
    return max_bytes // 16


def _bytes(rows: Sequence[Row]) -> int:
    return sum(len(envelope.value) for envelope, _, _ in rows)
