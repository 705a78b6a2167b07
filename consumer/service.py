"""
The consumer as a process: joins the group, runs one pipeline per assignment, hands over in time, starts anew after errors.

    session:  join ── assigned ──> claim, seek ──> read, read, read … ──> revoked ──> assigned …
                                                     store, store …  └── stop: last batch, commit, leave

What is read is decoded and put in order while the batch before it is on its way to the store, and Redis is told of the one
before that.

A session ends with an error when another consumer has fenced this one or Kafka refuses it; the next one begins after a
pause. The bloom filter, the connections and the counters outlive sessions.
"""

import asyncio
import contextlib
import time

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from consumer.adapters.kafka_dead_letters import KafkaDeadLetters
from consumer.adapters.kafka_source import KafkaSource
from consumer.adapters.postgres_days import DayMaker, PostgresDays
from consumer.adapters.postgres_store import PostgresStore
from consumer.adapters.redis_seen import RedisSeenIds
from consumer.adapters.store_thread import StoreThread
from consumer.bloom import RotatingBloom
from consumer.days import PARTITIONS, Days
from consumer.decode import Record
from consumer.doubts import Doubts
from consumer.envelope import DEAD_LETTER_REASONS, LATE_REASONS, Partition
from consumer.failpoints import failpoint
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.pipeline import REDIS, WAITING, Pipeline
from consumer.ports import EventStore, FencedError, SourceUnavailableError
from consumer.settings import ConsumerSettings
from consumer.source import Source
from consumer.traced import TracedStore
from consumer.troubles import FIRST_PAUSE_S, LONGEST_PAUSE_S, Troubles
from shared.process.probes import Readiness
from shared.process.spans import Spans
from shared.wire.regions import consumed_topics

log: Final = structlog.stdlib.get_logger(__name__)

_TURN_S: Final = 0.02
_POLL_MAX: Final = 2000
# Who waits for the event loop, as the next batch does, and Redis' answers, and probes, gets it after so many records.
_DECODE_MAX: Final = 250
_COMMIT_EVERY_S: Final = 0.5
_CHECK_IN_EVERY_US: Final = 2_000_000
_TRY_AGAIN_EVERY_S: Final = 2.0
_WATCH_EVERY_S: Final = 1.0
# A partition that is read to its end is known to be so after two fetches, of 50 ms at most, and a turn for each.
_PATIENCE_US: Final = 250_000
# Of the bytes that may be held, these may wait for their order; each event is held twice, see `consumer.pipeline`.
_ORDERED, _HELD = 3, 8
_SILENCE_LIMIT_S: Final = 5.0
# So many dead letters wait while nobody takes them and the stream goes on; with more the stream waits, too.
_UNWRITTEN_MAX: Final = 2000
_UNWRITTEN_MAX_BYTES: Final = 16 * 1024 * 1024
_NEEDED: Final = ("kafka", "postgres", "dead letters")


def steady_clock() -> Callable[[], int]:
    """Return a clock in microseconds since 1970 that does not follow steps of the system's."""
    start_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
    return lambda: start_us + time.monotonic_ns() // 1000


class _Assignment:
    """
    One assignment of partitions from claim to revocation.

    Attributes:
        pipeline: Its way for records.
        buffer: The pipeline's.
        starts: Where reading began.
        closing: Whether it is being handed over: nothing new is begun.
        moved: Set when a batch has been stored, or the work on batches has ended.
    """

    def __init__(self, pipeline: Pipeline, buffer: Orders, starts: Mapping[Partition, int]) -> None:
        self.pipeline = pipeline
        self.buffer = buffer
        self.starts = starts
        self.closing = False
        self.moved = asyncio.Event()
        self.committed: Mapping[Partition, int] = {}
        self.committed_at = 0.0
        self.tried_again_at = 0.0

    def done(self, partition: Partition) -> int:
        """Return the offset up to which the partition is durable."""
        return self.pipeline.durable.get(partition, self.starts[partition])


class ConsumerService:
    """
    Runs sessions until stopped.

    Args:
        settings: The consumer's.
        metrics: Where to count.
        spans: Where to tell of traced events.
    """

    def __init__(self, settings: ConsumerSettings, metrics: ConsumerMetrics, spans: Spans | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._now_us = steady_clock()
        self._troubles = Troubles()
        self._arrive = failpoint(settings.failpoint)
        self._bloom = RotatingBloom(settings.bloom_expected_insertions, settings.bloom_false_positive_rate)
        self._store = StoreThread(
            PostgresStore(
                settings.postgres_dsn,
                region=settings.region,
                instance=settings.instance,
                group=settings.group,
                timeout_s=settings.store_timeout_ms / 1000,
                arrive=self._arrive,
            )
        )
        self._days = Days(
            PostgresDays(
                settings.postgres_dsn,
                name=f"{settings.region}/{settings.instance}",
                maker=DayMaker(settings.partition_days_back, settings.partition_days_ahead),
            ),
            self._troubles,
            metrics.days_missing.labels(settings.region),
        )
        self._rows: EventStore = self._store if spans is None else TracedStore(self._store, spans, settings.region)
        redis_timeout_s = settings.redis_timeout_ms / 1000
        self._redis = Redis.from_url(
            settings.redis_url,
            socket_timeout=redis_timeout_s,
            socket_connect_timeout=redis_timeout_s,
            retry=Retry(NoBackoff(), 0),  # the adapter decides when to ask again
            client_name=f"log-consumer-{settings.region}",
        )
        self._seen = RedisSeenIds(self._redis, region=settings.region, ttl_s=settings.redis_ttl_hours * 3600)
        self._dead_letters = KafkaDeadLetters(settings.kafka_bootstrap_servers, timeout_s=10)
        self._doubts = Doubts(settings.region, metrics)
        self._stopping = asyncio.Event()
        self._source: Source | None = None
        self._to_begin: Collection[Partition] | None = None
        self._assignment: _Assignment | None = None
        self._work: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._standby = False
        self._kafka_is_silent = False
        self._unheard: frozenset[Partition] = frozenset()
        self._silent: frozenset[Partition] = frozenset()
        self._doubted_us: dict[Partition, int] = {}
        self._store_id = ""
        self._announce_label_sets()

    def stop(self) -> None:
        """Ask `run` to finish its batch, commit, leave the group and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Run sessions until `stop` is called."""
        pause_s = FIRST_PAUSE_S
        watch = asyncio.create_task(self._watch())
        days = asyncio.create_task(self._days.look_after())
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                try:
                    await self._session()
                except (FencedError, SourceUnavailableError) as exc:
                    self._troubles.begin("kafka", exc)
                    log.warning("session ended", error=f"{type(exc).__name__}: {exc}")
                if time.monotonic() - began > 10 * LONGEST_PAUSE_S:
                    pause_s = FIRST_PAUSE_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            for task in (watch, days):
                task.cancel()
            await asyncio.gather(watch, days, return_exceptions=True)
            await self._dead_letters.close()
            await self._store.close()
            await self._redis.aclose()

    def readiness(self) -> Readiness:
        """Say whether events reach the table, and if not, why."""
        reasons = self._troubles.among(_NEEDED)
        if self._assignment is None and not self._standby and not reasons:
            reasons.append("waiting for partitions")
        unread = self._silent if self._source is None else self._silent | self._source.missing
        silent = [f"kafka: no answer for {p.topic}/{p.number}, which is not read" for p in sorted(unread)]
        return Readiness(reasons, [*self._troubles.among((*REDIS, PARTITIONS, WAITING)), *silent], self._details())

    def _details(self) -> dict[str, Any]:
        current = self._assignment
        partitions = sorted(f"{p.topic}/{p.number}" for p in current.starts) if current else []
        return {
            "region": self._settings.region,
            "partitions": partitions,
            "standby": self._standby,
            "buffered": len(current.buffer) if current else 0,
            "heldBytes": current.pipeline.held_bytes if current else 0,
        }

    async def _watch(self) -> None:
        """
        See what the work itself cannot see while it waits for an answer.

        Who is silent, and in an outage of the store, how the backlog grows in Kafka.
        """
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            self._troubles.notice_silence(_SILENCE_LIMIT_S)
            source, current = self._source, self._assignment
            self._notice_silent_kafka(source)
            self._notice_silent_partitions(source)
            if source is not None and current is not None:
                ends = await source.ask_ends(current.starts, _WATCH_EVERY_S)
                if current is self._assignment:
                    self._show(current, ends)

    def _notice_silent_kafka(self, source: Source | None) -> None:
        silence_s = source.silence_s(_SILENCE_LIMIT_S) if source is not None else 0.0
        if silence_s:
            self._troubles.begin("kafka", TimeoutError(f"no answer for {silence_s:.0f} s"))
        elif self._kafka_is_silent and source is not None:
            self._troubles.end("kafka")
        self._kafka_is_silent = silence_s > 0

    def _notice_silent_partitions(self, source: Source | None) -> None:
        # One whose broker is away, while others answer. Twice, because nobody may have looked for a while before this.
        unheard = frozenset(source.silent(_SILENCE_LIMIT_S) if source is not None else ())
        silent, self._unheard = unheard & self._unheard, unheard
        if silent != self._silent:
            log.warning(
                "partitions that no broker answers for", partitions=[f"{p.topic}/{p.number}" for p in sorted(silent)]
            )
        self._silent = silent

    async def _session(self) -> None:
        source = KafkaSource(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            group=self._settings.group,
            client_id=f"log-consumer-{self._settings.region}-{self._settings.instance}",
            topics=consumed_topics(self._settings.region, self._settings.regions),
            now_us=self._now_us,
            on_revoked=self._hand_over,
            on_assigned=self._on_assigned,
        )
        self._to_begin = None
        consuming = asyncio.create_task(self._consume(source))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            # Either may be first: while Kafka or the store is away, a step takes as long as that lasts.
            await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if consuming.done():
                consuming.result()
            await self._hand_over()
        finally:
            for task in (consuming, stopping):
                task.cancel()
            await asyncio.gather(consuming, stopping, return_exceptions=True)
            self._source = None
            await self._abandon()
            await source.stop()

    async def _consume(self, source: Source) -> None:
        await source.start()
        self._source = source
        self._troubles.end("kafka")
        while not self._stopping.is_set():
            await self._step(source)

    async def _step(self, source: Source) -> None:
        """Begin a new assignment, or read once and see to it that what is certain is being stored."""
        if self._to_begin is not None:
            partitions, self._to_begin = self._to_begin, None
            self._work = asyncio.create_task(self._begin(source, partitions))
            await self._end_of_work(self._work)
            return
        current = self._assignment
        if current is not None and (doubts := self._see_doubts(source)):
            # All of them, before the first goes on: it would fill the buffer, and make late what the others hold.
            current.buffer.doubt(doubts, self._given_up())
            if self._doubts.settle(source):
                await self._begin_anew(source, current)
                return
        if current is not None and source.found:
            await self._begin_anew(source, current)
            return
        limit = min(self._settings.batch_max_events, _POLL_MAX)
        polled = await source.poll({} if current is None else current.buffer.shares(limit), _TURN_S)
        if current is None:
            await asyncio.sleep(_TURN_S)
            return
        empty = await source.known_empty()
        # A rebalance may have come while waiting: then these records belong to an assignment that is over.
        if self._assignment is not current or current.closing:
            await asyncio.sleep(0)
            return
        for partition, records in _slices(polled):
            current.pipeline.decode(partition, records)
            await asyncio.sleep(0)
        if self._assignment is not current or current.closing:
            return
        current.pipeline.take(empty)
        source.pause_only(current.buffer.to_pause())
        await self._see_to_work(source, current)

    def _see_doubts(self, source: Source) -> Collection[Partition]:
        doubts, now_us = source.doubts, self._now_us()
        if doubts or self._doubted_us:
            self._doubted_us = {partition: self._doubted_us.get(partition, now_us) for partition in doubts}
        return doubts

    def _given_up(self) -> Collection[Partition]:
        """Return the partitions that nobody could look at for so long that the others are not to wait for them."""
        since_us = self._now_us() - int(_SILENCE_LIMIT_S * 1e6)
        return [partition for partition, doubted_us in self._doubted_us.items() if doubted_us < since_us]

    async def _see_to_work(self, source: Source, current: _Assignment) -> None:
        """Wait while there is enough for the next batch, and see to it that somebody works on it."""
        if current.pipeline.unwritten and self._writing is None:
            self._writing = asyncio.create_task(current.pipeline.set_aside())
        if self._writing is not None and (self._writing.done() or _too_much_waits(current.pipeline)):
            await self._end_of_writing(self._writing)
        while self._work and not self._work.done() and current.pipeline.is_full:
            current.pipeline.prepare()
            current.moved.clear()
            await current.moved.wait()
        if self._work and self._work.done():
            await self._end_of_work(self._work)
        if self._work is None and self._assignment is current and not current.closing:
            self._work = asyncio.create_task(self._finish(source, current))
            # However it ends, nobody waits for it any longer.
            self._work.add_done_callback(lambda _: current.moved.set())

    async def _end_of_work(self, work: asyncio.Task[None]) -> None:
        """Wait for the work under way, which a rebalance may wait for, too, and cancel when it takes too long."""
        try:
            await asyncio.wait({work})
            if not work.cancelled():
                work.result()
        finally:
            work.cancel()
            if self._work is work:
                self._work = None

    async def _end_of_writing(self, writing: asyncio.Task[None]) -> None:
        """Wait until the dead letters are written, which a rebalance may wait for, too."""
        await asyncio.wait({writing})
        if self._writing is writing:
            self._writing = None
        if not writing.cancelled():
            writing.result()

    async def _begin(self, source: Source, partitions: Collection[Partition]) -> None:
        settings = self._settings
        self._standby = not partitions
        if self._standby:
            log.info("no partitions left for this consumer, standing by")
            return
        claim = await self._troubles.insist("postgres", lambda: self._store.claim(partitions))
        with self._troubles.calling("kafka"):
            known = {partition: progress.log for partition, progress in claim.progress.items()}
            logs = await source.look(known)
        self._troubles.end("kafka")
        buffer = Orders(
            region=settings.region,
            window_us=settings.reorder_window_ms * 1000,
            max_future_us=settings.reorder_max_future_ms * 1000,
            max_events=settings.buffer_max_events,
            max_bytes=settings.buffer_max_bytes * _ORDERED // _HELD,
            patience_us=_PATIENCE_US,
        )
        missing = known.keys() - logs.keys()
        begun = self._doubts.begin({partition: claim.progress[partition] for partition in logs}, logs)
        claim = replace(claim, progress={partition: found.progress for partition, found in begun.items()})
        starts = {partition: found.offset for partition, found in begun.items()}
        for partition, start in starts.items():
            watermark_us = claim.progress[partition].watermark_us
            has_unread = start < logs[partition].end
            buffer.assign(partition, watermark_us, self._now_us(), has_unread=has_unread)
        self._seen.use_store(claim.store_id)
        if claim.store_id != self._store_id:
            # What was stored in another database must not be remembered for this one.
            self._troubles.forget_how_to_try_again()
            self._store_id = claim.store_id
        pipeline = Pipeline(
            region=settings.region,
            claim=claim,
            buffer=buffer,
            bloom=self._bloom,
            seen=self._seen,
            store=self._rows,
            dead_letters=self._dead_letters,
            metrics=self._metrics,
            troubles=self._troubles,
            now_us=self._now_us,
            batch_max=settings.batch_max_events,
            max_bytes=settings.buffer_max_bytes,
            arrive=self._arrive,
        )
        source.begin(starts, {partition: progress.log for partition, progress in claim.progress.items()}, missing)
        pipeline.ends = source.ends
        # What was told is told once, and what retention takes before the first record is read can be told.
        await pipeline.check_in()
        self._assignment = _Assignment(pipeline, buffer, starts)
        log.info("partitions begun", generation=claim.generation, partitions=len(starts), missing=len(missing))

    async def _begin_anew(self, source: Source, current: _Assignment) -> None:
        """Begin as after an assignment, once all is stored that was read of logs that are not there any more."""
        if self._work is not None:
            await self._end_of_work(self._work)
        if self._assignment is current and not current.closing:
            current.closing = True
            self._work = asyncio.create_task(self._store_and_begin(source, current))
            await self._end_of_work(self._work)

    async def _store_and_begin(self, source: Source, current: _Assignment) -> None:
        await self._store_all(current)
        self._assignment = None
        await self._begin(source, [*current.starts, *source.missing])

    async def _store_all(self, current: _Assignment) -> None:
        """Store everything that was read, also that whose order is not certain."""
        if self._writing is not None:
            await self._end_of_writing(self._writing)
        current.pipeline.release_all()
        await current.pipeline.set_aside()
        while current.pipeline.unfinished:
            await current.pipeline.finish()
            await current.pipeline.remember()
        await current.pipeline.see_waiting_off()
        await current.pipeline.check_in()

    async def _finish(self, source: Source, current: _Assignment) -> None:
        """Store what is certain, batch after batch, and then do what is due now and then."""
        remembering: asyncio.Task[None] | None = None
        try:
            while current.pipeline.unfinished and not current.closing:
                await current.pipeline.finish()
                current.moved.set()
                if remembering is not None:
                    await remembering
                remembering = asyncio.create_task(current.pipeline.remember())
                await self._commit_now_and_then(source, current)
            if remembering is not None:
                await remembering
        finally:
            if remembering is not None:
                remembering.cancel()
        if self._now_us() - current.pipeline.stored_us >= _CHECK_IN_EVERY_US:
            await current.pipeline.check_in()
        if self._troubles.among(REDIS) and time.monotonic() - current.tried_again_at >= _TRY_AGAIN_EVERY_S:
            await current.pipeline.try_again()
            current.tried_again_at = time.monotonic()
        await self._commit_now_and_then(source, current)

    async def _commit_now_and_then(self, source: Source, current: _Assignment) -> None:
        if time.monotonic() - current.committed_at >= _COMMIT_EVERY_S:
            await self._commit(source, current)
            self._show(current, source.ends)

    async def _commit(self, source: Source, current: _Assignment) -> None:
        current.committed_at = time.monotonic()
        durable = current.pipeline.durable
        if durable and durable != current.committed:
            with self._metrics.batch_duration.labels(self._settings.region, "commit").time():
                with self._troubles.calling("kafka"):
                    committed = await source.commit(durable)
                self._troubles.end("kafka")
            if committed:
                current.committed = durable
                self._arrive("after-offset-commit")

    def _on_assigned(self, partitions: Collection[Partition]) -> None:
        self._metrics.rebalances.labels(self._settings.region).inc()
        log.info("partitions assigned", partitions=len(partitions))
        self._to_begin = partitions

    async def _hand_over(self) -> None:
        """
        Finish the batch under way, commit, and let go, all within one deadline.

        Events whose order is not certain yet are not written: their next owner reads them again, and only it can still put
        those in order that have not arrived.
        """
        self._to_begin = None
        current, source, work = self._assignment, self._source, self._work
        if current is not None:
            current.closing = True
        try:
            async with asyncio.timeout(self._settings.drain_timeout_ms / 1000):
                if work is not None:
                    await asyncio.wait({work})
                if current is not None and source is not None:
                    if self._writing is not None:
                        await self._end_of_writing(self._writing)
                    if source.doubts:
                        await self._store_all(current)  # who comes next may not find it in Kafka
                    await self._commit(source, current)
        except (TimeoutError, SourceUnavailableError) as exc:
            log.warning("handed over in haste", error=f"{type(exc).__name__}: {exc}")
        await self._abandon()

    async def _abandon(self) -> None:
        work, self._work, self._assignment = self._work, None, None
        self._to_begin = None
        self._standby = False
        if work is not None and not work.done():
            work.cancel()
        if work is not None:
            await asyncio.gather(work, return_exceptions=True)
        writing, self._writing = self._writing, None
        if writing is not None:
            # What it had not written is read again.
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._troubles.end("dead letters")
        self._metrics.buffer_size.labels(self._settings.region).set(0)
        # What goes to somebody else must not stay behind as lag that never shrinks, or a watermark that stands still.
        self._metrics.lag.clear()
        self._metrics.watermark.clear()

    def _show(self, current: _Assignment, ends: Mapping[Partition, int]) -> None:
        region = self._settings.region
        self._metrics.buffer_size.labels(region).set(len(current.buffer))
        self._metrics.paused.labels(region).set(len(current.buffer.to_pause()))
        watermark_us = current.buffer.watermark_us
        if watermark_us is not None:
            self._metrics.watermark.labels(region).set(watermark_us / 1e6)
        for partition, end in ends.items():
            lag = max(0, end - current.done(partition))
            self._metrics.lag.labels(region, partition.topic, str(partition.number)).set(lag)

    def _announce_label_sets(self) -> None:
        """Export zeros from the start: a rate over a series that appears with its first event misses that event."""
        region, metrics = self._settings.region, self._metrics
        for layer in ("redis", "postgres"):
            metrics.duplicates.labels(region, layer)
        for answer in ("new", "maybe"):
            metrics.bloom_checks.labels(region, answer)
        for late_reason in LATE_REASONS:
            metrics.late.labels(region, late_reason)
        for topic in consumed_topics(region, self._settings.regions):
            self._doubts.announce(topic)
        for reason in DEAD_LETTER_REASONS:
            metrics.dead_letters.labels(region, reason)
        for origin in self._settings.regions:
            metrics.stored.labels(region, origin)
            metrics.end_to_end.labels(region, origin)
        for stage in ("dedup", "store", "remember", "commit"):
            metrics.batch_duration.labels(region, stage)
        for gauge in (metrics.dedup_degraded, metrics.buffer_size, metrics.paused):
            gauge.labels(region).set(0)
        for counter in (metrics.store_retries, metrics.rebalances):
            counter.labels(region)
        metrics.batch_events.labels(region)
        metrics.ready.labels(region).set_function(lambda: self.readiness().ready)
        metrics.buffer_limit.labels(region).set(self._settings.buffer_max_events)


def _slices(polled: Mapping[Partition, Sequence[Record]]) -> Iterator[tuple[Partition, Sequence[Record]]]:
    for partition, records in polled.items():
        for begin in range(0, len(records), _DECODE_MAX):
            yield partition, records[begin : begin + _DECODE_MAX]


def _too_much_waits(pipeline: Pipeline) -> bool:
    return pipeline.unwritten > _UNWRITTEN_MAX or pipeline.unwritten_bytes > _UNWRITTEN_MAX_BYTES
