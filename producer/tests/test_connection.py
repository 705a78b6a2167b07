"""The connection keeps one working client through all faults of Kafka."""

import asyncio

from collections.abc import AsyncIterator

import pytest
import structlog.testing

from prometheus_client import CollectorRegistry, Counter

from producer.connection import Connection
from producer.ports import KafkaClient
from producer.settings import ProducerSettings
from producer.tests.fakes import FakeKafka
from testbed.patience import eventually


@pytest.fixture
def rebuilds() -> Counter:
    return Counter("rebuilds", "for the test", registry=CollectorRegistry())


@pytest.fixture
async def connection(kafka: FakeKafka, settings: ProducerSettings, rebuilds: Counter) -> AsyncIterator[Connection]:
    connection = Connection(kafka.connect, settings, rebuilds, clock=lambda: asyncio.get_running_loop().time())
    task = asyncio.create_task(connection.run())
    yield connection
    task.cancel()
    await asyncio.wait([task])
    await connection.close(0)


def count(counter: Counter) -> float:
    [metric] = counter.collect()
    return metric.samples[0].value


@pytest.mark.usefixtures("kafka_away")
async def test_kafka_away_at_boot_is_waited_for(kafka: FakeKafka, connection: Connection, rebuilds: Counter) -> None:
    await eventually(lambda: kafka.tries >= 3, "tried again")
    reasons = connection.readiness().reasons
    kafka.reachable = True
    await eventually(lambda: connection.readiness().ready, "ready by itself")

    assert reasons == ["kafka: connection refused"]
    assert connection.client
    assert count(rebuilds) == 0


@pytest.mark.usefixtures("kafka_away", "connection")
async def test_tries_become_rarer(kafka: FakeKafka) -> None:
    loop = asyncio.get_running_loop()

    await eventually(lambda: kafka.tries == 1, "first try")
    begin = loop.time()
    await eventually(lambda: kafka.tries == 4, "fourth try")

    assert loop.time() - begin > 0.1 + 0.2 + 0.4 - 0.05


@pytest.mark.parametrize("fault", ["refuses", "says nothing"])
async def test_ready_follows_kafka(kafka: FakeKafka, connection: Connection, fault: str) -> None:
    await eventually(lambda: connection.readiness().ready, "ready")

    kafka.reachable, kafka.silent = fault != "refuses", fault == "says nothing"
    await eventually(lambda: not connection.readiness().ready, "not ready", within_s=0.25)
    kafka.reachable, kafka.silent = True, False
    await eventually(lambda: connection.readiness().ready, "ready again", within_s=0.25)

    assert len(kafka.clients) == 1


async def test_a_check_that_comes_too_late_does_not_count_while_events_are_acknowledged(
    kafka: FakeKafka, connection: Connection, settings: ProducerSettings
) -> None:
    await eventually(lambda: connection.readiness().ready, "ready")
    loop = asyncio.get_running_loop()
    ends = loop.time() + 4 * settings.check_timeout_ms / 1000
    states = set()

    kafka.silent = True
    while loop.time() < ends:
        assert connection.client
        connection.acknowledged(connection.client, others_owed=False)
        states.add(connection.readiness().ready)
        await asyncio.sleep(0.005)

    assert states == {True}
    await eventually(lambda: not connection.readiness().ready, "not ready once nothing is acknowledged any more")


async def test_an_outage_costs_one_replacement_however_long_it_is(
    kafka: FakeKafka, connection: Connection, rebuilds: Counter
) -> None:
    await eventually(lambda: connection.client, "connected")
    with structlog.testing.capture_logs() as lines:
        kafka.reachable = False
        tries = kafka.tries
        await eventually(lambda: kafka.tries >= tries + 4, "tries to connect")
        closed = kafka.clients[0].closed
        kafka.reachable = True
        await eventually(lambda: connection.readiness().ready, "ready")

    assert closed
    assert count(rebuilds) == 1
    assert [line["event"] for line in lines] == [
        "kafka does not answer",
        "replacing the kafka client",
        "kafka answers",
    ]


async def test_a_client_that_broke_is_closed_before_the_next_connects(kafka: FakeKafka, connection: Connection) -> None:
    await eventually(lambda: connection.client, "connected")
    first = connection.client
    assert first

    connection.broke(first, "producer fenced")
    refused = connection.readiness().reasons
    await eventually(lambda: connection.client, "replaced")
    connection.broke(first, "its other events fail too")

    assert refused == ["kafka: the client is being replaced"]
    assert [client.closed for client in kafka.clients] == [True, False]
    assert connection.client is kafka.clients[1]


async def test_a_client_that_breaks_each_time_is_not_replaced_without_a_pause(
    kafka: FakeKafka, connection: Connection
) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for number in range(1, 5):
        await eventually(lambda: connection.client, f"client {number}")
        assert connection.client
        connection.broke(connection.client, "at its first event")
    await eventually(lambda: connection.client, "fifth client")

    assert loop.time() - begin > 0.1 + 0.2 + 0.4 + 0.8 - 0.05


async def test_an_unexpected_error_does_not_end_the_service(
    kafka: FakeKafka, settings: ProducerSettings, rebuilds: Counter
) -> None:
    failures = 2

    async def connect() -> KafkaClient:
        nonlocal failures
        if failures:
            failures -= 1
            raise ZeroDivisionError
        return await kafka.connect()

    connection = Connection(connect, settings, rebuilds, clock=lambda: asyncio.get_running_loop().time())
    task = asyncio.create_task(connection.run())
    await eventually(lambda: connection.readiness().ready, "ready after all")
    task.cancel()
    await asyncio.wait([task])


async def test_shutdown_during_a_connect_lets_it_end_and_closes_its_client(
    kafka: FakeKafka, settings: ProducerSettings, rebuilds: Counter
) -> None:
    kafka.may_connect.clear()
    connection = Connection(kafka.connect, settings, rebuilds, clock=lambda: asyncio.get_running_loop().time())
    task = asyncio.create_task(connection.run())
    await eventually(lambda: kafka.tries, "connecting")

    task.cancel()
    await asyncio.wait([task], timeout=1)
    kafka.may_connect.set()
    await connection.close(1)

    assert task.cancelled()
    assert kafka.swallowed_cancellations == 0
    assert [client.closed for client in kafka.clients] == [True]


async def test_shutdown_does_not_wait_for_a_connect_that_hangs(
    kafka: FakeKafka, settings: ProducerSettings, rebuilds: Counter
) -> None:
    kafka.may_connect.clear()
    connection = Connection(kafka.connect, settings, rebuilds, clock=lambda: asyncio.get_running_loop().time())
    task = asyncio.create_task(connection.run())
    await eventually(lambda: kafka.tries, "connecting")
    loop = asyncio.get_running_loop()
    begin = loop.time()

    task.cancel()
    await asyncio.wait([task], timeout=1)
    await connection.close(0.1)

    assert loop.time() - begin < 0.5
