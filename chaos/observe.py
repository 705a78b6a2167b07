"""Observes the fleet during faults, and afterwards collects rows, records and counters for the checker."""

import asyncio
import contextlib
import math
import re
import time

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from pydantic_core import from_json

from chaos.checker import CommitSample, KafkaRecord, Place, StoredRow
from chaos.faults import GROUP, offsets_of
from chaos.fleet import REGIONS, Addresses, counters, readiness
from chaos.ledger import digest
from chaos.protocols import MARK
from shared.wire.regions import DEAD_LETTERS, LOGS, consumed_topics
from testbed.access import to_kafka

_SAMPLE_S: Final = 0.5
_COUNTED: Final = {
    "consumer_events_stored_total": "rows stored",
    "reorder_late_arrivals_total": "late rows",
    "consumer_dead_letters_total": "dead letters",
}
_TOLD: Final = "consumer_skipped_records_total"
_STARTED: Final = "process_start_time_seconds"
_ACCEPTED: Final = "events acknowledged by the gateway"
_STORED_UP_TO: Final = """
    SELECT region, topic, partition, next_offset, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at_us
    FROM consumer_offsets WHERE consumer_group = $1 AND next_offset IS NOT NULL
"""
_ROWS: Final = """
    SELECT seq, event_id, (extract(epoch FROM event_time) * 1000000)::bigint AS time_us, level, message, correlation_id,
           attributes::text AS attributes, origin_region, (extract(epoch FROM received_at) * 1000000)::bigint AS received_us,
           (extract(epoch FROM stored_at) * 1000000)::bigint AS stored_us, stored_by, late_reason, late_by_ms
    FROM logs WHERE service_name = $1 ORDER BY seq
"""


@dataclass(slots=True)
class Health:
    """
    What the services reported during a fault.

    Attributes:
        not_ready: Services that were not ready or did not answer.
        degraded: Sentences of services that worked without a dependency.
    """

    not_ready: set[str] = field(default_factory=set)
    degraded: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Changes:
    """Samples of offsets, without those that equal the previous one."""

    samples: list[CommitSample] = field(default_factory=list)
    _last: dict[Place, int] = field(default_factory=dict)

    def take(self, sample: CommitSample) -> None:
        if self._last.get(sample.place) != sample.offset:
            self._last[sample.place] = sample.offset
            self.samples.append(sample)


class Observer:
    """
    Samples offsets, counters, readiness and memory until stopped.

    Args:
        at: The fleet.
        http: A client.

    Attributes:
        counted: Increase of counters, across restarts of their processes.
        health: What the services reported since the last `take_health`.
        memory: The largest memory of each service, in bytes.
        series: Increase of each series of each counter, by its text form, across restarts, for all services together.
    """

    def __init__(self, at: Addresses, http: httpx.AsyncClient) -> None:
        self._at = at
        self._http = http
        self._committed = _Changes()
        self._noted = _Changes()
        self._last: dict[str, dict[str, float]] = defaultdict(dict)
        self._started: dict[str, float | None] = {}
        self.counted: Counter[str] = Counter()
        self.health = Health()
        self.memory: dict[str, float] = {}
        self.series: Counter[str] = Counter()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Sample in the background."""
        await self._look_at_services()  # the first values of the counters
        self.counted.clear()
        self.series.clear()
        tasks = [asyncio.create_task(self._sample(self._look_at_services))]
        tasks += [asyncio.create_task(self._follow_group(region)) for region in REGIONS]
        tasks.append(asyncio.create_task(self._follow_store()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._look_at_services()

    @property
    def commits(self) -> Sequence[CommitSample]:
        """Offsets that the groups committed in Kafka and in PostgreSQL, each with the moment it was first observed."""
        return [*self._committed.samples, *self._noted.samples]

    def forget_commits(self, set_back_us: float) -> None:
        """
        Drop the offsets from before the database was set back.

        Call it when everything is replayed. Until then Kafka still has the earlier offsets. Those in PostgreSQL went back
        with the rows, and are true at any time.

        Args:
            set_back_us: When the database was set back, in microseconds since 1970 by its own clock.
        """
        self._committed = _Changes()
        self._noted.samples = [sample for sample in self._noted.samples if sample.at_us > set_back_us]

    def take_health(self) -> Health:
        """Return what the services reported since the last call."""
        health, self.health = self.health, Health()
        return health

    async def _sample(self, look: Any) -> None:
        while True:
            await look()
            await asyncio.sleep(_SAMPLE_S)

    async def _look_at_services(self) -> None:
        await asyncio.gather(*(self._look_at(service, address) for service, address in self._at.services.items()))

    async def _look_at(self, service: str, address: str) -> None:
        said = await readiness(self._http, address)
        if said is None or said["reasons"]:
            self.health.not_ready.add(service)
        if said is not None:
            self.health.degraded.update(f"{service}: {sentence.partition(':')[0]}" for sentence in said["degraded"])
        series = await counters(self._http, address)
        if series is None:
            return
        if series.get(_STARTED) != self._started.get(service):
            # A new process began at 0, also if it has counted further by now than the one before it.
            self._started[service] = series.get(_STARTED)
            self._last[service].clear()
        self.memory[service] = max(self.memory.get(service, 0), series.get("process_resident_memory_bytes", 0))
        for name, value in series.items():
            kind = name.partition("{")[0]
            if not kind.endswith("_total"):
                continue
            before = self._last[service].get(name, 0.0)
            grown = value - before if value >= before else value
            self._last[service][name] = value
            self.series[name] += grown  # type: ignore[assignment]
            what = _COUNTED.get(kind)
            if what is None and kind == "gateway_events_total" and 'outcome="accepted"' in name:
                what = _ACCEPTED
            if what is not None:
                self.counted[what] += grown  # type: ignore[assignment]

    def by_label(self, counter: str, label: str) -> Counter[str]:
        """Return the increase of a counter, added up by one of its labels."""
        found: Counter[str] = Counter()
        for name, grown in self.series.items():
            value = re.search(rf'[{{,]{label}="([^"]*)"', name) if name.startswith(f"{counter}{{") else None
            if value:
                found[value[1]] += grown
        return found

    @property
    def told(self) -> Mapping[tuple[str, str], float]:
        """How many records the consumers of each region counted as skipped, by region and topic."""
        found: Counter[tuple[str, str]] = Counter()
        for name, grown in self.series.items():
            if name.startswith(f"{_TOLD}{{"):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
                found[labels["region"], labels["topic"]] += grown
        return found

    async def _follow_group(self, region: str) -> None:
        while True:
            admin = AIOKafkaAdminClient(**to_kafka(self._at.kafka[region]), request_timeout_ms=3000)
            # A broker that is away does not answer, and the loop asks again.
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                try:
                    await admin.start()
                    while True:
                        async with asyncio.timeout(5):
                            committed = await admin.list_consumer_group_offsets(GROUP)
                        self._take_commits(region, offsets_of(committed))
                        await asyncio.sleep(_SAMPLE_S)
                finally:
                    await admin.close()
            await asyncio.sleep(_SAMPLE_S)

    async def _follow_store(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await asyncpg.connect(self._at.postgres, timeout=3)
                try:
                    while True:
                        for sample in await stored_up_to(connection):
                            self._noted.take(sample)
                        await asyncio.sleep(_SAMPLE_S)
                finally:
                    connection.terminate()
            await asyncio.sleep(_SAMPLE_S)

    def _take_commits(self, region: str, committed: Mapping[TopicPartition, int]) -> None:
        now_us = time.time_ns() // 1000
        for tp, offset in committed.items():
            self._committed.take(CommitSample(Place(region, tp.topic, tp.partition), offset, now_us))


async def table_mark(postgres: str) -> int:
    """Return the highest `seq` of the table."""
    connection = await asyncpg.connect(postgres)
    try:
        return await connection.fetchval("SELECT coalesce(max(seq), 0) FROM logs") or 0
    finally:
        await connection.close()


async def count_since(postgres: str, mark: int) -> Mapping[str, float]:
    """Count the rows after a mark, under the counters' names."""
    connection = await asyncpg.connect(postgres)
    try:
        [row] = await connection.fetch(
            "SELECT count(*) AS stored, count(*) FILTER (WHERE late) AS late FROM logs WHERE seq > $1", mark
        )
    finally:
        await connection.close()
    return {"rows stored": row["stored"], "late rows": row["late"]}


async def collect_rows(postgres: str, service: str) -> list[StoredRow]:
    """Return the run's rows in the order in which they were written."""
    connection = await asyncpg.connect(postgres)
    rows: list[StoredRow] = []
    try:
        async with connection.transaction():
            async for r in connection.cursor(_ROWS, service, prefetch=10_000):
                attributes = from_json(r["attributes"])
                rows.append(
                    StoredRow(
                        r["seq"],
                        known_by(r["event_id"], attributes),
                        r["time_us"],
                        digest(service, r["level"], r["message"], r["correlation_id"], attributes),
                        r["correlation_id"],
                        r["origin_region"],
                        r["received_us"],
                        r["stored_us"],
                        r["stored_by"],
                        r["late_reason"],
                        r["late_by_ms"],
                    )
                )
    finally:
        await connection.close()
    return rows


def known_by(event_id: UUID, attributes: Mapping[str, Any]) -> bytes:
    """Return an event's id in the ledger: its own, or its mark if a gateway gave it its identity."""
    return UUID(hex=attributes[MARK]).bytes if MARK in attributes else event_id.bytes


async def ends(at: Addresses) -> dict[Place, int]:
    """Return the end offset of each partition that the run may write to, in all regions."""
    found: dict[Place, int] = {}
    for region in REGIONS:
        async with reader(at.kafka[region]) as consumer:
            tps = _partitions(region)
            for tp, end in (await consumer.end_offsets(tps)).items():
                found[Place(region, tp.topic, tp.partition)] = end
    return found


async def lag(at: Addresses) -> int:
    """Return how many records, of any run, the consumers have not committed yet."""
    behind = 0
    for region in REGIONS:
        committed = await _committed(at.kafka[region])
        async with reader(at.kafka[region]) as consumer:
            tps = [tp for tp in _partitions(region) if tp.topic != DEAD_LETTERS]
            beginnings, until = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        behind += sum(max(0, until[tp] - max(committed.get(tp, 0), beginnings[tp])) for tp in tps)
    return behind


async def unreplayed(at: Addresses) -> int:
    """
    Return how many records are committed in Kafka and, by the offsets in PostgreSQL, not stored.

    After the database was set back the consumers have to replay them, because the offsets in Kafka were not set back.
    """
    connection = await asyncpg.connect(at.postgres, timeout=3)
    try:
        committed: dict[Place, int] = {}
        for region in REGIONS:
            offsets = await _committed(at.kafka[region])
            committed |= {Place(region, tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        stored = {sample.place: sample.offset for sample in await stored_up_to(connection)}
    finally:
        await connection.close(timeout=2)
    return sum(max(0, offset - stored.get(place, 0)) for place, offset in committed.items())


async def _committed(kafka: str) -> dict[TopicPartition, int]:
    """Return the offsets that a region's consumers have committed in its Kafka."""
    admin = AIOKafkaAdminClient(**to_kafka(kafka))
    await admin.start()
    try:
        return offsets_of(await admin.list_consumer_group_offsets(GROUP))
    finally:
        await admin.close()


async def stored_up_to(connection: asyncpg.Connection) -> list[CommitSample]:
    """Return the offsets that the consumers of all regions have committed in PostgreSQL."""
    return [
        CommitSample(Place(row["region"], row["topic"], row["partition"]), row["next_offset"], row["at_us"])
        for row in await connection.fetch(_STORED_UP_TO, GROUP, timeout=5)
    ]


def _partitions(region: str) -> list[TopicPartition]:
    return [
        TopicPartition(topic, number)
        for topic in (*consumed_topics(region, REGIONS), DEAD_LETTERS)
        for number in range(6)
    ]


@asynccontextmanager
async def reader(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Make a client that reads the partitions assigned to it, and commits no offset."""
    consumer = AIOKafkaConsumer(
        **to_kafka(kafka), enable_auto_commit=False, auto_offset_reset="earliest", max_partition_fetch_bytes=2**22
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


class RunRecords:
    """
    The records of one run in all regions, read from the offsets at which the run began.

    Args:
        at: The fleet.
        service: The run's name. Other records are left out.
        since: The end offsets when the run began.
        unreadable: Partitions and offsets of batches that this reader's own client cannot read either. It skips them.

    Attributes:
        records: The run's records, in its topics.
        dead_letters: Events of the run that were set aside.
        set_aside: Partitions and offsets that dead letters name, those of other runs included.
    """

    def __init__(
        self, at: Addresses, service: str, since: Mapping[Place, int], unreadable: Iterable[tuple[Place, int]] = ()
    ) -> None:
        self._at = at
        self._mark = service.encode()
        self._position = dict(since)
        self._unreadable = sorted(unreadable)
        self.records: list[KafkaRecord] = []
        self.dead_letters: list[bytes] = []
        self.set_aside: list[tuple[Place, int]] = []

    async def read_on(self) -> None:
        """Read up to the present end offsets."""
        for region in REGIONS:
            await self._read_region(region)

    async def _read_region(self, region: str) -> None:
        async with reader(self._at.kafka[region]) as consumer:
            tps = _partitions(region)
            beginnings, until = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            starts = {tp: max(self._position[Place(region, *tp)], beginnings[tp]) for tp in tps}
            left = {tp for tp in tps if starts[tp] < until[tp]}
            if not left:
                return
            consumer.assign(sorted(left))
            for tp in left:
                consumer.seek(tp, starts[tp])
            for place, offset in self._unreadable:
                tp = TopicPartition(place.topic, place.partition)
                if place.region == region and tp in left and starts[tp] <= offset < until[tp]:
                    await self._pass_over(consumer, place, offset)
            left = {tp for tp in left if await consumer.position(tp) < until[tp]}
            while left:
                for tp, records in (await consumer.getmany(timeout_ms=1000, max_records=20_000)).items():
                    self._take(Place(region, *tp), records)
                left = {tp for tp in left if await consumer.position(tp) < until[tp]}
            for tp in tps:
                self._position[Place(region, *tp)] = until[tp]

    async def _pass_over(self, consumer: AIOKafkaConsumer, place: Place, offset: int) -> None:
        """Read up to a batch that the client cannot read, and skip it. A fetch that includes it would fail."""
        tp = TopicPartition(place.topic, place.partition)
        while (before := offset - await consumer.position(tp)) > 0:
            for records in (await consumer.getmany(tp, timeout_ms=1000, max_records=before)).values():
                self._take(place, records)
        consumer.seek(tp, offset + 1)

    def _take(self, place: Place, records: Iterable[Any]) -> None:
        for record in records:
            if place.topic == DEAD_LETTERS:
                self.set_aside.append(_named_by(place.region, dict(record.headers)))
            if record.value is None or self._mark not in record.value:
                continue
            event = from_json(record.value)
            event_id = known_by(UUID(event["eventId"]), event["attributes"])
            if place.topic == DEAD_LETTERS:
                self.dead_letters.append(event_id)
            else:
                self.records.append(KafkaRecord(place, record.offset, event_id))

    def unmirrored(self) -> int:
        """Return how many events of one region the other one lacks."""
        local: dict[str, set[bytes]] = defaultdict(set)
        copied: dict[str, set[bytes]] = defaultdict(set)
        for place, _, event_id in self.records:
            source = place.region if place.topic == LOGS else place.topic.removesuffix(f".{LOGS}")
            (local if place.topic == LOGS else copied)[source].add(event_id)
        return sum(len(local[region] - copied[region]) for region in local)


def _named_by(region: str, headers: Mapping[str, bytes]) -> tuple[Place, int]:
    """Return the partition and offset that a dead letter names."""
    place = Place(region, headers["source-topic"].decode(), int(headers["source-partition"]))
    return place, int(headers["source-offset"])


async def settle(at: Addresses, records: RunRecords, *, within_s: float, patience_s: float = math.inf) -> bool:
    """
    Wait until everything is mirrored and stored, and read new `records` meanwhile. Return whether that was in time.

    Args:
        at: The fleet.
        records: The run's records.
        within_s: Limit of the wait, in seconds.
        patience_s: Limit of a wait without any progress, in seconds.
    """
    before, progress_at = (0, 0, 0), time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                # A region may still be recovering. The checker finds the records that are missing after the limit.
                with contextlib.suppress(KafkaError, OSError):
                    await records.read_on()
                    left = (records.unmirrored(), await lag(at), len(records.records))
                    if left[:2] == (0, 0):
                        return True
                    if left != before:
                        before, progress_at = left, time.monotonic()
                if time.monotonic() > progress_at + patience_s:
                    return False
                await asyncio.sleep(0.5)
    return False


def growth(before: Mapping[Place, int], after: Mapping[Place, int]) -> Mapping[str, float]:
    """Return how many records the topics got, under the names of the counters that they limit."""
    grown = {place: after[place] - before[place] for place in after}
    return {
        "dead letters": sum(count for place, count in grown.items() if place.topic == DEAD_LETTERS),
        _ACCEPTED: sum(count for place, count in grown.items() if place.topic == LOGS),
    }
