"""
Kafka records to rows: decode, reorder, dedup, store, remember, commit, in this order, which is the guarantee.

* Stored before remembered: a crash between the two leaves an id that PostgreSQL knows and the caches do not.
* Stored before the offset moves: a crash between the two leads to a redelivery, which is recognised.
* Dead letters are durable before the offset moves past them.

In steps that overlap, so that PostgreSQL is kept busy: `decode`, `take` and `prepare` end with a batch that can be stored,
and need nobody; `finish` stores it; `remember` tells Redis of it, while the next one may be on its way to PostgreSQL;
`set_aside` writes dead letters, while the stream goes on. `turn` is one after the other.

A `Pipeline` lives as long as one assignment of partitions. One of which a call was cancelled or failed is thrown away, with
all it holds: everything it had not stored is still in Kafka, at or after the offsets in the store.
"""

import asyncio
import time

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import accumulate, chain
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Final, TypeVar, cast

import structlog

from consumer.beginnings import fingerprint
from consumer.bloom import RotatingBloom
from consumer.decode import Decoder, Record
from consumer.dedup import Questions, questions
from consumer.envelope import DeadLetter, DeadLetterReason, Envelope, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.letters import portions, size_of
from consumer.metrics import ConsumerMetrics
from consumer.offsets import OffsetLedger
from consumer.orders import Orders
from consumer.ports import (
    Claim,
    DeadLetters,
    EventStore,
    KnownLog,
    Progress,
    RowsConflictError,
    RowsMustWaitError,
    RowsRefusedError,
    SeenIds,
    SeenIdsUnavailableError,
    StoreTimedOutError,
    StoreUnavailableError,
)
from consumer.troubles import FIRST_PAUSE_S, LONGEST_PAUSE_S, Troubles
from consumer.waiting import DAY_US, WaitingRows
from shared.event.model import EPOCH

log: Final = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

# Apart, because each can fail alone: one that is full or a replica answers questions and remembers nothing.
REDIS: Final = (READS := "redis reads", WRITES := "redis writes")
# Days of which rows wait, because they cannot be written to.
WAITING: Final = "waiting"
_WAITING_MAX_BYTES: Final = 16 * 1024 * 1024
_offset: Final = attrgetter("offset")
_envelope, _lateness, _order = map(itemgetter, range(3))  # of a row
_origin, _received, _identity = (
    itemgetter(Envelope._fields.index(name)) for name in ("origin", "received_us", "identity")
)
_place = itemgetter(Envelope._fields.index("partition"), Envelope._fields.index("offset"))
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
        day_us: How long a day is, as the store has it.
        try_waiting_every_us: How often rows are tried that have to wait.

    Attributes:
        durable: Offsets that may be committed to Kafka.
        stored_us: When the store last took something.
        ends: How far the partitions' logs are known to reach, for whoever comes after.
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
        day_us: int = DAY_US,
        try_waiting_every_us: int = 1_000_000,
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
        self._waiting = WaitingRows(buffer.lateness, day_us)
        self._waiting_bytes = min(_WAITING_MAX_BYTES, max_bytes // 8)
        self._try_waiting_every_us = try_waiting_every_us
        self._try_waiting_us = 0
        self._letters_bytes = 0
        self.durable: dict[Partition, int] = {}
        self.stored_us = now_us()
        self.ends: Mapping[Partition, int] = {}

    async def turn(self, polled: Mapping[Partition, Sequence[Record]]) -> None:
        """
        Take what was read, and bring everything whose order is now certain into the table.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        for partition, records in polled.items():
            self.decode(partition, records)
        self.take()
        if self._letters:
            await self.set_aside()
            await self.check_in()
        while self.unfinished:
            await self.finish()
            await self.remember()

    @property
    def unfinished(self) -> int:
        """How many records wait for `finish`."""
        prepared = 0 if self._prepared is None else len(self._prepared.rows)
        return prepared + len(self._certain)

    @property
    def unwritten(self) -> int:
        """How many dead letters wait for `set_aside`."""
        return len(self._letters)

    @property
    def unwritten_bytes(self) -> int:
        """How large they are."""
        return self._letters_bytes

    @property
    def waiting(self) -> int:
        """How many records wait for a day that cannot be written to."""
        return len(self._waiting)

    @property
    def held_bytes(self) -> int:
        """Bytes of all that was read and is not remembered yet, in every form in which it is held."""
        sent = self._sent_bytes + (0 if self._prepared is None else self._prepared.size)
        events = self._buffer.held_bytes + self._certain_bytes + self._stored_bytes + sent
        return _TWICE * events + sent + self._letters_bytes + self._waiting.held_bytes

    @property
    def is_full(self) -> bool:
        """Whether so much waits for `finish` and `remember` that nothing more is to be read before they did their work."""
        return self.unfinished >= self._batch_max or self.held_bytes >= self._full_bytes

    def decode(self, partition: Partition, records: Sequence[Record]) -> None:
        """Decode some of what was read of a partition, which `take` then puts in order."""
        if not records:
            return
        self._ledgers[partition].read(list(map(_offset, records)), fingerprint(records[-1]))
        for decoded in map(self._decoders[partition].decode, records):
            if type(decoded) is Envelope:
                self._decoded.append(decoded)
            else:
                letter = cast("DeadLetter", decoded)
                self._letters.append(letter)
                self._letters_bytes += size_of(letter)

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

    def release_all(self) -> None:
        """
        Take everything as certain that was read, in order.

        For the end of an assignment whose log is not in Kafka any more: nobody could read it again.
        """
        self.take()
        self._certain_bytes += self._buffer.held_bytes
        for rows in self._buffer.release_all():
            self._certain += rows
            self._is_mixed = True

    def prepare(self) -> None:
        """Make a full batch ready for the store, if there is one and none is ready yet."""
        is_enough = len(self._certain) >= self._batch_max or self._certain_bytes >= self._batch_bytes
        if self._prepared is None and is_enough:
            self._prepared = self._next_batch()

    async def set_aside(self) -> None:
        """
        Bring all dead letters to where they belong; their offsets wait until then, and nothing else does.

        Not to be called again before it returned; all others may be.
        """
        while self._letters:
            portion = next(portions(self._letters))
            await self._set_aside(portion)
            del self._letters[: len(portion)]
            self._letters_bytes -= sum(map(size_of, portion))

    async def finish(self) -> None:
        """
        Bring the first batch of what is certain to where it belongs.

        Not to be called again before it returned; all others may be.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        await self._see_to_waiting()
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
        await self._see_to_waiting()
        await self._store_once([], self._progress())

    async def see_waiting_off(self) -> None:
        """
        Store what waits for its day, however long that takes.

        For the end of an assignment whose log is not in Kafka any more: nobody could read it again.

        Raises:
            FencedError: As `turn`.
        """
        await self._see_to_waiting(to_the_last=True)
        await self.remember()

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
        fitting = self._batch_max
        if self._certain_bytes > self._batch_bytes:
            sizes = accumulate(len(row.envelope.value) for row in self._certain[:fitting])
            fitting = max(1, bisect_right(list(sizes), self._batch_bytes))
        rows, self._certain = self._certain[:fitting], self._certain[fitting:]
        # Of the shorter part, for both are known together: usually little is left.
        is_most = len(rows) > len(self._certain)
        size = self._certain_bytes - _bytes(self._certain) if is_most else _bytes(rows)
        self._certain_bytes -= size
        if self._is_mixed:
            # Where both regions' consumers put them.
            rows.sort()
            self._is_mixed = bool(self._certain)
        asked = questions(list(map(_envelope, rows)), self._bloom)
        return _Batch(rows, asked, None if asked.ask else self._store.encode(rows, self._generation), size)

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
            stored, new = await self._store_what_can_be(fresh, progress, encoded)
        self._waiting.passed_by(stored)
        self._written.update(self._waiting.hold_back(progress))
        durable = {p: done for p, ledger in self._ledgers.items() if (done := ledger.committable) is not None}
        self.durable = self._waiting.hold_offsets_back(durable)
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
                self._tell_of_waiting(exc)
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
            await self._set_aside(
                [
                    _letter(
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
            await self._set_aside([_letter(rows[0], "refused_by_store", str(exc))])
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

    def _tell_of_waiting(self, exc: RowsMustWaitError) -> None:
        days = ", ".join(str(EPOCH.date() + timedelta(days=day)) for day in sorted(self._waiting.days))
        self._troubles.begin(WAITING, StoreUnavailableError(f"{len(self._waiting)} events of {days}: {exc}"))

    async def _see_to_waiting(self, *, to_the_last: bool = False) -> None:
        """
        Store what waits, if it can be stored now.

        Where too much waits, until it can: what is read meanwhile would have to wait, too. Likewise `to_the_last`.
        """
        pause_s = FIRST_PAUSE_S
        while self._waiting and (to_the_last or self._too_much_waits or self._now_us() >= self._try_waiting_us):
            rows = self._waiting.take()
            self._sent_bytes = _bytes(rows)
            # With the progress as it was: these rows are not yet stored, and are not among those that wait any more.
            stored, new = await self._store_what_can_be(rows, dict(self._written), None)
            self._waiting.passed_by(stored)
            self._stored.append((stored, new, self._sent_bytes))
            self._stored_bytes, self._sent_bytes = self._stored_bytes + self._sent_bytes, 0
            self._try_waiting_us = self._now_us() + self._try_waiting_every_us
            if self._waiting and (to_the_last or self._too_much_waits):
                self._troubles.begin("postgres", StoreUnavailableError(self._troubles[WAITING] or ""))
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if not self._waiting:
            self._waiting.forget_who_passed()
            self._troubles.end(WAITING)

    @property
    def _too_much_waits(self) -> bool:
        return len(self._waiting) >= self._batch_max or self._waiting.held_bytes >= self._waiting_bytes

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
            next_offset = _later(self._written[partition].next_offset, ledger.committable)
            watermark_us = self._buffer.resume_point(partition)
            if watermark_us is not None and partition.topic in following:
                # Else a crash before the next batch would make late what was found to be in time.
                watermark_us = min(watermark_us, following[partition.topic])
            progress[partition] = Progress(next_offset, watermark_us, self._known_log(partition))
        return progress

    def _known_log(self, partition: Partition) -> KnownLog:
        known, mark = self._written[partition].log, self._ledgers[partition].mark
        if mark is not None and (known.last_offset is None or mark[0] > known.last_offset):
            known = replace(known, last_offset=mark[0], last_record=mark[1])
        return replace(known, end=self.ends.get(partition, known.end))

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


def _later(stored: int | None, committable: int | None) -> int | None:
    """Return how far a partition is durable: what was stored once stays so, also while it is read a second time."""
    return max((offset for offset in (stored, committable) if offset is not None), default=None)


def _letter(row: Row, reason: DeadLetterReason, detail: str) -> DeadLetter:
    envelope = row.envelope
    return DeadLetter(
        envelope.partition, envelope.offset, envelope.key, envelope.value, reason, detail, envelope.traceparent
    )


def batch_bytes(max_bytes: int) -> int:
    """Return how large the events of one transaction are at most, unless it is a single one."""
    return max_bytes // 16


def _bytes(rows: Sequence[Row]) -> int:
    return sum(len(envelope.value) for envelope, _, _ in rows)
