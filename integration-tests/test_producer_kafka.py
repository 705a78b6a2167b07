"""The producer on a real Kafka: what is acknowledged is there, and no outage needs a restart of the producer."""

import asyncio
import gc
import time

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.partitioner import murmur2
from asgi_lifespan import LifespanManager
from uuid_utils import uuid7

from fleet.jobs.topics import TopicSettings, ensure_topics
from producer.app import create_app, create_internal_app
from producer.settings import ProducerSettings
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_record
from shared.event.outcome import Accepted, Refused
from shared.wire import handoff
from shared.wire.regions import DEAD_LETTERS, LOGS
from testbed.doors import INTERNAL, Doors
from testbed.patience import eventually, patience
from testbed.server import Server, check_kafka

pytestmark = pytest.mark.services

RECORDS = f"http://{INTERNAL}{handoff.PATH}"

BODY = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}
PARTITIONS = 6


def topic_settings(kafka: Server) -> TopicSettings:
    return TopicSettings(
        region="region-a",
        regions=("region-a", "region-b"),
        kafka_bootstrap_servers=kafka.address,
        partitions=PARTITIONS,
    )


@pytest.fixture
async def topics(own_kafka: Server) -> None:
    await ensure_topics(topic_settings(own_kafka))


def producer_settings(kafka: Server, **changes: Any) -> ProducerSettings:
    return ProducerSettings(region="region-a", kafka_bootstrap_servers=kafka.address, **changes)


@asynccontextmanager
async def running(settings: ProducerSettings) -> AsyncIterator[httpx.AsyncClient]:
    app = Doors(create_app(settings), create_internal_app())
    async with LifespanManager(app, shutdown_timeout=30) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://producer") as client:
            yield client


@pytest.fixture
async def producer(own_kafka: Server, topics: None) -> AsyncIterator[httpx.AsyncClient]:
    async with running(producer_settings(own_kafka)) as client:
        await until(lambda: is_ready(client), "ready")
        yield client


async def until(condition: Callable[[], Awaitable[object]], what: str, within_s: float = 15.0) -> float:
    """Wait until `condition` holds; return how long it took, in seconds."""
    begin = time.monotonic()
    await eventually(condition, what, within_s=within_s)
    return time.monotonic() - begin


async def is_ready(producer: httpx.AsyncClient) -> bool:
    return (await producer.get("/ready")).is_success


async def is_not_ready(producer: httpx.AsyncClient) -> bool:
    return not await is_ready(producer)


async def post(producer: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await producer.post("/api/logs", json=BODY | fields)


async def accepts(producer: httpx.AsyncClient) -> bool:
    return (await post(producer)).status_code == 202


def received(message: str, correlation_id: str) -> ReceivedEvent:
    now = datetime.now(UTC)
    return ReceivedEvent.model_construct(
        event_id=UUID(bytes=uuid7().bytes),
        timestamp=now,
        service_name="s",
        level="INFO",
        message=message,
        correlation_id=correlation_id,
        attributes={},
        received_at=now,
    )


async def everything_in(kafka: Server, topic: str = LOGS) -> list[Any]:
    """Read the topic to its end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        records: list[Any] = []
        async with asyncio.timeout(patience(20)):
            while sum([await consumer.position(partition) for partition in partitions]) < sum(ends.values()):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
        return records
    finally:
        await consumer.stop()


async def set_record_limit(kafka: Server, limit: int) -> None:
    topic = ConfigResource(ConfigResourceType.TOPIC, LOGS, {"max.message.bytes": str(limit)})
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        await admin.alter_configs([topic])

        async def applies() -> bool:
            [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, LOGS)])
            [(*_, entries)] = answer.resources
            return ("max.message.bytes", str(limit)) in [(name, value) for name, value, *_ in entries]

        # The broker answers before the new setting is in force.
        await until(applies, "the new limit applies")
    finally:
        await admin.close()


def value_of(metrics: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(name))


async def metric(producer: httpx.AsyncClient, name: str) -> float:
    return value_of((await producer.get("/metrics")).text, name)


async def test_topics_are_made_once_and_left_alone_after(own_kafka: Server) -> None:
    first = await ensure_topics(topic_settings(own_kafka))
    again = await ensure_topics(topic_settings(own_kafka))

    assert sorted(first) == sorted([LOGS, "region-b.logs", DEAD_LETTERS])
    assert again == []


async def test_two_who_make_the_topics_at_the_same_time_do_not_disturb_each_other(own_kafka: Server) -> None:
    made = await asyncio.gather(*(ensure_topics(topic_settings(own_kafka)) for _ in range(3)))

    assert sorted(name for names in made for name in names) == sorted([LOGS, "region-b.logs", DEAD_LETTERS])


async def test_what_is_acknowledged_is_in_kafka_as_the_contract_says(
    own_kafka: Server, producer: httpx.AsyncClient
) -> None:
    events = [received(f"m{number}", f"trace-{number % 7} \u00fc") for number in range(500)]
    before = time.time() * 1000

    answer = await producer.post(RECORDS, content=handoff.encode_events(events))
    records = await everything_in(own_kafka)

    assert handoff.decode_outcomes(answer.content, "region-a", 500) == [Accepted("region-a")] * 500
    assert len(records) == 500
    by_id = {decode_record(record.value).event_id: record for record in records}
    for event in events:
        record = by_id[event.event_id]
        key = event.correlation_id.encode()
        assert record.key == key
        assert record.value == event.to_record("region-a").encode()
        assert record.partition == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
        # The record's own time is when it was sent, whatever the event says.
        assert before - 1 <= record.timestamp <= time.time() * 1000
    for trace in {event.correlation_id for event in events}:
        sent = [event.event_id for event in events if event.correlation_id == trace]
        kept = [decode_record(r.value).event_id for r in records if r.key == trace.encode()]
        assert kept == sent


async def test_an_event_larger_than_the_topic_takes_is_413_and_hurts_no_other(own_kafka: Server, topics: None) -> None:
    await set_record_limit(own_kafka, 50_000)
    events = [received("small", "c"), received("x" * 60_000, "c"), received("small", "c")]

    async with running(producer_settings(own_kafka)) as producer:
        await until(lambda: is_ready(producer), "ready")
        single = await post(producer, message="x" * 60_000)
        answer = await producer.post(RECORDS, content=handoff.encode_events(events))
        rebuilds = await metric(producer, "log_producer_client_rebuilds_total")

    outcomes = handoff.decode_outcomes(answer.content, "region-a", 3)
    assert single.status_code == 413
    assert [isinstance(outcome, Accepted) for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], Refused)
    assert outcomes[1].status == 413
    assert rebuilds == 0


async def test_a_limit_lowered_while_running_is_learnt(own_kafka: Server, producer: httpx.AsyncClient) -> None:
    assert (await post(producer)).status_code == 202
    await set_record_limit(own_kafka, 50_000)

    # The client does not know yet: the broker refuses, and the client has a gap in its sequence.
    first = await post(producer, message="x" * 60_000)
    await until(lambda: accepts(producer), "accepts what fits")
    second = await post(producer, message="x" * 60_000)

    assert first.status_code == 503
    assert second.status_code == 413


async def test_a_frozen_broker_is_503_in_time_and_accepts_again_by_itself(
    own_kafka: Server, producer: httpx.AsyncClient
) -> None:
    assert await accepts(producer)
    await asyncio.to_thread(own_kafka.suspend)

    begin = time.monotonic()
    refused = asyncio.create_task(post(producer, message="while frozen"))
    unready_after = await until(lambda: is_not_ready(producer), "not ready")
    answer = await refused
    took = time.monotonic() - begin
    await asyncio.to_thread(own_kafka.resume)
    ready_after = await until(lambda: is_ready(producer), "ready")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert took < patience(5)
    assert unready_after < patience(2)
    assert ready_after < patience(2)
    assert (await post(producer, message="after")).status_code == 202
    messages = [decode_record(record.value).message for record in await everything_in(own_kafka)]
    assert messages.count("Hello") == messages.count("after") == 1
    assert messages.count("while frozen") <= 1


def open_sockets() -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += "socket" in str(descriptor.readlink())
    return count


@pytest.mark.parametrize(("rebuild_after_ms", "rebuilds"), [(60_000, 0), (3000, 1)], ids=["kept", "replaced"])
async def test_a_broker_away_for_20_seconds_is_survived(
    own_kafka: Server, topics: None, rebuild_after_ms: int, rebuilds: int
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with running(producer_settings(own_kafka, rebuild_after_ms=rebuild_after_ms)) as producer:
        await until(lambda: accepts(producer), "accepts")
        sockets, tasks = open_sockets(), len(asyncio.all_tasks())

        await asyncio.to_thread(own_kafka.kill)
        unready_after = await until(lambda: is_not_ready(producer), "not ready")
        ends = time.monotonic() + 20
        refused = 0
        while time.monotonic() < ends:
            answer = await post(producer)
            assert answer.status_code == 503
            refused += 1
            await asyncio.sleep(0.2)
        sockets_during, tasks_during = open_sockets(), len(asyncio.all_tasks())
        await asyncio.to_thread(own_kafka.start)
        ready_after = await until(lambda: is_ready(producer), "ready")
        accepted = await accepts(producer)
        await until(lambda: no_bytes_in_flight(producer), "nothing in flight")

        assert await metric(producer, "log_producer_client_rebuilds_total") == rebuilds

    gc.collect()
    assert unready_after < patience(2)
    assert ready_after < patience(2)
    assert accepted
    assert refused >= 3
    assert sockets_during <= sockets + 2
    assert tasks_during <= tasks + 4
    assert complaints == []


async def no_bytes_in_flight(producer: httpx.AsyncClient) -> bool:
    return await metric(producer, "log_producer_in_flight_bytes") == 0


async def test_it_starts_while_kafka_is_away_and_then_works(own_kafka: Server, topics: None) -> None:
    await asyncio.to_thread(own_kafka.kill)
    async with running(producer_settings(own_kafka)) as producer:
        await until(lambda: is_not_ready(producer), "not ready")
        refused = await post(producer)
        await asyncio.to_thread(own_kafka.start)
        ready_after = await until(lambda: is_ready(producer), "ready")

        assert refused.status_code == 503
        assert ready_after < patience(3)
        assert await accepts(producer)


async def test_a_topic_that_is_missing_is_named_and_waited_for(own_kafka: Server) -> None:
    async with running(producer_settings(own_kafka)) as producer:
        await until(lambda: names_the_topic(producer), "says what is missing")
        await ensure_topics(topic_settings(own_kafka))
        await until(lambda: accepts(producer), "accepts")


async def names_the_topic(producer: httpx.AsyncClient) -> bool:
    return "topic logs does not exist" in (await producer.get("/ready")).text


async def test_shutdown_with_kafka_away_is_bounded(own_kafka: Server, topics: None) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with running(producer_settings(own_kafka, shutdown_timeout_ms=1000, send_timeout_ms=500)) as producer:
        await until(lambda: accepts(producer), "accepts")
        await asyncio.to_thread(own_kafka.suspend)
        answer = await post(producer)
        begin = time.monotonic()
    took = time.monotonic() - begin
    await asyncio.to_thread(own_kafka.resume)
    check_kafka(own_kafka.address)
    gc.collect()

    assert answer.status_code == 503
    assert took < patience(15)
    assert complaints == []
