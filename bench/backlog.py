"""A backlog in Kafka: distinct events in topics that nobody has read yet."""

from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from server import recreate_topics

from bench.events import PARTITIONS, Stream
from shared.regions import DEAD_LETTERS, LOGS, mirrored_topic

LOCAL_REGION: Final = "region-a"
OTHER_REGION: Final = "region-b"
MIRRORED: Final = mirrored_topic(OTHER_REGION)


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    What waits in Kafka.

    Attributes:
        events: How many events, without the last ones.
        last: One event for each partition, from so late that the watermark passes over all others at once. The consumer
            keeps these back for a reorder window, so they take no part in a rate.
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


async def count(bootstrap_servers: str, topic: str) -> int:
    """Return how many records a topic has got since it was made."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        ends: Mapping[TopicPartition, int] = await consumer.end_offsets(
            [TopicPartition(topic, number) for number in range(PARTITIONS)]
        )
        return sum(ends.values())
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
async def _producer(bootstrap_servers: str, batch_bytes: int) -> Any:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, max_batch_size=batch_bytes
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
