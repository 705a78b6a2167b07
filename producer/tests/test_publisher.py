"""The publisher: outcomes in time, memory bounded, order kept."""

import asyncio
import gc

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from producer.connection import Connection
from producer.metrics import ProducerMetrics
from producer.publisher import FAILED, NOT_CONNECTED, OVERHEAD_BYTES, OVERLOADED, TOO_LARGE, UNKNOWN, Publisher
from producer.settings import ProducerSettings
from producer.tests.fakes import MAX_VALUE_BYTES, FakeKafka
from shared.event.outcome import Accepted
from shared.event.sealed import SealedRecord
from shared.process.metrics import new_registry
from testbed.patience import eventually

ACCEPTED = Accepted("region-a")
MakeRecord = Callable[..., SealedRecord]


@pytest.fixture
def metrics() -> ProducerMetrics:
    return ProducerMetrics(new_registry(), "region-a")


@pytest.fixture
async def connection(
    kafka: FakeKafka, settings: ProducerSettings, metrics: ProducerMetrics
) -> AsyncIterator[Connection]:
    connection = Connection(kafka.connect, settings, metrics.rebuilds, clock=lambda: asyncio.get_running_loop().time())
    task = asyncio.create_task(connection.run())
    await eventually(lambda: connection.client, "connected")
    yield connection
    task.cancel()
    await asyncio.wait([task])
    await connection.close(0)


@pytest.fixture
def publisher(connection: Connection, settings: ProducerSettings, metrics: ProducerMetrics) -> Publisher:
    return Publisher(connection, settings, metrics, clock=lambda: asyncio.get_running_loop().time())


def sample(metrics: ProducerMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, {"region": "region-a", **labels}) or 0.0


async def test_acknowledged_events_are_accepted_and_written_in_order(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord, metrics: ProducerMetrics
) -> None:
    records = [record(number) for number in range(20)]

    outcomes = await publisher.publish(records)

    assert outcomes == [ACCEPTED] * 20
    assert kafka.written == [(b"trace-1", record.value) for record in records]
    assert publisher.in_flight_bytes == 0
    assert sample(metrics, "log_producer_send_total", outcome="acknowledged") == 20
    assert sample(metrics, "log_producer_send_duration_seconds_count") == 1


async def test_a_tenants_records_have_keys_that_are_no_one_elses(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord
) -> None:
    records = [record(0), record(1, tenant="acme"), record(2, tenant="beta")]

    assert await publisher.publish(records) == [ACCEPTED] * 3
    assert [key for key, _ in kafka.written] == [b"trace-1", b"acme\0trace-1", b"beta\0trace-1"]


async def test_no_acknowledgement_by_the_deadline_is_a_retryable_503(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord, metrics: ProducerMetrics
) -> None:
    kafka.acknowledges = False
    begin = asyncio.get_running_loop().time()

    outcomes = await publisher.publish([record(1), record(2)])

    assert outcomes == [UNKNOWN, UNKNOWN]
    assert asyncio.get_running_loop().time() - begin < 0.2
    assert sample(metrics, "log_producer_send_total", outcome="timeout") == 2


async def test_a_group_acknowledged_in_part_is_answered_in_part(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord
) -> None:
    kafka.acknowledges = False
    publishing = asyncio.create_task(publisher.publish([record(1), record(2)]))
    await eventually(lambda: len(kafka.clients[0].waiting) == 2, "both sent")
    acknowledgement, _, _ = kafka.clients[0].waiting.pop(0)
    acknowledgement.set_result(None)

    assert await publishing == [ACCEPTED, UNKNOWN]


async def test_bytes_stay_in_flight_until_kafka_really_answers(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord, metrics: ProducerMetrics
) -> None:
    kafka.acknowledges = False
    size = len(b"trace-1") + len(record(1).value) + OVERHEAD_BYTES

    await publisher.publish([record(1)])
    held = publisher.in_flight_bytes
    kafka.release()
    await eventually(lambda: publisher.in_flight_bytes == 0, "released")

    assert held == size
    assert sample(metrics, "log_producer_in_flight_bytes") == 0


async def test_beyond_the_limit_events_are_refused_at_once_and_none_overtakes(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord, metrics: ProducerMetrics
) -> None:
    kafka.acknowledges = False
    large = [record(number, message="x" * 90_000) for number in range(12)]
    publishing = asyncio.create_task(publisher.publish(large))
    await eventually(lambda: len(kafka.clients[0].waiting) == 11, "as many sent as fit")

    loop = asyncio.get_running_loop()
    begin = loop.time()
    refused = await publisher.publish([record(98, message="x" * 90_000), record(99)])

    assert refused == [OVERLOADED, OVERLOADED]
    assert loop.time() - begin < 0.05
    assert await publishing == [UNKNOWN] * 11 + [OVERLOADED]
    assert publisher.in_flight_bytes <= 1_000_000
    assert sample(metrics, "log_producer_send_total", outcome="overload") == 3


async def test_an_event_too_large_for_kafka_is_refused_for_good_and_alone(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord
) -> None:
    records = [record(1), record(2, message="x" * (MAX_VALUE_BYTES + 1)), record(3)]

    outcomes = await publisher.publish(records)

    assert outcomes == [ACCEPTED, TOO_LARGE, ACCEPTED]
    assert TOO_LARGE.status == 413
    assert not TOO_LARGE.retryable
    assert publisher.in_flight_bytes == 0
    assert len(kafka.clients) == 1


async def test_without_a_client_events_are_refused_at_once(
    publisher: Publisher, connection: Connection, kafka: FakeKafka, record: MakeRecord
) -> None:
    assert connection.client
    kafka.reachable = False
    connection.broke(connection.client, "fatal")

    assert await publisher.publish([record(1)]) == [NOT_CONNECTED]


async def test_a_failed_send_is_a_retryable_503_and_the_client_is_replaced(
    publisher: Publisher, connection: Connection, kafka: FakeKafka, record: MakeRecord, metrics: ProducerMetrics
) -> None:
    kafka.breaks_with = OSError("out of order sequence number")

    assert await publisher.publish([record(1), record(2)]) == [FAILED, FAILED]
    kafka.breaks_with = None
    await eventually(lambda: len(kafka.clients) == 2 and connection.client, "replaced")

    assert kafka.clients[0].closed
    assert await publisher.publish([record(3)]) == [ACCEPTED]
    assert sample(metrics, "log_producer_client_rebuilds_total") == 1


async def test_a_client_that_stays_silent_is_replaced_and_its_memory_freed(
    publisher: Publisher, connection: Connection, kafka: FakeKafka, record: MakeRecord
) -> None:
    kafka.acknowledges = False

    await publisher.publish([record(1)])
    await eventually(lambda: not connection.readiness().ready, "an owed acknowledgement makes it not ready")
    await eventually(lambda: len(kafka.clients) == 2 and connection.client, "replaced")
    kafka.acknowledges = True

    assert publisher.in_flight_bytes == 0
    assert await publisher.publish([record(2)]) == [ACCEPTED]
    assert connection.readiness().ready


async def test_an_idle_client_is_never_replaced(
    publisher: Publisher, connection: Connection, kafka: FakeKafka, record: MakeRecord, settings: ProducerSettings
) -> None:
    await publisher.publish([record(1)])
    checks = 0

    original = kafka.clients[0].check

    async def counted() -> None:
        nonlocal checks
        checks += 1
        await original()

    kafka.clients[0].check = counted  # type: ignore[method-assign]
    wanted = 1.5 * settings.rebuild_after_ms / settings.check_interval_ms
    await eventually(lambda: checks >= wanted, "idle for longer than silence would be tolerated")

    assert len(kafka.clients) == 1


async def test_a_cancelled_caller_leaves_no_bytes_and_no_unseen_exceptions(
    publisher: Publisher, kafka: FakeKafka, record: MakeRecord
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    kafka.acknowledges = False
    publishing = asyncio.create_task(publisher.publish([record(1), record(2)]))
    await eventually(lambda: len(kafka.clients[0].waiting) == 2, "sent")

    publishing.cancel()
    await asyncio.wait([publishing])
    await eventually(lambda: len(kafka.clients) == 2, "the silent client is replaced, and fails what it held")
    await eventually(lambda: publisher.in_flight_bytes == 0, "released")
    gc.collect()

    assert publishing.cancelled()
    assert complaints == []


async def test_late_failures_are_looked_at(publisher: Publisher, kafka: FakeKafka, record: MakeRecord) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    kafka.acknowledges = False

    assert await publisher.publish([record(1)]) == [UNKNOWN]
    await kafka.clients[0].close(0)
    await eventually(lambda: publisher.in_flight_bytes == 0, "released")
    gc.collect()

    assert complaints == []
