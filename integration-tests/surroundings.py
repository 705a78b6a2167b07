"""
The surroundings of a consumer under test: topics, tables, events to send, and what a test sees of it from outside.

A consumer runs inside the test (`Surroundings.consumer`) or as the process that is deployed (`Surroundings.process`).
"""

import asyncio
import uuid

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import TopicPartition
from uuid_utils.compat import uuid7

from consumer.adapters.postgres_roles import connect_as_owner, ensure_roles
from consumer.assembly import assemble
from consumer.metrics import ConsumerMetrics
from consumer.roles import SERVICES
from consumer.schema import ensure_schema
from consumer.service import ConsumerService
from consumer.settings import ConsumerSettings
from shared.event.model import LogRecord, format_time
from shared.process.metrics import new_registry
from testbed.consumer_process import ROOT, ConsumerProcess
from testbed.patience import eventually
from testbed.server import recreate_topics

LOCAL = "logs"
MIRRORED = "region-b.logs"
# A window longer than any machine takes for a test: event times alone decide then what is late, not how fast it is.
PATIENT_MS = 600_000
# With such a window, events lie minutes ahead of all clocks.
BELIEVED_MS = 86_400_000


PASSWORDS = {role: f"of {role}/%" for role in (*SERVICES, "logs")}


def as_role(role: str, dsn: str) -> str:
    """Return a DSN with one of the fleet's roles."""
    return as_user(role, PASSWORDS[role], dsn)


def as_user(user: str, password: str, dsn: str) -> str:
    """Return a DSN with another user."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"))


def as_consumer(dsn: str) -> str:
    """Return the DSN that a consumer has, which may do what it must and no more."""
    return as_role("logs_consumer", dsn)


async def make_tables(dsn: str) -> None:
    """Make roles and tables, as the fleet does."""
    connection = await asyncpg.connect(dsn)
    try:
        for _ in range(2):  # safe to run again
            assert await ensure_roles(connection, PASSWORDS)
            owner = await connect_as_owner(connection, dsn)
            try:
                await ensure_schema(owner)
            finally:
                await owner.close()
    finally:
        await connection.close()


def an_event(time: datetime, *, correlation_id: str = "c", message: str = "m", delay_s: float = 0.0) -> LogRecord:
    """Make an event that a gateway took `delay_s` after it happened."""
    return LogRecord.model_construct(
        event_id=uuid7(),
        timestamp=time,
        service_name="test",
        level="INFO",
        message=message,
        correlation_id=correlation_id,
        attributes={"n": 1},
        received_at=time + timedelta(seconds=delay_s),
        origin_region="region-a",
    )


@dataclass
class Surroundings:
    """The surroundings of a consumer, and what a test sees of it."""

    kafka: str
    postgres: str
    redis: str
    group: str = field(default_factory=lambda: f"g-{uuid.uuid4()}")
    registry: Any = field(default_factory=new_registry)

    def __post_init__(self) -> None:
        self.metrics = ConsumerMetrics(self.registry, "region-a", ("region-a", "region-b"))

    async def prepare(self) -> None:
        """Make empty topics and tables."""
        await recreate_topics(self.kafka, [LOCAL, MIRRORED, "logs-dlq"])
        await make_tables(self.postgres)

    @asynccontextmanager
    async def consumer(
        self, instance: str = "one", *, until_ready: bool = True, **settings: Any
    ) -> AsyncIterator[ConsumerService]:
        """Run a consumer as a member of the group, and wait until it is ready unless it cannot be."""
        service = assemble(
            ConsumerSettings(
                region="region-a",
                regions=("region-a", "region-b"),
                instance=instance,
                group=self.group,
                kafka_bootstrap_servers=self.kafka,
                postgres_dsn=as_consumer(self.postgres),
                redis_url=self.redis,
                **settings,
            ),
            self.metrics,
        )
        work = asyncio.create_task(service.run())
        try:
            if until_ready:
                await eventually(lambda: service.readiness().ready or work.done(), "the consumer is ready")
            yield service
        finally:
            service.stop()
            await work

    @asynccontextmanager
    async def process(self, instance: str = "one", **variables: str) -> AsyncIterator[ConsumerProcess]:
        """Run `python -m consumer` as a member of the group; end it if it has not ended by itself."""
        async with self.process_of(ROOT, instance, variables) as process:
            yield process

    @asynccontextmanager
    async def process_of(
        self, release: Path, instance: str, variables: Mapping[str, str] | None = None
    ) -> AsyncIterator[ConsumerProcess]:
        """Do so with the consumer of another release."""
        environment = {
            "CONSUMER_REGION": "region-a",
            "CONSUMER_REGIONS": "region-a,region-b",
            "CONSUMER_INSTANCE": instance,
            "CONSUMER_GROUP": self.group,
            "CONSUMER_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "CONSUMER_POSTGRES_DSN": as_consumer(self.postgres),
            "CONSUMER_REDIS_URL": self.redis,
        }
        process = ConsumerProcess(environment | dict(variables or {}), folder=release)
        await process.start()
        try:
            yield process
        finally:
            await process.close()

    async def send(
        self, events: Sequence[LogRecord | bytes], topic: str = LOCAL, *, compression: str | None = None
    ) -> None:
        """Write records in order, as producer or MirrorMaker do."""
        await self.write([(topic, event) for event in events], compression=compression)

    async def write(self, records: Sequence[tuple[str, LogRecord | bytes]], *, compression: str | None = None) -> None:
        """Write records in order, each to its topic."""
        async with self._producer(compression) as producer:
            for topic, event in records:
                raw = event if isinstance(event, bytes) else event.encode()
                key = b"c" if isinstance(event, bytes) else event.correlation_id.encode()
                await producer.send(topic, value=raw, key=key)

    async def flood(self, count: int, begin: datetime, step: timedelta) -> None:
        """Write many small events fast, `step` apart, to the partitions of both topics in turn; ids are 1 to `count`."""
        places = [(topic, number) for number in range(6) for topic in (LOCAL, MIRRORED)]
        # Filling in a template takes a tenth of the time of encoding.
        sample = an_event(begin)
        form = sample.encode().replace(str(sample.event_id).encode(), b"00000000-0000-4000-8000-%012x")
        form = form.replace(format_time(begin).encode(), b"%b")
        async with self._producer() as producer:
            batches = {place: producer.create_batch() for place in places}
            for n in range(count):
                topic, number = place = places[n % len(places)]
                time = format_time(begin + n * step).encode()
                record = form % (n + 1, time, time)
                if batches[place].append(key=b"c", value=record, timestamp=None) is None:
                    await producer.send_batch(batches[place], topic, partition=number)
                    batches[place] = producer.create_batch()
                    batches[place].append(key=b"c", value=record, timestamp=None)
            for (topic, number), batch in batches.items():
                await producer.send_batch(batch, topic, partition=number)

    async def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Change a topic's settings."""
        async with self._admin() as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(config))])

    async def delete_topic(self, topic: str) -> None:
        """Delete a topic, as an operator does to empty it."""
        async with self._admin() as admin:
            await admin.delete_topics([topic])

            async def gone() -> bool:
                return topic not in await admin.list_topics()

            await eventually(gone, f"{topic} is gone")

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def let_out(self, newest: datetime, *topics: str, window_ms: int = PATIENT_MS) -> None:
        """
        Make a consumer release all events up to `newest` that came before this.

        Each partition gets an event so far ahead that the watermark has passed them. It stays in the buffer itself.
        """
        ahead = an_event(newest + timedelta(milliseconds=2 * window_ms))
        async with self._producer() as producer:
            for topic in topics or (LOCAL,):
                for number in range(6):
                    await producer.send(topic, value=ahead.encode(), key=b"ahead", partition=number)

    @asynccontextmanager
    async def _producer(self, compression: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka, acks="all", compression_type=compression, max_request_size=2**21
        )
        await producer.start()
        try:
            yield producer
            await producer.flush()
        finally:
            await producer.stop()

    async def query(self, sql: str) -> list[asyncpg.Record]:
        """Ask the store."""
        connection = await asyncpg.connect(self.postgres)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql)
            return rows
        finally:
            await connection.close()

    async def rows(self, count: int, within_s: float = 20.0) -> list[asyncpg.Record]:
        """Wait for that many rows, and return them as written."""

        async def look() -> list[asyncpg.Record]:
            rows = await self.query("SELECT * FROM logs ORDER BY seq")
            assert len(rows) >= count, f"{len(rows)} rows of {count}"
            return rows

        rows: list[asyncpg.Record] = await eventually(look, f"{count} rows", within_s=within_s)
        assert len(rows) == count
        return rows

    async def out_of_order(self) -> int:
        """Count the rows that a consumer wrote as in order and after a younger one."""
        [found] = await self.query(
            "SELECT count(*) AS n FROM (SELECT event_time < lag(event_time) OVER (PARTITION BY stored_by ORDER BY seq) "
            "AS back FROM logs WHERE NOT late) AS step WHERE back"
        )
        return int(found["n"])

    def counted(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.registry.get_sample_value(name, {"region": "region-a"} | labels) or 0.0


def ids(rows: Sequence[asyncpg.Record]) -> list[uuid.UUID]:
    return [uuid.UUID(str(row["event_id"])) for row in rows]


async def read_all(kafka: str, topic: str) -> list[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        if not partitions:
            partitions = [TopicPartition(topic, n) for n in range(6)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[Any] = []
        # Not by their number: a mark that ends a transaction has an offset, too.
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def committed_offsets(around: Surroundings) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=around.kafka, group_id=around.group, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for topic in (LOCAL, MIRRORED) for n in range(6)]
        return {tp: await consumer.committed(tp) or 0 for tp in partitions}
    finally:
        await consumer.stop()


async def forget_the_dead(around: Surroundings) -> None:
    """Tell the broker that the members of the group are gone; by itself it waits for their sessions to end."""
    admin = AIOKafkaAdminClient(bootstrap_servers=around.kafka)
    await admin.start()
    try:
        coordinator = await admin.find_coordinator(around.group)
        [answer] = await admin.describe_consumer_groups([around.group], coordinator)
        [(_error, _group, _state, _protocol_type, _protocol, members, *_)] = answer.groups
        for member_id, *_rest in members:
            await admin._send_request(LeaveGroupRequest(around.group, member_id), coordinator)
    finally:
        await admin.close()
