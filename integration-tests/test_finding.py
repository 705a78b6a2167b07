"""Looking for an event in a region's Kafka: one suite for the real reader and the one in memory, and what only a real Kafka does."""

import asyncio

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from consumer.adapters.kafka_codecs import UNFOLDED_MAX
from consumer.adapters.kafka_log_reader import KafkaLogReader
from consumer.envelope import Partition
from consumer.finding import Finder
from consumer.log_reader import LogReader
from consumer.ports import SourceUnavailableError
from consumer.tests.memory_logs import MemoryLogReader, MemoryLogs
from consumer.tests.test_finding import KEY, QUESTION, places, record
from shared.wire.finding import LIMIT_S, Found
from testbed.patience import eventually, patience
from testbed.raw_kafka import CODECS, RawKafka, RawRecord, raw_batch
from testbed.server import Server, recreate_topics

pytestmark = pytest.mark.services

TOPICS = ("logs", "region-b.logs", "logs-dlq")
LOGS_0 = Partition("logs", 0)


@dataclass
class Real:
    """A real Kafka that a test writes to."""

    address: str
    producer: AIOKafkaProducer
    group: str = field(default_factory=lambda: f"finding-{uuid4()}")

    async def write(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = KEY.encode(),
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        at_ms: int = 1000,
    ) -> tuple[int, int]:
        """Write a record, and return its partition and its offset."""
        place = await self.producer.send_and_wait(
            topic, value, key, partition=partition, headers=list(headers), timestamp_ms=at_ms
        )
        return place.partition, place.offset

    async def commit(self, partition: Partition, offset: int) -> None:
        """Commit an offset as the group does."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.address, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            tp = TopicPartition(*partition)
            consumer.assign([tp])
            await consumer.commit({tp: offset})
        finally:
            await consumer.stop()

    async def forget(self, partition: Partition, before: int) -> None:
        """Remove records as retention does."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(*partition): RecordsToDelete(before)})
        finally:
            await admin.close()

    def reader(self) -> LogReader:
        return KafkaLogReader(
            bootstrap_servers=self.address, client_id="test", group=self.group, timeout_s=patience(10)
        )


class InMemory:
    """The same in memory."""

    def __init__(self) -> None:
        self.logs = MemoryLogs({topic: [[], [], []] for topic in TOPICS})

    async def write(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = KEY.encode(),
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        at_ms: int = 1000,
    ) -> tuple[int, int]:
        number = MemoryLogReader(self.logs).partition_of(key or b"", 3) if partition is None else partition
        return number, self.logs.write(topic, value, key, partition=number, headers=headers, at_ms=at_ms)

    async def commit(self, partition: Partition, offset: int) -> None:
        self.logs.commits[partition] = offset

    async def forget(self, partition: Partition, before: int) -> None:
        self.logs.beginnings[partition] = before

    def reader(self) -> LogReader:
        return MemoryLogReader(self.logs)


@pytest.fixture(params=["real", "in memory"])
async def region(request: pytest.FixtureRequest) -> AsyncIterator[Real | InMemory]:
    if request.param == "in memory":
        yield InMemory()
        return
    address: str = request.getfixturevalue("kafka")
    async with a_region(address) as real:
        yield real


@asynccontextmanager
async def a_region(address: str) -> AsyncIterator[Real]:
    await recreate_topics(address, TOPICS, partitions=3)
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    region = Real(address, producer)

    async def is_led() -> bool:
        return not (await ask(region, correlation_id=None)).unseen

    try:
        await eventually(is_led, "the broker leads the partitions that were just made")
        yield region
    finally:
        await producer.stop()


@asynccontextmanager
async def reading(region: Real | InMemory) -> AsyncIterator[LogReader]:
    reader = region.reader()
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


async def ask(region: Real | InMemory, **changes: Any) -> Found:
    finder = Finder("region-a", TOPICS[:2], region.reader, lambda _: None, limit_s=patience(30 * LIMIT_S))
    try:
        return await finder.find(QUESTION.model_copy(update=changes))
    finally:
        await finder.close()


async def all_of(reader: LogReader, partition: Partition, containing: bytes) -> list[int]:
    """Read to the end, and return the offsets of what contains it."""
    span = await reader.span(partition, 0)
    offset, found = span.first, []
    while offset < span.end:
        portion = await reader.read(partition, offset, [containing])
        assert portion.next > offset
        found += [one.offset for one in portion.records if containing in (one.value or b"") and one.offset >= offset]
        offset = portion.next
    return found


async def test_topics_that_exist_are_told_with_their_partitions(region: Real | InMemory) -> None:
    async with reading(region) as reader:
        assert await reader.partitions([*TOPICS, "nowhere"]) == dict.fromkeys(TOPICS, 3)
        assert await reader.partitions(["nowhere"]) == {}


@pytest.mark.parametrize("key", [b"trace-1", b"\xc3\xa4", b"x" * 256, b""])
async def test_a_key_says_the_partition_as_it_does_to_producers(region: Real | InMemory, key: bytes) -> None:
    partition, _ = await region.write("logs", b"x", key)
    async with reading(region) as reader:
        assert reader.partition_of(key, 3) == partition


async def test_a_partition_is_told_with_its_ends_and_with_where_a_time_begins(region: Real | InMemory) -> None:
    async with reading(region) as reader:
        await reader.partitions(TOPICS)
        empty = await reader.span(LOGS_0, 0)
        for at_ms in (1000, 2000, 3000, 4000):
            await region.write("logs", b"x", partition=0, at_ms=at_ms)
        spans = [await reader.span(LOGS_0, since_ms) for since_ms in (0, 2000, 2001, 4001)]
        await region.forget(LOGS_0, 2)
        after = await reader.span(LOGS_0, 0)

    assert (empty.beginning, empty.first, empty.end) == (0, 0, 0)
    assert [(span.beginning, span.first, span.end) for span in spans] == [(0, 0, 4), (0, 1, 4), (0, 2, 4), (0, 4, 4)]
    assert (after.beginning, after.first, after.end) == (2, 2, 4)


async def test_what_the_group_has_committed_is_told(region: Real | InMemory) -> None:
    await region.write("logs", b"x", partition=0)
    await region.commit(Partition("logs", 1), 0)
    async with reading(region) as reader:
        await reader.partitions(TOPICS)
        before = await reader.committed([LOGS_0])
        await region.commit(LOGS_0, 1)
        after = await reader.committed([LOGS_0, Partition("region-b.logs", 2)])

    assert (before, after) == ({}, {LOGS_0: 1})


async def test_records_that_contain_something_are_found_in_portions_to_the_end(region: Real | InMemory) -> None:
    for number in range(30):
        await region.write("logs", b"needle %d" % number if number % 7 == 0 else b"x" * 100, partition=0)
    async with reading(region) as reader:
        await reader.partitions(TOPICS)
        assert await all_of(reader, LOGS_0, b"needle") == [0, 7, 14, 21, 28]
        assert await all_of(reader, LOGS_0, b"nothing") == []


async def test_a_partition_that_does_not_exist_is_an_error(region: Real | InMemory) -> None:
    async with reading(region) as reader:
        await reader.partitions(TOPICS)
        with pytest.raises(SourceUnavailableError):
            await reader.span(Partition("logs", 99), 0)


async def test_an_event_is_found_with_its_copies_letters_and_positions(region: Real | InMemory) -> None:
    number, first = await region.write("logs", record(), headers=[("wanted-region", b"region-b")], at_ms=5)
    await region.write("logs", record(UUID(int=9)))
    await region.write("region-b.logs", record())
    headers = [("reason", b"conflict: message"), ("source-topic", b"logs"), ("source-partition", b"%d" % number),
               ("source-offset", b"%d" % first)]  # fmt: skip
    await region.write("logs-dlq", record(), headers=headers)
    await region.commit(Partition("logs", number), first + 1)

    found = await ask(region)
    everywhere = await ask(region, correlation_id=None)

    assert places(found) == [("logs", number, first), ("region-b.logs", number, 0)]
    assert (found.copies[0].wanted, found.copies[0].at_ms) == ("region-b", 5)
    assert [(letter.source_offset, letter.reason) for letter in found.letters] == [(first, "conflict: message")]
    assert [(part.topic, part.done, part.next) for part in found.looked] == [
        ("logs", first + 1, 2), ("logs-dlq", None, 1), ("region-b.logs", None, 1)
    ]  # fmt: skip
    assert found.unseen == ()
    assert (places(everywhere), len(everywhere.looked)) == (places(found), 9)


async def test_records_in_batches_of_every_codec_are_found(kafka: str) -> None:
    async with a_region(kafka) as region, RawKafka.connected(kafka, ["logs"]) as raw:
        for codec in CODECS:
            await raw.produce(
                "logs", 0, raw_batch([RawRecord(b"x"), RawRecord(record()), RawRecord(b"y")], codec=codec)
            )

        found = await ask(region, correlation_id=None)

    assert [copy.offset for copy in found.copies] == [1 + 3 * number for number in range(len(CODECS))]
    assert found.unseen == ()


async def test_what_cannot_be_read_is_named_and_what_follows_is_found(kafka: str) -> None:
    bomb = raw_batch([RawRecord(b"0" * (UNFOLDED_MAX + 1))], codec="gzip")
    async with a_region(kafka) as region, RawKafka.connected(kafka, ["logs"]) as raw:
        await raw.produce("logs", 0, bomb)
        await raw.produce("logs", 0, raw_batch([RawRecord(record())]))

        found = await ask(region, correlation_id=None)

    assert places(found) == [("logs", 0, 1)]
    assert [(part.topic, part.why) for part in found.unseen] == [("logs", "offsets 0 to 0 cannot be read")]


async def test_transactions_leave_marks_that_are_passed(kafka: str) -> None:
    async with AsyncExitStack() as stack:
        region = await stack.enter_async_context(a_region(kafka))
        transactional = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="finding")
        await transactional.start()
        stack.push_async_callback(transactional.stop)
        for end in (transactional.commit_transaction, transactional.abort_transaction):
            await transactional.begin_transaction()
            await transactional.send_and_wait("logs", record(), partition=0)
            await end()

        async def looked() -> Found:
            found = await ask(region, correlation_id=None)
            assert [(part.next, part.end) for part in found.looked if (part.topic, part.partition) == ("logs", 0)] == [
                (4, 4)
            ]
            return found

        found = await looked()

    assert [copy.offset for copy in found.copies] == [0, 2]


@pytest.mark.parametrize("fault", ["stop", "suspend"])
async def test_a_kafka_that_does_not_answer_is_an_error_and_leaves_nothing(own_kafka: Server, fault: str) -> None:
    def reader() -> LogReader:
        return KafkaLogReader(bootstrap_servers=own_kafka.address, client_id="test", group="finding")

    finder = Finder("region-a", TOPICS[:2], reader, lambda _: None)
    await asyncio.to_thread(getattr(own_kafka, fault))
    for _ in range(3):
        with pytest.raises(SourceUnavailableError):
            await finder.find(QUESTION)
        await finder.close()
