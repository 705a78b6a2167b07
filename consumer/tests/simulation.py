"""
A world of regions in memory, in which everything that may happen to a consumer happens, in an order that a seed decides.

The consumers are the real ones, from their session on: `Session`, `Takeover`, `Assignment`, `Pipeline`, `Writer`. Each has an event loop
that the world drives (`simulated_loop.py`). Every call of a port waits there twice, before its effect and before its answer,
and the world decides which goes on. So a crash can come at every such point, tasks and consumers can interleave in every way,
and a seed replays its history exactly.

Promises are checked at the moment at which they could be broken (`World.on_commit`, `on_remember`, `commit`), and once
more at the end, when everything works again and has been drained.
"""

import asyncio

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from random import Random
from types import SimpleNamespace
from typing import Final, TypeVar, cast

from prometheus_client import CollectorRegistry
from rbloom import Bloom

from consumer.aside import Aside
from consumer.assignment import Assignment
from consumer.beginnings import Finding, Log
from consumer.beginnings import fingerprint as record_fingerprint
from consumer.bloom import RotatingBloom
from consumer.copy_format import fingerprint
from consumer.decode import Decoder, Record
from consumer.doubts import Doubts
from consumer.envelope import DeadLetter, Envelope, Partition, Row
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.outages import Outages
from consumer.pipeline import Pipeline
from consumer.ports import KnownLog, Progress, SourceUnavailableError
from consumer.session import Session
from consumer.source import OnAssigned, OnRevoked, Source
from consumer.surroundings import Limits, Ports, Surroundings
from consumer.takeover import Takeover
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
from consumer.tests.simulated_loop import SimulatedLoop
from consumer.tests.strategies import POISON, a_record, is_poison
from consumer.transactions import Transactions
from consumer.tuning import Pace
from consumer.writer import Writer
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
    """A metric that counts nothing: counting took a sixth of the time."""

    def __getitem__(self, _labels: object) -> "_Uncounted":
        return self

    def inc(self, _by: float = 1) -> None:
        pass

    def observe(self, _value: float) -> None:
        pass

    set = observe

    def clear(self) -> None:
        pass

    def observe_all(self, _values: Sequence[float]) -> None:
        pass

    def time(self) -> "_Uncounted":
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        pass


_PACE: Final = Pace(
    decode_max=3, commit_every_us=12, check_in_every_us=40, probe_every_us=4, unwritten_max=2, unwritten_max_bytes=10**9
)


def _show(_buffer: object, _unread: object) -> None:
    pass


_METRICS: Final = cast(
    "ConsumerMetrics",
    SimpleNamespace(
        **dict.fromkeys(vars(ConsumerMetrics(CollectorRegistry(), REGIONS[0], REGIONS)), _Uncounted()), show=_show
    ),
)


class BrokenPromiseError(AssertionError):
    """The simulation found a history that breaks a guarantee."""


def promise(kept: bool, sentence: str) -> None:  # noqa: FBT001 - reads like assert
    """Fail with `sentence` unless the promise is kept."""
    if not kept:
        raise BrokenPromiseError(sentence)


@dataclass(frozen=True)
class Parts:
    """What consumers are made of; a planted mistake replaces one."""

    assignment: type[Assignment] = Assignment
    pipeline: type[Pipeline] = Pipeline
    writer: type[Writer] = Writer
    transactions: type[Transactions] = Transactions
    aside: type[Aside] = Aside
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
        self._world.promise(
            self._world.ever_stored.issuperset(keys), "the bloom filter was given an id that was never committed"
        )
        super().add_all(keys)

    def _empty(self) -> Bloom:
        # The usual hash differs from process to process, and with it what is asked, and what happens.
        return Bloom(self._capacity, self._rate, _digest)


@lru_cache(maxsize=100_000)
def _digest(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=16).digest(), "big", signed=True)


class SimulatedSource:
    """
    `Source` over a Kafka in memory, whose group has one member at a time that may believe that it is.

    Args:
        consumer: Who reads.
        on_revoked: Awaited before partitions are taken away.
        on_assigned: Told of new ones.
    """

    def __init__(self, consumer: "Consumer", on_revoked: OnRevoked, on_assigned: OnAssigned) -> None:
        self.missing: frozenset[Partition] = frozenset()
        self.found = False
        self.doubts: Collection[Partition] = ()
        self.refuses = False
        self._consumer = consumer
        self._world = consumer.world
        self._kafka = consumer.world.kafkas[consumer.region]
        self._io = consumer.loop.io
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned
        self._positions: dict[Partition, int] = {}
        self._paused: Collection[Partition] = ()
        self._read: Collection[Partition] = ()
        self._generation = 0
        self._rebalancing: asyncio.Task[None] | None = None

    @property
    def ends(self) -> Mapping[Partition, int]:
        return {partition: self._kafka.end(partition) for partition in self._positions}

    async def start(self) -> None:
        await self._io("join")
        if self._consumer.evicted:
            self._consumer.is_out = True
            await asyncio.Event().wait()
        self._on_assigned(tuple(self._kafka.logs))

    async def stop(self) -> None:
        if self._rebalancing is not None:
            self._rebalancing.cancel()
        await self._io("leave")

    def rebalance(self) -> None:
        """Take the partitions away and give them back, as the group does when a member comes or goes."""
        if self._rebalancing is None or self._rebalancing.done():
            self._rebalancing = self._consumer.loop.create_task(self._rebalance())

    async def _rebalance(self) -> None:
        await self._on_revoked()
        self._generation += 1
        self._positions = {}
        await self._io("rejoin")
        self._on_assigned(tuple(self._kafka.logs))

    async def look(self, known: Mapping[Partition, KnownLog]) -> Mapping[Partition, Log]:
        await self._call("look")
        return {partition: self._log(partition, log.last_offset) for partition, log in known.items()}

    def _log(self, partition: Partition, last_offset: int | None) -> Log:
        kafka = self._kafka
        found = [] if last_offset is None else kafka.read(partition, last_offset, 1)
        record = record_fingerprint(found[0]) if found and found[0].offset == last_offset else None
        return Log(0, kafka.end(partition), kafka.committed.get(partition), "topic", record)

    def begin(
        self,
        starts: Mapping[Partition, int],
        _known: Mapping[Partition, KnownLog],
        _missing: Collection[Partition] = (),
    ) -> None:
        self._positions = dict(starts)
        self._paused = ()

    async def poll(self, shares: Mapping[Partition, int], _timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        await self._call("poll")
        polled: dict[Partition, Sequence[Record]] = {}
        room = self._world.per_poll
        for partition in self._world.shuffled(shares):
            if partition in self._paused or partition not in self._positions:
                continue
            if records := self._kafka.read(partition, self._positions[partition], min(room, shares[partition])):
                polled[partition] = records
                room -= len(records)
                self._positions[partition] = records[-1].offset + 1
        self._read = polled.keys()
        return polled

    async def known_empty(self) -> Mapping[Partition, int]:
        world = self._world
        if world.random.random() < 0.1:
            await self._io("position")
        return {
            partition: world.now_us - world.one_of((0, 1, 5))
            for partition, position in self._positions.items()
            if partition not in self._paused
            and self._kafka.is_read(partition, position)
            and (partition not in self._read or world.random.random() < 0.5)
        }

    def pause_only(self, partitions: Collection[Partition]) -> None:
        self._paused = partitions

    def findings(self) -> Mapping[Partition, Finding]:
        return {}

    def go_on(self, partition: Partition, position: int, end: int) -> None:
        raise NotImplementedError(partition, position, end)

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        generation = self._generation
        await self._call("commit")
        if self._consumer.evicted or generation != self._generation:
            return False
        for partition, offset in offsets.items():
            self._world.check_durable(self._consumer.region, partition, offset, "committed to Kafka")
        self._kafka.commit(offsets)
        await self._io("committed")
        return True

    async def ask_ends(self, partitions: Collection[Partition], _timeout_s: float) -> Mapping[Partition, int]:
        return {partition: self._kafka.end(partition) for partition in partitions}

    def silence_s(self, _limit_s: float) -> float:
        return 0.0

    def silent(self, _limit_s: float) -> Collection[Partition]:
        return ()

    async def _call(self, what: str) -> None:
        await self._io(what)
        if self.refuses:
            raise SourceUnavailableError("told to refuse")


class Consumer:
    """
    A consumer process of one region.

    Args:
        world: Where it lives.
        region: Its own.
        instance: Its name.
    """

    def __init__(self, world: "World", region: str, instance: str) -> None:
        self.world = world
        self.region = region
        self.loop = SimulatedLoop(world.random)  # type: ignore[abstract]  # what else a loop can do is not used
        self.store = world.parts.store(world.database, region=region, instance=instance)
        self.store.refuses = lambda row: is_poison(row.envelope)
        self.store.on_commit = self._on_commit
        self.seen = world.parts.seen(world.memory, region=region)
        self.seen.on_remember = world.on_remember
        dead_letters = DeadLettersOf(world.dead_letters[region], self.loop)
        for port in (self.store, self.seen):
            port.interrupt = self.loop.io
        self._in_time: dict[tuple[Partition, int], tuple[Envelope, bytes]] = {}
        self._restored_us: dict[Partition, int] = {}
        around = Surroundings(region, Outages(lambda: 0.0), _METRICS, Doubts(_METRICS), lambda: world.now_us, _PACE)
        takeover = Takeover(
            Ports(self.store, self.seen, dead_letters, WatchedBloom(world)),
            Limits(world.batch_max, 10**9),
            around,
            make_buffer=self._make_buffer,
            make_pipeline=world.parts.pipeline,
            make_writer=partial(
                world.parts.writer, day_us=DAY, try_waiting_every_us=3, make_transactions=world.parts.transactions
            ),
            make_aside=world.parts.aside,
            make_assignment=world.parts.assignment,
        )
        self.session = Session(self._connect, takeover, around, drain_s=1)
        self.source: SimulatedSource | None = None
        self._life = self.loop.create_task(self.session.run())
        self.alive = True
        self.evicted = False
        self.is_out = False

    def step(self) -> None:
        """Go on with one call of a port."""
        self.loop.step()
        if self.world.broken is not None:
            raise self.world.broken
        if self._life.done():
            self._life.result()
            self.alive = False
        if self.is_out:
            self.crash()
        current = self.session.assignment
        if current is not None and current.writer.waiting:
            self.world.counts["waited"] += 1

    def rebalance(self, *, hard: bool) -> None:
        """Lose the assignment, and get it again; where it is hard, without a word before."""
        if self.source is not None:
            self.source.refuses = self.source.refuses or hard
            if not hard:
                self.source.rebalance()

    def stop(self) -> None:
        """Ask it to end."""
        self.session.stop()

    def crash(self) -> None:
        """End wherever it is."""
        self.loop.kill()
        self.alive = False

    @property
    def drained(self) -> bool:
        """Whether everything was read, let out and is durable."""
        current = self.session.assignment
        if current is None or current.closing or len(current.buffer):
            return False
        kafka = self.world.kafkas[self.region]
        ends = {p: records[-1].offset + 1 for p, records in kafka.logs.items() if records}
        return all(current.commits.done(p) >= end for p, end in ends.items())

    def _connect(self, on_revoked: OnRevoked, on_assigned: OnAssigned) -> Source:
        self.source = SimulatedSource(self, on_revoked, on_assigned)
        return self.source

    def _make_buffer(self) -> Orders:
        """Make one that tells what it found to be in time, and what the last owner left."""
        world = self.world
        self._in_time.clear()
        buffer = world.parts.orders(
            region=self.region,
            window_us=WINDOW,
            max_future_us=MAX_FUTURE,
            max_events=world.max_events,
            max_bytes=10**9,
            patience_us=PATIENCE,
        )
        offer, assign = buffer.offer, buffer.assign

        def watched_offer(arrived: Sequence[Envelope], now_us: int) -> list[Row]:
            late = offer(arrived, now_us)
            coordinates = {(row.envelope.partition, row.envelope.offset) for row in late}
            for envelope in arrived:
                if (envelope.partition, envelope.offset) not in coordinates:
                    self._in_time[envelope.partition, envelope.offset] = (envelope, envelope.identity)
            return late

        def watched_assign(partition: Partition, watermark_us: int | None, now_us: int, *, has_unread: bool) -> None:
            self._restored_us[partition] = watermark_us or 0
            assign(partition, watermark_us, now_us, has_unread=has_unread)

        buffer.offer = watched_offer  # type: ignore[method-assign]
        buffer.assign = watched_assign  # type: ignore[method-assign]
        return buffer

    def _on_commit(self, progress: Mapping[Partition, Progress]) -> None:
        world = self.world
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
                world.promise(not late, f"a successor would call {partition} {offset} late, which was in time")
        for partition, done in progress.items():
            if done.next_offset is not None:
                world.check_durable(self.region, partition, done.next_offset, "noted as done in the store")
                world.check_there(self.region, partition, done.next_offset)


class DeadLettersOf:
    """
    A region's dead letters as one consumer writes them.

    Args:
        shared: The region's.
        loop: The consumer's.
    """

    def __init__(self, shared: MemoryDeadLetters, loop: SimulatedLoop) -> None:
        self._shared = shared
        self._loop = loop

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Make them durable; see `DeadLetters`."""
        await self._loop.io("dead letters begin")
        await self._shared.write(letters)
        await self._loop.io("dead letters took effect")


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
class Known:
    """What a Kafka record is to the checker."""

    identity: Identity | None
    poison: bool
    said: int = 0


@lru_cache(maxsize=1000)
def _as_known(value: bytes | None) -> Known:
    decoded = Decoder(Partition(LOGS, 0), REGIONS[0]).decode(MemoryRecord(0, None, value))
    if isinstance(decoded, Envelope):
        return Known(decoded.identity, is_poison(decoded), fingerprint(decoded.columns))
    return Known(None, poison=False)


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
        self.accepted: list[Accepted] = []
        self.ever_stored: set[bytes] = set()
        self.ever_said: set[tuple[bytes, int]] = set()
        self.rows_seen = 0
        self.snapshots: list[Tables] = []
        self.was_set_back = False
        self.broken: BrokenPromiseError | None = None
        self.counts: dict[str, int] = defaultdict(int)
        self._known: dict[tuple[str, Partition, int], Known] = {}
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
        """Old events are written into one partition, more than are read at once."""
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

    def _crash(self) -> None:
        region = self._any_region()
        self.consumers[region].crash()
        self.consumers[region] = self._new_consumer(region)
        self.counts["crash"] += 1

    def _rebalance(self) -> None:
        self._any_consumer().rebalance(hard=self.random.random() < 0.5)
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

        By one who gives it a new name with that, by one who stops the consumers for it, or without a word.
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

    def promise(self, kept: bool, sentence: str) -> None:  # noqa: FBT001 - as `promise`
        """Fail, also where no caller gets the error: in a task whose end is not waited for."""
        if not kept:
            self.broken = BrokenPromiseError(sentence)
            raise self.broken

    def on_remember(self, envelopes: Sequence[Envelope]) -> None:
        """Check that what caches are told has been committed."""
        for envelope in envelopes:
            self.promise(envelope.identity in self.ever_stored, "an id was remembered that was never committed")

    def check_durable(self, region: str, partition: Partition, offset: int, what: str) -> None:
        """Check that every record below an offset is stored, or a dead letter."""
        if missing := self._missing_below(
            self._cursors[region, partition], region, partition, offset, self.ever_stored
        ):
            self.promise(kept=False, sentence=f"{what}: {offset} of {region} {partition}, but not {missing}")

    def check_there(self, region: str, partition: Partition, offset: int) -> None:
        """Check that every record below an offset is in the store as it is now, whatever it was before it was set back."""
        if self.was_set_back and not self.renamed:
            return  # one that began after that believes what the memory knows of rows that are gone, until they are replayed
        there = self.database.tables.identities
        if missing := self._missing_below(self._there[region, partition], region, partition, offset, there):
            self.promise(
                kept=False,
                sentence=f"noted as done: {offset} of {region} {partition}, but {missing} is not there any more",
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
        self.batch_max, self.per_poll = (
            20 * self.batch_max,
            20 * self.per_poll,
        )  # what is left is not worth so many steps
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
            self.now_us += 3
            if all(consumer.drained for consumer in self.consumers.values()):
                break
        for consumer in self.consumers.values():
            promise(consumer.drained, "everything works, yet something is not stored")
            consumer.stop()
            for _ in range(1000):
                if consumer.alive:
                    consumer.step()
            promise(not consumer.alive, "a consumer that was told to stop went on")

    def _check_everything(self) -> None:
        rows = self.database.tables.rows
        stored = [row.row.envelope.identity for row in rows]
        promise(len(set(stored)) == len(stored), "an event is stored twice")
        expected = {r.identity for r in self._known.values() if r.identity is not None and not r.poison}
        promise(expected <= set(stored), f"{len(expected - set(stored))} events are lost")
        promise(set(stored) <= expected, "something is stored that was never sent")
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
        for consumer in [*world.consumers.values(), *world._evicted]:
            consumer.crash()
    return world
