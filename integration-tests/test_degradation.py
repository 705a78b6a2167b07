"""
What a consumer stands on fails in one of the ways in which it does: what goes on, what waits, and how one sees it.

Each outage must show in `/ready`, in a metric and in one line of the log. It must end by itself once its cause has ended.
"""

import asyncio

from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import asyncpg
import pytest

from redis.asyncio import Redis
from structlog.testing import capture_logs
from surroundings import LOCAL, MIRRORED, Surroundings, an_event, committed_offsets, ids

from consumer.adapters.redis_seen import _MINUTE_US, KEYS, RedisSeenIds
from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition
from consumer.memory import REDIS
from consumer.tests.strategies import Read
from shared.event.model import LogRecord, epoch_us
from testbed.consumer_process import ConsumerProcess
from testbed.patience import eventually, patience
from testbed.server import Server

pytestmark = pytest.mark.services

Fault = Literal["gone", "silent", "full", "read only", "wrong types"]
LAYERS: Final = ("redis", "postgres")


@pytest.fixture
def lines() -> Iterator[Sequence[MutableMapping[str, Any]]]:
    """What is logged meanwhile."""
    with capture_logs() as captured:
        yield captured


def logged(lines: Sequence[MutableMapping[str, Any]], event: str, port: str) -> list[str]:
    """Return the log lines about a port: the error of each `trouble began`, nothing of each `trouble ended`."""
    return [line.get("error", "") for line in lines if line["event"] == event and line["port"] == port]


def some_events(count: int = 20) -> list[LogRecord]:
    now = datetime.now(UTC)
    return [an_event(now + timedelta(milliseconds=n), correlation_id=f"c{n}") for n in range(count)]


def duplicates(around: Surroundings) -> float:
    return sum(around.counted("dedup_hits_total", layer=layer) for layer in LAYERS)


async def hurt(server: Server, fault: Fault, store_id: str) -> None:
    match fault:
        case "gone":
            await asyncio.to_thread(server.kill)
        case "silent":
            await asyncio.to_thread(server.suspend)
        case "full":
            async with Redis.from_url(server.address) as redis:
                await redis.config_set("maxmemory-policy", "noeviction")
                await redis.config_set("maxmemory", "1")
        case "read only":
            async with Redis.from_url(server.address) as redis:
                await redis.replicaof("127.0.0.1", "1")
        case "wrong types":
            minute = epoch_us(datetime.now(UTC)) // _MINUTE_US
            async with Redis.from_url(server.address) as redis:
                for later in range(5):
                    key = f"{KEYS}:{store_id}:{minute + later}"
                    await redis.delete(key)
                    await redis.hset(key, "another", "program's")


async def invent(server: Server, store_id: str, events: Sequence[LogRecord]) -> None:
    """Have Redis say of events that they are stored, from a record that there never was."""
    async with Redis.from_url(server.address) as client:
        seen = RedisSeenIds(client, ttl_s=600)
        seen.use_store(store_id)
        decode = Decoder(Partition(LOCAL, 0), "region-a").decode
        envelopes = [decode(Read(10**9 + number, event.encode())) for number, event in enumerate(events)]
        await seen.remember([envelope for envelope in envelopes if isinstance(envelope, Envelope)])


async def mend(server: Server, fault: Fault) -> None:
    match fault:
        case "gone":
            await asyncio.to_thread(server.start)
        case "silent":
            await asyncio.to_thread(server.resume)
        case "full":
            async with Redis.from_url(server.address) as redis:
                await redis.config_set("maxmemory", "0")
        case "read only":
            async with Redis.from_url(server.address) as redis:
                await redis.replicaof("NO", "ONE")
        case "wrong types":
            async with Redis.from_url(server.address) as redis:
                await redis.flushall()


async def test_a_lie_in_redis_costs_no_event(
    kafka: str, postgres: str, own_redis: Server, lines: Sequence[MutableMapping[str, Any]]
) -> None:
    around = Surroundings(kafka, postgres, own_redis.address)
    await around.prepare()
    [store] = await around.query("SELECT id FROM store_identity")
    first, second = some_events(), some_events()

    async with around.consumer():
        await invent(own_redis, str(store["id"]), [*first, *second])
        await around.send(first, MIRRORED)
        rows = await around.rows(20)
        await around.send(second, MIRRORED)
        rows = await around.rows(40)

    assert set(ids(rows)) == {event.event_id for event in [*first, *second]}
    assert around.counted("dedup_invented_total") > 0
    assert [line["log_level"] for line in lines if "PostgreSQL does not have" in line["event"]] == ["error"]


@pytest.mark.parametrize("fault", ["gone", "silent", "full", "read only", "wrong types"])
async def test_where_redis_fails_events_flow_once_and_it_is_said_until_redis_works(
    kafka: str,
    postgres: str,
    own_redis: Server,
    fault: Fault,
    lines: Sequence[MutableMapping[str, Any]],
) -> None:
    around = Surroundings(kafka, postgres, own_redis.address)
    await around.prepare()
    [store] = await around.query("SELECT id FROM store_identity")
    batches = [some_events() for _ in range(4)]
    events = [event for batch in batches for event in batch]
    expected = ["redis writes"] if fault in ("full", "read only") else ["redis reads", "redis writes"]

    async with around.consumer(redis_timeout_ms=int(1000 * patience(2))) as service:
        await around.write([(topic, event) for topic in (LOCAL, MIRRORED) for event in batches[0]])
        await around.rows(20)
        await eventually(lambda: duplicates(around) == 20, "redis was asked")
        await hurt(own_redis, fault, str(store["id"]))
        for number, batch in enumerate(batches[1:], 2):
            await around.write([(topic, event) for topic in (LOCAL, MIRRORED) for event in batch])
            await around.rows(20 * number)
            # Not more than one line, and no change of mind from batch to batch: it is one outage.
            await eventually(lambda: around.counted("dedup_degraded") == 1, "it is counted")
            assert service.readiness().ready
            assert all(said.startswith("redis ") for said in service.readiness().degraded)
        await around.send(batches[0], MIRRORED)
        await eventually(lambda: duplicates(around) == 100, "all copies are recognised")
        assert [said.partition(":")[0] for said in service.readiness().degraded] == expected
        assert sorted(line["port"] for line in lines if line["event"] == "trouble began") == expected
        assert not [line for line in lines if line["event"] == "trouble ended"]

        await mend(own_redis, fault)
        await eventually(lambda: not service.readiness().degraded, "it has ended although nothing comes")
        assert around.counted("dedup_degraded") == 0
        assert sorted(line["port"] for line in lines if line["event"] == "trouble ended") == expected

        more = some_events()
        await around.send(more)
        rows = await around.rows(100)
        before = around.counted("dedup_hits_total", layer="redis")
        await around.send(more, MIRRORED)
        await eventually(
            lambda: around.counted("dedup_hits_total", layer="redis") == before + 20, "redis is used again"
        )

    assert sorted(ids(rows)) == sorted(event.event_id for event in [*events, *more])


async def test_a_redis_that_was_emptied_is_no_trouble_and_costs_no_event(
    around: Surroundings, lines: Sequence[MutableMapping[str, Any]]
) -> None:
    first, second = some_events(), some_events()

    async with around.consumer() as service:
        await around.send(first)
        await around.rows(20)
        async with Redis.from_url(around.redis) as redis:
            await redis.flushall()
            await redis.script_flush()
        await around.send(first, MIRRORED)
        await around.send(second)
        await around.send(second, MIRRORED)
        rows = await around.rows(40)
        await eventually(lambda: duplicates(around) == 40, "all copies are recognised")
        assert not service.readiness().degraded

    assert sorted(ids(rows)) == sorted(event.event_id for event in [*first, *second])
    assert [logged(lines, "trouble began", port) for port in REDIS] == [[], []]


BACKLOG: Final = 200_000
BUFFER: Final = 4_000
# Above an idle consumer. During the outage: one fetch of each of twelve partitions, 2 MiB at most, the buffer, and a batch that
# was put in order meanwhile. After it: the batch on its way, too. Measured: 54 MiB and 81 MiB.
OUTAGE_LIMIT: Final = 80 * 2**20
CATCHING_UP_LIMIT: Final = 112 * 2**20


@asynccontextmanager
async def measured(process: ConsumerProcess) -> AsyncIterator[Sequence[int]]:
    """Measure all the time how much memory the process occupies."""
    samples: list[int] = []

    async def measure() -> None:
        while True:
            samples.append(process.resident_bytes())
            await asyncio.sleep(0.05)

    measuring = asyncio.create_task(measure())
    try:
        yield samples
    finally:
        measuring.cancel()
        await asyncio.wait({measuring})


async def reasons(process: ConsumerProcess) -> list[str]:
    said: list[str] = (await process.readiness())["reasons"]
    return said


async def committed_are(around: Surroundings, offset: int) -> bool:
    return set((await committed_offsets(around)).values()) == {offset}


async def has_stored(around: Surroundings, count: int) -> bool:
    [found] = await around.query("SELECT count(*) AS n FROM logs")
    assert found["n"] >= count, found
    return True


async def sees_lag(process: ConsumerProcess, records: int) -> bool:
    return await process.metric("consumer_lag_records") == records


async def test_a_backlog_that_comes_while_postgres_is_away_waits_in_kafka(
    kafka: str, own_postgres: Server, redis_url: str
) -> None:
    around = Surroundings(kafka, own_postgres.address, redis_url)
    await around.prepare()
    # The buffer holds eight windows of the backlog: enough for order, and a fiftieth of what comes.
    step = timedelta(microseconds=20)
    settings = {
        "APP_REORDER_WINDOW_MS": "10",
        "CONSUMER_BUFFER_MAX_EVENTS": str(BUFFER),
        "CONSUMER_BATCH_MAX_EVENTS": "2000",
    }

    async with around.process(**settings) as process, measured(process) as memory:
        # One in each partition: what never had a record is not waited for.
        await around.flood(12, datetime.now(UTC), step)
        await around.rows(12)
        await eventually(lambda: committed_are(around, 1), "their offsets are committed")
        idle = process.resident_bytes()
        await asyncio.to_thread(own_postgres.kill)
        said = await eventually(lambda: reasons(process), "the outage is reported")
        assert [reason.partition(":")[0] for reason in said] == ["postgres"]

        begin = datetime.now(UTC)
        # They come faster than their times say. A consumer that saw half of them would take the other half's clocks for slow.
        with process.suspended():
            await around.flood(BACKLOG, begin, step)
        await eventually(lambda: datetime.now(UTC) > begin + BACKLOG * step, "its events lie in the past")
        await eventually(lambda: sees_lag(process, BACKLOG), "the backlog is seen")
        assert await process.metric("consumer_ready") == 0
        assert await process.metric("consumer_store_retries_total") > 0
        assert (await process.readiness())["buffered"] <= BUFFER * 5 // 4
        assert await committed_are(around, 1)
        assert max(memory) < idle + OUTAGE_LIMIT
        await asyncio.to_thread(own_postgres.start)
        await eventually(lambda: has_stored(around, 12 + BACKLOG), "the backlog is done", within_s=600, every_s=0.5)
        await eventually(lambda: sees_lag(process, 0), "no lag is left")
        assert await process.metric("consumer_ready") == 1
        assert max(memory) < idle + CATCHING_UP_LIMIT
        told = [line["event"] for line in process.lines() if line.get("port") == "postgres"]
        assert told == ["trouble began", "trouble ended"]

    [summary] = await around.query(
        "SELECT count(*) AS rows, count(DISTINCT (event_id, event_time)) AS events, "
        "count(*) FILTER (WHERE late) AS late FROM logs"
    )
    assert dict(summary) == {"rows": 12 + BACKLOG, "events": 12 + BACKLOG, "late": 0}
    assert await around.out_of_order() == 0


@pytest.fixture
async def around_postgres(kafka: str, own_postgres: Server, redis_url: str) -> Surroundings:
    surroundings = Surroundings(kafka, own_postgres.address, redis_url)
    await surroundings.prepare()
    return surroundings


async def test_while_others_hold_all_connections_of_postgres_events_wait(
    around_postgres: Surroundings, lines: Sequence[MutableMapping[str, Any]]
) -> None:
    around = around_postgres
    first, second = some_events(), some_events()

    async with around.consumer() as service, AsyncExitStack() as connections:
        await around.send(first)
        await around.rows(20)
        one = await connections.enter_async_context(connected(around))
        await take_all_connections(around, one, connections)
        said = await eventually(lambda: service.readiness().reasons, "it is reported")
        assert [reason[:33] for reason in said] == ["postgres: TooManyConnectionsError"]
        assert around.counted("consumer_ready") == 0
        assert around.counted("consumer_store_retries_total") > 0
        await around.send(second)
        assert await one.fetchval("SELECT count(*) FROM logs") == 20
        await connections.aclose()
        rows = await around.rows(40)
        await eventually(lambda: service.readiness().ready, "it has ended")
        assert around.counted("consumer_ready") == 1

    assert sorted(ids(rows)) == sorted(event.event_id for event in [*first, *second])
    assert 1 <= len(logged(lines, "trouble began", "postgres")) == len(logged(lines, "trouble ended", "postgres"))


@asynccontextmanager
async def connected(around: Surroundings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(around.postgres)
    try:
        yield connection
    finally:
        await connection.close()


async def take_all_connections(around: Surroundings, one: asyncpg.Connection, connections: AsyncExitStack) -> None:
    """Open connections until there are no more, the consumer's among them."""

    async def consumers_is_taken() -> bool:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                await connections.enter_async_context(connected(around))
        return await terminate(one) == 0

    await eventually(consumers_is_taken, "the consumer has no connection")


async def terminate(one: asyncpg.Connection) -> int:
    """Terminate the consumers' back ends; return how many there were."""
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'log-consumer%'"
    return len(await one.fetch(ended))


@asynccontextmanager
async def locked(around: Surroundings) -> AsyncIterator[None]:
    """Lock the table, as a migration or a careless session does."""
    async with connected(around) as connection, connection.transaction():
        await connection.execute("LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
        yield


WAITING: Final = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'log-consumer%' AND wait_event_type = 'Lock' AND pid <> ALL ($1::int[])
"""


async def test_a_back_end_terminated_within_a_transaction_costs_nothing(
    around: Surroundings, lines: Sequence[MutableMapping[str, Any]]
) -> None:
    events = some_events()

    async with around.consumer() as service:
        async with locked(around), connected(around) as one:
            await around.send(events)
            terminated: list[int] = []
            for _ in range(3):
                found = await eventually(lambda: one.fetch(WAITING, terminated), "it waits for the lock")
                terminated.append(found[0]["pid"])
                await one.execute("SELECT pg_terminate_backend($1)", terminated[-1])
            await eventually(lambda: around.counted("consumer_store_retries_total") >= 3, "each is noticed")
            await eventually(lambda: not service.readiness().ready, "it is reported")
            assert around.counted("consumer_ready") == 0
        rows = await around.rows(20)
        await eventually(lambda: service.readiness().ready, "it has ended")

    assert sorted(ids(rows)) == sorted(event.event_id for event in events)
    [error] = logged(lines, "trouble began", "postgres")
    assert "terminating connection" in error
    assert len(logged(lines, "trouble ended", "postgres")) == 1


async def test_a_table_that_somebody_has_locked_holds_events_up_and_postgres_is_named(
    around: Surroundings, lines: Sequence[MutableMapping[str, Any]]
) -> None:
    events = some_events()

    async with around.consumer() as service:
        async with locked(around):
            await around.send(events)
            [said] = await eventually(lambda: service.readiness().reasons, "it is reported")
            assert said.startswith("postgres: LockNotAvailableError")
            assert around.counted("consumer_ready") == 0
            assert not any((await committed_offsets(around)).values())
        rows = await around.rows(20)
        await eventually(lambda: service.readiness().ready, "it has ended")

    assert sorted(ids(rows)) == sorted(event.event_id for event in events)
    assert logged(lines, "trouble began", "kafka") == []
    assert len(logged(lines, "trouble began", "postgres")) == len(logged(lines, "trouble ended", "postgres")) == 1


async def test_a_kafka_that_accepts_connections_and_says_nothing_is_noticed_and_read_on_from(
    own_kafka: Server, postgres: str, redis_url: str, lines: Sequence[MutableMapping[str, Any]]
) -> None:
    around = Surroundings(own_kafka.address, postgres, redis_url)
    await around.prepare()
    first, second = some_events(), some_events()

    async with around.consumer() as service:
        await around.send(first)
        await around.rows(20)
        await asyncio.to_thread(own_kafka.suspend)
        said = await eventually(lambda: service.readiness().reasons, "it is reported")
        assert said[0].startswith("kafka: no answer for")
        assert around.counted("consumer_ready") == 0
        await asyncio.to_thread(own_kafka.resume)
        await eventually(lambda: service.readiness().ready, "it has ended although nothing comes", within_s=60)
        assert around.counted("consumer_ready") == 1
        await around.send(second)
        rows = await around.rows(40)

    assert sorted(ids(rows)) == sorted(event.event_id for event in [*first, *second])
    assert 1 <= len(logged(lines, "trouble began", "kafka")) == len(logged(lines, "trouble ended", "kafka"))
    assert logged(lines, "trouble began", "postgres") == []


@pytest.mark.parametrize("absent", ["postgres", "kafka"])
async def test_who_is_told_to_stop_while_something_is_away_does_not_wait_for_it(
    request: pytest.FixtureRequest, redis_url: str, absent: Literal["postgres", "kafka"]
) -> None:
    own = await asyncio.to_thread(request.getfixturevalue, f"own_{absent}")
    other = await asyncio.to_thread(request.getfixturevalue, "kafka" if absent == "postgres" else "postgres")
    kafka, postgres = (other, own.address) if absent == "postgres" else (own.address, other)
    around = Surroundings(kafka, postgres, redis_url)
    await around.prepare()

    async with around.process(CONSUMER_DRAIN_TIMEOUT_MS="1000") as process:
        await around.send(some_events())
        await around.rows(20)
        await asyncio.to_thread(own.suspend)
        said = await eventually(lambda: reasons(process), "it is reported")
        assert said[0].startswith(f"{absent}: no answer for")
    # Leaving the block asks it to stop, and fails if it does not.
    await asyncio.to_thread(own.resume)
