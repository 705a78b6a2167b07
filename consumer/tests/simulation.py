"""
A world of regions in memory, in which everything that may happen to a consumer happens, in an order that a seed decides.

No event loop: a consumer's life is a coroutine that is suspended at every call of a port, twice (before the effect and
before the answer), and the world decides who goes on. So a crash can come at every such point, two consumers can interleave
in every way, and a seed replays its history exactly.

Promises are checked at the moment at which they could be broken (`World.on_commit`, `on_remember`, `commit`), and once
more at the end, when everything works again and has been drained.
"""

import inspect
import types

from asyncio import CancelledError
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from random import Random
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

from prometheus_client import CollectorRegistry
from rbloom import Bloom

from consumer.bloom import RotatingBloom
from consumer.copy_format import fingerprint
from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition, Row
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.pipeline import REDIS, Pipeline
from consumer.ports import FencedError, Progress, StoreUnavailableError
from consumer.tests.fakes import (
    Memory,
    MemoryDatabase,
    MemoryDeadLetters,
    MemoryKafka,
    MemoryRecord,
    MemorySeenIds,
    MemoryStore,
    Tables,
)
from consumer.tests.strategies import POISON, a_record, is_poison
from consumer.troubles import Troubles
from shared.event.identity import Identity
from shared.wire.regions import LOGS, consumed_topics, mirrored_topic

T = TypeVar("T")

REGIONS: Final = ("region-a", "region-b", "region-c")
WINDOW: Final = 10
MAX_FUTURE: Final = 60
DAY: Final = 40
PATIENCE: Final = 3
START: Final = 1_000_000
RUBBISH: Final = (None, b"", b"\xff", b"{}", b'{"user": 1}')


class _Uncounted:
    """A metric that nobody reads: counting took a sixth of the time."""

    def labels(self, *_labels: str) -> "_Uncounted":
        return self

    def inc(self, _by: float = 1) -> None:
        pass

    def observe(self, _value: float) -> None:
        pass

    set = observe

    def observe_all(self, _values: Sequence[float]) -> None:
        pass

    def time(self) -> "_Uncounted":
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        pass


_METRICS: Final = cast(
    "ConsumerMetrics", SimpleNamespace(**dict.fromkeys(vars(ConsumerMetrics(CollectorRegistry())), _Uncounted()))
)


class BrokenPromiseError(AssertionError):
    """The simulation found a history that breaks a guarantee."""


def promise(kept: bool, sentence: str) -> None:  # noqa: FBT001 - reads like assert
    """Fail with `sentence` unless the promise is kept."""
    if not kept:
        raise BrokenPromiseError(sentence)


@types.coroutine
def _suspend() -> Generator[None, None, None]:
    yield


async def _suspend_at(_at: str) -> None:
    await _suspend()


@types.coroutine
def _alongside(
    work: Coroutine[Any, None, None], meanwhile: Callable[[], None], other: Coroutine[Any, None, None] | None
) -> Generator[None, None, None]:
    """Run `work` to its end, and wherever it is suspended call `meanwhile` and go on with `other`; then end that, too."""
    under_way = [work] if other is None else [work, other]
    try:
        while under_way:
            for each in list(under_way):
                try:
                    each.send(None)
                except StopIteration:
                    under_way.remove(each)
            if under_way:
                yield
                meanwhile()
    finally:
        for each in under_way:
            each.close()


@dataclass(frozen=True)
class Parts:
    """What consumers are made of; a planted mistake replaces one."""

    pipeline: type[Pipeline] = Pipeline
    orders: type[Orders] = Orders
    store: type[MemoryStore] = MemoryStore
    seen: type[MemorySeenIds] = MemorySeenIds


class WatchedBloom(RotatingBloom):
    """A small one, full of false positives, that reports what it is given."""

    def __init__(self, world: "World") -> None:
        super().__init__(expected_insertions=20, false_positive_rate=0.3)
        self._world = world

    def add_all(self, keys: Iterable[bytes]) -> None:
        keys = list(keys)
        promise(self._world.ever_stored.issuperset(keys), "the bloom filter was given an id that was never committed")
        super().add_all(keys)

    def _empty(self) -> Bloom:
        # The usual hash differs from process to process, and with it what is asked, and what happens.
        return Bloom(self._capacity, self._rate, _digest)


@lru_cache(maxsize=100_000)
def _digest(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=16).digest(), "big", signed=True)


class Consumer:
    """
    A consumer process of one region; does what `consumer/service.py` does, without Kafka's protocol.

    Args:
        world: Where it lives.
        region: Its own.
        instance: Its name.
    """

    def __init__(self, world: "World", region: str, instance: str) -> None:
        self._world = world
        self.region = region
        self._kafka = world.kafkas[region]
        self.store = world.parts.store(world.database, region=region, instance=instance)
        self.store.refuses = lambda row: is_poison(row.envelope)
        self.store.on_commit = self._on_commit
        self.seen = world.parts.seen(world.memory, region=region)
        self.seen.on_remember = world.on_remember
        for port in (self.store, self.seen):
            port.interrupt = _suspend_at
        self._bloom = WatchedBloom(world)
        self._troubles = Troubles()
        self._in_time: dict[tuple[Partition, int], tuple[Envelope, bytes]] = {}
        self.buffer: Orders | None = None
        self.pipeline: Pipeline | None = None
        self.positions: dict[Partition, int] = {}
        self._starts: Mapping[Partition, int] = {}
        self._restored_us: dict[Partition, int] = {}
        self._life: Coroutine[Any, None, None] = self._live()
        self.alive = True
        self.evicted = False

    def step(self) -> None:
        """Go on to the next call of a port."""
        try:
            self._life.send(None)
        except StopIteration:
            self.alive = False

    def rebalance(self) -> None:
        """Lose the assignment wherever the turn is, and get it again; the process lives on."""
        self._cancel()
        self._life = self._live()

    def crash(self) -> None:
        """End wherever the turn is."""
        self._cancel()
        self.alive = False

    def discard(self) -> None:
        """End without any meaning."""
        self._life.close()

    def commit(self) -> None:
        """Commit to Kafka what the pipeline says is durable; the group refuses one that was evicted."""
        if self.pipeline is None or self.evicted or not self.alive:
            return
        for partition, offset in self.pipeline.durable.items():
            self._world.check_durable(self.region, partition, offset, "committed to Kafka")
        self._kafka.commit(self.pipeline.durable)

    @property
    def drained(self) -> bool:
        """Whether everything was read, let out and is durable."""
        if self.pipeline is None or self.buffer is None or len(self.buffer):
            return False
        ends = {p: records[-1].offset + 1 for p, records in self._kafka.logs.items() if records}
        durable = self.pipeline.durable
        return all(durable.get(p, self._starts[p]) >= end for p, end in ends.items())

    def _cancel(self) -> None:
        self.pipeline = None
        if inspect.getcoroutinestate(self._life) == inspect.CORO_CREATED:
            self._life.close()
            return
        try:
            self._life.throw(CancelledError())
        except (CancelledError, StopIteration):
            return
        raise BrokenPromiseError("a cancelled turn went on")

    async def _live(self) -> None:
        while True:
            try:
                await self._session()
            except FencedError:
                self.pipeline = None
                if self.evicted:
                    return

    async def _session(self) -> None:
        world, kafka = self._world, self._kafka
        while True:
            try:
                claim = await self.store.claim(tuple(kafka.logs))
                break
            except StoreUnavailableError:
                await _suspend()
        self.buffer = buffer = world.parts.orders(
            region=self.region,
            window_us=WINDOW,
            max_future_us=MAX_FUTURE,
            max_events=world.max_events,
            max_bytes=10**9,
            patience_us=PATIENCE,
        )
        self._in_time.clear()
        self.positions = {}
        for partition in kafka.logs:
            committed, stored = kafka.committed.get(partition), claim.progress[partition].next_offset
            start = 0 if committed is None or stored is None else min(committed, stored)
            self.positions[partition] = start
            self._restored_us[partition] = claim.progress[partition].watermark_us or 0
            buffer.assign(
                partition,
                claim.progress[partition].watermark_us,
                world.now_us,
                has_unread=start < kafka.end(partition),
            )
        self._starts = dict(self.positions)
        self.seen.use_store(claim.store_id)
        self.pipeline = pipeline = world.parts.pipeline(
            region=self.region,
            claim=claim,
            buffer=_Watched(buffer, self._in_time),  # type: ignore[arg-type]
            bloom=self._bloom,
            seen=self.seen,
            store=self.store,
            dead_letters=world.dead_letters[self.region],
            metrics=_METRICS,
            troubles=self._troubles,
            now_us=lambda: world.now_us,
            batch_max=world.batch_max,
            max_bytes=10**9,
            pause=lambda _seconds: _suspend_at("pause"),
            day_us=DAY,
            try_waiting_every_us=3,
        )
        while True:
            await _suspend()
            pipeline.take(self._read(buffer, pipeline))
            was_set_aside = pipeline.unwritten > 0
            await pipeline.set_aside()
            remembering: Coroutine[Any, None, None] | None = None
            while pipeline.unfinished or was_set_aside:
                was_set_aside = False  # as far as the store is told
                # As in the service: what is read next is put in order, and Redis told of the last batch, while one is on
                # its way.
                await _alongside(pipeline.finish(), lambda: self._take_now_and_then(buffer, pipeline), remembering)
                remembering = pipeline.remember()
            if remembering is not None:
                await remembering
            if pipeline.waiting:
                world.counts["waited"] += 1
                await pipeline.check_in()
                await pipeline.remember()
            if self._troubles.among(REDIS):
                await pipeline.try_again()

    def _take_now_and_then(self, buffer: Orders, pipeline: Pipeline) -> None:
        chance = self._world.random.random()
        if chance < 0.2 and pipeline.unfinished < 2 * self._world.per_poll:
            self._world.counts["taken meanwhile"] += 1
            pipeline.take(self._read(buffer, pipeline))
        if chance < 0.1 or chance > 0.9:
            pipeline.take()
        if 0.4 < chance < 0.6:
            pipeline.prepare()

    def _read(self, buffer: Orders, pipeline: Pipeline) -> Mapping[Partition, int]:
        """Read, and return which partitions had nothing more, each with the time up to which that is certain."""
        world, kafka = self._world, self._kafka
        paused = buffer.to_pause()
        polled: dict[Partition, Sequence[MemoryRecord]] = {}
        empty: dict[Partition, int] = {}
        room = world.per_poll
        for partition in world.shuffled(self.positions):
            if partition in paused:
                continue
            if records := kafka.read(partition, self.positions[partition], room):
                polled[partition] = records
                room -= len(records)
                self.positions[partition] = records[-1].offset + 1
            if kafka.is_read(partition, self.positions[partition]) and (not records or world.random.random() < 0.5):
                empty[partition] = world.now_us - world.one_of((0, 1, 5))
        for partition, records in polled.items():
            pipeline.decode(partition, records)
        return empty

    def _on_commit(self, progress: Mapping[Partition, Progress]) -> None:
        world = self._world
        world.ever_stored.update(world.database.tables.identities)
        rows = world.database.tables.rows
        envelopes = [stored.row.envelope for stored in rows[world.rows_seen :]]
        world.ever_said.update((envelope.identity, fingerprint(envelope.columns)) for envelope in envelopes)
        world.rows_seen = len(rows)
        for (partition, offset), (envelope, key) in list(self._in_time.items()):
            done = progress.get(partition)
            poison = is_poison(envelope)
            if poison or key in world.ever_stored or (done and offset < (done.next_offset or 0)):
                del self._in_time[partition, offset]
            elif done and done.watermark_us is not None:
                # What the last owner would have called late, its successor's successor may.
                late = self._restored_us[partition] <= envelope.time_us < done.watermark_us
                promise(not late, f"a successor would call {partition} {offset} late, which was in time")
        for partition, done in progress.items():
            if done.next_offset is not None:
                world.check_durable(self.region, partition, done.next_offset, "noted as done in the store")
                world.check_there(self.region, partition, done.next_offset)


class _Watched:
    """A reorder buffer that reports what it found to be in time."""

    def __init__(self, buffer: Orders, in_time: dict[tuple[Partition, int], tuple[Envelope, bytes]]) -> None:
        self._buffer = buffer
        self._in_time = in_time
        self.lateness = buffer.lateness
        self.confirm_empty = buffer.confirm_empty
        self.resume_point = buffer.resume_point
        self.advance = buffer.advance

    @property
    def held_bytes(self) -> int:
        return self._buffer.held_bytes

    def offer(self, arrived: Sequence[Envelope], now_us: int) -> list[Row]:
        late = self._buffer.offer(arrived, now_us)
        coordinates = {(row.envelope.partition, row.envelope.offset) for row in late}
        for envelope in arrived:
            if (envelope.partition, envelope.offset) not in coordinates:
                self._in_time[envelope.partition, envelope.offset] = (envelope, envelope.identity)
        return late

    def release(self) -> list[list[Row]]:
        return self._buffer.release()


@dataclass(slots=True)
class Accepted:
    """An event as clients and producers know it."""

    number: int
    time_us: int
    trace: int
    region: str
    index: int
    message: str

    @property
    def poison(self) -> bool:
        """Whether the store is told to refuse it."""
        return self.message == POISON


@dataclass(slots=True)
class Cursor:
    """How far the records of a partition are known to be durable."""

    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Record:
    """What a Kafka record is to the checker."""

    identity: Identity | None
    poison: bool
    said: int = 0


@lru_cache(maxsize=1000)
def _as_known(value: bytes | None) -> Record:
    decoded = Decoder(Partition(LOGS, 0), REGIONS[0]).decode(MemoryRecord(0, None, value))
    if isinstance(decoded, Envelope):
        return Record(decoded.identity, is_poison(decoded), fingerprint(decoded.columns))
    return Record(None, poison=False)


class World:
    """
    Regions, their mirrors, one store and one memory of ids.

    Args:
        seed: Decides everything.
        parts: What consumers are made of.
    """

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        self.random = Random(seed)
        self.parts = parts or Parts()
        self.now_us = START
        self.regions = REGIONS[: self.one_of((1, 2, 2, 3))]
        self.numbers = range(self.one_of((1, 2)))
        self.max_events = self.one_of((3, 8, 1000))
        self.batch_max = self.one_of((1, 2, 4, 100))
        self.per_poll = self.one_of((2, 5, 20))
        # How often a link copies nothing: some lag for as long as the history lasts.
        self.slow = {region: self.one_of((0, 0, 0.5, 0.95)) for region in REGIONS}
        self.renamed = self.random.random() < 0.5
        self.database = MemoryDatabase()
        self.database.day_us = DAY
        self.memory: Memory = {}
        self.kafkas = {
            region: MemoryKafka([Partition(t, n) for t in consumed_topics(region, self.regions) for n in self.numbers])
            for region in self.regions
        }
        self.dead_letters = {region: MemoryDeadLetters() for region in self.regions}
        for letters in self.dead_letters.values():
            letters.interrupt = _suspend_at
        self.accepted: list[Accepted] = []
        self.ever_stored: set[bytes] = set()
        self.ever_said: set[tuple[bytes, int]] = set()
        self.rows_seen = 0
        self.snapshots: list[Tables] = []
        self.was_set_back = False
        self.counts: dict[str, int] = defaultdict(int)
        self._known: dict[tuple[str, Partition, int], Record] = {}
        self._cursors: dict[tuple[str, Partition], Cursor] = defaultdict(Cursor)
        self._there: dict[tuple[str, Partition], Cursor] = defaultdict(Cursor)
        self._mirrored: dict[tuple[str, str, int], int] = defaultdict(int)
        self._started = 0
        self._evicted: list[Consumer] = []
        self.consumers = {region: self._new_consumer(region) for region in self.regions}

    def shuffled(self, partitions: Collection[Partition]) -> list[Partition]:
        """Return them in an order of the seed's choice."""
        return sorted(partitions, key=lambda _: self.random.random())

    def one_of(self, options: Sequence[T]) -> T:
        """Return the seed's choice, in a fifth of the time that `Random.choice` takes."""
        return options[int(self.random.random() * len(options))]

    def run(self, steps: int) -> None:
        """
        Live through a history, then heal, drain and check.

        Raises:
            BrokenPromiseError: A guarantee was broken.
        """
        actions = {
            self._consume: 60,
            self._time_passes: 12,
            self._accept: 14,
            self._accept_again: 3,
            self._accept_rubbish: 1,
            self._import_history: 0.7,
            self._mirror: 8,
            self._mirror_again: 1,
            self._commit: 6,
            self._crash: 1,
            self._rebalance: 1,
            self._evict: 1,
            self._store_fails: 2,
            self._lock_or_unlock_a_day: 2,
            self._store_is_slow: 0.7,
            self._seen_fails: 1,
            self._seen_forgets: 1,
            self._dead_letters_fail: 1,
            self._take_snapshot: 1,
            self._set_back: 0.5,
        }
        for action in self.random.choices(list(actions), list(actions.values()), k=steps):
            action()
        self._heal_and_drain()
        self._check_everything()

    # -- what may happen

    def _new_consumer(self, region: str) -> Consumer:
        self._started += 1
        return Consumer(self, region, f"instance-{self._started}")

    def _any_region(self) -> str:
        return self.one_of(self.regions)

    def _any_consumer(self) -> Consumer:
        return self.consumers[self._any_region()]

    def _consume(self) -> None:
        consumer = self.one_of([*self.consumers.values(), *self._evicted])
        for _ in range(self.one_of((1, 1, 2, 10))):
            if consumer.alive:
                consumer.step()
        self._evicted = [zombie for zombie in self._evicted if zombie.alive]

    def _time_passes(self) -> None:
        self.now_us += self.one_of((1, 3, WINDOW, 5 * WINDOW))

    def _accept(self) -> None:
        for _ in range(self.one_of((1, 2, 6))):
            age = self.one_of((0, 0, 1, 2, 5, WINDOW, WINDOW + 5, 100, -5, -MAX_FUTURE, -MAX_FUTURE - 1))
            message = POISON if self.random.random() < 0.03 else "Hello"
            number = len(self.accepted)
            trace = self.random.randrange(3)
            event = Accepted(number, self.now_us - age, trace, self._any_region(), number, message)
            self._write(event)
            self.accepted.append(event)

    def _accept_again(self) -> None:
        """A client tries again: anywhere, and sometimes what was poison is mended, or another event gets its identity."""
        if self.accepted:
            first = self.one_of(self.accepted[-8:])
            changes = self.random.random() < (0.5 if first.poison else 0.3)
            message = "Changed" if changes else first.message
            again = Accepted(first.number, first.time_us, first.trace, self._any_region(), len(self.accepted), message)
            self._write(again)
            self.accepted.append(again)
            self.counts["accepted again"] += 1

    def _write(self, event: Accepted) -> None:
        record = a_record(
            event.number,
            time_us=event.time_us,
            received_us=self.now_us,
            correlation_id=f"trace-{event.trace}",
            message=event.message,
            origin_region=event.region,
        )
        partition = Partition(LOGS, event.trace % len(self.numbers))
        self._append(event.region, partition, b"trace", record.encode())

    def _import_history(self) -> None:
        """Somebody writes old events into one partition, more than are read at once."""
        region, trace = self._any_region(), self.random.randrange(3)
        for n in range(3 * self.per_poll):
            number = len(self.accepted)
            event = Accepted(number, self.now_us - 5000 + n // 2, trace, region, number, "")
            self._write(event)
            self.accepted.append(event)
        self.counts["history imported"] += 1

    def _accept_rubbish(self) -> None:
        partition = Partition(LOGS, self.one_of(self.numbers))
        self._append(self._any_region(), partition, None, self.one_of(RUBBISH))

    def _append(self, region: str, partition: Partition, key: bytes | None, value: bytes | None) -> None:
        if self.random.random() < 0.1:
            self.kafkas[region].skip(partition)
        record = self.kafkas[region].append(partition, key, value)
        self._known[region, partition, record.offset] = _as_known(value)

    def _mirror(self, at_most: int = 6) -> None:
        for source in self.regions:
            for target in self.regions:
                for number in self.numbers if source != target else ():
                    if at_most < 10**6 and self.random.random() < self.slow[source]:
                        continue
                    position = self._mirrored[source, target, number]
                    for record in self.kafkas[source].logs[Partition(LOGS, number)][position : position + at_most]:
                        self._append(target, Partition(mirrored_topic(source), number), record.key, record.value)
                        self._mirrored[source, target, number] += 1

    def _mirror_again(self) -> None:
        """MirrorMaker forgets its place and copies some records a second time."""
        for key in self._mirrored:
            self._mirrored[key] = max(0, self._mirrored[key] - self.random.randrange(6))
        self.counts["mirrored again"] += 1

    def _commit(self) -> None:
        self._any_consumer().commit()

    def _crash(self) -> None:
        region = self._any_region()
        self.consumers[region].crash()
        self.consumers[region] = self._new_consumer(region)
        self.counts["crash"] += 1

    def _rebalance(self) -> None:
        consumer = self._any_consumer()
        if self.random.random() < 0.5:
            consumer.commit()
        consumer.rebalance()
        self.counts["rebalance"] += 1

    def _evict(self) -> None:
        """Another takes over while this one still believes that it owns the partitions."""
        region = self._any_region()
        zombie = self.consumers[region]
        zombie.evicted = True
        self._evicted.append(zombie)
        self.consumers[region] = self._new_consumer(region)
        self.counts["evicted"] += 1

    def _store_fails(self) -> None:
        store = self._any_consumer().store
        if self.random.random() < 0.5:
            store.unavailable = self.random.randrange(3)
        else:
            store.lost_answers = self.random.randrange(3)

    def _lock_or_unlock_a_day(self) -> None:
        locked = self.database.locked_days
        if locked and self.random.random() < 0.5:
            locked.clear()
        else:
            locked.add(self.now_us // DAY - self.one_of((0, 0, 0, 1, 2)))
            self.counts["day locked"] += 1

    def _store_is_slow(self) -> None:
        """Larger batches are given up, for a while."""
        store = self._any_consumer().store
        store.most_in_time = self.one_of((1, 2, 10**9))
        self.counts["slow store"] += 1

    def _seen_fails(self) -> None:
        seen = self._any_consumer().seen
        if self.random.random() < 0.5:
            seen.unavailable = not seen.unavailable
        else:
            seen.read_only = not seen.read_only

    def _seen_forgets(self) -> None:
        if self.random.random() < 0.5:
            self.memory.clear()
        for key in self.random.sample(list(self.memory), len(self.memory) // 2):
            del self.memory[key]

    def _dead_letters_fail(self) -> None:
        self.dead_letters[self._any_region()].unavailable = self.random.randrange(3)

    def _take_snapshot(self) -> None:
        self.snapshots.append(self.database.snapshot())

    def _set_back(self) -> None:
        """
        The store is restored from a backup.

        By one who gives it a new name with that, by one who stops the consumers for it, or while nobody is told.
        """
        if self.snapshots:
            self.database.set_back(self.one_of(self.snapshots), renamed=self.renamed)
            self._there.clear()
            self.rows_seen = len(self.database.tables.rows)
            if not self.renamed and self.random.random() < 0.5:
                for region, consumer in self.consumers.items():
                    consumer.crash()
                    self.consumers[region] = self._new_consumer(region)
            self.was_set_back = True
            self.counts["set back"] += 1

    # -- what must hold

    def on_remember(self, envelopes: Sequence[Envelope]) -> None:
        """Check that what caches are told has been committed."""
        for envelope in envelopes:
            promise(envelope.identity in self.ever_stored, "an id was remembered that was never committed")

    def check_durable(self, region: str, partition: Partition, offset: int, what: str) -> None:
        """Check that every record below an offset is stored, or a dead letter."""
        if missing := self._missing_below(
            self._cursors[region, partition], region, partition, offset, self.ever_stored
        ):
            raise BrokenPromiseError(f"{what}: {offset} of {region} {partition}, but not {missing}")

    def check_there(self, region: str, partition: Partition, offset: int) -> None:
        """Check that every record below an offset is in the store as it is now, whatever it was before it was set back."""
        if self.was_set_back and not self.renamed:
            return  # one that began after that believes what the memory knows of rows that are gone, until they are replayed
        there = self.database.tables.identities
        if missing := self._missing_below(self._there[region, partition], region, partition, offset, there):
            raise BrokenPromiseError(
                f"noted as done: {offset} of {region} {partition}, but {missing} is not there any more"
            )

    def _missing_below(
        self, cursor: Cursor, region: str, partition: Partition, offset: int, there: Collection[bytes]
    ) -> str | None:
        log = self.kafkas[region].logs[partition]
        if cursor.offset >= offset:
            return None
        set_aside = {(letter.partition, letter.offset) for letter in self.dead_letters[region].letters}
        while cursor.index < len(log) and log[cursor.index].offset < offset:
            record = self._known[region, partition, log[cursor.index].offset]
            stored = record.identity is not None and record.identity in there
            aside = (partition, log[cursor.index].offset) in set_aside
            # One that says something else than what is stored must have been told of.
            stored = stored and (aside or record.poison or (record.identity, record.said) in self.ever_said)
            if not stored and not (aside and (record.identity is None or record.poison)):
                return str(log[cursor.index].offset)
            cursor.index += 1
        cursor.offset = offset
        return None

    def _heal_and_drain(self) -> None:
        self.database.locked_days.clear()
        for zombie in self._evicted:
            zombie.crash()
        for region, consumer in self.consumers.items():
            consumer.crash()
            self.consumers[region] = self._new_consumer(region)
            self.dead_letters[region].unavailable = 0
        self._mirror(at_most=10**6)
        records = sum(len(log) for kafka in self.kafkas.values() for log in kafka.logs.values())
        for _ in range(100 + 20 * records):
            for consumer in self.consumers.values():
                for _ in range(3):
                    consumer.step()
            self.now_us += 1
            if all(consumer.drained for consumer in self.consumers.values()):
                break
        for consumer in self.consumers.values():
            promise(consumer.drained, "everything works, yet something is not stored")
            consumer.commit()

    def _check_everything(self) -> None:
        rows = self.database.tables.rows
        stored = [row.row.envelope.identity for row in rows]
        promise(len(set(stored)) == len(stored), "an event is stored twice")
        expected = {r.identity for r in self._known.values() if r.identity is not None and not r.poison}
        promise(expected <= set(stored), f"{len(expected - set(stored))} events are lost")
        promise(set(stored) <= expected, "something is stored that nobody sent")
        self._check_order()
        for row in rows:
            lateness = row.row.lateness
            promise(lateness is None or lateness.by_ms > 0, "late by nothing")
        self._check_dead_letters(set(stored))

    def _check_order(self) -> None:
        latest: dict[str, int] = {}
        for row in self.database.tables.rows:
            if row.row.lateness is None:
                time_us = row.row.envelope.time_us
                promise(time_us >= latest.get(row.stored_by, 0), f"{row.stored_by} wrote out of order")
                latest[row.stored_by] = time_us
        if self.was_set_back:
            return  # the memory of ids may then let one region refill what the other wrote first
        times = Counter(event.number for event in self.accepted)
        once = [event for event in self.accepted if times[event.number] == 1]
        place = {int.from_bytes(row.row.envelope.event_id): row.seq for row in self.database.tables.rows}
        last: dict[tuple[str, int, int], int] = {}
        for event in once:
            if event.number in place:
                key = (event.region, event.trace, event.time_us)
                promise(place[event.number] > last.get(key, 0), "events of one trace and time changed places")
                last[key] = place[event.number]

    def _check_dead_letters(self, stored: set[bytes]) -> None:
        there = {row.row.envelope.identity: row.row.envelope for row in self.database.tables.rows}
        versions: dict[bytes | None, set[int]] = defaultdict(set)
        for known in self._known.values():
            if not known.poison:
                versions[known.identity].add(known.said)
        for region, kafka in self.kafkas.items():
            letters = {(letter.partition, letter.offset): letter for letter in self.dead_letters[region].letters}
            for partition, log in kafka.logs.items():
                for record in log:
                    known = self._known[region, partition, record.offset]
                    letter = letters.pop((partition, record.offset), None)
                    if known.identity is None:
                        promise(letter is not None, "a record that cannot be decoded is no dead letter")
                    elif known.poison:
                        promise(letter is not None or known.identity in stored, "a refused record is no dead letter")
                    elif len(versions[known.identity]) == 1:
                        promise(letter is None, "a valid record became a dead letter")
                    else:
                        promise(letter is None or letter.reason == "conflict", "a conflict has another reason")
                        lost = known.said != fingerprint(there[known.identity].columns)
                        promise(self.was_set_back or not lost or letter is not None, "a conflict was not told")
                        self.counts["conflicts"] += letter is not None
                    promise(letter is None or (letter.key, letter.value) == (record.key, record.value), "bytes changed")
            promise(not letters, "a dead letter of no record")


def live_through(seed: int, parts: Parts | None = None, *, steps: int = 150) -> World:
    """
    Run the history of a seed.

    Raises:
        BrokenPromiseError: A guarantee was broken.
    """
    world = World(seed, parts)
    try:
        world.run(steps)
    finally:
        for consumer in world.consumers.values():
            consumer.discard()
    return world
