"""A backlog in Kafka: distinct events in topics that no consumer has read yet. Also counts what is in a topic afterwards."""

import asyncio

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from bench.events import PARTITIONS, Stream
from shared.wire.regions import DEAD_LETTERS, LOGS, mirrored_topic
from testbed.server import recreate_topics

LOCAL_REGION: Final = "region-a"
OTHER_REGION: Final = "region-b"
MIRRORED: Final = mirrored_topic(OTHER_REGION)
# Where a record has its id: the first field of canonical JSON.
_ID: Final = slice(len('{"eventId":"'), len('{"eventId":"') + 36)


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    What waits in Kafka.

    Attributes:
        events: How many events, without the last ones.
        last: One event for each partition, so late that the watermark passes all others at once. The consumer holds these
            for a reorder window, so they take no part in a rate.
    """

    events: int
    last: int


async def fill(bootstrap_servers: str, events: int, *, rate: float, mirrored: float, batch_bytes: int) -> Backlog:
    """
    Make the topics anew and fill them, as producers and MirrorMaker do.

    Args:
        bootstrap_servers: The region's Kafka.
        events: How many.
        rate: Events a second of event time; the newest one is a minute old.
        mirrored: Share of the events that came through the mirror.
        batch_bytes: Size of the batches in which they lie in Kafka.
    """
    await recreate_topics(bootstrap_servers, [LOGS, MIRRORED, DEAD_LETTERS], PARTITIONS)
    begin = datetime.now(UTC) - timedelta(seconds=events / rate + 60)
    here, there = Stream(begin, rate, LOCAL_REGION), Stream(begin, rate, OTHER_REGION)
    async with _producer(bootstrap_servers, batch_bytes) as producer:
        writer = _Writer(producer)
        share = Random(events)
        if not mirrored:
            for partition, key, value in here.events(events):
                await writer.write(LOGS, partition, key, value)
        else:
            # Both regions' events are the same stream, of which each event lies in one of the topics.
            for ours, theirs in zip(here.events(events), there.events(events), strict=True):
                topic, event = (MIRRORED, theirs) if share.random() < mirrored else (LOGS, ours)
                await writer.write(topic, *event)
        last = 0
        for topic in [LOGS, *([MIRRORED] if mirrored else [])]:
            for _, key, value in Stream(
                begin + timedelta(seconds=events / rate + 30), rate, first=10**12 + last
            ).events(PARTITIONS):
                await writer.write(topic, last % PARTITIONS, key, value)
                last += 1
        await writer.finish()
    return Backlog(events, last)


async def ends(bootstrap_servers: str, topic: str = LOGS) -> Mapping[TopicPartition, int]:
    """Return the offsets that a topic's next records will get."""
    async with _reader(bootstrap_servers) as consumer:
        found: Mapping[TopicPartition, int] = await consumer.end_offsets(_partitions(topic))
        return found


async def count(bootstrap_servers: str, topic: str) -> int:
    """Return how many records a topic has got since it was made."""
    return sum((await ends(bootstrap_servers, topic)).values())


async def settled_ends(bootstrap_servers: str, topic: str = LOGS) -> Mapping[TopicPartition, int]:
    """Return the ends of a topic once no record is in flight to it."""
    before: Mapping[TopicPartition, int] = {}
    while before != (now := await ends(bootstrap_servers, topic)):
        before = now
        await asyncio.sleep(0.5)
    return now


async def read_ids(
    bootstrap_servers: str, begins: Mapping[TopicPartition, int], topic: str = LOGS
) -> tuple[int, set[bytes]]:
    """Return how many records came to a topic after `begins`, from its beginning if that is empty, and their ids."""
    until = await settled_ends(bootstrap_servers, topic)
    records, ids = 0, set[bytes]()
    async with _reader(bootstrap_servers) as consumer:
        consumer.assign(_partitions(topic))
        for partition in _partitions(topic):
            consumer.seek(partition, begins.get(partition, 0))
        while records < sum(until.values()) - sum(begins.values()):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += len(batch)
                ids.update(record.value[_ID] for record in batch)
    return records, ids


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(PARTITIONS)]


@asynccontextmanager
async def _reader(bootstrap_servers: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


class _Writer:
    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._batches: dict[tuple[str, int], Any] = {}

    async def write(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        place = (topic, partition)
        batch = self._batches.get(place)
        if batch is None:
            batch = self._batches[place] = self._producer.create_batch()
        if batch.append(key=key, value=value, timestamp=None) is None:
            await self._producer.send_batch(batch, topic, partition=partition)
            batch = self._batches[place] = self._producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)

    async def finish(self) -> None:
        for (topic, partition), batch in self._batches.items():
            await self._producer.send_batch(batch, topic, partition=partition)
        await self._producer.flush()


@asynccontextmanager
async def _producer(bootstrap_servers: str, batch_bytes: int) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, max_batch_size=batch_bytes
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
